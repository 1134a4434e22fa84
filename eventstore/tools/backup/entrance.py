"""Backups by name: a directory, a file `NAME.tar.zst`, or the URL of an object store."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eventstore.arguments import checked_count, checked_function, checked_path
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.errors import (
    ConfigError,
    CorruptStoreError,
    EventStoreError,
    ReadFailedError,
    StoreFailedError,
    StoreFullError,
)
from eventstore.model.registry import HandlerRegistry
from eventstore.os_errors import read_error
from eventstore.reading.arguments import checked_registry
from eventstore.recovery_and_stats import printable
from eventstore.tools.backup.backup_disk import BackupDisk
from eventstore.tools.backup.catalog import CATALOGS, DATA, Catalog, catalog_numbers, load_catalog
from eventstore.tools.backup.copying import Copy, backup, copy_anew, newest_catalog
from eventstore.tools.backup.object_store import open_object_store
from eventstore.tools.backup.places import (
    DirectoryPlace,
    Place,
    TaskAdvance,
    checked_place,
    no_task_advance,
)
from eventstore.tools.backup.single_file import (
    SUFFIX,
    SingleFilePlace,
    pack_directory,
    scratch_directory,
)
from eventstore.tools.staging import is_within

__all__ = ["follow_store", "list_copies", "make_backup", "open_copy", "open_place"]

_URL = re.compile(r"[a-z][a-z0-9+.-]+://")
_PASSING = (ReadFailedError, StoreFullError, StoreFailedError)
"""Errors that may be over a moment later: the network, or a full disk at the place."""


def open_place(name: str | os.PathLike[str]) -> Place:
    """Return the place that `name` means. Nothing is made, and nothing has to be there.

    Raises `ConfigError` for a URL of no known kind, and where the extra `backup` is missing.
    """
    name = checked_path(name, "name")
    if _URL.match(name):
        return open_object_store(name)
    if name.endswith(SUFFIX):
        return SingleFilePlace(name)
    return DirectoryPlace(name)


def open_copy(name: str) -> Disk:
    """Return the newest copy at a place as a disk to read, or the directory of a store as one.

    Raises `StoreNotFoundError` where there is neither, and the errors of the place.
    """
    place = open_place(name)
    catalog = newest_catalog(place)
    return LocalDisk(name, read_only=True) if catalog is None else BackupDisk(place, catalog)


def make_backup(
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    keep: int | None = None,
    advance: TaskAdvance = no_task_advance,
) -> Copy:
    """Copy the store at `path` to the place `to`, beside a writer and without the lock.

    A file `NAME.tar.zst` holds one copy, and is replaced as a whole. Every other place gets what is
    new, and keeps the newest `keep` copies.

    Arguments and errors are the ones of `backup`.
    """
    if keep is not None:
        checked_count("keep", keep, "a number of copies that stay")
    if registry is not None:
        checked_registry(registry)
    checked_function("advance", advance)
    to = checked_path(to, "to")
    if not _URL.match(to):
        _check_place(Path(checked_path(path)), Path(to))
    disk = LocalDisk(path, read_only=True)
    try:
        if not to.endswith(SUFFIX) or _URL.match(to):
            return backup(disk, open_place(to), registry, keep=keep, advance=advance)
        before = SingleFilePlace(to)
        with scratch_directory(Path(to)) as scratch:
            place = DirectoryPlace(scratch, to)
            copy = copy_anew(disk, place, registry, newest_catalog(before), advance=advance)
            if copy.new:
                packing = functools.partial(advance, "packing")
                pack_directory(place, Path(to), before, packing)
        return copy
    finally:
        disk.close()


def _check_place(store: Path, to: Path) -> None:
    """Refuse a place within the store, and a directory with files of others."""
    if is_within(to, store):
        raise ConfigError(
            f"{to} is within the store {store}: choose a place elsewhere, on another device",
            key="to",
        )
    try:
        names = set(os.listdir(to)) if to.is_dir() else set[str]()
    except OSError as error:
        raise read_error(error, str(to)) from error
    if names and not names & {CATALOGS.rstrip("/"), DATA.rstrip("/")}:
        raise ConfigError(
            f"{to} holds other files ({printable(min(names))}), and no backup: choose a directory "
            "of its own, which need not exist",
            key="to",
        )


def follow_store(
    path: str | os.PathLike[str],
    to: str,
    registry: HandlerRegistry[Any] | None,
    wait_for_end: Callable[[float], bool],
    *,
    every: float,
    keep: int | None = None,
    tell: Callable[[EventStoreError], None],
) -> Iterator[tuple[Copy, float]]:
    """Copy the store every `every` seconds, and yield each copy with its duration in seconds.

    The span is from the begin of one copy to the begin of the next one, so that a slow copy does
    not add to what may be lost. `wait_for_end` waits some seconds, and returns whether this copy
    was the last one. An error that may be over a moment later goes to `tell`, and the next round
    tries again. All other errors are raised: another writer, damage, a missing permission.
    """
    while True:
        begun = time.monotonic()
        try:
            copy = make_backup(path, to, registry, keep=keep)
        except _PASSING as error:
            tell(error)
        else:
            if copy.new:
                yield copy, time.monotonic() - begun
        if wait_for_end(max(every - (time.monotonic() - begun), 0.0)):
            return


def list_copies(
    place: Place, damaged: Callable[[int, CorruptStoreError], None] | None = None
) -> list[Catalog]:
    """Return the catalogs of all copies at a place, the oldest first.

    `damaged` is told of each copy whose catalog cannot be used. Without it, such a catalog raises
    `CorruptStoreError`.
    """
    if damaged is not None:
        checked_function("damaged", damaged)
    found = []
    for number in catalog_numbers(checked_place(place)):
        try:
            found.append(load_catalog(place, number))
        except FileNotFoundError:  # removed by retention meanwhile
            continue
        except CorruptStoreError as error:
            if damaged is None:
                raise
            damaged(number, error)
    return found
