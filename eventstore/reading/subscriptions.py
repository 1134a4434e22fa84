"""The subscriptions of one store: beginning, lag and end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Literal

import msgspec

from eventstore.arguments import argument_error
from eventstore.cursor import Cursor
from eventstore.error_base import fresh_error
from eventstore.errors import StoreClosedError, StoreReadOnlyError
from eventstore.log.base import Log
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import Moment, place_of
from eventstore.reading.live_events import BUFFER, LiveEvents
from eventstore.reading.selection import checked_operations
from eventstore.reading.subscription import Following, Subscription
from eventstore.report import StoreStats

__all__ = ["SlowPolicy", "Subscriptions"]

SlowPolicy = Literal["wait", "error"]
"""What becomes of a slow subscriber: events wait in the log, or the subscription ends."""


class Subscriptions(LiveEvents[Subscription]):
    """The subscriptions of one store, and the shared list of recent events."""

    def __init__(self) -> None:
        super().__init__()
        self._made = 0
        self._stopped = False
        self._checks_lag = False

    def subscribe(
        self,
        store: object,
        log: Log,
        registry: HandlerRegistry[Any],
        last: Cursor,
        after: Moment | None,
        operations: Collection[str] | None,
        slow: SlowPolicy,
        max_lag: int,
    ) -> Subscription:
        """Make a subscription behind the place `after`, by default behind the last durable event.

        `last` is the cursor of the last durable event. The subscription keeps `store` alive. Raises
        `StoreClosedError`, `StoreReadOnlyError`, `ConfigError`, and for a cursor of another
        history `HistoryForkedError` and `ForeignCursorError`.
        """
        place = None if after is None else place_of(after, "after")
        wanted = checked_operations(operations, registry.operations)
        limit = _checked_limit(slow, max_lag)
        self._ensure_followable(log)
        if isinstance(place, Cursor):
            log.lineage.check(place)
            last = place
        elif place is not None:  # the place of a time is found when the iteration begins
            last = log.lineage.cursor(max(place, 0) if isinstance(place, int) else 0, None)
        self._made += 1
        following = Following(store, log, registry, place, wanted, limit)
        subscription = Subscription(self, self._made, last, following)
        self.add(self._made, subscription)
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

    def _overflow(self, newest: int) -> None:
        super()._overflow(newest)
        if not self._checks_lag:
            self._checks_lag = True
            asyncio.get_running_loop().call_soon(self._check_lag)  # after the commit was told

    def _check_lag(self) -> None:
        self._checks_lag = False
        for subscription in self.alive():
            subscription.warn_of_lag(BUFFER)

    def add_to(self, stats: StoreStats) -> StoreStats:
        """Return `stats` with the subscribers' own figures."""
        lags = [subscription.lag for subscription in self.alive()]
        return msgspec.structs.replace(
            stats, subscribers=len(lags), subscriber_lag=max(lags, default=0)
        )

    def stop(self) -> None:
        """Refuse new subscriptions: the store is to be closed."""
        self._stopped = True

    async def end(self) -> None:
        """Note that no more events will come, and close the readings."""
        self.ended = True
        self.wake()
        for subscription in self.alive():
            await subscription.close_reading()


def _checked_limit(slow: Any, max_lag: Any) -> int | None:
    """Return the events that a subscriber may be behind, `None` for any number."""
    if type(slow) is not str or slow not in ("wait", "error"):
        raise argument_error("slow", slow, "expected 'wait' or 'error'")
    if type(max_lag) is not int or max_lag < 1:
        raise argument_error("max_lag", max_lag, "expected a number of events, at least 1")
    return max_lag if slow == "error" else None
