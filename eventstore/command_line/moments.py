"""A MOMENT on the command line: a number, a time, a span back from the last event, or a cursor.

A time is RFC 3339 with an offset, and may have nanoseconds. A span is `-15m`, `-1h30m`, `-2d` or
`-500ms`, counted back from the time of the last event.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, NamedTuple

import click

from eventstore.cursor import Cursor
from eventstore.errors import ConfigError, StoreNotFoundError
from eventstore.moment import AtTime, parse_span, parse_time
from eventstore.recovery_and_stats import printable
from eventstore.tools.log_end import last_event

__all__ = [
    "MOMENT",
    "Back",
    "MomentType",
    "NamedMoment",
    "behind",
    "moment_for",
    "parse_moment",
    "settle_moment",
]


class Back(NamedTuple):
    """A span back from the time of the last event, in nanoseconds."""

    nanoseconds: int


NamedMoment = int | AtTime | Cursor | Back
"""A moment as named. `settle_moment` settles a span."""


def parse_moment(text: str) -> NamedMoment:
    """Read a moment from text. Raises `ValueError` with a message for the user."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        if int(text) < 1:
            raise ValueError("events are numbered from 1 on")
        return int(text)
    if (time := parse_time(text)) is not None:
        return time
    if text.startswith("-") and (span := parse_span(text[1:])) is not None:
        return Back(span)
    with contextlib.suppress(ConfigError):
        return Cursor.parse(text)
    raise ValueError(
        f"{printable(text)!r} is no moment: give a number (4371), a time with an offset "
        "(2026-03-02T19:21:20Z), a span back from the last event (-15m), or a cursor"
    )


def settle_moment(path: str | os.PathLike[str], moment: NamedMoment) -> int | AtTime | Cursor:
    """Return a moment that readers take. A span is counted back from the store's last event.

    Raises `StoreNotFoundError` for a span in a store without events, and the errors of reading.
    """
    if not isinstance(moment, Back):
        return moment
    event = last_event(path)
    if event is None:
        raise StoreNotFoundError(
            f"{os.fspath(path)} has no event to count back from",
            path=os.fspath(path),
            what="event",
        )
    time = event.time - moment.nanoseconds
    return AtTime(time, time)


def behind(moment: int | AtTime | Cursor) -> int | AtTime | Cursor:
    """Return the exclusive stop behind a last event. A cursor stands behind its event already."""
    if isinstance(moment, int):
        return moment + 1
    return moment if isinstance(moment, Cursor) else AtTime(moment.last + 1, moment.last + 1)


def moment_for(
    path: str | os.PathLike[str], moment: NamedMoment | None
) -> int | AtTime | Cursor | None:
    """Return a moment that the functions of analysis take. `None` stays `None`."""
    return None if moment is None else settle_moment(path, moment)


class MomentType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The type of an option that takes a MOMENT."""

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> NamedMoment:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # converted before
        try:
            return parse_moment(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "MOMENT"


MOMENT = MomentType()
