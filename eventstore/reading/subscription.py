"""Following a store: every durable event, in order, once, at the subscriber's own pace.

Theory of operation
-------------------
A subscription is a cursor and a short buffer. The cursor is the number of the first event behind
the buffer. Commits push their events into the buffer, and a subscriber that keeps up is served from
the buffer. Once the buffer is full, further events stay in the log only. A subscriber that has
emptied the buffer reads on from the log, batch by batch, until the cursor has caught up. So neither
a slow subscriber nor a late one costs memory, and the store never waits for a subscriber.

An event leaves the buffer only to be handed over at once, and a batch enters the buffer whole.
Therefore a cancelled wait loses no event. When an upcaster splits an old event, several events have
the same number.
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
"""Events in the buffer beyond which pushed events stay in the log."""


class Subscription:
    """An asynchronous iterator over events, to be entered with `async with` or closed.

    The iteration ends when the subscription is closed. The iteration also ends after the last event
    once the store is closed. A subscriber that is too far behind when the store is closed gets
    `StoreClosedError`. The remaining events are in the log.

    Cancelling a wait for the next event loses no event. One task at a time may wait.
    """

    def __init__(
        self,
        start: int,
        operations: Collection[str] | None,
        read: Callable[[int, int], AsyncIterator[Event[Any]]],
        durable_seq: Callable[[], int],
        unsubscribe: Callable[[Subscription], None],
    ) -> None:
        self._next_seq = start
        self._operations = operations
        self._read = read
        self._durable_seq = durable_seq
        self._unsubscribe = unsubscribe
        self._buffer: deque[Event[Any]] = deque()
        self._behind = start <= durable_seq()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._buffer)} events buffered"
        return f"<Subscription before event {self._next_seq}: {state}>"

    def push(self, events: Sequence[Event[Any]]) -> None:
        """Take durable events from the store, in order."""
        if not self._behind:
            if len(self._buffer) < BUFFER:
                self._fill_buffer(events, events[-1].seq + 1)
            else:
                self._behind = True
        self._wake()

    def _fill_buffer(self, events: Iterable[Event[Any]], then: int) -> None:
        """Add events to the buffer. `then` is the number of the first event that follows."""
        wanted, first = self._operations, self._next_seq
        self._buffer.extend(
            event
            for event in events
            if event.seq >= first and (wanted is None or event.operation in wanted)
        )
        self._next_seq = max(first, then)

    def end(self) -> None:
        """Note that no more events will come."""
        self._ended = True
        self._wake()

    async def close(self) -> None:
        """Stop following, and end the iteration. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            self._unsubscribe(self)
            self.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event[Any]:
        while not self._closed:
            if self._buffer:
                # a copy: other subscribers get the same event
                return copy_value(self._buffer.popleft())
            if self._behind:
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
        """Read a batch from the log. Once there is nothing to read, leave the rest to pushes."""
        last = self._durable_seq()
        if self._next_seq > last:
            self._behind = False
            return
        stop = min(self._next_seq + BUFFER, last + 1)
        self._fill_buffer([event async for event in self._read(self._next_seq, stop)], stop)

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
