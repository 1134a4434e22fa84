"""Timers of the commit path: the idle seal, and the sync of timed records.

Both start with a commit. A timer of a closed log does nothing, and none is started for it.

An exception of a signal handler can lose a callback: of the loop, or of a timer here. An idle timer
that is late, and a sync timer that is a second late, are taken for lost, and the next commit starts
the timer again. The idle timer also starts whenever a commit is scheduled on the loop. The job of
the seal then starts a queue whose callback was lost. The next commit may be the lost one, so the
idle timer has no second to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eventstore.config import StoreConfig
from eventstore.log.backpressure import Room
from eventstore.log.levels import TIMED

__all__ = ["CommitTimers"]

_BUSY_RETRY = 0.01  # seconds until the idle seal is tried again where a job was in flight
_LOST = 1.0  # seconds after which a sync timer that has not come is taken for lost
_NEVER = float("-inf")


class CommitTimers:
    """The two timers of one log.

    `room` tells whether the log is closed, `busy` whether a job is in flight, and `unsynced`
    whether acknowledged events wait for a sync. `seal` runs `idle_seal` seconds after the last
    commit. `sync` runs `sync_interval` seconds after the first timed record since the last run, if
    anything is unsynced then.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: StoreConfig,
        room: Room,
        *,
        busy: Callable[[], bool],
        unsynced: Callable[[], bool],
        seal: Callable[[], None],
        sync: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._room = room
        self._busy = busy
        self._unsynced = unsynced
        self._seal = seal
        self._sync = sync
        self._idle_seal = config.idle_seal
        self._sync_interval = config.sync_interval
        self._last_commit = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        # The times at which a running timer is lost. Until then no other one is started.
        self._idle_lost_at = self._sync_lost_at = _NEVER

    def committed(self, level: int) -> None:
        """Note the time of a commit of a `level`, and start the timers that do not run."""
        if self._room.refusal is not None:
            return
        now = self._last_commit = self._loop.time()
        if now >= self._idle_lost_at:
            self._start_idle(now, self._idle_seal)
        if level == TIMED and now > self._sync_lost_at:
            self._sync_lost_at = now + self._sync_interval + _LOST
            self._sync_timer = self._loop.call_later(self._sync_interval, self._on_sync_timer)

    def start_idle(self) -> None:
        """Start the idle timer if the timer does not run."""
        now = self._loop.time()
        if now >= self._idle_lost_at and self._room.refusal is None:
            self._start_idle(now, self._idle_seal)

    def _start_idle(self, now: float, delay: float) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()  # late, and perhaps not lost: one timer is enough
        self._idle_lost_at = now + delay
        self._idle_timer = self._loop.call_later(delay, self._on_idle_timer)

    def cancel(self) -> None:
        """Cancel both timers: the log is closing."""
        for timer in (self._idle_timer, self._sync_timer):
            if timer is not None:
                timer.cancel()

    def _on_idle_timer(self) -> None:
        try:
            self._idle_lost_at = _NEVER
            if self._room.refusal is not None:
                return
            # The timer is not started anew at each commit, which would cost a heap operation.
            now = self._loop.time()
            left = self._last_commit + self._idle_seal - now
            if left > 0 or self._busy():
                self._start_idle(now, max(left, _BUSY_RETRY))
            else:
                self._seal()
        except BaseException:  # an interruption
            self.start_idle()
            raise

    def _on_sync_timer(self) -> None:
        self._sync_lost_at = _NEVER
        if self._room.refusal is None and self._unsynced():
            self._sync()
