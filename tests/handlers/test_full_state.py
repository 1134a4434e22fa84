"""`full_state`: replaces everything, and keeps in mind what was told before."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import HandlerRegistry, InvalidPayloadError
from handlers import (
    EngineState,
    FullState,
    Mark,
    OrderSent,
    Position,
    TradingError,
    UpdatePosition,
    bust_trade,
    full_state,
    outcome_of,
)
from tests.handlers.telling import LINEAR, SPOT, D, Fold, Record, books, bust, buy, correct, held

PLAIN: dict[str, Any] = {
    "cash": 50000.0,
    "positions": {"AAPL": {"shares": 100.0, "price": 150.0, "lots": [60, 40]}},
    "fees": {"AAPL": {"USD": D("2.5")}},
    "regime": {"name": "calm", "scores": [1, 2, {"deep": True}]},
}


class TestReplacing:
    def test_nothing_of_before_is_left(self, fold: Fold) -> None:
        before = fold(SPOT, LINEAR, buy(1, 100, fee=1), Mark(symbol="AAPL", price=1)).replace(
            extra=EngineState.from_dict({"mode": "x"}).extra
        )
        assert books(fold(FullState(cash=9), start=before, first=5)) == books(
            EngineState.from_dict({"cash": 9})
        )

    def test_takes_the_plain_dictionary_of_a_state(self, record: Record) -> None:
        state = full_state(EngineState(), record("full_state", PLAIN))
        assert state == EngineState.from_dict(PLAIN)
        assert state.to_dict() == PLAIN

    def test_takes_a_state(self, fold: Fold) -> None:
        state = EngineState.from_dict(PLAIN)
        assert fold(FullState.of(state)) == state

    def test_takes_numbers_as_they_come(self, fold: Fold) -> None:
        state = fold(FullState(cash=D("0.10"), positions={"AAPL": {"shares": "2", "price": 3.3}}))
        assert (state.cash, held(state)) == (D("0.1"), (2, D("3.3")))

    def test_takes_positions(self, fold: Fold) -> None:
        position = Position("AAPL", D(3), D(10), weight=D("0.5"), updated=5)
        state = fold(FullState(positions={"AAPL": position}))
        assert state.position("AAPL") == position

    def test_a_state_reached_by_other_operations_comes_back(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            LINEAR,
            FullState.from_mapping(PLAIN),
            buy(7, 10.057, "1", fee=0.1, fee_currency="BNB"),
            correct("1", "2", 3, 11),
            bust("never told"),
            UpdatePosition(symbol="MSFT", shares=5, price=410.3, weight=0.2, account="b"),
            OrderSent(client_order_id="c", symbol="AAPL", side="buy", shares=1),
            Mark(symbol="AAPL", price=5, time=3),
        )
        assert fold(FullState.from_mapping(state.to_dict())) == state
        assert fold(FullState.of(state), start=fold(buy(9, 9, "other"))) == state

    def test_times_of_positions_are_those_given(self, record: Record) -> None:
        positions = {"AAPL": {"shares": 1, "price": 1, "updated": "1970-01-01T00:00:00.000000005Z"}}
        state = full_state(EngineState(), record("full_state", {"positions": positions}))
        assert state.positions["AAPL"].updated == 5


class TestMemory:
    def test_what_was_told_before_stays_known(self, fold: Fold) -> None:
        fill = buy(10, 100, "1", fee=1)
        state = fold(fill, FullState(cash=5))
        assert outcome_of(state, fill) == "duplicate"
        assert outcome_of(state, buy(11, 100, "1")) == "conflict"

    def test_but_not_amended(self, fold: Fold, record: Record) -> None:
        state = fold(buy(10, 100, "1"), FullState(cash=5))
        with pytest.raises(TradingError, match="before the last full_state"):
            bust_trade(state, record(bust("1"), seq=3))
        with pytest.raises(TradingError, match="before the last full_state"):
            outcome_of(state, buy(10, 100, "1", fee=1))

    def test_waiting_amendments_go_on_waiting(self, fold: Fold) -> None:
        state = fold(bust("1"), FullState(cash=5), buy(10, 100, "1"))
        assert (held(state), state.cash) == (None, 5)

    def test_what_is_remembered_can_be_replaced(self, fold: Fold) -> None:
        fill = buy(10, 100, "1")
        state = fold(fill, FullState.from_mapping({"memory": {}}))
        assert outcome_of(state, fill) == "booked"
        state = fold(FullState.of(fold(fill)), start=fold(buy(5, 5, "2")), first=9)
        assert outcome_of(state, fill) == "duplicate"
        assert outcome_of(state, buy(5, 5, "2")) == "booked"

    def test_the_limit_stays(self, fold: Fold) -> None:
        small = FullState.from_mapping({"memory": {"limit": 3}})
        state = fold(small, buy(1, 1), FullState(cash=5))
        assert state.to_dict()["memory"]["limit"] == 3

    def test_told_twice_it_is_the_same_state(self, fold: Fold) -> None:
        told = FullState.from_mapping(PLAIN)
        start = fold(buy(1, 1))
        assert fold(told, told, start=start, first=2) == fold(told, start=start, first=2)


def test_what_the_caller_changes_afterwards_has_no_effect(record: Record) -> None:
    inner: dict[str, Any] = {"scores": [1]}
    positions: dict[str, Any] = {"AAPL": {"shares": 2, "price": 3}}
    payload = FullState(positions=positions, rest={"regime": inner})
    event = record(payload)
    inner["scores"].append(2)
    positions["AAPL"]["shares"] = 5
    positions.clear()
    state = full_state(EngineState(), event)
    assert (held(state), state.to_dict()["regime"]) == ((2, 3), {"scores": [1]})
    assert full_state(EngineState(), record(payload)) == state


def test_payload_and_state_hold_nothing_that_can_change(record: Record) -> None:
    event = record("full_state", PLAIN)
    assert isinstance(hash(event.data), int)
    assert isinstance(hash(full_state(EngineState(), event)), int)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"cash": float("nan")}, "$.cash"),
    ({"cash": "one"}, "$.cash"),
    ({"cash": True}, "$.cash"),
    ({"trade_count": 1.5}, "$.trade_count"),
    ({"positions": {"AAPL": {"shares": float("nan"), "price": 1}}}, "$.positions['AAPL'].shares"),
    ({"positions": {"AAPL": {"price": 1}}}, "$.positions['AAPL'].shares"),
    ({"positions": {"": {"shares": 1, "price": 1}}}, "$.positions[''].symbol"),
    ({"balances": {"b": {"EUR": "NaN"}}}, "$.balances.b.EUR"),
    ({"regime": {"scores": [1, {2}]}}, "$.regime.scores[1]"),
]


@pytest.mark.parametrize(("plain", "field"), BAD)
def test_refusals_name_the_field(
    registry: HandlerRegistry[EngineState], plain: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        registry.payload("full_state", plain)
    assert caught.value.field == field


@pytest.mark.parametrize(("plain", "field"), BAD[:-1])
def test_refusals_of_objects_name_the_field_too(
    record: Record, plain: dict[str, Any], field: str
) -> None:
    rest = dict(plain)
    payload = FullState(cash=rest.pop("cash", 0), positions=rest.pop("positions", {}), rest=rest)
    with pytest.raises(InvalidPayloadError) as caught:
        full_state(EngineState(), record(payload))
    assert caught.value.field.replace("['AAPL']['shares']", "['AAPL'].shares") in (
        field,
        field.removesuffix(".shares"),
    )
