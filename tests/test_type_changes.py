"""A state's type changes from one release to the next: the table of `docs/custom-state.md`.

Every row of the table has a case here. A store is filled and gets a snapshot under the old type.
Then the store is opened under the new type.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType

import msgspec
import pytest
from immutables import Map
from msgspec import Meta, defstruct

from eventstore import (
    Event,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    InitialStateError,
    Operation,
    RegistrationError,
    SnapshotMismatchError,
    StateRefusedError,
    handler,
)
from eventstore.testing import SimulatedDisk

PAGE = Path(__file__).resolve().parents[1] / "docs" / "custom-state.md"
READ, FOLDED = "read", "folded again"

Make = Callable[[int], Any]
"""The value of the state's field `rows` after the event of a number."""


class Step(Operation):
    number: int


class Kind(NamedTuple):
    """A state's type, and the value of its field `rows` before any event and after each."""

    state: type[Any]
    first: Any
    make: Make


def state_of(
    field: Any, first: Any, make: Make, *more: Any, name: str = "State", **options: Any
) -> Kind:
    """A Struct with a field `rows` of a type, and more fields."""
    fields = [("rows", field), *more]
    return Kind(defstruct(name, fields, frozen=True, **options), first, make)


def registry_of(kind: Kind) -> HandlerRegistry[Any]:
    def step(state: Any, event: Event[Step]) -> Any:
        return msgspec.structs.replace(state, rows=kind.make(event.data.number))

    step.__annotations__.update({"state": kind.state, "return": kind.state})
    return HandlerRegistry(handler(step), initial=lambda: kind.state(rows=kind.first))


def numbers(field: Any = int, *more: Any, **options: Any) -> Kind:
    return state_of(field, 0, lambda number: number, *more, **options)


def held(field: Any, make: Callable[[Any], Any], **options: Any) -> Kind:
    """A container of three."""
    return state_of(field, make([]), lambda n: make([n, n + 1, n + 2]), **options)


def listed(kind: Any) -> Any:
    return list[kind]


def one(field: Any, value: Any, first: Any = None) -> Kind:
    return state_of(field, value if first is None else first, lambda n: value)


def level(*names: str, **options: Any) -> Any:
    return defstruct("Level", [(name, int) for name in names], frozen=True, **options)


def pair(*names: str) -> Any:
    return NamedTuple("Pair", [(name, int) for name in names])


def tuples(kind: Any) -> Kind:
    return held(listed(kind), lambda items: [kind(*[item] * 2) for item in items])


def tagged(tag: str) -> Kind:
    kind = defstruct("Cash", [("amount", int)], frozen=True, tag=tag)
    other = defstruct("Bond", [("price", int)], frozen=True, tag="bond")
    return state_of(kind | other, kind(0), kind)


def sides(**members: int) -> Any:
    """An enumeration of these members."""
    return enum.Enum("sides", members)


BUY_SELL: Any = sides(BUY=0, SELL=1)
SELL_BUY: Any = sides(SELL=0, BUY=1)
Rows = NewType("Rows", Sequence[int])
DEEP: Any = defstruct("Deep", [("n", int, 0)], frozen=True)
DEEP_7: Any = defstruct("Deep", [("n", int, 7)], frozen=True)
DEEPER: Any = defstruct("Deep", [("n", int, 0), ("m", int, 0)], frozen=True)
A: Any = defstruct("A", [("a", int)], tag="a")
B: Any = defstruct("B", [("b", int)], tag="b")

