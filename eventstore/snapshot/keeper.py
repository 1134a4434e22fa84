"""Take snapshots of a running store: decide when, take one at a time, and archive afterwards.

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
4. The oldest snapshots are removed, or kept as keyframes (`keyframes.py`).
5. Segments that no kept snapshot needs are archived.

Without space the store goes on without the snapshot, says so, and tries again when the next one is
due. Retention and archiving may fail too, for instance at a damaged segment. The snapshot was taken
all the same. The failure is logged once, stands in `stats()` as long as the failure lasts, and
another attempt follows the next snapshot. A failed sync of any file makes the store read-only until
the store is reopened.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventstore.clock import Clock, elapsed_time, wall_time
from eventstore.config import StoreConfig
from eventstore.detached_work import DetachedWork
from eventstore.disk.base import Disk
from eventstore.disk.layout import ARCHIVE_FOLDER, SNAPSHOT_FOLDER
from eventstore.disk.manifest import Manifest, load_manifest, note_first_snapshot
from eventstore.errors import (
    CorruptStoreError,
    EventStoreError,
    StateRefusedError,
    StoreClosedError,
    StoreFailedError,
    StoreFullError,
)
from eventstore.keys.index import KeyIndex
from eventstore.keys.keeper import KeyKeeper
from eventstore.log.archive import compact
from eventstore.log.base import Log
from eventstore.model.state_codec import StateAt
from eventstore.operator_log import operator_log
from eventstore.os_errors import (
    SHORTAGE,
    SyncFailedError,
    commit_failed_error,
    errno_name,
    path_in_error,
    shortage_words,
)
from eventstore.recovery_and_stats import StoreStats
from eventstore.snapshot.keyframes import remove_keyframes
from eventstore.snapshot.policy import SnapshotPolicy
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
        self._drops_events = not manifest.logged or config.history == "discard"
        earliest = 0 if self._drops_events else None
        self.keys: KeyKeeper = KeyKeeper(
            disk, log, manifest.store, index, clock, earliest_moment=earliest
        )
        self._config = config
        self._clock = clock
        self._published = weakref.WeakMethod(published)
        self._seq = seq
        self._written = written
        self._seconds = 0.0
        self._taken = 0
        self._archived = 0
        self._warning: str | None = None
        self._refusal: str | None = None
        self._history_warning: str | None = None
        self._work: DetachedWork[int] | None = None
        self._on_disk = threading.Lock()
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
        wanted = self._durable().seq
        while self._seq < wanted:
            if self._work is None and self._stopped:
                path = self._log.path
                raise StoreClosedError(f"{path} is closed: no snapshot was taken", path=path)
            work = self._work or self._begin()
            if await work.settled():
                await work.wait()
        return self._seq

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
        self._warning = self._refusal = None
        self._log.warnings.end("snapshot", f"a snapshot of event {seq} was taken")
        await self._run_tidy()
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
        with self._on_disk:
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

    async def _run_tidy(self) -> None:
        """Do what follows a snapshot. A failure there is told as its own: the snapshot is taken."""
        self._history_warning = None
        try:
            await self._log.run(self._tidy)
        except FileNotFoundError as error:
            missing = path_in_error(error, self._log.path)
            self._history_warning = f"archiving stands still: {missing} is missing"
        except OSError as error:
            self._history_warning = f"archiving failed: {self._tidy_failure(error)}"
        except CorruptStoreError as error:
            self._history_warning = f"archiving stands still, and the log grows: {error}"
        except EventStoreError as error:
            self._history_warning = f"archiving failed, and is tried again: {error}"
        if self._history_warning is None:
            self._log.warnings.end("history", "archiving works again")
        else:
            text = self._history_warning
            self._log.warnings.begin("history", text, _logger, level=logging.ERROR)

    def _tidy_failure(self, error: OSError) -> EventStoreError:
        effect = "they stay in the log and appending goes on"
        return self._judged(error, ARCHIVE_FOLDER, "archiving", "to archive segments in", effect)

    def _tidy(self) -> None:
        """Remove the oldest snapshots, and archive the segments that no kept snapshot needs."""
        with self._on_disk:
            self._retain_and_archive()

    def _retain_and_archive(self) -> None:
        # Read again: the last compaction may have failed after saving the manifest.
        manifest = load_manifest(self._disk)
        # What is archived or kept is folded from the snapshot that the history begins with.
        has_base = self.logged and self._config.history != "discard"
        base = manifest.history_start - 1 if has_base else 0
        wanted = self._config.keyframe_events if has_base else None
        kept = self._vault.retain(self._config.backup_count, base=base, keyframe_events=wanted)
        if self.logged and wanted is None:
            remove_keyframes(self._disk)
        if not kept:
            return  # somebody removed the snapshot a moment ago
        if self._drops_events:
            self.keys.earliest_moment = kept[0]
        enough = len(kept) >= min(2, self._config.backup_count)
        if not self.logged:
            note_first_snapshot(self._disk, manifest, kept[0])
        elif enough or self._config.history == "archive":
            before = len(manifest.archived)
            manifest = compact(self._disk, manifest, kept[0], self._config.history)
            self._archived += len(manifest.archived) - before

    def _translated(self, error: OSError) -> EventStoreError:
        effect = self._without_it()
        return self._judged(
            error, SNAPSHOT_FOLDER, "writing a snapshot", "for a snapshot in", effect
        )

    def _judged(
        self, error: OSError, folder: str, work: str, purpose: str, effect: str
    ) -> EventStoreError:
        """Translate an `OSError` of `work` in `folder`.

        Only lack of space leaves the store open for writing, and `effect` says how. A failed sync,
        and a failure that nobody can explain, fail the store as everywhere.
        """
        path = f"{self._log.path}/{folder}"
        if not isinstance(error, SyncFailedError) and error.errno in SHORTAGE:
            lacking, remedy = shortage_words(error)
            self._warning = f"{lacking} {purpose} {path} ({errno_name(error)}): {effect}; {remedy}"
            return StoreFullError(self._warning, path=path, errno=error.errno)
        failure: StoreFailedError = commit_failed_error(error, f"{work} to", path)
        self._log.fail(failure)
        return failure

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
        await self.keys.close()

    def add_snapshot_stats(self, stats: StoreStats) -> StoreStats:
        """Add the counters of snapshots and archives to `stats`."""
        return msgspec.structs.replace(
            stats,
            snapshots=self._taken,
            snapshot_seq=self._seq,
            snapshot_age=(wall_time(self._clock) - self._written) / 1e9 if self._written else None,
            snapshot_seconds=self._seconds,
            segments_archived=self._archived,
            space_warning=stats.space_warning or self._warning,
            history_warning=self._history_warning,
            snapshot_warning=self._refusal,
        )


def _timer_over(reference: weakref.ref[SnapshotKeeper]) -> None:
    keeper = reference()
    if keeper is not None:
        keeper.timer_over()
