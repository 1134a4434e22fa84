"""A follower on an event loop: the events of a store as they become durable.

Theory of operation
-------------------
A follower takes no lock and asks nothing of the writer. `EventBatches` reads the files. Between
two reads, a follower waits for a notification that the frontier was written, and looks every `poll`
seconds in any case.

Every call is made on a thread beside the event loop, as detached work: a cancelled wait neither
loses a batch nor begins the reading again. While a task waits, the loop watches the descriptor of
the notifications, and refers to the follower. Otherwise nothing does, so a follower that was left
ends with its last reference.

Several tasks may wait on one follower. Each event goes to one task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Any

from eventstore.blocking_calls import BackgroundCalls, run_blocking
from eventstore.cursor import Cursor
from eventstore.detached_work import DetachedWork, wake
from eventstore.disk.after_fork import register_for_fork, unregister_for_fork
from eventstore.errors import NotAwaitedError, StoreClosedError
from eventstore.following.event_batches import EventBatches, ReadAhead
from eventstore.following.wakeup import DirectoryWatch, Pace
from eventstore.log.call_guard import FORKED
from eventstore.missing_await import AsyncStream
from eventstore.model.operation import Event
from eventstore.reading.subscription import checked_to_save

__all__ = ["Follower"]


class Follower(AsyncStream):
    """An asynchronous iterator over the durable events of a store, from `follow`.

    Cancelling a wait for the next event loses no event, and the follower goes on. An error leaves
    the follower at its place, and a later call tries again.
    """

    def __init__(
        self,
        open_batches: Callable[[], EventBatches],
        executor: Executor | None,
        until_closed: bool,
        poll: float,
    ) -> None:
        self._open_batches = open_batches
        self._executor = executor
        self._until_closed = until_closed
        self._pace = Pace(poll)
        self._ahead = ReadAhead()
        self._batches: EventBatches | None = None
        self._calls: BackgroundCalls | None = None
        self._watch = DirectoryWatch(None)
        self._fetching: DetachedWork[Any] | None = None
        # In order of arrival. Each one leaves in constant time, wherever in the line it stands.
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._closed = self._forked = False

    def __repr__(self) -> str:
        if self._batches is None:
            return "<Follower: nothing is read until it is entered or iterated>"
        state = "closed" if self._closed else f"{len(self._ahead)} events read ahead"
        return f"<Follower behind event {self.seq}: {state}>"

    @property
    def seq(self) -> int:
        """The number of the last event that was given, or of the place to go on from."""
        seq = self._ahead.seq()
        return self._started.began_behind if seq is None else seq

    @property
    def durable_seq(self) -> int:
        """The last event known to be durable. A follower that stands there is up to date."""
        return self._started.durable_seq

    @property
    def cursor(self) -> Cursor:
        """The place behind the last event that was given, to go on from with `after`."""
        return self._started.cursor_behind(self.seq)

    @property
    def _started(self) -> EventBatches:
        if self._batches is None:
            raise NotAwaitedError("the follower has not begun to read: enter it with `async with`")
        return self._batches

    def forked(self) -> None:  # pragma: no cover - no tracer follows a fork
        """Refuse everything in a forked child."""
        self._forked = True

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Event[Any]:
        idle = False
        while not self._closed:
            self._refuse_in_a_child()
            if self._ahead:
                return self._ahead.next_event()
            if await self._fetch(idle):
                idle = False
            elif self._until_closed and self._batches is not None and self._batches.closed:
                break
            else:
                idle = await self._wait()
        raise StopAsyncIteration

    async def save(self) -> Cursor:
        """Save the cursor durably under the follower's name, and return the cursor.

        Called after the work on an event. Where the program dies between the work and the save, the
        event comes again: each event comes at least once.

        Cancelling cancels the waiting, and the save goes on. Raises `ConfigError` for a follower
        without a name, `CursorNotSavedError` where the earlier cursor is kept, and
        `StoreClosedError`.
        """
        batches = self._started
        self._refuse_in_a_child()
        name, cursor = checked_to_save(batches.name), self.cursor
        if self._calls is None:
            raise StoreClosedError(f"the follower of {batches.path} is closed", path=batches.path)
        await self._calls.run(batches.save, name, cursor)
        return cursor

    async def close(self) -> None:
        """Stop following, and end the iteration. A second call does nothing.

        Cancelling cancels the waiting, and the closing goes on.
        """
        if not self._closed:
            self._closed = True
            for waiter in self._waiters:
                wake(waiter)
            if self._fetching is None:
                self._fetching = DetachedWork(self._end())
        if self._fetching is not None:
            await self._fetching.settled()

    def _refuse_in_a_child(self) -> None:
        if self._forked:
            raise StoreClosedError(f"{self._started.path} {FORKED}", path=self._started.path)

    async def _fetch(self, idle: bool, *, only_begin: bool = False) -> bool:
        """Read the next events, or wait for the events that are being read.

        Returns whether there were new events. With `only_begin`, no events are read.
        """
        fetching = self._fetching
        if fetching is None:
            fetching = self._fetching = DetachedWork(
                self._read(idle, only_begin), ended=lambda error: None
            )
        try:
            return await fetching.wait() if await fetching.settled() else False
        finally:
            if fetching.done and self._fetching is fetching:
                self._fetching = None

    async def _read(self, idle: bool, only_begin: bool) -> bool:
        """Begin if need be, and read the next batch. Runs as detached work, once at a time."""
        try:
            if self._batches is None:
                await self._begin()
            batch = None
            if self._calls is not None and self._batches is not None and not only_begin:
                self._watch.drain()
                batch = await self._calls.run(self._batches.next_batch, idle=idle)
            if batch is not None and not self._closed:
                self._ahead.take(batch)
                self._pace.found()
        finally:
            if self._closed:
                await self._end()
        return batch is not None

    async def _begin(self) -> None:
        batches = await run_blocking(self._executor, self._open_batches)
        self._batches, self._calls = batches, BackgroundCalls(batches.disk, 1)
        self._watch = DirectoryWatch(batches.watched_path)
        register_for_fork(self)

    async def _end(self) -> None:
        """Close the files, once no call is under way."""
        calls, self._calls = self._calls, None
        if calls is not None and self._batches is not None:
            unregister_for_fork(self)
            await calls.close(self._batches.close)
        if not self._waiters:
            self._watch.close()

    async def _wait(self) -> bool:
        """Wait for a notification, or for the time of the next look. Returns whether time is up."""
        loop = asyncio.get_running_loop()
        fd = self._watch.fd
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters[waiter] = None
        if fd >= 0:
            loop.add_reader(fd, self._wake)
        seconds = self._pace.seconds(notified=fd >= 0)
        began = loop.time()
        timer = loop.call_later(seconds, wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            del self._waiters[waiter]
            if not self._waiters and fd >= 0:
                loop.remove_reader(fd)
                if self._closed:
                    self._watch.close()
        return loop.time() - began >= seconds

    def _wake(self) -> None:
        for waiter in self._waiters:
            wake(waiter)

    async def __aenter__(self) -> Follower:
        if self._batches is None:
            await self._fetch(idle=False, only_begin=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
