"""`first` and `bisect`: the event after which a predicate of the state holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.analysis.moments import events_between
from eventstore.analysis.predicates import Predicate, holds_in, named_predicate, places_of
from eventstore.analysis.state_path import check_shown
from eventstore.arguments import argument_error, checked_count, checked_function
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import ConfigError
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.moment import AnyMoment
from eventstore.reading.arguments import checked_registry
from eventstore.reading.bases import base_numbers, load_base, nearest_base
from eventstore.reading.fold_crew import Advance, FoldCrew
from eventstore.reading.fold_intervals import Interval, chosen_ends, state_before, states_from
from eventstore.snapshot.vault import LoadedSnapshot

__all__ = ["Found", "bisect", "first"]

StateT = TypeVar("StateT")

_PERIOD = 1000  # events between two messages about progress


class Found(msgspec.Struct, Generic[StateT], frozen=True):
    """A found event, and the state after the event."""

    event: Event[Any]
    state: StateT

    @property
    def seq(self) -> int:
        """The number of the event."""
        return self.event.seq


class _Part(NamedTuple):
    """Events to fold, and the predicate of the state after each event."""

    interval: Interval
    predicate: Any


def first(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    predicate: Predicate,
    *,
    start: AnyMoment = 1,
    stop: AnyMoment | None = None,
    jobs: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Found[StateT] | None:
    """Find the first event after which a predicate of the state holds. Takes no lock.

    The answer is exact: every event up to the found one is folded. History is folded by several
    processes, each from a snapshot to a later one.

    Args:
        path: The store's directory.
        registry: The handlers.
        predicate: A condition such as `"abs(positions['BTC-USDT'].shares) > 60"`, several that all
            have to hold, or a function of the state. A `LookupError` of the function counts as no.
            The function must not change the state.
        start: The first event to look at. Earlier events are folded where no snapshot stands in.
        stop: The event to stop before, by default the end.
        jobs: The number of processes. By default there is one for each 250,000 events, at most one
            for each processor. Another process needs handlers and a function that it can import. A
            lambda is asked by this process alone.
        advance: Called with the number of events that were folded since the last call.

    Returns:
        The event and the state, `None` if the predicate holds after no event.

    Raises:
        ConfigError: The predicate is no condition, or names an unknown field. Or `jobs` is more
            than 1, and another process cannot find the predicate or a handler.
        CorruptLogError, ReadFailedError, ReplayError, HistoryUnavailableError: As of `replay`.
        Exception: Whatever the function raises.
    """
    checked_registry(registry)
    holds_in(predicate)
    if jobs is not None:
        checked_count("jobs", jobs, "a number of processes")
    checked_function("advance", advance)
    disk = LocalDisk(path, read_only=True)
    try:
        wanted = events_between(disk, registry, start, stop)
        if wanted.first > wanted.last:
            return None
        check_shown(places_of(predicate), nearest_base(disk, registry, upto=wanted.last).state)
        seq = _first_in(disk, registry, predicate, wanted, jobs, advance)
        return None if seq is None else _found(disk, registry, seq, advance)
    finally:
        disk.close()


def _first_in(
    disk: Disk,
    registry: HandlerRegistry[Any],
    predicate: Predicate,
    wanted: Interval,
    jobs: int | None,
    advance: Advance,
) -> int | None:
    events = wanted.last - wanted.first + 1
    functions = [predicate] if callable(predicate) else []
    with FoldCrew(disk, registry, jobs=jobs, events=events, functions=functions) as crew:
        if jobs is not None and crew.alone is not None:
            expected = f"{crew.alone}: leave it out, or give the predicate as text"
            raise argument_error("jobs", jobs, expected)
        asked = named_predicate(predicate) if crew.jobs > 1 else predicate
        ends = _ends(disk, crew, wanted)
        begins = [wanted.first, *(end + 1 for end in ends)]
        parts = [
            _Part(Interval(*pair), asked) for pair in zip(begins, [*ends, wanted.last], strict=True)
        ]
        results = crew.each(first_in_part, parts, advance, lambda seq: seq is not None)
    return results[-1]


def _ends(disk: Disk, crew: FoldCrew, wanted: Interval) -> list[int]:
    """Choose usable bases to end the parts at: none for one process."""
    if crew.jobs == 1:
        return []
    bases = [seq for seq in base_numbers(disk, load_manifest(disk)) if seq < wanted.last]
    chosen = chosen_ends(wanted.first - 1, bases, crew.pieces)
    usable = crew.each(is_usable, chosen)
    return [seq for seq, can in zip(chosen, usable, strict=True) if can]


def is_usable(disk: Disk, registry: HandlerRegistry[Any], seq: int, advance: Advance) -> bool:
    """Tell whether folding can begin with the base after an event. Work for a crew."""
    return _loaded(disk, registry, seq) is not None


def _loaded(disk: Disk, registry: HandlerRegistry[StateT], seq: int) -> StateAt[StateT] | None:
    try:
        found = load_base(disk, load_manifest(disk).store, registry, seq)
    except FileNotFoundError:  # the writer removed the base
        return None
    return found.at if isinstance(found, LoadedSnapshot) else None


def first_in_part(
    disk: Disk, registry: HandlerRegistry[Any], part: _Part, advance: Advance
) -> int | None:
    """Return the first event of a part after which the predicate holds. Work for a crew."""
    holds, interval = holds_in(part.predicate), part.interval
    before = state_before(disk, registry, interval.first, advance)
    for event, state in _telling(states_from(disk, registry, before, interval.last), advance):
        if holds(state):
            return event.seq
    return None


def _telling(
    steps: Iterator[tuple[Event[Any], StateT]], advance: Advance
) -> Iterator[tuple[Event[Any], StateT]]:
    """Yield the steps, and tell of them now and then. No step is taken early: it may raise."""
    count = 0
    for step in steps:
        yield step
        count += 1
        if count == _PERIOD:
            advance(count)
            count = 0
    advance(count)


def _found(
    disk: Disk, registry: HandlerRegistry[StateT], seq: int, advance: Advance
) -> Found[StateT]:
    before = state_before(disk, registry, seq, advance)
    (step,) = states_from(disk, registry, before, seq)
    return Found(*step)


def bisect(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    predicate: Predicate,
    *,
    start: AnyMoment = 1,
    stop: AnyMoment | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Found[StateT] | None:
    """Find the event from which on a predicate holds, by bisection. Takes no lock.

    The answer is right only if the predicate, once true, stays true: a count that only grows, a
    flag that is never taken back. For anything else, such as a position beyond a limit, `first` is
    right and `bisect` is not.

    The predicate is asked at both ends, then at the snapshots that halve what is left. The events
    between the last two are folded. The number of loaded snapshots grows with the logarithm of
    their number, and the events that are folded do not grow with history.

    Args:
        path: The store's directory.
        registry: The handlers.
        predicate: A condition, several, or a function of the state, as of `first`.
        start: The first event to look at.
        stop: The event to stop before, by default the end.
        advance: Called with the number of events that were folded since the last call.

    Returns:
        The event and the state, `None` if the predicate does not hold at the end. If the predicate
        holds before the first event to look at, that event is returned.

    Raises:
        ConfigError: The predicate is no condition, names an unknown field, or was seen true and
            later false. Not every such change is seen.
        CorruptLogError, ReadFailedError, ReplayError, HistoryUnavailableError: As of `replay`.
        Exception: Whatever the function raises.
    """
    checked_registry(registry)
    holds = holds_in(predicate)
    checked_function("advance", advance)
    disk = LocalDisk(path, read_only=True)
    try:
        wanted = events_between(disk, registry, start, stop)
        if wanted.first > wanted.last:
            return None
        at_the_end = state_before(disk, registry, wanted.last + 1, advance).state
        check_shown(places_of(predicate), at_the_end)
        if not holds(at_the_end):
            return None
        before = state_before(disk, registry, wanted.first, advance)
        if holds(before.state):
            return _found(disk, registry, wanted.first, advance)
        before, last = _halved(disk, registry, holds, before, wanted.last)
        return _turn(holds, _telling(states_from(disk, registry, before, last), advance))
    finally:
        disk.close()


def _halved(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    holds: Callable[[Any], bool],
    before: StateAt[StateT],
    last: int,
) -> tuple[StateAt[StateT], int]:
    """Return the last base without the predicate, and an event with it."""
    left = [seq for seq in base_numbers(disk, load_manifest(disk)) if before.seq < seq < last]
    while left:
        middle = len(left) // 2
        found = _loaded(disk, registry, left[middle])
        if found is None:
            del left[middle]
        elif holds(found.state):
            last, left = found.seq, left[:middle]
        else:
            before, left = found, left[middle + 1 :]
    return before, last


def _turn(
    holds: Callable[[Any], bool], steps: Iterator[tuple[Event[Any], StateT]]
) -> Found[StateT] | None:
    """Return the event from which on the predicate holds, among events between no and yes."""
    found: Found[StateT] | None = None
    for event, state in steps:
        if holds(state):
            found = found or Found(event, state)
        elif found is not None:
            raise ConfigError(
                f"predicate: it holds after event {found.seq}, and not after event {event.seq}, so "
                "bisecting finds nothing certain; use `first`, which folds every event",
                key="predicate",
            )
    return found
