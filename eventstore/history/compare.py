"""Compare two stores: the first event after which the states differ, and the final differences.

Theory of operation
-------------------
Branches of one store share the parent's history up to the moment of branching, and `compare` knows
the moment without reading an event. From the moment on, both histories are read side by side. The
same handlers fold the same events to the same states, so one fold serves both stores until the
first differing event. From there on, both histories are folded, and the states are compared after
every event until the states differ. Stores with different handlers share no fold: both histories
are folded from the first event that both still have.

Unread parts never count as equal. Where one of the two stores lacks the events before a moment, and
no manifest says that the histories were one until then, nothing can be said.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventstore.arguments import argument_error, checked_flag
from eventstore.disk.base import Disk
from eventstore.disk.manifest import BranchPoint, load_manifest
from eventstore.errors import HistoryUnavailableError
from eventstore.model.differences import ABSENT, Steps, path_of, walk_differences
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

    Raises everything that `EventStore.events` raises. Raises `HistoryUnavailableError` where the
    histories part, or may part, before the first event that one of the two stores still has.
    """
    given: dict[str, Any] = {"one": one, "other": other}
    for argument, store in given.items():
        if not isinstance(store, EventStore):
            expected = "expected an open EventStore; open a directory with read_only=True"
            raise argument_error(argument, store, expected)
    seqs, states = (one.seq, other.seq), (one.state, other.state)
    alike = one.registry.same_as(other.registry)
    mine, theirs = await _StoreHistory.of(one), await _StoreHistory.of(other)
    shared, certain = mine.shared_with(theirs)
    start = max(mine.begins, theirs.begins)
    if alike and shared and certain:
        start = shared
        first = await min(mine, theirs, key=lambda past: past.begins).state_at(start)
        second = copy_value(first)
    elif start > shared:
        raise _unknown_before(one, other, start)
    else:
        first = await mine.state_at(min(start, seqs[0]))
        second = await theirs.state_at(min(start, seqs[1]))
        if start and first != second:
            raise _unknown_before(one, other, start)
    differs_from = None if first == second else start
    if differs_from is None:
        differs_from = await _first_difference(one, other, first, second, start + 1, alike)
    found = tuple(differences(*states))
    if differs_from is None and found:
        differs_from = min(seqs)  # folding again gave the same, yet the states are not: impure
    return Comparison(
        differs_from=differs_from, differences=found, one_seq=seqs[0], other_seq=seqs[1]
    )


def _unknown_before(
    one: EventStore[Any], other: EventStore[Any], start: int
) -> HistoryUnavailableError:
    return HistoryUnavailableError(
        f"{one.path} and {other.path} have no event up to {start} in common that both still hold, "
        "and nothing says that they were the same until then: where their states part cannot be "
        "told. `differences` of the two states says how they differ now",
        requested=1,
        first_available=start + 1,
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


class _Ancestor(NamedTuple):
    """A directory that recorded the events up to `seq`."""

    seq: int
    path: str


class _StoreHistory:
    """The origin of one store's history, and the states on the way.

    `begins` is the first number for which the state can be given.
    """

    def __init__(
        self, store: EventStore[Any], begins: int, lineage: Mapping[uuid.UUID, _Ancestor]
    ) -> None:
        self._store = store
        self.begins = begins
        self._lineage = lineage

    @classmethod
    async def of(cls, store: EventStore[Any]) -> _StoreHistory:
        disk, origin = store.log.disk, store.origin
        if disk is None:
            return cls(store, origin.seq if origin is not None else 0, {})
        seq = store.seq if origin is None else origin.seq
        history_start, lineage = await store.log.run(_read_lineage, disk, seq)
        return cls(store, min(history_start - 1, seq), lineage)

    def shared_with(self, other: _StoreHistory) -> tuple[int, bool]:
        """Give the number of the last event that both share, and whether that is certain.

        The answer needs no event. A copy of a directory has the UUID of the original, and may have
        gone another way since. So what two directories recorded is shared only as far as one of
        the two stores lacks the events, and even that is not certain.
        """
        found = (0, False)
        for store in self._lineage.keys() & other._lineage.keys():
            mine, theirs = self._lineage[store], other._lineage[store]
            seq, certain = min(mine.seq, theirs.seq), mine.path == theirs.path
            if not certain:
                seq = min(seq, max(self.begins, other.begins))
            found = max(found, (seq, certain))
        return found

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


def _read_lineage(disk: Disk, seq: int) -> tuple[int, dict[uuid.UUID, _Ancestor]]:
    """Return the first event of a store, and which store recorded which events up to `seq`."""
    manifest = load_manifest(disk)
    lineage = {manifest.store: _Ancestor(seq, str(Path(disk.path).resolve()))}
    branched = manifest.branched
    if isinstance(branched, BranchPoint):
        lineage[branched.store] = _Ancestor(
            min(branched.seq, seq), str(Path(branched.path).resolve())
        )
    return manifest.history_start, lineage


def differences(one: Any, other: Any, *, exact: bool = False) -> Iterator[Difference]:
    """Yield the places in which two states differ: fields, entries of maps, and fields of entries.

    Values are compared by `==`. `exact` also tells `1` from `1.0` and `0.0` from `-0.0`, as
    `state_digest` does.

    >>> [str(found) for found in differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})]
    ["state['b']: 2 and 3", "state['c']: absent and 4"]
    """
    found = walk_differences(one, other, exact=checked_flag("exact", exact))
    return (_difference(*place) for place in found)


def _difference(steps: Steps, one: Any, other: Any) -> Difference:
    path = path_of(steps)
    return Difference(path[1:] if path.startswith(".") else f"state{path}", one, other)
