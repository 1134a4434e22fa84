"""Following a store: every durable event, in order, once, at the subscriber's own pace.

Theory of operation
-------------------
A subscription is a cursor: the number of the next event. There are three places to find that event.

*The recent events* are one list, shared by all subscriptions of a store. A commit appends new
events to the list once, whatever the number of subscribers. A subscription without a reader
therefore costs a commit nothing. The list is bounded, and empty while every subscriber waits.

*The log* holds the events that the list has dropped. A subscriber that is behind keeps a reading of
the log open, and takes one chunk after the other. Catching up therefore takes linear time. A chunk
is fetched by detached work: a cancelled wait neither loses the chunk nor begins the reading again.

*The future* holds the rest. The subscriber waits, and a commit wakes all waiters.

The store refers to subscriptions weakly. A subscription left with `break`, or never iterated, ends
with the last reference of the program. While a task waits, the store refers to the subscription
strongly. asyncio refers to a waiting task weakly, so a task without another reference would be
collected during the wait.

Several tasks may wait on one subscription. Each event goes to one task.

*The end* is a fact, and not a message: a later call is told the same as a waiter.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Collection, Sequence
from types import TracebackType
from typing import Any

from eventstore.concurrency import DetachedWork, wake
from eventstore.error_base import fresh_error
from eventstore.errors import StoreClosedError, StoreReadOnlyError
from eventstore.log.base import Log
from eventstore.missing_await import AsyncContext
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.value_types import copy_value
from eventstore.moment import seq_of
from eventstore.reading.selection import checked_operations
from eventstore.reading.store_events import Batch, durable_batches

__all__ = ["Subscription", "Subscriptions"]

BUFFER = 4096
"""Recent events that are kept at least. At most twice as many are kept, or one group."""


class Subscriptions:
    """The subscriptions of one store, and the shared list of recent events.

    `active` says whether commits are to be told to `push`.
    """

    def __init__(self) -> None:
        self.active: bool = False
        self.ended: bool = False
        self.recent: list[Event[Any]] = []
        self.first_seq: int = 0
        self._live: dict[int, weakref.ref[Subscription]] = {}
        self._waiting: dict[Subscription, None] = {}
        self._made = 0
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Subscriptions: {len(self._live)} alive, {len(self._waiting)} wait>"

    def __len__(self) -> int:
        return len(self._live)

    def subscribe(
        self,
        store: object,
        log: Log,
        registry: HandlerRegistry[Any],
        start: int | None,
        operations: Collection[str] | None,
    ) -> Subscription:
        """Make a subscription from event `start` on, by default from the next event on.

        The subscription keeps `store` alive. Raises `StoreClosedError` and `StoreReadOnlyError`.
        """
        asked = None if start is None else max(seq_of(start, "start"), 1)
        wanted = checked_operations(operations, registry.operations)
        self._ensure_followable(log)
        next_seq = log.durable_seq + 1
        if not self.active:
            self.active, self.recent, self.first_seq = True, [], next_seq
        first = next_seq if asked is None else asked
        self._made += 1
        subscription = Subscription(self, self._made, first, wanted, store, log, registry)
        forget = functools.partial(self._live.pop, self._made, None)
        self._live[self._made] = weakref.ref(subscription, lambda _: forget())
        return subscription

    def _ensure_followable(self, log: Log) -> None:
        """Raise the reason why no event will ever come, if there is one."""
        if self._stopped:
            raise StoreClosedError(f"{log.path} is closed", path=log.path)
        try:
            refusal = log.appender.room.refusal
        except StoreReadOnlyError:
            raise StoreReadOnlyError(
                f"{log.path} was opened with read_only=True, and stays as it was then: no event "
                "comes to a subscription. Subscribe in the process that writes, or call "
                "read_events(path, start=...) again and again",
                path=log.path,
            ) from None
        if isinstance(refusal, StoreClosedError):
            raise fresh_error(refusal)

    def push(self, events: Sequence[Event[Any]]) -> None:
        """Take the durable events of one submission, in order. Called while `active`.

        The end of a commit is told again after an interruption. The events are taken once.
        """
        recent = self.recent
        if not self._live:  # nobody is left. The collector may say so on any thread, so not there
            self.active = False
            recent.clear()
            return
        if events[0].seq >= self.first_seq + len(recent):
            recent.extend(events)
        if len(recent) > 2 * BUFFER:
            self._drop(len(recent) - max(BUFFER, len(events)))
        if self._waiting:
            self._wake()

    def _drop(self, count: int) -> None:
        del self.recent[:count]
        self.first_seq += count

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for subscription in waiting:
            subscription.wake()

    def hold(self, subscription: Subscription) -> None:
        """Keep a subscription alive while a task waits for the next event."""
        self._waiting[subscription] = None
        if len(self._waiting) == len(self._live):  # everybody has everything
            self._drop(len(self.recent))

    def release(self, subscription: Subscription) -> None:
        """Take back `hold`: no task waits any more."""
        self._waiting.pop(subscription, None)

    def remove(self, number: int) -> None:
        """Forget a subscription that was closed."""
        self._live.pop(number, None)

    def stop(self) -> None:
        """Refuse new subscriptions: the store is to be closed."""
        self._stopped = True

    async def end(self) -> None:
        """Note that no more events will come, and close the readings."""
        self.ended = True
        self._wake()
        for reference in self._live.copy().values():
            subscription = reference()
            if subscription is not None:
                await subscription.close_reading()


class Subscription(AsyncContext):
    """An asynchronous iterator over events, to be entered with `async with` or closed.

    The iteration ends when the subscription is closed. The iteration also ends after the last event
    once the store is closed. A subscriber that is too far behind when the store is closed gets
    `StoreClosedError`. The remaining events are in the log.

    Cancelling a wait for the next event loses no event. Where several tasks wait, each event goes
    to one task.
    """

    def __init__(
        self,
        shared: Subscriptions,
        number: int,
        start: int,
        operations: Collection[str] | None,
        store: object,
        log: Log,
        registry: HandlerRegistry[Any],
    ) -> None:
        self._shared = shared
        self._number = number
        self._next_seq = start
        self._operations = operations
        self._store = store  # kept alive, as long as somebody follows it
        self._log = log
        self._registry = registry
        self._batch: deque[Event[Any]] = deque()
        self._reading: AsyncGenerator[Batch, None] | None = None
        self._fetching: DetachedWork[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._batch)} events read ahead"
        return f"<Subscription before event {self._next_seq}: {state}>"

    async def close(self) -> None:
        """Stop following, and end the iteration. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._batch.clear()
            self._shared.remove(self._number)
            self.wake()
            await self.close_reading()

    def wake(self) -> None:
        """Wake all tasks that wait for the next event."""
        for waiter in self._waiters:
            wake(waiter)

    async def close_reading(self) -> None:
        """Close the files of a reading. A fetch under way closes the files in the end."""
        reading = self._reading
        if reading is not None and (self._fetching is None or self._fetching.done):
            self._reading = None
            await reading.aclose()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event[Any]:
        while not self._closed:
            if self._batch:
                return self._batch.popleft()
            event = self._recent_event()
            if event is not None:
                return copy_value(event)  # others get the same event
            if self._next_seq <= self._log.durable_seq:
                await self._catch_up()
            elif self._shared.ended:
                break
            else:
                await self._wait()
        raise StopAsyncIteration

    def _recent_event(self) -> Event[Any] | None:
        """Take the next event from the list of recent events, `None` where the list has none."""
        recent, wanted = self._shared.recent, self._operations
        place = self._next_seq - self._shared.first_seq
        while 0 <= place < len(recent):
            event = recent[place]
            self._next_seq = event.seq + 1
            if wanted is None or event.operation in wanted:
                return event
            place += 1
        return None

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._shared.hold(self)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
            if not self._waiters:
                self._shared.release(self)

    async def _catch_up(self) -> None:
        """Read a chunk from the log, or wait for the chunk that is being read."""
        fetching = self._fetching
        if fetching is None:
            fetching = self._fetching = DetachedWork(self._fetch(), ended=lambda error: None)
        try:
            if await fetching.settled():
                await fetching.wait()
        finally:
            if fetching.done and self._fetching is fetching:
                self._fetching = None

    async def _fetch(self) -> None:
        """Take the next chunk of the reading. A reading ends where the log ended at its start."""
        reading = self._reading
        if reading is None:
            reading = self._reading = durable_batches(
                self._log, self._registry, self._next_seq, operations=self._operations
            )
        try:
            batch = await anext(reading, None)
        except Exception:
            self._reading = None
            raise
        if batch is None:
            self._reading = None
            return
        if not self._closed:
            self._batch.extend(batch.events)
            self._next_seq = max(self._next_seq, batch.then)
        if self._closed or self._shared.ended:
            self._reading = None
            await reading.aclose()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
