"""Rejoining: the store of a fenced writer becomes the directory of a standby.

Theory of operation
-------------------
The old writer may have events beyond the stream's. Nobody can put such events into the new history,
because the new writer gave the same numbers to other events. So the tail is set aside, event by
event in words and byte by byte as files, and the store is cut behind the last shared event. The
timelines tell the event, or the events themselves where the store went on without a timeline of its
own (`fork_point.py`).

The new directory is made beside the old one: a backup of the store is restored as of the last
shared event, and takes the timelines of the stream. Then the old directory is moved into the new
one's `quarantine/`, and the new one takes its name. A crash between the two moves leaves the new
directory under the name `NAME.rejoining`, and the next call takes the last step.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventstore.arguments import checked_path
from eventstore.config import StoreConfig
from eventstore.disk.base import write_atomically
from eventstore.disk.layout import (
    QUARANTINE_FOLDER,
    QUARANTINE_TEMPORARY,
    REPLICA,
    REPLICA_TEMPORARY,
)
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest, save_manifest
from eventstore.errors import StoreNotFoundError, StreamMismatchError
from eventstore.log.reader import LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.os_errors import write_error
from eventstore.reading.replay import recorded_batches
from eventstore.replication.connecting import connect, settings_in
from eventstore.replication.connection import Connection
from eventstore.replication.fork_point import checksums_of, first_difference
from eventstore.replication.history_bucket import history_of
from eventstore.replication.messages import History
from eventstore.replication.shipping import last_shared
from eventstore.tools.backup.copying import backup
from eventstore.tools.backup.places import DirectoryPlace
from eventstore.tools.backup.restore import plan_restore, restore
from eventstore.tools.staging import staged

__all__ = ["Rejoined", "rejoin"]

_SUFFIX = ".rejoining"


class Rejoined(NamedTuple):
    """The result of a rejoining.

    `set_aside` has the recorded events of the tail, which no other machine had. `quarantine` is the
    directory of the old store, `None` without a tail.
    """

    last_shared: int
    set_aside: tuple[Event[Any], ...]
    quarantine: str | None


async def rejoin(path: str | os.PathLike[str], config: StoreConfig) -> Rejoined:
    """Cut the store at `path` behind the last event in common with the stream.

    The store is a standby's directory then: `Standby.open` follows from there. Needs no handlers.
    The store is replaced in one turn of the event loop, and the result is returned in the same
    turn. So a cancelled call leaves the store as it was.

    Raises `ReplicationError` and its kinds, `StoreLockedError` while an engine has the store open,
    `StoreNotFoundError`, and the errors of reading and writing.
    """
    settings = settings_in(config, "to rejoin a stream")
    store = Path(checked_path(path))
    _finish_interrupted(store)
    disk = LocalDisk(store)
    try:
        disk.lock()
        last = _last_event(disk)
        connection = await connect(str(store), settings)
        try:
            await connection.ensure_stream(create=False)
            history = await history_of(connection)
            shared = await _shared(connection, disk, history, last)
        finally:
            await connection.close()
        if shared >= last:
            return Rejoined(last, (), None)
        tail = tuple(_events(disk, shared + 1))
        return Rejoined(shared, tail, _replace(store, disk, shared, history, tail))
    finally:
        disk.close()


async def _shared(connection: Connection, disk: LocalDisk, history: History, last: int) -> int:
    """Return the last event of the store that is no other one in the stream's history.

    Events behind the end of the stream, in its last timeline, are to be sent yet. Raises the errors
    of `first_difference`, and `StreamMismatchError` for the stream of another store.
    """
    manifest = load_manifest(disk)
    if manifest.store != history.store:
        raise connection.error(
            StreamMismatchError,
            f"the stream is of the store {history.store}, and this is the store {manifest.store}",
        )
    kept = history.timelines[0].number  # of a long history, the oldest timelines are gone
    theirs = {(one.number, one.id) for one in history.timelines}
    ours = [one for one in manifest.timelines if one.number >= kept]
    own = [one.left_at for one in ours if (one.number, one.id) not in theirs]
    if ours and len(own) == len(ours):
        raise connection.error(StreamMismatchError, "the stream has none of this store's timelines")
    last = min([last, *own])  # a crash with relaxed durability, or a restore, begins one
    shared = last_shared(manifest.timelines, history.timelines)
    shared = last if shared is None else min(shared, last)
    checksum = checksums_of(LogReader(disk, manifest.store))
    different = await first_difference(connection, checksum, shared)
    return shared if different is None else different - 1


def _last_event(disk: LocalDisk) -> int:
    last = 0
    for event in _events(disk, 1):
        last = event.seq
    return last


def _events(disk: LocalDisk, start: int) -> Iterator[Event[Any]]:
    for batch in recorded_batches(disk, EventCodec(), start, None):
        yield from batch


def _replace(
    store: Path, disk: LocalDisk, shared: int, history: History, tail: tuple[Event[Any], ...]
) -> str:
    """Put a store that ends with event `shared` into the place of the old one."""
    unfinished = store.with_name(store.name + _SUFFIX)
    name = f"fenced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    with staged(unfinished) as staging:
        copy = DirectoryPlace(str(staging / "copy"))
        backup(disk, copy)
        made = staging / "store"
        restore(plan_restore(copy, shared), made)
        target = LocalDisk(made)
        try:
            _finish(target, disk, history, tail, shared)
        finally:
            target.close()
        shutil.rmtree(staging / "copy")
        for entry in made.iterdir():
            entry.rename(staging / entry.name)
        made.rmdir()
    (unfinished / QUARANTINE_FOLDER).mkdir(exist_ok=True)
    try:
        store.rename(unfinished / QUARANTINE_FOLDER / name)
        unfinished.rename(store)
    except OSError as error:
        raise write_error(error, str(store)) from error
    return str(store / QUARANTINE_FOLDER / name)


def _finish(
    target: LocalDisk,
    old: LocalDisk,
    history: History,
    tail: tuple[Event[Any], ...],
    shared: int,
) -> None:
    """Give the new store the stream's timelines, the old identity, and the list of its tail."""
    try:
        manifest = load_manifest(target)
        timelines = tuple(one for one in history.timelines if one.left_at <= shared)
        save_manifest(target, msgspec.structs.replace(manifest, timelines=timelines))
        lines = [msgspec.json.encode(_shown(event)) for event in tail]
        target.make_folder(QUARANTINE_FOLDER)
        listed = f"{QUARANTINE_FOLDER}/fenced-{tail[0].seq}-{tail[-1].seq}.jsonl"
        write_atomically(target, listed, QUARANTINE_TEMPORARY, b"\n".join([*lines, b""]))
        identity = old.open(REPLICA)
        try:
            content = identity.read(0, identity.size())
        finally:
            identity.close()
        write_atomically(target, REPLICA, REPLICA_TEMPORARY, content)
    except FileNotFoundError:  # a store that was never replicated has no identity yet
        return
    except OSError as error:
        raise write_error(error, target.path) from error


def _shown(event: Event[Any]) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "time": event.time,
        "key": event.key,
        "data": event.data,
        "metadata": event.metadata,
    }


def _finish_interrupted(store: Path) -> None:
    """Take the last step of an interrupted rejoining."""
    unfinished = store.with_name(store.name + _SUFFIX)
    if store.exists() or not unfinished.is_dir():
        if not store.exists():
            raise StoreNotFoundError(f"there is no store at {store}", path=str(store))
        if unfinished.is_dir():
            shutil.rmtree(unfinished)  # the old store is in its place: begin again
        return
    unfinished.rename(store)
