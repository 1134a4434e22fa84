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
import time
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.clock import Clock
from eventstore.config import StoreConfig
from eventstore.directory import clear_leftovers, create_log, inspect_directory, open_directory
from eventstore.disk.base import Disk
from eventstore.disk.listing import Listing
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
from eventstore.log.recovery import (
    ExaminedLog,
    RecoveredLog,
    examine_log,
    recovery_write_error,
    repair_log,
)
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state import StateAt
from eventstore.reading.selection import decode_chunk
from eventstore.report import RecoveryReport
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault

__all__ = ["Recovered", "recover"]

StateT = TypeVar("StateT")

_logger = logging.getLogger(__name__)


class Recovered(msgspec.Struct, Generic[StateT], kw_only=True):
    """A store as recovery found it, and left it."""

    manifest: Manifest
    opened: RecoveredLog
    vault: Any
    at: StateAt[StateT]
    report: RecoveryReport


class _Examined(NamedTuple, Generic[StateT]):
    """What reading alone has shown."""

    manifest: Manifest
    vault: SnapshotVault[StateT]
    snapshot: LoadedSnapshot[StateT] | None
    rejected: list[Rejected]
    log: ExaminedLog | None
    listing: Listing

    @property
    def snapshot_seq(self) -> int:
        return 0 if self.snapshot is None else self.snapshot.seq


def recover(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    config: StoreConfig,
    clock: Clock,
    *,
    read_only: bool,
) -> Recovered[StateT]:
    """Bring a store's state back: examine, fold, repair. Closes ``disk`` if it raises.

    Raises :class:`CorruptLogError` and the other errors that ``EventStore.open`` lists.
    """
    began = time.perf_counter()

    def examine_and_fold(
        manifest: Manifest, listing: Listing
    ) -> tuple[_Examined[StateT], StateAt[StateT]]:
        examined = _examine(disk, registry, manifest, listing)
        return examined, _fold(disk, registry, examined)

    try:
        with translating_read_errors(disk.path):
            if read_only:
                examined, at = read_beside_writer(
                    disk,
                    lambda listing: examine_and_fold(inspect_directory(disk, listing), listing),
                )
                manifest, log = examined.manifest, _unrepaired(examined)
            else:
                examined, at = examine_and_fold(*open_directory(disk, clock, config))
                manifest, log = _repair(disk, config, examined)
    except BaseException:
        disk.close()
        raise
    report = _report(examined, log, at.seq, time.perf_counter() - began)
    _tell(disk.path, report)
    return Recovered(manifest=manifest, opened=log, vault=examined.vault, at=at, report=report)


def _examine(
    disk: Disk, registry: HandlerRegistry[StateT], manifest: Manifest, listing: Listing
) -> _Examined[StateT]:
    """The newest snapshot that can be trusted, and the log from the oldest kept one on."""
    vault = SnapshotVault[StateT](disk, manifest.store, registry.state_type, registry.fingerprint())
    snapshot, rejected = vault.load_newest(listing.snapshot_seqs)
    seq = 0 if snapshot is None else snapshot.seq
    if manifest.history_start > (1 if snapshot is None else seq + 1):
        raise _refusal(disk, manifest, vault, rejected)
    log = None
    if manifest.logged:
        kept = vault.not_passed_over(listing.snapshot_seqs)
        log = examine_log(
            disk,
            manifest.store,
            listing,
            log_start=manifest.log_start,
            verify_from=min(kept[0] if kept else 0, seq) + 1,
        )
    return _Examined(manifest, vault, snapshot, rejected, log, listing)


def _fold(
    disk: Disk, registry: HandlerRegistry[StateT], examined: _Examined[StateT]
) -> StateAt[StateT]:
    """The state after the last event; a store that the handlers cannot fold is refused as it is.

    Events of the last segment are taken from the bytes that were verified.
    """
    snapshot, log = examined.snapshot, examined.log
    at = (
        StateAt(registry.initial(), 0, 0)
        if snapshot is None
        else StateAt(snapshot.state, snapshot.seq, snapshot.latest)
    )
    if log is None:
        return at
    if log.next_seq <= at.seq:
        raise CorruptLogError(
            f"{disk.path}: the log ends with event {log.next_seq - 1}, but there is a snapshot "
            f"of event {at.seq}: part of the log is missing. Nothing was written. Restore it "
            "from a backup",
            path=disk.path,
            expected_seq=log.next_seq,
        )
    if at.seq + 1 < log.last.first_seq:
        reader = LogReader(disk, examined.manifest.store, CACHED_BYTES)
        at = _folded(registry, at, reader.chunks(at.seq + 1, log.last.first_seq))
        if at.seq != log.last.first_seq - 1:
            raise CorruptLogError(
                f"{disk.path}: the log was verified up to event {log.next_seq - 1}, and reading "
                f"it again ended with event {at.seq}: the device gives different answers. "
                "Nothing was written. Check it, then open again",
                path=disk.path,
                expected_seq=at.seq + 1,
            )
    return _folded(registry, at, chunks_of(log.last.data, log.last.records, at.seq + 1))


def _folded(
    registry: HandlerRegistry[StateT], at: StateAt[StateT], chunks: Iterable[Chunk]
) -> StateAt[StateT]:
    state, seq, latest = at
    for chunk in chunks:
        end = chunk.first_seq + chunk.events
        events = decode_chunk(registry, chunk, seq + 1, end)
        latest = max([latest, *(event.time for event in events)])
        state = registry.fold(state, events)
        seq = end - 1
    return StateAt(state, seq, latest)


def _unrepaired(examined: _Examined[Any]) -> RecoveredLog:
    if examined.log is not None:
        return examined.log.unrepaired()
    return RecoveredLog(next_seq=examined.snapshot_seq + 1, last=None, segments=[])


def _repair(
    disk: Disk, config: StoreConfig, examined: _Examined[Any]
) -> tuple[Manifest, RecoveredLog]:
    """Write what the last writer left undone. Everything was found sound, and is folded."""
    manifest, log, listing = examined.manifest, examined.log, examined.listing
    if log is None and examined.snapshot is not None:
        # No log vouches for it, and its name, or its bytes, may be in the page cache only.
        try:
            examined.vault.rewrite_durably(examined.snapshot.name)
        except OSError as error:
            raise recovery_write_error(error, path_in_error(error, disk.path)) from error
    if log is None and config.use_wal:
        start = examined.snapshot_seq + 1
        manifest = create_log(disk, manifest, start)
        listing = Listing.read(disk)
        log = examine_log(disk, manifest.store, listing, log_start=start, verify_from=start)
    repaired = _unrepaired(examined) if log is None else repair_log(disk, log)
    clear_leftovers(disk, manifest, listing)
    examined.vault.remove_temporary()
    return manifest, repaired


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
    examined: _Examined[Any], opened: RecoveredLog, seq: int, seconds: float
) -> RecoveryReport:
    snapshot, rejected = examined.snapshot, examined.rejected
    snapshot_seq = examined.snapshot_seq
    unknown = tuple(examined.listing.unknown(examined.manifest))
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
        seconds=seconds,
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
