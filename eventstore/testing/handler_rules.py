"""The rules that a handler must keep at every event. `handler_checks.py` gives the reasons."""

from __future__ import annotations

import typing
from collections import Counter
from typing import Any, NamedTuple

from eventstore.errors import EventStoreError
from eventstore.model.codec import array_header
from eventstore.model.handler import Handler
from eventstore.model.operation import Event, Operation, operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.model.user_code import fold_context
from eventstore.model.value_types import copy_value
from eventstore.reading.hash_seed_fold import (
    Case,
    Fold,
    Source,
    fold_in_other_interpreter,
)
from eventstore.testing.differences import difference, shared_part, shorten
from eventstore.testing.impure_calls import recording_impure_calls

__all__ = ["Append", "HandlerCheckError", "Refusals", "RunCheck"]

Refusals = type[Exception] | tuple[type[Exception], ...]

_ZONES = ("UTC+11", "UTC-13")
_PATIENCE = 600.0  # seconds for all runs in another interpreter


class HandlerCheckError(AssertionError):
    """A handler breaks a rule.

    `check` names the rule: `total`, `pure`, `deterministic` or `lasting`. `operation` is the
    operation of the handler.
    """

    def __init__(self, message: str, *, check: str, operation: str) -> None:
        super().__init__(message)
        self.check = check
        self.operation = operation


class Append(NamedTuple):
    """A future event, without a number."""

    data: Operation
    time: int
    key: str | None
    metadata: dict[str, Any] | None


class _SlicedState(NamedTuple):
    """A state in the slices of a snapshot, with its digest."""

    digest: str
    slices: list[bytes]


class _Run(NamedTuple):
    """A run as folded here.

    `outcomes` has a digest for each event, or `!` and the name of the exception that refused it.
    """

    start: list[bytes]
    events: list[Event[Any]]
    bodies: list[bytes]
    outcomes: list[str]

    def case_up_to(self, count: int, *, wants_state: bool = False) -> Case:
        """The first `count` events for another interpreter, with a mark after each."""
        return Case(self.start, self.bodies[:count], list(range(1, count + 1)), wants_state)


