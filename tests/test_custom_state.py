"""States of other kinds than the trading state, and later changes by a caller.

A state of any type is the same after a restart, from the log or from a snapshot, and in a replay. A
holder of a payload, an event or a state cannot change the logged or published data of the store:
every holder gets a copy of a mutable value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from immutables import Map

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    Operation,
    handler,
    replay,
    state_at,
    state_digest,
)
from eventstore.testing import SimulatedDisk, check_handler


class Add(Operation):
    """`lines` of a topic, in a payload that can be changed."""

    topic: str
    lines: list[str]


class Frozen(msgspec.Struct, frozen=True):
    count: int = 0
    topics: Map[str, tuple[str, ...]] = Map()


class Open(msgspec.Struct):
    count: int = 0
    topics: dict[str, list[str]] = {}


@dataclasses.dataclass(frozen=True)
class FrozenData:
    count: int = 0
    topics: tuple[str, ...] = ()


@dataclasses.dataclass
class OpenData:
    count: int = 0
    topics: dict[str, list[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class HalfFrozen:
    """A frozen class with a list in a field."""

    lines: list[str] = dataclasses.field(default_factory=list)


def joined(topics: dict[str, list[str]], data: Add) -> dict[str, list[str]]:
    return {**topics, data.topic: [*topics.get(data.topic, []), *data.lines]}


@handler
def to_typed_dict(state: dict[str, list[str]], event: Event[Add]) -> dict[str, list[str]]:
    return joined(state, event.data)


@handler
def to_dict(state: dict, event: Event[Add]) -> dict:  # type: ignore[type-arg]  # a plain dict
    return {**state, event.data.topic: {"lines": list(event.data.lines), "seq": event.seq}}


@handler
def to_list(state: list[str], event: Event[Add]) -> list[str]:
    return [*state, event.data.topic, *event.data.lines]


@handler
def to_int(state: int, event: Event[Add]) -> int:
    return state + len(event.data.lines)


@handler
def to_map(state: Map[str, int], event: Event[Add]) -> Map[str, int]:
    return state.set(event.data.topic, state.get(event.data.topic, 0) + len(event.data.lines))


@handler
def to_tuple(state: tuple[str, ...], event: Event[Add]) -> tuple[str, ...]:
    return (*state, event.data.topic)


@handler
def to_frozen(state: Frozen, event: Event[Add]) -> Frozen:
    return Frozen(state.count + 1, state.topics.set(event.data.topic, tuple(event.data.lines)))


@handler
def to_open(state: Open, event: Event[Add]) -> Open:
    return Open(state.count + 1, joined(state.topics, event.data))


@handler
def to_frozen_data(state: FrozenData, event: Event[Add]) -> FrozenData:
    return FrozenData(state.count + 1, (*state.topics, event.data.topic))


@handler
def to_open_data(state: OpenData, event: Event[Add]) -> OpenData:
    return OpenData(state.count + 1, joined(state.topics, event.data))


@handler
def to_half_frozen(state: HalfFrozen, event: Event[Add]) -> HalfFrozen:
    return HalfFrozen([*state.lines, *event.data.lines])


class Kind(NamedTuple):
    """A kind of state: the handler, the state after `HISTORY`, and a way to spoil a state."""

    handler: Any
    after: Any
    spoil: Callable[[Any], Any] | None = None


HISTORY = (Add(topic="a", lines=["x"]), Add(topic="b", lines=["y", "z"]), Add(topic="a", lines=[]))

KINDS = {
    "dict[str, list[str]]": Kind(
        to_typed_dict, {"a": ["x"], "b": ["y", "z"]}, lambda state: state["a"].append("spoilt")
    ),
    "dict": Kind(
        to_dict,
        {"a": {"lines": [], "seq": 3}, "b": {"lines": ["y", "z"], "seq": 2}},
        lambda state: state["b"]["lines"].clear(),
    ),
    "list": Kind(to_list, ["a", "x", "b", "y", "z", "a"], lambda state: state.clear()),
    "unfrozen Struct": Kind(
        to_open,
        Open(3, {"a": ["x"], "b": ["y", "z"]}),
        lambda state: state.topics["b"].append("spoilt"),
    ),
    "unfrozen dataclass": Kind(
        to_open_data,
        OpenData(3, {"a": ["x"], "b": ["y", "z"]}),
        lambda state: setattr(state, "count", -1),
    ),
    "frozen dataclass with a list": Kind(
        to_half_frozen, HalfFrozen(["x", "y", "z"]), lambda state: state.lines.append("spoilt")
    ),
    "int": Kind(to_int, 3),
    "Map": Kind(to_map, Map(a=1, b=2)),
    "tuple": Kind(to_tuple, ("a", "b", "a")),
    "frozen Struct": Kind(to_frozen, Frozen(3, Map(a=(), b=("y", "z")))),
    "frozen dataclass": Kind(to_frozen_data, FrozenData(3, ("a", "b", "a"))),
}

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
mutable = {name: kind for name, kind in KINDS.items() if kind.spoil is not None}
immutable = {name: kind for name, kind in KINDS.items() if kind.spoil is None}
every_mutable = pytest.mark.parametrize("kind", mutable.values(), ids=mutable)
every_immutable = pytest.mark.parametrize("kind", immutable.values(), ids=immutable)


def spoil(kind: Kind, state: Any) -> None:
    assert kind.spoil is not None
    kind.spoil(state)


class TestEveryKind:
    @every_kind
    @pytest.mark.asyncio
    async def test_it_is_the_same_after_a_restart_and_in_a_replay(self, kind: Kind) -> None:
        registry: HandlerRegistry[Any] = HandlerRegistry(kind.handler)
        disk = SimulatedDisk()
        async with EventStore.open("", registry, disk=disk) as store:
            await store.append(*HISTORY[:2])
            await store.append(HISTORY[2])
            assert store.state == kind.after
        async with EventStore.open("", registry, disk=disk.reopen()) as store:
            assert (store.state, store.recovery.snapshot_seq) == (kind.after, 0)
            assert type(store.state) is type(kind.after)
            await store.snapshot()
        async with EventStore.open("", registry, disk=disk.reopen()) as store:
            assert (store.state, store.recovery.snapshot_seq) == (kind.after, 3)
            assert type(store.state) is type(kind.after)
            assert state_digest(store.state) == state_digest(kind.after)
        assert state_at("", registry, disk=disk.reopen()) == kind.after
        states = [state for _, state in replay("", registry, disk=disk.reopen())]
        assert len(states) == 3
        assert states[-1] == kind.after

    @every_kind
    def test_its_handler_keeps_the_rules(self, kind: Kind) -> None:
        check_handler(kind.handler, examples=20, hash_seeds=())

    @every_mutable
    @pytest.mark.asyncio
    async def test_a_replay_goes_on_from_its_own_state(self, kind: Kind) -> None:
        registry: HandlerRegistry[Any] = HandlerRegistry(kind.handler)
        disk = SimulatedDisk()
        async with EventStore.open("", registry, disk=disk) as store:
            await store.append(*HISTORY)
        for event, state in replay("", registry, disk=disk.reopen()):
            if event.seq == 3:
                assert state == kind.after
            elif event.seq == 2:
                spoil(kind, state)

    @pytest.mark.asyncio
    async def test_the_first_state_may_be_given(self) -> None:
        registry = HandlerRegistry(to_int, initial=lambda: 100)
        async with EventStore.in_memory(registry) as store:
            await store.append(HISTORY[0])
            assert store.state == 101


class TestWhoeverHoldsAState:
    @every_immutable
    @pytest.mark.asyncio
    async def test_an_immutable_one_is_handed_out_itself(self, kind: Kind) -> None:
        async with EventStore.in_memory(HandlerRegistry[Any](kind.handler)) as store:
            await store.append(*HISTORY)
            assert store.state is store.state

    @every_mutable
    @pytest.mark.asyncio
    async def test_cannot_change_what_is_published(self, kind: Kind) -> None:
        registry: HandlerRegistry[Any] = HandlerRegistry(kind.handler)
        disk = SimulatedDisk()
        async with EventStore.open("", registry, disk=disk) as store:
            await store.append(*HISTORY[:2])
            before = store.state
            spoil(kind, store.state)
            assert store.state == before
            await store.append(HISTORY[2])
            assert store.state == kind.after
            spoil(kind, store.state)
            await store.snapshot()
        async with EventStore.open("", registry, disk=disk.reopen()) as store:
            assert (store.state, store.recovery.snapshot_seq) == (kind.after, 3)
            spoil(kind, store.state)
            assert store.state == kind.after

    @every_mutable
    @pytest.mark.asyncio
    async def test_keeps_it_as_it_was(self, kind: Kind) -> None:
        async with EventStore.in_memory(HandlerRegistry[Any](kind.handler)) as store:
            await store.append(*HISTORY)
            held = store.state
            await store.append(Add(topic="c", lines=["w"]))
            assert held == kind.after

    @every_mutable
    @pytest.mark.asyncio
    async def test_cannot_change_it_by_the_state_it_began_with(self, kind: Kind) -> None:
        registry: HandlerRegistry[Any] = HandlerRegistry(kind.handler)
        async with EventStore.in_memory(registry) as store:
            await store.append(*HISTORY)
            mine = store.state
        async with EventStore.in_memory(registry, state=mine) as store:
            spoil(kind, mine)
            assert store.state == kind.after

    @pytest.mark.asyncio
    async def test_nor_by_what_every_store_begins_with(self) -> None:
        template: dict[str, list[str]] = {"a": []}
        registry = HandlerRegistry(to_typed_dict, initial=lambda: template)
        async with EventStore.in_memory(registry) as store:
            template["a"].append("spoilt")
            assert store.state == {"a": []}


@handler
def careless(state: Open, event: Event[Add]) -> Open:
    """Keep the event's own list. The handler checks find the fault, and a store must stay right."""
    return Open(state.count + 1, {**state.topics, event.data.topic: event.data.lines})


