"""Room in a log's queue: whether events may be submitted, and who waits until they may.

Theory of operation
-------------------
A `Room` counts events. *Pending* events are queued or in flight. *Granted* events belong to an
append that waited and has not submitted yet, or to a group whose keys are being looked up. `count`
more events fit if nothing is pending or granted, or if the sum stays within `limit`. One group may
therefore exceed the limit, alone.

*Waiting is in order of arrival.* While anyone waits, nobody else fits. A large group is therefore
never overtaken by small ones.

*A grant cannot be kept by mistake.* `submit_when_fits` gets the function that submits, and calls
the function once room is granted. The grant ends with the call in every case. If the function
submitted, the same events are pending by then. If the function raised, the room is free. Two
alternatives lost. After a method that only waits, the caller can fail before the submission. The
block of a context manager can await something, and costs two more calls.

*A group with keys to be looked up holds its grant* until it was queued, or was found to be known or
refused (`hold` and `release`). Such a group was let in when it was submitted, and waits for room no
second time.

*Nor by an interruption.* An exception of a signal handler can come between any two steps. Each
grant is kept under its owner (`_grants`). While a grant changes, the sum (`_granted`) is unknown,
and an unknown sum is added up again.

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
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from eventstore.error_base import fresh_error
from eventstore.errors import (
    EventStoreError,
    LowSpaceError,
    StoreFailedError,
    StoreOverloadedError,
)

__all__ = ["Room"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Room:
    """The room in the queue of one log, used on the event loop only.

    `limit` is in events. `pending` counts the events that are queued or in flight. The log adds to
    `pending` when events are queued. `refusal` is the error that closed the room, if any.
    `reserved` makes the error for events that are not essential, while space on the disk is kept
    for essential ones. Otherwise `reserved` is `None`.
    """

    __slots__ = ("_granted", "_grants", "_waiters", "limit", "pending", "refusal", "reserved")

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.pending: int = 0
        self.refusal: EventStoreError | None = None
        self.reserved: Callable[[], LowSpaceError] | None = None
        self._granted: int | None = 0
        self._grants: dict[object, int] = {}
        # The number of events by the future that is done once room for them is granted.
        self._waiters: OrderedDict[asyncio.Future[None], int] = OrderedDict()

    def ensure_open(self) -> None:
        """Raise a copy of the error that closed the room, if the room is closed."""
        if self.refusal is not None:
            raise fresh_error(self.refusal)

    @property
    def taken(self) -> int:
        """The events that are pending, granted, or held for a look-up."""
        if not self._grants:
            return self.pending
        if self._granted is None:  # after an interruption
            self._granted = sum(self._grants.values())
        return self.pending + self._granted

    def fits(self, count: int) -> bool:
        """Return whether `count` more events may be submitted now, ahead of nobody who waits."""
        taken = self.taken if self._grants else self.pending
        return not self._waiters and (not taken or taken + count <= self.limit)

    def hold(self, owner: object, count: int) -> None:
        """Take room for `count` events that found room, until `release`: they come later."""
        granted, self._granted = self.taken - self.pending, None
        self._grants[owner] = count
        self._granted = granted + count

    def release(self, owner: object) -> None:
        """Give back the room that `owner` holds, if any, and let waiters go on."""
        self._give_up(owner)
        if self._waiters:
            self._grant()

    def _give_up(self, owner: object) -> None:
        granted, self._granted = self.taken - self.pending, None
        self._granted = granted - self._grants.pop(owner, 0)

    def overloaded_error(self) -> StoreOverloadedError:
        """Return the error of a `submit` whose events do not fit."""
        taken = self.taken
        return StoreOverloadedError(
            f"{taken} events wait to be written, the limit (max_pending) is "
            f"{self.limit}: await append(), which waits, or submit less at once",
            pending=taken,
            limit=self.limit,
        )

    async def submit_when_fits(
        self, count: int, submit: Callable[[*Arguments], T], *arguments: *Arguments
    ) -> T:
        """Wait until `count` events fit, then call `submit` in the same turn of the loop.

        Returns the result of `submit`. Raises the exception of `submit`, or the refusal if the room
        is closed meanwhile. Cancelling while waiting gives up the place in the line: `submit` was
        not called.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._waiters[turn] = count
            if len(self._waiters) == 1:
                self._grant()
            await turn
            if self.refusal is not None:
                self.ensure_open()
            before = self.pending
            result = submit(*arguments)
            if self.pending - before == count:  # the submitted events take the room of the grant
                self._give_up(turn)
                self._waiters.pop(turn, None)  # in line where an interruption cut off `_grant`
            else:
                self._leave(turn)
        except BaseException:  # cancellation, the closing of a coroutine, an interruption
            try:
                self._leave(turn)
            except BaseException:  # an interruption of the leaving
                self._leave(turn)
                raise
            raise
        return result

    def give_back(self, count: int) -> None:
        """Take `count` events off `pending`, then let waiters go on."""
        self.pending -= count
        if self._waiters:
            self._grant()

    @property
    def failure(self) -> StoreFailedError | None:
        """The error that made the log read-only until it is reopened, if one did."""
        refusal = self.refusal
        return refusal if isinstance(refusal, StoreFailedError) else None

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
        self._waiters.clear()

    def _leave(self, turn: asyncio.Future[None]) -> None:
        """Take a waiter out of the line, or end its grant. Then let other waiters go on."""
        self._give_up(turn)
        self._waiters.pop(turn, None)
        # A closed loop refuses to wake anybody.
        if self._waiters and not turn.get_loop().is_closed():
            self._grant()

    def _grant(self) -> None:
        """Grant room to the first waiters in the line. A closed room wakes all of them."""
        gone, taken = 0, self.taken
        for turn, count in self._waiters.items():
            if not turn.done():  # else its waiter was cancelled, and leaves in a later turn
                # A refused waiter takes no room. One with a grant was cut off by an interruption.
                if self.refusal is None and turn not in self._grants:
                    if taken and taken + count > self.limit:
                        break
                    self.hold(turn, count)
                    taken += count
                turn.set_result(None)
            gone += 1
        for _ in range(gone):
            self._waiters.popitem(last=False)
