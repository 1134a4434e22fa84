"""Timers of the commit path: the idle seal, and the sync of the mode `interval`.

Both timers start with a commit. A timer of a closed log does nothing, and none is started for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eventstore.config import Durability, StoreConfig
from eventstore.log.backpressure import Room

__all__ = ["CommitTimers"]

_BUSY_RETRY = 0.01  # seconds until the idle seal is tried again where a job was in flight


class CommitTimers:
    """The two timers of one log.

    `room` tells whether the log is closed, and `busy` whether a job is in flight. `seal` runs
    `idle_seal` seconds after the last commit. `sync` runs `sync_interval` seconds after the first
    commit since the last run, and only in the mode `interval`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: StoreConfig,
        room: Room,
        *,
        busy: Callable[[], bool],
        seal: Callable[[], None],
        sync: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._room = room
        self._busy = busy
        self._seal = seal
        self._sync = sync
        self._idle_seal = config.idle_seal
        self._sync_interval = (
            config.sync_interval if config.durability is Durability.INTERVAL else None
        )
        self._last_commit = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None

    def committed(self) -> None:
        """Note the time of a commit, and start the timers that do not run."""
        if self._room.refusal is not None:
            return
        self._last_commit = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._idle_seal, self._on_idle_timer)
        if self._sync_interval is not None and self._sync_timer is None:
            self._sync_timer = self._loop.call_later(self._sync_interval, self._on_sync_timer)

    def cancel(self) -> None:
        """Cancel both timers: the log is closing."""
        for timer in (self._idle_timer, self._sync_timer):
            if timer is not None:
                timer.cancel()

    def _on_idle_timer(self) -> None:
        self._idle_timer = None
        if self._room.refusal is not None:
            return
        # The timer is not started anew at each commit, which would cost a heap operation.
        left = self._last_commit + self._idle_seal - self._loop.time()
        if left > 0 or self._busy():
            self._idle_timer = self._loop.call_later(max(left, _BUSY_RETRY), self._on_idle_timer)
        else:
            self._seal()

    def _on_sync_timer(self) -> None:
        self._sync_timer = None
        if self._room.refusal is None:
            self._sync()
