"""The subscriptions of one store: beginning, lag and end."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection
from typing import Any, Literal

import msgspec

from eventstore.arguments import argument_error
from eventstore.cursor import Cursor
from eventstore.error_base import fresh_error
from eventstore.errors import StoreClosedError
from eventstore.log.base import Log
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import Moment, place_of
from eventstore.named_cursors import checked_name
from eventstore.reading.arguments import checked_operations
from eventstore.reading.live_subscription import LiveSubscription
from eventstore.reading.recent_events import BUFFER, LiveEvents
from eventstore.reading.subscription import Asked, Subscription
from eventstore.recovery_and_stats import StoreStats

__all__ = ["SlowPolicy", "Subscriptions", "asked_for"]

SlowPolicy = Literal["wait", "error"]
"""What becomes of a slow subscriber: events wait in the log, or the subscription ends."""


class Subscriptions(LiveEvents[LiveSubscription]):
    """The subscriptions of one store, and the shared list of recent events."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()  # a log in memory commits while no loop runs, too
        self._made = 0
        self._followed: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._stopped = False
        self._checks_lag = False

    def subscribe(
        self,
        store: object,
        log: Log,
        registry: HandlerRegistry[Any],
        last: Cursor,
        asked: Asked,
    ) -> Subscription:
        """Make a subscription of a store that is open for writing, or in memory.

        `last` is the cursor of the last durable event. The subscription keeps `store` alive. Raises
        `StoreClosedError`, and for a cursor of another history `HistoryForkedError` and
        `ForeignCursorError`.
        """
        refusal = log.appender.room.refusal
        if isinstance(refusal, StoreClosedError):
            raise fresh_error(refusal)
        place = asked.after
        if isinstance(place, Cursor):
            log.lineage.check(place)
            last = place
        elif place is not None or asked.name is not None:  # the rest is found by the iteration
            last = log.lineage.cursor(max(place, 0) if isinstance(place, int) else 0, None)
        self._made += 1
        subscription = LiveSubscription(self, self._made, store, log, registry, last, asked)
        self.add(self._made, subscription)
        return subscription

    def follow(self, subscription: Subscription) -> Subscription:
        """Count a subscription that follows the files of the writer, and return it."""
        self._followed.add(subscription)
        return subscription

    def ensure_open(self, path: str) -> None:
        """Raise `StoreClosedError` once the store at `path` is to be closed."""
        if self._stopped:
            raise StoreClosedError(f"{path} is closed", path=path)

    def _overflow(self, newest: int) -> None:
        super()._overflow(newest)
        if not self._checks_lag:
            self._checks_lag = True
            self._loop.call_soon(self._check_lag)  # after the commit was told

    def _check_lag(self) -> None:
        self._checks_lag = False
        for subscription in self.alive():
            subscription.warn_of_lag(BUFFER)

    def add_to(self, stats: StoreStats) -> StoreStats:
        """Return `stats` with the subscribers' own figures."""
        lags = [subscription.lag for subscription in (*self.alive(), *self._followed)]
        return msgspec.structs.replace(
            stats, subscribers=len(lags), subscriber_lag=max(lags, default=0)
        )

    def stop(self) -> None:
        """Refuse new subscriptions: the store is to be closed."""
        self._stopped = True

    async def end_followed(self) -> None:
        """End the subscriptions that read the disk of the store, before the disk is closed."""
        for subscription in list(self._followed):
            await subscription.end()

    async def end(self) -> None:
        """Note that no more events will come, and close the readings."""
        self.ended = True
        self.wake()
        for subscription in self.alive():
            await subscription.end()


def asked_for(
    registry: HandlerRegistry[Any],
    after: Moment | None,
    operations: Collection[str] | None,
    slow: SlowPolicy,
    max_lag: int,
    name: str | None,
) -> Asked:
    """Check what a subscriber asks for. Raises `ConfigError` and `UnknownOperationError`."""
    place = None if after is None else place_of(after, "after")
    wanted = checked_operations(operations, registry.operations)
    given: Any = slow
    if type(given) is not str or given not in ("wait", "error"):
        raise argument_error("slow", given, "expected 'wait' or 'error'")
    number: Any = max_lag
    if type(number) is not int or number < 1:
        raise argument_error("max_lag", max_lag, "expected a number of events, at least 1")
    return Asked(
        place,
        wanted,
        max_lag if slow == "error" else None,
        None if name is None else checked_name(name),
    )
