"""Times of venues, in every form, as nanoseconds since the epoch.

Each function takes the value as the message has it, and returns an `int`. The conversion is exact:
no time passes through a double, except where the venue itself sends a double, which is read as the
shortest decimal that gives the double back. Each raises `ValueError` with the reason for any other
form, for a date that does not exist, and for digits finer than a nanosecond.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = [
    "broker_time",
    "date",
    "fix_timestamp",
    "microseconds",
    "milliseconds",
    "milliseconds_or_microseconds",
    "rfc3339",
    "seconds",
    "utc_text",
]

SECOND = 1_000_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_FIX = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?", re.ASCII)
_UTC_TEXT = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)", re.ASCII)
_BROKER = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(-)| {1,2})(\d\d):(\d\d):(\d\d)(?: ([A-Za-z][A-Za-z0-9_+/-]*))?",
    re.ASCII,
)


def milliseconds(value: object) -> int:
    """Read milliseconds of 13 digits: an integer, or the text of one. Years 2001 to 2286."""
    return _whole(value, 13, "milliseconds (13 digits)") * 1_000_000


def microseconds(value: object) -> int:
    """Read microseconds of 16 digits: an integer, or the text of one. Years 2001 to 2286."""
    return _whole(value, 16, "microseconds (16 digits)") * 1_000


def milliseconds_or_microseconds(value: object) -> int:
    """Read milliseconds (13 digits) or microseconds (16 digits), told apart by their digits.

    >>> milliseconds_or_microseconds(1772461802400), milliseconds_or_microseconds(1772461802400001)
    (1772461802400000000, 1772461802400001000)
    """
    if len(str(value)) == 16:
        return microseconds(value)
    return milliseconds(value)


def seconds(value: object) -> int:
    """Read seconds with a fraction: a number, or the text of one. Years 2001 to 2286.

    >>> seconds(1772461921.123456)
    1772461921123456000
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError("is no number of seconds")
    text = repr(value) if isinstance(value, float) else str(value)
    if not re.fullmatch(r"\d{10}(\.\d+)?", text, re.ASCII):
        raise ValueError("is no number of seconds (10 digits before the point)")
    whole, _, fraction = text.partition(".")
    return int(whole) * SECOND + _fraction(fraction.rstrip("0"))


def rfc3339(value: object) -> int:
    """Read a date and time with a zone, with up to nine digits of a second.

    >>> rfc3339("2026-03-02T14:33:05.000000001Z")
    1772461985000000001
    """
    found = _match(_RFC3339, value, "RFC 3339")
    *parts, fraction, sign, hours, minutes = found.groups()
    behind = 0
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise ValueError("has a zone beyond a day")
        behind = (int(hours) * 3600 + int(minutes) * 60) * (1 if sign == "+" else -1)
    return (_seconds_since_epoch(parts) - behind) * SECOND + _fraction(fraction)


def date(value: object) -> int:
    """Read a date as midnight in UTC.

    >>> date("2026-03-02")
    1772409600000000000
    """
    found = _match(_DATE, value, "YYYY-MM-DD")
    return _seconds_since_epoch([*found.groups(), "0", "0", "0"]) * SECOND


def utc_text(value: object) -> int:
    """Read a date and time without a zone, which is told to be in UTC.

    >>> utc_text("2026-03-02 14:33:05")
    1772461985000000000
    """
    found = _match(_UTC_TEXT, value, "YYYY-MM-DD HH:MM:SS")
    return _seconds_since_epoch(list(found.groups())) * SECOND


def fix_timestamp(value: object) -> int:
    """Read a FIX UTCTimestamp, `YYYYMMDD-HH:MM:SS` with up to nine digits of a second.

    A leap second, `:60`, is the first second of the next minute, as POSIX has it.

    >>> fix_timestamp("20260302-14:38:01.250")
    1772462281250000000
    """
    found = _match(_FIX, value, "a UTC timestamp of FIX")
    *parts, fraction = found.groups()
    return _seconds_since_epoch(parts) * SECOND + _fraction(fraction)


def broker_time(value: object, gateway_zone: str | None) -> int | None:
    """Read a time of Interactive Brokers.

    - `20260302 09:36:01 US/Eastern` is in the zone it names.
    - `20260302-14:36:01` is in UTC.
    - `20260302  14:36:01`, without a zone, is in the zone of the gateway.
    - A `datetime` with a zone, as some libraries give it, is the moment it says.

    Returns `None` where the text does not say the moment: `gateway_zone` is needed and is `None`,
    or clocks were set back and the hour came twice.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        return (value - _EPOCH) // timedelta(microseconds=1) * 1_000
    found = _match(_BROKER, value, "a time of Interactive Brokers")
    year, month, day, utc, *clock, zone = found.groups()
    parts = [year, month, day, *clock]
    if utc and zone:
        raise ValueError("is in UTC, and names a zone too")
    if utc:
        return _seconds_since_epoch(parts) * SECOND
    zone = zone or gateway_zone
    if zone is None:
        _seconds_since_epoch(parts)
        return None
    return _local(parts, zone)


def _local(parts: list[str], zone: str) -> int | None:
    try:
        rules = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"names the zone {zone!r}, which the time zone data does not know"
        ) from error
    naive = datetime.fromtimestamp(_seconds_since_epoch(parts), UTC).replace(tzinfo=None)
    moments = {
        (naive - offset).replace(tzinfo=UTC)
        for fold in (0, 1)
        if (offset := naive.replace(tzinfo=rules, fold=fold).utcoffset()) is not None
    }
    real = [one for one in moments if one.astimezone(rules).replace(tzinfo=None) == naive]
    if not real:
        raise ValueError(f"does not exist in {zone}: clocks were set forward")
    if len(real) > 1:
        return None
    return (real[0] - _EPOCH) // timedelta(seconds=1) * SECOND


def _whole(value: object, digits: int, form: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"is not a whole number of {form}")
    text = str(value)
    if not re.fullmatch(rf"[1-9]\d{{{digits - 1}}}", text, re.ASCII):
        raise ValueError(f"is not a whole number of {form}")
    return int(text)


def _match(form: re.Pattern[str], value: object, name: str) -> re.Match[str]:
    found = form.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"is not {name}")
    return found


def _seconds_since_epoch(parts: list[str]) -> int:
    year, month, day, hour, minute, second = map(int, parts)
    datetime(year, month, day, hour, minute)  # refuses what no calendar has
    if second > 60 or year < 1970:
        raise ValueError("is no time of the calendar since 1970")
    return timegm((year, month, day, hour, minute, second))


def _fraction(digits: str | None) -> int:
    """Return nanoseconds of the digits behind the point."""
    if not digits:
        return 0
    if len(digits) > 9:
        raise ValueError("has digits finer than a nanosecond")
    return int(digits.ljust(9, "0"))
