"""Room in a log's queue: whether events may be submitted, and who waits until they may.

Theory of operation
-------------------
A `Room` counts events. *Pending* events are queued or in flight. *Granted* events belong to an
append that waited and has not submitted yet. `count` more events fit if nothing is pending or
granted, or if the sum stays within `limit`. One group may therefore exceed the limit, alone.

*Waiting is in order of arrival.* While anyone waits, nobody else fits. A large group is therefore
never overtaken by small ones.

*A grant cannot be kept by mistake.* `wait_for` is a context manager. Its block runs once room is
granted, and submits without awaiting anything. Leaving the block ends the grant in every case. If
the block submitted, the same events are pending by then. If the block raised, the room is free.

*Nobody is forgotten.* Room becomes free in two ways: the log gives pending events back, and a
waiter leaves. Both ways grant room to the next waiters. A waiter leaves after a submission, a
refusal, a cancellation and a timeout alike.

*A closed room refuses everybody.* `close` stores the refusal and wakes every waiter. Each caller
gets a copy of the refusal, because Python would add to the traceback of a shared exception at
every `raise`.

*Cost.* A waiter leaves the line in constant time, wherever in the line the waiter stands. A deque
lost: a cancelled waiter would either be searched for, or stay in the deque until its turn.
A plain dictionary lost: finding its first key takes longer with every key deleted in front.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from types import TracebackType

from eventstore.errors import EventStoreError, StoreOverloadedError, fresh_error

__all__ = ["Room"]


class Room:
    """The room in the queue of one log, used on the event loop only.

    `limit` is in events. `pending` counts the events that are queued or in flight. The log adds to
    `pending` when events are queued. `refusal` is the error that closed the room, if any.
    """

    __slots__ = ("_granted", "_line", "limit", "pending", "refusal")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.pending: int = 0
        self.refusal: EventStoreError | None = None
        self._granted = 0
        self._line: OrderedDict[_Place, None] = OrderedDict()

    def ensure_open(self) -> None:
        """Raise a copy of the error that closed the room, if the room is closed."""
        if self.refusal is not None:
            raise fresh_error(self.refusal)

    def fits(self, count: int) -> bool:
        """Return whether `count` more events may be submitted now, ahead of nobody who waits."""
        taken = self.pending + self._granted
        return not self._line and (not taken or taken + count <= self.limit)

    def overloaded_error(self) -> StoreOverloadedError:
        """Return the error of a `submit` whose events do not fit."""
        return StoreOverloadedError(
            f"{self.pending} events wait to be written, the limit (max_pending) is "
            f"{self.limit}: await append(), which waits, or submit less at once",
            pending=self.pending,
            limit=self.limit,
        )

    def wait_for(self, count: int) -> _Place:
        """Return a context manager whose block runs once `count` events fit.

        The block submits the events, and awaits nothing. Entering raises the refusal if the room
        is closed meanwhile. Cancelling while entering gives up the place in the line: nothing was
        submitted.
        """
        return _Place(self, count)

    def give_back(self, count: int) -> None:
        """Take `count` events off `pending`, then let waiters go on."""
        self.pending -= count
        if self._line:
            self._grant()

    def close(self, refusal: EventStoreError) -> None:
        """Refuse everybody from now on with `refusal`, the waiters included."""
        self.refusal = refusal
        self._grant()

    def disown(self, refusal: EventStoreError) -> None:
        """Refuse everybody from now on, and wake nobody.

        In a forked child the waiters are the parent's. A forgotten store has no waiters, and its
        loop may be closed.
        """
        self.refusal = refusal
        self._line.clear()

    def enter(self, place: _Place) -> None:
        """Put `place` at the end of the line, and grant it room if there is room already."""
        self._line[place] = None
        self._grant()

    def leave(self, place: _Place) -> None:
        """Take `place` out of the line, or end its grant. Then let other waiters go on."""
        if place.granted:
            self._granted -= place.count
        else:
            self._line.pop(place, None)
        self._grant()

    def _grant(self) -> None:
        """Grant room to the first waiters in the line. A closed room grants to all of them."""
        while self._line:
            place = next(iter(self._line))
            if place.waits:
                taken = self._granted + self.pending
                if taken and taken + place.count > self.limit and self.refusal is None:
                    return
                self._granted += place.count
                place.grant()
            del self._line[place]


class _Place:
    """A place in the line of waiters. Once granted, a place is room for `count` events."""

    __slots__ = ("_room", "_turn", "count", "granted")

    def __init__(self, room: Room, count: int) -> None:
        self.count: int = count
        self.granted: bool = False
        self._room = room
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def waits(self) -> bool:
        """Whether somebody still waits here: a cancelled waiter leaves in a later turn."""
        # A closed loop runs no waiter any more, and refuses to wake one.
        return not self._turn.done() and not self._turn.get_loop().is_closed()

    def grant(self) -> None:
        self.granted = True
        self._turn.set_result(None)

    async def __aenter__(self) -> None:
        self._room.enter(self)
        try:
            await self._turn
            self._room.ensure_open()
        except BaseException:  # cancellation and the closing of a coroutine included
            self._room.leave(self)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._room.leave(self)
