"""The figures of one store: a single pass over the history, and a look at the files.

Theory of operation
-------------------
The pass ends at the event that was the last one at the beginning, so a live engine does not keep
the pass going. Where the handlers do not fold the store, the pass goes on without them: a report of
sizes and operations needs no handler. Damage ends the pass, and the report says where.

Of a history whose beginning was discarded, the states begin behind the oldest snapshot from which
all later events are there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from eventstore.analysis.report.books import Books, is_books
from eventstore.analysis.report.commits import Commits, read_commits
from eventstore.analysis.report.state_curves import ColumnCurve
from eventstore.analysis.report.thinned_series import OperationCounts
from eventstore.disk.base import Disk
from eventstore.disk.listing import list_keyframes, list_snapshots
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import ConfigError, CorruptStoreError, EventStoreError, ReadFailedError
from eventstore.model.operation import Event, operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import StoreRepaired
from eventstore.os_errors import translating_read_errors
from eventstore.reading.replay import read_events, recorded_name, replay
from eventstore.tools.log_end import last_event_of
from eventstore.tools.store_figures import FileFigures, file_figures
from eventstore.tools.store_info import Inspection, inspect_store

__all__ = ["Gathered", "OperationTotals", "Watch", "gather"]

Advance = Callable[[int, int | None], None]
_EVERY = 1024
"""Events between two calls that tell the progress."""
_MOST_OPERATIONS = 200
_END = 1 << 62
OTHER = "(others)"
"""Stands for the operations beyond `_MOST_OPERATIONS`."""
_MOST_REPAIRS = 200
_REPAIRED = operation_name(StoreRepaired)


class OperationTotals(NamedTuple):
    """The events of one operation: how many, the first and the last."""

    events: int
    first: int
    last: int


class Watch:
    """What the pass collects of the events.

    Attributes:
        events: Events seen.
        operations: Totals by operation.
        counts: Events by operation and interval.
        times: Times of the events in `wanted`.
        repairs: The notes of repairs.
        backwards: How many events have an earlier time than the event before.
        books: The books of a trading engine, `None` for another state.
        columns: Values of a state of any type.
        folded: The last event with a state, 0 without one.
    """

    def __init__(self, columns: Sequence[ColumnCurve], wanted: frozenset[int]) -> None:
        self.events = self.backwards = self.folded = self.last = 0
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.operations: dict[str, OperationTotals] = {}
        self.counts = OperationCounts()
        self.times: dict[int, int] = {}
        self.repairs: list[Event[Any]] = []
        self.books: Books | None = None
        self.columns = columns
        self._wanted = wanted

    def event(self, event: Event[Any], name: str) -> None:
        """Take an event."""
        time = event.time
        self.events += 1
        self.last = event.seq
        totals = self.operations.get(name)
        if totals is None and len(self.operations) >= _MOST_OPERATIONS:
            name = OTHER
            totals = self.operations.get(name)
        if totals is None:
            self.operations[name] = OperationTotals(1, event.seq, event.seq)
        else:
            self.operations[name] = OperationTotals(totals.events + 1, totals.first, event.seq)
        self.counts.add(time, name)
        if self.first_time is None:
            self.first_time = time
        elif self.last_time is not None and time < self.last_time:
            self.backwards += 1
        self.last_time = time
        if event.seq in self._wanted:
            self.times[event.seq] = time
        if name == _REPAIRED and len(self.repairs) < _MOST_REPAIRS:
            self.repairs.append(event)

    def state(self, event: Event[Any], state: Any, books: Callable[[], Books]) -> None:
        """Take the state behind an event."""
        if self.books is None and not self.folded and is_books(state):
            self.books = books()
        self.folded = event.seq
        if self.books is not None:
            self.books.see(event, state)
        for column in self.columns:
            column.see(event.time, state)


class Gathered(NamedTuple):
    """All figures of a store.

    `unfolded` is the reason why the states were not seen to the end, and `damage` the error that
    ended the pass. Both are empty where there is none.
    """

    path: str
    manifest: Manifest
    inspection: Inspection
    files: FileFigures
    commits: Commits
    watch: Watch
    unfolded: str
    damage: str


def gather(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None,
    *,
    strict: bool,
    columns: Sequence[ColumnCurve] = (),
    currency: str | None = None,
    rates: Mapping[str, Decimal] | None = None,
    advance: Advance = lambda done, total: None,
) -> Gathered:
    """Read all figures of the store at `path`. Takes no lock, and changes no byte.

    With `strict`, a store that `registry` does not fold is an error. Without, its figures come
    without states. Raises the errors of `read_events` where nothing can be read.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(disk.path):
            manifest = load_manifest(disk)
            if manifest.kind == "log":  # values without a state
                registry = None
            files = file_figures(disk)
            commits = read_commits(disk, manifest)
            first = manifest.history_start if registry is None else _first_folded(disk, manifest)
            stop = _stop(disk)
    finally:
        disk.close()
    watch = Watch(columns, frozenset(one.left_at + 1 for one in manifest.timelines))
    progress = _Progress(advance, manifest.history_start, stop)
    damage, refusal = "", None
    try:
        if registry is not None and manifest.logged:
            _watch_events(path, watch, progress, first)
            try:
                _watch_states(path, registry, watch, progress, first, stop, currency, rates)
            except EventStoreError as error:
                if _is_refused(error, strict):
                    raise
                refusal = error
        if manifest.logged:
            _watch_events(path, watch, progress, stop)
    except _DAMAGE as error:
        damage = str(error)
        refusal = None if isinstance(refusal, _DAMAGE) else refusal  # the same, told once
    unfolded = "" if refusal is None else str(refusal)
    folded = watch.folded == watch.last and refusal is None
    found = inspect_store(path, registry if folded else None, folded=folded)
    return Gathered(disk.path, manifest, found, files, commits, watch, unfolded, damage)


