"""Recovery of a store: lock, snapshot, log, fold; everything that opening does before it serves.

Theory of operation
-------------------
All of it runs off the event loop, in this order: the lock and the identity (``log/prepare.py``);
the newest snapshot that can be trusted; the log, verified from the oldest kept snapshot on and
its last segment mended (``log/mend.py``); then the events after the snapshot are decoded and
folded. Nothing is served before that, so nothing is served that a crash could take back.

When a snapshot is passed over, damaged or made by other handlers, the next older one is tried, and
then the whole history, archive included. Where history does not reach back far enough, opening is
refused: a state that merely looks complete is worse than none.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any, Generic, TypeVar

import msgspec

from eventstore.clock import Clock
from eventstore.config import StoreConfig
from eventstore.disk import Disk, LocalDisk
from eventstore.errors import CorruptLogError, SnapshotMismatchError, reading
from eventstore.identity import StoreIdentity
from eventstore.log.mend import OpenedLog, open_log
from eventstore.log.prepare import begin_log, clear_leftovers, prepare, unknown_files
from eventstore.log.reader import LogReader
from eventstore.registry import HandlerRegistry
from eventstore.report import RecoveryReport
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault

__all__ = ["Recovered", "decode_chunk", "open_and_recover", "recover"]

StateT = TypeVar("StateT")

_logger = logging.getLogger(__name__)


class Recovered(msgspec.Struct, Generic[StateT], kw_only=True):
    """A store as recovery found it. ``latest``: the latest time of any event, nanoseconds."""

    identity: StoreIdentity
    opened: OpenedLog
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
        with reading(disk.path):
            recovered = _recover(disk, registry, config, clock, read_only)
    except BaseException:
        disk.close()
        raise
    recovered.report = msgspec.structs.replace(
        recovered.report, seconds=time.perf_counter() - began
    )
    _tell(disk.path, recovered.report)
    return recovered


def _recover(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    config: StoreConfig,
    clock: Clock,
    read_only: bool,
) -> Recovered[StateT]:
    identity = prepare(disk, clock, config, read_only=read_only)
    vault = SnapshotVault[StateT](disk, identity.store, registry.state_type, registry.fingerprint())
    snapshot, rejected = vault.load_newest()
    if snapshot is None and identity.history_start > 1:
        raise _refusal(disk, identity, vault, rejected)
    seq = snapshot.seq if snapshot is not None else 0
    if not identity.logged and config.use_wal and not read_only:
        identity = begin_log(disk, identity, seq + 1)
    if snapshot is not None and snapshot.seq + 1 < identity.history_start:
        raise _refusal(disk, identity, vault, rejected)
    state = registry.initial() if snapshot is None else snapshot.state
    latest = snapshot.latest if snapshot is not None else 0
    opened = OpenedLog(next_seq=seq + 1, last=None, segments=[])
    if identity.logged:
        kept = vault.sequences()
        opened = open_log(
            disk,
            identity.store,
            log_start=identity.log_start,
            verify_from=min(kept[0] if kept else 0, seq) + 1,
            writable=not read_only,
        )
        if opened.next_seq <= seq:
            raise CorruptLogError(
                f"{disk.path}: the log ends with event {opened.next_seq - 1}, but there is a "
                f"snapshot of event {seq}: part of the log is missing. Nothing was written. "
                "Restore it from a backup",
                path=disk.path,
                expected_seq=opened.next_seq,
            )
        for chunk in LogReader(disk, identity.store).chunks(seq + 1, opened.next_seq):
            events = decode_chunk(registry, chunk, seq + 1, opened.next_seq)
            latest = max([latest, *(event.time for event in events)])
            state = registry.fold(state, events)
            seq = min(chunk.first_seq + chunk.events, opened.next_seq) - 1
    if not read_only:
        clear_leftovers(disk, identity)
        vault.remove_temporary()
    return Recovered(
        identity=identity,
        opened=opened,
        vault=vault,
        state=state,
        seq=seq,
        latest=latest,
        report=_report(disk, identity, opened, vault, snapshot, rejected, seq),
    )


def decode_chunk(registry: HandlerRegistry[Any], chunk: Any, start: int, stop: int) -> list[Any]:
    """The events of a chunk with numbers from ``start`` to ``stop`` (exclusive), upcast."""
    events = registry.codec.decode(chunk.array, chunk.events, chunk.first_seq)
    if chunk.first_seq < start or chunk.first_seq + chunk.events > stop:
        events = events[max(0, start - chunk.first_seq) : stop - chunk.first_seq]
    return list(registry.upcast(events))


def _refusal(
    disk: Disk,
    identity: StoreIdentity,
    vault: SnapshotVault[Any],
    rejected: list[Rejected],
) -> Exception:
    mismatched = [item for item in rejected if item.operations]
    if not mismatched:
        return vault.refusal(rejected)
    operations = tuple(sorted({name for item in mismatched for name in item.operations}))
    return SnapshotMismatchError(
        f"{disk.path}: the snapshots were made by other handlers of {', '.join(operations)}, and "
        f"history before event {identity.history_start} was discarded, so the state cannot be "
        "folded again. Nothing was written. Install the handlers that made them, or give the "
        "changed handlers back their old version",
        path=disk.path,
        operations=operations,
    )


def _report(
    disk: Disk,
    identity: StoreIdentity,
    opened: OpenedLog,
    vault: SnapshotVault[Any],
    snapshot: LoadedSnapshot[Any] | None,
    rejected: list[Rejected],
    seq: int,
) -> RecoveryReport:
    snapshot_seq = snapshot.seq if snapshot is not None else 0
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
        unknown_files=(*unknown_files(disk, identity), *opened.unknown, *vault.unknown()),
        warnings=tuple(opened.warnings),
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
    if report.torn_bytes:
        _logger.warning(
            "%s: %d bytes of an unfinished commit were found%s",
            path,
            report.torn_bytes,
            f" and set aside in {report.quarantined}" if report.quarantined else "",
        )
    for rejected in report.snapshots_rejected:
        _logger.warning("%s: %s; it was passed over", path, rejected)
    for unknown in report.unknown_files:
        _logger.warning("%s: %s is none of the store's files; left alone", path, unknown)
