"""One segment read behind damage: the valid records, and the holes between them.

Theory of operation
-------------------
Every record has a number and checksums, depends on the offset, and begins with the segment's salt.
So a reader behind an invalid record can look for the next valid one: aligned, with the salt, with
right checksums, and with a number that is not too low. The bytes between the two are a *hole*. The
numbers around a hole tell exactly the events in the hole.

A segment with an invalid header has a salt still, because every record begins with the salt.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from eventstore.log.flipped_bits import holds_events
from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    LENGTHS_AT,
    RECORD_HEADER_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
    read_lengths,
    read_record,
    read_seal,
    read_synced_end,
)
from eventstore.log.tail_verdict import Corrupt, TornTail, classify_tail, end_of_data

__all__ = ["Hole", "SegmentScan", "salt_of", "scan_segment"]

_SALT = struct.Struct("8s")


class Hole(NamedTuple):
    """Bytes of a segment without a valid record.

    - `offset`, `end`: the range of bytes.
    - `first`, `last`: the events in the hole. `last` is `first - 1` where no event is lost.
    - `open`: whether no record stands behind the hole, so `last` is a guess.
    """

    offset: int
    end: int
    first: int
    last: int
    reason: str
    open: bool = False


class SegmentScan(NamedTuple):
    """The readable part of a segment.

    - `records`: the valid records with events, ascending.
    - `holes`: the damage between and behind them.
    - `next_seq`: number of the event behind the segment.
    - `seal`: kind of the last seal, `None` without one.
    - `torn`: range of an unfinished commit at the end.
    """

    salt: bytes
    records: list[Record]
    holes: list[Hole]
    next_seq: int
    seal: SealKind | None
    torn: tuple[int, int] | None = None


def salt_of(data: bytes) -> bytes:
    """Return the salt of a segment whose header is invalid: that of the first valid record."""
    for offset in range(HEADER_SIZE, len(data) - RECORD_HEADER_SIZE, ALIGNMENT):
        salt = data[offset : offset + _SALT.size]
        if not any(salt):
            continue
        try:
            read_record(data, offset, salt)
        except InvalidBytesError:
            continue
        return salt
    return bytes(_SALT.size)


def scan_segment(
    data: bytes, header: SegmentHeader | None, first_seq: int, until: int | None = None
) -> SegmentScan:
    """Read a segment from event `first_seq` on, over every hole.

    Args:
        data: The whole file.
        header: The decoded header, `None` where the header is invalid.
        first_seq: Number of the first event.
        until: First event of the next file. `None` for the last segment, which may end with an
            unfinished commit.
    """
    return _Scan(data, header, first_seq, until).run()


class _Scan:
    def __init__(
        self, data: bytes, header: SegmentHeader | None, first_seq: int, until: int | None
    ) -> None:
        self._data = data
        self._header = header
        self._salt = salt_of(data) if header is None else header.salt
        self._until = until
        self._seq = first_seq
        self._records: list[Record] = []
        self._holes: list[Hole] = []
        self._seal: SealKind | None = None
        self._torn: tuple[int, int] | None = None
        self._crc = self._crc_end = 0
        if header is None:
            reason = _header_reason(data)
            self._holes.append(Hole(0, HEADER_SIZE, first_seq, first_seq - 1, reason))

    def run(self) -> SegmentScan:
        offset, data = HEADER_SIZE, self._data
        while offset < len(data):
            record, reason = self._record_at(offset)
            if record is None:
                found = self._next_valid(offset)
                if found is None:
                    break
                self._add_hole(offset, found.offset, found.first_seq, reason)
                record = found
            self._take(record)
            offset = record.end
        else:
            reason = "the file ends"
        self._end(offset, reason)
        return SegmentScan(
            self._salt, self._records, self._holes, self._seq, self._seal, self._torn
        )

    def _record_at(self, offset: int) -> tuple[Record | None, str]:
        try:
            record = read_record(self._data, offset, self._salt)
        except InvalidBytesError as error:
            return None, str(error)
        if record.first_seq != self._seq:
            return None, f"a record of event {record.first_seq} stands here"
        return record, ""

    def _next_valid(self, offset: int) -> Record | None:
        """Find the next valid record whose number may follow. A record may stand at `offset`."""
        data, salt = self._data, self._salt
        if not any(salt):
            return None
        position = data.find(salt, offset)
        while position >= 0:
            if position % ALIGNMENT == 0:
                try:
                    record = read_record(data, position, salt)
                except InvalidBytesError:
                    record = None
                if record is not None and self._may_follow(record):
                    return record
            position = data.find(salt, position + 1)
        return None

    def _may_follow(self, record: Record) -> bool:
        if record.first_seq < self._seq or not holds_events(self._data, record):
            return False
        return self._until is None or record.first_seq + record.events <= self._until

    def _add_hole(self, offset: int, end: int, next_seq: int, reason: str) -> None:
        self._holes.append(Hole(offset, end, self._seq, next_seq - 1, reason))
        self._seq = next_seq

    def _take(self, record: Record) -> None:
        if record.events:
            self._records.append(record)
            self._seal = None
        else:
            self._crc = zlib.crc32(self._data[self._crc_end : record.offset], self._crc)
            self._crc_end = record.offset
            kind, crc = read_seal(self._data, record)
            self._seal = kind
            if crc != self._crc and not self._holes:
                reason = "the seal's checksum of the segment does not match"
                self._holes.append(
                    Hole(record.offset, record.end, self._seq, self._seq - 1, reason)
                )
        self._seq += record.events

    def _end(self, offset: int, reason: str) -> None:
        """Judge the bytes behind the last valid record."""
        data, until = self._data, self._until
        if until is not None:
            behind = max(end_of_data(data), offset)
            if behind > offset:
                whole = self._seq == until and self._seal is SealKind.CONTINUED
                cause = "bytes follow the last seal" if whole else reason
                self._add_hole(offset, behind, until, cause)
            elif self._seq < until:
                self._add_hole(offset, offset, until, "the file is cut short")
            return
        header = self._header
        if header is None:
            behind = end_of_data(data)
            if behind > offset:
                self._add_open_hole(offset, behind, reason)
            return
        tail = classify_tail(data, header)
        if isinstance(tail, TornTail):
            self._torn = (tail.end, tail.torn_end)
        elif isinstance(tail, Corrupt) and (not self._holes or end_of_data(data) > offset):
            self._add_open_hole(offset, max(end_of_data(data), offset), tail.reason)

    def _add_open_hole(self, offset: int, behind: int, reason: str) -> None:
        """Add a hole that nothing stands behind. A valid record header tells how many events."""
        last = self._seq - 1
        try:
            read_synced_end(self._data, offset, self._salt)
            number, events, _ = read_lengths(self._data, offset + LENGTHS_AT)
            if number == self._seq:
                last += events
        except InvalidBytesError:
            pass
        self._holes.append(Hole(offset, behind, self._seq, last, reason, open=True))
        self._seq = last + 1


def _header_reason(data: bytes) -> str:
    try:
        SegmentHeader.decode(data[:HEADER_SIZE])
    except InvalidBytesError as error:
        return str(error)
    return "it is another segment's file"
