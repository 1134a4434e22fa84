"""A few events of a segment, found without reading the segment through.

Theory of operation
-------------------
A segment needs no index. Every record begins with the segment's salt, and the checksum of a
record's header is started from the record's own offset. So a record is recognised from anywhere in
the file: the first salt at or behind a place, at a multiple of 8, with a right checksum. The place
of an event is guessed from the bytes that an event took between the last two records found, and
every third time the middle is taken. So records of even size take few looks, and any others hardly
more than bisection.

Between the last look and the event, headers are passed by their lengths alone. The records that are
handed over are verified as a whole, header and body, and their numbers follow one another.

The last segment may end with the torn bytes of a crash. A whole record can stand there behind a
lost one. So a record of the last segment counts only if the record behind says that all bytes
before were durable, or if the segment was closed.

Whatever is not as expected ends the reading. The caller then reads the file through, and finds out
what is wrong, if anything is.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator
from typing import NamedTuple

from eventstore.disk.base import Disk, File, open_to_read
from eventstore.log.base import Chunk
from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    LENGTHS_AT,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    Record,
    SegmentHeader,
    closing_seal,
    read_lengths,
    read_record,
    read_synced_end,
    record_size,
)
from eventstore.log.reader_types import HistoryFile, ReadRange, decode_header
from eventstore.log.runs import chunks_of

__all__ = ["SHORT", "read_short"]

SHORT = 16_384
"""Events that are worth a search: whoever reads more reads the file through."""
_FEW = 16
_LOOK = 16 << 10
_WIDE = 64 << 10
_WINDOW = 256 << 10
_NEAR = 4096
_LOOKS = 100


class _Found(NamedTuple):
    """A record header: where the record begins and ends, its first event, and the number behind."""

    offset: int
    end: int
    first: int
    behind: int


def read_short(
    disk: Disk, store: uuid.UUID, file: HistoryFile, wanted: ReadRange, successor: int | None
) -> Generator[Chunk, None, int]:
    """Read the wanted events of a segment as far as they are found at once.

    The first chunk may begin before `wanted.start`. Returns the number behind the last event read.

    Raises `FileNotFoundError`, `ReadFailedError`, and `CorruptLogError` for a damaged header.
    """
    seq, offset = wanted.start, 0
    ended = False
    while seq < wanted.stop and not ended:
        data, records = b"", list[Record]()
        # No file is open while the caller has a chunk.
        with open_to_read(disk, file.name) as opened, contextlib.suppress(InvalidBytesError):
            header = decode_header(disk, store, file, opened.read(0, HEADER_SIZE))
            offset = offset or _find(opened, header, seq)
            found = _next_records(opened, header.salt, offset, seq, wanted.stop)
            data, records, offset, ended = found
            if successor is None and not (
                _was_durable(opened, header.salt, offset) or _is_closed(opened, header.salt)
            ):
                break
        if not records:
            break
        yield from chunks_of(data, records, seq, wanted.chunk_bytes)
        seq = records[-1].first_seq + records[-1].events
    return seq


def _was_durable(file: File, salt: bytes, end: int) -> bool:
    """Whether the record behind says that everything up to offset `end` was durable before."""
    try:
        return read_synced_end(file.read(end, RECORD_HEADER_SIZE), 0, salt, end) >= end
    except InvalidBytesError:
        return False


def _is_closed(file: File, salt: bytes) -> bool:
    """Whether the file ends with a closing seal, behind which nothing can be torn."""
    end = file.size() - SEAL_SIZE
    return closing_seal(file.read(max(end, 0), SEAL_SIZE), end, salt) is not None


def _next_records(
    file: File, salt: bytes, offset: int, seq: int, stop: int
) -> tuple[bytes, list[Record], int, bool]:
    """Read the next records from event `seq` on, the first of which may begin behind `offset`.

    Returns bytes, the records in the bytes, the offset behind the last of them, and whether the
    bytes reach to the end of the file. Raises `InvalidBytesError`.
    """
    length = _LOOK if stop - seq <= _FEW else _WINDOW
    while True:
        data = file.read(offset, length)
        records, passed = _take(data, offset, salt, seq, stop)
        offset += passed
        ended = len(data) < length
        if records or (not passed and ended):
            return data, records, offset, ended
        if not passed:  # a record longer than what was read
            length *= 16


def _find(file: File, header: SegmentHeader, seq: int) -> int:
    """Return the offset of a record at or before event `seq`, and near the event."""
    low = _Found(HEADER_SIZE, HEADER_SIZE, header.first_seq, header.first_seq)
    place, high = HEADER_SIZE, file.size()
    rate, length = 0.0, _NEAR  # bytes of an event, and of a record
    for look in range(1, _LOOKS):
        found = _next_record(file, header.salt, place, high, length)
        if found is not None and found.behind > low.first:
            rate = (found.end - low.offset) / (found.behind - low.first)
            length = max(_NEAR, min(found.end - found.offset, _WIDE))
        if found is None or found.first > seq:
            high = place
        else:
            low = found
        ahead = int((seq - low.first) * rate)
        if high - low.offset <= _NEAR or seq < low.behind or 0 < ahead <= length:
            break  # lengths lead there, over a few records
        place = (low.offset + high) // 2
        if look % 3 and rate:
            place = min(low.offset + ahead - length // 2, high - _NEAR // 2)
        place = max(place & -ALIGNMENT, low.offset + ALIGNMENT)
    return low.offset


def _next_record(file: File, salt: bytes, offset: int, end: int, length: int) -> _Found | None:
    """Find the first record that begins at `offset` or behind, and before `end`.

    `length` is the number of bytes to look through at first.
    """
    while offset < end:
        data = file.read(offset, length + RECORD_HEADER_SIZE)
        at = data.find(salt)
        while 0 <= at < length:
            if not at % ALIGNMENT:
                with contextlib.suppress(InvalidBytesError):
                    read_synced_end(data, at, salt, offset + at)
                    first, events, size = read_lengths(data, at + LENGTHS_AT)
                    begin = offset + at
                    return _Found(begin, begin + record_size(size), first, first + events)
            at = data.find(salt, at + 1)
        if not data.strip(b"\0"):
            return None  # probably behind the last record
        offset += length
        length = _WIDE
    return None


def _take(data: bytes, offset: int, salt: bytes, seq: int, stop: int) -> tuple[list[Record], int]:
    """Verify the records in the bytes at `offset` of a segment, from event `seq` up to `stop`.

    Returns the records, with offsets in `data`, and the bytes passed. Raises `InvalidBytesError`.
    """
    records: list[Record] = []
    at = 0
    while at + RECORD_HEADER_SIZE <= len(data) and seq < stop:
        first, events, size = read_lengths(data, at + LENGTHS_AT)
        end = at + record_size(size)
        if not size or (first > seq or (records and first < seq)):
            raise InvalidBytesError(f"a record of event {first} stands here")
        if first + events > seq:
            if end > len(data):
                break
            records.append(read_record(data, at, salt, place=offset + at))
            seq = first + events
        at = end
    return records, at
