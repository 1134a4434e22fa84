"""The search for a snapshot by time. Only headers are read, and no state."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from eventstore.clock import LATEST
from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import keyframe_name, snapshot_name
from eventstore.snapshot.format import HEADER_SIZE, InvalidSnapshotError, SnapshotHeader
from eventstore.snapshot.keyframes import HEADER_AT
from eventstore.timelines import Lineage

__all__ = ["OTHER_TIMELINE", "is_of", "last_earlier"]

OTHER_TIMELINE = "it was taken in another timeline, whose events are not in this history"
"""The reason to pass over a keyframe of events that were taken back."""


def is_of(header: SnapshotHeader, lineage: Lineage) -> bool:
    """Whether the timeline of a snapshot's event is the one that this history has there."""
    return header.timeline == lineage.cursor(header.seq, None).timeline_id


def last_earlier(disk: Disk, lineage: Lineage, seqs: Sequence[int], time: int) -> int:
    """Return the newest snapshot with only events earlier than `time`, or 0.

    `seqs` are the events with a snapshot or a keyframe, ascending. `time` is in nanoseconds since
    the epoch. The latest time never falls from one snapshot to the next, so few headers are read. A
    header that is damaged, or of another history, is passed over.

    Raises `ReadFailedError`.
    """
    there = list(seqs)
    low, high = 0, len(there)
    while low < high:
        middle = (low + high) // 2
        latest = _latest_time(disk, lineage, there[middle])
        if latest is None:
            del there[middle]
            high -= 1
        elif latest < time:
            low = middle + 1
        else:
            high = middle
    return there[low - 1] if low else 0


def _latest_time(disk: Disk, lineage: Lineage, seq: int) -> int | None:
    """Read the latest time of any event up to `seq` in the header of a snapshot or keyframe."""
    for name, offset in ((snapshot_name(seq), 0), (keyframe_name(seq), HEADER_AT)):
        # A writer may remove the snapshot between the listing and the reading.
        with contextlib.suppress(InvalidSnapshotError, FileNotFoundError):
            data = read_whole(disk, name, offset + HEADER_SIZE)
            header = SnapshotHeader.decode(data[offset:])
            known = not offset or is_of(header, lineage)
            if (header.store, header.seq) == (lineage.store, seq) and known:
                # The end of the 64 bits stands for every later time, too.
                return header.latest if header.latest < LATEST else 1 << 64
    return None
