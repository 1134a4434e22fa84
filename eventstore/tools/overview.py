"""The files in a store's directory, surveyed without opening the store: `overview`.

The survey locks, repairs and writes nothing, and needs no handler. Each segment of the log is read
once and verified record by record, one segment at a time. Archives and snapshots are only measured.
Damage does not end the survey: the result reports the damage.

While a writer is at work, the last segment may show a record that is being written. A file may be
gone between being listed and being read, and is then left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from eventstore.clock import to_datetime
from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    LOG_FOLDER,
    QUARANTINE_FOLDER,
    SNAPSHOT_FOLDER,
    WRITER_PID,
    archive_seq,
    segment_seq,
    snapshot_seq,
)
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import EventStoreError, read_error
from eventstore.log.segment import read_header
from eventstore.log.tail import Clean, Corrupt, TornTail, classify_tail

__all__ = ["FileFacts", "Overview", "SegmentFacts", "overview", "survey_segments"]


class FileFacts(msgspec.Struct, frozen=True):
    """A file of the store: name, size in bytes, and the event number in its name."""

    name: str
    size: int
    seq: int | None = None


class SegmentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A segment of the log.

    * `last_seq`: the last event, or `first_seq - 1` in a segment without events.
    * `used`: bytes up to the end of the valid records.
    * `sealed`: the kind of seal at the end, `None` without a seal.
    * `torn_bytes`: bytes of an unfinished commit, which the next writer will set aside.
    * `damage`: why the segment is corrupt, `None` if it is sound.
    """

    name: str
    size: int
    first_seq: int
    last_seq: int = 0
    records: int = 0
    used: int = 0
    sealed: str | None = None
    torn_bytes: int = 0
    damage: str | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that `eventstore info` shows. `writer` is the pid that a writer left behind."""

    path: str
    manifest: Manifest
    segments: tuple[SegmentFacts, ...]
    snapshots: tuple[FileFacts, ...]
    archives: tuple[FileFacts, ...]
    quarantine: tuple[FileFacts, ...]
    writer: int | None = None

    @property
    def last_seq(self) -> int:
        """The last event in the log, 0 in an empty log."""
        return max((segment.last_seq for segment in self.segments), default=0)

    @property
    def created(self) -> str:
        """The time when the store was made, UTC."""
        return f"{to_datetime(self.manifest.created):%Y-%m-%d %H:%M:%S} UTC"

    @property
    def size(self) -> int:
        """The bytes of all files listed here."""
        return sum(
            file.size
            for files in (self.segments, self.snapshots, self.archives, self.quarantine)
            for file in files
        )

    @property
    def damaged(self) -> tuple[SegmentFacts, ...]:
        """The corrupt segments."""
        return tuple(segment for segment in self.segments if segment.damage)


def overview(path: str | os.PathLike[str]) -> Overview:
    """Survey the store at `path`.

    Raises `StoreNotFoundError`, `StoreAccessError`, `ReadFailedError`, and `CorruptStoreError` for
    a damaged `store.json`.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        manifest = load_manifest(disk)
        return Overview(
            path=disk.path,
            manifest=manifest,
            segments=tuple(survey_segments(disk, manifest)),
            snapshots=tuple(_files(disk, SNAPSHOT_FOLDER)),
            archives=tuple(_files(disk, ARCHIVE_FOLDER)),
            quarantine=tuple(_files(disk, QUARANTINE_FOLDER)),
            writer=_writer(disk),
        )
    except OSError as error:
        raise read_error(error, disk.path) from error
    finally:
        disk.close()


def survey_segments(disk: Disk, manifest: Manifest) -> Iterator[SegmentFacts]:
    """Yield the segments of the log, each read and verified record by record."""
    for base in disk.list(LOG_FOLDER):
        first = segment_seq(base)
        if first is None or first < manifest.log_start:
            continue
        name = f"{LOG_FOLDER}/{base}"
        try:
            size = _size(disk, name)
            header = read_header(disk, name, manifest.store)
            tail = classify_tail(read_whole(disk, name), header)
        except FileNotFoundError:
            continue
        except EventStoreError as error:
            yield SegmentFacts(
                name=name, size=size, first_seq=first, last_seq=first - 1, damage=str(error)
            )
            continue
        match tail:
            case Corrupt(offset=offset, expected_seq=seq, reason=reason):
                yield SegmentFacts(
                    name=name,
                    size=size,
                    first_seq=first,
                    last_seq=seq - 1,
                    used=offset,
                    damage=f"corrupt at offset {offset}, where event {seq} should begin: {reason}",
                )
            case Clean() | TornTail():
                yield SegmentFacts(
                    name=name,
                    size=size,
                    first_seq=first,
                    last_seq=tail.next_seq - 1,
                    records=len(tail.records),
                    used=tail.end,
                    sealed=tail.sealed.name.lower()
                    if isinstance(tail, Clean) and tail.sealed
                    else None,
                    torn_bytes=tail.torn_end - tail.end if isinstance(tail, TornTail) else 0,
                )


def _files(disk: Disk, folder: str) -> Iterator[FileFacts]:
    for base in disk.list(folder):
        name = f"{folder}/{base}"
        found = (snapshot_seq(base), archive_seq(base), segment_seq(base))
        seq = next((seq for seq in found if seq is not None), None)
        try:
            yield FileFacts(name, _size(disk, name), seq)
        except FileNotFoundError:
            continue


def _size(disk: Disk, name: str) -> int:
    file = disk.open(name)
    try:
        return file.size()
    finally:
        file.close()


def _writer(disk: Disk) -> int | None:
    try:
        return int(read_whole(disk, WRITER_PID, 32))
    except (EventStoreError, FileNotFoundError, ValueError):
        return None
