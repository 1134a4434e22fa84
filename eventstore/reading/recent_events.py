"""The recent events of an open store, which all subscriptions of the store share.

Theory of operation
-------------------
A commit appends new events to one list, whatever the number of subscriptions. A subscription
without a reader therefore costs a commit nothing. The list is bounded, and empty while every
subscriber waits. A subscriber behind the beginning of the list reads on from the log.

Beside each event stands the group of the event, in encoded form. A cursor needs the bytes of the
event, and is asked for seldom.

The store refers to subscriptions weakly. A subscription left with `break`, or never iterated, ends
with the last reference of the program. While a task waits, the store refers to the subscription
strongly. asyncio refers to a waiting task weakly, so a task without another reference would be
collected during the wait.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from eventstore.cursor import Cursor, checksum_at
from eventstore.model.codec import array_header
from eventstore.model.operation import Event

__all__ = ["BUFFER", "Group", "LiveEvents"]

BUFFER = 4096
"""Recent events that are kept at least. At most twice as many are kept, or one group."""


class Group(NamedTuple):
    """The encoded events of one record: `events` events from number `first_seq` on."""

    first_seq: int
    events: int
    body: bytes

    def checksum(self, seq: int) -> int:
        """Return the checksum of event `seq`."""
        return checksum_at(array_header(self.events) + self.body, seq - self.first_seq)


class Waiting(Protocol):
    """A subscription that can be woken."""

    def wake(self) -> None:
        """Wake all tasks that wait for the next event."""


WaitingT = TypeVar("WaitingT", bound=Waiting)


class LiveEvents(Generic[WaitingT]):
    """The shared list of recent events, and the subscriptions that are alive.

    Attributes:
        active: Whether commits are to be told to `push`.
        ended: Whether no more events will come.
        recent: Recent events in order, each with its group.
        named: Cursors saved by name, in a store without a log on disk.
    """

    def __init__(self) -> None:
        self.active: bool = False
        self.ended: bool = False
        self.recent: list[tuple[Event[Any], Group]] = []
        self.named: dict[str, Cursor] = {}
        self._live: dict[int, weakref.ref[WaitingT]] = {}
        self._waiting: dict[WaitingT, None] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._live)} alive, {len(self._waiting)} wait>"

    def __len__(self) -> int:
        return len(self._live)

    def push(self, events: Sequence[Event[Any]], body: bytes) -> None:
        """Take the durable events of one submission, in order, and their encoded form.

        Called while `active`. The end of a commit is told again after an interruption. The events
        are taken once.
        """
        recent = self.recent
        if not self._live:  # nobody is left. The collector may say so on any thread, so not there
            self.active = False
            recent.clear()
            return
        first = events[0].seq
        if not recent or first > recent[-1][0].seq:
            group = Group(first, len(events), body)
            recent.extend(zip(events, itertools.repeat(group)))
        if len(recent) > 2 * BUFFER:
            self._overflow(len(events))
        if self._waiting:
            self.wake()

    def _overflow(self, newest: int) -> None:
        """Drop old events, which some subscriber was not given yet. Keep the `newest` ones."""
        del self.recent[: -max(BUFFER, newest)]

    def wake(self) -> None:
        """Wake every subscription that waits for the next event."""
        waiting, self._waiting = self._waiting, {}
        for subscription in waiting:
            subscription.wake()

    def hold(self, subscription: WaitingT) -> None:
        """Keep a subscription alive while a task waits for the next event."""
        self._waiting[subscription] = None
        if len(self._waiting) == len(self._live):  # everybody has everything
            self.recent.clear()

    def release(self, subscription: WaitingT) -> None:
        """Take back `hold`: no task waits any more."""
        self._waiting.pop(subscription, None)

    def add(self, number: int, subscription: WaitingT) -> None:
        """Count a subscription as alive, until `remove` or the end of the last reference."""
        forget = functools.partial(self._live.pop, number, None)
        self._live[number] = weakref.ref(subscription, lambda _: forget())
        self.active = True

    def remove(self, number: int) -> None:
        """Forget a subscription that was closed."""
        self._live.pop(number, None)

    def alive(self) -> list[WaitingT]:
        """Return the subscriptions that are alive."""
        found = [reference() for reference in self._live.copy().values()]
        return [subscription for subscription in found if subscription is not None]