_DAMAGE = (CorruptStoreError, ReadFailedError)


def _is_refused(error: EventStoreError, strict: bool) -> bool:
    """Whether an error while folding ends the report: a wrong column always does."""
    if isinstance(error, ConfigError) and error.key == "columns":
        return True
    return strict and not isinstance(error, _DAMAGE)


def _stop(disk: Disk) -> int | None:
    """Return the number behind the last event. `None` where the end of the log cannot be read."""
    try:
        last = last_event_of(disk)
    except _DAMAGE:
        return None
    return None if last is None else last.seq + 1


def _first_folded(disk: Disk, manifest: Manifest) -> int:
    """Return the first event with a state before. Behind all events where there is none."""
    first = manifest.history_start
    if first == 1:
        return 1
    seqs = [*list_snapshots(disk), *list_keyframes(disk)]
    return min((seq for seq in seqs if seq >= first - 1), default=_END) + 1


def _watch_states(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any],
    watch: Watch,
    progress: _Progress,
    first: int,
    stop: int | None,
    currency: str | None,
    rates: Mapping[str, Decimal] | None,
) -> None:
    def books() -> Books:
        return Books(registry, currency, rates)

    if first > _END:
        return
    for event, state in replay(path, registry, start=first, stop=stop):
        watch.event(event, event.operation)
        watch.state(event, state, books)
        progress.tell(event.seq)


def _watch_events(
    path: str | os.PathLike[str], watch: Watch, progress: _Progress, stop: int | None
) -> None:
    """Watch the events behind the last one that was watched, without handlers."""
    start = max(watch.last + 1, progress.first)
    if stop is not None and start >= stop:
        return
    for event in read_events(path, start=start, stop=stop if stop != _END + 1 else None):
        watch.event(event, recorded_name(event))
        progress.tell(event.seq)


class _Progress:
    def __init__(self, advance: Advance, first: int, stop: int | None) -> None:
        self.first = first
        self._advance = advance
        self._total = None if stop is None else stop - first

    def tell(self, seq: int) -> None:
        if seq % _EVERY == 0:
            self._advance(seq - self.first + 1, self._total)
