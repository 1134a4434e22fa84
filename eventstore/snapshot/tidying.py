"""Tidying after a snapshot: old snapshots are removed, and segments without a use are archived.

Theory of operation
-------------------
Tidying is detached work of its own. The next snapshot does not wait for the end of tidying:
archiving takes as long as tens of thousands of events, and a moment of history is as far from a
keyframe as two snapshots are apart. A snapshot that ends while tidying is under way leads to
another pass.

A snapshot and tidying never work at the same time, because each takes the interpreter's lock from
the event loop. Both share a lock, `turn`. Archiving gives the lock up between slices, and goes on
when the snapshot that waited for the lock is written. A snapshot only adds a file, so the decisions
of tidying stay right. The more segments wait, the fewer snapshots go before a segment: 15 with one
segment, none with `_MOST_SNAPSHOTS` segments. So archiving keeps up with a store that is never
idle.

Tidying may fail, for instance at a damaged segment. The snapshot was taken all the same. The
failure is logged once, stands in `stats()` as long as the failure lasts, and another attempt
follows the next snapshot. A failed sync of any file makes the store read-only until the store is
reopened.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from eventstore.config import StoreConfig
from eventstore.detached_work import DetachedWork
from eventstore.disk.base import Disk, give_way
from eventstore.disk.layout import ARCHIVE_FOLDER
from eventstore.disk.manifest import load_manifest, note_first_snapshot
from eventstore.errors import CorruptStoreError, EventStoreError
from eventstore.keys.keeper import KeyKeeper
from eventstore.log.archive import compact
from eventstore.log.base import Log
from eventstore.operator_log import operator_log
from eventstore.os_errors import path_in_error
from eventstore.snapshot.failures import Failures
from eventstore.snapshot.keyframes import remove_keyframes
from eventstore.snapshot.vault import SnapshotVault

__all__ = ["Tidying"]

_MOST_SNAPSHOTS = 16
_logger = operator_log(__name__)


class Tidying:
    """Tidies up after the snapshots of one open store.

    `logged` says whether the store has a log. `turn` is the lock of tidying and snapshots.
    `archived` counts segments moved out of the log. `warning` is the reason of a failed pass,
    `None` after a whole one.
    """

    def __init__(
        self,
        disk: Disk,
        log: Log,
        vault: SnapshotVault[Any],
        config: StoreConfig,
        keys: KeyKeeper,
        failures: Failures,
        *,
        logged: bool,
    ) -> None:
        self._disk = disk
        self._log = log
        self._vault = vault
        self._config = config
        self._keys = keys
        self._failures = failures
        self._logged = logged
        self._drops_events = not logged or config.history == "discard"
        self._work: DetachedWork[None] | None = None
        self._wanted = 0
        self._done = 0
        self._let_by = 0
        self._only_pass = threading.Lock()
        self.turn = threading.Lock()
        self.archived = 0
        self.warning: str | None = None

    def begin(self, seq: int) -> None:
        """Tidy up after the snapshot of event `seq`, or let another pass do so."""
        self._wanted = seq
        self._let_by -= 1
        if self._work is None:
            self._work = DetachedWork(self._pass(), self._ended)

    async def settled(self, seq: int) -> None:
        """Wait until a pass after the snapshot of event `seq` is over, or none is under way.

        Cancelling cancels the waiting.
        """
        while self._done < seq and self._work is not None:
            await self._work.settled()

    def _ended(self, error: BaseException | None) -> None:
        self._work = None
        if error is None and self._done < self._wanted:
            self.begin(self._wanted)

    async def _pass(self) -> None:
        """Tidy up. A failure is told as one of tidying: the snapshot is taken."""
        seq, warning = self._wanted, None
        try:
            await self._log.run(self._tidy)
        except FileNotFoundError as error:
            missing = path_in_error(error, self._log.path)
            warning = f"archiving stands still: {missing} is missing"
        except OSError as error:
            warning = f"archiving failed: {self._failure(error)}"
        except CorruptStoreError as error:
            warning = f"archiving stands still, and the log grows: {error}"
        except EventStoreError as error:
            warning = f"archiving failed, and is tried again: {error}"
        self.warning = warning
        if warning is None:
            self._log.warnings.end("history", "archiving works again")
        else:
            self._log.warnings.begin("history", warning, _logger, level=logging.ERROR)
        self._done = seq

    def _failure(self, error: OSError) -> EventStoreError:
        effect = "they stay in the log and appending goes on"
        return self._failures.translated(
            error, ARCHIVE_FOLDER, "archiving", "to archive segments in", effect
        )

    def _tidy(self) -> None:
        """Remove the oldest snapshots, and archive the segments before the kept snapshots."""
        with self._only_pass, self.turn:
            # The manifest is read anew: the last pass may have failed after saving.
            manifest = load_manifest(self._disk)
            # An archived or kept history is folded from the snapshot that the history begins with.
            has_base = self._logged and self._config.history != "discard"
            base = manifest.history_start - 1 if has_base else 0
            wanted = self._config.keyframe_events if has_base else None
            kept = self._vault.retain(self._config.backup_count, base=base, keyframe_events=wanted)
            if self._logged and wanted is None:
                remove_keyframes(self._disk)
            if not kept:
                return  # somebody removed the snapshot a moment ago
            if self._drops_events:
                self._keys.earliest_moment = kept[0]
            enough = len(kept) >= min(2, self._config.backup_count)
            if not self._logged:
                note_first_snapshot(self._disk, manifest, kept[0])
            elif enough or self._config.history == "archive":
                before = len(manifest.archived)
                history = self._config.history
                manifest = compact(
                    self._disk, manifest, kept[0], history, self._pause, self._segment_begins
                )
                self.archived += len(manifest.archived) - before

    def _segment_begins(self, waiting: int) -> None:
        self._let_by = _MOST_SNAPSHOTS - waiting

    def _pause(self) -> None:
        """Let the event loop go on, and a snapshot that waits for the lock."""
        if self._let_by <= 0:
            give_way(self._disk)
            return
        self.turn.release()
        try:
            give_way(self._disk)
        finally:
            self.turn.acquire()
