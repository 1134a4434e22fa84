"""The append path: from payloads to a queued group, and from a durable commit to a new state.

Theory of operation
-------------------
A store holds two states. The *head* is folded from every submitted event. A new event is folded on
the head before it is written, and so on top of the events still on the way to the disk.
The *published* state is folded from durable events only. Handlers are pure and states are
immutable, so both states are references, and one assignment takes back all that a refused
commit had folded.

`submit` runs on the event loop without a pause from its first check to the queue. Therefore numbers
are given out, events folded and records written in one order. Steps that can fail come first
(`folding.py`). Only then does anything change.

A durable commit has three effects, in this order: the state is published, subscribers receive the
events, receipts are resolved. Snapshots are taken of the published state (`snapshot/keeper.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypedDict, TypeVar

from eventstore.arguments import argument_error
from eventstore.clock import Clock
from eventstore.config import Durability
from eventstore.cursor import Cursor, checksum_at
from eventstore.intents.doubt import Doubt
from eventstore.intents.intending import settle
from eventstore.intents.live_intents import LiveIntents
from eventstore.intents.time_limits import UNKNOWN, Terms
from eventstore.keys.decision import Unit, keys_in_flight
from eventstore.log.base import Log, Submission
from eventstore.log.call_guard import FOLDING, IDLE, INTERRUPTED, QUEUEING, CallGuard
from eventstore.log.levels import SYNCED
from eventstore.model.codec import array_header
from eventstore.model.operation import Event, KeyTexts, Operation, Payload, Receipt
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.model.user_code import fold_context
from eventstore.model.value_types import copier
from eventstore.open_store.folding import encode_and_fold
from eventstore.open_store.keyed_appends import KeyedAppends
from eventstore.open_store.parts import StoreParts
from eventstore.operator_log import operator_log
from eventstore.reading.subscriptions import Subscriptions

__all__ = ["AppendOptions", "AppendPath"]

_logger = operator_log("eventstore.store")

StateT = TypeVar("StateT")


class AppendOptions(TypedDict, total=False):
    """The arguments of `append` and `submit` beside the operations."""

    key: str | None
    metadata: Mapping[str, Any] | None
    expected_seq: int | None
    durability: Durability | str | None
    essential: bool | None


class AppendPath(Generic[StateT]):
    """The head, the published state and all between the two, of one open store.

    Attributes:
        head: The state folded from every submitted event.
        state: The published state.
        copy: Copier of a mutable state, `None` for an immutable type.
        counts: The committed events by payload class. Never changed, but replaced at once.
        log: The log of the store.
        keyed: The appends with identity keys.
        keeper: The keeper of snapshots, `None` in a store without snapshots.
        subscriptions: The subscriptions, told of durable events.
    """

    log: Log

    def __init__(
        self, registry: HandlerRegistry[StateT], clock: Clock, parts: StoreParts[StateT]
    ) -> None:
        self.registry = registry
        self.clock = clock
        self.head, _, self._latest, opened = parts.at
        self._behind = False  # whether the clock is behind the latest event
        self._checksum = parts.checksum
        self._last: Submission | None = None
        self.state = self.head
        self.intents = LiveIntents(
            parts.path, opened, inherited_to=parts.inherited_to, ids=parts.order_ids(clock)
        )
        self._counted: tuple[int, dict[type[Any], int]] = parts.at.seq, {}
        self.subscriptions = Subscriptions()
        self.log = parts.make_log(self._committed, self._reset)
        self._keys = parts.keys
        try:
            self.keyed = KeyedAppends(registry, parts.keys, self.log, clock)
            self.copy = copier(registry.state_type)
            self.keeper = parts.make_keeper(self.log, clock, self._published)
        except BaseException:  # nobody has a store to close
            self.log.abandon()
            raise

    def submit(
        self,
        payloads: Sequence[Operation],
        key: KeyTexts,
        metadata: Any,
        expected: int | None,
        durability: Durability | str | None,
        essential: bool | None = None,
        terms: Terms = UNKNOWN,
        units: Sequence[Unit] | None = None,
    ) -> Receipt:
        """Queue `payloads` as one atomic group, in the turn of the loop that found room.

        `expected` is the `expected_seq` of the caller, `durability` and `essential` are the wishes
        of the caller. `units` are the identity keys of a group that was found to be new in the same
        turn. `None` stands for a group that may have keys and be known. Raises the errors of
        `EventStore.append` that come before the write.
        """
        registry, appender = self.registry, self.log.appender
        keyed, leveled = registry.traits.keyed, registry.traits.leveled
        level = appender.levels.default
        if durability is not None or (leveled and not leveled.isdisjoint(map(type, payloads))):
            level = self._level(payloads, durability)
        if units is None and (
            key is not None or (keyed and not keyed.isdisjoint(map(type, payloads)))
        ):
            asked = durability, essential, terms
            sync = self.log.sync if level == SYNCED else None
            return self.keyed.submit(payloads, key, metadata, expected, *asked, self.submit, sync)
        guard = appender.guard
        if guard.phase:  # a call was cut off while this append waited for room
            guard.check()
        if expected is not None:  # events may have come in while this append waited for room
            appender.numbers.expect(expected)
        if appender.room.reserved is not None or essential is not None:
            self._check_space(payloads, essential)
        try:
            guard.phase = FOLDING
            first, time = appender.numbers.head + 1, self.clock.time_ns()
            if registry.marked and not registry.marked.isdisjoint(map(type, payloads)):
                events, body, state = fold_context().run(
                    self._fold_marked, guard, terms, first, time, payloads, key, metadata
                )
            else:
                events, body, state = fold_context().run(
                    encode_and_fold, registry, self.head, first, time, payloads, key, metadata
                )
                guard.phase = QUEUEING
            if units:
                canonical = registry.codec.canonical
                taken = keys_in_flight(units, events, self._keys.hasher, canonical)
                self._keys.submitted(first, taken)
            self.head = state
            receipt = appender.submit(
                first, body, len(events), time, level, tuple(events), state, self.copy
            )
            if units:
                self._keys.queued(first, receipt)
            guard.phase = IDLE
        except BaseException:  # an interruption included
            guard.phase = INTERRUPTED if guard.phase >= QUEUEING else IDLE
            guard.settle_soon()
            raise
        if registry.marked:
            self.intents.note(events, receipt)
            if terms.opened is not None:
                terms.opened(events)
        return receipt

    def _check_space(self, payloads: Sequence[Operation], essential: bool | None) -> None:
        """Refuse a group that is not essential while space is kept for essential events.

        An event that settles an intent tells of a deed, and so is essential without a mark. Raises
        `LowSpaceError`, and `ConfigError` for an `essential` that is no bool.
        """
        if essential is None:
            found = [self.registry.traits.get(type(payload)) for payload in payloads]
            essential = any(
                traits is not None and (traits.essential or traits.settles is not None)
                for traits in found
            )
        elif type(essential) is not bool:
            raise argument_error("essential", essential, "expected True, False or None")
        reserved = self.log.appender.room.reserved
        if reserved is not None and not essential:
            raise reserved()

    def _level(self, payloads: Sequence[Operation], durability: Durability | str | None) -> int:
        """Return the level of a group: what its call asks for, or else its operations.

        An intent is on stable storage before anybody acts on the intent, whatever is asked for.
        """
        levels = self.log.appender.levels
        found = [self.registry.traits.get(type(payload)) for payload in payloads]
        if durability is not None:
            level = levels.asked(durability)
        else:
            level = levels.of_group(one.durability if one else None for one in found)
        intended = any(traits is not None and traits.intent is not None for traits in found)
        return SYNCED if intended else level

    def _fold_marked(
        self,
        guard: CallGuard,
        terms: Terms,
        first: int,
        time: int,
        payloads: Sequence[Operation],
        key: KeyTexts,
        metadata: Any,
    ) -> tuple[list[Event[Any]], bytes, StateT]:
        """Mark and fold a group that may open or settle intents: see `encode_and_fold`.

        The intents of the head are those after the group then. That is a change to be repaired.
        """
        if self._keys.remember != (None, None):  # else a known key was found before
            self.intents.refuse_known(payloads, key)
        payloads, marks = self.intents.mark(payloads, first, terms)
        events, body, state = encode_and_fold(
            self.registry, self.head, first, time, payloads, key, metadata, marks
        )
        intents = self.intents.head.after(events)
        guard.phase = QUEUEING
        self.intents.submitted(intents, first + len(events) - 1)
        return events, body, state

    async def make_durable(self) -> None:
        """Put every acknowledged event on stable storage, or into a snapshot where there is no log.

        Raises what `EventStore.snapshot` raises.
        """
        if self.keeper is not None and not self.keeper.logged:
            await self.keeper.snapshot()
        else:
            await self.log.sync()

    def is_open(self, name: str) -> bool:
        """Tell whether no durable event has settled the intent `name`."""
        return name in self.intents.published

    async def settle(
        self, doubt: Doubt[Any], settled: Mapping[str, Any], also: tuple[Payload, ...]
    ) -> Receipt:
        """Settle a doubt: see `Doubt.settle`."""
        return await settle(self, doubt, settled, also)

    @property
    def counts(self) -> Mapping[type[Any], int]:
        """The committed events by payload class."""
        return self._counted[1]

    def _committed(self, entries: list[Submission]) -> None:
        seq, counts = self._counted
        fresh = counts.copy() if entries[-1].seq > seq else None  # else told once more
        for entry in entries:
            events = entry.events or ()
            if fresh is not None:
                for event in events:
                    kind = event.data.__class__
                    fresh[kind] = fresh.get(kind, 0) + 1
            time = events[0].time
            if time < self._latest or self._behind:
                self._note_time(events[0])
            else:
                self._latest = time
            if self.subscriptions.active:
                self.subscriptions.push(events, entry.body)
        self._last = last = entries[-1]
        if fresh is not None:
            self._counted = last.seq, fresh  # at once: an interruption counts no event twice
        self.state = last.state
        if self._keys.remember.age is not None:
            self._keys.latest = max(self._keys.latest, self._latest)
        if self._keys.groups:
            for entry in entries:
                self._keys.committed(entry.first_seq)
        if self.registry.marked:
            self.intents.committed(last.seq)
        if self.keeper is not None:
            self.keeper.changed(last.seq)

    @property
    def cursor(self) -> Cursor:
        """The place behind the last durable event."""
        self.log.guard.settle()  # an interruption may stand between event and number
        last, checksum = self._last, self._checksum
        if last is not None:
            count = last.seq - last.first_seq + 1
            checksum = checksum_at(array_header(count) + last.body, count - 1)
        return self.log.lineage.cursor(self.log.durable_seq, checksum)

    def _note_time(self, event: Event[Any]) -> None:
        """Tell of a clock behind the latest event, and of the end once the clock is not."""
        if event.time < self._latest:
            self._behind = True
            seconds = (self._latest - event.time) / 1e9
            self.log.warnings.begin(
                "clock",
                f"the clock stepped back: event {event.seq} is {seconds:.3f} s before the latest "
                "time of an earlier event. Numbers give the order of events, and times do not",
                _logger,
            )
        else:
            self._behind, self._latest = False, event.time
            self.log.warnings.end("clock", f"the clock is past event {event.seq} again")

    def _published(self) -> StateAt[StateT]:
        self.log.appender.guard.settle()  # an interruption may stand between state and number
        return StateAt(self.state, self.log.durable_seq, self._latest, self.intents.published)

    def _reset(self, last: Submission | None, receipt: Receipt | None) -> None:
        self.head = self.state if last is None else last.state
        left = self.log.durable_seq if last is None else last.seq
        self.intents.reset(left)
        if self._keys.groups:
            self._keys.dropped_after(left)
            if receipt is not None:  # an interruption may have cut off `queued`
                self._keys.queued(receipt.first_seq, receipt)
