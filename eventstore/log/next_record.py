"""The next record of a commit: as many queued submissions as one record may hold."""

from __future__ import annotations

from collections.abc import Iterable

from eventstore.log.base import Submission
from eventstore.log.levels import UNTIMED

__all__ = ["next_record"]

MAX_RECORD_EVENTS = 65_536
MAX_RECORD_BYTES = 4 << 20


def next_record(queue: Iterable[Submission]) -> tuple[int, list[bytes], list[Submission], int]:
    """Return the number of events, the bodies, the submissions and the level of the next record.

    The submissions stay in the queue until their job is in flight, so an interruption loses none.
    A submission is never divided. The first one is in the record whatever its size.
    """
    entries: list[Submission] = []
    bodies: list[bytes] = []
    events = size = 0
    level = UNTIMED
    for entry in queue:
        size += len(entry.body)
        if entries and (events + entry.events > MAX_RECORD_EVENTS or size > MAX_RECORD_BYTES):
            break
        events += entry.events
        if entry.level < level:  # noqa: PLR1730  cheaper than a call
            level = entry.level
        entries.append(entry)
        bodies.append(entry.body)
    return events, bodies, entries, level
