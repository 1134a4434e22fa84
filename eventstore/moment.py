"""Moments of a history: the number of an event, a time, or a cursor.

A caller names a moment by a sequence number, by an aware `datetime`, by a text with an offset such
as `2026-03-02T14:30:00Z`, by nanoseconds since the epoch, or by a `Cursor`. An integer of numpy is
one of these integers, and a `datetime64` of numpy is a time in UTC. The kind is decided
once, where the moment enters the library, and the type says the kind from then on. A number stays
an `int`. A time becomes an `AtTime`, of whatever year the time is. A cursor stays a `Cursor` until
the history is at hand: then the cursor is compared with the history, and becomes a number
(`reading/cursor_check.py`).

Only a plain integer has to be judged by size. From `10**15` on, an integer is a time, and so is
an integer down from `-10**15`. As a time, `10**15` is twelve days into 1970. As a sequence
number, no store reaches `10**15` by counting.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from eventstore.arguments import argument_error
from eventstore.clock import to_ns
from eventstore.cursor import Cursor
from eventstore.errors import ConfigError
from eventstore.foreign_values import nanosecond_of, plain_scalar

__all__ = [
    "AnyMoment",
    "AtTime",
    "Moment",
    "NamedPlace",
    "Place",
    "as_of",
    "parse_span",
    "parse_time",
    "place_of",
    "seq_of",
]

Moment = int | datetime | str | Cursor
"""A moment as a caller names it."""

TIMES_FROM = 10**15
"""Plain integers of this size are times."""


_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?\s?([Zz]|[+-]\d\d:?\d\d)?"
)
_DIGITS = 6
"""Digits of a second that a `datetime` has."""
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
}


class AtTime(NamedTuple):
    """A moment named by a time: every nanosecond from `first` to `last` since the epoch.

    A `datetime` covers the whole of its microsecond, because a `datetime` cannot say more, and so
    does a text of at most six digits: `datetime.isoformat()` gives such a text. An integer, a text
    of more digits, a pandas `Timestamp` and a `datetime64[ns]` of numpy cover one nanosecond.
    """

    first: int
    last: int


AnyMoment = Moment | AtTime
"""A moment as a caller names it, or with the kind decided."""

Place = int | AtTime
"""A moment whose kind is decided: a sequence number, or a time."""

NamedPlace = Place | Cursor
"""A moment whose kind is decided. A cursor has still to be compared with the history."""


def place_of(moment: Any, argument: str) -> NamedPlace:
    """Decide what `moment` names. `argument` is the name of the argument in errors.

    What was decided before is returned. Raises `ConfigError` for a naive `datetime`, a text without
    an offset, and any object that is no moment.
    """
    if isinstance(moment, AtTime):
        return moment
    if isinstance(moment, Cursor):
        return moment.checked(argument)
    if isinstance(moment, str):
        time = _time_of(moment, argument)
        if time is not None:
            return time
    if not isinstance(moment, int | datetime):
        exact = nanosecond_of(moment)
        if exact is not None:
            return AtTime(exact, exact)
        moment = plain_scalar(moment)
    if isinstance(moment, datetime):
        first = to_ns(moment, argument)
        return AtTime(first, first if hasattr(moment, "nanosecond") else first + 999)
    if not isinstance(moment, int) or isinstance(moment, bool):
        raise argument_error(
            argument,
            moment,
            "is no moment: expected an aware datetime, a time with an offset such as "
            "'2026-03-02T14:30:00Z', whole nanoseconds since the epoch, a sequence number, or a "
            "Cursor (Cursor.parse reads the text of one)",
        )
    if -TIMES_FROM < moment < TIMES_FROM:
        return int(moment)
    return AtTime(int(moment), int(moment))


def _time_of(text: str, argument: str) -> AtTime | None:
    try:
        return parse_time(text)
    except ValueError as error:
        raise ConfigError(f"{argument}: {error}", key=argument) from error


def as_of(moment: Any) -> NamedPlace | None:
    """Decide what the argument `at` names, `None` for the end of history.

    Raises `ConfigError` as `place_of` does.
    """
    return None if moment is None else place_of(moment, "at")


def seq_of(number: Any, argument: str) -> int:
    """Return a sequence number where no time is taken. Raises `ConfigError` for anything else."""
    plain = plain_scalar(number)
    if isinstance(plain, int) and not isinstance(plain, bool) and plain < TIMES_FROM:
        return int(plain)
    raise argument_error(
        argument,
        number,
        "expected a sequence number; the first event of a time is found by "
        "read_events(path, start=time) or store.events(start=time)",
    )


def parse_time(text: str) -> AtTime | None:
    """Return a time of RFC 3339 with an offset, to the nanosecond, `None` for any other text.

    Raises `ValueError` with a message for the user where the offset is missing or there is no such
    time.

    >>> parse_time("2026-03-02T19:21:20.500000000+02:00")
    AtTime(first=1772472080500000000, last=1772472080500000000)
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    if offset is None:
        raise ValueError(f"{text!r} has no offset: append Z for UTC, or an offset such as +02:00")
    zone = "+00:00" if offset in "Zz" else offset
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: {error}") from None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution * 10**6)
    time = seconds * 10**9 + int((fraction or "").ljust(9, "0"))
    return AtTime(time, time if len(fraction or "") > _DIGITS else time + 999)


def parse_span(text: str) -> int | None:
    """Return a span of time in nanoseconds, `None` for any other text.

    >>> parse_span("1h30m"), parse_span("500ms"), parse_span("soon")
    (5400000000000, 500000000, None)
    """
    parts = list(_SPAN.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return None
    return sum(round(float(part[1]) * _UNITS[part[2]]) for part in parts)
