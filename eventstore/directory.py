"""A store's directory: created or locked at the beginning, and cleared of leftovers at the end.

A writer locks the directory, lists the names once, and reads the manifest. A reader without the
lock only reads the manifest.

Leftovers of a crash are removed last, after everything else was found to be sound. In a refused
store, a file under a temporary name may be the only copy of an event.

The order of creation leaves either no store or a whole store after a crash. The `log` folder and an
empty, sealed first segment come first. Then the names of the directory and all parents are synced,
because another program may have made them. `store.json` comes last. Once `store.json`
exists, a log without segments has lost its segments.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any, Literal, NamedTuple

import msgspec

from eventstore.arguments import argument_error
from eventstore.clock import Clock, wall_time
from eventstore.config import StoreConfig
from eventstore.disk.base import Disk, read_whole, sync_folder, sync_path, write_atomically
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    BRANCH_MARK,
    LOG_FOLDER,
    MANIFEST,
    ROOT_NAMES,
    SEGMENT_TEMPORARY,
    SNAPSHOT_FOLDER,
    TEMPORARIES,
    archive_name,
    segment_name,
)
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import (
    RELEASE,
    InitialStateRecord,
    Manifest,
    load_manifest,
    save_manifest,
)
from eventstore.error_base import REPAIR
from eventstore.errors import (
    ConfigError,
    CorruptLogError,
    CorruptStoreError,
    EventStoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from eventstore.log.archive import archived_segments, remove_archived_segments
from eventstore.log.format import InvalidBytesError, SegmentHeader
from eventstore.log.segment import build_segment, fresh_salt, read_header
from eventstore.log.tail_verdict import Clean, classify_tail
from eventstore.operator_log import operator_log
from eventstore.os_errors import SyncFailedError, translating_recovery_errors
from eventstore.recovery_and_stats import printable
from eventstore.timelines import first_timeline, next_timeline

__all__ = [
    "Create",
    "OpenedDirectory",
    "check_create",
    "clear_leftovers",
    "create_first_segment",
    "create_log",
    "inspect_directory",
    "open_directory",
    "refuse_orphans",
]

_logger = operator_log(__name__)

Create = Literal["new"] | bool
"""Whether an opening may make a store: `True`, `False`, or `new` for an opening that has to."""

_FOREIGN_SHOWN = 3
_NOBODYS = frozenset(("lost+found",))
"""Names in a directory that are no user's files: a new file system has a folder of this name."""


class OpenedDirectory(NamedTuple):
    """The manifest of a store, the names in its directory, and whether the store was just made."""

    manifest: Manifest
    listing: Listing
    created: bool


def check_create(create: Any, read_only: bool) -> None:
    """Raise `ConfigError` for a `create` that is no choice, or contradicts `read_only`."""
    if not isinstance(create, bool) and not (isinstance(create, str) and create == "new"):
        raise argument_error("create", create, "expected True, False or 'new'")
    if read_only and create == "new":
        raise argument_error("create", create, "a store opened with read_only=True is never made")


def open_directory(
    disk: Disk,
    clock: Clock,
    config: StoreConfig,
    *,
    create: Create,
    kind: Literal["store", "log"] = "store",
    initial: InitialStateRecord | msgspec.UnsetType = msgspec.UNSET,
) -> OpenedDirectory:
    """Lock a store for writing, and create the store where there is none and `create` allows.

    A new store records the state `initial`. The names are those that the lock found, or that
    creation left.

    Raises `StoreNotFoundError`, `StoreExistsError`, `StoreLockedError`, `CorruptStoreError`,
    `CorruptLogError` for an archive that is missing, `ConfigError`, and the errors of an opening
    that cannot write.
    """
    if create is not True:  # before the lock, which writes the owner's number
        _check_presence(disk, create)
    disk.lock()
    listing = Listing.read(disk)
    try:
        manifest = load_manifest(disk)
    except StoreNotFoundError:
        refuse_orphans(disk, listing)
        if create is True:
            _refuse_foreign(disk, listing)
        with translating_recovery_errors(disk.path):
            manifest = _create_store(disk, clock, config, kind, initial)
        _logger.info("%s: made a new store, because there was none", disk.path)
        return OpenedDirectory(manifest, listing.with_log(disk), created=True)
    if manifest.kind != kind:
        raise ConfigError(
            f"{disk.path} was made by an Event{manifest.kind.title()}: open it with that, "
            "or read-only",
            key="kind",
        )
    if manifest.logged and not config.use_wal:
        raise ConfigError(
            f"{disk.path} has a log, and use_wal=False would stop writing to it: keep "
            "use_wal=True, or begin a new store for snapshots only",
            key="use_wal",
        )
    _check_archives(disk, manifest, listing)
    return OpenedDirectory(manifest, listing, created=False)


def _check_presence(disk: Disk, create: Create) -> None:
    """Refuse a store that has to exist and does not, or that exists and has to be new."""
    listing = Listing.read(disk)
    if MANIFEST in listing.root:
        if create == "new":
            raise StoreExistsError(
                f"there is a store at {disk.path} already, and create='new' asks for a new one. "
                "Nothing was written. Open the store with create=False, or choose another path",
                path=disk.path,
            )
    elif create is False:
        refuse_orphans(disk, listing)
        raise StoreNotFoundError(
            f"there is no store at {disk.path}, and create=False makes none. Is the path right, "
            "and its volume mounted? The first opening of a store needs create=True",
            path=disk.path,
        )


