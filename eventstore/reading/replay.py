"""Read a store's history without opening the store: events, replay, and the state at a moment.

All functions are synchronous, need no event loop and take no lock, also while the writer is at
work. Archive and log are one history, and memory is flat however long the history is. The last
event that a reader outside the writer sees may be a record still in flight, which a power cut can
take back.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Generic, TypeVar

from eventstore.arguments import checked_flag
from eventstore.cursor import Cursor
from eventstore.disk.base import Disk, check_location
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import HistoryUnavailableError, ReplayError
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.log.runs import narrowed
from eventstore.missing_await import BlockingEvents
from eventstore.model.codec import EventCodec
from eventstore.model.handler import replay_error
from eventstore.model.operation import OPERATION_FIELD, Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import EventsLost, without_lost
from eventstore.model.state_codec import StateAt
from eventstore.model.user_code import fold_context
from eventstore.model.value_types import copier, copy_value, is_immutable
from eventstore.moment import AtTime, Moment, NamedPlace, Place, as_of, place_of
from eventstore.os_errors import translating_read_errors
from eventstore.reading.arguments import checked_operations, checked_registry
from eventstore.reading.bases import last_base_before, nearest_base
from eventstore.reading.cursor_check import confirm_moment, place_behind
from eventstore.reading.time_search import TimeWindow, seq_lower_bound

__all__ = [
    "fold_to",
    "read_events",
    "recorded_batches",
    "recorded_name",
    "replay",
    "state_at",
    "upcast_batches",
]

StateT = TypeVar("StateT")
_END = 1 << 62
_STEPS = 8
"""Events that `replay` folds at a time.

