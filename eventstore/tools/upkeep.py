"""Work on a store that no engine has open: compact, snapshot, copy. Each takes the writer's lock.

A lock that another process has is `StoreLockedError`, which names the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.arguments import checked_function, checked_path
from eventstore.disk.base import (
    Disk,
    open_to_read,
    sync,
    sync_folder,
    write_fully,
)
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    CURSOR_FOLDER,
    KEYS_FOLDER,
    LOG_FOLDER,
    QUARANTINE_FOLDER,
    SNAPSHOT_FOLDER,
    SPARE_SEGMENT,
)
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, begin_timeline, load_manifest, save_manifest
from eventstore.errors import CorruptStoreError, HistoryUnavailableError
from eventstore.log.archive import compact
from eventstore.log.recovery import examine_log
from eventstore.model.registry import HandlerRegistry
from eventstore.os_errors import translating_read_errors, write_error
from eventstore.repair.progress import ProgressDisk
from eventstore.store import EventStore
from eventstore.tools.backup.places import Advance, no_advance
from eventstore.tools.staging import refuse_existing, staged

__all__ = [
    "Compacted",
    "CopiedStore",
    "TakenSnapshot",
    "compact_store",
    "copy_store",
    "snapshot_store",
]

_FOLDERS = (
    LOG_FOLDER,
    ARCHIVE_FOLDER,
    SNAPSHOT_FOLDER,
    KEYS_FOLDER,
    CURSOR_FOLDER,
    QUARANTINE_FOLDER,
)
_BLOCK = 1 << 20


class Compacted(NamedTuple):
    """The result of compacting: segments archived, and the first event left in the log."""

    archived: int
    log_start: int
    snapshot: int


class TakenSnapshot(NamedTuple):
    """The result of a snapshot: the event covered, and whether a file was written."""

    seq: int
    new: bool


class CopiedStore(NamedTuple):
    """The result of a copy: the last event, the files, the bytes, and the timeline begun."""

    seq: int
    files: int
    size: int
    timeline: int


def compact_store(path: str | os.PathLike[str], advance: Advance = no_advance) -> Compacted:
    """Archive every finished segment whose events the newest snapshot covers. Needs no handlers.

    History stays complete. `advance` is told of the archived events.

    Raises `StoreLockedError`, `HistoryUnavailableError` for a store without a snapshot or a log,
    and the errors of archiving.
    """
    checked_function("advance", advance)
    disk = LocalDisk(path)
    try:
        with translating_read_errors(disk.path):
            load_manifest(disk)
            disk.lock()
            manifest, listing = load_manifest(disk), Listing.read(disk)
        newest = max(listing.snapshot_seqs, default=0)
        if not manifest.logged or not newest:
            raise _nothing_to_archive(disk.path, manifest)
        begun = manifest.log_start
        ends = [first - 1 for first in listing.segments if begun < first <= newest + 1]
        after = manifest
        try:
            for end in ends or [newest]:
                after = compact(disk, after, end, "archive")
                advance(after.log_start - begun, ends[-1] - begun + 1 if ends else 0)
        except OSError as error:
            raise write_error(error, disk.path) from error
    finally:
        disk.close()
    archived = len(after.archived) - len(manifest.archived)
    return Compacted(archived, after.log_start, newest)


def _nothing_to_archive(path: str, manifest: Manifest) -> HistoryUnavailableError:
    if not manifest.logged:
        reason = "has no log, so there is nothing to archive"
    elif manifest.kind == "log":
        reason = "is an EventLog, which has no snapshot: its whole log stays"
    else:
        reason = "has no snapshot, so nothing can leave the log; next: eventstore snapshot "
        reason += shlex.quote(path)
    return HistoryUnavailableError(
        f"{path} {reason}", requested=0, first_available=manifest.history_start
    )


async def snapshot_store(
    path: str | os.PathLike[str], registry: HandlerRegistry[Any], advance: Advance = no_advance
) -> TakenSnapshot:
    """Open a store, recover its state, and write a snapshot. Older snapshots and the log stay.

    A store without a log stays without one. `advance` is told how many kilobytes were read, of how
    many, by another thread. Raises what opening raises: `StoreLockedError`
    foremost.
    """
    checked_function("advance", advance)
    disk = LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(disk.path):
            logged = load_manifest(disk).logged
    finally:
        disk.close()
    told = ProgressDisk(  # an opening checks the log, and then folds it
        LocalDisk(path),
        lambda task, done, total: advance(done, total),
        folders=(LOG_FOLDER,),
        passes=2,
    )
    async with EventStore.open(
        path,
        registry,
        create=False,
        disk=told,
        use_wal=logged,
        history="keep",
        backup_count=1_000_000,
        wal_max_entries=None,
        auto_save_interval=None,
    ) as store:
        seq = await store.snapshot()
        return TakenSnapshot(seq, seq > store.recovery.snapshot_seq)


def copy_store(
    path: str | os.PathLike[str], new: str | os.PathLike[str], advance: Advance = no_advance
) -> CopiedStore:
    """Copy a closed store to the new directory `new`, byte for byte, and compare.

    The copy begins a timeline, so nobody mistakes one for the other if both are written. Files of
    others are not copied. `advance` is told of the copied kilobytes.

    Raises `StoreLockedError`, `StoreExistsError`, and the errors of reading and writing. Then no
    store is at `new`.
    """
    checked_function("advance", advance)
    target = Path(checked_path(new, "new"))
    refuse_existing(target)
    disk = LocalDisk(path)
    try:
        with translating_read_errors(disk.path):
            load_manifest(disk)
            disk.lock()
            manifest = load_manifest(disk)
            seq = _last_event(disk, manifest)
            with staged(target) as staging:
                copied = LocalDisk(staging)
                try:
                    sizes = list(_copy_files(disk, copied, advance))
                    save_manifest(copied, manifest)
                    begun = begin_timeline(copied, manifest, seq)
                finally:
                    copied.close()
    finally:
        disk.close()
    return CopiedStore(seq, len(sizes) + 1, sum(sizes), begun.timelines[-1].number)


def _last_event(disk: Disk, manifest: Manifest) -> int:
    listing = Listing.read(disk)
    if not manifest.logged:
        return max(listing.snapshot_seqs, default=0)
    start = manifest.log_start
    examined = examine_log(disk, manifest.store, listing, log_start=start, verify_from=start)
    return examined.next_seq - 1


def _names(disk: Disk) -> Iterator[str]:
    unknown = set(Listing.read(disk).unknown(load_manifest(disk)))
    for folder in _FOLDERS:
        for base in disk.list(folder):
            name = f"{folder}/{base}"
            if name != SPARE_SEGMENT and not name.endswith(".tmp") and name not in unknown:
                yield name


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """Tell a failed write from a failed read of the source."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise write_error(error, path) from error


