"""When a snapshot is due: after a number of events, or after a time, if anything changed."""

from __future__ import annotations

__all__ = ["SnapshotPolicy"]


class SnapshotPolicy:
    """The rule for automatic snapshots, counted from the latest snapshot.

    `every` is a number of events and `interval` a number of seconds. `None` turns either off.
    `seq` is the event of the latest snapshot. `now` is the time to count from: nanoseconds of a
    monotonic clock.

    >>> policy = SnapshotPolicy(every=100, interval=60.0, seq=0, now=0)
    >>> policy.due(seq=99, now=1), policy.due(seq=100, now=1)
    (False, True)
    >>> policy.due(seq=1, now=60_000_000_000), policy.due(seq=0, now=60_000_000_000)
    (True, False)
    """

    def __init__(self, *, every: int | None, interval: float | None, seq: int, now: int) -> None:
        self._every = every
        self._interval = None if interval is None else round(interval * 1e9)
        self.taken(seq, now)

    def taken(self, seq: int, now: int) -> None:
        """Count from the snapshot of event `seq`, which was begun at `now`."""
        self._seq = seq
        self._since = now

    def due(self, seq: int, now: int) -> bool:
        """Tell whether to take a snapshot now. `seq` is the last durable event."""
        if seq == self._seq:
            return False
        if self._every is not None and seq - self._seq >= self._every:
            return True
        return self._interval is not None and now - self._since >= self._interval
