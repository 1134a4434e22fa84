"""Exact amounts: what a number of a payload stands for, and whose decimal context counts.

Fills of a venue are decimals. What was bought and sold is flat, what was not sold is there, cash is
the venue's to the last digit, whatever the sizes and however many fills.
"""

from __future__ import annotations

import decimal
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, InvalidPayloadError, Operation, replay, state_at
from handlers import (
    AdjustCash,
    AmountError,
    CorrectTrade,
    DefineInstrument,
    EngineState,
    FullState,
    Mark,
    OrderSent,
    OrderUpdated,
    RecordTrade,
    Settle,
    TradeFee,
    UpdatePosition,
    outcome_of,
    record_trade,
    trading_registry,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    SPOT,
    D,
    Fold,
    Record,
    books,
    bust,
    buy,
    correct,
    position_of,
    sell,
)

np = pytest.importorskip("numpy")

BAD_CONTEXTS = {
    "three digits": decimal.Context(prec=3),
    "rounding up": decimal.Context(prec=5, rounding=decimal.ROUND_UP),
    "every trap": decimal.Context(
        prec=9,
        traps=[
            decimal.Inexact,
            decimal.Rounded,
            decimal.Subnormal,
            decimal.FloatOperation,
            decimal.Clamped,
            decimal.Underflow,
        ],
    ),
    "no traps and no room": decimal.Context(prec=1, Emin=0, Emax=0, traps=[]),
}


@pytest.fixture(params=sorted(BAD_CONTEXTS))
def context_of_the_caller(request: pytest.FixtureRequest) -> Iterator[decimal.Context]:
    with decimal.localcontext(BAD_CONTEXTS[request.param]) as context:
        yield context


class TestReading:
    @pytest.mark.parametrize(
        "price", [0.1, 3.3, 1e-8, 1e22, 5e-324 * 2**900, 0.30000000000000004, 1e100, 123456789.12]
    )
    def test_a_float_is_the_shortest_decimal_that_gives_it_back(
        self, fold: Fold, price: float
    ) -> None:
        state = fold(buy(1, price))
        assert position_of(state).cost == Decimal(repr(price))
        assert float(position_of(state).average_price) == price

    @pytest.mark.parametrize("number", [7, 7.0, D(7), D("7.000"), D("0.7e1")])
    def test_equal_numbers_are_the_same_fill(self, fold: Fold, number: Any) -> None:
        state = fold(buy(7, 7, "1", fee=7))
        assert outcome_of(state, buy(number, number, "1", fee=number)) == "duplicate"
        assert fold(buy(number, number, "1", fee=number), start=state, first=2) is state

    @pytest.mark.parametrize("number", ["7", "7.0", "0.7e1"])
    def test_text_by_name_is_a_number(self, fold: Fold, record: Record, number: str) -> None:
        """What comes from JSON, where venues write numbers as text."""
        told = {"trade_id": "1", "symbol": "AAPL", "side": "buy"}
        event = record("record_trade", told | {"shares": number, "price": number, "fee": number})
        assert books(record_trade(EngineState(), event)) == books(fold(buy(7, 7, "1", fee=7)))
        assert outcome_of(fold(buy(7, 7, "1", fee=7)), event.data) == "duplicate"

    @pytest.mark.parametrize(
        "number", [np.int64(3), np.float32(0.1), np.longdouble(1), np.float64(0.1)]
    )
    def test_numbers_of_numpy_are_those_of_the_equal_plain_number(
        self, fold: Fold, record: Record, number: Any
    ) -> None:
        plain = number.item() if number.dtype.itemsize <= 8 else float(number)
        event = record(buy(number, number, "1"))
        assert type(event.data.shares) is type(plain)
        state = record_trade(EngineState(), event)
        assert books(state) == books(fold(buy(plain, plain, "1")))
        assert outcome_of(state, buy(number, number, "1")) == "duplicate"
        assert outcome_of(state, buy(number, number, "2")) == "booked"

    def test_a_long_double_without_an_equal_number_is_refused_with_its_path(
        self, record: Record
    ) -> None:
        with pytest.raises(InvalidPayloadError, match=r"pass float\(value\)") as caught:
            record(buy(np.longdouble("0.1"), 1))
        assert caught.value.field == "$.shares"

    def test_many_digits_stay(self, fold: Fold) -> None:
        number = D("1." + "123456789" * 22)
        state = fold(buy(number, number), buy(number, number, "2"))
        with decimal.localcontext(prec=1000):
            assert position_of(state).shares == number + number
            assert state.cash == -2 * number * number


