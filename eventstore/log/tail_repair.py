"""The repair of a last segment without a closing seal.

Theory of operation
-------------------
The page cache may show bytes of an unsealed segment and the disk may lack the bytes, because a sync
may have failed. Nothing in the segment is served before the doubt has ended.

*Without torn bytes*, only the end is in doubt. The last record tells how much of the segment was
durable before the record was written (`synced_end`). The bytes from there on are written again in
their place, so the pages are dirty again, and synced. Then the segment is sealed, and cut behind
the seal. The cut is synced as well: behind the end, the disk may still hold a refused record, of
which the zeros that cut the record back were lost.

*Torn bytes* are copied to `quarantine`. The valid part is written to a new file with a new salt.
The file is synced and renamed over the segment, and the folder is synced. Then the segment is
sealed, now that the name is durable.

Three other segments are replaced in the same way:

- A segment without an event. The name may be only in the page cache, and a later sync of the folder
  would not help, but another rename does. (Writers append only after the name is durable.)
- A segment written anew by a repair without a seal, for the same reason.
- A segment in the same file as a hard-linked copy of the store. The copy must not change.

In both ways the seal comes last. A segment sealed earlier would look finished to the next opening,
after a crash or a failed sync.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from eventstore.disk.base import Disk, File, sync, write_atomically, write_fully
from eventstore.disk.layout import REWRITE_TEMPORARY, segment_name
from eventstore.disk.quarantine import quarantine
from eventstore.log.flipped_bits import torn_events
from eventstore.log.format import ALIGNMENT, SEAL_SIZE, SealKind, SegmentHeader, encode_seal
from eventstore.log.segment import SegmentEnd, build_segment, write_seal
from eventstore.log.tail_verdict import Clean, TornTail, Verified, crc_up_to
from eventstore.os_errors import recovery_write_error

__all__ = ["RepairedEnd", "repair_end"]


class RepairedEnd(NamedTuple):
    """The sealed end of a segment, and what became of torn bytes.

    `quarantined` is the file with the torn bytes, and `torn_events` are their first and last event,
    if one turned bit makes the bytes whole.
    """

    end: SegmentEnd
    quarantined: str | None = None
    torn_events: tuple[int, int] | None = None


def repair_end(
    disk: Disk, header: SegmentHeader, data: bytes, tail: Clean | TornTail, verified: Verified
) -> RepairedEnd:
    """Make the records of an unsealed segment durable, and seal the segment.

    `data` is the whole segment, `tail` the verdict on the end, and `verified` a beginning with a
    known checksum. Raises `StoreFullError`, `StoreAccessError` or `StoreFailedError`. A failure
    loses nothing.
    """
    name = segment_name(header.first_seq)
    try:
        if isinstance(tail, Clean) and tail.records and not _written_anew(header, tail):
            file = disk.open(name, writable=True)
            try:
                if file.links() <= 1:
                    crc = crc_up_to(data, tail.end, verified)
                    return RepairedEnd(_settle(file, header, data, tail, crc))
            finally:
                file.close()
        return _replace(disk, name, header, data, tail)
    except OSError as error:
        raise recovery_write_error(error, f"{disk.path}/{name}") from error


def _written_anew(header: SegmentHeader, tail: Clean) -> bool:
    """Whether the segment has the length that `_replace` gives a segment before it is sealed."""
    return header.size == tail.end + SEAL_SIZE + ALIGNMENT


def _settle(file: File, header: SegmentHeader, data: bytes, tail: Clean, crc: int) -> SegmentEnd:
    """Write what is in doubt again in its place, and seal the segment.

    `crc` is the CRC-32 up to the end of the records.
    """
    seq, at = tail.next_seq, tail.end
    view = memoryview(data)
    write_fully(file, tail.records[-1].synced_end, view[tail.records[-1].synced_end : at])
    sync(file)
    end = SegmentEnd(header.first_seq, seq, header.salt, at, crc, at, crc)
    write_seal(file, end, SealKind.CLOSED)
    sync(file)
    seal = encode_seal(header.salt, at, seq, SealKind.CLOSED, crc)
    return end._replace(seal_at=at + len(seal), seal_crc=zlib.crc32(seal, crc))


def _replace(
    disk: Disk, name: str, header: SegmentHeader, data: bytes, tail: Clean | TornTail
) -> RepairedEnd:
    """Set torn bytes aside, and put a new file with the valid records in the segment's place."""
    quarantined = events = None
    if isinstance(tail, TornTail):
        # The segment with the torn bytes is replaced afterwards.
        torn = data[tail.end : tail.torn_end]
        quarantined = quarantine(disk, f"{name.rpartition('/')[2]}.{tail.end}", torn)
        events = torn_events(torn, tail.end, header.salt, tail.next_seq)
    records = [(record.first_seq, record.events, data[record.body]) for record in tail.records]
    rewritten, end = build_segment(disk, header, records, tail.next_seq, room=ALIGNMENT)
    unsealed = rewritten[:-SEAL_SIZE] + bytes(SEAL_SIZE + ALIGNMENT)
    write_atomically(disk, name, REWRITE_TEMPORARY, unsealed)
    file = disk.open(name, writable=True)
    try:
        write_seal(file, end._replace(seal_at=end.end, seal_crc=end.crc), SealKind.CLOSED)
    finally:
        file.close()
    return RepairedEnd(end, quarantined, events)
