"""A new store's directory, made beside its place and renamed when the store is whole.

A store that is copied, restored or migrated appears under its name as a whole, or not at all. Until
then the files stand in a directory beside the place. A failure removes that directory. After a
crash the directory stays, and its name says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from eventstore.blocking_calls import wait_for_given_up
from eventstore.disk.layout import LOG_FOLDER, MANIFEST, SNAPSHOT_FOLDER
from eventstore.errors import ConfigError, StoreExistsError, StoreNotFoundError
from eventstore.os_errors import write_error

__all__ = [
    "BACKUP_FOLDERS",
    "is_backup",
    "is_store",
    "is_within",
    "refuse_existing",
    "refuse_within",
    "staged",
]

BACKUP_FOLDERS = ("catalogs", "data")
"""The folders in the directory of a backup."""


def is_store(folder: Path) -> bool:
    """Tell whether `folder` is the directory of a store, by the names of files alone."""
    return (folder / MANIFEST).is_file() and any(
        (folder / name).is_dir() for name in (LOG_FOLDER, SNAPSHOT_FOLDER)
    )


def is_backup(folder: Path) -> bool:
    """Tell whether `folder` is the directory of a backup, by the names of files alone."""
    return all((folder / name).is_dir() for name in BACKUP_FOLDERS)


def refuse_existing(path: Path) -> None:
    """Raise `StoreExistsError` where `path` names any file, and as `refuse_within` does."""
    if os.path.lexists(path):
        raise StoreExistsError(
            f"{path} exists; choose another path, or move it away first", path=str(path)
        )
    refuse_within(path)


def is_within(path: Path, folder: Path) -> bool:
    """Tell whether `path` leads to `folder` or deeper. A circle of links leads nowhere."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def refuse_within(path: Path) -> None:
    """Raise `ConfigError` for a path within a store or a backup."""
    parent = Path(os.path.realpath(path.absolute().parent))
    for folder in (parent, *parent.parents):
        kind = "store" if is_store(folder) else "backup" if is_backup(folder) else None
        if kind is not None:
            raise ConfigError(
                f"{path} is within the {kind} {folder}: choose a path elsewhere", key="path"
            )


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a directory beside `path`, which is renamed to `path` at the end of the block.

    The caller syncs the files. The name is durable at the end. An error in the block removes the
    directory.

    Raises `StoreExistsError`, `StoreNotFoundError` for a missing parent, and the errors of an
    opening that cannot write.
    """
    refuse_existing(path)
    parent = path.absolute().parent
    if not parent.is_dir():
        raise StoreNotFoundError(
            f"{parent} is no directory: make it first, or choose another path",
            path=str(parent),
            what="directory",
        )
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.unfinished-", dir=parent))
        try:
            yield staging
            refuse_existing(path)
            staging.rename(path)
        except BaseException:
            wait_for_given_up(staging)  # a cancelled opening still makes files there
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _sync_folder(parent)
    except OSError as error:
        raise write_error(error, str(path)) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
