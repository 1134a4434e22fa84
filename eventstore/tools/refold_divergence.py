"""The search for the event at which folding again gives another state than the live store had.

Theory of operation
-------------------
The event is in an interval: after the last snapshot that agrees (or the beginning), up to the first
that differs. Three questions about the interval are asked in order:

1. Does a second fold here give the same digests? If not, the result of a handler depends on more
   than state and event: a clock, a random number, a counter outside. The event is exact.
2. Does a fold in other processes, under other hash seeds, give the same digests? If not, a handler
   depends on the order of a set, on `hash()`, or on the process. The event is exact.
3. Otherwise the fold is repeatable, yet gives another state than before. A handler was changed
   without a new version, or reads a thing that changes rarely, such as a date or a file. No state
   between the two snapshots was kept, so the event is inferred: of the events that, folded now,
   change most of the places with a difference, the first is named.

Large states are not digested after each of thousands of events. Digests are noted at a few marks
first, and then after every event between the last mark that agrees and the first that differs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from eventstore.disk.base import Disk
from eventstore.history.compare import Difference, differences
from eventstore.model.differences import Steps, value_at, walk_differences
from eventstore.model.handler import Handler
from eventstore.model.operation import Event, operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.hash_seed_fold import (
    Case,
    Digests,
    EventRange,
    OtherInterpreterError,
    digests_at,
    fold_in_other_interpreter,
    sources_of,
)
from eventstore.reading.replay import upcast_batches

__all__ = ["DifferingInterval", "Divergence"]

SEEDS = (0, 1, 2, 3)
"""Hash seeds of other processes: half of all pairs of seeds order a set of two strings alike."""

MARKS = 64
"""Digests noted in an interval on the first pass."""

PLACES = 256
"""Differing places of the state that are compared when the event is inferred."""

Cause = Literal["unrepeatable", "process", "changed"]


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """The place where folding again gives another state than the live store had.

    Attributes:
        agrees_at: The event of the last snapshot that agrees. 0 is the beginning.
        differs_at: The event of the first snapshot that differs.
        seq: The first event with another state after it, `None` where no event could be named.
        operation: The operation of this event, if there is one.
        handler: The handler of this event, as module and name.
        cause: `"unrepeatable"` for a handler with one result now and another later, `"process"` for
            another result in another process, `"changed"` for another result than in the past.
        exact: `True` for a known event, `False` for an inferred one.
        differences: The places where the snapshot's state (`one`) and the state folded again
            (`other`) differ.
        explanation: The cause in words.
    """

    agrees_at: int
    differs_at: int
    seq: int | None
    operation: str | None
    handler: str | None
    cause: Cause
    exact: bool
    differences: tuple[Difference, ...]
    explanation: str


class DifferingInterval:
    """The interval between two snapshots, at the second of which folding again differs.

    Args:
        disk: The store's disk, which is only read.
        registry: The handlers that folded again.
        agrees_at: The event of the snapshot that agrees. 0 is the beginning.
        differs_at: The event of the snapshot that differs.
        start: The state after event `agrees_at`, in slices.
        stored: The state in the snapshot of event `differs_at`.
        refolded: The state folded up to event `differs_at`.
    """

    def __init__(
        self,
        disk: Disk,
        registry: HandlerRegistry[Any],
        *,
        agrees_at: int,
        differs_at: int,
        start: list[bytes],
        stored: Any,
        refolded: Any,
    ) -> None:
        self._disk = disk
        self._registry = registry
        self._agrees_at = agrees_at
        self._differs_at = differs_at
        self._start = start
        self._stored = stored
        self._refolded = refolded
        self._untried = ""

    def explain(self) -> Divergence:
        """Find the event in the interval at which folding again gives another state."""
        return self._unrepeatable() or self._elsewhere() or self._changed()

    def _unrepeatable(self) -> Divergence | None:
        seq, _ = self._first_difference(self._here, self._here)
        if seq is None:
            return None
        return self._divergence(
            seq,
            "unrepeatable",
            "folded twice in one process, this event gave two states: its handler uses something "
            "that is neither in the state nor in the event, such as a clock or a random number",
        )

    def _elsewhere(self) -> Divergence | None:
        sources = sources_of(*self._registry.items)
        if sources is None:
            self._untried = (
                ". It was not folded in another process: not every handler is found by module and "
                "name"
            )
            return None
        for seed in SEEDS:

            def there(marks: list[int], seed: int = seed) -> Digests:
                case = Case(self._start, self._events(marks), marks)
                (fold,) = fold_in_other_interpreter(sources, [case], hash_seed=seed)
                return fold.digests

            try:
                seq, repeated = self._first_difference(self._here, there)
            except OtherInterpreterError as error:
                self._untried = f". It could not be folded in another process: {error.reason}"
                return None
            if seq is not None and repeated:
                return self._divergence(
                    seq,
                    "process",
                    f"in another process (PYTHONHASHSEED={seed}) this event gave another state: "
                    "its handler depends on the order of a set, on hash(), or on the process",
                )
            if seq is not None:
                return self._divergence(
                    seq,
                    "unrepeatable",
                    "folded again somewhat later, this event gave another state: its handler uses "
                    "something that is neither in the state nor in the event, such as a clock",
                )
        return None

    def _here(self, marks: list[int]) -> Digests:
        return digests_at(self._disk, self._registry, self._start, self._events(marks), marks)

    def _events(self, marks: list[int]) -> EventRange:
        """The events of the interval up to the last mark. Later events change no digest."""
        return EventRange(self._disk.path, self._agrees_at + 1, max(marks))

    def _first_difference(
        self, one: Callable[[list[int]], Digests], other: Callable[[list[int]], Digests]
    ) -> tuple[int | None, bool]:
        """The first event after which two folds differ, and whether each fold repeats itself."""
        step = max(1, math.ceil((self._differs_at - self._agrees_at) / MARKS))
        marks = [*range(self._agrees_at + step, self._differs_at, step), self._differs_at]
        left, right = one(marks), other(marks)
        until = next((mark for mark in marks if left[mark] != right[mark]), None)
        if until is None:
            return None, True
        after = max((mark for mark in marks if mark < until), default=self._agrees_at)
        every = list(range(after + 1, until + 1))
        again, there = one(every), other(every)
        seq = next((mark for mark in every if again[mark] != there[mark]), until)
        return seq, (again[until], there[until]) == (left[until], right[until])

    def _changed(self) -> Divergence:
        """Infer the event from the places that each event changes now."""
        found = walk_differences(self._stored, self._refolded, exact=True)
        places = [steps for steps, _, _ in itertools.islice(found, PLACES)]
        most, suspect = 0, None
        touching: dict[str, bool] = {}
        for event, before, after in self._steps():
            touched = sum(_changes(before, after, place) for place in places)
            touching[event.operation] = touching.get(event.operation, False) or touched > 0
            if touched > most:
                most, suspect = touched, event
        if suspect is None:
            return self._divergence(
                None,
                "changed",
                "folding is repeatable, but gives another state than it gave: a handler was "
                "changed without a new version. No event of the interval changes these places now; "
                f"its operations are {', '.join(sorted(touching))}{self._untried}",
            )
        name = suspect.operation
        others = sorted(other for other, touches in touching.items() if touches and other != name)
        also = f" (or that of {', '.join(others)})" if others else ""
        return self._divergence(
            suspect.seq,
            "changed",
            f"folding is repeatable, but gives another state than it gave: the handler of "
            f"{name}{also} was changed without a new version, or reads something that changes "
            f"rarely. The event is inferred: it is the first that changes the most ({most}) of the "
            f"{len(places)} places that differ now{self._untried}",
            name,
        )

    def _steps(self) -> Iterator[tuple[Event[Any], Any, Any]]:
        """Yield every event of the interval, with the states before and after."""
        state = self._registry.states.load(self._start)
        for events in upcast_batches(
            self._disk, self._registry, self._agrees_at + 1, self._differs_at + 1
        ):
            for event in events:
                before, state = state, self._registry.fold(state, (event,))
                yield event, before, state

    def _divergence(
        self, seq: int | None, cause: Cause, explanation: str, operation: str | None = None
    ) -> Divergence:
        if seq is not None and operation is None:
            for events in upcast_batches(self._disk, self._registry, seq, seq + 1):
                operation = operation or (events[0].operation if events else None)
        handlers = [item for item in self._registry.items if isinstance(item, Handler)]
        named = [item for item in handlers if operation_name(item.types()[1]) == operation]
        handler = f"{named[0].__module__}.{named[0].__name__}" if named else None
        return Divergence(
            agrees_at=self._agrees_at,
            differs_at=self._differs_at,
            seq=seq,
            operation=operation,
            handler=handler,
            cause=cause,
            exact=cause != "changed",
            differences=tuple(differences(self._stored, self._refolded, exact=True)),
            explanation=explanation,
        )


def _changes(before: Any, after: Any, place: Steps) -> bool:
    """Whether one event changed one place of the state."""
    values = value_at(before, place), value_at(after, place)
    return next(walk_differences(*values, exact=True), None) is not None
