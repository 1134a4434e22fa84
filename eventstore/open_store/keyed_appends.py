"""Append operations with identity keys: write the new ones, and answer for the known ones.

Theory of operation
-------------------
An append with keys is decided from memory (`keys/decision.py`), in the turn of the loop that queues
the new operations. So two appends of one key never both write, also between two `submit`s of one
turn.

A duplicate of a key in flight gets a receipt that follows the first receipt: the same outcome, the
same error. A duplicate of a durable key gets a resolved receipt. Where the disk has to be asked,
the receipt is pending. Detached work looks the key up, decides again and resolves the receipt. The
numbers of such a receipt are not known before. Meanwhile, the group holds room in the queue.

Keys in flight belong to queued groups. A refused commit takes back the keys with the events.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from eventstore.arguments import argument_error
from eventstore.clock import Clock
from eventstore.config import Durability
from eventstore.detached_work import DetachedWork
from eventstore.errors import HistoryUnavailableError, KeyConflictError
from eventstore.intents.time_limits import Terms
from eventstore.keys.decision import (
    Decision,
    Differences,
    Evidence,
    Match,
    Unit,
    compare,
    decide,
    partial_error,
    units_of,
)
from eventstore.keys.fingerprint_loading import FingerprintLoading
from eventstore.keys.format import Row
from eventstore.keys.index import KeyIndex, find_in_runs
from eventstore.keys.key_text import key_text
from eventstore.log.base import Log
from eventstore.log.format import MAX_SEQ
from eventstore.model.operation import Event, KeyTexts, Operation, Outcome, Receipt, operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.model.user_code import fold_context
from eventstore.operator_log import operator_log
from eventstore.reading.arguments import operation_names
from eventstore.reading.chunk_decoding import decode_chunk
from eventstore.recovery_and_stats import StoreStats

__all__ = ["KeyedAppends"]

_logger = operator_log("eventstore.store")
_FEW_EVENTS = 16
"""Events read at first to find those of one append. Most appends have fewer."""


class Queue(Protocol):
    """Queues a group with the keys of the events. The group takes the keys of `units`."""

    def __call__(
        self,
        payloads: Sequence[Operation],
        key: KeyTexts,
        metadata: Any,
        expected: int | None,
        durability: Durability | str | None,
        essential: bool | None,
        terms: Terms,
        units: Sequence[Unit],
    ) -> Receipt: ...


class _Request(msgspec.Struct, eq=False):
    """An append with keys, from the call to the decision."""

    payloads: Sequence[Operation]
    key: str | None
    metadata: Any
    expected: int | None
    durability: Durability | str | None
    essential: bool | None
    terms: Terms
    queue: Queue
    sync: Callable[[], Awaitable[None]] | None
    units: Sequence[Unit]
    evidence: dict[int, Evidence] = msgspec.field(default_factory=dict)


class KeyedAppends:
    """The appends with keys of one open store. Each call brings the function for queueing.

    The function is a method of the append path. Holding the method would keep a forgotten store
    alive.
    """

    def __init__(
        self, registry: HandlerRegistry[Any], index: KeyIndex, log: Log, clock: Clock
    ) -> None:
        self.index = index
        self._registry = registry
        self._log = log
        self._clock = clock
        self._loop = asyncio.get_running_loop()  # `submit` may be called while no loop runs
        self._looking_up: set[DetachedWork[None]] = set()
        self._prints = FingerprintLoading(index, log)

    def submit(
        self,
        payloads: Sequence[Operation],
        key: KeyTexts,
        metadata: Any,
        expected: int | None,
        durability: Durability | str | None,
        essential: bool | None,
        terms: Terms,
        queue: Queue,
        sync: Callable[[], Awaitable[None]] | None,
    ) -> Receipt:
        """Queue the new operations of a group, in the turn of the loop that found room.

        Whoever awaits the receipt of a duplicate waits for `sync`, too.
        """
        registry, hasher = self._registry, self.index.hasher

        def units(payloads: Sequence[Operation]) -> list[Unit]:
            return fold_context().run(units_of, hasher, registry.traits, payloads, key)

        found = self._log.appender.guard.run(units, payloads)
        assert not isinstance(key, list)  # only this class passes a list on
        request = _Request(
            payloads, key, metadata, expected, durability, essential, terms, queue, sync, found
        )
        queued = self._queued(request)
        return self._looked_up(request, queued) if isinstance(queued, Decision) else queued

    async def settled(self) -> None:
        """Wait until every look-up of a key has ended."""
        while self._looking_up:
            await next(iter(self._looking_up)).settled()

    def add_key_stats(self, stats: StoreStats) -> StoreStats:
        """Add the number of keys, and the age of the oldest one, to `stats`."""
        events, age = self.index.remember
        since = 1 if events is None else max(1, self._log.head_seq + 1 - events)
        oldest = 0 if age is None else max(0, self.index.latest_by(self._clock) - age)
        return msgspec.structs.replace(
            stats, keys=self.index.known, keys_since=since, keys_since_time=oldest
        )

    # ---- deciding --------------------------------------------------------------------------

    def _decide(self, request: _Request) -> Decision:
        index, guard = self.index, self._log.appender.guard
        if guard.phase:  # a call was cut off since the append began
            guard.check()

        canonical = self._registry.codec.canonical

        def decision(units: Sequence[Unit]) -> Decision:
            return decide(index, units, request.evidence, self._decoded, canonical, self._forgets)

        return guard.run(decision, request.units)

    def _forgets(self, row: Row) -> bool:
        latest = self.index.latest_by(self._clock)
        return self.index.remember.forgets(row, self._log.head_seq + 1, latest)

    def _decoded(self, payloads: Sequence[Operation]) -> list[Any]:
        """Return payloads as the log will give them back. Raises `InvalidPayloadError`."""
        events, _ = fold_context().run(self._registry.record, 1, 0, payloads, None, None)
        return [event.data for event in events]

    def _looked_up(self, request: _Request, decision: Decision) -> Receipt:
        """Return the pending receipt of a group with keys to be looked up."""
        outcome = Outcome(loop=self._loop)
        receipt, room = Receipt(0, 0, 0, outcome), self._log.appender.room

        def ended(_: BaseException | None) -> None:
            self._looking_up.discard(work)
            room.release(work)

        looking_up = self._look_up_and_go_on(request, decision, receipt)
        work = DetachedWork(looking_up, ended, self._loop)
        self._looking_up.add(work)
        room.hold(work, len(request.payloads))
        return receipt

    def _duplicate(self, request: _Request, decision: Decision) -> Receipt | None:
        """Return the receipt of a group of known operations, `None` for any other group.

        Raises `PartialDuplicateError` for a group with known operations and one without a key.
        """
        known = decision.known
        if not known:
            return None
        if request.key is None:
            keyed = {place for unit in request.units for place in unit.places}
            if len(keyed) < len(request.payloads):
                without = set(range(len(request.payloads))) - keyed
                raise partial_error(known, request.payloads, min(without))
        if decision.new:
            return None
        return _receipt([match for _, match in known], decision.differences, request.sync)

    def _queued(self, request: _Request) -> Receipt | Decision:
        """Decide, and queue the new operations, in the turn of the loop that found room.

        Returns the decision alone where keys have to be looked up first.
        """
        try:
            decision = self._decide(request)
            if decision.missing:
                return decision
            known = self._duplicate(request, decision)
        except KeyConflictError:
            if request.expected is not None:  # only a duplicate wins over `expected_seq`
                self._log.appender.numbers.expect(request.expected)
            raise
        if known is not None:
            return known
        if request.key is not None:
            payloads: Sequence[Operation] = request.payloads
            texts: KeyTexts = request.units[0].text
        else:
            by_place = {place: unit.text for unit in decision.new for place in unit.places}
            left_out = {place for unit, _ in decision.known for place in unit.places}
            places = [
                place
                for place in range(len(request.payloads))
                if place not in left_out and place not in decision.again
            ]
            payloads = [request.payloads[place] for place in places]
            texts = [by_place.get(place) for place in places]
        room = self._log.appender.room
        if room.failure is not None:  # since the look-up began. A closing waits for the look-ups
            room.ensure_open()
        receipt = request.queue(
            payloads,
            texts,
            request.metadata,
            request.expected,
            request.durability,
            request.essential,
            request.terms,
            decision.new,
        )
        receipt.differences = decision.differences
        return receipt

    # ---- looking up ------------------------------------------------------------------------

    async def _look_up_and_go_on(
        self, request: _Request, decision: Decision, receipt: Receipt
    ) -> None:
        """Decide with what the disk says, and give `receipt` the outcome.

        A run may be written during the look-up. Then keys are looked up once more.
        """
        found: Receipt | Decision = decision
        try:
            while isinstance(found, Decision):
                await self._look_up(request, found.missing)
                found = self._queued(request)
            receipt.become(found)
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for the receipt
            receipt.resolve(error)
            if not receipt.retrieved:
                _logger.error("%s: a group was not written: %s", self._log.path, error)

    async def _look_up(self, request: _Request, missing: Mapping[int, Unit]) -> None:
        self._prints.begin()
        index = self.index
        generation, runs = index.generation, index.runs
        rows = await self._log.run(find_in_runs, runs, list(missing), index.limit)
        for key_hash, unit in missing.items():
            row = index.in_memory(key_hash) or rows[key_hash]
            if row is None or row.digest == self._digest(unit):
                request.evidence[key_hash] = Evidence(generation, row)
            else:
                request.evidence[key_hash] = await self._compared(generation, row, unit)

    def _digest(self, unit: Unit) -> int:
        if unit.digest < 0:
            payloads = self._log.appender.guard.run(self._decoded, unit.payloads)
            canonical = self._registry.codec.canonical
            unit.digest = self.index.hasher.digest(unit.text, map(canonical, payloads))
        return unit.digest

    async def _compared(self, generation: int, row: Row, unit: Unit) -> Evidence:
        """Read the event of a row, and compare the payloads under the key."""
        recorded = await self.recorded(row, unit.text)
        if not recorded:
            gone: Event[Any] = Event(row.seq, row.time, None, unit.text)
            return Evidence(generation, row, row.seq, gone, {})
        if not unit.whole:
            name = operation_name(type(unit.payloads[0]))
            seq = next((one.seq for one in recorded if one.operation == name), row.seq)
            recorded = [event for event in recorded if event.seq == seq]
        given = self._log.appender.guard.run(self._decoded, unit.payloads)
        differences = compare([event.data for event in recorded], given)
        return Evidence(generation, row, recorded[-1].seq, recorded[0], differences)

    async def recorded(self, row: Row, text: str) -> list[Event[Any]]:
        """Read the events under the key of a row, none where they are gone.

        An event with another key stands alone: the hashes of two keys are equal.
        """
        unit: list[Event[Any]] = []
        for most in (_FEW_EVENTS, MAX_SEQ):
            unit = await self._unit(row.seq, most)
            if len(unit) < most:
                break
        return unit if unit and unit[0].key == text else unit[:1]

    async def _unit(self, first: int, most: int) -> list[Event[Any]]:
        """Read the events of one key and time from event `first` on, about `most` of them."""
        unit: list[Event[Any]] = []
        end = min(first + most, self._log.durable_seq + 1)
        decode = functools.partial(decode_chunk, self._registry)
        with contextlib.suppress(HistoryUnavailableError):
            async for events in self._log.read(first, end, decode):
                for event in events:
                    if unit and (event.key != unit[0].key or event.time != unit[0].time):
                        return unit
                    unit.append(event)
        return unit

    async def find(self, key: Any, operation: type[Operation] | str | None) -> Event[Any] | None:
        """Return the oldest durable event with a key, of one operation or any.

        The data is `None` where the event itself is gone.
        """
        names = operation_names(operation, self._registry)
        text = key_text(key, "find")
        if text is None:
            raise argument_error("key", key, "expected the text of a key, or its parts")
        index, hash_of = self.index, self.index.hasher.hash
        hashes = {found: name for name in names if index.may_know(found := hash_of(name, text))}
        if not hashes:  # an unknown key costs no thread
            return None
        known = []
        rows = {key_hash: index.in_memory(key_hash) for key_hash in hashes}
        missing = [key_hash for key_hash, row in rows.items() if row is None]
        if missing:
            self._prints.begin()
            rows |= await self._log.run(find_in_runs, index.runs, missing, index.limit)
        for key_hash, name in hashes.items():
            row = index.in_memory(key_hash) or rows[key_hash]
            if row is not None and not self._forgets(row):
                known.append((row.seq, name, row))
        for _, name, row in sorted(known):
            recorded = await self.recorded(row, text)
            if not recorded:
                return Event(row.seq, row.time, None, text)
            for event in recorded:
                if event.key == text and (operation is None or event.operation == name):
                    return event
        return None


def _receipt(
    matches: Sequence[Match],
    differences: Differences | None,
    sync: Callable[[], Awaitable[None]] | None,
) -> Receipt:
    """Return the receipt of a group recorded before, pending for a key in flight."""
    receipt = Receipt(
        min([match.row.seq for match in matches]),
        max([match.last_seq for match in matches]),
        matches[0].row.time,
        duplicate=True,
        differences=differences,
        _sync=sync,
    )
    flying = [match.first for match in matches if match.first is not None]
    if flying:
        newest = max(flying, key=lambda one: one.row.seq).receipt
        assert newest is not None  # noted in the turn of the queueing
        receipt.follow(newest)
    else:
        receipt.resolve()
    return receipt
