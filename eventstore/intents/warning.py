"""The warning of an opening about open intents."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from eventstore.model.open_intents import OpenIntents
from eventstore.model.operation import Event
from eventstore.recovery_and_stats import printable

__all__ = ["in_doubt_warning"]

_SHOWN = 3
_LENGTH = 60


def in_doubt_warning(intents: OpenIntents, now: int) -> str:
    """Return one line about the open intents. `now` is in nanoseconds since the epoch."""
    opened = intents.by_age()
    shown = "; ".join(_described(name, event, now) for name, event in opened[:_SHOWN])
    if len(opened) > _SHOWN:
        shown += f"; and {len(opened) - _SHOWN} more"
    count = "1 intent" if len(opened) == 1 else f"{len(opened)} intents"
    remedy = "ask the venue, then settle it" if len(opened) == 1 else "ask the venue, settle each"
    return f"{count} in doubt: {shown}: {remedy}"


def _described(name: str, event: Event[Any], now: int) -> str:
    fields = [
        str(value)
        for value in msgspec.structs.astuple(event.data)
        if (value != name and isinstance(value, str | int | float)) or _is_number(value)
    ]
    words = " ".join([event.operation, name, *fields])
    if len(words) > _LENGTH:
        words = f"{words[: _LENGTH - 3]}..."
    return f"{printable(words)}, event {event.seq:,}, {_ago(now - event.time)}"


def _is_number(value: object) -> bool:
    return hasattr(value, "as_tuple") or hasattr(value, "numerator")


def _ago(nanoseconds: int) -> str:
    """An age in words. A clock may have been set back since, behind the event."""
    seconds = abs(nanoseconds) / 1e9
    age = f"{seconds:.1f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))
    return f"{age} ago" if nanoseconds >= 0 else f"{age} ahead of the clock"
