"""Files of a backup that may take the place of damaged or missing ones."""

from __future__ import annotations

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import archive_name, segment_name
from eventstore.errors import CorruptLogError, EventStoreError
from eventstore.log.archive import decompress_archive
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader
from eventstore.log.tail import Corrupt, classify_tail
from eventstore.repair.flips import contradicts
from eventstore.repair.places import Diagnosis, Part, Place

__all__ = ["restorable"]


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
