"""The part of a history that a caller means: from and to a number or a time, and which operations.

A `Moment` is a sequence number, an aware `datetime`, or nanoseconds since the epoch. Size tells
the two kinds of integer apart: from `10**15` on, an integer is a time. As a time, `10**15` is
twelve days into 1970. As a sequence number, no store reaches `10**15` by counting.

The order of a history is the order of its sequence numbers, and clocks may go backwards. So a time
means the first event, in this order, at or after the time.

The search for a time does not begin at the first event. The archives and the snapshots each know
the latest time of any event up to their end. Reading begins behind the last archive or snapshot
that is too early.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from eventstore.clock import to_ns
from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import UnknownOperationError, translating_read_errors
from eventstore.log.reader import LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.snapshot.vault import snapshot_times

__all__ = [
    "Moment",
    "TimeWindow",
    "as_sequence",
    "as_time",
    "checked_operations",
    "decode_chunk",
    "seq_lower_bound",
]

Moment = int | datetime
TIMES_FROM = 10**15
"""Integers from here on are times."""


def as_sequence(moment: Moment | None) -> int | None:
    """Return `moment` if `moment` is a sequence number, `None` for a time."""
    return moment if isinstance(moment, int) and moment < TIMES_FROM else None


def as_time(moment: Moment | None) -> int | None:
    """Return a time in nanoseconds since the epoch, `None` for a sequence number.

    Raises `ConfigError` for a naive `datetime` and for any other type.
    """
    if moment is None or as_sequence(moment) is not None:
        return None
    return to_ns(moment)


def checked_operations(
    operations: Collection[str] | None, known: Collection[str] | None
) -> Collection[str] | None:
    """Return the names of the operations to keep, `None` for all operations.

    `known` are the names with a registered handler, `None` when reading without a registry.
    Raises `UnknownOperationError` for a name outside `known`.
    """
    if operations is None:
        return None
    names = frozenset((operations,) if isinstance(operations, str) else operations)
    if known is None:
        return names
    for name in sorted(names):
        if name not in known:
            raise UnknownOperationError(
                f"no handler is registered for {name!r}, which was asked for (known: "
                f"{', '.join(known) or 'none'}); register one, or read without a registry",
                operation=name,
            )
    return names


class TimeWindow:
    """Filter that cuts consecutive batches to the events from `start` up to `stop` (exclusive).

    Sequence numbers as `start` or `stop` are ignored. `over` becomes true when no later batch
    can have an event in the window.
    """

    def __init__(self, start: Moment | None, stop: Moment | None) -> None:
        self._earliest = as_time(start)
        self._latest = as_time(stop)
        self.over = False

    def cut(self, batch: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        """Return the part of the next batch that is in the window."""
        if self._earliest is not None:
            found = _index_at_time(batch, self._earliest)
            if found is None:
                return []
            batch, self._earliest = batch[found:], None
        if self._latest is not None:
            found = _index_at_time(batch, self._latest)
            if found is not None:
                self.over = True
                return batch[:found]
        return batch


def _index_at_time(batch: Sequence[Event[Any]], time: int) -> int | None:
    return next((index for index, event in enumerate(batch) if event.time >= time), None)


def seq_lower_bound(disk: Disk, time: int) -> int:
    """Return a sequence number before which every event is earlier than `time` (nanoseconds).

    Where events in question were discarded, reading from the returned number raises
    `HistoryUnavailableError`. The number lies behind discarded events only if the first event
    left is earlier than `time`.
    """
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
        known = [(last, latest) for _, last, latest in manifest.archived]
        known += snapshot_times(disk, manifest.store)
    first = max((seq for seq, latest in known if latest < time), default=0) + 1
    available = manifest.history_start
    if first >= available:
        return first
    for chunk in LogReader(disk, manifest.store).chunks(available, available + 1):
        oldest: Event[Any] = EventCodec().decode(chunk.array, chunk.events, chunk.first_seq)[0]
        return available if oldest.time < time else first
    return first


def decode_chunk(registry: HandlerRegistry[Any], chunk: Any, start: int, stop: int) -> list[Any]:
    """Decode and upcast the events of a chunk from number `start` to `stop` (exclusive)."""
    events = registry.codec.decode(chunk.array, chunk.events, chunk.first_seq)
    if chunk.first_seq < start or chunk.first_seq + chunk.events > stop:
        events = events[max(0, start - chunk.first_seq) : stop - chunk.first_seq]
    return list(registry.upcast(events))
