"""A subscription as a subscriber sees it: the result of `EventStore.subscribe`.

There are two kinds. In the process of the writer, commits push events (`live_subscription.py`). A
store that was opened read-only follows the writer's files (`following/read_only_subscription.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Any, NamedTuple

from eventstore.cursor import Cursor
from eventstore.errors import ConfigError, SubscriberTooSlowError
from eventstore.missing_await import AsyncStream
from eventstore.model.operation import Event
from eventstore.moment import NamedPlace

__all__ = ["Asked", "Subscription", "checked_to_save", "too_slow_error"]


class Asked(NamedTuple):
    """The wishes of a subscriber.

    - `after`: the place to begin behind, `None` for the last durable event.
    - `operations`: the names of the operations to give, `None` for all.
    - `name`: the name of the subscriber's saved cursor, `None` without one.
    - `max_lag`: events that the subscriber may be behind, once it was up to date.
    """

    after: NamedPlace | None
    operations: Collection[str] | None
    max_lag: int | None
    name: str | None = None


class Subscription(AsyncStream):
    """An asynchronous iterator over events, to be entered with `async with` or closed.

    The iteration ends when the subscription is closed. The iteration also ends after the last event
    once the store is closed. A subscriber that is too far behind when the store is closed gets
    `StoreClosedError`. The remaining events are in the log.

    Cancelling a wait for the next event loses no event. Where several tasks wait, each event goes
    to one task.
    """

    @property
    def cursor(self) -> Cursor:
        """The place behind the last event given, to go on from with `subscribe(after=cursor)`.

        An event counts as given once the iteration has returned the event. An event left out by
        `operations` counts as given once it was passed.
        """
        raise NotImplementedError

    @property
    def lag(self) -> int:
        """The number of durable events not given to the subscriber yet."""
        raise NotImplementedError

    async def save(self) -> Cursor:
        """Save the cursor durably under the subscription's name, and return the cursor.

        Called after the work on an event. Where the program dies between the work and the save, the
        event comes again: each event comes at least once.

        Cancelling cancels the waiting, and the save goes on. Raises `ConfigError` for a
        subscription without a name, `CursorNotSavedError` where the earlier cursor is kept, and
        `StoreClosedError`.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Stop following, and end the iteration. A second call does nothing."""
        raise NotImplementedError

    async def end(self) -> None:
        """Note that the store is closed: no more events will come."""
        raise NotImplementedError

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event[Any]:
        raise NotImplementedError

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def too_slow_error(path: str, slow: Subscription, max_lag: int) -> SubscriberTooSlowError:
    """Return the error for a subscription of more than `max_lag` events behind."""
    lag, cursor = slow.lag, slow.cursor
    return SubscriberTooSlowError(
        f"{path}: the subscriber is {lag} events behind, more than {max_lag}, and the subscription "
        f"has ended behind event {cursor.seq}. Subscribe with after=error.cursor to go on there, "
        "or with slow='wait'",
        path=path,
        lag=lag,
        max_lag=max_lag,
        cursor=cursor,
    )


def checked_to_save(name: str | None) -> str:
    """Return the name to save a cursor under. Raises `ConfigError` where there is none."""
    if name is None:
        raise ConfigError(
            "there is no name to save the cursor under: give the subscription one with "
            "cursor='name'",
            key="cursor",
        )
    return name