class TestWhoeverHoldsAPayload:
    @pytest.mark.parametrize("item", [to_open, careless])
    @pytest.mark.asyncio
    async def test_cannot_change_what_was_appended(self, item: Any) -> None:
        disk = SimulatedDisk()
        registry: HandlerRegistry[Any] = HandlerRegistry(item)
        mine = Add(topic="a", lines=["x"])
        notes: dict[str, Any] = {"by": ["me"]}
        async with EventStore.open("", registry, disk=disk) as store:
            receipt = store.submit(mine, metadata=notes)
            mine.lines.append("spoilt")
            notes["by"].append("spoilt")
            await receipt
            mine.lines.append("again")
            assert store.state.topics == {"a": ["x"]}
            (event,) = [event async for event in store.events()]
            assert (event.data.lines, event.metadata) == (["x"], {"by": ["me"]})
        async with EventStore.open("", registry, disk=disk.reopen()) as store:
            assert store.state.topics == {"a": ["x"]}

    @pytest.mark.parametrize("item", [to_open, careless])
    @pytest.mark.asyncio
    async def test_a_subscriber_cannot_change_what_others_see(self, item: Any) -> None:
        registry: HandlerRegistry[Any] = HandlerRegistry(item)
        async with (
            EventStore.in_memory(registry) as store,
            store.subscribe() as one,
            store.subscribe() as other,
        ):
            await store.append(Add(topic="a", lines=["x"]), metadata={"by": ["me"]})
            event: Event[Any] = await anext(one)
            assert event.metadata is not None
            event.data.lines.append("spoilt")
            event.metadata["by"].append("spoilt")
            seen = await anext(other)
            assert (seen.data.lines, seen.metadata) == (["x"], {"by": ["me"]})
            assert store.state.topics == {"a": ["x"]}

    @pytest.mark.asyncio
    async def test_nor_can_a_reader(self) -> None:
        async with EventStore.in_memory(HandlerRegistry[Open](to_open)) as store:
            await store.append(Add(topic="a", lines=["x"]))
            for _ in range(2):
                (event,) = [event async for event in store.events()]
                assert event.data.lines == ["x"]
                event.data.lines.append("spoilt")

    @pytest.mark.asyncio
    async def test_events_that_cannot_change_are_shared(self) -> None:
        async with (
            EventStore.in_memory(HandlerRegistry[int](to_number)) as store,
            store.subscribe() as one,
            store.subscribe() as other,
        ):
            await store.append(Number(value=1))
            assert await anext(one) is await anext(other)


class Number(Operation):
    value: int


@handler
def to_number(state: int, event: Event[Number]) -> int:
    return state + event.data.value
