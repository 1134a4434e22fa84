"""The reading side of an open store: its place in history, its events, its subscriptions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import Any, Generic, TypeVar

from eventstore.arguments import argument_error
from eventstore.cursor import Cursor
from eventstore.log.base import Log
from eventstore.log.durable import DurableLog
from eventstore.missing_await import awaited
from eventstore.model.operation import Event, Operation
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import Moment, seq_of
from eventstore.open_store.append_path import AppendPath
from eventstore.reading.open_store_events import durable_events
from eventstore.reading.subscription import Subscription
from eventstore.reading.subscriptions import SlowPolicy, Subscriptions, asked_for

__all__ = ["StoreReading"]

StateT = TypeVar("StateT")


class StoreReading(Generic[StateT]):
    """The methods of `EventStore` that read durable events."""

    log: Log
    registry: HandlerRegistry[StateT]
    _append_path: AppendPath[StateT]
    _subscriptions: Subscriptions

    @property
    def cursor(self) -> Cursor:
        """The place behind the last durable event, to go on from later, here or elsewhere.

        Wherever a number or a time is taken, a cursor is taken too. Reading on gives the next
        event, or `HistoryForkedError` where the history is not the cursor's.
        """
        return self._append_path.cursor

    def events(
        self,
        start: Moment = 1,
        stop: Moment | None = None,
        *,
        operations: Collection[str] | None = None,
        gaps: bool = False,
    ) -> AsyncGenerator[Event[Any], None]:
        """Iterate over durable events from `start` to `stop` (exclusive), by default to the last.

        `start` and `stop` are sequence numbers, times or cursors, as in `read_events`. `operations`
        keeps only events of those names. `gaps` shows an `EventsLost` in the place of each event
        that a repair could not give back. Files are read off the event loop, and memory stays
        flat.

        Raises `HistoryUnavailableError` where the event at `start` was discarded,
        `HistoryForkedError` and `ForeignCursorError` for a cursor of another history,
        `CorruptLogError` and `ReadFailedError`.
        """
        return durable_events(self.log, self.registry, start, stop, operations, gaps)

    @awaited
    async def find(
        self, key: Any, operation: type[Operation] | str | None = None
    ) -> Event[Any] | None:
        """Return the durable event that was recorded under an identity key, `None` for none.

        `key` is the text of the key, or the parts in the order of the class argument. `operation`
        is a payload class or a name. Without one, the oldest event of any operation is returned.
        Where the event itself is gone, the data is `None`. Reads off the event loop.

        Raises `UnknownOperationError`, `InvalidPayloadError` for a key that identifies nothing, and
        `CorruptStoreError` for a damaged run of keys. Raises `StoreUsageError` in another thread
        or event loop.
        """
        self.log.guard.check()
        return await self._append_path.keyed.find(key, operation)

    def subscribe(
        self,
        *,
        after: Moment | None = None,
        start: int | None = None,
        operations: Collection[str] | None = None,
        slow: SlowPolicy = "wait",
        max_lag: int = 10_000,
        cursor: str | None = None,
    ) -> Subscription:
        """Follow the store: iterate asynchronously over durable events, history first, then live.

        Each event comes once, in order, and only once it is durable. A slow subscriber costs the
        writer nothing: events wait in the log. In a store that was opened read-only, the
        subscription follows the writer, in whatever process, behind the state of the opening.

        Args:
            after: the place to go on from, by default the last durable event. A number or a
                `Cursor` gives the event behind, 0 the first event. A time, given as to
                `read_events`, gives the first later event.
            start: the number of the first event, in place of `after`, as `read_events` takes it.
            operations: the names of the operations to give, by default all.
            slow: `"wait"`, or `"error"` to end a subscription that was up to date and is more than
                `max_lag` events behind, with `SubscriberTooSlowError`.
            max_lag: a number of events.
            cursor: a name under which the subscriber saves its place, with
                `await subscription.save()`. The subscription begins behind the saved place. A new
                name begins behind `after`, by default at the first event.

        Raises:
            StoreClosedError: the store was closed.
            StoreUsageError: the call is from another thread or event loop.
            ForeignCursorError, HistoryForkedError: the cursor is of another history. A cursor that
                differs in the checksum alone is refused by the iteration.
        """
        if start is not None:
            if after is not None:
                raise argument_error("start", start, "expected start or after, and not both")
            after = max(seq_of(start, "start"), 1) - 1
        self.log.guard.check()
        asked = asked_for(self.registry, after, operations, slow, max_lag, cursor)
        subscriptions, log = self._subscriptions, self.log
        subscriptions.ensure_open(log.path)
        if not isinstance(log, DurableLog) or not log.read_only:
            return subscriptions.subscribe(self, log, self.registry, self.cursor, asked)
        from eventstore.following.read_only_subscription import FollowedSubscription

        return subscriptions.follow(
            FollowedSubscription(self, log, self.cursor, self.registry, asked)
        )
