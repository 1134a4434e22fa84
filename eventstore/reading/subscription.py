"""Following a store: every durable event, in order, once, at the subscriber's own pace.

Theory of operation
-------------------
A subscription is a cursor and a short buffer. The cursor is the number of the first event that is
not in the buffer yet. Commits push their events into the buffer; a subscriber that keeps up is
served from it. Once the buffer is full, further events are left in the log; when the subscriber has
emptied the buffer it reads on from there, batch by batch, until it has caught up. So neither a slow
subscriber nor a late one costs memory, and the store never waits for any.

Nothing is taken out of the buffer but to be handed over at once, and a batch is put in whole: a
cancelled wait loses nothing. An old event that an upcaster split has several parts of one number.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import Any

from eventstore.model.operation import Event
from eventstore.model.value_types import copy_value

__all__ = ["Subscription"]

BUFFER = 4096


class Subscription:
    """An asynchronous iterator over events, to be entered with ``async with`` or closed.

    It ends when it is closed, and after the last event when the store is. Where a subscriber is too
    far behind for that when the store is closed, :class:`StoreClosedError` says so: the rest is in
    the log. Cancelling a wait for the next event loses none. One task at a time may wait.
    """

    def __init__(
        self,
        start: int,
        operations: Collection[str] | None,
        read: Callable[[int, int], AsyncIterator[Event[Any]]],
        durable_seq: Callable[[], int],
        forget: Callable[[Subscription], None],
    ) -> None:
        self._next = start
        self._operations = operations
        self._read = read
        self._durable_seq = durable_seq
        self._forget = forget
        self._buffer: deque[Event[Any]] = deque()
        self._missed = start <= durable_seq()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._buffer)} events buffered"
        return f"<Subscription before event {self._next}: {state}>"

    def push(self, events: Sequence[Event[Any]]) -> None:
        """Durable events, from the store."""
        if not self._missed:
            if len(self._buffer) < BUFFER:
                self._put(events, events[-1].seq + 1)
            else:
                self._missed = True
        self._wake()

    def _put(self, events: Iterable[Event[Any]], then: int) -> None:
        """Take events into the buffer; ``then`` is the number of the first that follows them."""
        wanted, first = self._operations, self._next
        self._buffer.extend(
            event
            for event in events
            if event.seq >= first and (wanted is None or event.operation in wanted)
        )
        self._next = max(first, then)

    def end(self) -> None:
        """No more events will come."""
        self._ended = True
        self._wake()

    async def close(self) -> None:
        """Stop following. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            self._forget(self)
            self.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event[Any]:
        while not self._closed:
            if self._buffer:
                return copy_value(self._buffer.popleft())  # others are handed it too
            if self._missed:
                await self._catch_up()
            elif self._ended:
                break
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
        raise StopAsyncIteration

    async def _catch_up(self) -> None:
        """Read a batch from the log; once there is nothing to read, be served by pushes."""
        last = self._durable_seq()
        if self._next > last:
            self._missed = False
            return
        stop = min(self._next + BUFFER, last + 1)
        self._put([event async for event in self._read(self._next, stop)], stop)

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