class RunCheck:
    """Folds runs of events with one registry, and checks every rule at every event.

    Runs are kept in `runs`, for other interpreters. `folded` and `refused` count the events by
    operation.
    """

    def __init__(self, registry: HandlerRegistry[Any], refuses: Refusals) -> None:
        self.registry = registry
        self.refuses = refuses
        self.states = registry.states
        self.folded: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.runs: list[_Run] = []

    def run(self, start: Any, appends: list[Append]) -> None:
        """Fold one run from a start state, check every step, and keep the run.

        `start` is `None` for the initial state. Raises `HandlerCheckError`.
        """
        state = self.registry.initial() if start is None else copy_value(start)
        kept = self._slice(state)
        if kept is None or difference(state, self.states.load(kept.slices)) is not None:
            raise HandlerCheckError(
                f"the start state does not come back from a snapshot as it is: {shorten(state)}",
                check="lasting",
                operation="",
            )
        run = _Run(kept.slices, [], [], [])
        for seq, append in enumerate(appends, 1):
            event, body = self._record(seq, append)
            outcome = ""
            for part in self._upcast_and_check(event, body):
                state, kept, outcome = self._fold_and_check(state, kept, part)
                if outcome.startswith("!"):
                    break
            run.bodies.append(body)
            run.outcomes.append(outcome or kept.digest)
            run.events.append(event)
        self.runs.append(run)

    def _record(self, seq: int, append: Append) -> tuple[Event[Any], bytes]:
        """The event as the log gives the event back. Old payloads are recorded as old payloads."""
        event = Event(seq, append.time, append.data, append.key, append.metadata)
        try:
            return self.registry.codec.round_trip(event)
        except EventStoreError as error:
            raise self._broken_rule_error(
                event, "lasting", f"a payload that its type allows is refused: {error}"
            ) from error

    def _upcast_and_check(self, event: Event[Any], body: bytes) -> list[Event[Any]]:
        """The current events of an old one. Upcasters must keep the rules of handlers."""
        if type(event.data) in self.registry.functions:
            return [event]
        codec, seen = self.registry.codec, list[str]()
        try:
            parts = list(self.registry.upcast([event]))
            with recording_impure_calls(seen):
                repeated = list(self.registry.upcast(self._decode(body, event.seq)))
        except EventStoreError as error:
            raise self._broken_rule_error(event, "total", str(error)) from error
        if seen:
            raise self._broken_rule_error(event, "pure", f"it calls {seen[0]}")
        if codec.encode(event) != body:
            raise self._broken_rule_error(event, "pure", "it changed the old payload")
        if codec.encode_all(parts) != codec.encode_all(repeated):
            raise self._broken_rule_error(
                event, "deterministic", "it makes other payloads the second time"
            )
        for part in parts:
            try:
                codec.round_trip(part)
            except EventStoreError as error:
                raise self._broken_rule_error(
                    event, "lasting", f"it makes a payload that its class refuses: {error}"
                ) from error
        return parts

    def _decode(self, body: bytes, seq: int) -> list[Event[Any]]:
        return self.registry.codec.decode(array_header(1) + body, 1, seq)

    def _fold_and_check(
        self, state: Any, kept: _SlicedState, event: Event[Any]
    ) -> tuple[Any, _SlicedState, str]:
        """Fold one event and check the result.

        Returns the next state, the same state in slices, and the outcome to compare elsewhere.
        """
        body = self.registry.codec.encode(event)
        (second,), (third,) = self._decode(body, event.seq), self._decode(body, event.seq)
        new, refusal = self._fold(state, event)
        self._check_untouched(state, kept, event, body)
        seen: list[str] = []
        with recording_impure_calls(seen):
            repeated, refused_again = self._fold(state, second)
        if seen:
            raise self._broken_rule_error(event, "pure", f"it calls {seen[0]}")
        restarted, refused_then = self._fold(self.states.load(kept.slices), third)
        if {type(refusal)} != {type(refused_again), type(refused_then)}:
            raise self._broken_rule_error(
                event, "deterministic", "it refuses the event only some of the times it is folded"
            )
        if refusal is not None:
            self.refused[event.operation] += 1
            return state, kept, f"!{type(refusal).__name__}"
        after = self._check_lasting(new, event)
        self._check_same(after, repeated, event, "folding the event again gives another state")
        self._check_same(
            after, restarted, event, "folding it on the state from a snapshot gives another state"
        )
        shared = shared_part(event.data, new) or shared_part(event.metadata, new)
        if shared is not None:
            raise self._broken_rule_error(
                event,
                "pure",
                f"the new state holds at `{shared[1]}` the very object that the event holds at "
                f"`{shared[0]}`, so a change to one would change the other: copy it",
            )
        self.folded[event.operation] += 1
        return new, after, after.digest

    def _fold(self, state: Any, event: Event[Any]) -> tuple[Any, Exception | None]:
        try:
            function = self.registry.functions[type(event.data)]
            return fold_context().run(function, state, event), None
        except self.refuses as error:
            return None, error
        except Exception as error:  # the handler under check may raise anything
            raise self._broken_rule_error(
                event,
                "total",
                f"it raised {type(error).__name__}: {error} (for what is raised on purpose: "
                f"refuses={type(error).__name__})",
                state,
            ) from error

    def _check_untouched(
        self, state: Any, kept: _SlicedState, event: Event[Any], body: bytes
    ) -> None:
        now = self._slice(state)
        if now is None or now.digest != kept.digest:
            where = difference(self.states.load(kept.slices), state) or "it cannot be recorded now"
            raise self._broken_rule_error(
                event, "pure", f"it changed the old state: {_before_and_after(where)}"
            )
        if self.registry.codec.encode(event) != body:
            (before,) = self._decode(body, event.seq)
            where = difference(before, event) or "its bytes differ"
            raise self._broken_rule_error(
                event, "pure", f"it changed the event: {_before_and_after(where)}"
            )

    def _check_lasting(self, new: Any, event: Event[Any]) -> _SlicedState:
        """The new state in slices, after a check that loading gives the exact state back."""
        wanted = self.registry.state_type
        wanted = typing.get_origin(wanted) or wanted
        if isinstance(wanted, type) and not isinstance(new, wanted):
            hint = ": does it lack a return?" if new is None else ""
            raise self._broken_rule_error(
                event, "total", f"it returned {shorten(new, 80)}, no {wanted.__name__}{hint}"
            )
        kept = self._slice(new)
        if kept is None:
            raise self._broken_rule_error(
                event, "lasting", f"a snapshot cannot carry {shorten(new)}"
            )
        try:
            loaded = self.states.load(kept.slices)
        except (ValueError, TypeError) as error:
            raise self._broken_rule_error(
                event,
                "lasting",
                f"a snapshot of the new state cannot be read again: {error}. Narrow the payload's "
                "types (msgspec.Meta: ge, le, ...) so that no such state comes about",
            ) from error
        where = difference(new, loaded)
        if where is not None:
            raise self._broken_rule_error(
                event,
                "lasting",
                "the new state is another one after a snapshot: "
                + where.replace(" in one", " before").replace(" in the other", " after"),
            )
        return kept

    def _check_same(self, after: _SlicedState, other: Any, event: Event[Any], what: str) -> None:
        found = self._slice(other)
        if found is None or found.digest != after.digest:
            where = difference(self.states.load(after.slices), other)
            raise self._broken_rule_error(
                event, "deterministic", f"{what}: {where or 'it cannot be recorded'}"
            )

    def _slice(self, state: Any) -> _SlicedState | None:
        """The digest and slices of a state, `None` for a state that MessagePack cannot carry."""
        cut = self.states.slices(state)
        try:
            slices = list(cut)
        except (TypeError, NotImplementedError, ValueError, OverflowError, AttributeError):
            return None
        return _SlicedState(cut.digest, slices)

    def compare_elsewhere(self, sources: list[Source], seed: int) -> None:
        """Compare the outcomes of every run with those of an interpreter under hash seed `seed`.

        Raises `HandlerCheckError` for the first event with another outcome.
        """

        def fold(cases: list[Case]) -> list[Fold]:
            return fold_in_other_interpreter(
                sources,
                cases,
                hash_seed=seed,
                time_zone=_ZONES[seed % len(_ZONES)],
                timeout=_PATIENCE,
            )

        folds = fold([run.case_up_to(len(run.bodies)) for run in self.runs])
        for run, there in zip(self.runs, folds, strict=True):
            for seq, outcome in enumerate(run.outcomes, 1):
                if there.digests[seq] != outcome:
                    (again,) = fold([run.case_up_to(seq, wants_state=True)])
                    raise self._broken_rule_error(
                        run.events[seq - 1],
                        "deterministic",
                        f"under another hash seed ({seed}) and time zone it gives another state: "
                        f"{self._describe_difference(run, seq, again)}. Does it go by the order of "
                        "a set or a persistent map (sort it), or by local time?",
                    )

    def _describe_difference(self, run: _Run, seq: int, there: Fold) -> str:
        """The first difference between the states after an event here and there, in words."""
        if there.digests[seq].startswith("!") or there.state is None:
            return f"{there.digests[seq].lstrip('!')} was raised there"
        state = self.states.load(run.start)
        for number, body in enumerate(run.bodies[:seq], 1):
            for part in self.registry.upcast(self._decode(body, number)):
                folded, refusal = self._fold(state, part)
                state = state if refusal is not None else folded
        return difference(state, self.states.load(there.state)) or "in no part that can be named"

    def _broken_rule_error(
        self, event: Event[Any], check: str, what: str, *on: Any
    ) -> HandlerCheckError:
        kind = type(event.data)
        who = next(
            item
            for item in self.registry.items
            if kind is (item.types()[1] if isinstance(item, Handler) else item.old_type())
        )
        state = f"\n  state: {shorten(on[0])}" if on else ""
        return HandlerCheckError(
            f"{who!r} is not {check}: {what}\n  event: {shorten(event)}{state}",
            check=check,
            operation=operation_name(kind),
        )


def _before_and_after(where: str) -> str:
    return where.replace(" in one", " before").replace(" in the other", " after")
