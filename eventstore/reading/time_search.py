"""The search for a time: the number of the first event at or after the time.

The order of a history is the order of its sequence numbers, and clocks may go backwards. So a time
(`eventstore.moment`) means the first event, in this order, at or after the time.

The search does not begin at the first event. The archives, the snapshots and the keyframes each
know the latest time of any event up to their end. Reading begins behind the last of them that is
too early.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.log.reader import LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.moment import AtTime, Place
from eventstore.os_errors import translating_read_errors
from eventstore.reading.bases import last_base_before

__all__ = ["TimeWindow", "seq_lower_bound"]


class TimeWindow:
    """Filter that cuts consecutive batches to the events from `start` up to `stop` (exclusive).

    Sequence numbers as `start` or `stop` are ignored. `over` becomes true when no later batch
    can have an event in the window.
    """

    def __init__(self, start: Place | None, stop: Place | None) -> None:
        self._earliest = start.first if isinstance(start, AtTime) else None
        self._latest = stop.first if isinstance(stop, AtTime) else None
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
        base = last_base_before(disk, manifest, time)
    first = max((base, *(seq for seq, latest in known if latest < time))) + 1
    available = manifest.history_start
    if first >= available:
        return first
    for chunk in LogReader(disk, manifest.store).chunks(available, available + 1):
        oldest: Event[Any] = EventCodec().decode(chunk.array, chunk.events, chunk.first_seq)[0]
        return available if oldest.time < time else first
    return first