To go from the fold to the caller and back for each event costs half a microsecond. With a hundred
events at a time, their states are out of the processor's cache before the caller has them.
"""


def read_events(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    start: Moment = 1,
    stop: Moment | None = None,
    operations: Collection[str] | None = None,
    gaps: bool = False,
    disk: Disk | None = None,
) -> Iterator[Event[Any]]:
    """Iterate over the events of the store at `path`, in order.

    Args:
        path: the store's directory.
        registry: the handlers, whose payload types the events get. Without a registry payloads are
            plain dictionaries, and no plugin is needed.
        start: a sequence number, or a time (an aware `datetime`, a text with an offset such as
            `"2026-03-02T14:30Z"`, or nanoseconds since the epoch). A time stands for the first
            event at or after that time. A `Cursor` stands for the next event behind the cursor's.
        stop: a sequence number, a time or a cursor like `start`, exclusive.
        operations: the names of the operations to keep, by default all.
        gaps: whether to show lost events. After a repair that skipped damage, each lost event has
            an `EventsLost` in its place, and readers pass over it.
        disk: a disk in place of the directory, for tests.

    Raises:
        StoreNotFoundError: there is no store.
        HistoryUnavailableError: the event at `start` was discarded.
        HistoryForkedError, ForeignCursorError: a cursor is of another history.
        CorruptLogError, ReadFailedError: the history cannot be read.
        UnknownOperationError: the registry has no handler for an event, or for a name in
            `operations`.
    """
    checked_flag("gaps", gaps)
    known = None if registry is None else checked_registry(registry).operations
    operations = checked_operations(operations, known)
    begin, end = place_of(start, "start"), None if stop is None else place_of(stop, "stop")
    found = upcast_batches(_disk(path, disk), registry, begin, end, gaps=gaps)
    events: Iterator[Event[Any]] = itertools.chain.from_iterable(found)
    if operations is not None:
        events = (event for event in events if recorded_name(event) in operations)
    return BlockingEvents(events)


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
    checked_registry(registry)
    steps = _replay(
        _disk(path, disk),
        registry,
        place_of(start, "start"),
        None if stop is None else place_of(stop, "stop"),
        checked_operations(operations, registry.operations),
    )
    return BlockingEvents(itertools.chain.from_iterable(steps))


def _replay(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    start: NamedPlace,
    stop: NamedPlace | None,
    operations: Collection[str] | None,
) -> Iterator[Sequence[tuple[Event[Any], StateT]]]:
    state, batches = _from_start(disk, registry, start, stop)
    stepper, run = _Stepper(registry, state, operations), fold_context().run
    for batch in batches:
        for at in range(0, len(batch), _STEPS):
            steps: list[tuple[Event[Any], StateT]] = []
            try:
                run(stepper.fold, batch[at : at + _STEPS], steps)
            except ReplayError:
                yield steps  # the events before the one at fault
                raise
            yield steps


class _Stepper(Generic[StateT]):
    """Folds a few events at a time, and keeps a pair of each chosen event and its state."""

    def __init__(
        self, registry: HandlerRegistry[StateT], state: StateT, operations: Collection[str] | None
    ) -> None:
        self._functions = registry.functions
        self._state = state
        self._operations = operations
        self._copy = copier(registry.state_type)
        self._changeable = {kind for kind in registry.functions if not is_immutable(kind)}

    def fold(self, events: Sequence[Event[Any]], steps: list[tuple[Event[Any], StateT]]) -> None:
        """Fold events inside a `fold_context`, and add their pairs. Raises `ReplayError`."""
        state, functions, copy = self._state, self._functions, self._copy
        operations, changeable = self._operations, self._changeable
        for event in events:
            kind = type(event.data)
            try:
                folded = functions[kind](state, event)
            except Exception as error:  # a handler may raise anything
                raise replay_error(event, error) from error
            if folded is None and state is not None:
                raise replay_error(event, TypeError("it returned None instead of a state"))
            state = folded
            if kind is not EventsLost and (operations is None or event.operation in operations):
                shared = kind in changeable or event.metadata is not None  # perhaps with the state
                handed_over = copy_value(event) if shared else event
                steps.append((handed_over, state if copy is None else copy(state)))
        self._state = state


def _from_start(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    named_start: NamedPlace,
    named_stop: NamedPlace | None,
) -> tuple[StateT, Iterator[Sequence[Event[Any]]]]:
    """Fold up to `named_start`. Returns the state there, and the batches up to `named_stop`."""
    start = place_behind(disk, named_start)
    stop = None if named_stop is None else place_behind(disk, named_stop)
    upto, before = (None, start.first) if isinstance(start, AtTime) else (start - 1, None)
    state, seq, _, _ = nearest_base(disk, registry, upto=upto, before=before)
    batches = upcast_batches(disk, registry, seq + 1, stop if isinstance(stop, int) else None)
    for batch in batches:
        events = _behind(batch, start)
        state = registry.fold(state, batch[: len(batch) - len(events)])
        if events:
            return state, _up_to(itertools.chain([events], batches), stop)
    return state, iter(())


def _behind(batch: Sequence[Event[Any]], start: Place) -> Sequence[Event[Any]]:
    """Return the events of a batch from `start` on."""
    if isinstance(start, AtTime):
        return TimeWindow(start, None).cut(batch)
    return [event for event in batch if event.seq >= start]


def _up_to(
    batches: Iterator[Sequence[Event[Any]]], stop: Place | None
) -> Iterator[Sequence[Event[Any]]]:
    """Cut batches at `stop`. A time counts in these batches alone, as clocks may go backwards."""
    window = TimeWindow(None, stop)
    for batch in batches:
        yield window.cut(batch)
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

    A time stands for the state before the first later event. A `datetime` covers its whole
    microsecond, so the state at an event's own `datetime` includes the event. A `Cursor` stands for
    its event. Folding starts from the nearest snapshot. Raises the errors of `replay`.
    """
    place = as_of(at)
    checked_registry(registry)
    return fold_to(_disk(path, disk), registry, place).state


