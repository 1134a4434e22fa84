"""Folding interval by interval, from base to base.

A long fold is divided in two ways. `cut_at` ends batches at chosen events, for a look at the state
in between. `intervals` divides a history at the bases (`bases.py`), so that each part can be folded
by itself: the part nearest to the end alone, or all parts at the same time (`fold_crew.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.model.handler import fold_each
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.reading.bases import base_numbers, nearest_base
from eventstore.reading.replay import recorded_batches

__all__ = ["Interval", "cut_at", "intervals", "states_from", "states_in"]

StateT = TypeVar("StateT")


class Interval(NamedTuple):
    """The events `first` to `last`, both included."""

    first: int
    last: int


def intervals(disk: Disk, first: int, last: int) -> list[Interval]:
    """Divide the events `first` to `last` at the bases, in order.

    Only numbers are read. A base may turn out to be unusable. `states_in` then folds from the base
    before.
    """
    manifest = load_manifest(disk)
    begins = [first, *(base + 1 for base in base_numbers(disk, manifest) if first <= base < last)]
    ends = [begin - 1 for begin in begins[1:]]
    return [Interval(*pair) for pair in zip(begins, [*ends, last], strict=True) if pair[0] <= last]


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


def states_in(
    disk: Disk, registry: HandlerRegistry[StateT], interval: Interval
) -> tuple[StateT, Iterator[tuple[Event[Any], StateT]]]:
    """Return the state before an interval, and each event of the interval with the state after.

    Raises the errors of `replay`.
    """
    base = nearest_base(disk, registry, upto=interval.first - 1)
    state = base.state
    for events in recorded_batches(disk, registry.codec, base.seq + 1, interval.first):
        state = registry.fold(state, registry.upcast(events))
    before = StateAt(state, interval.first - 1, base.latest)
    return state, states_from(disk, registry, before, interval.last)


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
