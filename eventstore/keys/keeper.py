"""Write runs while a store is open: runs of recent keys, and merged runs.

Theory of operation
-------------------
A run is written before each snapshot, and when many keys are in memory. The log is synced first, so
no run has a key that a power cut takes from the log. Runs are written one at a time.

Merging is detached work. A merge takes many short calls on a thread, so snapshots and readers get a
turn, and has a separate temporary name. A merged run counts from the rename on. The old runs are
removed afterwards.

A merge leaves forgotten keys out, and no later correction of the clock brings such a key back. So a
merge counts the age of a key to a time that both clocks agree on: the latest event at the opening,
and the monotonic time since. A wall clock that runs ahead may then forget keys for a while, and
drops none.

A store may go back to an earlier moment (a branch, a restore), where a dropped key would still
count. So a merge forgets as of the last event of a merged run, and never as of now. For a moment
within a run the log gives the dropped keys back (`key_recovery.py`). Where the log drops events,
too, a merge forgets as of a moment before the oldest snapshot, which is the earliest moment.

Without space, the keys stay in memory until the next attempt. A failed sync fails the store, as
everywhere.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable

from eventstore.clock import Clock, wall_time
from eventstore.detached_work import DetachedWork
from eventstore.disk.base import Disk
from eventstore.disk.layout import KEYS_FOLDER, KEYS_MERGE_TEMPORARY, KEYS_TEMPORARY
from eventstore.errors import StoreClosedError
from eventstore.keys.format import FOR_EVER, ROW, Row, joined
from eventstore.keys.index import KeyIndex
from eventstore.keys.run import Run
from eventstore.keys.run_writing import (
    RunFacts,
    advance,
    merged,
    sorted_rows,
    write_run,
    writing_run,
)
from eventstore.log.base import Log
from eventstore.operator_log import operator_log
from eventstore.os_errors import SHORTAGE, SyncFailedError, commit_failed_error

__all__ = ["KeyKeeper"]

_logger = operator_log(__name__)

MOST_RECENT = 65_536
"""Number of keys in memory for a new run."""


class KeyKeeper:
    """The runs of one open store, on the event loop. `index` and `clock` are the store's.

    Attributes:
        earliest_moment: The earliest event that the store may go back to, where its log drops
            events. `None` where the log has the events behind every moment.
    """

    def __init__(
        self,
        disk: Disk,
        log: Log,
        store: uuid.UUID,
        index: KeyIndex,
        clock: Clock,
        *,
        earliest_moment: int | None,
    ) -> None:
        self.index = index
        self.earliest_moment: int | None = earliest_moment
        self._clock = clock
        self._opened = index.latest_by(clock) or wall_time(clock), clock.monotonic_ns()
        self._disk = disk
        self._log = log
        self._store = store
        self._wanted = MOST_RECENT
        self._writing: DetachedWork[None] | None = None
        self._merging: DetachedWork[None] | None = None
        self._stopped = False

    def changed(self) -> None:
        """Begin to write a run of many recent keys, after a commit."""
        if (
            len(self.index.recent_keys) >= self._wanted
            and self._writing is None
            and not self._stopped
        ):
            self._wanted = (
                len(self.index.recent_keys) + MOST_RECENT
            )  # for the case that the run fails
            self._writing = DetachedWork(self._write(), self._written)

    async def write(self) -> None:
        """Write a run of all keys durable now. Raises `OSError`, and the errors of writing."""
        while self._writing is not None:
            await self._writing.settled()
        if self.index.recent_keys or self.index.freezing:
            self._writing = DetachedWork(self._write(), self._ended)
            await self._writing.wait()

    def stop(self) -> None:
        """Begin no further run, except the run before the last snapshot."""
        self._stopped = True

    async def close(self) -> None:
        """Wait for the run under way. A merge gives up."""
        self.stop()
        for work in (self._writing, self._merging):
            if work is not None:
                await work.settled()

    async def _write(self) -> None:
        index = self.index
        self._log.guard.settle()  # an interruption may stand between a number and its key
        frozen = index.freeze(self._log.durable_seq)
        if frozen is None:
            return
        latest = self._latest()
        await self._log.sync()
        seed, remember = index.hasher.seed, index.remember
        facts = RunFacts(self._store, seed, frozen.first, frozen.last, latest, remember)
        run = await self._log.run(
            write_run,
            self._disk,
            KEYS_TEMPORARY,
            facts,
            len(frozen.rows),
            sorted_rows(frozen.rows),
        )
        index.written(run)
        self._wanted = MOST_RECENT
        if self._merging is None and not self._stopped and index.to_merge():
            self._merging = DetachedWork(self._merge(), self._merged)

    def _ended(self, error: BaseException | None) -> None:
        self._writing = None

    def _written(self, error: BaseException | None) -> None:
        self._writing = None
        self._tell(error, "written")

    def _merged(self, error: BaseException | None) -> None:
        self._merging = None
        self._tell(error, "merged")

    def _tell(self, error: BaseException | None, what: str) -> None:
        if error is None or isinstance(error, StoreClosedError):
            return
        path = f"{self._disk.path}/{KEYS_FOLDER}"
        if isinstance(error, OSError) and (
            isinstance(error, SyncFailedError) or error.errno not in SHORTAGE
        ):
            self._log.fail(commit_failed_error(error, "writing keys to", path))
        _logger.error("%s: a run of keys could not be %s: %s", path, what, error)

    async def _merge(self) -> None:
        """Merge the newest runs, as long as their sizes are alike."""
        while (old := self.index.to_merge()) and not self._stopped:
            new = await self._merged_run(list(old))
            if new is None:
                return
            self.index.merged(old, new)
            await self._log.run(self._remove, list(old))

    async def _merged_run(self, old: list[Run]) -> Run | None:
        facts = RunFacts(
            self._store,
            self.index.hasher.seed,
            old[-1].header.first,
            old[0].header.last,
            old[0].header.latest,
            joined([self.index.remember, *(run.header.remember for run in old)]),
        )
        rows = merged([run.batches() for run in old], self._keep(old))
        most = sum(run.header.rows for run in old)
        writing = writing_run(self._disk, KEYS_MERGE_TEMPORARY, facts, most, rows)
        while not self._stopped:
            run = await self._log.run(advance, self._disk, writing)
            if run is not None:
                return run
        await self._log.run(writing.close)
        return None

    def _keep(self, old: list[Run]) -> Callable[[bytes], bool] | None:
        """Return the function that tells which rows of `old` to keep, `None` for all.

        No row is dropped that counts at a moment which the store may go back to without the log.
        """
        remember, earliest = self.index.remember, self.earliest_moment
        past = [one.header for one in old if earliest is None or one.header.last <= earliest]
        if remember == FOR_EVER or not past:
            return None
        next_seq, latest = past[0].last + 1, min(past[0].latest, self._latest())

        def keep(row: bytes) -> bool:
            return not remember.forgets(Row(*ROW.unpack(row)), next_seq, latest)

        return keep

    def _latest(self) -> int:
        """Return the time that ages count to, as far as the clocks agree."""
        latest, opened = self._opened
        now = latest + self._clock.monotonic_ns() - opened
        return min(self.index.latest_by(self._clock), now)

    def _remove(self, runs: list[Run]) -> None:
        """Remove merged runs. A look-up under way has the files open."""
        for run in runs:
            with contextlib.suppress(FileNotFoundError):
                self._disk.remove(run.name)
