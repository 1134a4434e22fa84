"""Recovery of a store: the work of opening, done before the store serves anything.

Theory of operation
-------------------
Recovery runs off the event loop, in four steps.

1. *Open.* `directory.py` takes the lock, lists the directory once, and reads the manifest.
   A read-only opening takes no lock and repeats steps 1 to 3 beside a writer
   (`disk/optimistic.py`).
2. *Examine.* The newest trustworthy snapshot is loaded. The log is verified from the oldest
   kept snapshot on (`log/recovery.py`).
3. *Fold.* The events after the snapshot are decoded and folded. The events of the last segment come
   from the verified bytes.
4. *Repair.* The last segment is rewritten if its end is not clean, and leftovers are removed.
   A read-only opening leaves this step out.

In an existing store, only the lock (`writer.pid`) and repair write. A refused store is left as
found. A store serves nothing before the repair is durable, so a crash cannot take back a served
event.

A damaged snapshot, or one made by other handlers, is passed over. Recovery then tries the
next older snapshot, and at last the whole history, archive included. Where history does not reach
back far enough, recovery refuses the store (`snapshot/unusable_snapshots.py`). A registry with
another initial state than the store was begun with is refused, too
(`snapshot/initial_state_check.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import operator
import time
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.clock import Clock, wall_time
from eventstore.config import Durability, StoreConfig
from eventstore.cursor import checksum_at
from eventstore.directory import (
    Create,
    clear_leftovers,
    create_log,
    inspect_directory,
    open_directory,
)
from eventstore.disk.base import Disk
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest, note_first_snapshot, save_manifest
from eventstore.disk.optimistic import read_beside_writer
from eventstore.error_base import REPAIR
from eventstore.errors import CorruptLogError, ReadFailedError
from eventstore.key_recovery import KeyRecovery
from eventstore.keys.index import KeyIndex
from eventstore.log.base import Chunk
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.log.recovery import ExaminedLog, RecoveredLog, examine_log, repair_log
from eventstore.log.runs import chunks_of, narrowed
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.model.value_types import copy_value
from eventstore.os_errors import translating_read_errors, translating_recovery_errors
from eventstore.reading.chunk_decoding import decode_chunk
from eventstore.recovery_and_stats import RecoveryReport
from eventstore.recovery_words import recovery_report, report_with_tail, tell
from eventstore.snapshot.initial_state_check import InitialState, compare_initial
from eventstore.snapshot.unusable_snapshots import unusable_error
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault
from eventstore.timelines import next_timeline

__all__ = ["Recovered", "recover", "recovered_with_tail"]

StateT = TypeVar("StateT")

_time, _metadata = operator.attrgetter("time"), operator.attrgetter("metadata")
_data = operator.attrgetter("data")


class Recovered(msgspec.Struct, Generic[StateT], kw_only=True):
    """The manifest, log, snapshots, state and report of a recovered store.

    `checksum` is the checksum of the last event, `None` where the event is gone.
    """

    manifest: Manifest
    opened: RecoveredLog
    vault: Any
    at: StateAt[StateT]
    checksum: int | None
    keys: KeyIndex
    report: RecoveryReport


class _Examined(NamedTuple, Generic[StateT]):
    """The facts found by reading alone. `log` is `None` in a store without a log.

    `warnings` are about the initial state.
    """

    manifest: Manifest
    vault: SnapshotVault[StateT]
    snapshot: LoadedSnapshot[StateT] | None
    rejected: list[Rejected]
    log: ExaminedLog | None
    listing: Listing
    warnings: list[str]
    keys: KeyRecovery

    @property
    def snapshot_seq(self) -> int:
        return 0 if self.snapshot is None else self.snapshot.seq


def recover(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    initial: InitialState[StateT],
    config: StoreConfig,
    clock: Clock,
    *,
    read_only: bool,
    create: Create,
    follows: bool = False,
) -> Recovered[StateT]:
    """Bring a store's state back: examine, fold, repair. Close `disk` if that fails.

    `initial` is the initial state of the registry. With `read_only`, the store is examined and
    folded without the lock, and nothing is written. `follows` says that another machine writes the
    next events.

    Raises `CorruptLogError` and the other errors that `EventStore.open` lists.
    """
    began = time.perf_counter()
    created = False

    def look(listing: Listing) -> tuple[_Examined[StateT], StateAt[StateT]]:
        manifest = inspect_directory(disk, listing)
        examined = _examine(disk, registry, initial, config, manifest, listing, read_only=True)
        return examined, _fold(disk, registry, initial, examined)

    try:
        with translating_read_errors(disk.path):
            if read_only:
                examined, at = read_beside_writer(disk, look)
                manifest, log = examined.manifest, _unrepaired(examined)
                index = examined.keys.index(at.seq, at.latest)
            else:
                manifest, listing, created = open_directory(
                    disk, clock, config, create=create, initial=initial.record
                )
                examined = _examine(
                    disk, registry, initial, config, manifest, listing, read_only=False
                )
                at = _fold(disk, registry, initial, examined)
                with translating_recovery_errors(disk.path):
                    manifest, log = _repair(disk, initial, config, examined, created=created)
                    index = examined.keys.repaired(at.seq, at.latest)
            checksum = _last_checksum(disk, examined, at.seq)
    except BaseException:
        disk.close()
        raise
    seconds = time.perf_counter() - began
    report = recovery_report(
        examined.manifest,
        examined.listing,
        examined.snapshot,
        examined.rejected,
        [*examined.warnings, *examined.keys.warnings],
        log,
        at,
        seconds=seconds,
        now=wall_time(clock),
        created=created,
        follows=follows,
    )
    tell(disk.path, report)
    return Recovered(
        manifest=manifest,
        opened=log,
        vault=examined.vault,
        at=at,
        checksum=checksum,
        keys=index,
        report=report,
    )


def recovered_with_tail(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    initial: InitialState[StateT],
    config: StoreConfig,
    clock: Clock,
    found: Recovered[StateT],
) -> Recovered[StateT]:
    """Take the events over that the cluster has and this disk lost, and recover once more.

    `found` is the result of `recover` on the same disk, which is locked. Raises the errors of
    `recover`, `StreamMismatchError`, and the other errors of replication.
    """
    tail_adoption: Any = importlib.import_module("eventstore.replication.tail_adoption")
    tail_adoption.adopt(disk, found.manifest, found.opened, config, found.checksum)
    again = recover(disk, registry, initial, config, clock, read_only=False, create=False)
    intents = bool(found.at.intents)
    report = report_with_tail(disk.path, found.report, again.report, intents=intents)
    return msgspec.structs.replace(again, report=report)


def _examine(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    initial: InitialState[StateT],
    config: StoreConfig,
    manifest: Manifest,
    listing: Listing,
    *,
    read_only: bool,
) -> _Examined[StateT]:
    """Load the newest trustworthy snapshot, and verify the log from the oldest kept one on.

    Raises `CorruptSnapshotError` or `SnapshotMismatchError` where no snapshot can be used and
    nothing else stands in for the events before, and `InitialStateError`.
    """
    vault = SnapshotVault(disk, manifest.store, registry)
    snapshot, rejected = vault.load_newest(listing.snapshot_seqs)
    seq = 0 if snapshot is None else snapshot.seq
    unusable = unusable_error(disk.path, manifest, seq if snapshot else None, rejected)
    setting_aside = not (manifest.logged or read_only) and config.unusable_snapshots == "set_aside"
    if unusable is not None and not setting_aside:
        raise unusable
    warning = None
    if unusable is None or snapshot is not None:  # else the store begins anew
        warning = compare_initial(disk.path, manifest, registry, initial.record)
    log = None
    if manifest.logged:
        # The snapshot that history begins with may be far older than those that retention keeps.
        kept = vault.not_passed_over(listing.snapshot_seqs)[-config.backup_count :]
        log = examine_log(
            disk,
            manifest.store,
            listing,
            log_start=manifest.log_start,
            verify_from=min(kept[0] if kept else 0, seq) + 1,
        )
    warnings = [] if warning is None else [warning]
    required = 0 if snapshot is None else snapshot.keys
    canonical = registry.codec.canonical_of_recorded
    keys = KeyRecovery(disk, manifest, listing.keys, config, required, seq, canonical)
    return _Examined(manifest, vault, snapshot, rejected, log, listing, warnings, keys)


def _fold(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    initial: InitialState[StateT],
    examined: _Examined[StateT],
) -> StateAt[StateT]:
    """Fold the events after the snapshot, and return the state after the last event.

    The events of the last segment come from the verified bytes, not from the disk again. Folding
    comes before repair, so a store is left as found if the handlers cannot fold its events. The
    folded state is checked by its type: the type, or a handler, may have changed since the events
    were appended. What trusted handlers alone have folded on a snapshot is not checked: the
    snapshot was made with this type, and with these versions of the handlers.

    Raises `CorruptLogError` where the log ends before the snapshot, or reads differently the second
    time. Raises `StateRefusedError`, and what decoding and the handlers raise.
    """
    snapshot, log = examined.snapshot, examined.log
    at = StateAt(copy_value(initial.state), 0, 0) if snapshot is None else snapshot.at
    if log is None:
        return at
    before, kinds = at.state, set[type[Any]]()
    if log.next_seq <= at.seq:
        raise CorruptLogError(
            f"{disk.path}: the log ends with event {log.next_seq - 1}, but there is a snapshot "
            f"of event {at.seq}: part of the log is missing. Nothing was written. Restore it "
            f"from a backup, or {REPAIR}",
            path=disk.path,
            expected_seq=log.next_seq,
        )
    if at.seq + 1 < log.last.first_seq:
        reader = LogReader(disk, examined.manifest.store, CACHED_BYTES)
        chunks = reader.chunks(at.seq + 1, log.last.first_seq)
        at = _folded(registry, at, chunks, examined.keys, kinds)
        if at.seq != log.last.first_seq - 1:
            raise CorruptLogError(
                f"{disk.path}: the log was verified up to event {log.next_seq - 1}, and reading "
                f"it again ended with event {at.seq}: the device gives different answers. "
                "Nothing was written. Check it, then open again",
                path=disk.path,
                expected_seq=at.seq + 1,
            )
    last = chunks_of(log.last.data, log.last.records, at.seq + 1, CACHED_BYTES)
    at = _folded(registry, at, last, examined.keys, kinds)
    if snapshot is None or not registry.trusted.issuperset(kinds):
        registry.check_state(at.state, before)
    return at


def _folded(
    registry: HandlerRegistry[StateT],
    at: StateAt[StateT],
    chunks: Iterable[Chunk],
    keys: KeyRecovery,
    kinds: set[type[Any]],
) -> StateAt[StateT]:
    """Fold chunks of the log. The classes of the payloads are added to `kinds`."""
    state, seq, latest, intents = at
    for chunk in chunks:
        end = chunk.first_seq + chunk.events
        events = decode_chunk(registry, narrowed(chunk, seq + 1, end))
        keys.note(chunk, seq + 1, end, events)
        kinds.update(map(type, map(_data, events)))
        latest = max(latest, max(map(_time, events), default=latest))
        state = registry.fold(state, events)
        if any(map(_metadata, events)):  # only events with metadata open or settle an intent
            intents = intents.after(events)
        seq = end - 1
    return StateAt(state, seq, latest, intents)


def _last_checksum(disk: Disk, examined: _Examined[Any], seq: int) -> int | None:
    """Return the checksum of the last event, `seq`, or `None` where the event is gone.

    The event is in the verified bytes of the last segment, except behind a segment that is empty.
    """
    log, manifest = examined.log, examined.manifest
    if log is None or not seq:
        return None
    if seq == manifest.history_start - 1:
        known = manifest.checksum_before
        return known if isinstance(known, int) else None
    chunks = chunks_of(log.last.data, log.last.records[-1:], seq)
    with contextlib.suppress(CorruptLogError, ReadFailedError):  # of an archive, read when needed
        for chunk in chunks if log.last.records else LogReader(disk, manifest.store).chunks(seq):
            return checksum_at(chunk.array, seq - chunk.first_seq)
    return None


def _unrepaired(examined: _Examined[Any]) -> RecoveredLog:
    if examined.log is not None:
        return examined.log.unrepaired()
    return RecoveredLog(next_seq=examined.snapshot_seq + 1, last=None, segments=[])


def _repair(
    disk: Disk,
    initial: InitialState[Any],
    config: StoreConfig,
    examined: _Examined[Any],
    *,
    created: bool,
) -> tuple[Manifest, RecoveredLog]:
    """Finish what the last writer left undone, in a sound and folded store.

    Raises `OSError` for the caller to translate.
    """
    log, listing = examined.log, examined.listing
    manifest = _repaired_manifest(disk, initial, config, examined)
    if log is None and config.use_wal:
        start = examined.snapshot_seq + 1
        manifest = create_log(disk, manifest, start)
        listing = Listing.read(disk)  # the log has its first segment now
        log = examine_log(disk, manifest.store, listing, log_start=start, verify_from=start)
    repaired = _unrepaired(examined) if log is None else repair_log(disk, log)
    settled = created or manifest != examined.manifest
    clear_leftovers(disk, manifest, listing, settled=settled)
    return manifest, repaired


def _repaired_manifest(
    disk: Disk, initial: InitialState[Any], config: StoreConfig, examined: _Examined[Any]
) -> Manifest:
    """Settle the snapshots of a store without a log, and record what this opening changes.

    The record comes before the repair of the log, which takes the signs of a crash away.
    """
    manifest, snapshot = examined.manifest, examined.snapshot
    if examined.log is None:
        for item in examined.rejected:
            if unusable_error(disk.path, manifest, examined.snapshot_seq or None, [item]):
                examined.warnings.append(examined.vault.set_aside(item.name))
        if snapshot is None:
            manifest = msgspec.structs.replace(manifest, history_start=1)
        else:
            # No log vouches for the snapshot. The file's name or bytes may be only in the page
            # cache, and a power cut could take the served state back.
            examined.vault.rewrite_durably(snapshot.name)
            manifest = note_first_snapshot(disk, manifest, snapshot.seq)
    manifest = msgspec.structs.replace(manifest, initial=initial.record)
    log = examined.log
    if log is not None and not log.last.sealed and config.durability is not Durability.COMMIT:
        # The last writer died, and acknowledged events may be gone with it.
        timelines = next_timeline(manifest.timelines, log.next_seq - 1, disk.entropy(4))
        manifest = msgspec.structs.replace(manifest, timelines=timelines)
    return manifest if manifest == examined.manifest else save_manifest(disk, manifest)
