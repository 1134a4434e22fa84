"""`full_state`: replaces everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from immutables import Map

from eventstore import Event, HandlerRegistry, InvalidPayloadError
from handlers import EngineState, FullState, Position, UpdatePosition, full_state

Fold = Callable[..., EngineState]
Record = Callable[..., Event[Any]]

PLAIN: dict[str, Any] = {
    "cash": 50000.0,
    "positions": {"AAPL": {"shares": 100.0, "price": 150.0, "lots": [60, 40]}},
    "fees": 2.5,
    "regime": {"name": "calm", "scores": [1, 2, {"deep": True}]},
}


def test_replaces_the_whole_state(fold: Fold) -> None:
    start = EngineState(1.0, Map(MSFT=Position("MSFT", 1.0, 2.0)), 3.0, 4.0, 5, Map(mode="x"))
    assert fold(FullState(cash=9.0), start=start) == EngineState(cash=9.0)


def test_takes_the_plain_dictionary_of_a_state(record: Record) -> None:
    state = full_state(EngineState(), record("full_state", PLAIN))
    assert state == EngineState.from_dict(PLAIN)
    assert state.to_dict() == PLAIN


def test_takes_a_state(fold: Fold) -> None:
    state = EngineState.from_dict(PLAIN)
    assert fold(FullState.of(state)) == state


def test_takes_fields_as_they_come(fold: Fold) -> None:
    state = fold(
        FullState(cash=1, positions={"AAPL": Position("AAPL", 2, 3)}, extra={"a": {"b": [1]}})
    )
    assert state == EngineState(1.0, Map(AAPL=Position("AAPL", 2.0, 3.0)), extra=Map(a=Map(b=(1,))))
    assert type(state.cash) is type(state.positions["AAPL"].shares) is float


def test_times_of_positions_are_those_given(record: Record) -> None:
    positions = {"AAPL": {"shares": 1, "price": 1, "updated": "1970-01-01T00:00:00.000000005Z"}}
    state = full_state(EngineState(), record("full_state", {"positions": positions}))
    assert state.positions["AAPL"].updated == 5


def test_what_the_caller_changes_afterwards_has_no_effect(record: Record) -> None:
    inner: dict[str, Any] = {"scores": [1]}
    positions = {"AAPL": Position("AAPL", 2.0, 3.0)}
    payload = FullState(positions=positions, extra=inner)
    event = record(payload)
    state = full_state(EngineState(), event)
    inner["scores"].append(2)
    positions.clear()
    expected = EngineState(positions=Map(AAPL=Position("AAPL", 2.0, 3.0)), extra={"scores": [1]})  # type: ignore[arg-type]  # frozen by the state
    assert state == expected
    assert (
        full_state(EngineState(), event) == full_state(EngineState(), record(payload)) == expected
    )


def test_payload_and_state_hold_nothing_that_can_change(record: Record) -> None:
    event = record("full_state", PLAIN)
    assert isinstance(hash(event.data), int)
    assert isinstance(hash(full_state(EngineState(), event)), int)


def test_a_state_reached_by_other_operations_can_be_restored(fold: Fold) -> None:
    state = fold(
        FullState.from_mapping(PLAIN),
        UpdatePosition(symbol="MSFT", shares=5, price=410.0, weight=0.2),
    )
    assert fold(FullState.from_mapping(state.to_dict())) == state


@pytest.mark.parametrize(
    ("plain", "field"),
    [
        ({"cash": float("nan")}, "$.cash"),
        ({"cash": "1"}, "$.cash"),
        ({"trade_count": 1.5}, "$.trade_count"),
        (
            {"positions": {"AAPL": {"shares": float("nan"), "price": 1}}},
            "$.positions['AAPL'].shares",
        ),
        ({"positions": {"AAPL": {"price": 1}}}, "$.positions['AAPL'].shares"),
        ({"positions": {"": {"shares": 1, "price": 1}}}, "$.positions[''].symbol"),
        ({"regime": {"scores": [1, {2}]}}, "$.regime.scores[1]"),
    ],
)
def test_refusals_name_the_field(
    registry: HandlerRegistry[EngineState], plain: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        registry.payload("full_state", plain)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (FullState(cash=float("nan")), "$.cash"),
        (FullState(fees=float("inf")), "$.fees"),
        (FullState(trade_count=-1), "$.trade_count"),
        (FullState(extra={"a": [float("nan")]}), "$.extra['a'][0]"),
        (FullState(positions={"A": Position("A", float("inf"), 1.0)}), "$.positions[...].shares"),
    ],
)
def test_refusals_of_objects_name_the_field(record: Record, payload: FullState, field: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        record(payload)
    assert caught.value.field == field


def test_what_no_dictionary_could_say_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'MSFT' is filed under 'AAPL'"):
        FullState(positions={"AAPL": Position("MSFT", 1.0, 1.0)})
    with pytest.raises(ValueError, match="extra may not use the names of fields: cash"):
        FullState(extra={"cash": 1.0})
    with pytest.raises(TypeError, match="from_mapping takes plain dictionaries"):
        FullState(positions={"AAPL": {"shares": 1.0, "price": 1.0}})  # type: ignore[dict-item]  # the refusal is what is tested
    with pytest.raises(msgspec.ValidationError, match=r"got `set` - at `\$\.extra\.a`"):
        FullState(extra={"a": {1}})
