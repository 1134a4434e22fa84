"""`reconcile`: a venue's report against the state, as a plan, and the plan applied."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from eventstore import EventStore, InvalidPayloadError, Operation, SequenceConflictError
from handlers import (
    AdjustCash,
    AmountError,
    ConflictError,
    DefineInstrument,
    EngineState,
    OrderClosed,
    OrderSent,
    OrderUpdated,
    RecordTrade,
    UnknownSymbolError,
    UpdatePosition,
    trading_registry,
)
from handlers.position import SIDES
from handlers.reconcile import Plan, ReportedOrder, ReportedPosition, VenueReport, reconcile

REGISTRY = trading_registry()
NOON = 1_772_452_800_000_000_000  # 2026-03-02 12:00:00Z
PAIR = DefineInstrument(symbol="BTC/USDT", kind="spot", base="BTC", quote="USDT")
INVERSE = DefineInstrument(symbol="BTCUSD", kind="inverse", base="BTC", multiplier=100)


def apply(
    state: EngineState, operations: Sequence[Operation], metadata: Mapping[str, Any] | None = None
) -> EngineState:
    """Fold operations the way a store does: checked, encoded, decoded."""
    for operation in operations:
        (event,), _ = REGISTRY.record(9, 9, [operation], None, metadata)
        state = REGISTRY.apply(state, event)
    return state


def told(*operations: Operation) -> EngineState:
    return apply(EngineState(), operations)


def report(**parts: Any) -> VenueReport:
    return VenueReport(**{"venue": "v", "as_of": NOON, "seq": 1, **parts})


def held(shares: Any, price: Any = 10, **fields: Any) -> UpdatePosition:
    return UpdatePosition(**{"symbol": "X", "shares": shares, "price": price, **fields})


def sent(name: str, **fields: Any) -> OrderSent:
    fields = {
        "side": "buy",
        "shares": 2,
        "price": 10,
        "venue": "v",
        "time": NOON - 10**11,
        **fields,
    }
    return OrderSent(client_order_id=name, symbol="X", **fields)


def only(plan: Plan) -> Operation:
    (operation,) = plan.operations
    return operation


# ---- positions -----------------------------------------------------------------------------


def test_a_position_is_set_to_the_venues_shares_at_the_venues_price() -> None:
    plan = reconcile(told(held(5)), report(positions={"X": ReportedPosition(7, 11.5)}))
    assert only(plan) == UpdatePosition(
        symbol="X", shares=Decimal(7), price=Decimal("11.5"), venue="v", time=NOON,
        reference=f"reconcile v main X net {NOON}",
    )  # fmt: skip
    row = plan.rows[0]
    assert (row.what, row.name) == ("position", "X")
    assert [row.ours, row.venue, row.difference] == [5, 7, 2]
    assert row.outcome == "corrected"


def test_without_a_price_of_the_venue_ours_stays() -> None:
    state = told(held(5, 10, weight=0.5))
    after = apply(state, reconcile(state, report(positions={"X": 7})).operations)
    position = after.position("X")
    assert position is not None
    assert [position.shares, position.average_price, position.weight] == [7, 10, Decimal("0.5")]


def test_what_the_venue_does_not_hold_goes() -> None:
    state = told(held(5), held(3, symbol="Y", account="other"))
    after = apply(state, reconcile(state, report(positions={})).operations)
    assert after.position("X") is None
    assert after.position("Y", "other") == state.position("Y", "other")


@pytest.mark.parametrize("shares", [-2, 3])
def test_a_position_of_the_other_sign_needs_a_price(shares: int) -> None:
    state = EngineState() if shares > 0 else told(held(5))
    with pytest.raises(InvalidPayloadError, match="price is needed") as failure:
        reconcile(state, report(positions={"X": shares}))
    assert failure.value.field == "$.positions['X'].average_price"
    priced = report(positions={"X": ReportedPosition(shares, 9)})
    assert apply(state, reconcile(state, priced).operations).position("X") is not None


def test_an_inverse_contract_needs_a_price_above_zero() -> None:
    positions = {"BTCUSD": ReportedPosition(1, 0)}
    with pytest.raises(InvalidPayloadError, match="inverse") as failure:
        reconcile(told(INVERSE), report(positions=positions))
    assert failure.value.field == "$.positions['BTCUSD'].average_price"


def test_the_average_price_alone_is_no_difference() -> None:
    plan = reconcile(told(held(5)), report(positions={"X": ReportedPosition(5, 99)}))
    assert plan.empty
    assert plan.rows[0].outcome == "agrees"


def test_long_and_short_positions_are_compared_each_by_itself() -> None:
    state = told(held(5, position_side="long"), held(-2, position_side="short"))
    positions = {("X", "long"): 5, ("X", "short"): -3}
    plan = reconcile(state, report(positions=positions))
    assert {row.name: row.difference for row in plan.rows} == {"X long": 0, "X short": -1}
    position = apply(state, plan.operations).position("X", side="short")
    assert position is not None
    assert position.shares == -3


def test_a_net_report_of_what_is_held_long_is_refused_unless_both_are_told() -> None:
    state = told(held(5, position_side="long"))
    with pytest.raises(InvalidPayloadError, match="Tell both"):
        reconcile(state, report(positions={"X": ReportedPosition(5, 10)}))
    both = report(positions={"X": ReportedPosition(5, 10), ("X", "long"): 0})
    after = apply(state, reconcile(state, both).operations)
    assert [position.side for position in after.positions.values()] == ["net"]


# ---- balances, and spot pairs ----------------------------------------------------------------


def test_a_balance_is_corrected_by_a_flow_of_its_own_type() -> None:
    state = told(AdjustCash(type="deposit", amount=100, reference="d", currency="USDT"))
    plan = reconcile(state, report(balances={"USDT": Decimal("99.5")}))
    assert only(plan) == AdjustCash(
        type="correction", amount=Decimal("-0.5"), currency="USDT", venue="v", time=NOON,
        reference=f"reconcile v main USDT {NOON}",
    )  # fmt: skip
    after = apply(state, plan.operations)
    assert after.balance("USDT") == Decimal("99.5")
    assert after.flows["correction"] == {"USDT": Decimal("-0.5")}
    assert (after.realized_pnl, after.fees) == ({}, {})


def test_the_coins_of_a_spot_pair_are_corrected_once() -> None:
    buy = RecordTrade(trade_id="1", symbol="BTC/USDT", side="buy", shares=2, price=100, venue="v")
    state = told(PAIR, buy)
    plan = reconcile(state, report(positions={}, balances={"BTC": 3, "USDT": -200}))
    assert isinstance(only(plan), AdjustCash)
    assert "position BTC/USDT (a spot pair: its coins are the balance BTC)" in plan.not_compared
    after = apply(state, plan.operations)
    assert after.balance("BTC") == 3
    assert after.position("BTC/USDT") == state.position("BTC/USDT")


def test_a_spot_pair_that_the_report_names_is_compared_with_the_position() -> None:
    buy = RecordTrade(trade_id="1", symbol="BTC/USDT", side="buy", shares=2, price=100, venue="v")
    state = told(PAIR, buy)
    after = apply(state, reconcile(state, report(positions={"BTC/USDT": 3})).operations)
    position = after.position("BTC/USDT")
    assert position is not None
    assert [position.shares, position.cost] == [3, 300]
    assert after.balances == state.balances


# ---- orders --------------------------------------------------------------------------------


def test_an_order_that_the_venue_does_not_show_is_closed() -> None:
    state = told(sent("a"), sent("b", account="other"), sent("c", venue="w"))
    plan = reconcile(state, report(orders={}))
    assert only(plan) == OrderClosed(
        client_order_id="a", venue="v", time=NOON,
        reason=f"reconcile v main not open at the venue {NOON}",
    )  # fmt: skip
    assert set(apply(state, plan.operations).orders) == {
        ("v", "other", "b", ""),
        ("w", "main", "c", ""),
    }


def test_an_order_gets_the_venues_id_and_what_the_venue_says() -> None:
    state = told(sent("a"))
    shown = ReportedOrder(symbol="X", side="buy", shares=3, price=9.5, client_order_id="a")
    plan = reconcile(state, report(orders={"7": shown}))
    assert plan.rows[0].note == "price 10 and 9.5, order id none and 7"
    (order,) = apply(state, plan.operations).orders.values()
    assert (order.order_id, order.client_order_id, str(order.shares)) == ("7", "a", "3")


@pytest.mark.parametrize(("time", "left"), [(NOON - 10**11, set()), (None, {"b"})])
def test_an_id_here_that_is_another_orders_at_the_venue(time: int | None, left: set[str]) -> None:
    """The order that had the id is none of the report. Its closing does not close the id."""
    has_id = OrderUpdated(
        order_id="7", client_order_id="b", symbol="X", side="buy", shares=2, price=10, venue="v"
    )
    state = told(sent("a"), sent("b", time=time), has_id)
    shown = ReportedOrder(symbol="X", side="buy", shares=2, price=10, client_order_id="a")
    plan = reconcile(state, report(orders={"7": shown}))
    assert [row.name for row in plan.rows] == ["7", "b"]
    after = apply(state, plan.operations)
    assert {key[2]: order.order_id for key, order in after.orders.items()} == {
        "a": "7",
        **dict.fromkeys(left, ""),
    }
    assert reconcile(after, report(orders={"7": shown})).empty
    after = apply(after, [msgspec.structs.replace(has_id, client_order_id="a", shares=1)])
    assert after.orders["v", "main", "a", ""].shares == 1


def test_an_order_of_somebody_else_is_open_from_now_on() -> None:
    plan = reconcile(
        EngineState(), report(orders={"7": ReportedOrder(symbol="X", side="sell", shares=1)})
    )
    assert isinstance(only(plan), OrderUpdated)
    assert ("v", "main", "", "7") in apply(EngineState(), plan.operations).orders


def test_missing_fills_are_shown_and_not_corrected() -> None:
    state = told(OrderUpdated(order_id="7", symbol="X", side="buy", shares=2, venue="v"))
    shown = ReportedOrder(symbol="X", side="buy", shares=2, filled=1)
    plan = reconcile(state, report(orders={"7": shown}))
    assert plan.empty
    assert (plan.rows[0].outcome, plan.rows[0].note) == (
        "left",
        "filled 0 and 1: ask for the trades",
    )


@pytest.mark.parametrize(
    ("order", "note"),
    [
        (sent("a", time=NOON + 1), "newer than this report"),
        (sent("a", time=NOON - 10**10), "less than a minute before"),
        (sent("a", time=None), "without a time"),
    ],
)
def test_an_order_that_may_be_newer_than_the_report_is_left(order: OrderSent, note: str) -> None:
    plan = reconcile(told(order), report(orders={}))
    assert plan.empty
    assert note in plan.rows[0].note
    assert plan.rows[0].outcome == "left"


def test_a_newer_message_about_a_shown_order_stands() -> None:
    state = told(
        OrderUpdated(order_id="7", symbol="X", side="buy", shares=2, venue="v", time=NOON + 1)
    )
    plan = reconcile(state, report(orders={"7": ReportedOrder(symbol="X", side="buy", shares=3)}))
    assert plan.empty
    assert plan.rows[0].note == "left: told by the venue after this report"


def test_an_order_that_is_known_as_closed_is_left() -> None:
    state = told(sent("a"), OrderClosed(order_id="a", venue="v"))
    shown = ReportedOrder(symbol="X", side="buy", shares=2, client_order_id="a")
    plan = reconcile(state, report(orders={"7": shown}))
    assert plan.empty
    assert plan.rows[0].note.startswith("closed here")


# ---- tolerances ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerances", "corrected"),
    [
        ({}, "BTC USD X Y"),
        ({"cash": 1}, "X Y"),
        ({"positions": 1}, "BTC USD"),
        ({"cash": 1, "BTC": 0}, "BTC X Y"),
        ({"USD": 1, "X": Decimal(1)}, "BTC Y"),
        ({"cash": 0.99, "positions": Decimal("0.9999999999999999999999")}, "BTC USD X Y"),
    ],
)
def test_tolerances_by_name_stand_before_those_for_all(
    tolerances: dict[str, Any], corrected: str
) -> None:
    state = told(held(5), held(5, symbol="Y"))
    reported = report(positions={"X": 6, "Y": 4}, balances={"BTC": 1, "USD": -1})
    rows = reconcile(state, reported, tolerances).rows
    found = [row.name for row in rows if row.outcome == "corrected"]
    assert sorted(found) == corrected.split()
    assert {row.outcome for row in rows} <= {"corrected", "within tolerance"}


@pytest.mark.parametrize("bad", [-1, Decimal("NaN"), float("inf"), "1", True, None])
def test_a_tolerance_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidPayloadError) as failure:
        reconcile(EngineState(), report(balances={}), {"USD": bad})
    assert failure.value.field == "$.tolerances['USD']"


# ---- what is compared, and how it is said ----------------------------------------------------


def test_what_is_not_told_is_not_compared() -> None:
    plan = reconcile(told(held(5), sent("a")), report())
    assert (plan.rows, plan.not_compared) == ((), ("positions", "balances", "orders"))


def test_the_table() -> None:
    state = told(
        held(-17.499), held(1, symbol="Y"), sent("a"),
        AdjustCash(type="deposit", amount=2_077_331.01, reference="d", currency="USDT"),
    )  # fmt: skip
    positions = {"X": -17.067, "Y": 1, "Z": ReportedPosition(100, 1)}
    plan = reconcile(state, report(seq=5000, positions=positions, balances={"USDT": 2_050_462.11}))
    assert (
        f"{plan}\n"
        == """\
