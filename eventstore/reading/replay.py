"""Read a store's history without opening the store: events, replay, and the state at a moment.

All functions are synchronous, need no event loop and take no lock, also while the writer is at
work. Archive and log are one history, and memory is flat however long the history is. The last
event that a reader outside the writer sees may be a record still in flight, which a power cut can
take back.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar

from eventstore.disk.base import Disk
from eventstore.disk.listing import list_snapshots
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import HistoryUnavailableError, translating_read_errors
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.fold_context import fold_context
from eventstore.model.handler import replay_error
from eventstore.model.operation import OPERATION_FIELD, Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state import StateAt
from eventstore.model.value_types import copier
from eventstore.reading.selection import (
    Moment,
    TimeWindow,
    as_sequence,
    as_time,
    checked_operations,
    seq_lower_bound,
)
from eventstore.snapshot.vault import SnapshotVault, snapshot_times

__all__ = [
    "fold_to",
    "read_events",
    "recorded_batches",
    "replay",
    "state_at",
    "upcast_batches",
]

StateT = TypeVar("StateT")
_END = 1 << 62


def read_events(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    start: Moment = 1,
    stop: Moment | None = None,
    operations: Collection[str] | None = None,
    disk: Disk | None = None,
) -> Iterator[Event[Any]]:
    """Iterate over the events of the store at `path`, in order.

    Args:
        path: the store's directory.
        registry: the handlers, whose payload types the events get. Without a registry payloads are
            plain dictionaries, and no plugin is needed.
        start: a sequence number, or a time (an aware `datetime`, or nanoseconds since the epoch).
            A time stands for the first event at or after that time.
        stop: a sequence number or a time like `start`, exclusive.
        operations: the names of the operations to keep, by default all.
        disk: a disk in place of the directory, for tests.

    Raises:
        StoreNotFoundError: there is no store.
        HistoryUnavailableError: the event at `start` was discarded.
        CorruptLogError, ReadFailedError: the history cannot be read.
        UnknownOperationError: the registry has no handler for an event, or for a name in
            `operations`.
    """
    operations = checked_operations(operations, None if registry is None else registry.operations)
    found = upcast_batches(disk or LocalDisk(path, read_only=True), registry, start, stop)
    events = itertools.chain.from_iterable(found)
    if operations is None:
        return events
    return (event for event in events if _name(event) in operations)


def replay(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    *,
    start: Moment = 1,
    stop: Moment | None = None,
    operations: Collection[str] | None = None,
    disk: Disk | None = None,
) -> Iterator[tuple[Event[Any], StateT]]:
    """Iterate over pairs of each event from `start` to `stop` and the state after the event.

    The handlers are the ones of the live store. The state is right from the first pair on: events
    before `start` are folded too, from the nearest snapshot where there is one. `operations`
    chooses the pairs to hand over, and every event is folded. Arguments and errors are the ones of
    `read_events`, and `ReplayError` where a handler raises.
    """
    operations = checked_operations(operations, registry.operations)
    disk = disk or LocalDisk(path, read_only=True)
    first = as_sequence(start)
    upto = None if first is None else first - 1
    state, seq, _ = _base(disk, registry, upto=upto, before=as_time(start))
    functions, copy = registry.functions, copier(registry.state_type)
    run = fold_context().run
    handing_over = False
    window = TimeWindow(None, stop)  # counts from `start` on, as clocks may go backwards
    for batch in upcast_batches(disk, registry, seq + 1, stop if as_time(stop) is None else None):
        events = batch
        if not handing_over:
            events = _from_start(batch, start)
            state = registry.fold(state, batch[: len(batch) - len(events)])
            handing_over = bool(events)
        for event in window.cut(events):
            try:
                folded = run(functions[type(event.data)], state, event)
            except Exception as error:  # a handler may raise anything
                raise replay_error(event, error) from error
            if folded is None and state is not None:
                raise replay_error(event, TypeError("it returned None instead of a state"))
            state = folded
            if operations is None or event.operation in operations:
                yield event, state if copy is None else copy(state)
        if window.over:
            return


def state_at(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    at: Moment | None = None,
    *,
    disk: Disk | None = None,
) -> StateT:
    """Return the state after event number `at`, as of a time, or (`None`) after the last event.

    A time stands for the state before the first later event. Folding starts from the nearest
    snapshot. Raises the errors of `replay`.
    """
    return fold_to(disk or LocalDisk(path, read_only=True), registry, at).state


def fold_to(disk: Disk, registry: HandlerRegistry[StateT], at: Moment | None) -> StateAt[StateT]:
    """Fold to event number `at`, to a time, or to the last. Raises the errors of `state_at`."""
    upto, time = as_sequence(at), as_time(at)
    after = None if time is None else time + 1
    folded = _base(disk, registry, upto=upto, before=after)
    if upto is None and _is_all_there_is(disk, folded.seq, time):
        return folded
    stop: Moment | None = after if after is not None else None if upto is None else upto + 1
    state, seq, latest = folded
    for events in recorded_batches(disk, registry.codec, seq + 1, stop):
        state = registry.fold(state, registry.upcast(events))
        seq = events[-1].seq
        latest = max(latest, *[event.time for event in events])
    if upto is not None and seq < upto:
        raise HistoryUnavailableError(
            f"{disk.path}: event {upto} is not recorded, the last is event {seq}; ask for that "
            "one, or for None, which is the last",
            requested=upto,
            first_available=load_manifest(disk).history_start,
        )
    return StateAt(state, seq, latest)


def _is_all_there_is(disk: Disk, seq: int, time: int | None) -> bool:
    """Whether the store has no log, and `seq` is the newest of its usable snapshots."""
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
        if manifest.logged:
            return False
        newest = max((seq for seq, _ in snapshot_times(disk, manifest.store)), default=0)
    return time is None or seq == newest


def _base(
    disk: Disk, registry: HandlerRegistry[StateT], *, upto: int | None, before: int | None
) -> StateAt[StateT]:
    """Load the newest usable snapshot that is not too late, or give the initial state."""
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
        if before is not None:
            times = snapshot_times(disk, manifest.store)
            upto = max((seq for seq, latest in times if latest < before), default=0)
        vault = SnapshotVault[StateT](
            disk, manifest.store, registry.state_type, registry.fingerprint()
        )
        snapshot, _ = vault.load_newest(list_snapshots(disk), upto=upto)
    if snapshot is None:
        return StateAt(registry.initial(), 0, 0)
    return StateAt(snapshot.state, snapshot.seq, snapshot.latest)


def upcast_batches(
    disk: Disk, registry: HandlerRegistry[Any] | None, start: Moment, stop: Moment | None
) -> Iterator[Sequence[Event[Any]]]:
    """Iterate over the events from `start` to `stop` (exclusive), upcast, in batches."""
    if registry is None:
        return recorded_batches(disk, EventCodec(), start, stop)
    found = recorded_batches(disk, registry.codec, start, stop)
    return map(registry.upcast, found)


def recorded_batches(
    disk: Disk, codec: EventCodec, start: Moment, stop: Moment | None
) -> Iterator[Sequence[Event[Any]]]:
    """Iterate over the events from `start` to `stop` (exclusive) as recorded, in batches."""
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
    earliest = as_time(start)
    first = as_sequence(start) if earliest is None else seq_lower_bound(disk, earliest)
    first = max(first or 1, 1)
    end = as_sequence(stop) if stop is not None and as_time(stop) is None else _END
    window = TimeWindow(start, stop)
    if end is None or first >= end:
        return
    reader = LogReader(disk, manifest.store, CACHED_BYTES)
    for chunk in reader.chunks(first, end):
        events = codec.decode(chunk.array, chunk.events, chunk.first_seq)
        if chunk.first_seq < first or chunk.first_seq + chunk.events > end:
            events = events[max(0, first - chunk.first_seq) : end - chunk.first_seq]
        wanted = window.cut(events)
        if wanted:
            yield wanted
        if window.over:
            return


def _from_start(batch: Sequence[Event[Any]], start: Moment) -> Sequence[Event[Any]]:
    first = as_sequence(start)
    if first is None:
        return TimeWindow(start, None).cut(batch)
    return [event for event in batch if event.seq >= first]


def _name(event: Event[Any]) -> str:
    """The operation's name, also of a payload that was decoded without a registry."""
    if isinstance(event.data, dict):
        return str(event.data.get(OPERATION_FIELD, "")).partition("@")[0]
    return event.operation
