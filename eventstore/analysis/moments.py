"""The events that a caller names by moments, as numbers."""

from __future__ import annotations

from typing import Any

from eventstore.cursor import Cursor
from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import HistoryUnavailableError
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import AtTime, place_of
from eventstore.os_errors import translating_read_errors
from eventstore.reading.bases import earliest_base
from eventstore.reading.cursor_check import confirm_moment
from eventstore.reading.fold_intervals import Interval
from eventstore.tools.log_end import last_event_of
from eventstore.tools.selection import number_of

__all__ = ["events_between", "number_at"]


def number_at(disk: Disk, at: Any) -> int:
    """Return the last event at a moment, 0 before the first event. `None` is the end.

    Raises `ConfigError`, and `HistoryUnavailableError` for an event that the store does not have.
    """
    place = None if at is None else place_of(at, "at")
    with translating_read_errors(disk.path):
        last = _last(disk)
        if isinstance(place, AtTime):
            return number_of(disk, AtTime(place.last + 1, place.last + 1)) - 1
        if isinstance(place, Cursor):
            return confirm_moment(disk, place)
    if place is not None and not 0 <= place <= last:
        raise HistoryUnavailableError(
            f"{disk.path}: event {place} is not recorded, the last is event {last}",
            requested=place,
            first_available=load_manifest(disk).history_start,
        )
    return last if place is None else place


def events_between(disk: Disk, registry: HandlerRegistry[Any], start: Any, stop: Any) -> Interval:
    """Return the events from `start` to `stop` (exclusive). The last may be before the first.

    Where history was discarded, a start before the first known state means the event behind.
    """
    with translating_read_errors(disk.path):
        last = _last(disk)
        first = max(number_of(disk, place_of(start, "start")), earliest_base(disk, registry) + 1)
        if stop is not None:
            last = min(last, number_of(disk, place_of(stop, "stop")) - 1)
    return Interval(first, last)


def _last(disk: Disk) -> int:
    manifest = load_manifest(disk)
    if not manifest.logged:
        raise HistoryUnavailableError(
            f"{disk.path} has no log (use_wal=False): there are snapshots of the state, and no "
            "events",
            requested=1,
            first_available=0,
        )
    event = last_event_of(disk)
    return manifest.history_start - 1 if event is None else event.seq
