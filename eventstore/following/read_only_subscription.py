"""The subscription of a store that was opened read-only, behind the files of the writer.

The state of such a store stays as of the opening, and the subscription goes on from there by
default. An opening beside the writer may see the record in flight, which no follower is given. The
subscription waits until that record is durable. If a power cut takes the record, the comparison of
the cursor says so (`HistoryForkedError`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from eventstore.cursor import Cursor
from eventstore.error_base import fresh_error
from eventstore.errors import CursorAheadError, NotAwaitedError, SubscriberTooSlowError
from eventstore.following.entrance import follower_of
from eventstore.log.durable import DurableLog
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.subscription import Asked, Subscription, too_slow_error

__all__ = ["FollowedSubscription"]

_PAUSE = 0.5
"""Seconds between two looks at the record in flight."""


class FollowedSubscription(Subscription):
    """A subscription of a store that was opened read-only, behind the place that was asked for.

    `last` is the cursor of the last event that the opening has seen.
    """

    def __init__(
        self,
        store: object,
        log: DurableLog,
        last: Cursor,
        registry: HandlerRegistry[Any],
        asked: Asked,
    ) -> None:
        self._store = store  # kept alive, as long as this subscription lives
        self._path = log.path
        self._last = last
        self._asked = asked
        self._own_place = asked.after is None and asked.name is None
        after = last if self._own_place else asked.after
        self._follower = follower_of(log.disk, registry, after, asked)
        self._current = self._closed = False
        self._failure: SubscriberTooSlowError | None = None

    def __repr__(self) -> str:
        return f"<Subscription of a read-only store: {self._follower!r}>"

    @property
    def cursor(self) -> Cursor:
        try:
            return self._follower.cursor
        except NotAwaitedError:
            after = self._asked.after
            return after if isinstance(after, Cursor) else self._last

    @property
    def lag(self) -> int:
        try:
            return max(self._follower.durable_seq - self._follower.seq, 0)
        except NotAwaitedError:
            return 0

    async def save(self) -> Cursor:
        return await self._follower.save()

    async def close(self) -> None:
        self._closed = True
        await self._follower.close()

    async def end(self) -> None:
        await self.close()

    async def __anext__(self) -> Event[Any]:
        max_lag = self._asked.max_lag
        while not self._closed:
            try:
                if max_lag is not None and await self._is_too_slow(max_lag):
                    self._failure = too_slow_error(self._path, self, max_lag)
                    await self.close()
                    break
                return await anext(self._follower)
            except CursorAheadError:
                if not self._own_place:
                    raise
                await asyncio.sleep(_PAUSE)  # another process tells nobody of its syncs
        if self._failure is not None:
            raise fresh_error(self._failure)
        raise StopAsyncIteration

    async def _is_too_slow(self, max_lag: int) -> bool:
        """Tell whether a subscriber once up to date is more than `max_lag` events behind."""
        await self._follower.__aenter__()  # begins to read
        lag = self.lag
        self._current = self._current or not lag
        return self._current and lag > max_lag