NAMES = {
    "record_trade": ("shares", "price", "fee"),
    "correct_trade": ("shares", "price", "fee"),
    "trade_fee": ("fee",),
    "adjust_cash": ("amount",),
    "update_position": ("shares", "price", "weight"),
    "settle": ("price",),
    "mark": ("price",),
    "order_sent": ("shares", "price"),
    "order_updated": ("shares", "price"),
    "define_instrument": ("multiplier", "price_step", "quantity_step"),
}
GOOD: dict[str, Operation] = {
    "record_trade": buy(1, 1, "1", fee=1, symbol="BTC-PERP"),
    "correct_trade": correct("1", "2", 1, 1, fee=1, symbol="BTC-PERP"),
    "trade_fee": TradeFee(trade_id="1", symbol="BTC-PERP", side="buy", fee=1),
    "adjust_cash": AdjustCash(type="deposit", amount=1, reference="r"),
    "update_position": UpdatePosition(symbol="AAPL", shares=1, price=1, weight=1),
    "settle": Settle(symbol="BTC-PERP", price=1, reference="r"),
    "mark": Mark(symbol="AAPL", price=1),
    "order_sent": OrderSent(client_order_id="c", symbol="AAPL", side="buy", shares=1, price=1),
    "order_updated": OrderUpdated(order_id="o", symbol="AAPL", side="buy", shares=1, price=1),
    "define_instrument": DefineInstrument(symbol="X", multiplier=1, price_step=1, quantity_step=1),
}
PLACES = [(operation, field) for operation, fields in NAMES.items() for field in fields]
LONG = decimal.Context(prec=5000).divide(D(1), D(3))
NO_AMOUNTS: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "beyond, float": 1.1e101,
    "tiny, float": 5e-324,
    "NaN": D("NaN"),
    "NaN with a payload": D("-NaN123"),
    "sNaN": D("sNaN"),
    "Infinity": D("Infinity"),
    "-Infinity": D("-Infinity"),
    "1e101": D("1e101"),
    "1e-400": D("1e-400"),
    "overfull": D("1e999999"),
    "text NaN": "NaN",
    "text": "one",
    "empty text": "",
    "a large whole number": 10**101,
    "bool": True,
    "false": False,
    "list": [1],
    "complex": 1j,
    "5000 digits": LONG,
}


