"""One walk over two values: the differing places, the order, and the paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import pytest
from immutables import Map

from eventstore.model.differences import (
    ABSENT,
    Field,
    parts_of,
    path_of,
    value_at,
    walk_differences,
)

NAN = float("nan")


class Leg(msgspec.Struct, frozen=True):
    price: float = 0.0
    note: Any = None


class Opaque(msgspec.Struct, eq=False):
    price: float = 0.0


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class Local:
    total: int = 0
    hidden: int = field(default=0, init=False, compare=False)
    unresolved: NoSuchName = None  # type: ignore[name-defined]  # noqa: F821  names are not looked up


def rows(one: Any, other: Any, *, exact: bool = False) -> list[tuple[str, Any, Any]]:
    found = walk_differences(one, other, exact=exact)
    return [(path_of(steps), left, right) for steps, left, right in found]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 2, [("", 1, 2)]),
        (Leg(1.0), Leg(2.0), [(".price", 1.0, 2.0)]),
        (Pair(1, 2), Pair(1, 3), [(".right", 2, 3)]),
        ({"b": 1, "a": 1}, {"a": 2, "b": 2}, [("['a']", 1, 2), ("['b']", 1, 2)]),
        ({"a": 1}, Map({"a": 1, "b": 2}), [("['b']", ABSENT, 2)]),
        ({1: 1, "a": 1}, {1: 1}, [("['a']", 1, ABSENT)]),
        ([1, 2], [1], [("[1]", 2, ABSENT)]),
        ([Leg(note={"a": (1, 2)})], [Leg(note={"a": (1, 3)})], [("[0].note['a'][1]", 2, 3)]),
        ((1, 2), [1, 2], [("", (1, 2), [1, 2])]),
        ((1, 2), [1, 3], [("[1]", 2, 3)]),
        ({"a": 1}, Map({"a": 1}), [("", {"a": 1}, Map({"a": 1}))]),
        ({1, 2}, {1, 3}, [("", {1, 2}, {1, 3})]),
        (Leg(), Pair(0, 0), [("", Leg(), Pair(0, 0))]),
        ("ab", "ac", [("", "ab", "ac")]),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_each_place_that_differs_is_given_once(
    one: Any, other: Any, expected: Any, exact: bool
) -> None:
    assert rows(one, other, exact=exact)[: len(expected)] == expected
    turned = [(path, right, left) for path, left, right in expected]
    assert rows(other, one, exact=exact)[: len(expected)] == turned


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (True, 1), (0.0, -0.0), ({"a": 1}, {"a": 1.0}), (Leg(note=[0.0]), Leg(note=[-0.0]))],
)
def test_what_only_an_exact_walk_tells(one: Any, other: Any) -> None:
    assert rows(one, other) == []
    assert len(rows(one, other, exact=True)) == 1


def test_nan_equals_nothing_but_has_the_same_bits() -> None:
    assert len(rows([NAN], [float("nan")])) == 1
    assert rows([NAN], [float("nan")], exact=True) == []


def test_values_whose_parts_are_equal_but_that_are_not_are_a_difference_themselves() -> None:
    one, other = Opaque(), Opaque()
    assert rows([one], [other]) == [("[0]", one, other)]
    assert rows([one], [other], exact=True) == []


@pytest.mark.parametrize(
    "value", [1, "a", None, 0.5, NAN, (1, [2]), {"a": {1}}, Leg(), Local(), Pair(1, 2)]
)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert rows(value, value, exact=True) == []


def test_types_need_not_be_resolved() -> None:
    changed = Local()
    changed.hidden = 1
    assert rows(Local(), changed) == [(".hidden", 0, 1)]


def test_a_place_is_found_again() -> None:
    value = {"a": [Leg(note=Pair(1, 2))]}
    ((steps, left, _),) = walk_differences(value, {"a": [Leg(note=Pair(1, 3))]}, exact=True)
    assert value_at(value, steps) == left == 2
    assert value_at(value, ("a", 1)) is ABSENT
    assert value_at(value, (Field("gone"),)) is ABSENT
    assert value_at(1, ("a",)) is ABSENT
    assert repr(ABSENT) == "absent"


def test_parts_come_with_their_steps() -> None:
    assert list(parts_of(Leg(1.0))) == [(Field("price"), 1.0), (Field("note"), None)]
    assert list(parts_of({"a": 1})) == [("a", 1)]
    assert list(parts_of([5])) == list(parts_of({5})) == [(0, 5)]
    assert list(parts_of("text")) == list(parts_of(1)) == []