def _copy_files(source: Disk, target: Disk, advance: Advance) -> Iterator[int]:
    """Copy all files, and yield the size of each in bytes."""
    names, total, done = list(_names(source)), 0, 0
    for name in names:
        with open_to_read(source, name) as file:
            total += file.size()
    for name in names:
        size = _copy_file(source, target, name)
        done += size
        advance(done // 1000, total // 1000)
        yield size


def _copy_file(source: Disk, target: Disk, name: str) -> int:
    """Copy one file durably, and read the copy back. Returns the size in bytes."""
    folder = name.partition("/")[0]
    digest, offset = hashlib.sha256(), 0
    with open_to_read(source, name) as file, _writing(f"{target.path}/{name}"):
        target.make_folder(folder)
        sync_folder(target)
        written = target.create(name)
        try:
            while block := file.read(offset, _BLOCK):
                digest.update(block)
                write_fully(written, offset, block)
                offset += len(block)
            sync(written)
        finally:
            written.close()
        sync_folder(target, folder)
    found, at = hashlib.sha256(), 0
    with open_to_read(target, name) as file:
        while block := file.read(at, _BLOCK):
            found.update(block)
            at += len(block)
    if found.digest() != digest.digest():
        raise CorruptStoreError(
            f"{target.path}/{name} does not read back as written: the device is not to be trusted",
            path=f"{target.path}/{name}",
        )
    return offset
