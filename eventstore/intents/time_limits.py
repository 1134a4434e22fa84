"""The terms of an intent: the time until no request can take effect, and until queries agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from eventstore.arguments import argument_error
from eventstore.model.open_intents import mark_of
from eventstore.model.operation import Event

__all__ = ["LAG", "UNKNOWN", "Terms"]

LAG = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = timedelta(days=36_500)


class Terms(NamedTuple):
    """The time for which the venue may still act (`None`: unknown), and its queries' delay.

    Two functions are called in the turn of the loop of the submission: `check` before anything has
    changed, to refuse the group, and `opened` with the events of the group afterwards.
    """

    within: timedelta | None = None
    lag: timedelta = LAG
    opened: Callable[[Sequence[Event[Any]]], None] | None = None
    check: Callable[[], None] | None = None

    @classmethod
    def checked(cls, within: Any, lag: Any) -> Terms:
        """Return the terms of a caller. Raises `ConfigError` for anything but durations."""
        if within is not None:
            _check("within", within)
        _check("lag", lag)
        return cls(within, lag)

    @classmethod
    def of_event(cls, event: Event[Any]) -> Terms:
        """Return the terms in the metadata of an event."""
        mark = mark_of(event)
        within, lag = mark.get("within"), mark.get("lag")
        return cls(
            None if within is None else timedelta(microseconds=within // 1000),
            LAG if lag is None else timedelta(microseconds=lag // 1000),
        )

    def mark(self, name: str, *, given: bool) -> dict[str, Any]:
        """Return the mark for the event of the intent `name`."""
        mark: dict[str, Any] = {"id": name}
        if given:
            mark["given"] = True
        if self.within is not None:
            mark["within"] = self.within // _MICROSECOND * 1000
            mark["lag"] = self.lag // _MICROSECOND * 1000
        return mark


UNKNOWN = Terms()
"""The terms of an intent opened by `append`."""


def _check(argument: str, value: Any) -> None:
    if not isinstance(value, timedelta) or not timedelta() <= value <= _LONGEST:
        expected = "expected a timedelta of at least 0, such as timedelta(seconds=5)"
        raise argument_error(argument, value, expected)
