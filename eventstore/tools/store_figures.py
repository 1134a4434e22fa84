"""Figures of a store, from its files: sizes, events by operation and hour, growth, snapshots."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    CURSOR_FOLDER,
    KEYS_FOLDER,
    LOG_FOLDER,
    QUARANTINE_FOLDER,
    SNAPSHOT_FOLDER,
    snapshot_name,
)
from eventstore.disk.listing import list_snapshots
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import EventStoreError
from eventstore.os_errors import translating_read_errors
from eventstore.snapshot.format import HEADER_SIZE, InvalidSnapshotError, SnapshotHeader
from eventstore.tools.counting import Counted, count_events
from eventstore.tools.file_size import size_of

__all__ = ["FileFigures", "SnapshotFigures", "StoreFigures", "file_figures", "store_figures"]

_FOLDERS = (
    LOG_FOLDER,
    ARCHIVE_FOLDER,
    SNAPSHOT_FOLDER,
    KEYS_FOLDER,
    CURSOR_FOLDER,
    QUARANTINE_FOLDER,
)
_DAY = 86_400 * 10**9
_HOUR = 3600 * 10**9


class SnapshotFigures(msgspec.Struct, frozen=True):
    """A snapshot: the event covered, the time of writing, and the bytes."""

    seq: int
    created: int
    size: int


class FileFigures(msgspec.Struct, frozen=True):
    """For each folder the number of files and their bytes, and the snapshots, oldest first."""

    files: dict[str, tuple[int, int]]
    snapshots: tuple[SnapshotFigures, ...]


class StoreFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one store.

    Attributes:
        path: The store's directory.
        files: For each folder the number of files, and their bytes.
        counted: Events by operation and by hour.
        snapshots: The snapshots, oldest first.
        bytes_per_day: Bytes of events a day, over the hours with events. `None` in a store without
            events.
    """

    path: str
    files: dict[str, tuple[int, int]]
    counted: Counted
    snapshots: tuple[SnapshotFigures, ...]
    bytes_per_day: float | None


def store_figures(
    path: str | os.PathLike[str],
    advance: Callable[[int, int | None], None] = lambda done, total: None,
) -> StoreFigures:
    """Read the figures of the store at `path`. Takes no lock, and reads every event.

    `advance` is called with the number of events counted so far. Raises the errors of
    `read_events`.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(disk.path):
            load_manifest(disk)
            found = file_figures(disk)
        counted = count_events(disk, advance)
    finally:
        disk.close()
    total = sum(one.bytes for one in counted.operations.values())
    hours = len(counted.hours)
    return StoreFigures(
        path=disk.path,
        files=found.files,
        counted=counted,
        snapshots=found.snapshots,
        bytes_per_day=total * _DAY / (hours * _HOUR) if hours else None,
    )


def file_figures(disk: Disk) -> FileFigures:
    """Measure the files of the store on `disk`. Folders without a file are left out."""
    files = {folder: _sizes(disk, folder) for folder in _FOLDERS}
    return FileFigures(
        {name: sizes for name, sizes in files.items() if sizes[0]}, tuple(_snapshots(disk))
    )


def _sizes(disk: Disk, folder: str) -> tuple[int, int]:
    names = [f"{folder}/{base}" for base in disk.list(folder)]
    return len(names), sum(_size(disk, name) for name in names)


def _size(disk: Disk, name: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return size_of(disk, name)
    return 0


def _snapshots(disk: Disk) -> list[SnapshotFigures]:
    found = []
    for seq in list_snapshots(disk):
        name = snapshot_name(seq)
        with contextlib.suppress(InvalidSnapshotError, EventStoreError, FileNotFoundError):
            header = SnapshotHeader.decode(read_whole(disk, name, HEADER_SIZE))
            found.append(SnapshotFigures(seq, header.created, _size(disk, name)))
    return found