class TestRefusals:
    """A number that is none names its place, and nothing is written."""

    @pytest.mark.parametrize("name", sorted(NO_AMOUNTS))
    @pytest.mark.parametrize(("operation", "field"), PLACES)
    def test_with_the_path(
        self, fold: Fold, record: Record, registry: Any, operation: str, field: str, name: str
    ) -> None:
        good = GOOD[operation]
        state = fold(LINEAR)
        fields = {key: getattr(good, key) for key in good.__struct_fields__}
        told = type(good)(**(fields | {field: NO_AMOUNTS[name]}))
        with pytest.raises(InvalidPayloadError) as caught:
            registry.apply(state, record(told, seq=2))
        assert (caught.value.operation, caught.value.field) == (operation, f"$.{field}")
        assert str(caught.value).endswith("nothing was written")

    @pytest.mark.parametrize(("operation", "field"), PLACES)
    def test_the_bounds_are_in(
        self, fold: Fold, record: Record, registry: Any, operation: str, field: str
    ) -> None:
        good = GOOD[operation]
        fields = {key: getattr(good, key) for key in good.__struct_fields__}
        for number in (1e100, D("9.99e100"), D("1e-100"), 1e-100, D("0.1") ** 100):
            told = type(good)(**(fields | {field: number}))
            registry.apply(fold(LINEAR), record(told, seq=2))

    @pytest.mark.parametrize("number", [-1, -0.5, D("-1e-18"), 0, 0.0, -0.0, D("-0"), D("0e50")])
    @pytest.mark.parametrize(
        ("operation", "field"),
        [
            ("record_trade", "shares"),
            ("correct_trade", "shares"),
            ("order_sent", "shares"),
            ("order_updated", "shares"),
            ("define_instrument", "multiplier"),
            ("define_instrument", "price_step"),
        ],
    )
    def test_of_quantities_that_are_not_above_zero(
        self, fold: Fold, record: Record, registry: Any, operation: str, field: str, number: Any
    ) -> None:
        good = GOOD[operation]
        fields = {key: getattr(good, key) for key in good.__struct_fields__}
        told = type(good)(**(fields | {field: number}))
        with pytest.raises(InvalidPayloadError) as caught:
            registry.apply(fold(LINEAR), record(told, seq=2))
        assert caught.value.field == f"$.{field}"

    @pytest.mark.parametrize("zero", [0, -0.0, D("0e900"), D("-0e-900"), D("0.000")])
    def test_every_zero_is_zero(self, fold: Fold, zero: Any) -> None:
        state = fold(buy(1, zero, fee=zero))
        assert (state.cash, state.fees, position_of(state).cost) == (0, {}, 0)

    @pytest.mark.asyncio
    async def test_nothing_is_written(self) -> None:
        async with EventStore.in_memory(trading_registry()) as store:
            await store.append(FullState(cash=10))
            before = store.state
            for number in (D("NaN"), D("sNaN"), D("1e101"), D(-1), float("nan"), LONG):
                with pytest.raises(InvalidPayloadError):
                    await store.append(buy(1, 1), buy(number, 1, "2"))
                assert (store.seq, store.state) == (1, before)

    def test_a_sum_that_has_no_exact_result_is_an_amount_error(self) -> None:
        """No payload leads there: numbers that `full_state` takes, multiplied with each other."""
        huge = {"kind": "security", "quote": "USD", "settlement": "USD", "multiplier": "1e500"}
        state = EngineState.from_dict(
            {
                "balances": {"b": {"EUR": "1e-500"}},
                "instruments": {"A": huge},
                "marks": {"A": {"price": "1e500"}},
                "positions": {"A": {"shares": "1e500", "price": 1}},
            }
        )
        with pytest.raises(AmountError, match="equity: a sum has no exact result"):
            state.equity({"EUR": D("1e-100")})


class TestFlat:
    """Closing what was opened leaves nothing, and what is left is left exactly."""

    @pytest.mark.parametrize(
        ("parts", "left"),
        [
            ((0.1, 0.2, -0.3), None),
            ((-0.1, -0.2, 0.3), None),
            ((0.3, -0.1, -0.2), None),
            ((0.1, 0.2), "0.3"),
            ((0.1, 0.2, -0.29999999), "0.00000001"),
            ((1.0, -0.9), "0.1"),
            ((1.5e15, 0.1), "1500000000000000.1"),
            ((1.5e15, 0.1, -1.5e15), "0.1"),
            ((-1.5e15, -0.1, 1.5e15), "-0.1"),
            ((2.0**53, 1.0), "9007199254740993"),
            ((1e30, 1e-18, -1e30), "0.000000000000000001"),
            ((1e100, 1e-100, -1e100), "1e-100"),
        ],
    )
    def test_parts(self, fold: Fold, parts: tuple[float, ...], left: str | None) -> None:
        fills = [
            (buy if part > 0 else sell)(abs(part), 0.00001, f"t-{n}")
            for n, part in enumerate(parts)
        ]
        state = fold(*fills)
        if left is None:
            assert not state.positions
            assert (state.cash, state.realized_pnl) == (0, {})
        else:
            assert position_of(state).shares == D(left)
            assert position_of(state).average_price == D("0.00001")

    @pytest.mark.parametrize("digits", [8, 18])
    def test_random_round_trips(self, fold: Fold, digits: int) -> None:
        rng = random.Random(digits)
        for _ in range(150):
            parts = [
                D(rng.randrange(1, 10 ** (digits + 1))).scaleb(-digits)
                for _ in range(rng.randrange(1, 6))
            ]
            prices = [D(rng.randrange(1, 10**6)).scaleb(-2) for _ in parts]
            fills = [
                buy(part, price, str(n))
                for n, (part, price) in enumerate(zip(parts, prices, strict=True))
            ]
            with decimal.localcontext(prec=200):
                whole = sum(parts, D(0))
                paid = sum((part * price for part, price in zip(parts, prices, strict=True)), D(0))
                earned = whole * 500 - paid
            state = fold(*fills, sell(whole, 500, "x"))
            assert not state.positions
            assert state.cash == earned
            assert state.realized_pnl == ({"USD": earned} if earned else {})

    @pytest.mark.parametrize("count", [10, 1000])
    def test_fees_of_a_tenth(self, fold: Fold, count: int) -> None:
        fills = [(buy, sell)[n % 2](1.0, 10.0, str(n), fee=0.1) for n in range(count)]
        state = fold(FullState(cash=100.0), *fills)
        assert (state.cash, state.fees) == (D(100) - D(count) / 10, {"USD": D(count) / 10})

    def test_when_flat_cash_is_the_start_and_profit_less_fees(self, fold: Fold) -> None:
        trips = [
            fill
            for n in range(200)
            for fill in (
                buy(0.7, round(10 + n * 0.01, 2), f"b-{n}", fee=0.007),
                sell(0.7, round(10.05 + n * 0.01, 2), f"s-{n}", fee=0.007),
            )
        ]
        state = fold(FullState(cash=1000.0), *trips)
        assert state.cash == D("1004.2")
        assert state.cash == 1000 + state.realized_pnl["USD"] - state.fees["USD"]


