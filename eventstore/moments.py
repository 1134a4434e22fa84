"""Where in a history to begin and to end: at a sequence number, or at a time.

A :data:`Moment` is a sequence number, an aware ``datetime``, or nanoseconds since the epoch. The
two kinds of integer are told apart by their size: from ``10**15`` on it is a time (twelve days
into 1970; no store gets there by counting).

The order of a history is its sequence numbers, and clocks may go backwards. So a time means the
first event, in that order, that is at or after it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from eventstore.clock import to_ns
from eventstore.operation import Event

__all__ = ["Moment", "TimeWindow", "as_sequence", "as_time"]

Moment = int | datetime
TIMES_FROM = 10**15


def as_sequence(moment: Moment | None) -> int | None:
    """The sequence number that is meant, ``None`` for a time."""
    return moment if isinstance(moment, int) and moment < TIMES_FROM else None


def as_time(moment: Moment | None) -> int | None:
    """The time that is meant, in nanoseconds since the epoch, ``None`` for a sequence number."""
    if moment is None or as_sequence(moment) is not None:
        return None
    return to_ns(moment)


class TimeWindow:
    """Cuts consecutive batches of events to those from ``start`` up to ``stop`` (exclusive).

    Sequence numbers do not concern it. ``over`` tells that no later batch has anything in it.
    """

    def __init__(self, start: Moment | None, stop: Moment | None) -> None:
        self._earliest = as_time(start)
        self._latest = as_time(stop)
        self.over = False

    def cut(self, batch: list[Event[Any]]) -> list[Event[Any]]:
        """The part of the next batch that is in the window."""
        if self._earliest is not None:
            found = _first_from(batch, self._earliest)
            if found is None:
                return []
            batch, self._earliest = batch[found:], None
        if self._latest is not None:
            found = _first_from(batch, self._latest)
            if found is not None:
                self.over = True
                return batch[:found]
        return batch


def _first_from(batch: list[Event[Any]], time: int) -> int | None:
    return next((index for index, event in enumerate(batch) if event.time >= time), None)
