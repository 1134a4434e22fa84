"""Compare two stores: the first event after which the states differ, and the final differences.

Theory of operation
-------------------
Branches of one store share the parent's history up to the moment of branching, and `compare` knows
the moment without reading an event. From the moment on, both histories are read side by side. The
same handlers fold the same events to the same states, so one fold serves both stores until the
first differing event. From there on, both histories are folded, and the states are compared after
every event until the states differ. Stores with different handlers share no fold: both histories
are folded from the first event that both still have.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.model.differences import ABSENT, path_of, walk_differences
from eventstore.model.operation import Event
from eventstore.model.value_types import copy_value
from eventstore.reading.replay import fold_to
from eventstore.store import EventStore

__all__ = [
    "ABSENT",
    "Comparison",
    "Difference",
    "compare",
    "differences",
]


class Difference(NamedTuple):
    """One place in which two states differ.

    `path` names the place, such as `positions['AAPL'].shares`. `one` and `other` are the values
    there, `ABSENT` where only the other state has the place.
    """

    path: str
    one: Any
    other: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.one!r} and {self.other!r}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `compare`.

    Attributes:
        differs_from: the number of the first event with differing states behind it, `None` where
            the states were always equal. After its end, a history stays in the last state.
        differences: the final differences, sorted by field and key. None are left where two
            different histories came to the same state.
        one_seq: the number of the first store's last event.
        other_seq: the number of the second store's last event.
    """

    differs_from: int | None
    differences: tuple[Difference, ...]
    one_seq: int
    other_seq: int

    @property
    def same(self) -> bool:
        """Whether the states were equal after every event and are equal now."""
        return self.differs_from is None


async def compare(one: EventStore[Any], other: EventStore[Any]) -> Comparison:
    """Find the first event after which two stores' states differ, and the differences now.

    Branches, stores in memory and stores on disk can be compared with one another. A live store
    is opened with `read_only=True`. Values are compared by `==`.

    Raises every error of `EventStore.events`. Raises `HistoryUnavailableError` where the histories
    part before the first event that one of the two stores still has.
    """
    seqs, states = (one.seq, other.seq), (one.state, other.state)
    alike = one.registry.same_as(other.registry)
    mine, theirs = await _StoreHistory.of(one), await _StoreHistory.of(other)
    start = mine.shared_with(theirs) if alike else 0
    if start:
        first = await min(mine, theirs, key=lambda past: past.begins).state_at(start)
        second = copy_value(first)
    else:
        start = max(mine.begins, theirs.begins)
        first = await mine.state_at(min(start, seqs[0]))
        second = await theirs.state_at(min(start, seqs[1]))
    differs_from = None if first == second else start
    if differs_from is None:
        differs_from = await _first_difference(one, other, first, second, start + 1, alike)
    found = tuple(differences(*states))
    if differs_from is None and found:
        differs_from = min(seqs)  # folding again gave the same, yet the states are not: impure
    return Comparison(
        differs_from=differs_from, differences=found, one_seq=seqs[0], other_seq=seqs[1]
    )


async def _first_difference(
    one: EventStore[Any], other: EventStore[Any], first: Any, second: Any, start: int, alike: bool
) -> int | None:
    """Find the first event from `start` on after which the states differ."""
    parted = not alike
    async for seq, mine, theirs in _merged_by_seq(one.events(start), other.events(start)):
        parted = parted or mine != theirs
        first = one.registry.fold(first, mine)
        second = other.registry.fold(second, theirs) if parted else first
        if parted and first != second:
            return seq
    return None


async def _merged_by_seq(
    one: AsyncIterator[Event[Any]], other: AsyncIterator[Event[Any]]
) -> AsyncIterator[tuple[int, list[Event[Any]], list[Event[Any]]]]:
    """Pair both histories by number. An upcaster may have made several events of one, or none."""
    left, right = await anext(one, None), await anext(other, None)
    while left is not None or right is not None:
        seq = min(event.seq for event in (left, right) if event is not None)
        mine: list[Event[Any]] = []
        theirs: list[Event[Any]] = []
        while left is not None and left.seq == seq:
            mine.append(left)
            left = await anext(one, None)
        while right is not None and right.seq == seq:
            theirs.append(right)
            right = await anext(other, None)
        yield seq, mine, theirs


class _StoreHistory:
    """The origin of one store's history, and the states on the way.

    `begins` is the first number for which the state can be given.
    """

    def __init__(self, store: EventStore[Any], begins: int, lineage: Mapping[Any, int]) -> None:
        self._store = store
        self.begins = begins
        self._lineage = lineage

    @classmethod
    async def of(cls, store: EventStore[Any]) -> _StoreHistory:
        disk, origin = store.log.disk, store.origin
        if disk is None:
            return cls(store, origin.seq if origin is not None else 0, {})
        manifest = await store.log.run(load_manifest, disk)
        seq = store.seq if origin is None else origin.seq
        return cls(store, min(manifest.history_start - 1, seq), _lineage(manifest, seq))

    def shared_with(self, other: _StoreHistory) -> int:
        """Give the number of the last event that both share, as far as is known without reading."""
        common = self._lineage.keys() & other._lineage.keys()
        return max((min(self._lineage[key], other._lineage[key]) for key in common), default=0)

    async def state_at(self, seq: int) -> Any:
        store, origin = self._store, self._store.origin
        if seq == store.seq:
            return store.state
        if origin is None or seq < origin.seq:
            disk = store.log.disk
            assert disk is not None
            return (await store.log.run(fold_to, disk, store.registry, seq)).state
        state = copy_value(origin.state)
        async for event in store.events(origin.seq + 1, seq + 1):
            state = store.registry.fold(state, (event,))
        return state


def _lineage(manifest: Manifest, seq: int) -> dict[Any, int]:
    """Map each store with recorded events up to `seq` to the last of its events."""
    lineage: dict[Any, int] = {manifest.store: seq}
    if isinstance(manifest.branched, msgspec.UnsetType):
        return lineage
    lineage[manifest.branched.store] = min(manifest.branched.seq, seq)
    return lineage


def differences(one: Any, other: Any, *, exact: bool = False) -> Iterator[Difference]:
    """Yield the places in which two states differ: fields, entries of maps, and fields of entries.

    Values are compared by `==`. `exact` also tells `1` from `1.0` and `0.0` from `-0.0`, as
    `state_digest` does.

    >>> [str(found) for found in differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})]
    ["state['b']: 2 and 3", "state['c']: absent and 4"]
    """
    for steps, left, right in walk_differences(one, other, exact=exact):
        path = path_of(steps)
        yield Difference(path[1:] if path.startswith(".") else f"state{path}", left, right)
