"""Take snapshots of a running store: decide when, and take one at a time.

Theory of operation
-------------------
A snapshot is detached work (`detached_work.py`). Cancelling a caller of `snapshot`, or every task
of the program, therefore cancels only the wait. Two snapshots never write at once: a caller that
finds a snapshot under way waits for its end, and begins another one only if the store has moved on
since. The end of a snapshot is the end of its last call on a thread, and a lock holds that rule
there.

A keeper that was stopped begins no snapshot any more, except the last one of a store without a log.

The steps run off the event loop, in this order:

1. The log is synced up to the snapshot. Only the weaker durability modes wait here.
2. A run of the recent identity keys is written (`keys/keeper.py`).
3. The snapshot is written.

Then the oldest snapshots are removed, and segments are archived (`tidying.py`). The next snapshot
need not wait for that.

Without space the store goes on without the snapshot, says so, and tries again when the next one is
due. A failed sync of any file makes the store read-only until the store is reopened.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventstore.clock import Clock, elapsed_time, wall_time
from eventstore.config import StoreConfig
from eventstore.detached_work import DetachedWork
from eventstore.disk.base import Disk
from eventstore.disk.layout import SNAPSHOT_FOLDER
from eventstore.disk.manifest import Manifest
from eventstore.errors import (
    EventStoreError,
    StateRefusedError,
    StoreClosedError,
)
from eventstore.keys.index import KeyIndex
from eventstore.keys.keeper import KeyKeeper
from eventstore.log.base import Log
from eventstore.model.state_codec import StateAt
from eventstore.operator_log import operator_log
from eventstore.recovery_and_stats import StoreStats
from eventstore.snapshot.failures import Failures
from eventstore.snapshot.policy import SnapshotPolicy
from eventstore.snapshot.tidying import Tidying
from eventstore.snapshot.vault import SnapshotVault

__all__ = ["SnapshotKeeper"]

_logger = operator_log(__name__)


class SnapshotKeeper:
    """The snapshots of one open store.

    `seq` is the last event in the newest snapshot, and `written` the time of its writing in
    nanoseconds since the epoch, 0 without one. `logged` says whether the store has a log.
    `published` is a bound method of the store that
    returns the durable state. The keeper holds the method weakly.
    """

    def __init__(
        self,
        disk: Disk,
        log: Log,
        vault: SnapshotVault[Any],
        manifest: Manifest,
        config: StoreConfig,
        clock: Clock,
        *,
        seq: int,
        written: int,
        published: Callable[[], StateAt[Any]],
        index: KeyIndex,
    ) -> None:
        self._disk = disk
        self._log = log
        self._vault = vault
        self.logged: bool = manifest.logged
        earliest = 0 if not manifest.logged or config.history == "discard" else None
        self.keys: KeyKeeper = KeyKeeper(
            disk, log, manifest.store, index, clock, earliest_moment=earliest
        )
        self._failures = Failures(log)
        self._tidying = Tidying(
            disk, log, vault, config, self.keys, self._failures, logged=manifest.logged
        )
        self._config = config
        self._clock = clock
        self._published = weakref.WeakMethod(published)
        self._seq = seq
        self._written = written
        self._seconds = 0.0
        self._taken = 0
        self._refusal: str | None = None
        self._work: DetachedWork[int] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._policy = SnapshotPolicy(
            every=config.wal_max_entries,
            interval=config.auto_save_interval,
            seq=seq,
            now=clock.monotonic_ns(),
        )
        self._arm()

    def _arm(self) -> None:
        if self._config.auto_save_interval is not None and not self._stopped:
            self._timer = self._loop.call_later(
                self._config.auto_save_interval, _timer_over, weakref.ref(self)
            )

    @property
    def seq(self) -> int:
        """The event that the newest snapshot covers."""
        return self._seq

    def changed(self, seq: int) -> None:
        """Begin a snapshot if one is due, now that the store is durable up to `seq`."""
        if self.keys.index.recent_keys:
            self.keys.changed()
        if self._work is not None or self._stopped:
            return
        try:
            due = self._policy.due(seq, self._clock.monotonic_ns())
        except Exception:  # noqa: BLE001  a clock of the user: no commit fails for that
            due = self._policy.due(seq, 0)
        if due:
            self._begin()

    def timer_over(self) -> None:
        """Begin a snapshot at the end of an interval, if there is something new."""
        if self._published() is not None:
            self.changed(self._durable().seq)
            self._arm()

    def _begin(self) -> DetachedWork[int]:
        self._work = DetachedWork(self._take(), self._ended)
        return self._work

    def _ended(self, error: BaseException | None) -> None:
        self._work = None
        # A forgotten store refuses blocking calls, and has no waiter for the snapshot.
        if error is not None and self._published() is not None:
            text = f"a snapshot could not be taken: {error}"
            self._log.warnings.begin("snapshot", text, _logger, level=logging.ERROR)

    async def snapshot(self) -> int:
        """Take a snapshot of everything durable now, and return the event that it covers.

        Raises `StoreClosedError` where the store is closed before the snapshot has begun.
        """
        wanted, covered = self._durable().seq, self._seq
        while covered < wanted:
            if self._work is None and self._stopped:
                path = self._log.path
                raise StoreClosedError(f"{path} is closed: no snapshot was taken", path=path)
            work = self._work or self._begin()
            if await work.settled():
                await work.wait()
            covered = self._seq
            await self._tidying.settled(covered)
        return covered

    def _durable(self) -> StateAt[Any]:
        """Return the published state. Once the store is gone, return that of the last snapshot."""
        published = self._published()
        return StateAt(None, self._seq, 0) if published is None else published()

    async def _take(self) -> int:
        at = self._durable()
        seq = at.seq
        if seq == self._seq:
            return seq
        self._policy.taken(seq, elapsed_time(self._clock))
        fingerprint = self._vault.fingerprint()  # now: handlers may be registered at any time
        await self._log.sync()
        began, written = elapsed_time(self._clock), self._time_of_writing(at)
        try:
            await self.keys.write()
            keys = min(self.keys.index.covered, at.seq)
            await self._log.run(self._write, at, written, fingerprint, keys)
        except OSError as error:
            raise self._translated(error) from error
        except StateRefusedError as error:
            self._refusal = str(error)
            raise
        self._seq, self._written = seq, written
        self._seconds = max(elapsed_time(self._clock) - began, 0) / 1e9
        self._taken += 1
        self._failures.space_warning = self._refusal = None
        self._log.warnings.end("snapshot", f"a snapshot of event {seq} was taken")
        self._tidying.begin(seq)
        return seq

    def _time_of_writing(self, at: StateAt[Any]) -> int:
        """Return the time now, or that of the latest event where the clock gives no time.

        The snapshot may be the only place of acknowledged events (`use_wal=False`).
        """
        try:
            return wall_time(self._clock)
        except Exception:  # noqa: BLE001  a clock of the user, as above: the snapshot counts more
            return at.latest

    def _write(
        self, at: StateAt[Any], created: int, fingerprint: Mapping[str, str], keys: int
    ) -> None:
        state, seq, latest, intents = at
        with self._tidying.turn:
            self._vault.write(
                state,
                seq,
                created=created,
                latest=latest,
                intents=intents,
                fingerprint=fingerprint,
                keys=keys,
                timeline=self._log.lineage.cursor(seq, None).timeline_id,
            )

    def _translated(self, error: OSError) -> EventStoreError:
        effect = self._without_it()
        return self._failures.translated(
            error, SNAPSHOT_FOLDER, "writing a snapshot", "for a snapshot in", effect
        )

    def _without_it(self) -> str:
        """Return the consequence of a snapshot that lack of space has prevented."""
        if not self._stopped:
            return "the older ones are intact and appending goes on"
        if self._config.use_wal:
            return "the older ones and the log are intact"
        return (
            f"the store is closed without it, and all events after event {self._seq}, the last "
            "snapshot, are lost (use_wal=False)"
        )

    def stop(self) -> None:
        """Begin no snapshot any more: the store is to be closed."""
        self._stopped = True
        self.keys.stop()
        if self._timer is not None:
            self._timer.cancel()

    async def close(self) -> None:
        """Finish the snapshot under way. Without a log, take a last one of the drained store."""
        self.stop()
        while self._work is not None:
            await self._work.settled()
        if not self._config.use_wal and self._durable().seq > self._seq:
            await self._begin().wait()
        await self._tidying.settled(self._seq)
        await self.keys.close()

    def add_snapshot_stats(self, stats: StoreStats) -> StoreStats:
        """Add the counters of snapshots and archives to `stats`."""
        return msgspec.structs.replace(
            stats,
            snapshots=self._taken,
            snapshot_seq=self._seq,
            snapshot_age=(wall_time(self._clock) - self._written) / 1e9 if self._written else None,
            snapshot_seconds=self._seconds,
            segments_archived=self._tidying.archived,
            space_warning=stats.space_warning or self._failures.space_warning,
            history_warning=self._tidying.warning,
            snapshot_warning=self._refusal,
        )


def _timer_over(reference: weakref.ref[SnapshotKeeper]) -> None:
    keeper = reference()
    if keeper is not None:
        keeper.timer_over()
