"""The directory of a standby: made from a history, and given the timelines of later ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from eventstore.config import StoreConfig
from eventstore.directory import create_first_segment
from eventstore.disk.base import Disk, sync_path
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest, save_manifest
from eventstore.errors import ReplicationError, StoreNotFoundError
from eventstore.os_errors import path_in_error, recovery_write_error
from eventstore.replication.identity import identity_of
from eventstore.replication.lease import Holder, holder_of
from eventstore.replication.messages import History
from eventstore.replication.shipping import last_shared
from eventstore.tools.backup.backup_disk import BackupDisk
from eventstore.tools.backup.places import Place
from eventstore.tools.backup.restore import plan_restore, restore

__all__ = ["adopt_history", "ensure_replica", "manifest_of"]


def ensure_replica(
    path: str, history: History, config: StoreConfig, place: Place | None = None
) -> Holder:
    """Make the directory of a standby where there is none, and return the directory's identity.

    A new directory begins with the newest copy at `place`, by default with nothing.

    Raises `ReplicationError` for the store of another stream, `StoreLockedError`, and the errors of
    an opening that cannot write.
    """
    if place is not None and not os.path.lexists(path):
        _restore(path, place, history)
    with _locked(path, create=True) as disk:
        try:
            found = load_manifest(disk)
        except StoreNotFoundError:
            if history.first > 1:
                raise _error(
                    path,
                    config,
                    f"the stream begins with event {history.first}: begin the standby with a "
                    "backup of the writer",
                ) from None
            create_first_segment(disk, history.store, 1)
            sync_path(disk)
            manifest = Manifest(
                store=history.store,
                created=history.created,
                timelines=history.timelines[:1],
                initial=history.initial,
            )
            save_manifest(disk, manifest)
        else:
            if found.store != history.store:
                raise _error(
                    path,
                    config,
                    f"the stream is of the store {history.store}, and {path} holds the store "
                    f"{found.store}",
                )
        return holder_of(identity_of(disk))


def _restore(path: str, place: Place, history: History) -> None:
    """Restore the newest copy, in the timelines of the stream and no further.

    A copy may have events that no promoted standby had. A restored store begins a timeline, and a
    standby goes on in the stream's.
    """
    plan = plan_restore(place)
    copied = load_manifest(BackupDisk(place, plan.catalog)).timelines
    shared = last_shared(copied, history.timelines)
    if shared is not None and shared < plan.last:
        plan = plan_restore(place, shared)
    restored = restore(plan, path)
    with _locked(str(restored.path), create=False) as disk:
        manifest = load_manifest(disk)
        timelines = manifest.timelines[:-1]
        if manifest.store == history.store:
            timelines = tuple(one for one in history.timelines if one.left_at <= plan.last)
        save_manifest(disk, msgspec.structs.replace(manifest, timelines=timelines))


def adopt_history(path: str, history: History) -> None:
    """Put the timelines of a history into `store.json`, durably."""
    with _locked(path, create=False) as disk:
        manifest = load_manifest(disk)
        save_manifest(disk, msgspec.structs.replace(manifest, timelines=history.timelines))


def manifest_of(path: str) -> Manifest:
    """Read `store.json` beside whoever has the store open."""
    disk = LocalDisk(path, create=False, read_only=True)
    try:
        return load_manifest(disk)
    finally:
        disk.close()


@contextmanager
def _locked(path: str, *, create: bool) -> Iterator[Disk]:
    disk = LocalDisk(path, create=create, read_only=False)
    try:
        disk.lock()
        yield disk
    except OSError as error:
        raise recovery_write_error(error, path_in_error(error, path)) from error
    finally:
        disk.close()


def _error(path: str, config: StoreConfig, reason: str) -> ReplicationError:
    settings = config.replicate
    assert settings is not None
    return ReplicationError(
        f"{path}: standby of the stream {settings.stream!r}: {reason}",
        path=path,
        servers=settings.shown,
        stream=settings.stream,
    )
