"""States as plain dictionaries: the shape, what comes back, and what is refused with its path."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from eventstore import HandlerRegistry, Operation
from handlers import (
    AdjustCash,
    BustTrade,
    CorrectTrade,
    EngineState,
    FullState,
    Mark,
    OrderClosed,
    OrderSent,
    OrderUpdated,
    Position,
    RecordTrade,
    Settle,
    Split,
    TradeFee,
    TradingError,
    UpdatePosition,
    trading_registry,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    OPTION,
    SPOT,
    D,
    Fold,
    buy,
    held,
    position_of,
    sell,
)

PLAN = {"positions": {"AAPL": {"shares": 100, "price": 150.0}}, "cash": 50000.0}


class TestShape:
    def test_the_dictionary_of_the_first_plan_comes_back(self) -> None:
        assert EngineState.from_dict(PLAN).to_dict() == PLAN

    @pytest.mark.parametrize("plain", [{}, {"version": 1}, {"valid": True}, {"cash": 3.0}])
    def test_cash_and_positions_are_always_written(self, plain: dict[str, Any]) -> None:
        assert EngineState.from_dict(plain).to_dict() == {"cash": 0, "positions": {}} | plain

    def test_other_defaults_are_not_written(self) -> None:
        spelled_out: dict[str, Any] = {
            "fees": 0, "realized_pnl": {}, "trade_count": 0, "strict": False, "memory": {},
            "base_currency": "USD", "balances": {"main": {}}, "orders": [], "marks": {},
            "instruments": {}, "flows": {},
        }  # fmt: skip
        assert EngineState.from_dict(PLAN | spelled_out).to_dict() == PLAN
        position = {
            "shares": 1, "price": 2, "weight": None, "updated": 0, "symbol": "AAPL",
            "account": "main", "side": "net", "cost": 2, "multiplier": 1, "inverse": False,
        }  # fmt: skip
        assert EngineState.from_dict({"positions": {"AAPL": position}}).to_dict()["positions"] == {
            "AAPL": {"shares": 1, "price": 2}
        }

    def test_a_rich_state(self, fold: Fold) -> None:
        plain = fold(
            SPOT,
            buy(2, 100, symbol="BTC/USDT", fee=0.5, fee_currency="BTC", account="b"),
            AdjustCash(type="dividend", amount=3, symbol="AAPL", reference="r"),
            Mark(symbol="AAPL", price=5.5, time=9),
            buy(3, 5, "1", position_side="long", fee=1),
        ).to_dict()
        plain.pop("memory")
        assert plain == {
            "cash": -13,
            "balances": {"b": {"BTC": D("1.5"), "USDT": -200}},
            "positions": {
                '["b", "BTC/USDT", "net"]': {
                    "shares": D("1.5"), "price": 100, "symbol": "BTC/USDT", "account": "b",
                    "side": "net", "updated": 2,
                },
                '["main", "AAPL", "long"]': {
                    "shares": 3, "price": 5, "symbol": "AAPL", "account": "main", "side": "long",
                    "updated": 5,
                },
            },
            "fees": {"AAPL": {"USD": 1}, "BTC/USDT": {"BTC": D("0.5")}},
            "flows": {"dividend": {"AAPL": {"USD": 3}}},
            "trade_count": 2,
            "instruments": {
                "BTC/USDT": {
                    "kind": "spot", "base": "BTC", "quote": "USDT", "settlement": "USDT",
                    "multiplier": 1,
                }
            },
            "marks": {"AAPL": {"price": D("5.5"), "time": 9}},
        }  # fmt: skip

    def test_everything_is_sorted_whatever_the_hash_seed(self, fold: Fold) -> None:
        symbols = [f"S{number:02}" for number in range(30)]
        plain = fold(*(buy(1, 1, symbol=symbol, fee=1) for symbol in reversed(symbols))).to_dict()
        assert list(plain["positions"]) == list(plain["fees"]) == symbols

    def test_amounts_are_decimals(self) -> None:
        plain = EngineState.from_dict(PLAN).to_dict()
        assert type(plain["cash"]) is Decimal
        assert {type(value) for value in plain["positions"]["AAPL"].values()} == {Decimal}

    def test_profit_and_fees_may_be_one_number_in_the_base_currency(self) -> None:
        state = EngineState.from_dict({"fees": 2.5, "realized_pnl": -3, "base_currency": "EUR"})
        assert (state.fees, state.realized_pnl) == ({"EUR": D("2.5")}, {"EUR": D(-3)})
        assert EngineState.from_dict(state.to_dict()) == state


class TestNumbers:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (0.1, "0.1"), (3, "3"), (D("0.10"), "0.1"), ("0.1", "0.1"), ("1e3", "1000"),
            (2**60 + 1, "1152921504606846977"), (1e22, "1e22"), ("-7.5", "-7.5"),
            (D("12345678901234567890.123456789"), "12345678901234567890.123456789"),
        ],
    )  # fmt: skip
    def test_are_read_exactly(self, given: Any, expected: str) -> None:
        positions = {"AAPL": {"shares": given, "price": given, "weight": given}}
        state = EngineState.from_dict(
            {"cash": given, "balances": {"b": {"EUR": given}}, "positions": positions}
        )
        assert state.cash == state.balance("EUR", "b") == D(expected)
        assert position_of(state).shares == position_of(state).weight == D(expected)

    def test_a_cost_that_the_average_does_not_give_back_is_written(self, fold: Fold) -> None:
        state = fold(buy(3, 10), buy(4, D("10.1")))
        plain = state.to_dict()["positions"]["AAPL"]
        assert (plain["cost"], plain["shares"]) == (D("70.4"), 7)
        assert EngineState.from_dict(state.to_dict()) == state

    @pytest.mark.parametrize("definition", [OPTION, LINEAR, INVERSE])
    def test_of_every_kind_of_instrument(self, fold: Fold, definition: Any) -> None:
        fills = [buy(n, 3 + n / 7, str(n), symbol=definition.symbol) for n in range(1, 8)]
        state = fold(definition, *fills)
        assert EngineState.from_dict(state.to_dict()) == state

    def test_an_inverse_position_by_its_price(self, fold: Fold) -> None:
        plain: dict[str, Any] = {"shares": 6, "price": 12_000}
        instruments = {
            "XBTUSD": {
                "kind": "inverse", "quote": "USD", "settlement": "BTC", "base": "BTC",
                "multiplier": 100,
            }
        }  # fmt: skip
        for told in ({}, {"multiplier": 100, "inverse": True}, {"multiplier": None}):
            state = EngineState.from_dict(
                {"positions": {"XBTUSD": {**plain, **told}}, "instruments": instruments}
            )
            assert position_of(state, "XBTUSD").cost == D("0.05")

    def test_a_position_is_counted_in_the_units_of_its_instrument(self, fold: Fold) -> None:
        """Otherwise the first fill would take the difference of the units for a profit."""
        es = {"kind": "linear", "quote": "USD", "settlement": "USD", "multiplier": 50}
        told = FullState(
            positions={"ES": {"shares": 2, "price": 5000}}, rest={"instruments": {"ES": es}}
        )
        state = fold(told, sell(1, 5010, symbol="ES", fee=0))
        assert state.realized_pnl == {"USD": 500}
        assert position_of(state, "ES").cost == 250_000

    @pytest.mark.parametrize(
        ("text", "nanoseconds"),
        [
            ("1970-01-01T00:00:01+00:00", 1_000_000_000),
            ("1970-01-01T01:00:01.5+01:00", 1_500_000_000),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("2024-01-15T09:30:00.123456+00:00", 1_705_311_000_123_456_000),
        ],
    )
    def test_updated_as_text(self, text: str, nanoseconds: int) -> None:
        position = {"shares": 1, "price": 2, "updated": text}
        state = EngineState.from_dict({"positions": {"AAPL": position}})
        assert state.positions["AAPL"].updated == nanoseconds


class TestUnknownKeys:
    def test_are_kept(self) -> None:
        plain = PLAN | {"_meta": {"version": 1}, "extra": [1], "mode": None}
        assert EngineState.from_dict(plain).to_dict() == plain

    def test_of_a_position_too(self) -> None:
        plain = {"cash": 0, "positions": {"AAPL": {"shares": 1, "price": 2, "lots": [3, 4]}}}
        state = EngineState.from_dict(plain)
        assert state.extra == Map(positions=Map(AAPL=Map(lots=(3, 4))))
        assert state.to_dict() == plain

    def test_of_a_position_in_another_account(self) -> None:
        label = '["b", "AAPL", "long"]'
        inside = {"symbol": "AAPL", "account": "b", "side": "long"}
        plain = {label: {"shares": 1, "price": 2, "stop": 1.5} | inside}
        state = EngineState.from_dict({"positions": plain})
        assert held(state, account="b", side="long") == (1, 2)
        assert state.to_dict()["positions"] == plain

    def test_of_no_shares_are_no_position(self) -> None:
        state = EngineState.from_dict({"positions": {"AAPL": {"shares": 0, "price": 2, "x": 1}}})
        assert state == EngineState()

    def test_a_caller_who_changes_his_dictionary_changes_nothing(self) -> None:
        plain: dict[str, Any] = copy.deepcopy(PLAN) | {"books": {"a": [1]}}
        state = EngineState.from_dict(plain)
        plain["books"]["a"].append(2)
        plain["positions"]["AAPL"]["shares"] = 0
        written = state.to_dict()
        assert written == PLAN | {"books": {"a": [1]}}
        written["books"]["a"].append(2)
        written["positions"].clear()
        assert state.to_dict() == PLAN | {"books": {"a": [1]}}

    def test_what_a_dictionary_cannot_say_is_refused(self) -> None:
        for extra in (
            Map(cash=1.0),
            Map(orders=1),
            Map(positions=1),
            Map(positions=Map(AAPL=1)),
            Map(positions=Map(AAPL=Map(shares=1.0))),
        ):
            with pytest.raises(ValueError, match="extra may not use the names of fields"):
                EngineState(extra=extra).to_dict()
        with pytest.raises(ValueError, match="'MSFT' is filed under 'AAPL'"):
            EngineState(positions=Map({"AAPL": Position("MSFT", D(1), D(1))})).to_dict()

    def test_a_symbol_that_looks_like_the_label_of_another_position(self, fold: Fold) -> None:
        label = '["b", "X", "net"]'
        state = fold(buy(1, 1, symbol=label), buy(2, 1, "2", symbol="X", account="b"))
        try:
            plain = state.to_dict()
        except ValueError:
            return
        assert EngineState.from_dict(plain) == state


NO_AMOUNTS: list[Any] = [
    float("nan"), float("-inf"), D("NaN"), D("sNaN"), D("Infinity"), "NaN", "sNaN", "inf", "one",
    "", None, True, [1], {}, "1e5000", D("1e999999999"), D("1e-5000"), 1j,
]  # fmt: skip


CONTRACT = {"kind": "linear", "quote": "USD", "settlement": "USD"}
ORDER = {"order_id": "o", "client_order_id": "", "symbol": "A", "side": "buy", "shares": 1}


class TestRefusals:
    @pytest.mark.parametrize("number", NO_AMOUNTS, ids=repr)
    @pytest.mark.parametrize(
        ("plain", "path"),
        [
            ({"cash": ...}, "$.cash"),
            ({"balances": {"b": {"EUR": ...}}}, "$.balances.b.EUR"),
            ({"fees": {"AAPL": {"USD": ...}}}, "$.fees.AAPL.USD"),
            ({"realized_pnl": {"": {"USD": ...}}}, "$.realized_pnl..USD"),
            ({"flows": {"tax": {"AAPL": {"USD": ...}}}}, "$.flows.tax.AAPL.USD"),
            ({"positions": {"A": {"shares": ..., "price": 1}}}, "$.positions['A'].shares"),
            ({"positions": {"A": {"shares": 1, "price": ...}}}, "$.positions['A'].price"),
            (
                {"positions": {"A": {"shares": 1, "price": 1, "multiplier": ...}}},
                "$.positions['A'].multiplier",
            ),
            ({"marks": {"A": {"price": ...}}}, "$.marks.A.price"),
            (
                {"instruments": {"A": CONTRACT | {"multiplier": ...}}},
                "$.instruments.A.multiplier",
            ),
            (
                {"orders": [ORDER | {"shares": ...}]},
                "$.orders[0].shares",
            ),
        ],
    )  # fmt: skip
    def test_of_what_is_no_amount(self, plain: dict[str, Any], path: str, number: Any) -> None:
        if number is None and "positions" in plain:
            path = path.rpartition(".")[0]  # `None` says that it is left out
            if "multiplier" in plain["positions"]["A"]:
                return
        with pytest.raises(msgspec.ValidationError) as caught:
            EngineState.from_dict(filled(plain, number))
        assert str(caught.value).endswith(f" - at `{path}`")

    @pytest.mark.parametrize(
        ("plain", "path"),
        [
            ({"trade_count": -1}, "$.trade_count"),
            ({"trade_count": 1.5}, "$.trade_count"),
            ({"trade_count": True}, "$.trade_count"),
            ({"strict": 1}, "$.strict"),
            ({"base_currency": ""}, "$.base_currency"),
            ({"base_currency": 5}, "$.base_currency"),
            ({"balances": []}, "$.balances"),
            ({"balances": {"main": {"USD": 1}}}, "$.balances.main.USD"),
            ({"positions": []}, "$.positions"),
            ({"positions": {"A": 5}}, "$.positions['A']"),
            ({"positions": {"A": {"shares": 1}}}, "$.positions['A']"),
            ({"positions": {"": {"shares": 1, "price": 1}}}, "$.positions[''].symbol"),
            (
                {"positions": {"A": {"shares": 1, "price": 1, "symbol": "B"}}},
                "$.positions['A'].symbol",
            ),
            ({"positions": {"A": {"shares": 1, "price": 1, "side": "x"}}}, "$.positions['A'].side"),
            (
                {"positions": {"A": {"shares": 1, "price": 1, "multiplier": 10}}},
                "$.positions['A'].multiplier",
            ),
            (
                {"positions": {"A": {"shares": 1, "price": 1, "inverse": True}}},
                "$.positions['A'].inverse",
            ),
            (
                {"positions": {"A": {"shares": 1, "price": 1, "multiplier": 0}}},
                "$.positions['A'].multiplier",
            ),
            (
                {
                    "positions": {"A": {"shares": 1, "price": 0}},
                    "instruments": {
                        "A": {"kind": "inverse", "quote": "USD", "settlement": "B", "base": "B"}
                    },
                },
                "$.positions['A'].price",
            ),
            (
                {"positions": {"A": {"shares": 1, "price": 1, "updated": "2024-01-15T09:30"}}},
                "$.positions['A'].updated",
            ),
            (
                {"positions": {"A": {"shares": 1, "price": 1, "updated": "noon"}}},
                "$.positions['A'].updated",
            ),
            ({"marks": {"A": 5}}, "$.marks.A"),
            ({"instruments": {"A": {"kind": "bond"}}}, "$.instruments.A.kind"),
            ({"instruments": {"A": {"kind": "spot"}}}, "$.instruments.A"),
            ({"orders": {}}, "$.orders"),
            ({"memory": {"recent": [1]}}, "$.memory.recent[0]"),
            ({"memory": {"limit": 0}}, "$.memory.limit"),
            ({"memory": {"limit": "many"}}, "$.memory.limit"),
            ({"memory": {"remember": 5}}, "$.memory"),
            ({"books": {"a": [object()]}}, "$.books.a[0]"),
            ({"books": {1: 2}}, "$.books[1]"),
            ({1: 2}, "$[1]"),
            ({"positions": {1: {"shares": 1, "price": 1}}}, "$.positions[1]"),
        ],
    )
    def test_name_the_path(self, plain: dict[str, Any], path: str) -> None:
        with pytest.raises(msgspec.ValidationError) as caught:
            EngineState.from_dict(plain)
        text = str(caught.value)
        assert text.rpartition(" - at `")[2].startswith(path), text

    @pytest.mark.parametrize(
        "instrument",
        [
            {"kind": "spot", "quote": "USD", "settlement": "USD"},
            {"kind": "inverse", "quote": "USD", "settlement": "BTC"},
            CONTRACT | {"quote": ""},
            CONTRACT | {"settlement": ""},
            CONTRACT | {"multiplier": 0},
            CONTRACT | {"multiplier": -1},
        ],
    )
    def test_of_instruments_that_make_no_sense(self, instrument: dict[str, Any]) -> None:
        with pytest.raises((msgspec.ValidationError, TradingError), match="A"):
            EngineState.from_dict({"instruments": {"A": instrument}})

    @pytest.mark.parametrize("shares", [0, -1])
    def test_of_orders_of_nothing(self, shares: int) -> None:
        with pytest.raises(msgspec.ValidationError, match=r"\$\.orders\[0\]\.shares"):
            EngineState.from_dict({"orders": [ORDER | {"shares": shares}]})

    def test_of_two_orders_or_positions_with_one_key(self) -> None:
        with pytest.raises(msgspec.ValidationError, match=r"\$\.orders\[1\]"):
            EngineState.from_dict({"orders": [ORDER, ORDER | {"shares": 2}]})
        position = {"shares": 1, "price": 1}
        label = '["main", "A", "net"]'
        with pytest.raises(msgspec.ValidationError, match="positions"):
            EngineState.from_dict({"positions": {"A": position, label: position | {"symbol": "A"}}})

    def test_of_what_is_no_mapping(self) -> None:
        with pytest.raises(msgspec.ValidationError, match="Expected `object`, got `list`"):
            EngineState.from_dict([])  # type: ignore[arg-type]  # the refusal is what is tested


def filled(plain: Any, number: Any) -> Any:
    """Put a number in the place of `...`."""
    if plain is ...:
        return number
    if isinstance(plain, dict):
        return {key: filled(value, number) for key, value in plain.items()}
    return [filled(value, number) for value in plain] if isinstance(plain, list) else plain


names = st.text(st.characters(codec="utf-8"), max_size=8)
floats = st.floats(-1e100, 1e100)
amounts = st.one_of(
    st.decimals(-1000, 1000, places=18),
    floats,
    st.integers(-(10**40), 10**40),
)
above_zero = st.integers(1, 10**12).map(lambda number: D(number).scaleb(-8))
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | floats | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
KNOWN = {
    "cash", "base_currency", "balances", "positions", "realized_pnl", "fees", "flows",
    "trade_count", "strict", "instruments", "marks", "orders", "memory",
}  # fmt: skip
unknown = st.dictionaries(names.filter(lambda key: key not in KNOWN), plain_values, max_size=3)
IN_POSITIONS = {*Position.__struct_fields__, "price"}
unknown_of_position = st.dictionaries(
    names.filter(lambda key: key not in IN_POSITIONS), plain_values, max_size=2
)


@st.composite
def plain_states(draw: st.DrawFn) -> dict[str, Any]:
    """Draw dictionaries without defaults, except for the keys that `to_dict` always writes."""
    positions = {}
    symbols = names.filter(lambda name: name and not name.startswith("["))
    for symbol in draw(st.lists(symbols, max_size=3, unique=True)):
        amounts_of = {"shares": draw(amounts.filter(bool)), "price": draw(amounts)}
        positions[symbol] = {**amounts_of, **draw(unknown_of_position)}
    plain: dict[str, Any] = {"cash": draw(amounts), "positions": positions}
    more: st.SearchStrategy[dict[str, Any]] = unknown
    sums = st.dictionaries(names.filter(bool), amounts.filter(bool), min_size=1, max_size=2)
    by_symbol = st.dictionaries(names, sums, min_size=1, max_size=2)
    for key in ("realized_pnl", "fees"):
        if draw(st.booleans()):
            plain[key] = draw(by_symbol)
    if draw(st.booleans()):
        plain["flows"] = {"deposit": draw(by_symbol)}
    if count := draw(st.integers(0, 2**40)):
        plain["trade_count"] = count
    return plain | draw(more)


IDS = st.sampled_from(["1", "2", "3", "4"])
SYMBOLS = st.sampled_from(["AAPL", "BTC/USDT", "BTC-PERP", "XBTUSD"])
SIDES = st.sampled_from(["buy", "sell"])
ACCOUNTS = st.sampled_from(["main", "b"])
VENUES = st.sampled_from(["", "v"])
TIMES = st.none() | st.integers(0, 99)
FEES = st.none() | st.sampled_from([0, D("0.1"), -0.25])


def told_operations() -> st.SearchStrategy[Operation]:
    """Any operation, with few enough ids and symbols that they meet."""
    fields = {"symbol": SYMBOLS, "venue": VENUES, "account": ACCOUNTS}
    trade = fields | {"trade_id": IDS, "side": SIDES}
    terms = {"shares": above_zero, "price": above_zero}
    fee = {"fee": FEES, "fee_currency": st.sampled_from([None, "BTC", "BNB"])}
    build: Any = st.builds
    return st.one_of(
        build(RecordTrade, **trade, **terms, **fee, order_id=IDS, time=TIMES),
        build(BustTrade, **trade),
        build(CorrectTrade, **trade, **terms, **fee, new_trade_id=st.sampled_from(["2", "3", "9"])),
        build(TradeFee, **trade, **fee | {"fee": st.just(D("0.1"))}),
        build(
            AdjustCash,
            **fields | {"symbol": SYMBOLS},
            type=st.sampled_from(["deposit", "funding", "fee"]),
            amount=above_zero,
            reference=IDS,
            currency=fee["fee_currency"],
        ),
        build(
            AdjustCash,
            type=st.just("transfer"),
            amount=above_zero,
            reference=IDS,
            account=ACCOUNTS,
            to_account=st.just("c"),
        ),
        build(UpdatePosition, **terms, symbol=SYMBOLS, account=ACCOUNTS, weight=FEES),
        build(Mark, symbol=SYMBOLS, price=above_zero, time=TIMES),
        build(Split, **fields, numerator=st.just(2), denominator=st.just(3), reference=IDS),
        build(Settle, **fields, price=above_zero, reference=IDS),
        build(OrderSent, **fields, **terms, side=SIDES, client_order_id=IDS.map("c".__add__)),
        build(
            OrderUpdated,
            **fields,
            **terms,
            side=SIDES,
            order_id=IDS,
            client_order_id=st.just("") | IDS.map("c".__add__),
        ),
        build(OrderClosed, order_id=IDS, venue=VENUES, account=ACCOUNTS),
        st.just(FullState.from_mapping({"cash": 1, "positions": {"M": {"shares": 1, "price": 2}}})),
    )


REGISTRY: HandlerRegistry[EngineState] = trading_registry()


def reached(operations: list[Operation], limit: int) -> EngineState:
    """The state after some operations. Those that are refused change nothing."""
    state = REGISTRY.initial()
    start = [SPOT, LINEAR, INVERSE, FullState.from_mapping({"memory": {"limit": limit}})]
    for seq, operation in enumerate([start[3], *start[:3], *operations], 1):
        (event,), _ = REGISTRY.record(seq, seq, [operation], None, None)
        try:
            state = REGISTRY.apply(state, event)
        except TradingError:
            continue
    return state


class TestRoundTrips:
    @settings(max_examples=60, deadline=None)
    @given(plain_states())
    def test_any_such_dictionary_comes_back(self, plain: dict[str, Any]) -> None:
        state = EngineState.from_dict(plain)
        assert EngineState.from_dict(state.to_dict()) == state
        assert state.to_dict()["cash"] == amount_of(plain["cash"])
        assert {label: rest.keys() for label, rest in plain["positions"].items()} == {
            label: rest.keys() - {"cost"} for label, rest in state.to_dict()["positions"].items()
        }
        for key in set(plain) - KNOWN:
            assert state.to_dict()[key] == plain[key]

    @settings(max_examples=50, deadline=None)
    @given(st.lists(told_operations(), max_size=14), st.sampled_from([2, 5, 100]))
    def test_any_state_that_operations_reach(self, operations: list[Operation], limit: int) -> None:
        state = reached(operations, limit)
        plain = state.to_dict()
        assert EngineState.from_dict(plain) == state
        assert EngineState.from_dict(json.loads(json.dumps(plain, default=str))) == state
        payload = FullState.of(state)
        (event,), _ = REGISTRY.record(1, 1, [payload], None, None)
        assert REGISTRY.apply(REGISTRY.initial(), event) == state

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(told_operations(), max_size=8),
        st.lists(told_operations(), min_size=1, max_size=6),
    )
    def test_what_came_back_goes_on_in_the_same_way(
        self, before: list[Operation], after: list[Operation]
    ) -> None:
        state = reached(before, 5)
        again = EngineState.from_dict(state.to_dict())
        for seq, operation in enumerate(after, 100):
            (event,), _ = REGISTRY.record(seq, seq, [operation], None, None)
            one, other = outcome(state, event), outcome(again, event)
            assert one == other
            if isinstance(one, EngineState):
                state = again = one


def outcome(state: EngineState, event: Any) -> Any:
    try:
        return REGISTRY.apply(state, event)
    except TradingError as error:
        return str(error)


def amount_of(number: Any) -> Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
