"""`update_position`: sets what is held of a symbol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from immutables import Map

from eventstore import Event, HandlerRegistry, InvalidPayloadError
from handlers import EngineState, Position, UpdatePosition, update_position

Fold = Callable[..., EngineState]
Record = Callable[..., Event[Any]]


def test_sets_shares_price_weight_and_time(fold: Fold) -> None:
    state = fold(UpdatePosition(symbol="AAPL", shares=-3.0, price=150.0, weight=0.1))
    assert state == EngineState(positions=Map(AAPL=Position("AAPL", -3.0, 150.0, 0.1, 1)))


def test_touches_nothing_else(fold: Fold) -> None:
    start = EngineState(1.0, Map(MSFT=Position("MSFT", 1.0, 2.0)), 3.0, 4.0, 5, Map(mode="x"))
    state = fold(UpdatePosition(symbol="AAPL", shares=1.0, price=2.0), start=start)
    assert state.replace(positions=start.positions) == start
    assert state.positions.delete("AAPL") == start.positions


def test_a_weight_left_out_leaves_the_earlier_one(fold: Fold) -> None:
    state = fold(
        UpdatePosition(symbol="AAPL", shares=1.0, price=2.0, weight=0.25),
        UpdatePosition(symbol="AAPL", shares=2.0, price=3.0),
    )
    assert state.positions["AAPL"] == Position("AAPL", 2.0, 3.0, 0.25, 2)


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_zero_shares_remove(fold: Fold, zero: float) -> None:
    state = fold(
        UpdatePosition(symbol="AAPL", shares=1.0, price=2.0, weight=0.25),
        UpdatePosition(symbol="AAPL", shares=zero, price=2.0),
    )
    assert state == EngineState()


def test_a_removed_position_leaves_no_weight_behind(fold: Fold) -> None:
    state = fold(
        UpdatePosition(symbol="AAPL", shares=1.0, price=2.0, weight=0.25),
        UpdatePosition(symbol="AAPL", shares=0.0, price=2.0),
        UpdatePosition(symbol="AAPL", shares=1.0, price=2.0),
    )
    assert state.positions["AAPL"].weight is None


def test_removing_what_is_not_held_changes_nothing(fold: Fold) -> None:
    start = EngineState(cash=1.0)
    assert fold(UpdatePosition(symbol="AAPL", shares=0.0, price=0.0), start=start) is start


def test_removal_takes_the_unknown_keys_of_the_position_along(fold: Fold) -> None:
    position = {"shares": 1.0, "price": 2.0, "sector": "tech"}
    start = EngineState.from_dict({"positions": {"AAPL": position}, "mode": "x"})
    state = fold(UpdatePosition(symbol="AAPL", shares=0.0, price=0.0), start=start)
    assert state == EngineState(extra=Map(mode="x"))


def test_the_state_before_is_unchanged_and_the_handler_repeatable(record: Record) -> None:
    before = EngineState(positions=Map(AAPL=Position("AAPL", 1.0, 2.0)))
    event = record("update_position", {"symbol": "AAPL", "shares": 5, "price": 6})
    first, second = update_position(before, event), update_position(before, event)
    assert first == second
    assert before == EngineState(positions=Map(AAPL=Position("AAPL", 1.0, 2.0)))


def test_whole_numbers_become_floats(record: Record) -> None:
    mapping: dict[str, Any] = {"symbol": "AAPL", "shares": 5, "price": 6, "weight": 1}
    for event in (record("update_position", mapping), record(UpdatePosition(**mapping))):
        assert [type(x) for x in (event.data.shares, event.data.price, event.data.weight)] == [
            float
        ] * 3


GOOD: dict[str, Any] = {"symbol": "AAPL", "shares": 1.0, "price": 2.0}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": ""}, "$.symbol"),
        ({"symbol": 5}, "$.symbol"),
        ({"shares": "1"}, "$.shares"),
        ({"shares": True}, "$.shares"),
        ({"shares": float("nan")}, "$.shares"),
        ({"price": float("inf")}, "$.price"),
        ({"price": float("-inf")}, "$.price"),
        ({"price": 1e101}, "$.price"),
        ({"price": None}, "$.price"),
        ({"weight": float("nan")}, "$.weight"),
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
