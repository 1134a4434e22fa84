"""Times, and the `Clock` that is injected wherever the library needs one.

Times are integers: nanoseconds since the epoch, UTC. `time_ns` stamps events and may go backwards
when an operator sets the clock. The order of events is their sequence number. `monotonic_ns` only
measures elapsed time (for the snapshot policy) and never goes backwards.

Two ranges hold. The time of an event is a signed integer of 64 bits (the years 1677 to 2262),
because snapshots and segments keep times in 64 bits. Everything else that is a time lies in the
years 1 to 9999, as a `datetime` does. A clock is code of the user's, so whatever a clock gives is
checked before anything is written.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from eventstore.arguments import argument_error
from eventstore.errors import ConfigError
from eventstore.foreign_values import nanosecond_of, plain_scalar

__all__ = [
    "EARLIEST",
    "LATEST",
    "Clock",
    "SimulatedClock",
    "SystemClock",
    "checked_clock",
    "elapsed_time",
    "to_datetime",
    "to_ns",
    "unusable_time_error",
    "wall_time",
]

EARLIEST = -(1 << 63)
LATEST = (1 << 63) - 1
"""The first and the last time that an event can have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_POSSIBLE = range(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9)
"""The years 1 to 9999."""


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

    # The functions themselves: an append asks twice, and saves two calls.
    time_ns: staticmethod[[], int] = staticmethod(time.time_ns)
    monotonic_ns: staticmethod[[], int] = staticmethod(time.monotonic_ns)

    def now(self) -> datetime:
        return datetime.now(UTC)


class SimulatedClock:
    """A clock for backtests and tests, which moves only when told to.

    `start` is an aware `datetime` or nanoseconds since the epoch. Raises `ConfigError` for a
    naive `datetime`, for a time outside the years 1 to 9999, and for any other object.

    >>> clock = SimulatedClock(datetime(2024, 1, 15, 9, 30, tzinfo=UTC))
    >>> clock.advance(1.5)
    >>> clock.now().isoformat()
    '2024-01-15T09:30:01.500000+00:00'
    """

    def __init__(self, start: datetime | int = 0) -> None:
        self._wall = to_ns(start, "start")
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

        Raises `ConfigError`, a `ValueError`, for a negative amount (`set` can go backwards),
        for an amount beyond the year 9999, and for any other object. The clock then stays.
        """
        nanoseconds = _duration(by)
        if nanoseconds < 0:
            raise ConfigError("a clock only advances; set() puts the wall clock anywhere", key="by")
        self._wall = to_ns(self._wall + nanoseconds, "by")
        self._elapsed += nanoseconds

    def set(self, moment: datetime | int) -> None:
        """Put the wall clock anywhere, also backwards. The monotonic time never goes back.

        `moment` is an aware `datetime` or nanoseconds since the epoch. Raises `ConfigError`
        as the constructor does.
        """
        wall = to_ns(moment, "moment")
        self._elapsed += max(0, wall - self._wall)
        self._wall = wall


def to_ns(moment: Any, argument: str = "moment") -> int:
    """Return a moment as nanoseconds since the epoch.

    `moment` is an aware `datetime` or whole nanoseconds. `argument` names the moment in
    errors. Raises `ConfigError` for any other value, for a time outside the years 1 to 9999, and
    for a naive `datetime`, because a naive one names no moment.
    """
    if not isinstance(moment, int | datetime):
        exact = nanosecond_of(moment)
        moment = plain_scalar(moment) if exact is None else exact
    if isinstance(moment, datetime):
        return _of_datetime(moment, argument)
    if not isinstance(moment, int) or isinstance(moment, bool):
        raise argument_error(
            argument, moment, "is no moment: expected an aware datetime, or whole nanoseconds"
        )
    exact = int(moment)  # a range looks through all of its numbers for a number of a subclass
    if exact not in _POSSIBLE:
        raise argument_error(
            argument, moment, "is no moment: nanoseconds since the epoch end with the year 9999"
        )
    return exact


def _of_datetime(moment: datetime, argument: str) -> int:
    try:
        aware = moment.utcoffset() is not None
    except (ValueError, TypeError):  # an offset of a day or more, or of another type
        aware = False
    except Exception as error:  # a time zone of the caller's may raise anything
        raise argument_error(
            argument, moment, f"its time zone raised {type(error).__name__}; convert it to UTC"
        ) from error
    if not aware:
        raise argument_error(
            argument, moment, "has no time zone: expected an aware datetime, such as UTC's"
        )
    try:
        # A pandas Timestamp is a datetime that has nanoseconds as well.
        return (moment - _EPOCH) // _MICROSECOND * 1000 + getattr(moment, "nanosecond", 0)
    except Exception as error:  # of a subclass with other limits, or of its time zone
        raise argument_error(argument, moment, "expected an aware datetime") from error


def _duration(by: Any) -> int:
    """Return a duration in nanoseconds."""
    if isinstance(by, timedelta):  # a pandas Timedelta has nanoseconds as well
        return by // _MICROSECOND * 1000 + getattr(by, "nanoseconds", 0)
    if not isinstance(by, int | float) or isinstance(by, bool):
        raise argument_error("by", by, "expected a timedelta, or seconds as int or float")
    try:
        return round(by * 1_000_000_000)
    except (ValueError, OverflowError) as error:  # NaN and the infinities
        raise argument_error("by", by, "expected finite seconds") from error


def to_datetime(nanoseconds: int) -> datetime:
    """Return the aware UTC `datetime` of a time in nanoseconds, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def checked_clock(clock: Any) -> Clock:
    """Return `clock`, after both of its readings were tried. `None` is the system's clock.

    Raises `ConfigError` for any object that is no clock, and for a clock whose readings cannot be
    used. An exception of the clock itself reaches the caller unchanged.
    """
    if clock is None:
        return SystemClock()
    for name in ("time_ns", "monotonic_ns"):
        if isinstance(clock, type) or not callable(getattr(clock, name, None)):
            raise argument_error(
                "clock", clock, f"expected a clock, such as SystemClock(), with a method {name}()"
            )
    wall_time(clock)
    elapsed = clock.monotonic_ns()
    if not isinstance(elapsed, int):
        raise argument_error("clock", elapsed, "monotonic_ns() must give whole nanoseconds")
    checked: Clock = clock
    return checked


def wall_time(clock: Clock) -> int:
    """Read `clock` for a file of the store. Raises `ConfigError` for an unusable reading."""
    now = clock.time_ns()
    if type(now) is not int or now not in _POSSIBLE:
        raise unusable_time_error(now)
    return now


def elapsed_time(clock: Clock) -> int:
    """Read the monotonic time of `clock`, or 0 where the reading fails.

    The clock is code of the user's. Only the moment of a snapshot depends on this reading, so
    neither a commit nor a snapshot fails for it.
    """
    try:
        return int(clock.monotonic_ns())
    except Exception:  # noqa: BLE001  as above: the time of an event says what is wrong
        return 0


def unusable_time_error(now: Any) -> ConfigError:
    """Make the error for a clock that gave `now`, which is no time of an event."""
    return argument_error(
        "clock",
        now,
        "time_ns() must give whole nanoseconds since the epoch, as an int of 64 bits (the years "
        "1677 to 2262). Nothing was written",
    )
