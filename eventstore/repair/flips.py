"""The faults of one file, and the bits whose turning takes the faults away."""

from __future__ import annotations

import zlib

from eventstore.disk.manifest import Manifest
from eventstore.log.flipped_bits import Flip, mend_records, mend_segment_header
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader
from eventstore.log.tail_verdict import Corrupt, classify_tail
from eventstore.repair.damaged_places import Kind, Place
from eventstore.repair.segment_scan import Hole

__all__ = ["archive_fault", "contradicts", "hole_place"]


def archive_fault(data: bytes, manifest: Manifest, first: int, last: int) -> str | None:
    """Return how an archive's segment differs from the manifest's account, `None` if not at all."""
    try:
        header = SegmentHeader.decode(data[:HEADER_SIZE])
    except InvalidBytesError as error:
        return str(error)
    if header.store != manifest.store or header.first_seq != first:
        return "it is another segment's archive"
    tail = classify_tail(data, header)
    if isinstance(tail, Corrupt):
        return tail.reason
    if tail.next_seq != last + 1:
        return f"it ends with event {tail.next_seq - 1}, not {last}"
    return None


def contradicts(data: bytes, successor: SegmentHeader) -> bool:
    """Whether a segment differs from the successor's account of the segment before."""
    end = successor.previous_end
    return len(data) < end or zlib.crc32(memoryview(data)[:end]) != successor.previous_crc


def _hole_flips(data: bytes, hole: Hole, salt: bytes) -> tuple[Flip, ...] | None:
    if hole.end == HEADER_SIZE:
        flip = mend_segment_header(data[:HEADER_SIZE])
        return None if flip is None else (flip,)
    next_seq = None if hole.open else hole.last + 1
    return mend_records(data, hole.offset, hole.end, salt, hole.first, next_seq) or None


def hole_place(name: str, data: bytes, hole: Hole, salt: bytes) -> Place:
    """Describe a hole in a segment."""
    kind = Kind.HEADER if hole.end == HEADER_SIZE else Kind.RECORD
    return Place(
        name=name,
        kind=kind,
        reason=hole.reason,
        offset=hole.offset,
        size=hole.end - hole.offset,
        first=hole.first,
        last=hole.last,
        open=hole.open,
        flips=_hole_flips(data, hole, salt),
    )
