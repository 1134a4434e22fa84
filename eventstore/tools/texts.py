"""Times and sizes as text for people."""

from __future__ import annotations

from eventstore.clock import to_datetime

__all__ = ["size_text", "time_text"]


def time_text(nanoseconds: int, separator: str = "T") -> str:
    """Return a time in UTC, with as many digits behind the second as the time has.

    >>> time_text(1772479280000000000), time_text(1772479280500000000, " ")
    ('2026-03-02T19:21:20Z', '2026-03-02 19:21:20.5Z')
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        text = to_datetime(seconds * 10**9).strftime(f"%Y-%m-%d{separator}%H:%M:%S")
    except (OverflowError, ValueError):  # no year of a calendar
        return f"{nanoseconds} ns"
    return f"{text}.{rest:09}".rstrip("0").rstrip(".") + "Z" if rest else f"{text}Z"


def size_text(size: float) -> str:
    """Return a number of bytes for people.

    >>> size_text(374), size_text(66_000), size_text(8_388_608)
    ('374 bytes', '66 kB', '8.4 MB')
    """
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}" if size < 10 else f"{size:.0f} {unit}"
    return f"{size / 1000:,.1f} TB"
