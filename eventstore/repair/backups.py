"""Files of a backup that may take the place of damaged or missing ones."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator

import msgspec

from eventstore.arguments import checked_path
from eventstore.disk.base import Disk, is_disk, read_whole
from eventstore.disk.layout import archive_name, segment_name
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.errors import CorruptLogError, EventStoreError
from eventstore.log.archive import decompress_archive
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader
from eventstore.log.tail_verdict import Corrupt, classify_tail
from eventstore.repair.damaged_places import Diagnosis, Part, Place
from eventstore.repair.flips import contradicts

__all__ = ["backup_disk", "restorable", "with_files_of_backup"]


@contextlib.contextmanager
def backup_disk(backup: str | os.PathLike[str] | Disk | None) -> Iterator[Disk | None]:
    """Give the disk of a backup. A disk that the caller opened stays open."""
    if backup is None or is_disk(backup):
        yield backup
        return
    opened = LocalDisk(checked_path(backup, "backup"), read_only=True)
    try:
        yield opened
    finally:
        opened.close()


def with_files_of_backup(diagnosis: Diagnosis, backup: Disk | None) -> Diagnosis:
    """Tell each missing segment of one gap apart, by the segments in a backup.

    The store's own files tell only where a gap begins and ends.
    """
    if backup is None:
        return diagnosis
    firsts = sorted(Listing.read(backup).segments)
    parts, places = list[Part](), list(diagnosis.places)
    for part in diagnosis.parts:
        inner = [first for first in firsts if part.first < first <= part.last]
        if part.source is not None or part.archived or not inner:
            parts.append(part)
            continue
        index = next(at for at, place in enumerate(places) if place.name == part.name)
        gap = places.pop(index)
        for first, behind in itertools.pairwise((part.first, *inner, part.last + 1)):
            name, is_last = segment_name(first), behind > part.last
            piece = {"name": name, "first": first, "last": behind - 1}
            parts.append(msgspec.structs.replace(part, **piece))
            places.append(msgspec.structs.replace(gap, open=gap.open and is_last, **piece))
    places.sort(key=lambda one: (one.first, one.name))
    return msgspec.structs.replace(diagnosis, parts=tuple(parts), places=tuple(places))


def restorable(diagnosis: Diagnosis, place: Place, disk: Disk, backup: Disk) -> bool:
    """Whether the backup has a whole file for a place, the very file that belongs there."""
    part = next((one for one in diagnosis.parts if one.name == place.name), None)
    return part is not None and _whole_in(diagnosis, part, disk, backup)


def _whole_in(diagnosis: Diagnosis, part: Part, disk: Disk, backup: Disk) -> bool:
    name = (archive_name if part.archived else segment_name)(part.first)
    try:
        data = read_whole(backup, name)
        if part.archived:
            data = decompress_archive(backup, name, data)
        header = SegmentHeader.decode(data[:HEADER_SIZE])
    except (FileNotFoundError, InvalidBytesError, CorruptLogError, EventStoreError):
        return False
    if header.store != diagnosis.manifest.store or header.first_seq != part.first:
        return False
    tail = classify_tail(data, header)
    if isinstance(tail, Corrupt) or tail.next_seq <= part.last:
        return False
    behind = next((one for one in diagnosis.parts if one.first == tail.next_seq), None)
    if part.archived or behind is None or behind.source is None or behind.archived:
        return True
    try:
        successor = SegmentHeader.decode(read_whole(disk, behind.source, HEADER_SIZE))
    except (InvalidBytesError, FileNotFoundError):
        return True
    return not contradicts(data, successor)
