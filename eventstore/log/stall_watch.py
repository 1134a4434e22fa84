"""The watch over the writer's jobs: what hangs, who waits for it, and how many events wait.

Theory of operation
-------------------
The watch ticks while jobs are in flight. A tick compares the job in flight with the job of the tick
before. A job seen twice has hung since the first sight, at least. The commit path pays one
comparison for each job: `armed` says whether the watch ticks already.

*A stall* is a job that hangs for `slow_sync`. One warning tells of the stall while the stall lasts,
and one more line tells of the end.

*An overdue commit* hangs for `commit_timeout`, or waits behind a job that does. The waiters get
`OutcomeUnknownError`, once. The write goes on, and the receipts stay pending until the outcome is
known. A receipt without a waiter at that time tells the next one who awaits the receipt. Only the
submissions of `commit_timeout` ago are overdue, so each tick notes the number of the last
submission.

*A queue past half* of `max_pending` is told at a tick, and ends below a quarter.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterable

from eventstore.config import StoreConfig
from eventstore.errors import OutcomeUnknownError
from eventstore.log.backpressure import Room
from eventstore.log.base import Numbers, Record
from eventstore.model.operation import Receipt
from eventstore.operator_log import operator_log
from eventstore.standing_warnings import StandingWarnings

__all__ = ["CommitWatch"]

_logger = operator_log("eventstore.log.writer")

_SHORTEST = 0.01  # seconds between two ticks, at least
_LOOKS = 4  # ticks in a `commit_timeout`, at least


class CommitWatch:
    """The watch of one log.

    `flight` returns the job in flight, if any, and `left` the records without an outcome.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: StoreConfig,
        warnings: StandingWarnings,
        room: Room,
        numbers: Numbers,
        flight: Callable[[], object | None],
        left: Callable[[], Iterable[Record]],
    ) -> None:
        self.armed = False
        self._loop = loop
        self._limit = max(config.slow_sync, _SHORTEST)
        self._timeout = config.commit_timeout
        self._replicate = config.replicate
        self._period = self._limit
        if self._timeout is not None:
            self._period = min(self._limit, max(self._timeout / _LOOKS, _SHORTEST))
        self._warnings = warnings
        self._room = room
        self._numbers = numbers
        self._flight = flight
        self._left = left
        self._seen: object | None = None
        self._since = 0.0
        self._stalled = False
        self._heads: deque[tuple[float, int]] = deque()  # by time, the last number given out
        self._overdue = 0  # the last number whose waiters were told
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stalled(self) -> float:
        """Seconds that the job in flight has hung for, 0.0 while no warning stands."""
        return self._loop.time() - self._since if self._stalled else 0.0

    @property
    def _awaited(self) -> str:
        """What the job in flight waits for. The closing of a copied log waits for the cluster."""
        replicate, closing = self._replicate, self._room.refusal is not None
        if replicate is None or not (closing or replicate.acknowledge == "quorum"):
            return "the disk"
        return "the disk or the cluster"

    def arm(self) -> None:
        """Watch the job that is in flight now, and all later ones until none is."""
        self._see(self._loop.time(), self._flight())
        self._start()

    def _see(self, now: float, flight: object | None) -> None:
        self._seen, self._since = flight, now
        self._heads.clear()
        self._heads.append((now, self._numbers.head))

    def _start(self) -> None:
        """Start the timer of the next tick, and no second one after an interruption."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._period, self._tick)
        self.armed = True

    def end(self) -> None:
        """Stop watching: no job follows."""
        self.armed = True
        self._seen = None
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self.armed = False  # after an interruption the next job starts the watch again
        now, flight = self._loop.time(), self._flight()
        hung = now - self._since
        if flight is not self._seen:
            self._stalled = False
            self._warnings.end("stall", f"{self._awaited} answered after {hung:.3f} s")
            self._see(now, flight)
        elif flight is not None:
            if not self._stalled and hung >= self._limit:
                self._stalled = True
                self._warnings.begin(
                    "stall",
                    f"{self._awaited} has not answered for {hung:.3f} s, and {self._room.pending} "
                    "events wait for it: is it overloaded, or gone?",
                    _logger,
                )
            if self._timeout is not None:
                self._tell_overdue(now, self._timeout)
        self._look_at_queue()
        if flight is not None:
            self._start()

    def _tell_overdue(self, now: float, timeout: float) -> None:
        """Tell the waiters of the submissions from `timeout` seconds ago and before."""
        heads, overdue = self._heads, 0
        heads.append((now, self._numbers.head))
        while heads and heads[0][0] <= now - timeout:
            overdue = heads.popleft()[1]
        if overdue > self._overdue:
            self._overdue = overdue
            error = functools.partial(self._unknown, now - self._since, timeout)
            for record in self._left():
                record.outcome.leave_unknown(overdue, error)

    def _unknown(self, waited: float, timeout: float, receipt: Receipt) -> OutcomeUnknownError:
        first, last = receipt.first_seq, receipt.seq
        events = f"event {last}" if first == last else f"events {first} to {last}"
        return OutcomeUnknownError(
            f"{self._warnings.path}: {self._awaited} has not answered for {waited:.1f} s, longer "
            f"than the commit_timeout of {timeout} s. Whether {events} will be in the log is "
            "unknown, and the write goes on. Await error.receipt for the outcome. Append again "
            "only with the same key",
            path=self._warnings.path,
            waited=waited,
            receipt=receipt,
        )

    def _look_at_queue(self) -> None:
        pending, limit = self._room.taken, self._room.limit
        if pending * 2 > limit:
            self._warnings.begin(
                "queue",
                f"{pending} of at most {limit} events (max_pending) wait to be written: the disk "
                "is slower than the appends",
                _logger,
            )
        elif pending * 4 <= limit:
            self._warnings.end("queue", f"{pending} events wait to be written")
