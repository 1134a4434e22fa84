"""Orders that a venue closed and opened again: the same open orders, in any order of telling.

An order is open by the word of the venue of the latest venue time. Where that word came after a
closing, the order is open while the fills are less than its quantity.
"""

from __future__ import annotations

import itertools
import os
import random
from typing import Any

import pytest
from msgspec.structs import replace

from eventstore import Operation
from handlers import EngineState, OrderClosed, OrderUpdated
from tests.handlers.telling import Fold, bust, buy, correct

FILL = buy(10, 1, "1", order_id="o")
FILLED = [FILL, OrderClosed(order_id="o", reason="filled", time=10)]


def told(time: int, shares: int = 10, **fields: Any) -> OrderUpdated:
    return OrderUpdated(order_id="o", symbol="AAPL", side="buy", shares=shares, time=time, **fields)


def open_orders(state: EngineState) -> list[tuple[str, int, int]]:
    assert EngineState.from_dict(state.to_dict()) == state
    assert {name for order in state.orders.values() for name in order.names} == set(
        state.order_names
    )
    return [(one.order_id, int(one.filled), int(one.shares)) for one in state.orders.values()]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([*FILLED, bust("1"), told(20)], [("o", 0, 10)]),
        ([*FILLED, correct("1", "1a", 4, 1), told(20)], [("o", 4, 10)]),
        ([*FILLED, told(20)], []),
        ([*FILLED, told(20), told(30, shares=12)], [("o", 10, 12)]),
        ([*FILLED, bust("1"), told(9)], []),
        ([*FILLED, bust("1"), told(20), OrderClosed(order_id="o", time=30)], []),
        ([*FILLED, bust("1"), told(20), buy(10, 1, "2", order_id="o")], []),
        ([*FILLED, bust("1"), told(20), buy(6, 1, "2", order_id="o")], [("o", 6, 10)]),
        ([*FILLED, bust("1"), told(20), OrderClosed(order_id="o")], []),
    ],
)
def test_every_order_of_telling(
    fold: Fold, messages: list[Operation], expected: list[tuple[str, int, int]]
) -> None:
    for order in itertools.permutations(messages):
        state = fold(*order)
        assert open_orders(state) == expected, order
    for again in messages:
        assert open_orders(fold(again, start=state, first=9)) == expected, again


def test_a_later_word_under_both_ids(fold: Fold) -> None:
    """The closing has the id of the venue alone, and the fill that of the engine."""
    messages = [
        told(5, client_order_id="c"),
        buy(10, 1, "1", client_order_id="c"),
        OrderClosed(order_id="o", time=10),
        bust("1"),
        told(20, client_order_id="c"),
    ]
    for order in itertools.permutations(messages):
        assert open_orders(fold(*order)) == [("o", 0, 10)], order


def test_an_order_with_another_id_since(fold: Fold) -> None:
    """The closing has the new id alone. A fill under the id before counts once it is open again."""
    new = OrderUpdated(
        order_id="n", symbol="AAPL", side="buy", shares=10, client_order_id="c", time=6
    )
    life = [
        told(5, client_order_id="c"),
        new,
        buy(4, 1, "1", order_id="o"),
        buy(6, 1, "2", order_id="n"),
        OrderClosed(order_id="n", time=10),
    ]
    for order in itertools.permutations(life):
        assert open_orders(fold(*order)) == [], order
    again = replace(new, time=20)
    for order in itertools.permutations([*life[1:], bust("2"), again]):
        state = fold(life[0], *order)
        assert open_orders(state) == [("n", 4, 10)], order


@pytest.mark.parametrize("seed", range(int(os.environ.get("EVENTSTORE_EXAMPLES", "4"))))
def test_random_days(fold: Fold, seed: int) -> None:
    """Updates, closings, fills, busts and corrections of one order, shuffled."""
    chance = random.Random(seed)
    times = chance.sample(range(1, 100), 6)
    day: list[Operation] = [
        told(time, chance.choice([10, 10, 12])) for time in times[: chance.randint(1, 3)]
    ]
    day += [OrderClosed(order_id="o", time=time) for time in times[3 : 3 + chance.randint(0, 2)]]
    for name in "12"[: chance.randint(1, 2)]:
        day.append(buy(chance.choice([3, 5, 10]), 1, name, order_id="o"))
        amendment = correct(name, f"{name}a", chance.choice([2, 7, 10]), 1)
        day += chance.choice([[], [bust(name)], [amendment]])
    expected = open_orders(fold(*day))
    for _ in range(12):
        chance.shuffle(day)
        assert open_orders(fold(*day)) == expected, day
