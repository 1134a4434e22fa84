"""A segment without a closing seal, read beside the writer: each record is verified by itself.

The writer may be in the middle of a write. So records are read up to the first offset without a
valid one. In the last file of a history, `classify_tail` then says whether that offset is the end
of the log. A read beside a write may see a later page before an earlier one, so damage is reported
only after five reads in a row found damage.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator

from eventstore.disk.base import Disk, read_whole
from eventstore.log.base import Chunk
from eventstore.log.format import (
    HEADER_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
    read_record,
    read_seal,
)
from eventstore.log.reader_types import (
    FileEnd,
    HistoryFile,
    ReadRange,
    SegmentReplacedError,
    decode_header,
)
from eventstore.log.runs import chunks_of
from eventstore.log.segment import corrupt_segment_error
from eventstore.log.tail_verdict import Clean, Corrupt, classify_tail

__all__ = ["UnsealedRecords", "read_unsealed"]

_ATTEMPTS = 5
"""Reads in a row that must find damage in a segment without a seal, before damage is reported."""


class UnsealedRecords:
    """The records of a segment without a closing seal, up to the first invalid one.

    - `data`: the bytes of the segment as last read.
    - `offset`, `next_seq`: offset and number behind the last valid record.
    - `seal`: kind of the last seal, `None` before the first seal.
    - `reason`: why no valid record stands at `offset`. Empty until iteration stops there.
    """

    def __init__(self, header: SegmentHeader, data: bytes) -> None:
        self.header = header
        self.data = data
        self.offset = HEADER_SIZE
        self.next_seq = header.first_seq
        self.seal: SealKind | None = None
        self.reason = ""

    def up_to(self, stop: int) -> Iterator[Record]:
        """Yield the verified records with events, from `offset` on, until `next_seq` is `stop`."""
        data, salt = self.data, self.header.salt
        offset, seq = self.offset, self.next_seq
        self.reason = ""
        try:
            while seq < stop:
                record = read_record(data, offset, salt)
                _, number, events, _, _, end = record
                if number != seq:
                    raise InvalidBytesError(f"a record of event {number} stands here")
                if events:
                    seq += events
                    yield record
                else:
                    self.seal, _ = read_seal(data, record)
                offset = end
        except InvalidBytesError as error:
            self.reason = str(error)
        finally:
            self.offset, self.next_seq = offset, seq


def read_unsealed(
    disk: Disk,
    store: uuid.UUID,
    file: HistoryFile,
    records: UnsealedRecords,
    wanted: ReadRange,
    last: bool,
) -> Generator[Chunk, None, FileEnd | None]:
    """Read a segment that the writer may be writing to: each record is verified by itself."""
    attempts = 0
    while True:
        before = records.offset
        verified = records.up_to(wanted.stop)
        yield from chunks_of(records.data, verified, wanted.start, wanted.chunk_bytes)
        if not records.reason:
            return None
        if not last:
            return FileEnd(records.next_seq, records.offset, records.seal, records.reason)
        attempts = attempts + 1 if records.offset == before else 1
        data = read_whole(disk, file.name)
        if decode_header(disk, store, file, data) != records.header:
            raise SegmentReplacedError
        tail = classify_tail(data, records.header)
        if isinstance(tail, Corrupt):
            if attempts == _ATTEMPTS:
                raise corrupt_segment_error(disk, file.name, *tail)
        elif tail.next_seq <= records.next_seq:
            seal = tail.sealed if isinstance(tail, Clean) else None
            return FileEnd(records.next_seq, records.offset, seal)
        records.data = data