v main as of 2026-03-02 12:00:00Z, against event 5,000
                        ours         venue  difference  correction
  position X         -17.499       -17.067      +0.432  update_position
  position Y               1             1              agrees
  position Z               -           100        +100  update_position
  balance USDT  2,077,331.01  2,050,462.11  -26,868.90  adjust_cash
not compared: orders
"""
    )
    assert str(reconcile(EngineState(), report(balances={}, as_of=NOON + 1500, positions={}))) == (
        "v main as of 2026-03-02 12:00:00.0000015Z, against event 1\n"
        "  nothing on either side\nnot compared: orders"
    )


def test_the_table_of_a_time_that_no_calendar_has() -> None:
    assert "as of 1000000000000000000000 ns" in str(reconcile(EngineState(), report(as_of=10**21)))


def test_the_plan_as_json() -> None:
    state = told(held(5))
    plan = reconcile(state, report(positions={"X": 7.5}, balances={}))
    plain = plan.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["rows"][0] == {
        "what": "position", "name": "X", "ours": "5", "venue": "7.5", "difference": "2.5",
        "tolerance": "0", "outcome": "corrected", "note": "",
        "correction": {
            "operation": "update_position", "symbol": "X", "shares": "7.5", "price": "10",
            "weight": None, "account": "main", "position_side": "net", "venue": "v",
            "reference": f"reconcile v main X net {NOON}", "time": NOON,
        },
    }  # fmt: skip
    assert plan.metadata == {
        "source": "reconcile", "venue": "v", "account": "main", "as_of": NOON, "compared_seq": 1,
        "corrected": [{"what": "position", "name": "X", "ours": "5", "venue": "7.5"}],
    }  # fmt: skip


# ---- bad reports -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"venue": None}, "venue"),
        ({"account": ""}, "account"),
        ({"as_of": 1.5}, "as_of"),
        ({"as_of": -1}, "as_of"),
        ({"seq": True}, "seq"),
        ({"positions": []}, "positions"),
        ({"positions": {"": 1}}, "positions['']"),
        ({"positions": {("X",): 1}}, "positions[('X',)]"),
        ({"positions": {("X", "both"): 1}}, "positions[('X', 'both')]"),
        ({"positions": {"X": 1, ("X", "net"): 1}}, "positions[('X', 'net')]"),
        ({"positions": {"X": "1"}}, "positions['X'].shares"),
        ({"positions": {"X": True}}, "positions['X'].shares"),
        ({"positions": {"X": Decimal("sNaN")}}, "positions['X'].shares"),
        ({"positions": {"X": ReportedPosition(1, float("inf"))}}, "positions['X'].average_price"),
        ({"positions": {("X", "short"): 1}}, "positions[('X', 'short')].shares"),
        ({"positions": {("X", "long"): -1}}, "positions[('X', 'long')].shares"),
        ({"balances": 5}, "balances"),
        ({"balances": {5: 5}}, "balances[5]"),
        ({"balances": {"USD": float("nan")}}, "balances['USD']"),
        ({"balances": {"USD": None}}, "balances['USD']"),
        ({"balances": {"USD": Decimal("1e200")}}, "balances['USD']"),
        ({"orders": {"7": {}}}, "orders['7']"),
        ({"orders": {"": ReportedOrder(symbol="X", side="buy", shares=1)}}, "orders['']"),
        ({"orders": {"7": ReportedOrder(symbol="", side="buy", shares=1)}}, "orders['7'].symbol"),
        ({"orders": {"7": ReportedOrder(symbol="X", side="buy", shares=0)}}, "orders['7'].shares"),
        (
            {"orders": {"7": ReportedOrder(symbol="X", side="buy", shares=1, filled=-1)}},
            "orders['7'].filled",
        ),
        (
            {"orders": {"7": ReportedOrder(symbol="X", side="b", shares=1)}},  # type: ignore[arg-type]  # a bad side
            "orders['7'].side",
        ),
    ],
)
def test_a_bad_report_is_refused_with_its_path(parts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidPayloadError) as failure:
        report(**parts)
    assert failure.value.field == f"$.{field}"
    assert failure.value.operation == "reconcile"


def test_no_number_is_an_error_of_amounts() -> None:
    with pytest.raises(AmountError):
        report(balances={"USD": Decimal("NaN")})


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"positions": {"Z": 1}}, "$.positions['Z']"),
        (
            {"orders": {"7": ReportedOrder(symbol="Z", side="buy", shares=1)}},
            "$.orders['7'].symbol",
        ),
    ],
)
def test_a_strict_state_refuses_a_symbol_without_instrument(
    parts: dict[str, Any], path: str
) -> None:
    with pytest.raises(UnknownSymbolError) as failure:
        reconcile(EngineState(strict=True), report(**parts))
    assert path in str(failure.value)


def test_a_report_keeps_nothing_of_its_maker() -> None:
    balances = {"USD": 1}
    made = report(balances=balances)
    balances["USD"] = 2
    assert made.balances == Map({"USD": Decimal(1)})


# ---- with a store ----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_plan_is_appended_as_it_stands() -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        await store.append(AdjustCash(type="deposit", amount=10, reference="d"))
        asked = report(seq=store.seq, balances={"USD": 12}, positions={"X": ReportedPosition(1, 5)})
        plan = reconcile(store.state, asked, {})
        await store.append(*plan.operations, expected_seq=plan.seq, metadata=plan.metadata)
        assert store.state.cash == 12
        assert reconcile(store.state, asked).empty


@pytest.mark.asyncio
async def test_a_plan_is_refused_after_another_event() -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        await store.append(AdjustCash(type="deposit", amount=10, reference="d"))
        plan = reconcile(store.state, report(seq=store.seq, balances={"USD": 12}), {})
        await store.append(AdjustCash(type="deposit", amount=2, reference="e"))
        with pytest.raises(SequenceConflictError):
            await store.append(*plan.operations, expected_seq=plan.seq)
        assert store.state.cash == 12


def test_a_plan_that_is_told_again_later_takes_nothing_back() -> None:
    state = told(held(5))
    plan = reconcile(state, report(positions={"X": 7}, balances={"USD": 3}))
    after = apply(state, plan.operations)
    traded = apply(after, [RecordTrade(trade_id="1", symbol="X", side="buy", shares=1, price=10)])
    assert apply(traded, plan.operations) is traded


def test_one_report_corrects_a_number_once() -> None:
    asked = report(balances={"USD": 12})
    state = apply(EngineState(), reconcile(EngineState(), asked).operations)
    state = apply(state, [AdjustCash(type="deposit", amount=1, reference="d")])
    again = reconcile(state, asked)
    with pytest.raises(ConflictError):
        apply(state, again.operations)


def test_the_context_of_the_caller_changes_nothing() -> None:
    state = told(held(Decimal("1234567.00000001")))
    asked = report(positions={"X": Decimal("1234567.00000002")})
    with localcontext() as context:
        context.prec = 3
        plan = reconcile(state, asked)
        assert plan.rows[0].difference == Decimal("1E-8")
        assert "1,234,567.00000002" in str(plan)
        assert plan == reconcile(state, asked)


# ---- any state, any report -------------------------------------------------------------------

amounts = (
    st.decimals(-1000, 1000, places=8)
    | st.integers(-9, 9)
    | st.floats(-1e6, 1e6).filter(lambda number: not 0 < abs(number) < 1e-90)
)
positive = st.decimals(Decimal("0.001"), 1000, places=3)
accounts = st.sampled_from(["main", "sub"])
symbols = st.sampled_from(["X", "Y", "BTC/USDT", "BTCUSD"])
names = st.sampled_from(["1", "2", "3"])
engine_names = names.map("c".__add__) | names
"""An engine and a venue may give one text to two orders."""
times = st.none() | st.just(NOON - 10**11) | st.integers(NOON - 2, NOON + 2)
venues = st.sampled_from(["v", "w"])
trade_sides = st.sampled_from(["buy", "sell"])


def built(kind: type[Operation], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.builds(kind, **fields)


trades = built(
    RecordTrade, trade_id=st.uuids().map(str), symbol=symbols, side=trade_sides, shares=positive,
    price=positive, fee=st.none() | amounts, venue=venues, account=accounts,
    position_side=st.sampled_from(SIDES), order_id=names,
)  # fmt: skip
movements = built(
    AdjustCash, type=st.sampled_from(["deposit", "funding", "fee"]), amount=amounts,
    reference=st.uuids().map(str), currency=st.sampled_from(["USD", "USDT", "BTC"]),
    account=accounts,
)  # fmt: skip
orders_sent = built(
    OrderSent, client_order_id=engine_names, symbol=symbols, side=trade_sides,
    shares=positive, price=st.none() | positive, venue=venues, account=accounts, time=times,
)  # fmt: skip
orders_updated = built(
    OrderUpdated, order_id=names, client_order_id=st.just("") | engine_names,
    symbol=symbols, side=trade_sides, shares=positive, price=st.none() | positive, venue=venues,
    account=accounts, time=times,
)  # fmt: skip
orders_closed = built(OrderClosed, order_id=names, venue=venues, account=accounts, time=times)
states = st.lists(
    st.one_of(trades, movements, orders_sent, orders_updated, orders_closed), max_size=12
).map(lambda operations: told(PAIR, INVERSE, *operations))


@st.composite
def reported_positions(draw: st.DrawFn) -> dict[Any, ReportedPosition]:
    """Every side of each told symbol, so that no report mixes modes."""
    found: dict[Any, ReportedPosition] = {}
    for symbol in draw(st.sets(symbols)):
        for side, sign in (("net", draw(st.sampled_from([1, -1]))), ("long", 1), ("short", -1)):
            shares = sign * draw(st.just(Decimal(0)) | positive)
            found[symbol, side] = ReportedPosition(shares, draw(positive))
    return found


def one_each(names: Iterable[str]) -> bool:
    given = [name for name in names if name]
    return len(given) == len(set(given))


reported_orders = st.dictionaries(
    names,
    st.builds(
        ReportedOrder, symbol=symbols, side=trade_sides, shares=positive,
        price=st.none() | positive, client_order_id=st.just("") | engine_names,
        filled=st.none() | positive,
    ),
).filter(lambda orders: one_each(order.client_order_id for order in orders.values()))  # fmt: skip
reports = st.builds(
    VenueReport,
    venue=venues,
    account=accounts,
    as_of=st.just(NOON),
    seq=st.just(3),
    positions=st.none() | reported_positions(),
    balances=st.none() | st.dictionaries(st.sampled_from(["USD", "USDT", "BTC", "EUR"]), amounts),
    orders=st.none() | reported_orders,
)
tolerances = st.dictionaries(
    st.sampled_from(["cash", "positions", "X", "USD"]), st.decimals(0, 100, places=2)
)


def test_two_orders_of_one_id_of_the_engine_are_refused() -> None:
    shown = ReportedOrder(symbol="X", side="buy", shares=3, client_order_id="a")
    with pytest.raises(InvalidPayloadError) as refused:
        report(orders={"7": shown, "8": shown})
    assert refused.value.field == "$.orders['8'].client_order_id"


def others(state: EngineState, asked: VenueReport) -> EngineState:
    """The state without all that corrections of a report may change."""

    def kept(mapping: Map[Any, Any], account_of: Any) -> Map[Any, Any]:
        return Map({key: v for key, v in mapping.items() if account_of(key, v) != asked.account})

    return state.replace(
        positions=kept(state.positions, lambda _, position: position.account),
        balances=kept(state.balances, lambda key, _: "main" if isinstance(key, str) else key[0]),
        orders=Map(
            {k: v for k, v in state.orders.items() if k[:2] != (asked.venue, asked.account)}
        ),
        order_names=Map(
            {k: v for k, v in state.order_names.items() if k[:2] != (asked.venue, asked.account)}
        ),
        flow_sums=Map({k: v for k, v in state.flow_sums.items() if k[0] != "correction"}),
        memory=EngineState().memory,
    )


@settings(max_examples=100, deadline=None)
@given(states, reports, tolerances)
def test_a_plan_makes_the_next_plan_empty_and_changes_nothing_else(
    state: EngineState, asked: VenueReport, allowed: dict[str, Decimal]
) -> None:
    plan = reconcile(state, asked, allowed)
    after = apply(state, plan.operations, plan.metadata)
    again = reconcile(after, asked, allowed)
    assert again.empty, f"{plan}\n{again}"
    assert others(after, asked) == others(state, asked)
    assert apply(after, plan.operations) == after
    remembered = dict(state.memory.told())
    assert remembered.items() <= dict(after.memory.told()).items()
    for row in again.rows:
        if row.what != "order":
            assert abs(row.difference) <= row.tolerance
    corrected = {row.name for row in plan.rows if row.what == "position" and row.correction}
    for key, position in state.positions.items():
        label = position.symbol + ("" if position.side == "net" else f" {position.side}")
        if position.account != asked.account or label not in corrected:
            assert after.positions.get(key) == position
