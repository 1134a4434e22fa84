"""`update_position`: what an outside count says is held."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import HandlerRegistry, InvalidPayloadError
from handlers import (
    AmountError,
    ConflictError,
    DefineInstrument,
    EngineState,
    UnknownSymbolError,
    UpdatePosition,
    outcome_of,
    update_position,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    OPTION,
    D,
    Fold,
    Record,
    bust,
    buy,
    held,
    position_of,
    sell,
)


def count(shares: Any, price: Any = 100, **fields: Any) -> UpdatePosition:
    return UpdatePosition(**{"symbol": "AAPL", "shares": shares, "price": price, **fields})


def test_sets_shares_average_weight_and_time(fold: Fold) -> None:
    state = fold(count(-3.0, 150.1, weight=0.1))
    assert held(state) == (-3, D("150.1"))
    assert (position_of(state).weight, position_of(state).updated) == (D("0.1"), 1)


def test_touches_nothing_else(fold: Fold) -> None:
    start = fold(buy(1, 2, symbol="MSFT", fee=1), sell(1, 3, symbol="TSLA"))
    state = fold(count(1), start=start, first=3)
    assert state.replace(positions=start.positions) == start
    assert state.positions.delete("AAPL") == start.positions


def test_of_an_account_and_a_side(fold: Fold) -> None:
    state = fold(count(1), count(2, account="b"), count(-3, position_side="short"))
    assert held(state) == (1, 100)
    assert held(state, account="b") == (2, 100)
    assert held(state, side="short") == (-3, 100)


def test_the_cost_is_that_of_the_instrument(fold: Fold) -> None:
    assert position_of(fold(OPTION, count(2, 1.5, symbol="AAPL C150")), "AAPL C150").cost == 300
    state = fold(INVERSE, count(6, 12_000, symbol="XBTUSD"))
    assert (held(state, "XBTUSD"), position_of(state, "XBTUSD").cost) == ((6, 12_000), D("0.05"))
    state = fold(LINEAR, count(2, 100, symbol="BTC-PERP"), sell(2, 110, symbol="BTC-PERP"))
    assert state.balance("USDT") == 20


@pytest.mark.parametrize("price", [0, -5])
def test_an_inverse_contract_needs_a_price_above_zero(
    fold: Fold, record: Record, price: int
) -> None:
    state = fold(INVERSE)
    with pytest.raises(AmountError) as caught:
        update_position(state, record(count(1, price, symbol="XBTUSD")))
    assert caught.value.field == "$.price"
    assert update_position(state, record(count(0, price, symbol="XBTUSD"))) is state


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, D("0e9"), D("-0")])
def test_zero_shares_remove(fold: Fold, zero: Any) -> None:
    assert fold(count(1, weight=0.25), count(zero)) == EngineState()


def test_removing_what_is_not_held_changes_nothing(fold: Fold) -> None:
    start = fold(buy(1, 1, symbol="MSFT"))
    assert fold(count(0, 0), start=start) is start


class TestNotes:
    def test_a_weight_left_out_leaves_the_earlier_one(self, fold: Fold) -> None:
        state = fold(count(1, weight=0.25), count(2, 3))
        assert (position_of(state).weight, held(state)) == (D("0.25"), (2, 3))

    def test_but_not_past_zero(self, fold: Fold) -> None:
        assert position_of(fold(count(1, weight=0.25), count(-1))).weight is None

    def test_a_removed_position_leaves_no_weight_behind(self, fold: Fold) -> None:
        assert position_of(fold(count(1, weight=0.25), count(0), count(1))).weight is None

    @pytest.mark.parametrize("shares", [0, -1])
    def test_unknown_keys_go_with_the_position(self, fold: Fold, shares: int) -> None:
        position = {"shares": 1, "price": 2, "sector": "tech"}
        start = EngineState.from_dict({"positions": {"AAPL": position}, "mode": "x"})
        assert fold(count(shares), start=start).to_dict().get("mode") == "x"
        assert "sector" not in fold(count(shares), start=start).to_dict()["positions"].get(
            "AAPL", {}
        )
        kept = fold(count(5), start=start).to_dict()["positions"]["AAPL"]
        assert kept["sector"] == "tech"

    def test_of_another_account_stay(self, fold: Fold) -> None:
        start = EngineState.from_dict(
            {
                "positions": {
                    "AAPL": {"shares": 1, "price": 2, "note": "a"},
                    '["b", "AAPL", "net"]': {
                        "shares": 1, "price": 2, "note": "b", "symbol": "AAPL", "account": "b"
                    },
                }
            }
        )  # fmt: skip
        plain = fold(count(0), start=start).to_dict()["positions"]
        assert [position["note"] for position in plain.values()] == ["b"]


def test_fills_go_on_from_the_count(fold: Fold) -> None:
    state = fold(buy(10, 90), count(8, 100), sell(4, 110))
    assert (held(state), state.realized_pnl, state.cash) == ((4, 100), {"USD": 40}, -460)


class TestToldAgain:
    def test_without_a_reference_it_is_always_booked(self, fold: Fold) -> None:
        assert outcome_of(fold(count(1)), count(1)) == "booked"

    def test_with_a_reference_it_counts_once(self, fold: Fold, record: Record) -> None:
        """A count that is told late must not take back the fills that came after it."""
        told = count(8, reference="night 1", time=5)
        state = fold(buy(10, 90), told, sell(4, 110))
        assert outcome_of(state, told) == "duplicate"
        assert update_position(state, record(count(8.0, reference="night 1"), seq=9)) is state
        assert outcome_of(state, count(7, reference="night 1")) == "conflict"
        assert outcome_of(state, count(8, 99, reference="night 1")) == "conflict"
        assert outcome_of(state, count(8, reference="night 2")) == "booked"
        assert outcome_of(state, count(8, reference="night 1", account="b")) == "booked"
        with pytest.raises(ConflictError, match="shares 8 and 7"):
            update_position(state, record(count(7, reference="night 1"), seq=9))

    def test_a_bust_of_a_fill_before_it_leaves_it(self, fold: Fold) -> None:
        state = fold(buy(10, 90, "1"), count(8, reference="night 1"), bust("1"))
        assert (held(state), state.cash) == ((8, 100), 0)


def test_the_state_before_is_unchanged_and_the_handler_repeatable(
    fold: Fold, record: Record
) -> None:
    before = fold(count(1))
    written = before.to_dict()
    event = record("update_position", {"symbol": "AAPL", "shares": 5, "price": 6})
    assert update_position(before, event) == update_position(before, event)
    assert before.to_dict() == written


def test_a_strict_state_refuses_an_unknown_symbol(fold: Fold, record: Record) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError):
        update_position(state, record(count(1, symbol="APPL")))


GOOD: dict[str, Any] = {"symbol": "AAPL", "shares": 1.0, "price": 2.0}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": ""}, "$.symbol"),
        ({"symbol": 5}, "$.symbol"),
        ({"shares": "one"}, "$.shares"),
        ({"shares": True}, "$.shares"),
        ({"shares": float("nan")}, "$.shares"),
        ({"price": float("inf")}, "$.price"),
        ({"price": float("-inf")}, "$.price"),
        ({"price": 1e101}, "$.price"),
        ({"price": None}, "$.price"),
        ({"weight": float("nan")}, "$.weight"),
        ({"account": ""}, "$.account"),
        ({"position_side": "flat"}, "$.position_side"),
    ],
)
def test_refusals_name_the_field(
    registry: HandlerRegistry[EngineState], record: Record, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidPayloadError) as by_name:
        registry.payload("update_position", GOOD | change)
    with pytest.raises(InvalidPayloadError) as as_object:
        record(UpdatePosition(**(GOOD | change)))
    assert by_name.value.field == as_object.value.field == field


@pytest.mark.parametrize("missing", GOOD)
def test_missing_and_unknown_fields_are_refused(
    registry: HandlerRegistry[EngineState], missing: str
) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        registry.payload("update_position", {k: v for k, v in GOOD.items() if k != missing})
    assert caught.value.field == f"$.{missing}"
    with pytest.raises(InvalidPayloadError) as caught:
        registry.payload("update_position", GOOD | {"wieght": 0.5})
    assert caught.value.field == "$.wieght"