class TestAverages:
    @pytest.mark.parametrize(
        ("price", "parts"),
        [
            (3.3, (0.1, 0.7, 0.4)),
            (100.0, (0.1, 0.2)),
            (0.07, (0.1, 0.2, 0.4)),
            (19.99, (0.3, 0.6, 1.1)),
        ],
    )
    def test_fills_at_one_price_average_to_it(
        self, fold: Fold, price: float, parts: tuple[float, ...]
    ) -> None:
        buys = [buy(part, price, str(n)) for n, part in enumerate(parts)]
        state = fold(*buys)
        assert position_of(state).average_price == D(str(price))
        whole = sum((D(str(part)) for part in parts), D(0))
        state = fold(sell(whole, price), start=state, first=9)
        assert not state.positions
        assert (state.cash, state.realized_pnl) == (0, {})

    def test_a_cost_that_does_not_divide_is_rounded_once_and_whole_when_flat(
        self, fold: Fold
    ) -> None:
        """3 at 10 and 4 at 10.1 cost 70.4: a share of it is 10.057142857..."""
        bought = [buy(3.0, 10.0), buy(4.0, 10.1)]
        state = fold(*bought, sell(1.0, 11.0, "1"))
        exact = Fraction(704, 70)
        left = Fraction(position_of(state).cost)
        assert abs(left - 6 * exact) < Fraction(1, 10**30)
        assert left - Fraction(state.realized_pnl["USD"]) == Fraction("70.4") - 11
        state = fold(sell(2.0, 11.0, "2"), sell(4.0, 12.0, "3"), start=state, first=4)
        assert (state.cash, state.realized_pnl) == (D("10.6"), {"USD": D("10.6")})

    def test_an_average_has_34_digits_half_even(self, fold: Fold) -> None:
        state = fold(buy(3, 1), buy(3, 2), buy(1, 0))
        assert str(position_of(state).average_price) == "1.285714285714285714285714285714286"
        state = fold(INVERSE, buy(1, 3, symbol="XBTUSD"))
        assert str(position_of(state, "XBTUSD").cost) == "33.33333333333333333333333333333333"


