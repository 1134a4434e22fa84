"""`bust_trade`: as if the fill had never been, whichever fill it was and whenever it is told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from eventstore import InvalidPayloadError
from handlers import (
    AdjustCash,
    BustTrade,
    ConflictError,
    DefineInstrument,
    EngineState,
    FullState,
    OrderUpdated,
    RecordTrade,
    Settle,
    Split,
    TradingError,
    UnknownSymbolError,
    UpdatePosition,
    bust_trade,
    outcome_of,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    OPTION,
    SPOT,
    D,
    Fold,
    Record,
    balances,
    books,
    bust,
    buy,
    held,
    late_fee,
    position_of,
    sell,
)

TAPES: dict[str, list[Any]] = {
    "shares": [
        buy(10, 100, "1", fee=1),
        buy(5, 130, "2"),
        sell(7, 140, "3", fee=2),
        buy(1, 90, "4"),
    ],
    "flips": [sell(3, 100, "1"), buy(7, 110, "2"), sell(9, 90, "3"), buy(2, 80, "4", fee=-1)],
    "seven": [buy(3, 10, "1"), buy(4, D("10.1"), "2"), sell(1, 11, "3"), sell(6, 12, "4")],
}


@pytest.mark.parametrize("name", TAPES)
@pytest.mark.parametrize("gone", range(4))
def test_the_rest_folded_anew_is_the_same(fold: Fold, name: str, gone: int) -> None:
    """The only, the newest, the oldest fill, one in the middle: also in how profit is split."""
    tape = TAPES[name]
    fill = tape[gone]
    state = fold(*tape, bust(fill.trade_id, fill.side))
    assert books(state) == books(fold(*(other for other in tape if other is not fill)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_all_are_busted_in_any_order(fold: Fold, order: tuple[int, ...]) -> None:
    tape = TAPES["flips"]
    state = fold(*tape, *(bust(tape[place].trade_id, tape[place].side) for place in order))
    assert books(state) == books(EngineState())


@pytest.mark.parametrize("definition", [SPOT, LINEAR, INVERSE, OPTION])
@pytest.mark.parametrize("gone", range(3))
def test_every_kind_of_instrument(fold: Fold, definition: Any, gone: int) -> None:
    symbol = definition.symbol
    tape = [
        buy(3, 100, "1", symbol=symbol, fee=0.5),
        sell(7, 120, "2", symbol=symbol, fee=0.25, fee_currency="BTC"),
        buy(2, 90, "3", symbol=symbol, fee=0.25, fee_currency="BTC"),
    ]
    fill = tape[gone]
    state = fold(definition, *tape, bust(fill.trade_id, fill.side, symbol=symbol))
    assert books(state) == books(fold(definition, *(one for one in tape if one is not fill)))


def test_splits_settlements_and_fees_in_kind_since_then_are_folded_too(fold: Fold) -> None:
    for definition, since in (
        (OPTION, Split(symbol="AAPL C150", numerator=3, denominator=2, reference="s")),
        (LINEAR, Settle(symbol="BTC-PERP", price=130, reference="s")),
        (LINEAR, Settle(symbol="BTC-PERP", price=130, reference="s", final=True)),
        (
            LINEAR,
            AdjustCash(
                type="settlement", amount=7, currency="USDT", symbol="BTC-PERP", reference="s"
            ),
        ),
        (
            SPOT,
            AdjustCash(type="fee", amount=-0.5, currency="BTC", symbol="BTC/USDT", reference="f"),
        ),
    ):
        symbol = definition.symbol
        first, second = buy(2, 100, "1", symbol=symbol), buy(4, 110, "2", symbol=symbol)
        last = sell(1, 120, "3", symbol=symbol)
        state = fold(definition, first, second, since, last, bust("1", symbol=symbol))
        assert books(state) == books(fold(definition, second, since, last))


def test_of_a_side_in_hedge_mode(fold: Fold) -> None:
    long = buy(2, 100, "1", symbol="BTC-PERP", position_side="long")
    short = sell(3, 110, "1", symbol="BTC-PERP", position_side="short")
    state = fold(LINEAR, long, short, bust("1", symbol="BTC-PERP"))
    assert books(state) == books(fold(LINEAR, short))


def test_a_trade_with_oneself_has_one_id_for_two_fills(fold: Fold) -> None:
    state = fold(buy(1, 100, "1", fee=1), sell(1, 100, "1", fee=2), bust("1", "sell"))
    assert (held(state), state.fees, state.cash) == ((1, 100), {"USD": 1}, -101)


def test_told_again_it_changes_nothing(fold: Fold, record: Record) -> None:
    state = fold(buy(10, 100, "1"), sell(4, 110, "2"), bust("1"))
    assert bust_trade(state, record(bust("1"), seq=9)) is state
    assert outcome_of(state, bust("1")) == "duplicate"
    assert outcome_of(state, buy(10, 100, "1")) == "duplicate"
    assert fold(buy(10, 100, "1"), start=state, first=9) is state


def test_a_busted_fill_with_other_terms_is_a_conflict(fold: Fold) -> None:
    state = fold(buy(10, 100, "1"), bust("1"))
    assert outcome_of(state, buy(11, 100, "1")) == "conflict"


def test_a_reference_for_another_fill_is_a_conflict(fold: Fold, record: Record) -> None:
    state = fold(buy(10, 100, "1"), buy(10, 100, "2"), bust("1", reference="b-1"))
    with pytest.raises(ConflictError, match="trade_id 1 and 2"):
        bust_trade(state, record(bust("2", reference="b-1")))


class TestBeforeItsFill:
    def test_it_waits_and_the_fill_comes_busted(self, fold: Fold) -> None:
        state = fold(bust("1"))
        assert outcome_of(EngineState(), bust("1")) == "waiting"
        assert outcome_of(state, buy(10, 100, "1")) == "booked"
        assert books(state) == books(EngineState())
        state = fold(buy(10, 100, "1", fee=1), start=state, first=2)
        assert books(state) == books(EngineState())
        assert outcome_of(state, buy(10, 100, "1", fee=1)) == "duplicate"

    def test_only_the_fill_that_it_is_about(self, fold: Fold) -> None:
        state = fold(bust("1"), sell(10, 100, "1"), buy(1, 1, "1", symbol="MSFT"))
        assert (held(state), held(state, "MSFT")) == ((-10, 100), (1, 1))

    def test_with_a_fee_of_its_own_message(self, fold: Fold) -> None:
        messages = [buy(10, 100, "1"), bust("1"), late_fee("1", 2)]
        for order in itertools.permutations(messages):
            assert books(fold(*order)) == books(EngineState())


class TestOutsideCounts:
    """`update_position` between a fill and its bust: the count stands, the money comes back."""

    def test_a_count_after_the_fill_stands(self, fold: Fold) -> None:
        state = fold(
            buy(10, 100, "1", fee=1), UpdatePosition(symbol="AAPL", shares=8, price=99), bust("1")
        )
        assert (held(state), state.cash, state.fees) == ((8, 99), 0, {})

    def test_fills_after_the_count_stand_too(self, fold: Fold) -> None:
        count = UpdatePosition(symbol="AAPL", shares=8, price=100)
        state = fold(buy(10, 100, "1"), count, sell(4, 110, "2"), bust("1"))
        assert (held(state), state.cash, state.realized_pnl) == ((4, 100), 440, {"USD": 40})

    def test_a_fill_after_the_count_is_taken_back_from_the_count(self, fold: Fold) -> None:
        count = UpdatePosition(symbol="AAPL", shares=8, price=100, weight=0.5)
        state = fold(buy(10, 100, "1"), count, sell(9, 110, "2"), bust("2", "sell"))
        assert (held(state), state.cash, state.realized_pnl) == ((8, 100), -1000, {})
        assert position_of(state).weight == D("0.5")

    def test_a_count_of_zero_stands(self, fold: Fold) -> None:
        count = UpdatePosition(symbol="AAPL", shares=0, price=0)
        state = fold(buy(10, 100, "1"), count, bust("1"))
        assert (held(state), state.cash) == (None, 0)


class TestAfterFullState:
    def test_a_fill_from_before_is_not_amended(self, fold: Fold, record: Record) -> None:
        state = fold(buy(10, 100, "1"), FullState(cash=5))
        with pytest.raises(TradingError, match="before the last full_state"):
            bust_trade(state, record(bust("1"), seq=3))

    def test_a_fill_since_then_is(self, fold: Fold) -> None:
        state = fold(buy(10, 100, "1"), FullState(cash=5), buy(1, 1, "2"), bust("2"))
        assert (state.cash, held(state)) == (5, None)

    @pytest.mark.parametrize("gone", ["1", "2", "3"])
    def test_a_state_with_its_memory_goes_on_in_another_store(self, fold: Fold, gone: str) -> None:
        """Numbers of events of two stores have nothing to do with each other."""
        fills = [buy(10, 100, "1"), buy(5, 100, "2"), buy(1, 100, "3")]
        before = fold(*fills[:2], first=1000)
        state = fold(FullState.of(before), fills[2], bust(gone))
        assert books(state) == books(fold(*(one for one in fills if one.trade_id != gone)))

    def test_and_its_waiting_amendments_too(self, fold: Fold) -> None:
        before = fold(bust("1"), buy(5, 100, "2"), first=1000)
        state = fold(FullState.of(before), buy(10, 100, "1"))
        assert balances(state) == balances(fold(buy(5, 100, "2")))


def test_a_strict_state_refuses_an_unknown_symbol(fold: Fold, record: Record) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError):
        bust_trade(state, record(bust("1", symbol="APPL")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trade_id": ""}, "$.trade_id"),
        ({"symbol": ""}, "$.symbol"),
        ({"side": "long"}, "$.side"),
        ({"account": ""}, "$.account"),
    ],
)
def test_refusals_name_the_field(record: Record, change: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {"trade_id": "1", "symbol": "AAPL", "side": "buy"}
    with pytest.raises(InvalidPayloadError) as caught:
        record(BustTrade(**(fields | change)))
    assert caught.value.field == field


def test_the_open_order_is_not_filled_by_it(fold: Fold) -> None:
    order = OrderUpdated(order_id="o", symbol="AAPL", side="buy", shares=10)
    fills: list[RecordTrade] = [buy(3, 1, "1", order_id="o"), buy(4, 1, "2", order_id="o")]
    state = fold(order, *fills, bust("1"))
    assert [one.filled for one in state.orders.values()] == [4]
