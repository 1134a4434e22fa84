"""The names in a store's directory, listed once and passed on.

Opening a store needs the same names in many places. A writer lists the folders once, after the
writer has the lock: no other process changes the names from then on. A reader without the lock
lists the folders once for each attempt (`disk/optimistic.py`).

A `Listing` is a value and does not follow later changes. A step that creates or removes segments,
archives or snapshots lists the folders again, unless the step alone knows what changed.

The folders are listed in an order. An archive has its name before its segment is removed, so the
archive is listed before the log. A snapshot has its name after its last event was logged, so the
snapshots are listed before the log too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from eventstore.disk.base import Disk
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    ARCHIVE_TEMPORARY,
    LOG_FOLDER,
    LOG_NAMES,
    ROOT_NAMES,
    SNAPSHOT_FOLDER,
    SNAPSHOT_TEMPORARY,
    SPARE_SEGMENT,
    archive_name,
    archive_seq,
    segment_seq,
    snapshot_seq,
)
from eventstore.disk.manifest import Manifest

__all__ = ["Listing", "list_snapshots"]


class Listing(NamedTuple):
    """The sorted names in the top of the directory and in three folders, without their paths."""

    root: list[str]
    snapshots: list[str]
    archive: list[str]
    log: list[str]

    @classmethod
    def read(cls, disk: Disk) -> Listing:
        """List the top of the directory, the snapshots, the archive, and last the log."""
        return cls(
            root=disk.list(),
            snapshots=disk.list(SNAPSHOT_FOLDER),
            archive=disk.list(ARCHIVE_FOLDER),
            log=disk.list(LOG_FOLDER),
        )

    @property
    def segments(self) -> list[int]:
        """First events of the segments in the log, ascending."""
        return _numbers(segment_seq, self.log)

    @property
    def archives(self) -> list[int]:
        """First events of the archives, ascending."""
        return _numbers(archive_seq, self.archive)

    @property
    def snapshot_seqs(self) -> list[int]:
        """Events that have a snapshot, ascending."""
        return _numbers(snapshot_seq, self.snapshots)

    @property
    def has_spare(self) -> bool:
        """Whether an earlier writer left a spare segment."""
        return SPARE_SEGMENT in _in_folder(LOG_FOLDER, self.log)

    def unknown(self, manifest: Manifest) -> list[str]:
        """List the files that do not belong to the store, with their folders.

        `manifest` must have been read after the listing. An archive has its name before the
        manifest counts the archive, and the manifest counts the archive before the segment is
        removed. So an archive that a writer makes meanwhile has its segment in the log, or is in
        the manifest. An archive from before the history is known too: the manifest stopped
        counting the archive when history was discarded, and the next writer removes the file.
        """
        archives = {*self.segments, *(first for first, _, _ in manifest.archived)}
        archives.update(first for first in self.archives if first < manifest.history_start)
        known = {ARCHIVE_TEMPORARY, SNAPSHOT_TEMPORARY, *map(archive_name, archives)}
        unknown = [name for name in self.root if name not in ROOT_NAMES]
        unknown += [name for name in _in_folder(ARCHIVE_FOLDER, self.archive) if name not in known]
        unknown += [
            name
            for name, base in zip(
                _in_folder(SNAPSHOT_FOLDER, self.snapshots), self.snapshots, strict=True
            )
            if snapshot_seq(base) is None and name not in known
        ]
        unknown += [
            f"{LOG_FOLDER}/{base}"
            for base in self.log
            if segment_seq(base) is None and base not in LOG_NAMES
        ]
        return unknown


def list_snapshots(disk: Disk) -> list[int]:
    """List the events that have a snapshot at this moment, ascending."""
    return _numbers(snapshot_seq, disk.list(SNAPSHOT_FOLDER))


def _numbers(number_in: Callable[[str], int | None], names: Iterable[str]) -> list[int]:
    return sorted(number for name in names if (number := number_in(name)) is not None)


def _in_folder(folder: str, names: Iterable[str]) -> list[str]:
    return [f"{folder}/{name}" for name in names]
