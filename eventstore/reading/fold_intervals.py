"""Folding interval by interval, from base to base.

A long fold is divided in two ways. `cut_at` ends batches at chosen events, for a look at the state
in between. `chosen_ends` divides a history at bases (`bases.py`), so that each part can be folded
by itself: one part alone, or all parts at the same time (`fold_crew.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from eventstore.disk.base import Disk
from eventstore.model.handler import fold_each
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.reading.bases import nearest_base
from eventstore.reading.replay import recorded_batches

__all__ = ["Interval", "chosen_ends", "cut_at", "state_before", "states_from"]

StateT = TypeVar("StateT")


class Interval(NamedTuple):
    """The events `first` to `last`, both included."""

    first: int
    last: int


def chosen_ends(begun_at: int, bases: Iterable[int], pieces: int) -> list[int]:
    """Choose bases at which the parts of a history end, for about as many parts as asked for.

    Parts get about the same number of events, as far as the bases allow. The part behind the last
    base is not among them.
    """
    found, begin = list[int](), begun_at
    ascending = [base for base in bases if base > begun_at]
    size = (ascending[-1] - begun_at) / pieces if ascending and pieces > 1 else math.inf
    for base in ascending:
        if base - begin >= size:
            found.append(base)
            begin = base
    return found


def cut_at(
    batches: Iterable[Sequence[Event[Any]]], marks: Iterable[int]
) -> Iterator[tuple[Sequence[Event[Any]], bool]]:
    """Cut recorded batches behind each event of `marks`, ascending.

    Yields each part, and whether the part ends with the event of a mark.
    """
    rest = iter(marks)
    mark = next(rest, None)
    for batch in batches:
        events = batch
        while mark is not None and events and mark <= events[-1].seq:
            count = mark - events[0].seq + 1
            if count > 0:
                yield events[:count], True
                events = events[count:]
            mark = next(rest, None)
        if events:
            yield events, False


def state_before(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    first: int,
    advance: Callable[[int], None] = lambda count: None,
) -> StateAt[StateT]:
    """Return the state before event `first`. Raises the errors of `replay`.

    `advance` is called with the number of events that were folded since the last call.
    """
    base = nearest_base(disk, registry, upto=first - 1)
    state = base.state
    for events in recorded_batches(disk, registry.codec, base.seq + 1, first):
        state = registry.fold(state, registry.upcast(events))
        advance(len(events))
    return StateAt(state, first - 1, base.latest)


def states_from(
    disk: Disk, registry: HandlerRegistry[StateT], before: StateAt[StateT], last: int
) -> Iterator[tuple[Event[Any], StateT]]:
    """Yield each event behind a state up to event `last`, with the state after the event.

    A recorded event that an upcaster splits comes once: its last part, with the state after all
    parts.
    """
    state = before.state
    for recorded in recorded_batches(disk, registry.codec, before.seq + 1, last + 1):
        events = registry.upcast(recorded)
        steps = fold_each(registry.functions, state, events)
        for event, after in steps if events is recorded else _last_parts(steps):
            state = after
            yield event, after


def _last_parts(
    steps: Iterator[tuple[Event[Any], StateT]],
) -> Iterator[tuple[Event[Any], StateT]]:
    held: tuple[Event[Any], StateT] | None = None
    for step in steps:
        if held is not None and held[0].seq != step[0].seq:
            yield held
        held = step
    if held is not None:
        yield held
