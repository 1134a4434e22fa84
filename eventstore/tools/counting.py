"""Events counted by operation, without handlers: one pass over the whole history."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.model.codec import EventCodec
from eventstore.reading.replay import recorded_name
from eventstore.tools.log_end import last_event_of

__all__ = ["Counted", "OperationCount", "count_events"]

_HOUR = 3600 * 10**9


class OperationCount(msgspec.Struct):
    """The events of one operation.

    Attributes:
        events: How many.
        first: Number of the first one.
        last: Number of the last one.
        bytes: Bytes of the encoded events, in the log before any compression. The bytes of a chunk
            are shared out equally among its events.
    """

    events: int = 0
    first: int = 0
    last: int = 0
    bytes: float = 0.0


class Counted(msgspec.Struct):
    """All events of a store, by operation and by hour.

    `hours` are events by the hour that their time falls in, in hours since the epoch.
    """

    operations: dict[str, OperationCount] = {}
    hours: dict[int, int] = {}
    events: int = 0
    keys: int = 0


def count_events(
    disk: Disk, advance: Callable[[int, int | None], None] = lambda done, total: None
) -> Counted:
    """Count all events of the store on `disk`. Memory is flat.

    `advance` is called with the events counted so far, and the number of all. Raises the errors of
    reading.
    """
    manifest, codec, found = load_manifest(disk), EventCodec(), Counted()
    if not manifest.logged:
        return found
    operations, hours = found.operations, found.hours
    last = last_event_of(disk)
    total = 0 if last is None else last.seq - manifest.history_start + 1
    for chunk in LogReader(disk, manifest.store, CACHED_BYTES).chunks(manifest.history_start):
        each = len(chunk.array) / max(chunk.events, 1)
        for event in codec.decode(chunk.array, chunk.events, chunk.first_seq):
            name = recorded_name(event)
            count = operations.get(name)
            if count is None:
                count = operations[name] = OperationCount(first=event.seq)
            count.events += 1
            count.last = event.seq
            count.bytes += each
            hour = event.time // _HOUR
            hours[hour] = hours.get(hour, 0) + 1
            found.keys += event.key is not None
        found.events += chunk.events
        advance(found.events, max(found.events, total))  # a writer may be at work
    return found
