"""Times, and the `Clock` that is injected wherever the library needs one.

Times are integers: nanoseconds since the epoch, UTC. `time_ns` stamps events and may go backwards
when an operator sets the clock. The order of events is their sequence number. `monotonic_ns` only
measures elapsed time (for the snapshot policy) and never goes backwards.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from eventstore.errors import ConfigError

__all__ = ["Clock", "SimulatedClock", "SystemClock", "to_datetime", "to_ns"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """A source of times."""

    def time_ns(self) -> int:
        """Return the wall-clock time in nanoseconds since the epoch, UTC."""

    def monotonic_ns(self) -> int:
        """Return the nanoseconds since an arbitrary moment. The value never decreases."""

    def now(self) -> datetime:
        """Return the wall-clock time as an aware `datetime` in UTC (microsecond resolution)."""


class SystemClock:
    """The machine's clock."""

    def __repr__(self) -> str:
        return "SystemClock()"

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def now(self) -> datetime:
        return datetime.now(UTC)


class SimulatedClock:
    """A clock for backtests and tests, which moves only when told to.

    `start` is an aware `datetime` or nanoseconds since the epoch.

    >>> clock = SimulatedClock(datetime(2024, 1, 15, 9, 30, tzinfo=UTC))
    >>> clock.advance(1.5)
    >>> clock.now().isoformat()
    '2024-01-15T09:30:01.500000+00:00'
    """

    def __init__(self, start: datetime | int = 0) -> None:
        self._wall = to_ns(start)
        self._elapsed = 0

    def __repr__(self) -> str:
        return f"<SimulatedClock at {self.now().isoformat()}>"

    def time_ns(self) -> int:
        return self._wall

    def monotonic_ns(self) -> int:
        return self._elapsed

    def now(self) -> datetime:
        return to_datetime(self._wall)

    def advance(self, by: timedelta | float) -> None:
        """Move forward by a `timedelta` or by seconds.

        Raises `ValueError` for a negative amount. `set` can go backwards.
        """
        if isinstance(by, timedelta):
            nanoseconds = by // _MICROSECOND * 1000
        else:
            nanoseconds = round(by * 1_000_000_000)
        if nanoseconds < 0:
            raise ValueError("a clock only advances; set() puts the wall clock anywhere")
        self._wall += nanoseconds
        self._elapsed += nanoseconds

    def set(self, moment: datetime | int) -> None:
        """Put the wall clock anywhere, also backwards. The monotonic time never goes back.

        `moment` is an aware `datetime` or nanoseconds since the epoch.
        """
        wall = to_ns(moment)
        self._elapsed += max(0, wall - self._wall)
        self._wall = wall


def to_ns(moment: datetime | int) -> int:
    """Return a moment as nanoseconds since the epoch.

    `moment` is an aware `datetime` or whole nanoseconds. Raises `ConfigError` for any other
    value, and for a naive `datetime`, because a naive one names no moment.
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ConfigError(f"{moment!r} has no time zone: pass an aware datetime, such as UTC's")
        return (moment - _EPOCH) // _MICROSECOND * 1000
    if not isinstance(moment, int):
        raise ConfigError(
            f"{moment!r} is no moment: pass an aware datetime, whole nanoseconds since the epoch, "
            "or, where a history is read, a sequence number"
        )
    return moment


def to_datetime(nanoseconds: int) -> datetime:
    """Return the aware UTC `datetime` of a time in nanoseconds, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