def _refuse_foreign(disk: Disk, listing: Listing) -> None:
    """Refuse to make a store among the files of others: the path may be a slip."""
    foreign = [name for name in listing.root if name not in {*ROOT_NAMES, *TEMPORARIES, *_NOBODYS}]
    if foreign:
        shown = ", ".join(map(printable, foreign[:_FOREIGN_SHOWN]))
        more = len(foreign) - _FOREIGN_SHOWN
        raise StoreNotFoundError(
            f"there is no store at {disk.path}, and the directory holds files of others: {shown}"
            f"{f' and {more} more' if more > 0 else ''}. Nothing was made. Choose another path, or "
            "pass create='new' to make the store beside the files",
            path=disk.path,
        )


def inspect_directory(disk: Disk, listing: Listing) -> Manifest:
    """Read a store's manifest for a reader without the lock, and check the archives.

    Raises `StoreNotFoundError`, `CorruptStoreError`, and `CorruptLogError` for an archive that is
    missing.
    """
    manifest = load_manifest(disk)
    _check_archives(disk, manifest, listing)
    return manifest


def _check_archives(disk: Disk, manifest: Manifest, listing: Listing) -> None:
    present = set(listing.archives)
    for first, _, _ in manifest.archived:
        if first not in present:
            name = archive_name(first)
            raise CorruptLogError(
                f"{disk.path}/{name} is missing: {MANIFEST} says it was archived. Nothing was "
                f"written. Restore it from a backup, or {REPAIR}",
                path=f"{disk.path}/{name}",
                expected_seq=first,
            )


def create_log(disk: Disk, manifest: Manifest, first_seq: int) -> Manifest:
    """Create the log of a store without a log, and return the changed manifest.

    The next event of the store is `first_seq`. A timeline begins there: nobody knows how many
    events were lost before.
    """
    create_first_segment(disk, manifest.store, first_seq)
    return save_manifest(
        disk,
        msgspec.structs.replace(
            manifest,
            logged=True,
            log_start=first_seq,
            history_start=first_seq,
            timelines=next_timeline(manifest.timelines, 0, disk.entropy(4)),
        ),
    )


def clear_leftovers(disk: Disk, manifest: Manifest, listing: Listing, *, settled: bool) -> None:
    """Remove temporary files, and segments and archives that the manifest no longer counts.

    The store must have been found to be sound. `listing` has the names from the beginning of the
    opening, and `settled` says whether this opening has written store.json durably.

    Raises `CorruptLogError` where an archived segment contradicts its name, and the errors of an
    opening that cannot write.
    """
    with translating_recovery_errors(disk.path):
        if archived_segments(disk, manifest, listing):
            # If the sync of store.json failed, only the page cache says that the segments may go.
            save_manifest(disk, manifest)
        elif not settled:
            sync_folder(disk)  # a writer may have died between renaming store.json and the sync
        for name in listing.temporaries:
            with contextlib.suppress(FileNotFoundError):
                disk.remove(name)
        remove_archived_segments(disk, manifest, listing)


def _create_store(
    disk: Disk,
    clock: Clock,
    config: StoreConfig,
    kind: Literal["store", "log"],
    initial: InitialStateRecord | msgspec.UnsetType,
) -> Manifest:
    created = wall_time(clock)
    store = uuid.UUID(bytes=disk.entropy(16), version=4)
    if config.use_wal:
        create_first_segment(disk, store, 1)
    sync_path(disk)
    manifest = Manifest(
        store=store,
        created=created,
        timelines=first_timeline(store),
        logged=config.use_wal,
        kind=kind,
        release=RELEASE,
        initial=initial,
    )
    try:
        return save_manifest(disk, manifest)
    except SyncFailedError:
        # After the failed sync, nobody knows whether store.json survives a power cut. A later sync
        # cannot tell either. So store.json is removed, and the next opening creates the store anew.
        with contextlib.suppress(OSError):
            disk.remove(MANIFEST)
        raise


def refuse_orphans(disk: Disk, listing: Listing) -> None:
    """Refuse a directory without `store.json` in the place of an earlier store, or of a branch.

    A crash during creation leaves at most an empty first segment. Any other segment, archive or
    snapshot belonged to a store.
    """
    if BRANCH_MARK in listing.root:
        raise CorruptStoreError(
            f"{disk.path} holds a branch that was not finished, and no store: make the branch "
            "again, which takes the place of what is there, or remove the directory",
            path=f"{disk.path}/{BRANCH_MARK}",
        )
    orphans = [f"{SNAPSHOT_FOLDER}/{base}" for base in listing.snapshots]
    orphans += [f"{ARCHIVE_FOLDER}/{base}" for base in listing.archive]
    for name in map(segment_name, listing.segments):
        data = read_whole(disk, name)
        with contextlib.suppress(EventStoreError, InvalidBytesError):
            header = read_header(disk, name, SegmentHeader.decode(data).store)
            tail = classify_tail(data, header)
            if header.first_seq == 1 and isinstance(tail, Clean) and not tail.records:
                continue
        orphans.append(name)
    if orphans:
        raise CorruptStoreError(
            f"{disk.path}/{MANIFEST} is missing, but there is {orphans[0]}: this was a store. "
            f"Nothing was written. Restore {MANIFEST} from a backup, or {REPAIR}",
            path=f"{disk.path}/{MANIFEST}",
        )


def create_first_segment(disk: Disk, store: uuid.UUID, first_seq: int) -> None:
    """Create a log of one segment, empty and sealed, for the events from `first_seq` on.

    All names are durable on return. The folder is synced last: file systems with a journal then
    write the new folder together with the file.
    """
    disk.make_folder(LOG_FOLDER)
    header = SegmentHeader(store=store, size=0, first_seq=first_seq, salt=fresh_salt(disk))
    data, _ = build_segment(disk, header, [], first_seq)
    write_atomically(disk, segment_name(first_seq), SEGMENT_TEMPORARY, data)
    sync_folder(disk)
