"""Branches: stores that go on from a moment of another store's history.

Theory of operation
-------------------
A branch is made of two references: the state as of a moment, folded like any other state, and the
place of the history before that moment. No event is copied. The parent store is only read, without
its lock, also while the parent's writer is at work.

A branch in memory reads the shared events from the parent's files on request, so its history is
one. A branch on disk is an ordinary store whose history begins with the event after the moment. A
snapshot holds its first state, and `store.json` names the store that has the events before. The
parent may move, grow, be compacted or be deleted. A crash while a branch is made leaves no branch
or a whole one: the next attempt takes the place of the remains, and no store opens there.

The last event that a reader outside the writer sees may be a record still in flight, which a power
cut can take back. A branch at `None` may stand on such a record. A branch at a sequence number that
is known to be durable never does.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from eventstore.arguments import checked_path
from eventstore.blocking_calls import opening_executor, run_blocking
from eventstore.clock import Clock, SimulatedClock, checked_clock, wall_time
from eventstore.cursor import Cursor
from eventstore.directory import create_first_segment
from eventstore.disk.base import Disk, check_location, sync_folder, sync_path
from eventstore.disk.layout import (
    BRANCH_MARK,
    KEYS_FOLDER,
    KEYS_TEMPORARY,
    LOG_FOLDER,
    MANIFEST,
    MANIFEST_TEMPORARY,
    SEGMENT_TEMPORARY,
    SNAPSHOT_FOLDER,
    SNAPSHOT_TEMPORARY,
    WRITER_PID,
    run_range,
    segment_seq,
    snapshot_seq,
)
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import (
    RELEASE,
    BranchPoint,
    Manifest,
    load_manifest,
    save_manifest,
)
from eventstore.errors import ConfigError, HistoryUnavailableError
from eventstore.key_recovery import keys_at
from eventstore.keys.index import KeyIndex
from eventstore.keys.run_chain import copy_keys
from eventstore.missing_await import Opening
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.moment import Moment, NamedPlace, as_of
from eventstore.open_store.parts import SharedHistory, memory_parts
from eventstore.os_errors import recovery_write_error, translating_read_errors
from eventstore.reading.arguments import checked_registry
from eventstore.reading.cursor_check import checksum_in, confirm_moment
from eventstore.reading.replay import fold_to
from eventstore.snapshot.initial_state_check import initial_state
from eventstore.snapshot.vault import SnapshotVault
from eventstore.store import EventStore
from eventstore.timelines import Timeline, next_timeline

__all__ = ["branch", "create_branch"]

StateT = TypeVar("StateT")


def branch(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    at: Moment | None = None,
    *,
    to: str | os.PathLike[str] | None = None,
    clock: Clock | None = None,
    disk: Disk | None = None,
) -> Opening[EventStore[StateT]]:
    """Open a store that goes on from a moment in the history of the store at `path`.

    The state is folded by `registry`, and sequence numbers go on from the moment. Await the result
    and close the store yourself, or use `async with`.

    Args:
        path: the directory of the parent store.
        registry: the handlers of the state.
        at: the moment. A sequence number names the last shared event, and 0 stands for the initial
            state. A time, given as to `read_events`, shares every event before the first later one.
            A `datetime` covers its whole microsecond. A `Cursor` shares the events up to the
            cursor's. `None` shares every event that there is now.
        to: a directory for a durable branch, which must be empty or absent. The shared events are
            not copied into the directory. Open the branch again with `EventStore.open`. Without
            `to` the branch lives in memory, and `EventStore.events` reads the shared events from
            the parent.
        clock: the source of new events' times, by default a `SimulatedClock` that stands at the
            latest time of the shared events.
        disk: a disk in place of the directory `path`, for tests.

    Raises:
        HistoryUnavailableError: there is no event `at` yet, or the events before were discarded.
        HistoryForkedError, ForeignCursorError: the cursor `at` is of another history.
        ConfigError: the directory `to` is not empty, or an argument is of a wrong type.
        EventStoreError: everything that `state_at` raises, and with `to` what `EventStore.open`
            raises.
    """

    place, target = as_of(at), None if to is None else checked_path(to, "to")
    checked_registry(registry)
    if clock is not None:
        checked_clock(clock)
    check_location(path, disk)

    async def opens() -> EventStore[StateT]:
        parent, manifest, folded, checksum, keys = await run_blocking(
            opening_executor(disk), _fold_parent, path, registry, place, disk
        )
        time = clock if clock is not None else SimulatedClock(folded.latest)
        if target is not None:
            try:
                now = wall_time(time)
                await run_blocking(
                    None,
                    _create_branch_directory,
                    target,
                    registry,
                    folded,
                    checksum,
                    keys,
                    manifest,
                    parent.path,
                    now,
                )
            finally:
                if disk is None:
                    parent.close()
            return await EventStore.open(target, registry, clock=time)
        shared = SharedHistory(parent, manifest, owned=disk is None, checksum=checksum)
        return EventStore(registry, time, memory_parts(folded, shared, keys))

    return Opening(opens)


def _fold_parent(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    at: NamedPlace | None,
    disk: Disk | None,
) -> tuple[Disk, Manifest, StateAt[StateT], int | None, KeyIndex]:
    parent = disk or LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(parent.path):
            manifest = load_manifest(parent)
        if isinstance(at, Cursor):
            at = confirm_moment(parent, at)
        folded = fold_to(parent, registry, at)
        checksum = checksum_in(parent, manifest, folded.seq)
        if isinstance(at, int) and at != folded.seq:
            raise HistoryUnavailableError(
                f"{parent.path}: there is no event {at} to branch from: the last is event "
                f"{folded.seq}",
                requested=at,
                first_available=manifest.history_start,
            )
        canonical = registry.codec.canonical_of_recorded
        with translating_read_errors(parent.path):
            keys = keys_at(parent, manifest, folded.seq, folded.latest, canonical)
    except BaseException:
        if disk is None:
            parent.close()
        raise
    return parent, manifest, folded, checksum, keys


def _create_branch_directory(
    to: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    folded: StateAt[StateT],
    checksum: int | None,
    keys: KeyIndex,
    parent: Manifest,
    parent_path: str,
    now: int,
) -> None:
    """Make the directory of a durable branch: segment, snapshot, and `store.json` last."""
    path = os.fsencode(Path(parent_path).absolute()).decode("utf-8", "backslashreplace")
    point = BranchPoint(path=path, store=parent.store, seq=folded.seq)
    disk = LocalDisk(to, create=True)
    try:
        disk.lock()
        create_branch(disk, registry, folded, point, now, parent.timelines, checksum, keys)
    except OSError as error:
        raise recovery_write_error(error, disk.path) from error
    finally:
        disk.close()


def create_branch(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    folded: StateAt[StateT],
    point: BranchPoint,
    now: int,
    timelines: Sequence[Timeline],
    checksum: int | None,
    keys: KeyIndex | None = None,
) -> None:
    """Make a durable branch in an empty directory, or over the remains of an earlier attempt.

    The disk is locked. `now` is the time of creation, `timelines` are the parent's, and `checksum`
    is the checksum of the last shared event, `None` where it is not known. `keys` are the identity
    keys of the shared events.

    The mark comes first and `store.json` last. Only a directory with the mark and without
    `store.json` holds remains. The first opening of the branch removes the mark.

    Raises `ConfigError` for a directory that holds something else, and `OSError`. After a failure
    the mark stays: no store opens there, and the next attempt takes the place of the remains.
    """
    _refuse_what_is_there(disk)
    try:
        _remove_remains(disk)
        _set_mark(disk)
        store = uuid.UUID(bytes=disk.entropy(16), version=4)
        create_first_segment(disk, store, folded.seq + 1)
        if folded.seq:
            registry.check_state(folded.state)  # a state within a group was never checked
            vault = SnapshotVault(disk, store, registry)
            covered = 0 if keys is None else copy_keys(disk, store, keys, folded.seq)
            vault.write(
                folded.state,
                folded.seq,
                created=now,
                latest=folded.latest,
                intents=folded.intents,
                keys=covered,
            )
        sync_path(disk)
        start = folded.seq + 1
        save_manifest(
            disk,
            Manifest(
                store=store,
                created=now,
                release=RELEASE,
                timelines=next_timeline(timelines, folded.seq, store.bytes[:4]),
                log_start=start,
                history_start=start,
                checksum_before=msgspec.UNSET if checksum is None else checksum,
                branched=point,
                initial=initial_state(registry).record,
            ),
        )
    except BaseException:
        with contextlib.suppress(OSError):
            _remove(disk, MANIFEST)  # a failed sync may have left it in the page cache
            _remove_remains(disk)
        raise


def _refuse_what_is_there(disk: Disk) -> None:
    found = set(disk.list()) - {WRITER_PID}
    if BRANCH_MARK in found and MANIFEST not in found:
        found -= {BRANCH_MARK, KEYS_FOLDER, LOG_FOLDER, SNAPSHOT_FOLDER, MANIFEST_TEMPORARY}
    if found:
        raise ConfigError(
            f"{disk.path} is not empty (there is {min(found)}): a branch is made in a directory "
            "of its own",
            key="to",
        )


def _set_mark(disk: Disk) -> None:
    """Set the mark, durably, before there is anything that the mark explains."""
    with contextlib.suppress(FileExistsError):
        disk.create(BRANCH_MARK).close()
    sync_folder(disk)


def _remove_remains(disk: Disk) -> None:
    """Remove the files of an attempt. Folders stay."""
    _remove(disk, MANIFEST_TEMPORARY)
    for folder, number_in in (
        (LOG_FOLDER, segment_seq),
        (SNAPSHOT_FOLDER, snapshot_seq),
        (KEYS_FOLDER, run_range),
    ):
        for base in disk.list(folder):
            name = f"{folder}/{base}"
            if (
                name in (SEGMENT_TEMPORARY, SNAPSHOT_TEMPORARY, KEYS_TEMPORARY)
                or number_in(base) is not None
            ):
                disk.remove(name)


def _remove(disk: Disk, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        disk.remove(name)