CASES: dict[str, tuple[Kind, Kind, Any]] = {
    "the class is renamed or moved, its docstring or its methods change": (
        numbers(),
        numbers(name="Other", namespace={"__doc__": "Another.", "total": lambda self: 1}),
        READ,
    ),
    "a description, title or example is added with `Annotated`": (
        held(list[int], list),
        held(Annotated[list[int], Meta(description="the rows")], list),
        READ,
    ),
    "`list[int]` becomes `Sequence[int]`, or a new name for it": (
        held(list[int], list),
        held(Rows, list),
        READ,
    ),
    "fields change places": (
        numbers(int, ("a", int, 1), ("b", int, 2)),
        numbers(int, ("b", int, 2), ("a", int, 1)),
        READ,
    ),
    "the options of a union change places": (
        one(A | B | None, A(1)),
        one(None | B | A, A(1)),
        READ,
    ),
    "a field is added": (numbers(), numbers(int, ("fees", int, 0)), FOLDED),
    "a field is removed": (numbers(int, ("fees", int, 0)), numbers(), FOLDED),
    "a field is renamed": (
        numbers(int, ("fee", int, 0)),
        numbers(int, ("fees", int, 0)),
        FOLDED,
    ),
    "`int` becomes `float`": (numbers(), state_of(float, 0.0, float), FOLDED),
    "a field becomes optional": (numbers(), numbers(int | None), FOLDED),
    "`list` becomes `tuple`, `set` or `frozenset`": (
        held(list[int], list),
        held(set[int], set),
        FOLDED,
    ),
    "`dict` becomes `Map`, or the other way": (
        held(dict[int, int], lambda items: dict.fromkeys(items, 1)),
        held(Map[int, int], lambda items: Map(dict.fromkeys(items, 1))),
        FOLDED,
    ),
    "a bound is set, changed or taken away": (
        numbers(),
        numbers(Annotated[int, Meta(ge=0)]),
        FOLDED,
    ),
    "the default of a class within the state changes": (
        held(listed(DEEP), lambda items: list(map(DEEP, items))),
        held(listed(DEEP_7), lambda items: list(map(DEEP_7, items))),
        FOLDED,
    ),
    "a class within the state changes": (
        one(DEEP, DEEP(1)),
        one(DEEPER, DEEPER(1)),
        FOLDED,
    ),
    "a tag changes": (tagged("cash"), tagged("money"), FOLDED),
    "members of an enumeration change": (
        held(listed(BUY_SELL), lambda items: [BUY_SELL["BUY"] for _ in items]),
        held(listed(SELL_BUY), lambda items: [SELL_BUY["BUY"] for _ in items]),
        FOLDED,
    ),
    "the values of a `Literal` change": (
        one(Literal["a", "b"], "a"),
        one(Literal["a", "b", "c"], "a"),
        FOLDED,
    ),
    "places change in a NamedTuple or an array-like Struct": (
        tuples(level("price", "size", array_like=True)),
        tuples(level("size", "price", array_like=True)),
        FOLDED,
    ),
    "`Any` becomes a type": (held(Any, list), held(list[int], list), FOLDED),
    "a Struct becomes a dataclass, a NamedTuple or a TypedDict": (
        tuples(level("price", "size", array_like=True)),
        tuples(pair("price", "size")),
        FOLDED,
    ),
    "the initial state becomes another one": (
        numbers(int, ("cash", int, 1000)),
        numbers(int, ("cash", int, 5000)),
        InitialStateError,
    ),
    "the folded state does not fit the new type": (
        numbers(),
        numbers(Annotated[int, Meta(le=2)]),
        StateRefusedError,
    ),
    "the new type is one that MessagePack cannot carry": (
        numbers(),
        state_of(complex, 0j, complex),
        RegistrationError,
    ),
}


async def filled(kind: Kind, **options: Any) -> SimulatedDisk:
    disk = SimulatedDisk()
    config: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None, **options}
    async with EventStore.open("", registry_of(kind), disk=disk, **config) as store:
        for number in range(1, 4):
            await store.append(Step(number=number), key=f"{number}" + "x" * 3000)
            await store.snapshot()
    return disk.reopen()


@pytest.mark.asyncio
@pytest.mark.parametrize("change", CASES)
async def test_a_change_of_the_type(change: str) -> None:
    old, new, outcome = CASES[change]
    disk = await filled(old)
    before = disk.contents()
    if isinstance(outcome, str):
        async with EventStore.open("", registry_of(new), disk=disk) as store:
            assert store.state.rows == new.make(3)
            assert type(store.state) is new.state
            assert (store.recovery.snapshot is not None) == (outcome == READ)
    else:
        with pytest.raises(outcome):
            await EventStore.open("", registry_of(new), disk=disk)
        assert {**disk.contents(), "writer.pid": b""} == {**before, "writer.pid": b""}


@pytest.mark.asyncio
@pytest.mark.parametrize("change", [name for name, case in CASES.items() if case[2] == FOLDED])
async def test_where_the_events_are_gone_folding_again_is_refused(change: str) -> None:
    old, new, _ = CASES[change]
    disk = await filled(old, history="discard", segment_size=4096, backup_count=1)
    with pytest.raises(SnapshotMismatchError, match="the state's type"):
        await EventStore.open("", registry_of(new), disk=disk)
    only = await filled(old, use_wal=False)
    with pytest.raises(SnapshotMismatchError, match="the state's type") as caught:
        await EventStore.open("", registry_of(new), disk=only, use_wal=False)
    assert isinstance(caught.value, EventStoreError)


def test_the_table_in_the_documentation_has_these_rows() -> None:
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition("## When the type changes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)[1:]
    written = dict(rows)
    expected = {
        name: outcome if isinstance(outcome, str) else f"`{outcome.__name__}`"
        for name, (_, _, outcome) in CASES.items()
    }
    assert written == expected
