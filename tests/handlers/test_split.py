"""`split`: quantities are multiplied, cost and profit stay."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import InvalidPayloadError
from handlers import (
    ConflictError,
    DefineInstrument,
    EngineState,
    Mark,
    MissingPriceError,
    Split,
    UnknownSymbolError,
    UpdatePosition,
    outcome_of,
    split,
)
from tests.handlers.telling import (
    D,
    Fold,
    Record,
    books,
    bust,
    buy,
    correct,
    held,
    position_of,
    sell,
)


def into(numerator: int, denominator: int = 1, reference: str = "r", **fields: Any) -> Split:
    fields = {"symbol": "AAPL", **fields}
    return Split(numerator=numerator, denominator=denominator, reference=reference, **fields)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [(into(4), (40, 25)), (into(3, 2), (15, D(1000) / 15)), (into(1, 10), (1, 1000))],
)
def test_quantity_changes_and_cost_stays(fold: Fold, operation: Split, expected: Any) -> None:
    state = fold(buy(10, 100), operation)
    assert position_of(state).shares == expected[0]
    assert position_of(state).cost == 1000
    assert abs(position_of(state).average_price - expected[1]) < D("1e-20")
    assert (state.cash, state.realized_pnl) == (-1000, {})


def test_short_positions_and_both_sides_of_one_account(fold: Fold) -> None:
    state = fold(
        sell(3, 100),
        buy(1, 100, "l", position_side="long"),
        sell(2, 100, position_side="short"),
        buy(5, 100, account="b"),
        buy(1, 7, symbol="MSFT"),
        into(2),
    )
    assert held(state) == (-6, 50)
    assert held(state, side="long") == (2, 50)
    assert held(state, side="short") == (-4, 50)
    assert held(state, account="b") == (5, 100)
    assert held(state, "MSFT") == (1, 7)


def test_weight_stays_and_profit_is_the_same_after_all(fold: Fold) -> None:
    count = UpdatePosition(symbol="AAPL", shares=10, price=100, weight=0.5)
    assert position_of(fold(count, into(4))).weight == D("0.5")
    state = fold(buy(10, 100), into(4), sell(40, 30))
    assert (held(state), state.cash, state.realized_pnl) == (None, 200, {"USD": 200})


def test_a_fraction_is_told_as_a_fill_that_sells_it(fold: Fold) -> None:
    state = fold(buy(5, 100), into(3, 2), sell(0.5, 80))
    assert position_of(state).shares == 7
    assert position_of(state).cost - state.realized_pnl["USD"] == 460


def test_a_ratio_that_does_not_divide_is_rounded_to_34_digits(fold: Fold) -> None:
    state = fold(buy(10, 100), into(1, 3))
    assert position_of(state).shares == D("3.333333333333333333333333333333333")
    assert position_of(state).cost == 1000
    state = fold(sell(position_of(state).shares, 400), start=state, first=3)
    assert held(state) is None
    assert state.cash == state.realized_pnl["USD"]


class TestTheMark:
    """A price of before the split says nothing of the shares after it."""

    @pytest.mark.parametrize("time", [None, 4])
    def test_an_older_price_is_forgotten(self, fold: Fold, time: int | None) -> None:
        state = fold(buy(10, 100), Mark(symbol="AAPL", price=120, time=time), into(4, time=5))
        assert state.unrealized_by_symbol() == {}
        with pytest.raises(MissingPriceError):
            state.equity()

    def test_a_price_of_after_the_split_stays_also_for_the_second_account(self, fold: Fold) -> None:
        """Each account is told of the split, and the price of the symbol may come in between."""
        state = fold(
            buy(10, 100),
            buy(10, 100, account="b"),
            Mark(symbol="AAPL", price=100, time=4),
            into(2, time=5),
            Mark(symbol="AAPL", price=51, time=6),
            into(2, account="b", time=5),
        )
        assert state.unrealized_by_symbol() == {"AAPL": {"USD": 40}}


def test_told_again_and_told_otherwise(fold: Fold, record: Record) -> None:
    state = fold(buy(10, 100), Mark(symbol="AAPL", price=100), into(2))
    assert split(state, record(into(2, time=5), seq=9)) is state
    assert outcome_of(state, into(2)) == "duplicate"
    assert outcome_of(state, into(3)) == "conflict"
    assert outcome_of(state, into(2, symbol="MSFT")) == "conflict"
    assert outcome_of(state, into(2, reference="s")) == "booked"
    assert outcome_of(state, into(2, account="b")) == "booked"
    with pytest.raises(ConflictError, match="numerator 2 and 3"):
        split(state, record(into(3), seq=9))


def test_a_split_and_its_reverse(fold: Fold) -> None:
    state = fold(buy(7, 100), into(3, 2), into(2, 3, "back"))
    assert books(state) == books(fold(buy(7, 100)))


def test_a_bust_of_a_fill_from_before(fold: Fold) -> None:
    state = fold(buy(7, 100, "1"), buy(1, 100, "2"), into(3), bust("1"))
    assert (position_of(state).shares, position_of(state).cost, state.cash) == (3, 100, -100)


def test_a_fill_from_before_that_is_told_afterwards_counts_as_told(fold: Fold) -> None:
    state = fold(buy(10, 100, "a", time=1), into(2, time=5), buy(10, 100, "b", time=2))
    assert (position_of(state).shares, position_of(state).cost) == (30, 2000)
    state = fold(bust("b"), correct("a", "a2", 5, 100), start=state, first=4)
    assert (position_of(state).shares, position_of(state).cost) == (10, 500)


def test_a_strict_state_refuses_an_unknown_symbol(fold: Fold, record: Record) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError):
        split(state, record(into(2, symbol="APPL")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"numerator": 0}, "$.numerator"),
        ({"denominator": 0}, "$.denominator"),
        ({"numerator": -2}, "$.numerator"),
        ({"numerator": 1.5}, "$.numerator"),
        ({"numerator": True}, "$.numerator"),
        ({"reference": ""}, "$.reference"),
        ({"symbol": ""}, "$.symbol"),
    ],
)
def test_refusals_name_the_field(record: Record, change: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {
        "symbol": "AAPL", "numerator": 2, "denominator": 1, "reference": "r"
    }  # fmt: skip
    with pytest.raises(InvalidPayloadError) as caught:
        split(EngineState(), record(Split(**(fields | change))))
    assert caught.value.field == field
