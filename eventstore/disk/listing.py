"""The names in a store's directory, listed once and passed on.

Opening a store needs the same names in many places. A writer lists the folders once, after the
writer has the lock: no other process changes the names from then on. A reader without the lock
lists the folders once for each look (`disk/optimistic.py`).

A `Listing` is a value and does not follow later changes. Creating a store or its log changes names
that the rest of the opening needs, so the names are listed again there. The `quarantine` folder is
not part of a listing: only quarantining looks into the folder.

The order of listing matters beside a writer. Archive and snapshots are listed before the log. The
writer logs an event before the snapshot of the event appears, so a listed snapshot is never ahead
of the log. A run of keys appears before a snapshot that needs the run, so the keys are listed after
the snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from eventstore.disk.base import Disk
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    KEYS_FOLDER,
    LOG_FOLDER,
    QUARANTINE_FOLDER,
    QUARANTINE_TEMPORARY,
    ROOT_NAMES,
    SNAPSHOT_FOLDER,
    SPARE_SEGMENT,
    TEMPORARIES,
    TEMPORARY_SUFFIX,
    archive_seq,
    keyframe_seq,
    run_range,
    segment_seq,
    snapshot_seq,
)
from eventstore.disk.manifest import Manifest

__all__ = ["Listing", "list_keyframes", "list_snapshots"]


class Listing(NamedTuple):
    """The sorted names in the top of the directory and in four folders, without their paths."""

    root: list[str]
    snapshots: list[str]
    archive: list[str]
    keys: list[str]
    log: list[str]

    @classmethod
    def read(cls, disk: Disk) -> Listing:
        """List the top of the directory, the snapshots, the archive, the keys, last the log."""
        return cls(
            root=disk.list(),
            snapshots=disk.list(SNAPSHOT_FOLDER),
            archive=disk.list(ARCHIVE_FOLDER),
            keys=disk.list(KEYS_FOLDER),
            log=disk.list(LOG_FOLDER),
        )

    def with_log(self, disk: Disk) -> Listing:
        """Return the same names, with the top of the directory and the log listed again."""
        return self._replace(root=disk.list(), log=disk.list(LOG_FOLDER))

    @property
    def temporaries(self) -> list[str]:
        """The temporary files that a crash may have left.

        A file in the folder `quarantine`, which is not listed, may be missing.
        """
        found = {*self.root, QUARANTINE_TEMPORARY if QUARANTINE_FOLDER in self.root else ""}
        for folder, names in (
            (ARCHIVE_FOLDER, self.archive),
            (KEYS_FOLDER, self.keys),
            (LOG_FOLDER, self.log),
            (SNAPSHOT_FOLDER, self.snapshots),
        ):
            found.update(f"{folder}/{base}" for base in names if base.endswith(TEMPORARY_SUFFIX))
        return [name for name in TEMPORARIES if name in found]

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
        """Events with a snapshot, ascending."""
        return _numbers(snapshot_seq, self.snapshots)

    @property
    def keyframes(self) -> list[int]:
        """Events with a keyframe, ascending."""
        return _numbers(keyframe_seq, self.archive)

    @property
    def has_spare(self) -> bool:
        """Whether an earlier writer left a spare segment."""
        return SPARE_SEGMENT in (f"{LOG_FOLDER}/{base}" for base in self.log)

    def unknown(self, manifest: Manifest) -> list[str]:
        """List the files that do not belong to the store, with their folders.

        Beside a writer, `manifest` must have been read after the listing. An archive appears before
        the manifest counts the archive, and the manifest counts the archive before the segment
        goes. So a new archive either has its segment in the log, listed later, or is in the
        manifest.

        An archive of discarded history is known too. The manifest stopped counting the archive, and
        the writer or the next opening removes the file.
        """
        archives = {*self.segments, *(first for first, _, _ in manifest.archived)}
        archives.update(first for first in self.archives if first < manifest.history_start)
        others = [
            *self.root,
            *(
                f"{ARCHIVE_FOLDER}/{base}"
                for base in self.archive
                if archive_seq(base) not in archives and keyframe_seq(base) is None
            ),
            *(f"{SNAPSHOT_FOLDER}/{base}" for base in self.snapshots if snapshot_seq(base) is None),
            *(f"{KEYS_FOLDER}/{base}" for base in self.keys if run_range(base) is None),
            *(f"{LOG_FOLDER}/{base}" for base in self.log if segment_seq(base) is None),
        ]
        known = {*ROOT_NAMES, *TEMPORARIES, SPARE_SEGMENT}
        return [name for name in others if name not in known]


def list_snapshots(disk: Disk) -> list[int]:
    """List the folder again, and return the events with a snapshot, ascending."""
    return _numbers(snapshot_seq, disk.list(SNAPSHOT_FOLDER))


def list_keyframes(disk: Disk) -> list[int]:
    """List the archive again, and return the events with a keyframe, ascending."""
    return _numbers(keyframe_seq, disk.list(ARCHIVE_FOLDER))


def _numbers(number_in: Callable[[str], int | None], names: Iterable[str]) -> list[int]:
    return sorted(number for name in names if (number := number_in(name)) is not None)