TAPE: list[Any] = [
    SPOT,
    LINEAR,
    INVERSE,
    FullState.from_mapping(
        {
            "cash": D("1000000.000000000000000001"),
            "instruments": {
                "BTC/USDT": {"kind": "spot", "base": "BTC", "quote": "USDT", "settlement": "USDT"},
                "XBTUSD": {
                    "kind": "inverse", "base": "BTC", "quote": "USD", "settlement": "BTC",
                    "multiplier": 100,
                },
            },
        }
    ),
    buy(7, 10.057, "1", fee=0.123456789),
    buy(1234567.890123456789, 3.3, "2"),
    sell(0.1, 11.11111111, "3"),
    sell(2_000_000, 5.55555, "4"),
    buy(1.123456789, 60_123.45, "5", symbol="BTC/USDT", fee=0.000123456, fee_currency="BTC"),
    sell(0.5, 60_123.46, "6", symbol="BTC/USDT", fee=0.000123456, fee_currency="BTC"),
    buy(3, 12_345.5, "7", symbol="XBTUSD"),
    sell(1, 23_456.5, "8", symbol="XBTUSD"),
    AdjustCash(type="interest", amount=D("0.000000000000000001"), reference="i"),
    Mark(symbol="AAPL", price=3.21987654321),
    Mark(symbol="XBTUSD", price=17_000.123),
    Mark(symbol="BTC/USDT", price=17_000.123),
    bust("2"),
    correct("1", "1a", 7.000000001, 10.0570001),
]  # fmt: skip


class TestContextOfTheCaller:
    def test_folding_is_the_same(self, fold: Fold, context_of_the_caller: decimal.Context) -> None:
        inside = fold(*TAPE)
        with decimal.localcontext(decimal.Context()):
            assert inside == fold(*TAPE)
        assert decimal.getcontext() is context_of_the_caller

    def test_everything_that_is_derived_is_the_same(
        self, fold: Fold, context_of_the_caller: decimal.Context
    ) -> None:
        state = fold(*TAPE)

        def derived() -> list[Any]:
            return [
                state.cash,
                state.realized_pnl,
                state.realized_by_symbol,
                state.fees,
                state.fees_by_symbol,
                state.flows,
                state.balances_by_account(),
                state.unrealized_by_symbol(),
                state.equity({"USDT": 1.0001, "BTC": 17_000.123}),
                [position.average_price for position in state.positions.values()],
                state.to_dict(),
                EngineState.from_dict(state.to_dict()),
                outcome_of(state, TAPE[-1]),
                outcome_of(state, buy(1, 1, "new")),
                outcome_of(state, buy(7, 10.057, "1")),
            ]

        inside = [str(one) for one in derived()]
        assert EngineState.from_dict(state.to_dict()) == state
        with decimal.localcontext(decimal.Context()):
            assert inside == [str(one) for one in derived()]

    def test_it_is_left_as_it_was(self, fold: Fold) -> None:
        with decimal.localcontext(decimal.Context(prec=3, traps=[decimal.Inexact])) as outside:
            outside.clear_flags()
            fold(*TAPE).equity({"USDT": 1, "BTC": 1})
            assert decimal.getcontext() is outside
            assert (outside.prec, outside.traps[decimal.Inexact]) == (3, True)
            assert not any(outside.flags.values())
            with pytest.raises(AmountError):
                fold(buy(D("1e101"), 1))
            assert decimal.getcontext() is outside

    @pytest.mark.asyncio
    async def test_live_recovered_replayed_and_in_the_past(
        self, tmp_path: Path, fold: Fold, context_of_the_caller: decimal.Context
    ) -> None:
        path = tmp_path / "store"
        async with EventStore.open(path, trading_registry()) as store:
            for operation in TAPE[:9]:
                await store.append(operation)
            await store.snapshot()
            await store.append(*TAPE[9:])
            live = store.state
        async with EventStore.open(path, trading_registry()) as store:
            assert store.state == live
        past = state_at(path, trading_registry(), len(TAPE) - 1)
        replayed = [state for _, state in replay(path, trading_registry())]
        assert (replayed[-2], replayed[-1]) == (past, live)
        with decimal.localcontext(decimal.Context()):
            assert books(live) == books(fold(*TAPE))
            assert books(past) == books(fold(*TAPE[:-1]))
            assert state_at(path, trading_registry()) == live


def test_amounts_come_back_as_they_were_told(record: Record) -> None:
    told: Any = CorrectTrade(
        trade_id="1", new_trade_id="2", symbol="AAPL", side="buy", shares=D("1.10"), price=3,
        fee=0.5,
    )  # fmt: skip
    data = record(told).data
    assert [str(data.shares), repr(data.price), repr(data.fee)] == ["1.10", "3", "0.5"]
    assert isinstance(record(buy(1, D(1))).data, RecordTrade)
