"""`sample`: values of the state at regular steps, in one pass."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from eventstore.analysis.moments import events_between
from eventstore.analysis.samples import Samples
from eventstore.analysis.state_columns import Column, named_columns, value_of
from eventstore.analysis.state_path import StatePath, check_shown
from eventstore.arguments import argument_error, checked_function
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.errors import ConfigError
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import AnyMoment, AtTime, parse_span, place_of
from eventstore.reading.arguments import checked_registry
from eventstore.reading.bases import nearest_base
from eventstore.reading.fold_intervals import Interval, cut_at, state_before
from eventstore.reading.replay import recorded_batches
from eventstore.tools.log_end import last_event_of

__all__ = ["sample"]

MOST_ROWS = 10_000_000


def sample(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any],
    every: str | int | timedelta,
    columns: Mapping[str, Column] | Sequence[str],
    *,
    start: AnyMoment = 1,
    stop: AnyMoment | None = None,
    compare: HandlerRegistry[Any] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Samples:
    """Sample the state at regular steps, in one pass over the history. Takes no lock.

    A row has the state after the last event at or before the step. Steps of a time are whole
    multiples since 1970 in UTC, so that `"1h"` is on the hour. The first step is the first one at
    or after the first event, or after `start` if that is a time. The last row is the last event,
    also between two steps. If `stop` is a time, and later events are recorded, the steps go on up
    to `stop` in place of such a row.

    The order of events counts, and a clock may go backwards. A step lies before the first event
    that is later than the step.

    Args:
        path: The store's directory.
        registry: The handlers.
        every: A time such as `"1h"`, `"500ms"` or a `timedelta`, or a number of events.
        columns: Names, each with a place in the state or a function. Or places, which are names.
            A function's `LookupError` counts as an absent value. It must not change the state.
        start: The first event or time. Earlier events are folded where no snapshot stands in.
        stop: The event or time to stop before, by default the end.
        compare: Other handlers. Each column comes twice, the second one with `_other` behind its
            name, and `parted` tells the first event after which a column differs.
        advance: Called with the number of events that were folded since the last call.

    Raises:
        ConfigError: An argument is impossible, or a column names an unknown field. Or there would
            be more than 10,000,000 rows.
        CorruptLogError, ReadFailedError, ReplayError, HistoryUnavailableError: As of `replay`.
        Exception: Whatever a function raises.
    """
    checked_function("advance", advance)
    step = _step(every)
    given = named_columns(columns)
    named = {name: value_of(column) for name, column in given.items()}
    registries = [checked_registry(registry)]
    if compare is not None:
        registries.append(checked_registry(compare))
    names = list(named) + ([f"{name}_other" for name in named] if compare is not None else [])
    if len(set(names)) < len(names) or {"time", "seq"} & set(names):
        raise argument_error("columns", columns, "two columns of the table would have one name")
    disk = LocalDisk(path, read_only=True)
    try:
        wanted = events_between(disk, registry, start, stop)
        places = [StatePath(one, "columns") for one in given.values() if isinstance(one, str)]
        check_shown(places, nearest_base(disk, registry, upto=wanted.last).state)
        sides = [_Side(disk, one, named.values(), wanted, advance) for one in registries]
        sampler = _Sampler(wanted.first - 1, sides, advance)
        if isinstance(step, _Nanoseconds):
            begin, end = _time_of(start), _time_of(stop)
            last = last_event_of(disk)
            if last is None or last.seq <= wanted.last:  # nobody knows what comes before `stop`
                end = None
            sampler.run(_cuts_by_time(sides[0].batches, step, begin, end))
        else:
            sampler.run(_cuts_by_count(sides[0].batches, step, wanted.first))
    finally:
        disk.close()
    return Samples(columns=("time", "seq", *names), rows=sampler.rows, parted=sampler.parted)


_Cut = tuple[Sequence[Event[Any]], Sequence[int]]
"""Events to fold, and the times of the rows behind them."""


class _Nanoseconds(int):
    """A step of a time. Any other step is a number of events."""


def _time_of(moment: Any) -> int | None:
    place = None if moment is None else place_of(moment, "start")
    return place.first if isinstance(place, AtTime) else None


def _step(every: Any) -> int:
    found: int | None = None
    if isinstance(every, str):
        span = int(every) if every.isascii() and every.isdecimal() else parse_span(every)
        found = span if span is None or every.isdecimal() else _Nanoseconds(span)
    elif isinstance(every, timedelta):
        found = _Nanoseconds(every // timedelta(microseconds=1) * 1000)
    elif isinstance(every, int) and not isinstance(every, bool):
        found = every
    if found is None or found < 1:
        expected = "expected a span such as '1h', '15m' or '500ms', or a number of events"
        raise argument_error("every", every, expected)
    return found


class _Side:
    """The fold by one registry, and the columns of its state."""

    def __init__(
        self,
        disk: Disk,
        registry: HandlerRegistry[Any],
        columns: Iterable[Callable[[Any], Any]],
        wanted: Interval,
        advance: Callable[[int], None],
    ) -> None:
        self._registry = registry
        self._columns = tuple(columns)
        self._state = state_before(disk, registry, wanted.first, advance).state
        self.batches = recorded_batches(disk, registry.codec, wanted.first, wanted.last + 1)
        self._held: Sequence[Event[Any]] = ()

    def fold(self, events: Sequence[Event[Any]]) -> None:
        """Fold events that were taken from `batches`."""
        self._state = self._registry.fold(self._state, self._registry.upcast(events))

    def fold_to(self, seq: int) -> None:
        """Take the events up to number `seq` from `batches`, and fold them."""
        while True:
            if not self._held:
                self._held = next(self.batches, ())
            if not self._held or self._held[0].seq > seq:
                return
            count = seq - self._held[0].seq + 1
            self.fold(self._held[:count])
            self._held = self._held[count:]

    def values(self) -> tuple[Any, ...]:
        """Return the columns of the state."""
        return tuple(column(self._state) for column in self._columns)


class _Sampler:
    """The rows so far. `seq` is the last folded event."""

    def __init__(self, before: int, sides: Sequence[_Side], advance: Callable[[int], None]) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.parted: int | None = None
        self._seq = before
        self._main, *self._others = sides
        self._advance = advance

    def run(self, cuts: Iterable[_Cut]) -> None:
        """Fold the events of each cut, then add a row for each of its times."""
        for events, times in cuts:
            if events:
                self._fold(events)
            if not times:
                continue
            if len(self.rows) + len(times) > MOST_ROWS:
                raise ConfigError(
                    f"every: more than {MOST_ROWS:,} rows up to event {self._seq}; take longer "
                    "steps",
                    key="every",
                )
            values = self._values()
            if not self._seq:
                values = (None,) * len(values)
            self.rows.extend((time, self._seq or None, *values) for time in times)

    def _values(self) -> tuple[Any, ...]:
        sides = [self._main, *self._others]
        return tuple(itertools.chain.from_iterable(side.values() for side in sides))

    def _fold(self, events: Sequence[Event[Any]]) -> None:
        self._advance(len(events))
        self._seq = events[-1].seq
        if not self._others:
            self._main.fold(events)
            return
        for at, event in enumerate(events):
            if self.parted is not None:
                self._main.fold(events[at:])
                break
            self._main.fold([event])
            self._others[0].fold_to(event.seq)
            if self._main.values() != self._others[0].values():
                self.parted = event.seq
        self._others[0].fold_to(self._seq)


def _cuts_by_count(
    batches: Iterable[Sequence[Event[Any]]], step: int, first: int
) -> Iterator[_Cut]:
    """Cut batches behind each event whose number is a multiple of `step`, and at the end."""
    last: Event[Any] | None = None
    for events, marked in cut_at(batches, itertools.count(-(-first // step) * step, step)):
        last = None if marked else events[-1]
        yield events, [events[-1].time] if marked else []
    if last is not None:
        yield [], [last.time]


def _cuts_by_time(
    batches: Iterable[Sequence[Event[Any]]], step: int, start: int | None, stop: int | None
) -> Iterator[_Cut]:
    """Cut batches before each event that is later than a step that is due.

    `start` is the time of the first step at the earliest. Steps go on up to the time `stop`
    (exclusive). Without `stop`, the last row is the last event.
    """
    due = None if start is None else -(-start // step) * step
    latest: int | None = None
    for events in batches:
        if due is None:
            due = -(-events[0].time // step) * step
        begin = 0
        for at, event in enumerate(events):
            if event.time > due:
                passed = range(due, event.time, step)
                yield events[begin:at], passed
                begin, due = at, due + len(passed) * step
        yield events[begin:], []
        newest = max(event.time for event in events)
        latest = newest if latest is None else max(latest, newest)
    if stop is not None and due is not None:
        yield [], range(due, stop, step)
    elif latest is not None:
        yield [], [latest]
