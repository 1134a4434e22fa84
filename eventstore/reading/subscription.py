"""Following a store: every durable event, in order, once, at the subscriber's own pace.

Theory of operation
-------------------
A subscription is a place: the number of the next event. There are three ways to that event.

*The recent events* are one list, shared by all subscriptions of a store (`live_events.py`).

*The log* holds the events that the list has dropped. A subscriber that is behind keeps a reading of
the log open, and takes one chunk after the other. Catching up therefore takes linear time. A chunk
is fetched by detached work: a cancelled wait neither loses the chunk nor begins the reading again.

*The future* holds the rest. The subscriber waits, and a commit wakes all waiters.

*The beginning* is detached work too. A time has to be found in the log, a cursor has to be compared
with the log, and a named cursor has to be read from the disk. No event is given before that.

*Given* is an event once the caller has the event, or once `operations` leaves the event out. The
subscription's cursor stands behind the last event given, with the bytes of its record at hand.

Several tasks may wait on one subscription. Each event goes to one task.

*The end* is a fact, and not a message: a later call is told the same as a waiter.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Collection
from types import TracebackType
from typing import Any, NamedTuple

from eventstore.concurrency import DetachedWork, wake
from eventstore.cursor import Cursor, checksum_at
from eventstore.error_base import fresh_error
from eventstore.errors import SubscriberTooSlowError
from eventstore.log.base import Chunk, Log
from eventstore.missing_await import AsyncContext
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.value_types import copy_value
from eventstore.moment import AtTime, NamedPlace
from eventstore.reading.cursors import confirm_live
from eventstore.reading.live_events import Group, LiveEvents
from eventstore.reading.store_events import Batch, durable_batches, first_seq_to_read

__all__ = ["Following", "Subscription"]

_logger = logging.getLogger(__name__)


class Following(NamedTuple):
    """The parts of a store that a subscription reads from, and what the subscriber asked for.

    - `store`: the store, which the subscription keeps alive.
    - `after`: the place to begin behind, `None` for the last durable event.
    - `operations`: the names of the operations to give, `None` for all.
    - `max_lag`: events that the subscriber may be behind, once it was up to date.
    """

    store: object
    log: Log
    registry: HandlerRegistry[Any]
    after: NamedPlace | None
    operations: Collection[str] | None
    max_lag: int | None


class Subscription(AsyncContext):
    """An asynchronous iterator over events, to be entered with `async with` or closed.

    The iteration ends when the subscription is closed. The iteration also ends after the last event
    once the store is closed. A subscriber that is too far behind when the store is closed gets
    `StoreClosedError`. The remaining events are in the log.

    Cancelling a wait for the next event loses no event. Where several tasks wait, each event goes
    to one task.
    """

    def __init__(
        self, shared: LiveEvents[Subscription], number: int, given: Cursor, following: Following
    ) -> None:
        self._shared = shared
        self._number = number
        self._following = following
        self._log = following.log
        self._operations = following.operations
        self._begins = isinstance(following.after, Cursor | AtTime)
        self._later_than: int | None = None
        self._current = following.after is None  # whether it has ever been up to date
        self._given: Cursor | Chunk | Group = given
        self._given_seq = given.seq
        self._next_seq = given.seq + 1
        self._batch: deque[Event[Any]] = deque()
        self._chunk: Chunk | None = None  # holds the events of `_batch`
        self._reading: AsyncGenerator[Batch, None] | None = None
        self._fetching: DetachedWork[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._failure: SubscriberTooSlowError | None = None
        self._warned = self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._batch)} events read ahead"
        return f"<Subscription before event {self._next_seq}: {state}>"

    @property
    def cursor(self) -> Cursor:
        """The place behind the last event given, to go on from with `subscribe(after=cursor)`.

        An event counts as given once the iteration has returned the event. An event left out by
        `operations` counts as given once it was passed.
        """
        given, seq = self._given, self._given_seq
        if isinstance(given, Chunk):
            given = self._log.lineage.cursor(seq, checksum_at(given.array, seq - given.first_seq))
        elif isinstance(given, Group):
            given = self._log.lineage.cursor(seq, given.checksum(seq))
        self._given = given
        return given

    @property
    def lag(self) -> int:
        """The number of durable events that the subscriber was not given yet."""
        return max(self._log.durable_seq - self._given_seq, 0)

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

    def warn_of_lag(self, limit: int) -> None:
        """Warn, once, of a subscriber that was up to date and is more than `limit` events behind.

        `_wait` says when the subscriber is up to date again.
        """
        if self._current and not self._warned and self.lag > limit:
            self._warned = True
            _logger.warning(
                "%s: a subscriber is %d events behind, and reads on from the log; the writer does "
                "not wait for it",
                self._log.path,
                self.lag,
            )

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event[Any]:
        while not self._closed:
            max_lag = self._following.max_lag
            if max_lag is not None and self._current and self.lag > max_lag:
                await self._end_too_slow(max_lag)
                break
            if self._batch:
                return self._next_of_batch(self._batch)
            if self._begins:
                await self._catch_up()
                continue
            event = self._recent_event()
            if event is not None:
                return copy_value(event)  # others get the same event
            if self._next_seq <= self._log.durable_seq:
                await self._catch_up()
            elif self._shared.ended:
                break
            else:
                await self._wait()
        if self._failure is not None:
            raise fresh_error(self._failure)
        raise StopAsyncIteration

    async def _end_too_slow(self, max_lag: int) -> None:
        lag, cursor = self.lag, self.cursor
        self._failure = SubscriberTooSlowError(
            f"{self._log.path}: the subscriber is {lag} events behind, more than {max_lag}, and "
            f"the subscription has ended behind event {cursor.seq}. Subscribe with "
            "after=error.cursor to go on there, or with slow='wait'",
            path=self._log.path,
            lag=lag,
            max_lag=max_lag,
            cursor=cursor,
        )
        await self.close()

    def _next_of_batch(self, batch: deque[Event[Any]]) -> Event[Any]:
        """Give the next event read from the log. An upcaster may have made several of one event."""
        event = batch.popleft()
        if not batch or batch[0].seq != event.seq:
            self._given_seq = event.seq if batch else self._next_seq - 1
            self._given = self._chunk or self._given
        return event

    def _recent_event(self) -> Event[Any] | None:
        """Take the next event from the list of recent events, `None` where the list has none."""
        recent, wanted = self._shared.recent, self._operations
        place = self._next_seq - recent[0][0].seq if recent else -1
        while 0 <= place < len(recent):
            event, self._given = recent[place]
            self._given_seq, self._next_seq = event.seq, event.seq + 1
            if (wanted is None or event.operation in wanted) and not self._is_early(event):
                return event
            place += 1
        return None

    def _is_early(self, event: Event[Any]) -> bool:
        """Whether the time that the subscription begins behind is still to come."""
        if self._later_than is None:
            return False
        if event.time <= self._later_than:
            return True
        self._later_than = None
        return False

    async def _wait(self) -> None:
        self._current = True
        if self._warned:
            self._warned = False
            _logger.info("%s: a subscriber that was behind is up to date again", self._log.path)
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
            work = self._begin() if self._begins else self._fetch()
            fetching = self._fetching = DetachedWork(work, ended=lambda error: None)
        try:
            if await fetching.settled():
                await fetching.wait()
        finally:
            if fetching.done and self._fetching is fetching:
                self._fetching = None

    async def _begin(self) -> None:
        """Find the place to begin behind."""
        after = self._following.after
        if isinstance(after, Cursor):
            self._stand_behind(await confirm_live(self._log, after), after)
        elif isinstance(after, AtTime):
            first = await first_seq_to_read(self._log, after.last + 1)
            self._later_than = after.last
            self._stand_behind(first - 1, None)
        self._begins = False

    def _stand_behind(self, seq: int, cursor: Cursor | None) -> None:
        self._given = self._log.lineage.cursor(seq, None) if cursor is None else cursor
        self._given_seq, self._next_seq = seq, seq + 1

    async def _fetch(self) -> None:
        """Take the next chunk of the reading. A reading ends where the log ended at its start."""
        reading = self._reading
        if reading is None:
            reading = self._reading = durable_batches(
                self._log, self._following.registry, self._next_seq, operations=self._operations
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
            self._take(batch)
        if self._closed or self._shared.ended:
            self._reading = None
            await reading.aclose()

    def _take(self, batch: Batch) -> None:
        self._batch.extend(event for event in batch.events if not self._is_early(event))
        if batch.then > self._next_seq:
            self._next_seq, self._chunk = batch.then, batch.chunk
            if not self._batch:
                self._given, self._given_seq = batch.chunk, batch.then - 1

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
