"""`trade_fee`: the fee of a fill, told apart from the fill, before or after it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from eventstore import InvalidPayloadError
from handlers import (
    ConflictError,
    DefineInstrument,
    EngineState,
    FullState,
    TradeFee,
    TradingError,
    UnknownSymbolError,
    outcome_of,
    record_trade,
    trade_fee,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    OPTION,
    SPOT,
    D,
    Fold,
    Record,
    books,
    bust,
    buy,
    held,
    late_fee,
    sell,
)


@pytest.mark.parametrize("definition", [SPOT, LINEAR, INVERSE, OPTION])
@pytest.mark.parametrize("currency", [None, "BTC", "BNB"])
@pytest.mark.parametrize("fee", [0.5, -0.25, 0])
def test_it_is_as_if_the_fill_had_told_it(
    fold: Fold, definition: Any, currency: str | None, fee: float
) -> None:
    symbol = definition.symbol
    tape = [buy(3, 100, "1", symbol=symbol), sell(5, 120, "2", symbol=symbol)]
    told = buy(3, 100, "1", symbol=symbol, fee=fee, fee_currency=currency)
    expected = books(fold(definition, told, tape[1]))
    message = late_fee("1", fee, symbol=symbol, fee_currency=currency)
    for order in ([*tape, message], [tape[0], message, tape[1]], [message, *tape]):
        assert books(fold(definition, *order)) == expected


def test_it_is_of_one_side_of_a_trade_with_oneself(fold: Fold) -> None:
    state = fold(buy(1, 100, "1"), sell(1, 100, "1"), late_fee("1", 2, side="sell"))
    assert state.fees == {"USD": 2}
    assert outcome_of(state, late_fee("1", 2, side="sell")) == "duplicate"
    assert outcome_of(state, late_fee("1", 2)) == "booked"


class TestToldAgain:
    def test_the_same_fee_changes_nothing(self, fold: Fold, record: Record) -> None:
        state = fold(buy(1, 100, "1"), late_fee("1", 0.5))
        for again in (late_fee("1", D("0.50")), late_fee("1", 0.5, fee_currency="USD")):
            assert trade_fee(state, record(again, seq=9)) is state
            assert outcome_of(state, again) == "duplicate"

    def test_a_fill_that_told_its_fee_and_its_fee_apart(self, fold: Fold) -> None:
        state = fold(buy(1, 100, "1", fee=0.5))
        assert outcome_of(state, late_fee("1", 0.5)) == "duplicate"
        assert fold(late_fee("1", 0.5), start=state, first=2).fees == {"USD": D("0.5")}

    def test_the_fill_with_its_fee_by_a_poll(self, fold: Fold) -> None:
        """Told without a fee, then with it: `completed`, once."""
        state = fold(buy(1, 100, "1"))
        assert outcome_of(state, buy(1, 100, "1", fee=0.5)) == "completed"
        state = fold(buy(1, 100, "1", fee=0.5), start=state, first=2)
        assert state.fees == {"USD": D("0.5")}
        assert outcome_of(state, buy(1, 100, "1", fee=0.5)) == "duplicate"
        assert outcome_of(state, buy(1, 100, "1")) == "duplicate"
        assert outcome_of(state, late_fee("1", 0.5)) == "duplicate"

    def test_a_fee_of_zero_is_a_known_fee(self, fold: Fold) -> None:
        state = fold(buy(1, 100, "1", fee=0))
        assert outcome_of(state, buy(1, 100, "1", fee=1)) == "conflict"
        assert outcome_of(state, late_fee("1", 1)) == "conflict"

    def test_zero_is_zero_in_every_currency(self, fold: Fold) -> None:
        state = fold(buy(1, 100, "1", fee=0))
        assert outcome_of(state, buy(1, 100, "1", fee=0, fee_currency="BNB")) == "duplicate"
        assert outcome_of(state, late_fee("1", 0, fee_currency="BNB")) == "duplicate"
        state = fold(buy(1, 100, "1"), late_fee("1", 0))
        assert outcome_of(state, late_fee("1", 0, fee_currency="BNB")) == "duplicate"

    def test_another_fee_is_a_conflict_that_shows_both(self, fold: Fold, record: Record) -> None:
        state = fold(buy(1, 100, "1", fee=0.5))
        for other in (late_fee("1", 0.25), late_fee("1", 0.5, fee_currency="BNB")):
            with pytest.raises(ConflictError, match=r"fee 0\.5 USD and") as caught:
                trade_fee(state, record(other, seq=9))
            assert caught.value.told == other

    def test_two_fees_with_references_of_their_own(self, fold: Fold) -> None:
        state = fold(buy(1, 100, "1"), late_fee("1", 0.5, reference="r-1"))
        assert outcome_of(state, late_fee("1", 0.5, reference="r-1")) == "duplicate"
        assert outcome_of(state, late_fee("1", 0.5, reference="r-2")) == "duplicate"
        assert outcome_of(state, late_fee("1", 0.75, reference="r-2")) == "conflict"


class TestBeforeItsFill:
    def test_it_waits(self, fold: Fold) -> None:
        assert outcome_of(EngineState(), late_fee("1", 0.5)) == "waiting"
        assert books(fold(late_fee("1", 0.5))) == books(EngineState())

    def test_the_fill_may_tell_the_same_fee(self, fold: Fold) -> None:
        state = fold(late_fee("1", 0.5), buy(1, 100, "1", fee=0.5))
        assert state.fees == {"USD": D("0.5")}

    def test_a_fill_that_tells_another_fee_shows_what_waited(
        self, fold: Fold, record: Record
    ) -> None:
        state = fold(late_fee("1", 0.5))
        fill = buy(1, 100, "1", fee=0.75)
        with pytest.raises(ConflictError, match=r"fee .*0\.5.*0\.75|fee .*0\.75.*0\.5") as caught:
            record_trade(state, record(fill, seq=2))
        assert caught.value.told == fill
        assert "0.5" in repr(caught.value.known)

    def test_of_a_busted_fill_it_costs_nothing(self, fold: Fold) -> None:
        messages = [buy(1, 100, "1"), bust("1"), late_fee("1", 0.5)]
        for order in itertools.permutations(messages):
            assert fold(*order).fees == {}


def test_a_fill_from_before_full_state_gets_no_fee(fold: Fold, record: Record) -> None:
    state = fold(buy(1, 100, "1"), FullState(cash=5))
    with pytest.raises(TradingError, match="before the last full_state"):
        trade_fee(state, record(late_fee("1", 1), seq=3))


def test_a_position_is_not_touched_by_a_fee_that_is_not_in_kind(fold: Fold) -> None:
    state = fold(buy(1, 100, "1"), late_fee("1", 0.5))
    assert held(state) == (1, 100)
    assert state.position("AAPL") == fold(buy(1, 100, "1")).position("AAPL")


@pytest.mark.parametrize("currency", [None, "USD"])
def test_a_strict_state_refuses_an_unknown_symbol(
    fold: Fold, record: Record, currency: str | None
) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError):
        trade_fee(state, record(late_fee("1", 1, symbol="APPL", fee_currency=currency)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trade_id": ""}, "$.trade_id"),
        ({"fee": None}, "$.fee"),
        ({"fee": float("nan")}, "$.fee"),
        ({"fee": D("Infinity")}, "$.fee"),
        ({"side": ""}, "$.side"),
    ],
)
def test_refusals_name_the_field(record: Record, change: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {"trade_id": "1", "symbol": "AAPL", "side": "buy", "fee": 1}
    with pytest.raises(InvalidPayloadError) as caught:
        trade_fee(EngineState(), record(TradeFee(**(fields | change))))
    assert caught.value.field == field
