"""Recovery of a log: the chain of segments is examined, then the last segment is repaired.

Theory of operation
-------------------
The segments in `log` form a chain. Each header states the predecessor, the predecessor's end and
the predecessor's CRC. `examine_log` walks the chain from `log_start`, refuses a segment that does
not fit, and names the file. `examine_log` writes nothing. Segments that recovery may have to read
are verified byte by byte, with one CRC call each. Older segments are verified when they are read.

The last segment may have no seal with a checksum of all bytes. Then the frontier
(`frontier_file.py`) has one, of the bytes up to the durable end. If the bytes have this checksum,
their records are found by the lengths alone. If not, or without a frontier, each record is verified
by itself, as is each record behind. The frontier of a killed writer is at most a few records old.

Only the last segment may have an unclean end, and `repair_log` repairs only the last segment
(`tail_repair.py`). Nothing in the segment is served before that.

A segment with a name and without a record is a special case in two ways. The predecessor may lack
the seal that announces the segment, and the next writer takes over the segment's name.

Every step leaves a log that opens. A crash during repair leaves the old segment or the new one.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
import zlib
from typing import NamedTuple

import msgspec

from eventstore.disk.base import Disk, open_to_read, read_whole
from eventstore.disk.layout import FRONTIER, segment_name
from eventstore.disk.listing import Listing
from eventstore.errors import CorruptLogError, EventStoreError, StoreFullError
from eventstore.log.format import (
    SEAL_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
    read_record,
    read_seal,
)
from eventstore.log.frontier_file import FRONTIER_SIZE, Frontier
from eventstore.log.segment import (
    SegmentEnd,
    corrupt_segment_error,
    file_crc,
    read_header,
    sealed_end,
)
from eventstore.log.segment_chain import chain_error
from eventstore.log.spare import give_up_spare_files
from eventstore.log.tail_repair import repair_end
from eventstore.log.tail_verdict import (
    NOTHING,
    Clean,
    Corrupt,
    TornTail,
    Verified,
    classify_tail,
    crc_up_to,
)
from eventstore.os_errors import NO_SPACE, SyncFailedError, recovery_write_error

__all__ = [
    "ExaminedLog",
    "LastSegment",
    "RecoveredLog",
    "examine_log",
    "repair_log",
]


class RecoveredLog(msgspec.Struct, kw_only=True):
    """The log as an opening leaves it.

    `last` is the end of the segment before the next one, `None` where there is no such segment, and
    `None` for a reader. `segments` are first events. `clean` says whether the last writer sealed
    the log. `torn_bytes` counts the bytes of an unfinished commit, `quarantined` is the file with
    those bytes, and `rewritten` the segment written anew. `torn_events` are first and last
    event of the torn bytes, if one turned bit makes the bytes whole. `spare_ready` says whether
    there is a spare segment.
    """

    next_seq: int
    last: SegmentEnd | None
    segments: list[int]
    clean: bool = True
    torn_bytes: int = 0
    quarantined: str | None = None
    torn_events: tuple[int, int] | None = None
    rewritten: str | None = None
    spare_ready: bool = False


class LastSegment(NamedTuple):
    """The verified last segment of a log: header, bytes, and the verdict on the end.

    `verified` is a beginning whose checksum is known.
    """

    header: SegmentHeader
    data: bytes
    tail: Clean | TornTail
    verified: Verified = NOTHING

    @property
    def first_seq(self) -> int:
        return self.header.first_seq

    @property
    def records(self) -> list[Record]:
        return self.tail.records

    @property
    def sealed(self) -> bool:
        return isinstance(self.tail, Clean) and self.tail.sealed is not None


class ExaminedLog(msgspec.Struct, frozen=True, kw_only=True):
    """The log as found, before anything was written.

    `predecessor` is the end of the segment before an empty last segment, else `None`.
    """

    next_seq: int
    segments: list[int]
    last: LastSegment
    predecessor: SegmentEnd | None
    spare_ready: bool

    def unrepaired(self) -> RecoveredLog:
        """Return the log as found, for a reader. No writer can append to the result."""
        tail = self.last.tail
        return RecoveredLog(
            next_seq=self.next_seq,
            last=None,
            segments=self.segments,
            clean=self.last.sealed,
            torn_bytes=tail.torn_end - tail.end if isinstance(tail, TornTail) else 0,
            spare_ready=self.spare_ready,
        )


def examine_log(
    disk: Disk, store: uuid.UUID, listing: Listing, *, log_start: int, verify_from: int
) -> ExaminedLog:
    """Verify the chain of segments and the end of the last one. Write nothing.

    `store` is the store's UUID and `listing` the names in the directory. `log_start` is the first
    event that the folder must hold. `verify_from` is the first event that recovery may need.

    Raises `CorruptLogError` and `ReadFailedError`. Raises `FileNotFoundError` where a listed
    segment is gone, which happens only beside a writer.
    """
    return _Examination(disk, store, listing).run(log_start, verify_from)


def repair_log(disk: Disk, examined: ExaminedLog) -> RecoveredLog:
    """Set a torn end aside and rewrite an unsealed last segment, durably.

    Where a repair finds no space, the store gives up the files that hold no event: the spare, and
    temporary files of a crash. A store that died on a full disk opens by its own means therefore.
    Everything was examined and folded before, so none of these files is the only copy of an event.

    Raises `StoreFullError`, `StoreAccessError` or `StoreFailedError`. A failure loses nothing.
    """
    try:
        return _repaired(disk, examined)
    except StoreFullError as error:
        if error.errno not in NO_SPACE or isinstance(error.__cause__, SyncFailedError):
            raise  # a failed sync is never tried again, whatever its number
        try:
            if not give_up_spare_files(disk):
                raise
        except OSError as failure:
            raise recovery_write_error(failure, disk.path) from failure
    repaired = _repaired(disk, examined)
    repaired.spare_ready = False
    return repaired


class _Examination:
    def __init__(self, disk: Disk, store: uuid.UUID, listing: Listing) -> None:
        self._disk = disk
        self._store = store
        self._listing = listing

    def run(self, log_start: int, verify_from: int) -> ExaminedLog:
        headers = self._chain(log_start)
        last = headers[-1]
        told = self._told(last.first_seq)  # before the segment, which a writer may be writing to
        data = read_whole(self._disk, segment_name(last.first_seq))
        verified = _compared(data, told)
        tail = self._classify_last(data, last, log_start, verified)
        empty = tail.next_seq == last.first_seq
        predecessor = None
        for header, successor in itertools.pairwise(headers):
            needed = successor.first_seq > verify_from
            before_empty = empty and successor is last
            if needed or before_empty:
                predecessor = self._verify(header, successor, sealed=not before_empty)
            else:
                self._check_length(header, successor)
        return ExaminedLog(
            next_seq=tail.next_seq,
            segments=[header.first_seq for header in headers],
            last=LastSegment(last, data, tail, verified),
            predecessor=predecessor if empty else None,
            spare_ready=self._listing.has_spare,
        )

    def _told(self, first_seq: int) -> Verified:
        """Return the checksum that the last writer told of a segment, if the writer did."""
        with contextlib.suppress(OSError, EventStoreError, InvalidBytesError):
            told = Frontier.decode(read_whole(self._disk, FRONTIER, FRONTIER_SIZE))
            if (told.store, told.segment) == (self._store, first_seq):
                return Verified(told.end, told.data_crc)
        return NOTHING

    def _chain(self, log_start: int) -> list[SegmentHeader]:
        """Read the headers from `log_start` on, and check that each fits the one before."""
        headers: list[SegmentHeader] = []
        for first in self._listing.segments:
            if first < log_start:
                continue
            try:
                header = read_header(self._disk, segment_name(first), self._store)
            except CorruptLogError as error:
                raise self._chain_error(log_start) from error
            if headers and header.previous_first != headers[-1].first_seq:
                raise self._chain_error(log_start)
            headers.append(header)
        if not headers or headers[0].first_seq != log_start:
            raise self._chain_error(log_start)
        return headers

    def _chain_error(self, log_start: int) -> CorruptLogError:
        return chain_error(self._disk, self._store, self._listing.segments, log_start)

    def _check_length(self, header: SegmentHeader, successor: SegmentHeader) -> None:
        name = segment_name(header.first_seq)
        file = self._disk.open(name)
        try:
            size = file.size()
        finally:
            file.close()
        if size < successor.previous_end:
            raise self._shorter(header, successor, size)

    def _verify(
        self, header: SegmentHeader, successor: SegmentHeader, *, sealed: bool
    ) -> SegmentEnd:
        """Check a finished segment against the successor's header, and return the segment's end.

        With `sealed`, the segment must have a valid seal.
        """
        name = segment_name(header.first_seq)
        end = successor.previous_end
        with open_to_read(self._disk, name) as file:
            size = file.size()
            if size < end:
                raise self._shorter(header, successor, size)
            crc, seals = file_crc(file, end), file.read(end, size - end)
        if crc != successor.previous_crc:
            tail = classify_tail(read_whole(self._disk, name), header)
            offset, seq = (tail.offset, tail.expected_seq) if isinstance(tail, Corrupt) else (0, 0)
            raise self._corrupt(
                name,
                offset,
                seq or header.first_seq,
                f"it is not what {segment_name(successor.first_seq)} says it was",
            )
        at = 0
        while True:
            try:
                record = read_record(seals, at, header.salt, place=end + at)
                kind, seal_crc = read_seal(seals, record)
                if record.events or record.first_seq != successor.first_seq or seal_crc != crc:
                    raise InvalidBytesError("the seal does not belong here")
            except InvalidBytesError as error:
                if sealed:
                    raise self._corrupt(name, end + at, successor.first_seq, str(error)) from error
                break
            if kind is SealKind.CONTINUED:
                if any(seals[record.end :]):
                    raise self._corrupt(
                        name, end + record.end, successor.first_seq, "bytes follow the last seal"
                    )
                break
            crc = zlib.crc32(seals[at : record.end], crc)
            at = record.end
        # A record in the successor proves that this segment's seal is on the disk. Without a record
        # (`sealed` is false), the seal may be only in the page cache. Then `continued` is false,
        # and the next writer writes the seal again.
        return SegmentEnd(
            header.first_seq,
            successor.first_seq,
            header.salt,
            end,
            successor.previous_crc,
            end + at,
            crc,
            continued=sealed,
            seals=seals[:at],
        )

    def _classify_last(
        self, data: bytes, header: SegmentHeader, log_start: int, verified: Verified
    ) -> Clean | TornTail:
        name = segment_name(header.first_seq)
        tail = classify_tail(data, header, verified=verified)
        if isinstance(tail, Corrupt):
            raise self._corrupt(name, tail.offset, tail.expected_seq, tail.reason)
        if isinstance(tail, Clean) and tail.sealed is SealKind.CONTINUED:
            raise self._chain_error(log_start)
        return tail

    def _shorter(
        self, header: SegmentHeader, successor: SegmentHeader, size: int
    ) -> CorruptLogError:
        name = segment_name(header.first_seq)
        tail = classify_tail(read_whole(self._disk, name), header)
        return self._corrupt(
            name,
            size,
            tail.expected_seq if isinstance(tail, Corrupt) else tail.next_seq,
            f"it has {size} bytes, but {segment_name(successor.first_seq)} says it had "
            f"{successor.previous_end}",
        )

    def _corrupt(
        self, name: str, offset: int, expected_seq: int | None, reason: str
    ) -> CorruptLogError:
        return corrupt_segment_error(self._disk, name, offset, expected_seq, reason)


def _compared(data: bytes, told: Verified) -> Verified:
    """Return the told beginning of a segment, or nothing where the checksum is another one."""
    beginning = memoryview(data)[: told.end]
    same = len(beginning) == told.end and zlib.crc32(beginning) == told.crc
    return told if same else NOTHING


def _repaired(disk: Disk, examined: ExaminedLog) -> RecoveredLog:
    repaired = examined.unrepaired()
    header, data, tail, verified = examined.last
    if isinstance(tail, Clean) and tail.sealed is not None:
        seal_at = tail.end - (SEAL_SIZE if tail.sealed is SealKind.IDLE else 0)
        crc = crc_up_to(data, seal_at, verified)
        end = sealed_end(header, data, seal_at, tail.next_seq, crc)
    else:
        repaired_end = repair_end(disk, header, data, tail, verified)
        end, repaired.quarantined, repaired.torn_events = repaired_end
        repaired.rewritten = segment_name(header.first_seq)
    empty = examined.next_seq == header.first_seq
    # The next segment replaces an empty one, and so follows the empty one's predecessor.
    repaired.last = examined.predecessor if empty else end
    return repaired
