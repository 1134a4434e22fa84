"""The growing segment, read record by record from a place that is kept.

A `SegmentTail` reads only bytes that it has not read before. Each record is verified by the
checksums of header and body. The caller says the last event that is durable, and no record behind
that event is looked at.
"""

from __future__ import annotations

import uuid

from eventstore.disk.base import Disk, File
from eventstore.disk.layout import segment_name
from eventstore.log.base import Chunk
from eventstore.log.format import (
    HEADER_SIZE,
    LENGTHS_AT,
    RECORD_HEADER_SIZE,
    InvalidBytesError,
    SegmentHeader,
    read_lengths,
    read_record,
    record_size,
)
from eventstore.log.runs import CHUNK_EVENTS, OpenRun
from eventstore.log.segment import WINDOW, header_fault

__all__ = ["SegmentTail"]


class SegmentTail:
    """One open segment, and the place of the next record.

    `first_seq` names the segment. `next_seq` is the number of the event at the place.

    Raises `FileNotFoundError` where the segment is gone, `InvalidBytesError` for a header that does
    not fit, and `OSError`.
    """

    def __init__(self, disk: Disk, store: uuid.UUID, first_seq: int) -> None:
        self._file: File = disk.open(segment_name(first_seq))
        try:
            header = SegmentHeader.decode(self._file.read(0, HEADER_SIZE))
            fault = header_fault(header, store, first_seq)
            if fault is not None:
                raise InvalidBytesError(fault)
        except BaseException:
            self._file.close()
            raise
        self.first_seq = self.next_seq = first_seq
        self._salt = header.salt
        self._offset = HEADER_SIZE

    def read(self, start: int, last: int, end: int, chunk_bytes: int) -> Chunk | None:
        """Read the next records, up to the one that ends with event `last`, as a chunk.

        Records that end before event `start` are left out. `end` is the offset up to which reading
        ahead makes sense. A chunk is full after `chunk_bytes` of bodies. Returns `None` where no
        event from `start` on is left before `last`.

        Raises `InvalidBytesError` where no valid record stands at the place, and `OSError`. Records
        in front of the place with the fault come first.
        """
        run = OpenRun(self.next_seq, start, chunk_bytes)
        data, at = b"", 0
        while (
            self.next_seq <= last and run.room > 0 and run.next_seq - run.first_seq < CHUNK_EVENTS
        ):
            try:
                taken, needed = self._take_record(data, at, last, run)
                if needed:
                    data, at = self._read_ahead(needed, end), 0
            except InvalidBytesError:
                if run.bodies:
                    break
                raise
            at += taken
        return run.take() if run.bodies else None

    def _take_record(self, data: bytes, at: int, last: int, run: OpenRun) -> tuple[int, int]:
        """Move the record at `at` of `data` to the run.

        Returns the size of the record, and 0. Returns 0 and the number of bytes that are needed,
        where `data` does not hold the whole record.
        """
        if len(data) - at < RECORD_HEADER_SIZE:
            return 0, RECORD_HEADER_SIZE
        if data[at : at + len(self._salt)] != self._salt:
            raise InvalidBytesError("no record of this segment begins here")
        first, events, length = read_lengths(data, at + LENGTHS_AT)
        size = record_size(length)
        if len(data) - at < size:
            return 0, size
        record = read_record(data, at, self._salt, place=self._offset)
        if first != self.next_seq or first + events - 1 > last:
            raise InvalidBytesError(f"a record of the events from {first} on stands here")
        self._offset += size
        self.next_seq = run.next_seq = first + events
        if self.next_seq <= run.start:
            run.first_seq = self.next_seq
        elif events:
            run.bodies.append(data[record.body])
            run.room -= length
        return size, 0

    def _read_ahead(self, needed: int, end: int) -> bytes:
        """Read at least `needed` bytes from the place on, and more up to offset `end`."""
        if needed > WINDOW and self._offset + needed > self._file.size():
            raise InvalidBytesError("a record does not fit the segment")
        data = self._file.read(self._offset, max(needed, min(end - self._offset, WINDOW)))
        if len(data) < needed:
            raise InvalidBytesError("the segment is cut short")
        return data

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()
