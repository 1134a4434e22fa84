"""Following a store: every durable event, in order, once, at the subscriber's own pace.

Theory of operation
-------------------
A subscription is a cursor: the number of the next event. Commits push their events into a short
buffer; a subscriber that keeps up is served from it. One that does not loses the buffer, not
events: it reads on from the log until it has caught up. So neither a slow subscriber nor a late
one costs memory, and the store never waits for any."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from types import TracebackType
from typing import Any

from eventstore.operation import Event

__all__ = ["Subscription"]

BUFFER = 4096


class Subscription:
    """An asynchronous iterator over events, to be entered with ``async with`` or closed.

    It ends when it is closed or when the store is. Cancelling a wait for the next event loses none.
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
        self._missed = True
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    def push(self, events: Iterable[Event[Any]]) -> None:
        """Durable events, from the store."""
        if not self._missed:
            self._buffer.extend(events)
            if len(self._buffer) > BUFFER:
                self._buffer.clear()
                self._missed = True
        self._wake()

    def end(self) -> None:
        """No more events will come."""
        self._ended = True
        self._wake()

    async def close(self) -> None:
        """Stop following."""
        self._forget(self)
        self.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event[Any]:
        while True:
            while self._buffer:
                event = self._buffer.popleft()
                if event.seq >= self._next:
                    self._next = event.seq + 1
                    if self._operations is None or event.operation in self._operations:
                        return event
            if self._ended:
                raise StopAsyncIteration
            if self._missed:
                await self._catch_up()
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None

    async def _catch_up(self) -> None:
        """Read a batch from the log; once there is nothing to read, be served by pushes."""
        last = self._durable_seq()
        if self._next > last:
            self._missed = False
            return
        stop = min(self._next + BUFFER, last + 1)
        batch = [event async for event in self._read(self._next, stop)]
        self._buffer.extend(batch)

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
