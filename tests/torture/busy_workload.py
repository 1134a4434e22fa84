"""A store in concurrent use: subscribers, other processes, and callers that cancel.

Theory of operation
-------------------
A `BusyWorkload` makes the steps of a `Workload`, and three more things happen beside the steps:

* `Follower` is a subscriber. A follower must be handed every durable event, once, in order, equal
  to the submitted one and never before publication. Slowness and cancelled waits change none of
  this. The subscription must end when the store is closed.
* Other processes replay the history and ask for the state at a number or a time. Events are
  appended between two calls of such a process. One process tries to become a second writer.
* Everything awaitable is cancelled after a few turns of the loop: openings, appends, receipts,
  snapshots, flushes, readings, closings. No cancellation may lose an event or stop anybody else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from random import Random
from typing import Any, ClassVar

from eventstore import (
    Event,
    EventStore,
    EventStoreError,
    HistoryUnavailableError,
    StoreClosedError,
    StoreLockedError,
    replay,
    state_at,
)
from eventstore.clock import to_datetime, to_ns
from tests.torture.ledger import Ledger, ledger_registry
from tests.torture.oracle import OracleError, Record
from tests.torture.program import BY_FORCE
from tests.torture.store_or_log import Opened
from tests.torture.workload import Workload

__all__ = ["BusyWorkload", "Follower"]

_REGISTRY = ledger_registry()
_OPERATIONS = (None, None, {"deposit"}, {"transfer"})


class Follower:
    """A subscriber to `store`, from event `start` on, or (`None`) from the next one."""

    def __init__(
        self,
        store: EventStore[Ledger],
        record: Record,
        start: int | None,
        operations: Collection[str] | None,
        random: Random,
    ) -> None:
        self._store = store
        self._record = record
        self._operations = operations
        self._random = random
        self._late = start is not None
        self._seen = store.seq if start is None else start - 1
        after = None if start is None else start - 1
        self._subscription = store.subscribe(after=after, operations=operations)

    async def follow(self) -> None:
        """Follow until the store is closed. Raises `OracleError`."""
        async with self._subscription as subscription:
            while True:
                try:
                    event = await self._next(subscription)
                except StopAsyncIteration:
                    break
                except (StoreClosedError, HistoryUnavailableError):
                    if not self._late:
                        raise
                    return  # the follower was still reading earlier events
                if event is not None:
                    self._check(event)
                for _ in range(self._random.choice((0, 0, 0, 3))):
                    await asyncio.sleep(0)
        self._check_skipped(self._store.seq + 1)

    async def _next(self, subscription: AsyncIterator[Event[Any]]) -> Event[Any] | None:
        """Return the next event, `None` if the wait was cancelled."""
        if self._random.random() < 0.7:
            return await anext(subscription)

        async def waits() -> Event[Any] | None:
            try:
                return await anext(subscription)
            except StopAsyncIteration:  # no task may end with StopAsyncIteration
                return None

        waiting = asyncio.ensure_future(waits())
        try:
            await asyncio.sleep(0)
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])
        return None if waiting.cancelled() else waiting.result()

    def _check(self, event: Event[Any]) -> None:
        if event.seq > self._store.seq:
            raise OracleError(f"a subscriber was handed event {event.seq}, which is not published")
        if event != self._record.submitted[event.seq - 1].event:
            raise OracleError(f"a subscriber was handed {event} as event {event.seq}")
        self._check_skipped(event.seq)
        self._seen = event.seq

    def _check_skipped(self, stop: int) -> None:
        """Check that no skipped event, after the last seen and before `stop`, was of its
        operations.
        """
        if stop <= self._seen:
            raise OracleError(f"a subscriber was handed event {stop} after event {self._seen}")
        for submitted in self._record.submitted[self._seen : stop - 1]:
            event = submitted.event
            if self._operations is None or event.operation in self._operations:
                raise OracleError(f"a subscriber was never handed event {event.seq}")


class BusyWorkload(Workload):
    """A program with a store, subscribers, and other processes beside the store."""

    kind = "busy"
    weights: ClassVar[Mapping[str, int]] = {
        "append": 4,
        "group": 3,
        "burst": 3,
        "crowd": 2,
        "cancel": 2,
        "full_queue": 1,
        "reentrant_call": 1,
        "set_clock": 1,
        "snapshot": 1,
        "snapshot_beside_appends": 2,
        "idle": 1,
        "subscribe": 4,
        "replay_beside": 3,
        "ask": 3,
        "second_writer": 1,
        "change_of_mind": 4,
    }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._followers: list[asyncio.Task[None]] = []

    async def open(self) -> bool:
        """Open like other programs, sometimes after a cancelled opening."""
        if self.random.random() < 0.2:
            opening = self.subject(self.disk, self.config, clock=self.clock)
            opened = await self._cancelled_after_turns(opening)
            if opened is not None:
                await self._succeeds(opened.close())
            self.disk.close()
            self.disk = self.disk.reopen()
        return await super().open()

    async def end(self, how: str) -> None:
        """End like other programs. Subscribers end with the store, or with the process."""
        followers, self._followers = self._followers, []
        if how in BY_FORCE:
            for follower in followers:
                follower.cancel()
        await super().end(how)
        for told in await asyncio.gather(*followers, return_exceptions=True):
            if isinstance(told, EventStoreError):
                self._report(told)
            elif isinstance(told, Exception):
                raise told

    async def closing(self, store: Opened) -> None:
        """Close, sometimes from two tasks, of which the first is cancelled, and beside others."""
        assert isinstance(store, EventStore)
        beside = [
            asyncio.ensure_future(self._unless_closed(ask()))
            for ask in (store.flush, store.snapshot)
            if self.random.random() < 0.3
        ]
        if self.random.random() < 0.4:
            await self._cancelled_after_turns(store.close())
        try:
            await store.close()
        finally:
            await asyncio.gather(*beside)

    async def _unless_closed(self, asked: Awaitable[Any]) -> None:
        try:
            await asked
        except StoreClosedError:
            pass  # the store was closed first
        except EventStoreError as error:
            self._report(error)

    async def _cancelled_after_turns(self, awaited: Awaitable[Any]) -> Any:
        """Cancel an awaitable after a few turns. Returns its result, `None` if cancelled."""
        task = asyncio.ensure_future(awaited)
        for _ in range(self.random.randrange(6)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            return None
        try:
            return task.result()
        except EventStoreError as error:
            self._report(error)
            return None

    # Steps of this program.

    async def _subscribe(self) -> None:
        store, random = self._open_store(), self.random
        start = None
        if self._claim.keeps_history and random.random() < 0.5:
            start = random.randint(1, store.seq + 1)
        own = Random(random.getrandbits(32))
        follower = Follower(store, self.record, start, random.choice(_OPERATIONS), own)
        self._followers.append(asyncio.ensure_future(follower.follow()))

    async def _replay_beside(self) -> None:
        """Let another process replay the history, and find the events appended meanwhile."""
        random, record = self.random, self.record
        first = random.randint(1, max(1, self._open().seq))
        operations = random.choice(_OPERATIONS)
        required, last, appended = self.claim().after_kill, first - 1, 0
        found = replay(
            "ledger", _REGISTRY, start=first, operations=operations, disk=self.disk.reopen()
        )
        try:
            for event, state in found:
                submitted = record.submitted
                if event.seq <= last or event != submitted[event.seq - 1].event:
                    raise OracleError(f"after event {last}, {event} was replayed")
                if state != record.states[event.seq]:
                    raise OracleError(f"the state replayed at event {event.seq} is another one")
                self._check_left_out(last, event.seq, operations)
                last = event.seq
                if appended < 3 and random.random() < 0.2:
                    appended += 1
                    await self._appended(1)
            self._check_left_out(last, required + 1, operations)
        except HistoryUnavailableError as error:
            if not record.discards:
                self._report(error)
        except EventStoreError as error:
            self._report(error)

    def _check_left_out(self, last: int, stop: int, operations: Collection[str] | None) -> None:
        for submitted in self.record.submitted[last : stop - 1]:
            if operations is None or submitted.event.operation in operations:
                raise OracleError(f"event {submitted.event.seq} was left out of a replay")

    async def _ask(self) -> None:
        """Let another process ask for the state: now, after an event, or as of a time."""
        random, record = self.random, self.record
        self.claim()
        published, submitted = record.published, record.submitted
        least = most = random.randint(0, published)
        at: Any = most
        how = random.choice(("now", "number", "time"))
        if how == "now":
            at, least, most = None, published, len(submitted)
        elif how == "time" and most:
            at = to_datetime(submitted[most - 1].event.time)
            time = to_ns(at) + 999  # a datetime is a whole microsecond
            later = (place for place, one in enumerate(submitted) if one.event.time > time)
            most = next(later, len(submitted))
            least = min(most, published)
        try:
            state = state_at("ledger", _REGISTRY, at, disk=self.disk.reopen())
        except HistoryUnavailableError as error:
            if not record.discards:
                self._report(error)
        except EventStoreError as error:
            self._report(error)
        else:
            if not least <= state.count <= most or state != record.states[state.count]:
                raise OracleError(f"asked for {at}, events {least} to {most}: {state}")

    async def _second_writer(self) -> None:
        try:
            second = await self.subject(self.disk.reopen(), self.config)
        except StoreLockedError as error:
            if error.pid != os.getpid():
                raise OracleError(f"the lock is held by {error.pid}") from error
        except EventStoreError as error:
            self._report(error)
        else:
            await second.close()
            raise OracleError("a second writer was let in")

    async def _change_of_mind(self) -> None:
        store, random = self._open_store(), self.random
        what = random.choice(("snapshot", "flush", "receipt", "append", "read"))
        if what == "snapshot":
            await self._cancelled_after_turns(store.snapshot())
        elif what == "flush":
            await self._cancelled_after_turns(store.flush())
        elif what == "append":
            await self._cancelled_after_turns(self._appended(random.choice((1, 3))))
        elif what == "receipt":
            group, receipt = self._submit(1)
            if receipt is not None:
                await self._cancelled_after_turns(_awaited(receipt))
                await self._succeeds(receipt, group)
        elif self._claim.keeps_history:
            await self._cancelled_after_turns(_read(store))


async def _awaited(receipt: Awaitable[Any]) -> None:
    await receipt


async def _read(store: EventStore[Ledger]) -> None:
    async for _ in store.events():
        await asyncio.sleep(0)
