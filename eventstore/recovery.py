"""Recovery of a store: lock, snapshot, log, fold; everything that opening does before it serves.

Theory of operation
-------------------
All of it runs off the event loop, in this order: the lock and the identity (``directory.py``);
the newest snapshot that can be trusted; the log, verified from the oldest kept snapshot on
(``log/recovery.py``); the events after the snapshot, decoded and folded, those of the last segment
from the bytes that were verified; and then the mending of that segment. Nothing is served before
that, so nothing is served that a crash could take back.

When a snapshot is passed over, damaged or made by other handlers, the next older one is tried, and
then the whole history, archive included. Where history does not reach back far enough, opening is
refused: a state that merely looks complete is worse than none.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.clock import Clock
from eventstore.config import StoreConfig
from eventstore.directory import clear_leftovers, create_log, open_directory, unknown_files
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest
from eventstore.disk.optimistic import read_beside_writer
from eventstore.errors import (
    CorruptLogError,
    SnapshotMismatchError,
    path_in_error,
    translating_read_errors,
)
from eventstore.log.base import Chunk
from eventstore.log.reader import CACHED_BYTES, LogReader, chunks_of
from eventstore.log.recovery import LastSegment, RecoveredLog, recover_log, recovery_write_error
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.selection import decode_chunk
from eventstore.report import RecoveryReport
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault

__all__ = ["Beginning", "Recovered", "open_and_recover", "recover"]

StateT = TypeVar("StateT")

_logger = logging.getLogger(__name__)


class Recovered(msgspec.Struct, Generic[StateT], kw_only=True):
    """A store as recovery found it. ``latest``: the latest time of any event, nanoseconds."""

    manifest: Manifest
    opened: RecoveredLog
    vault: Any
    state: Any
    seq: int
    latest: int
    report: RecoveryReport


def open_and_recover(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    config: Any,
    options: dict[str, Any],
    clock: Clock,
    disk: Disk | None,
    read_only: bool,
) -> tuple[StoreConfig, Disk, Recovered[StateT]]:
    """What ``EventStore.open`` does off the loop: configuration, directory, recovery."""
    settings = StoreConfig.of(config, **options)
    registry.check()
    if disk is None:
        disk = LocalDisk(path, create=not read_only, read_only=read_only)
    return settings, disk, recover(disk, registry, settings, clock, read_only=read_only)


def recover(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    config: StoreConfig,
    clock: Clock,
    *,
    read_only: bool,
) -> Recovered[StateT]:
    """Bring a store's state back. Closes ``disk`` if it raises.

    Raises :class:`CorruptLogError` and the other errors that ``EventStore.open`` lists.
    """
    began = time.perf_counter()
    try:
        with translating_read_errors(disk.path):
            recovered = _attempt(disk, registry, config, clock, read_only)
    except BaseException:
        disk.close()
        raise
    recovered.report = msgspec.structs.replace(
        recovered.report, seconds=time.perf_counter() - began
    )
    _tell(disk.path, recovered.report)
    return recovered


def _attempt(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    config: StoreConfig,
    clock: Clock,
    read_only: bool,
) -> Recovered[StateT]:
    """Recover; without the lock again, where the writer may have moved a file in between."""

    def look() -> Recovered[StateT]:
        return _recover(disk, registry, config, clock, read_only)

    return read_beside_writer(disk, look) if read_only else look()


def _recover(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    config: StoreConfig,
    clock: Clock,
    read_only: bool,
) -> Recovered[StateT]:
    manifest = open_directory(disk, clock, config, read_only=read_only)
    vault = SnapshotVault[StateT](disk, manifest.store, registry.state_type, registry.fingerprint())
    snapshot, rejected = vault.load_newest()
    if snapshot is None and manifest.history_start > 1:
        raise _refusal(disk, manifest, vault, rejected)
    seq = snapshot.seq if snapshot is not None else 0
    if snapshot is not None and not manifest.logged and not read_only:
        # No log vouches for it, and its name, or its bytes, may be in the page cache only.
        try:
            vault.rewrite_durably(snapshot.name)
        except OSError as error:
            raise recovery_write_error(error, path_in_error(error, disk.path)) from error
    if not manifest.logged and config.use_wal and not read_only:
        manifest = create_log(disk, manifest, seq + 1)
    if snapshot is not None and snapshot.seq + 1 < manifest.history_start:
        raise _refusal(disk, manifest, vault, rejected)
    fold = _Fold(disk, registry, manifest, snapshot)
    opened = RecoveredLog(next_seq=seq + 1, last=None, segments=[])
    if manifest.logged:
        kept = vault.sequences()
        opened = recover_log(
            disk,
            manifest.store,
            log_start=manifest.log_start,
            verify_from=min(kept[0] if kept else 0, seq) + 1,
            writable=not read_only,
            before_writing=fold.tail,
        )
    if not read_only:
        clear_leftovers(disk, manifest)
        vault.remove_temporary()
    return Recovered(
        manifest=manifest,
        opened=opened,
        vault=vault,
        state=fold.state,
        seq=fold.seq,
        latest=fold.latest,
        report=_report(disk, manifest, opened, vault, snapshot, rejected, fold.seq),
    )


class _Fold(Generic[StateT]):
    """Folds what the log holds after the snapshot, when it is verified and before it is mended.

    So a store that today's handlers cannot fold is refused as it is, and not a byte is written.
    """

    def __init__(
        self,
        disk: Disk,
        registry: HandlerRegistry[StateT],
        manifest: Manifest,
        snapshot: LoadedSnapshot[StateT] | None,
    ) -> None:
        self._disk = disk
        self._registry = registry
        self._store = manifest.store
        self.state = registry.initial() if snapshot is None else snapshot.state
        self.seq = 0 if snapshot is None else snapshot.seq
        self.latest = 0 if snapshot is None else snapshot.latest

    def tail(self, opened: RecoveredLog, last: LastSegment) -> None:
        """Fold every event after ``seq``; those of the segment just verified are not read again."""
        stop = opened.next_seq
        if stop <= self.seq:
            raise CorruptLogError(
                f"{self._disk.path}: the log ends with event {stop - 1}, but there is a snapshot "
                f"of event {self.seq}: part of the log is missing. Nothing was written. Restore it "
                "from a backup",
                path=self._disk.path,
                expected_seq=stop,
            )
        if self.seq + 1 < last.first_seq:
            reader = LogReader(self._disk, self._store, CACHED_BYTES)
            self._fold(reader.chunks(self.seq + 1, last.first_seq))
            if self.seq != last.first_seq - 1:
                raise CorruptLogError(
                    f"{self._disk.path}: the log was verified up to event {stop - 1}, and reading "
                    f"it again ended with event {self.seq}: the device gives different answers. "
                    "Nothing was written. Check it, then open again",
                    path=self._disk.path,
                    expected_seq=self.seq + 1,
                )
        self._fold(chunks_of(last.data, last.records, self.seq + 1))

    def _fold(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            end = chunk.first_seq + chunk.events
            events = decode_chunk(self._registry, chunk, self.seq + 1, end)
            self.latest = max([self.latest, *(event.time for event in events)])
            self.state = self._registry.fold(self.state, events)
            self.seq = end - 1


def _refusal(
    disk: Disk,
    manifest: Manifest,
    vault: SnapshotVault[Any],
    rejected: list[Rejected],
) -> Exception:
    mismatched = [item for item in rejected if item.operations]
    if not mismatched:
        return vault.refusal(rejected)
    operations = tuple(sorted({name for item in mismatched for name in item.operations}))
    return SnapshotMismatchError(
        f"{disk.path}: the snapshots were made by other handlers of {', '.join(operations)}, and "
        f"history before event {manifest.history_start} was discarded, so the state cannot be "
        "folded again. Nothing was written. Install the version of the plugin that made them, and "
        "the store opens as before. To carry the state over to the new handlers, open the store "
        "with the old ones, and append the state that it has as the first event of a new store",
        path=disk.path,
        operations=operations,
    )


def _report(
    disk: Disk,
    manifest: Manifest,
    opened: RecoveredLog,
    vault: SnapshotVault[Any],
    snapshot: LoadedSnapshot[Any] | None,
    rejected: list[Rejected],
    seq: int,
) -> RecoveryReport:
    snapshot_seq = snapshot.seq if snapshot is not None else 0
    unknown = (*unknown_files(disk), *opened.unknown, *vault.unknown())
    warnings = [f"{item.name} was passed over: {item.reason}" for item in rejected]
    warnings += [f"{name} is none of the store's files and was left alone" for name in unknown]
    if opened.torn_bytes:
        aside = f" and set aside in {opened.quarantined}" if opened.quarantined else ""
        warnings.append(f"{opened.torn_bytes} bytes of an unfinished commit were found{aside}")
    return RecoveryReport(
        seq=seq,
        snapshot=snapshot.name if snapshot is not None else None,
        snapshot_seq=snapshot_seq,
        events_folded=seq - snapshot_seq,
        clean=opened.clean,
        torn_bytes=opened.torn_bytes,
        quarantined=opened.quarantined,
        rewritten=opened.rewritten,
        segments=len(opened.segments),
        snapshots_rejected=tuple(f"{item.name}: {item.reason}" for item in rejected),
        unknown_files=unknown,
        warnings=tuple(warnings),
    )


def _tell(path: str, report: RecoveryReport) -> None:
    """Log what an operator would want to know, at the level they would choose."""
    _logger.info(
        "%s: recovered to event %d in %.3f s (snapshot of %d, %d events folded)",
        path,
        report.seq,
        report.seconds,
        report.snapshot_seq,
        report.events_folded,
    )
    for warning in report.warnings:
        _logger.warning("%s: %s", path, warning)


class Beginning(NamedTuple):
    """``state``: that after event ``seq``; ``latest``: the latest time up to there, nanoseconds.

    ``parent_path`` and ``parent``: the store that has the events up to ``seq``.
    """

    state: Any
    seq: int = 0
    latest: int = 0
    parent_path: str = ""
    parent: Manifest | None = None

    @property
    def path(self) -> str:
        """What the store is called in messages."""
        return ":memory:" if self.parent is None else f":memory: from {self.parent_path}@{self.seq}"
