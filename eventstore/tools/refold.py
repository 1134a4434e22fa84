"""Folding a store's history again, and finding out where and why it gives another state.

Theory of operation
-------------------
Every snapshot carries the digest of the state that the live store had. History is folded from its
beginning, and the digest compared at each snapshot. The first that differs leaves an interval:
after the last snapshot that agrees (or the beginning), up to this one. What happened in it is asked
in this order:

1. Fold the interval twice, here. Digests that differ show a handler whose result is not decided by
   state and event: a clock, a random number, a counter outside. The event is exact.
2. Fold it in other processes, with other hash seeds. Digests that differ show a handler that
   depends on the order of a set, on ``hash()``, or on the process. The event is exact.
3. Else folding is repeatable, and gives something else than it once gave: a handler was changed
   without a new version (or read something that changes rarely, a date or a file). No state between
   the two snapshots was kept, so the event is inferred: the first of those that, folded now, change
   most of the places in which the two states differ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.listing import list_snapshots
from eventstore.disk.manifest import Manifest
from eventstore.errors import ReplayError, UnknownOperationError
from eventstore.history.compare import Difference, differences
from eventstore.model.differences import Steps, value_at, walk_differences
from eventstore.model.handler import Handler
from eventstore.model.operation import Event, operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state import StateCodec, StateDigest
from eventstore.reading.other_interpreter import (
    Case,
    Digests,
    EventRange,
    OtherInterpreterError,
    Source,
    digests_at,
    fold_in_other_interpreter,
    source_of,
)
from eventstore.reading.replay import recorded_batches, upcast_batches
from eventstore.snapshot.vault import LoadedSnapshot, SnapshotVault

__all__ = ["Divergence", "Refold", "refold"]

SEEDS = (0, 1, 2, 3)
"""Hash seeds of other processes: two of them order a set of two strings alike half of the time."""

MARKS = 64
PLACES = 256
"""Places in which states differ that are looked at when the event is inferred."""

Cause = Literal["unrepeatable", "process", "changed"]


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Where folding again leaves what was folded live.

    ``agrees_at``: the last snapshot that agrees (0: the beginning), ``differs_at``: the first that
    does not. ``seq``: the first event after which the states part, ``operation`` and ``handler``
    those of this event; ``None`` where no event could be named. ``cause``: ``"unrepeatable"`` (the
    handler gives one result now and another later), ``"process"`` (another result in another
    process), ``"changed"`` (another result than it once gave). ``exact``: whether the event is
    known or inferred. ``differences``: places in which the snapshot's state (``one``) and the state
    folded again (``other``) differ.
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


class Refold(msgspec.Struct, frozen=True, kw_only=True):
    """What folding again found.

    ``begun_at``: the event whose state it began with (0: before the first). ``agreeing``: the
    snapshots that agree. ``passed_over``: those that other handlers made, with what differs.
    ``wrong_digests``: those whose digest is not that of the state in them. ``refusal``: why history
    could not be folded to its end.
    """

    begun_at: int = 0
    agreeing: tuple[int, ...] = ()
    passed_over: tuple[str, ...] = ()
    wrong_digests: tuple[str, ...] = ()
    divergence: Divergence | None = None
    refusal: str | None = None


def refold(disk: Disk, manifest: Manifest, registry: HandlerRegistry[Any]) -> Refold:
    """Fold history again, compare at every snapshot, and explain the first difference.

    Raises ``FileNotFoundError`` and :class:`HistoryUnavailableError` where a writer at work removed
    what was needed.
    """
    return _Refolding(disk, manifest, registry).run()


class _Refolding:
    def __init__(self, disk: Disk, manifest: Manifest, registry: HandlerRegistry[Any]) -> None:
        self._disk = disk
        self._manifest = manifest
        self._registry = registry
        self._codec: StateCodec[Any] = StateCodec(registry.state_type)
        self._vault = SnapshotVault[Any](
            disk, manifest.store, registry.state_type, registry.fingerprint()
        )
        self._digests: dict[int, str] = {}
        self._passed_over: list[str] = []
        self._wrong: list[str] = []
        self._retired = False

    def run(self) -> Refold:
        self._survey()
        available = self._manifest.history_start - 1
        begun_at = 0
        if available:
            usable = [seq for seq in sorted(self._digests) if seq >= available]
            if not usable and self._retired:
                raise FileNotFoundError(f"snapshots of {self._disk.path} went while it was read")
            if not usable:
                return self._result(
                    0,
                    [],
                    refusal="history does not reach back to its beginning, and there is no "
                    "snapshot that folding could begin with",
                )
            begun_at = usable[0]
        agreeing: list[int] = []
        try:
            differing_at, state = self._fold(begun_at, agreeing)
            divergence = None
            if differing_at is not None:
                agrees_at = agreeing[-1] if agreeing else begun_at
                divergence = _Explaining(
                    self._disk,
                    self._registry,
                    agrees_at=agrees_at,
                    differs_at=differing_at,
                    start=list(self._codec.slices(self._state_after(agrees_at), StateDigest())),
                    stored=self._state_after(differing_at),
                    refolded=state,
                ).run()
        except (ReplayError, UnknownOperationError) as error:
            return self._result(begun_at, agreeing, refusal=str(error))
        return self._result(begun_at, agreeing, divergence=divergence)

    def _result(
        self,
        begun_at: int,
        agreeing: list[int],
        *,
        divergence: Divergence | None = None,
        refusal: str | None = None,
    ) -> Refold:
        return Refold(
            begun_at=begun_at,
            agreeing=tuple(agreeing),
            passed_over=tuple(self._passed_over),
            wrong_digests=tuple(self._wrong),
            divergence=divergence,
            refusal=refusal,
        )

    def _survey(self) -> None:
        """The digests of the snapshots that can be compared with."""
        for seq in list_snapshots(self._disk):
            try:
                found = self._vault.load(seq)
            except FileNotFoundError:  # the writer retired it
                self._retired = True
                continue
            if not isinstance(found, LoadedSnapshot):
                if found.operations:
                    self._passed_over.append(f"{found.name}: {found.reason}")
                continue
            self._digests[seq] = found.digest
            if self._codec.digest(found.state) != found.digest:
                self._wrong.append(found.name)

    def _fold(self, begun_at: int, agreeing: list[int]) -> tuple[int | None, Any]:
        """The first snapshot that does not agree, and the state folded up to it."""
        state = self._state_after(begun_at)
        rest = [seq for seq in sorted(self._digests) if seq > begun_at]
        registry = self._registry
        for events in recorded_batches(self._disk, registry.codec, begun_at + 1, None):
            while rest and events and rest[0] <= events[-1].seq:
                mark = rest.pop(0)
                count = mark - events[0].seq + 1
                state = registry.fold(state, registry.upcast(events[:count]))
                if self._codec.digest(state) != self._digests[mark]:
                    return mark, state
                agreeing.append(mark)
                events = events[count:]
            state = registry.fold(state, registry.upcast(events))
        return None, state

    def _state_after(self, seq: int) -> Any:
        """The state of a snapshot that agrees, or before the first event: always a fresh one."""
        if seq == 0:
            return self._registry.initial()
        loaded = self._vault.load(seq)
        assert isinstance(loaded, LoadedSnapshot)
        return loaded.state


class _Explaining:
    """Finds out what happened between a snapshot that agrees and one that does not."""

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

    def run(self) -> Divergence:
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
        sources = self._sources()
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
        """The events of the interval up to the last mark: digests need no more."""
        return EventRange(self._disk.path, self._agrees_at + 1, max(marks))

    def _sources(self) -> list[Source] | None:
        """Where all handlers are found, `None` where one of them is not found without this process.

        The script that was started is not run again, since it may do more than define handlers.
        """
        found = []
        for item in self._registry.items:
            source = source_of(item)
            if source is None or source.module == "__main__":
                return None
            found.append(source)
        return found

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
        """Infer which event it was from what it touches now."""
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
        """Every event of the interval, with the states before and after it."""
        state = StateCodec[Any](self._registry.state_type).load(self._start)
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
    """Whether one event changed what is in one place of the state."""
    values = value_at(before, place), value_at(after, place)
    return next(walk_differences(*values, exact=True), None) is not None
