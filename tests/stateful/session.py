"""One store through its lives, on a simulated disk, and its duties: the machine's hands.

Theory of operation
-------------------
A `Session` drives a real `EventStore`, and keeps a plain model beside the store. The model is
an `oracle.Record`: every event in the order of submission, the states folded from the events, the
number of published events, and the number that must survive a power cut. The session runs on one
virtual-time loop, a step at a time. Between steps nothing moves.

The session believes only three facts from outside of the store: the submitted events
(`intended`), the receipts (`acknowledged`), and the calls made to fail (`trouble`). An error
is right only where a failed call may cause the error. Any other error is a broken promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from eventstore import (
    Durability,
    Event,
    EventStore,
    EventStoreError,
    IntentSettled,
    Receipt,
    SimulatedClock,
    StoreClosedError,
    StoreConfig,
    StoreFullError,
    StoreNotFoundError,
    StoreOverloadedError,
)
from eventstore.model.intent_settled import RESERVED
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import VirtualTimeLoop
from tests.stateful.faults import Crash, Trouble
from tests.stateful.profile import PATIENCE
from tests.torture.crash_points import Crashes, Point
from tests.torture.failing_calls import Failure, expected
from tests.torture.ledger import (
    Deposit,
    Fill,
    Ledger,
    Order,
    Transfer,
    ledger_registry,
    number_of,
)
from tests.torture.misuse import MisusedClock
from tests.torture.oracle import (
    Claim,
    OracleError,
    Record,
    Served,
    history_as_claimed,
    open_after,
    recovered_as_claimed,
    state_as_claimed,
)
from tests.torture.promised import Promised

__all__ = ["PATH", "Session"]

PATH = "ledger"
START = 1_700_000_000_000_000_000
_EXTREMES = 13  # all, nothing, and the mixtures in which programs most often go wrong
_FURTHEST = 23  # calls from one glimpse of a crash to the next, at most
_READERS = ledger_registry()

T = TypeVar("T")


class Session:
    """One store, from the first opening on."""

    def __init__(self, seed: int) -> None:
        self.loop = VirtualTimeLoop(patience=PATIENCE)
        self.clock = MisusedClock(START)
        self.context = decimal.getcontext()
        self.called_by_handler: Callable[[], None] | None = None
        self.in_use_while_closing = False
        self.disk = SimulatedDisk(seed)
        self.config = StoreConfig()
        self._told_by = StoreConfig()  # of the last store that told other processes of events
        self.record = Record()
        self.store: EventStore[Ledger] | None = None
        self.acknowledged = 0
        self.receipts: list[tuple[int, Receipt]] = []
        self.background: list[asyncio.Task[Any]] = []
        self.refused: list[str] = []
        self._registry = ledger_registry(self._folded)
        self._intended: dict[int, tuple[Any, str | None, Any]] = {}
        self._claim = self.record.claim()
        self.promised = Promised()
        self._checks = -1
        self.trouble = self._new_trouble()

    # ---- running ---------------------------------------------------------------------------

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        """Make a step. Then nothing moves until the next one."""
        with decimal.localcontext(self.context):
            made = self.loop.run_until_complete(step)
        for context in self.loop.errors:
            raise AssertionError(context["message"]) from context.get("exception")
        return made

    def end(self) -> None:
        """Close and release everything."""
        self.trouble.failing = self.trouble.crash = None
        self.run(self._end_process())
        self.loop.close()

    @property
    def open_store(self) -> EventStore[Ledger]:
        assert self.store is not None
        return self.store

    @property
    def failed(self) -> bool:
        """Whether the store takes no more events until reopened."""
        return self.store is not None and self.store.stats().failed

    # ---- the model -------------------------------------------------------------------------

    def claim(self) -> Claim:
        """Return the duty of the disk at this instant, also in the middle of a call."""
        store, record = self.store, self.record
        if store is None:
            return self._claim
        if store.seq != record.published:
            self.promised.publish(record, self.config, store.seq, self.loop.time())
        if not self.failed:
            self.promised.flush(record, self.config, self.loop.time())
        return record.claim()

    def _folded(self, event: Event[Any]) -> None:
        if self.store is None:
            return  # recovery folds events that were recorded before
        call, self.called_by_handler = self.called_by_handler, None
        if call is not None:
            call()
        self.record.observe(event)
        payload, key, metadata = self._intended[number_of(event.data)]
        if not _is_as_intended(event, payload, key, metadata):
            raise OracleError(f"{payload} with {key!r} and {metadata!r} was taken for {event}")
        if event.time != self.clock.present_ns():
            raise OracleError(f"{event} was given another time than {self.clock.present_ns()}")

    def _new_trouble(self) -> Trouble:
        trouble = Trouble(
            lambda: self.disk, self.claim, lambda: self.store is None, self._tells_unsynced
        )
        self.disk.add_rule(trouble)
        return trouble

    def blame(self, error: EventStoreError) -> None:
        """Accept an error that a failed call explains, and no other."""
        if self.in_use_while_closing and isinstance(error, StoreClosedError):
            return
        for call, failing, opening in self.trouble.fired:
            fault = failing.fault
            code = 0 if fault.short is not None else fault.errno
            failure = Failure(0, 0, code, fault.effect, failing.forever)
            if expected(failure, call, error, opening):
                return
        raise OracleError(
            f"told {type(error).__name__}: {error}, and what failed was "
            f"{[str(call) for call, _, _ in self.trouble.fired] or 'nothing'}"
        ) from error

    async def attempt(self, made: Awaitable[T], group: int | None = None) -> T | None:
        """Await a call that a failed call may have spoilt. Returns `None` where spoilt."""
        try:
            return await made
        except EventStoreError as error:
            self.blame(error)
            if isinstance(error, StoreFullError) and group is not None:
                self.record.refuse(group)
            return None

    # ---- events ----------------------------------------------------------------------------

    def group(
        self, payloads: list[Any], key: str | None = None, metadata: Any = None
    ) -> tuple[int, list[Any]]:
        """Return a group about to be submitted. Each payload gets a number of its own."""
        group, numbers = self.record.new_group(len(payloads))
        numbered = [
            payload.__class__(**{**_fields(payload), "number": number})
            for payload, number in zip(payloads, numbers, strict=True)
        ]
        for payload in numbered:
            self._intended[payload.number] = (payload, _key_of(group, key), metadata)
        return group, numbered

    async def place(self, others: list[Any], *, intends: bool) -> None:
        """Open an intent, by `intend` or by `append`, with other operations in its group."""
        store = self.open_store
        group, numbered = self.group([Order(number=0, amount=3), *others])
        self.promised.ask(group, Durability.COMMIT)

        async def intended() -> None:
            async with store.intend(*numbered) as doubt:
                self.record.flushed = max(self.record.flushed, doubt.seq)
                if doubt in store.in_doubt or doubt.seq > store.seq:
                    raise OracleError(f"{doubt} is at work, and open to others")

        await self.attempt(intended() if intends else store.append(*numbered), group)

    async def settle(self, which: int, *, by_value: bool, times: int) -> None:
        """Settle a doubt, perhaps side by side: at most one settlement is written."""
        store, doubts = self.open_store, self.open_store.in_doubt
        if not doubts:
            return
        doubt = doubts[which % len(doubts)]
        if by_value:
            group, numbered = self.group([Fill(number=0, name=doubt.id, amount=1)])
            await self.attempt(store.append(*numbered), group)
            return
        settled = []
        for _ in range(times):
            group, (number,) = self.record.new_group(1)
            note, made = str(number), doubt.operation
            payload = IntentSettled(id=doubt.id, outcome="accepted", note=note, intended=made)
            self._intended[number] = (payload, None, None)
            settled.append(self.attempt(doubt.settle("accepted", note=note), group))
        told = await asyncio.gather(*settled)
        if len({receipt.seq for receipt in told if receipt is not None}) > 1:
            raise OracleError(f"{doubt} was settled by several events: {told}")

    async def append(
        self,
        payloads: list[Any],
        *,
        named: bool,
        key: str | None,
        metadata: Any,
        durability: Durability | None = None,
    ) -> None:
        """Append a group, as objects or by name and mapping, and check the receipt."""
        group, numbered = self.group(payloads, key, metadata)
        operations = [_by_name(payload) if named else payload for payload in numbered]
        if named and len(operations) == 1:
            operations = list(operations[0])
        store, asked = self.open_store, self._asked(group, durability)
        append = store.append(*operations, key=_key_of(group, key), metadata=metadata, **asked)
        receipt = await self.attempt(append, group)
        if receipt is not None:
            self._acknowledge(group, receipt)
            if receipt.seq > store.seq:
                raise OracleError(f"event {receipt.seq} is acknowledged and not published")
            if receipt.seq - receipt.first_seq + 1 != len(payloads):
                raise OracleError(f"{len(payloads)} events were acknowledged as {receipt}")

    async def append_again(self, which: int) -> None:
        """Append a group with a key again, durable or in flight: nothing is written."""
        store, record = self.open_store, self.record
        keyed = [event for event, _ in record.submitted if event.key is not None]
        if not keyed:
            return
        key = keyed[which % len(keyed)].key
        group = [event for event in keyed if event.key == key]
        count = len(record.submitted)
        receipt = await self.attempt(store.append(*(event.data for event in group), key=key))
        if receipt is None:
            return
        if not receipt.duplicate or (receipt.first_seq, receipt.seq) != (
            group[0].seq,
            group[-1].seq,
        ):
            raise OracleError(f"the group of {key!r}, events {group}, was written again: {receipt}")
        if len(record.submitted) != count:
            raise OracleError(f"events came with a duplicate of {key!r}")
        found = await self.attempt(store.find(str(key)))
        if found is not None and found != group[0] and found.data is not None:
            raise OracleError(f"{key!r} is found as {found}, and is {group[0]}")

    def _asked(self, group: int, durability: Durability | None) -> dict[str, Any]:
        """Return the argument that asks for a durability, and note the wish of the group."""
        if durability is None:
            return {}
        self.promised.ask(group, durability)
        return {"durability": durability}

    def submit(
        self,
        payloads: list[Any],
        key: str | None = None,
        durability: Durability | None = None,
    ) -> None:
        """Submit a group. The receipt is kept, to be awaited later or never."""
        group, numbered = self.group(payloads, key)
        asked = self._asked(group, durability)
        try:
            receipt = self.open_store.submit(*numbered, key=_key_of(group, key), **asked)
        except StoreOverloadedError as error:
            if not self.config.max_pending >= error.pending > self.config.max_pending - 6:
                raise OracleError(f"overloaded with {error.pending} of {error.limit}") from error
            self.record.refuse(group)
        except EventStoreError as error:
            self.blame(error)
        else:
            if self.record.submitted[receipt.seq - 1].group != group:
                raise OracleError(f"{receipt} is another group's number")
            self.receipts.append((group, receipt))

    def _acknowledge(self, group: int, receipt: Receipt) -> None:
        submitted = self.record.submitted[receipt.seq - 1]
        if submitted.group != group:
            raise OracleError(f"{receipt} is for {submitted}, not for group {group}")
        self.acknowledged = max(self.acknowledged, receipt.seq)

    # ---- after every step ------------------------------------------------------------------

    async def check(self) -> None:
        """Hold the running store against the model, and a power cut now against the claim.

        A cut in the middle of the last step is checked as well, if one was planned. The cuts are
        extremes. The first extreme loses all unsynced bytes, and each step has the next extreme.
        """
        store = self.store
        if store is None:
            return
        claim = self.claim()
        for group, receipt in self.receipts:
            if receipt.done and receipt.error is None:
                self.acknowledged = max(self.acknowledged, receipt.seq)
            elif receipt.done:
                assert isinstance(receipt.error, EventStoreError)
                self.blame(receipt.error)
                if isinstance(receipt.error, StoreFullError):
                    self.record.refuse(group)
        claim = self.claim()
        if not self.acknowledged <= store.seq <= claim.length:
            raise OracleError(
                f"{self.acknowledged} acknowledged, {store.seq} published, {claim.length} submitted"
            )
        if store.state != claim.states[store.seq]:
            raise OracleError(f"the state is not that of {store.seq} events: {store.state}")
        head = open_after(claim.submitted)
        opened = [name for name in open_after(claim.submitted[: store.seq]) if name in head]
        if [doubt.id for doubt in store.in_doubt] != opened:
            raise OracleError(f"{store.in_doubt} are told as open, not {opened}")
        self._checks += 1
        await self._check_cut(self.disk, claim)
        glimpse = self.trouble.glimpse
        if glimpse is None:
            self.trouble.glimpse = Crash(1 + self._checks * 7 % _FURTHEST)
        elif glimpse.disk is not None and glimpse.claim is not None:
            await self._check_cut(glimpse.disk, glimpse.claim)
            self.trouble.glimpse = None

    async def _check_cut(self, disk: SimulatedDisk, claim: Claim) -> None:
        """Check what a reader finds after a power cut, with another reader each time."""
        *_, cut = itertools.islice(disk.images(), 1 + self._checks % _EXTREMES)
        opening = EventStore.open(PATH, _READERS, disk=cut, clock=SimulatedClock(), read_only=True)
        try:
            async with opening as reader:
                state_as_claimed(Served.by(reader), claim, claim.after_power_cut)
                if reader.recovery.snapshots_rejected:
                    raise OracleError(f"a crash is no reason for {reader.recovery}")
        except StoreNotFoundError as error:
            if claim.after_power_cut:
                raise OracleError(f"the store is lost: {error}") from error

    async def check_reader(self) -> None:
        """Let another process read the store during the writing, without a change to the disk."""
        before, claim = self.disk.contents(), self.claim()
        opening = EventStore.open(
            PATH, _READERS, self.config, disk=self.disk.reopen(), read_only=True
        )
        reader = await self.attempt(opening)
        if reader is None:
            return
        try:
            state_as_claimed(Served.by(reader), claim, claim.after_kill)
            await self.attempt(history_as_claimed(reader, claim))
        finally:
            await reader.close()
        if self.disk.contents() != before:
            raise OracleError("reading changed the store")

    # ---- lives -----------------------------------------------------------------------------

    async def open(self, config: StoreConfig) -> bool:
        """Open the store, and hold the recovered events against the claim."""
        self.config = config
        self.record.discards |= config.history == "discard"
        self._claim = self._claim._replace(keeps_history=not self.record.discards)
        opening = EventStore.open(PATH, self._registry, config, disk=self.disk, clock=self.clock)
        store = await self.attempt(opening)
        if store is None:
            self.disk = self.disk.reopen()  # a failed opening closes its disk
            return False
        self._told_by = config
        try:
            await recovered_as_claimed(store, self._claim, self._claim.after_kill)
        except EventStoreError as error:
            self.blame(error)
            await self.attempt(store.close())
            self.disk = self.disk.reopen()
            return False
        record, claim = self.record, self._claim
        record.submitted = list(claim.submitted[: store.seq])
        record.states = list(claim.states[: store.seq + 1])
        record.reopened(store.seq)
        self.acknowledged = store.seq
        self.promised.reopened()
        self.store = store
        return True

    async def close(self) -> None:
        """Close the store. Every event submitted and not refused is durable then."""
        store = self.open_store
        for task in self.background:
            await self.attempt(task)
        self.background.clear()
        await self.attempt(store.close())
        await self.check_receipts()
        if not self.trouble.fired:
            self.record.publish(store.seq)
            if store.seq != len(self.record.submitted):
                raise OracleError(f"closed at event {store.seq} of {len(self.record.submitted)}")
            self.record.flushed = store.seq
        self._claim = self.claim()
        self.store = None
        self.receipts.clear()
        self.trouble.fired.clear()
        self.disk = self.disk.reopen()

    async def check_receipts(self) -> None:
        """Check that every receipt is resolved, sooner or later."""
        for group, receipt in self.receipts:
            if not receipt.done:
                raise OracleError(f"{receipt} was never told")
            await self.attempt(receipt, group)

    async def die(self, point: Point, image: str, config: StoreConfig) -> None:
        """End the process of this life at `point`. The next process finds `image`."""
        crash = self.trouble.crash
        planned = crash is not None and crash.disk is not None
        tells_unsynced = crash.tells_unsynced if crash and planned else self._tells_unsynced()
        await self._end_process()
        claim = point.claim._replace(
            keeps_history=not (self.record.discards or config.history == "discard")
        )
        point = point._replace(claim=claim)
        _, found, required = point.image(image)
        crashes = Crashes(0, config)
        crashes.tells_unsynced |= tells_unsynced
        await crashes.check_reader(found.clone(), claim, required)
        await crashes.check(found.clone(), claim, required)
        self.disk = found
        self._claim = claim._replace(
            after_kill=required, after_power_cut=min(required, claim.after_power_cut)
        )
        failing = self.trouble.failing
        self.trouble = self._new_trouble()
        self.trouble.failing = failing  # recovery may meet the crash

    def _tells_unsynced(self) -> bool:
        """Whether the store that is open, or the last one that was, tells of unsynced events."""
        return Durability.NONE in (self.config.durability, self._told_by.durability)

    def point(self) -> Point:
        """Return this instant, as a point to die at."""
        return Point(0, "before", self.disk.clone(), self.claim())

    def crashed(self) -> Point | None:
        """Return the planned instant in the last step at which everything stopped, if reached."""
        crash = self.trouble.crash
        if crash is None or crash.disk is None or crash.claim is None:
            return None
        return Point(0, "before", crash.disk, crash.claim)

    def crash_later(self, calls: int) -> None:
        """Let everything stop before the call after so many others."""
        self.trouble.crash = Crash(calls)

    async def _end_process(self) -> None:
        """End the old process. Nobody will see its last calls."""
        self.trouble.crash = None
        store, self.store = self.store, None
        failing, self.trouble.failing = self.trouble.failing, None
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        self.background.clear()
        self.receipts.clear()
        if store is not None:
            with contextlib.suppress(EventStoreError):
                await store.close()
        self.trouble.failing = failing


def _fields(payload: Any) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in payload.__struct_fields__}


def _key_of(group: int, key: str | None) -> str | None:
    """Return the key of a group: each group has a key of its own, or none."""
    return None if key is None else f"{key}{group}"


def _is_as_intended(event: Event[Any], payload: Any, key: str | None, metadata: Any) -> bool:
    """Whether an event has what the program gave, apart from what the store adds to an intent."""
    if isinstance(payload, Order):
        payload = Order(number=payload.number, name=event.data.name, amount=payload.amount)
    found = event.metadata
    if found is not None and not RESERVED.isdisjoint(found):
        found = {name: value for name, value in found.items() if name not in RESERVED} or metadata
    return bool((event.data, event.key, found) == (payload, key, metadata))


def _by_name(payload: Deposit | Transfer) -> tuple[str, dict[str, Any]]:
    return ("deposit" if isinstance(payload, Deposit) else "transfer"), _fields(payload)
