"""Counts of a writer's work, for `stats()`."""

from __future__ import annotations

from collections import deque

from eventstore.histogram import BUCKETS

__all__ = ["WriteCounts"]


class WriteCounts:
    """Counts of one writer's work. Times are in nanoseconds, of the last 4096 syncs.

    The writer's thread counts, and the event loop's thread reads. `durations` counts commits by the
    bit length of their nanoseconds, `sizes` by the bit length of the bytes of their events. The
    loop counts its `delays` in taking notice of a commit, by the bit length of the nanoseconds.
    """

    __slots__ = (
        "bytes_written",
        "commits",
        "delays",
        "durations",
        "sizes",
        "sync_max_ns",
        "sync_times_ns",
        "syncs",
    )

    def __init__(self) -> None:
        self.commits = 0
        self.durations = [0] * BUCKETS
        self.sizes = [0] * BUCKETS
        self.delays = [0] * BUCKETS
        self.bytes_written = 0
        self.syncs = 0
        self.sync_max_ns = 0
        self.sync_times_ns: deque[int] = deque(maxlen=4096)
