"""Following an open store: every durable event, in order, once, at the subscriber's own pace.

Theory of operation
-------------------
A subscription is a place: the number of the next event. There are three ways to that event.

*The recent events* are one list, shared by all subscriptions of a store (`recent_events.py`).

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
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from eventstore.cursor import Cursor, checksum_at
from eventstore.detached_work import DetachedWork, wake
from eventstore.disk.base import Disk
from eventstore.error_base import fresh_error
from eventstore.errors import SubscriberTooSlowError
from eventstore.log.base import Chunk, Log
from eventstore.log.memory import MemoryLog
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.value_types import copy_value
from eventstore.moment import AtTime
from eventstore.named_cursors import load_cursor, save_cursor
from eventstore.operator_log import operator_log
from eventstore.reading.cursor_check import confirm_live
from eventstore.reading.open_store_events import Batch, durable_batches, first_seq_to_read
from eventstore.reading.recent_events import Group, LiveEvents
from eventstore.reading.subscription import Asked, Subscription, checked_to_save, too_slow_error

__all__ = ["LiveSubscription"]

_logger = operator_log("eventstore.reading.subscription")


class LiveSubscription(Subscription):
    """A subscription of a store that is open for writing, or in memory."""

    def __init__(
        self,
        shared: LiveEvents[LiveSubscription],
        number: int,
        store: object,
        log: Log,
        registry: HandlerRegistry[Any],
        given: Cursor,
        asked: Asked,
    ) -> None:
        self._shared = shared
        self._number = number
        self._store = store  # kept alive, as long as somebody follows it
        self._log = log
        self._registry = registry
        self._after = asked.after
        self._operations = asked.operations
        self._max_lag = asked.max_lag
        self._name = asked.name
        self._saving: DetachedWork[None] | None = None
        self._saved_seq = 0
        self._begins = asked.name is not None or isinstance(asked.after, Cursor | AtTime)
        self._later_than: int | None = None
        # Whether the subscriber has ever been up to date:
        self._current = asked.name is None and given.seq >= log.durable_seq
        self._given: Cursor | Chunk | Group = given
        self._given_seq = given.seq
        self._next_seq = given.seq + 1
        self._batch: deque[Event[Any]] = deque()
        self._chunk: Chunk | None = None  # holds the events of `_batch`, and those given since
        self._reading: AsyncGenerator[Batch, None] | None = None
        self._fetching: DetachedWork[None] | None = None
        # In order of arrival. Each one leaves in constant time, wherever in the line it stands.
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._failure: SubscriberTooSlowError | None = None
        self._warned = self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._batch)} events read ahead"
        return f"<Subscription before event {self._next_seq}: {state}>"

    @property
    def cursor(self) -> Cursor:
        self._note_given()
        given, seq = self._given, self._given_seq
        if isinstance(given, Chunk):
            given = self._log.lineage.cursor(seq, checksum_at(given.array, seq - given.first_seq))
        elif isinstance(given, Group):
            given = self._log.lineage.cursor(seq, given.checksum(seq))
        self._given = given
        return given

    @property
    def lag(self) -> int:
        self._note_given()
        return max(self._log.durable_seq - self._given_seq, 0)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._note_given()
            self._chunk = None
            self._batch.clear()
            self._shared.remove(self._number)
            self.wake()
            await self.close_reading()

    def wake(self) -> None:
        """Wake all tasks that wait for the next event."""
        for waiter in self._waiters:
            wake(waiter)

    async def end(self) -> None:
        await self.close_reading()

    async def close_reading(self) -> None:
        """Close the files of a reading. A fetch under way closes the files in the end."""
        reading = self._reading
        if reading is not None and (self._fetching is None or self._fetching.done):
            self._reading = None
            await reading.aclose()

    def warn_of_lag(self, limit: int) -> None:
        """Warn, once, of a subscriber that was up to date and is more than `limit` events behind.

        `_note_if_current` says when the subscriber is up to date again.
        """
        if self._current and not self._warned and self.lag > limit:
            self._warned = True
            _logger.warning(
                "%s: a subscriber is %d events behind, and reads on from the log; the writer does "
                "not wait for it",
                self._log.path,
                self.lag,
            )

    async def __anext__(self) -> Event[Any]:
        while not self._closed:
            max_lag = self._max_lag
            if max_lag is not None and self._current and self.lag > max_lag:
                await self._end_too_slow(max_lag)
                break
            if self._batch:
                event = self._batch.popleft()
                if not self._batch:
                    self._note_if_current()
                return event
            if self._begins:
                await self._catch_up()
                continue
            recent = self._recent_event()
            if recent is not None:
                if not self._current or self._warned:
                    self._note_if_current()
                return copy_value(recent)  # others get the same event
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
        self._failure = too_slow_error(self._log.path, self, max_lag)
        await self.close()

    def _note_given(self) -> None:
        """Note the place behind the last event that was given from the log.

        The events of a batch are given without a note for each. An upcaster may have made several
        events of one number, and the number is given with the last of them.
        """
        chunk, batch = self._chunk, self._batch
        if chunk is not None:
            seq = (batch[0].seq if batch else self._next_seq) - 1
            if seq > self._given_seq:
                self._given, self._given_seq = chunk, seq
            if not batch:
                self._chunk = None

    def _recent_event(self) -> Event[Any] | None:
        """Take the next event from the list of recent events, `None` where the list has none."""
        if self._chunk is not None:
            self._note_given()
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

    def _note_if_current(self) -> None:
        """Note that the subscriber is up to date, where no durable event is left to be given."""
        if self._next_seq <= self._log.durable_seq:
            return
        self._current = True
        if self._warned:
            self._warned = False
            _logger.info("%s: a subscriber that was behind is up to date again", self._log.path)

    async def _wait(self) -> None:
        self._log.guard.check()  # a commit wakes its own event loop alone
        self._note_if_current()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        self._shared.hold(self)
        try:
            await waiter
        finally:
            del self._waiters[waiter]
            if not self._waiters:
                self._shared.release(self)

    async def _catch_up(self) -> None:
        """Read a chunk from the log, or wait for the chunk that is being read."""
        self._log.guard.check()
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
        after = self._after
        if self._name is not None:
            saved = await self._saved_cursor(self._name)
            after = saved or after or 0
        if isinstance(after, Cursor):
            self._stand_behind(await confirm_live(self._log, after), after)
        elif isinstance(after, AtTime):
            first = await first_seq_to_read(self._log, after.last + 1)
            self._later_than = after.last
            self._stand_behind(first - 1, None)
        elif after is not None:
            self._stand_behind(max(after, 0), None)
        self._begins = False
        self._note_if_current()

    async def _saved_cursor(self, name: str) -> Cursor | None:
        """Return the cursor saved under `name`. Without a log on disk, names live in memory."""
        disk = _disk_of(self._log)
        if disk is None:
            return self._shared.named.get(name)
        return await self._log.run(load_cursor, disk, name)

    async def save(self) -> Cursor:
        name = checked_to_save(self._name)
        while self._begins and not self._closed:
            await self._catch_up()
        cursor = self.cursor
        while self._saving is not None and not self._saving.done:
            await self._saving.settled()
        if cursor.seq < self._saved_seq:  # a later save has overtaken this one
            return cursor
        self._saving = saving = DetachedWork(self._save(name, cursor), ended=lambda error: None)
        await saving.wait()
        return cursor

    async def _save(self, name: str, cursor: Cursor) -> None:
        disk = _disk_of(self._log)
        if disk is None:
            self._shared.named[name] = cursor
        else:
            await self._log.run(save_cursor, disk, name, cursor)
        self._saved_seq = cursor.seq

    def _stand_behind(self, seq: int, cursor: Cursor | None) -> None:
        self._given = self._log.lineage.cursor(seq, None) if cursor is None else cursor
        self._given_seq, self._next_seq = seq, seq + 1

    async def _fetch(self) -> None:
        """Take the next chunk of the reading. A reading ends where the log ended at its start."""
        reading = self._reading
        if reading is None:
            reading = self._reading = durable_batches(
                self._log, self._registry, self._next_seq, operations=self._operations
            )
        try:
            batch = await anext(reading, None)
        except Exception:  # whatever ended the reading, the next call begins another
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
        self._note_given()
        events = batch.events
        if self._later_than is not None:
            events = [event for event in events if not self._is_early(event)]
        self._batch.extend(events)
        if batch.then > self._next_seq:
            self._next_seq, self._chunk = batch.then, batch.chunk


def _disk_of(log: Log) -> Disk | None:
    """Return the disk for named cursors, `None` in memory. A branch's disk is another store's."""
    return None if isinstance(log, MemoryLog) else log.disk