def fold_to(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    at: NamedPlace | None,
    advance: Callable[[int], None] | None = None,
) -> StateAt[StateT]:
    """Fold to event number `at`, to a time, or to the last. Raises the errors of `state_at`.

    `advance` is called with the number of the last event that is folded, now and then.
    """
    if isinstance(at, Cursor):
        at = confirm_moment(disk, at)
    upto, after = (None, at.last + 1) if isinstance(at, AtTime) else (at, None)
    stop: Place | None = None if upto is None else upto + 1
    if after is not None:
        stop = AtTime(after, after)
    if upto is not None and upto < 0:
        raise HistoryUnavailableError(
            f"{disk.path}: no event has the number {upto}; for a time before 1970 pass a datetime",
            requested=upto,
            first_available=load_manifest(disk).history_start,
        )
    folded = nearest_base(disk, registry, upto=upto, before=after)
    if upto is None and _is_all_there_is(disk, folded.seq, after):
        return folded
    state, seq, latest, intents = folded
    for recorded in recorded_batches(disk, registry.codec, seq + 1, stop):
        events = registry.upcast(recorded)
        state = registry.fold(state, events)
        intents = intents.after(events) if registry.marked else intents
        seq = recorded[-1].seq
        if advance is not None:
            advance(seq)
        latest = max(latest, *[event.time for event in recorded])
    if upto is not None and seq < upto:
        raise HistoryUnavailableError(
            f"{disk.path}: event {upto} is not recorded, the last is event {seq}; ask for that "
            "one, or an earlier one",
            requested=upto,
            first_available=load_manifest(disk).history_start,
        )
    return StateAt(state, seq, latest, intents)


def _is_all_there_is(disk: Disk, seq: int, before: int | None) -> bool:
    """Whether the store has no log, and `seq` is the newest of its usable snapshots."""
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
        if manifest.logged:
            return False
        newest = last_base_before(disk, manifest, 1 << 65)
    return before is None or seq == newest


def upcast_batches(
    disk: Disk,
    registry: HandlerRegistry[Any] | None,
    start: NamedPlace,
    stop: NamedPlace | None,
    *,
    gaps: bool = True,
) -> Iterator[Sequence[Event[Any]]]:
    """Iterate over the events from `start` to `stop` (exclusive), upcast, in batches."""
    if registry is None:
        return recorded_batches(disk, EventCodec(), start, stop, gaps=gaps)
    found = recorded_batches(disk, registry.codec, start, stop, gaps=gaps)
    return map(registry.upcast, found)


def recorded_batches(
    disk: Disk,
    codec: EventCodec,
    named_start: NamedPlace,
    named_stop: NamedPlace | None,
    *,
    gaps: bool = True,
) -> Iterator[Sequence[Event[Any]]]:
    """Iterate over the events from a start to a stop (exclusive) as recorded, in batches.

    `gaps=False` leaves out the places of lost events.
    """
    start = place_behind(disk, named_start)
    stop = None if named_stop is None else place_behind(disk, named_stop)
    first = seq_lower_bound(disk, start.first) if isinstance(start, AtTime) else max(start, 1)
    end = stop if isinstance(stop, int) else _END
    window = TimeWindow(start, stop)
    if first >= end:
        return
    reader = LogReader(disk, chunk_bytes=CACHED_BYTES)
    for chunk in reader.chunks(first, end):
        chunk = narrowed(chunk, first, end)
        events = codec.decode(chunk.array, chunk.events, chunk.first_seq)
        wanted = window.cut(events)
        if not gaps:
            wanted = without_lost(wanted)
        if wanted:
            yield wanted
        if window.over:
            return


def _disk(path: Any, disk: Any) -> Disk:
    check_location(path, disk)
    given: Disk | None = disk
    return LocalDisk(path, read_only=True) if given is None else given


def recorded_name(event: Event[Any]) -> str:
    """The operation's name, also of a payload that was decoded without a registry."""
    if isinstance(event.data, dict):
        return str(event.data.get(OPERATION_FIELD, "")).partition("@")[0]
    return event.operation
