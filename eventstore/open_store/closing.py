"""Closing a store: one order of steps, finished whether or not a caller still waits.

Theory of operation
-------------------
A part of a store is closed after all parts that stand on the part. The steps are:

1. New work is refused: appends, snapshots, subscriptions. `stop` does so in the turn of the loop in
   which `close` is called. No submission is accepted afterwards.
2. Look-ups of keys end, and queue the groups that were submitted before. The queue is drained:
   every submission has its outcome, and every effect of a commit is over.
3. The keeper ends: the snapshot under way is finished, with its archiving. A store without a log
   takes a last snapshot of the drained store. The snapshot covers every acknowledged event.
4. The subscriptions of a read-only store end, which read the files of another writer.
5. The log ends (`DurableLog.close`): blocking calls are refused, and those under way end. Then the
   writer's thread syncs and seals the log, closes the files, frees the lock and ends.
6. The other subscriptions end.

A step that fails does not keep the next one from being made. The last error is raised in the end.

The steps are detached work (`detached_work.py`). Cancelling the caller, or every task, leaves the
steps going on. Each step may be made again: after a `KeyboardInterrupt` in the middle of a step,
the next `close` begins the steps again.
"""

from __future__ import annotations

import asyncio
import functools
import os
import warnings
from collections.abc import Coroutine
from typing import Any

from eventstore.detached_work import RepeatedWork, ensure_own_loop
from eventstore.log.base import Log
from eventstore.open_store.keyed_appends import KeyedAppends
from eventstore.reading.subscriptions import Subscriptions
from eventstore.snapshot.keeper import SnapshotKeeper

__all__ = ["Closing"]


class Closing:
    """The closing of one store, made of the parts of the store. Nothing happens before `close`."""

    def __init__(
        self,
        log: Log,
        keyed: KeyedAppends,
        keeper: SnapshotKeeper | None,
        subscriptions: Subscriptions,
    ) -> None:
        self._log = log
        self._keyed = keyed
        self._keeper = keeper
        self._subscriptions = subscriptions
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._made = self._inherited = False
        self._work = RepeatedWork(lambda: self._made and log.closed)

    def __repr__(self) -> str:
        state = "not begun" if not self.begun else "over" if self.over else "under way"
        return f"<Closing of {self._log.path!r}: {state}>"

    @property
    def begun(self) -> bool:
        """Whether `close` was called."""
        return self._work.begun or self._inherited

    @property
    def over(self) -> bool:
        """Whether nothing is left to close: all steps were made, or the store is the parent's."""
        return self._work.over or os.getpid() != self._pid

    async def close(self, store: object) -> None:
        """Make all steps, or wait until they are made. Cancelling cancels the waiting alone.

        `store` is kept alive until the last step was made, because commits publish to the store. In
        a forked child nothing happens, because the store belongs to the parent.
        """
        if os.getpid() != self._pid:
            self._inherited = True  # pragma: no cover - no tracer follows a fork: TestFork does
            return  # pragma: no cover - as above
        if self._keeper is not None or self._loop.is_running():
            ensure_own_loop(self._loop, self._log.path)
            self._log.guard.check()
        await self._work.wait(functools.partial(self._begin, store))

    def _begin(self, store: object) -> Coroutine[Any, Any, None]:
        self._stop()
        return self._make_steps(store)

    def _stop(self) -> None:
        """Refuse new work, before the first step."""
        self._log.stop()
        if self._keeper is not None:
            self._keeper.stop()
        self._subscriptions.stop()

    async def _make_steps(self, store: object) -> None:
        failure: Exception | None = None
        for step in (
            self._keyed.settled,
            self._log.drain,
            self._end_snapshots,
            self._subscriptions.end_followed,
            self._log.close,
            self._subscriptions.end,
        ):
            try:
                await step()
            except Exception as error:  # noqa: BLE001  the next step is made all the same
                failure = error
        self._made = True
        if failure is not None:
            raise failure

    async def _end_snapshots(self) -> None:
        if self._keeper is not None:
            await self._keeper.close()

    def forget(self, store: object) -> None:
        """Free the resources of a store that was not closed, with a `ResourceWarning`."""
        if self.over:
            return
        reason = (
            "its event loop ended first" if self.begun else "use `async with`, or await close()"
        )
        loss = self._log.loss_when_forgotten(0 if self._keeper is None else self._keeper.seq)
        try:
            warnings.warn(
                f"the event store {self._log.path} was not closed: {reason}. {loss}",
                ResourceWarning,
                source=store,
                stacklevel=2,
            )
        finally:  # where warnings are errors, too
            self._log.abandon()
