"""One segment file: creation, and the writing of records and seals.

Theory of operation
-------------------
An `ActiveSegment` belongs to the writer's thread alone. Three attributes describe the file:

- `end`: offset of the next record. All bytes before `end` are valid.
- `synced_end`: offset up to which the file is on stable storage. Only a successful `sync` moves it.
- `crc`: CRC-32 of the bytes up to `end`. The header of the successor and the seals hold this
  checksum of the whole file, and the file need not be read for the checksum.

A write that fails for lack of space or memory is cut back: the range of the write is filled with
zeros again, as before the write. Then the next record finds an untouched place. Any other failure
leaves bytes of unknown content, and so does a failed cut. The caller must then stop using the
segment.
"""

from __future__ import annotations

import errno
import uuid
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from eventstore.disk.base import Disk, File, read_whole, sync, write_fully
from eventstore.disk.layout import LOG_FOLDER, segment_seq
from eventstore.error_base import REPAIR
from eventstore.errors import CorruptLogError
from eventstore.log.format import (
    HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    SealKind,
    SegmentHeader,
    encode_record,
    encode_seal,
)
from eventstore.os_errors import SHORTAGE

__all__ = [
    "MOVE_OUT",
    "RESTORE",
    "WINDOW",
    "ActiveSegment",
    "SegmentEnd",
    "build_segment",
    "corrupt_segment_error",
    "file_crc",
    "fresh_salt",
    "header_fault",
    "read_header",
    "sealed_end",
    "write_seal",
    "zero_fill",
]

WINDOW = 64 << 10
"""Bytes per read of a file that is read from beginning to end. A window fits a processor cache."""
RESTORE = f"Restore the file from a backup, or {REPAIR}"
"""The remedy for a damaged or missing file."""
MOVE_OUT = (
    "It is no part of the log, and nothing is missing: move it out of "
    f"{LOG_FOLDER}/ and open again, or {REPAIR}"
)
"""The remedy for a file that the log has no place for, such as a copy under another number."""
RESERVED = 3 * SEAL_SIZE
"""Bytes kept free at the end of a segment: one seal of each kind, idle, closed and continued."""

_ZEROS = bytes(1 << 20)


def fresh_salt(disk: Disk) -> bytes:
    """Draw eight random bytes that are not all zero: zero fill must never look like a salt."""
    while True:
        salt = disk.entropy(8)
        if any(salt):
            return salt


def zero_fill(file: File, size: int) -> None:
    """Write `size` zeros to `file`, so that the file has blocks of its own on the disk."""
    for offset in range(0, size, len(_ZEROS)):
        write_fully(file, offset, memoryview(_ZEROS)[: size - offset])


class SegmentEnd(NamedTuple):
    """The end of a segment that gets no more records, as the next segment needs it.

    - `end`, `crc`: the data end, and the CRC-32 up to the data end, for the successor's header.
    - `seal_at`, `seal_crc`: offset of the `CONTINUED` seal, and the CRC-32 up to that offset.
    - `continued`: whether the `CONTINUED` seal is already written.
    - `seals`: seals right before `seal_at` that an earlier process wrote. Those seals may be in the
      page cache only: the earlier process may have died before its sync, or its sync may have
      failed. So the seals are written again together with the `CONTINUED` seal.
    """

    first_seq: int
    next_seq: int
    salt: bytes
    end: int
    crc: int
    seal_at: int
    seal_crc: int
    continued: bool = False
    seals: bytes = b""


class ActiveSegment:
    """The segment that takes new records. Used by the writer's thread only."""

    def __init__(self, file: File, header: SegmentHeader) -> None:
        self.file = file
        self.header = header
        self.next_seq = header.first_seq
        self.end = HEADER_SIZE
        self.synced_end = HEADER_SIZE
        self.crc = zlib.crc32(header.encode())

    @classmethod
    def write_header(
        cls,
        disk: Disk,
        file: File,
        store: uuid.UUID,
        size: int,
        first_seq: int,
        previous: SegmentEnd | None,
    ) -> ActiveSegment:
        """Begin a segment in a zero-filled file. The header is on stable storage on return.

        `previous` is the end of the segment before, `None` for the first segment of a store.
        """
        header = SegmentHeader(
            store=store,
            size=size,
            first_seq=first_seq,
            salt=fresh_salt(disk),
            previous_first=previous.first_seq if previous else 0,
            previous_end=previous.end if previous else 0,
            previous_crc=previous.crc if previous else 0,
        )
        write_fully(file, 0, header.encode())
        sync(file)
        return cls(file, header)

    @property
    def is_empty(self) -> bool:
        """Whether the segment holds no event yet. A successor then takes its name and place."""
        return self.next_seq == self.header.first_seq

    def has_room(self, size: int) -> bool:
        """Whether a record of `size` bytes fits in front of the bytes reserved for seals."""
        return self.end + size + RESERVED <= self.header.size

    def append(self, count: int, body: bytes) -> int:
        """Write one record of `count` events behind the last record, without a sync.

        Returns the number of bytes written. Raises `OSError`. After an error for lack of space the
        segment is as before.
        """
        data = encode_record(
            self.header.salt, self.end, self.next_seq, count, body, self.synced_end
        )
        self._write(data)
        self.next_seq += count
        return len(data)

    def seal_idle(self) -> None:
        """Write a seal that attests that all bytes before are durable. Records may follow.

        The caller must have synced the segment.
        """
        self._write(encode_seal(self.header.salt, self.end, self.next_seq, SealKind.IDLE, self.crc))

    def _write(self, data: bytes) -> None:
        try:
            write_fully(self.file, self.end, data)
        except OSError as error:
            if error.errno in SHORTAGE:
                self._erase_partial_write(data)
            raise
        self.end += len(data)
        self.crc = zlib.crc32(data, self.crc)

    def _erase_partial_write(self, data: bytes) -> None:
        """Zero the written part of the refused record `data`.

        A write of zeros behind that part might be refused as well. A record may end with zeros, and
        then the written part can be all of it: the zeros are synced, because a power cut that took
        them would bring the refused record back.
        """
        try:
            written = self.file.read(self.end, len(data)).rstrip(b"\0")
            write_fully(self.file, self.end, bytes(len(written)))
            if written == data.rstrip(b"\0"):
                sync(self.file)
        except OSError as error:
            raise OSError(errno.EIO, "a refused record could not be cut back") from error

    def sync(self) -> None:
        """Put all written bytes on stable storage.

        Raises `SyncFailedError`. A failed sync must never be tried again.
        """
        sync(self.file)
        self.synced_end = self.end

    def describe_end(self) -> SegmentEnd:
        """Describe the end of this segment for the successor."""
        return SegmentEnd(
            self.header.first_seq,
            self.next_seq,
            self.header.salt,
            self.end,
            self.crc,
            self.end,
            self.crc,
        )


def sealed_end(
    header: SegmentHeader, data: bytes, seal_at: int, next_seq: int, crc: int
) -> SegmentEnd:
    """Describe the end of a segment with a seal at `seal_at`.

    `data` is the whole segment, and `crc` the CRC-32 up to the seal.
    """
    seal = data[seal_at : seal_at + SEAL_SIZE]
    end = seal_at + SEAL_SIZE
    return SegmentEnd(
        header.first_seq,
        next_seq,
        header.salt,
        seal_at,
        crc,
        end,
        zlib.crc32(seal, crc),
        seals=seal,
    )


def write_seal(file: File, end: SegmentEnd, kind: SealKind) -> None:
    """Write a seal to a segment with durable data, sync, and cut off the zeros behind the seal.

    The cut follows the sync, because only a durable seal explains a short segment. After a failure
    other than a failed sync, a second call writes the same bytes again.
    """
    seal = encode_seal(end.salt, end.seal_at, end.next_seq, kind, end.seal_crc)
    write_fully(file, end.seal_at - len(end.seals), end.seals + seal)
    sync(file)
    file.truncate(end.seal_at + len(seal))


def build_segment(
    disk: Disk,
    header: SegmentHeader,
    runs: Iterable[tuple[int, int, bytes]],
    next_seq: int,
    *,
    room: int = 0,
) -> tuple[bytes, SegmentEnd]:
    """Build a whole sealed segment with a new salt.

    Args:
        disk: Source of the random salt.
        header: The header to copy. Salt and size are replaced.
        runs: The records: first number, count of events, body.
        next_seq: Number of the event after the last run.
        room: Bytes that the file keeps behind the seal until the segment is sealed again.

    Returns:
        The bytes of the segment, and the end of the segment for a successor.
    """
    salt = fresh_salt(disk)
    parts: list[bytes] = [b""]
    offset = HEADER_SIZE
    for first, count, body in runs:
        part = encode_record(salt, offset, first, count, body, offset)
        parts.append(part)
        offset += len(part)
    size = offset + SEAL_SIZE
    parts[0] = msgspec.structs.replace(header, salt=salt, size=size + room).encode()
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    seal = encode_seal(salt, offset, next_seq, SealKind.CLOSED, crc)
    parts.append(seal)
    end = SegmentEnd(header.first_seq, next_seq, salt, offset, crc, size, zlib.crc32(seal, crc))
    return b"".join(parts), end


def corrupt_segment_error(
    disk: Disk,
    name: str,
    offset: int,
    expected_seq: int | None,
    reason: str,
    remedy: str = RESTORE,
) -> CorruptLogError:
    """Make the error for a damaged segment or archive."""
    path = f"{disk.path}/{name}"
    expected = "" if expected_seq is None else f", where event {expected_seq} should begin"
    return CorruptLogError(
        f"{path} is corrupt at offset {offset}{expected}: {reason}. Nothing was written. {remedy}",
        path=path,
        offset=offset,
        expected_seq=expected_seq,
    )


def read_header(disk: Disk, name: str, store: uuid.UUID, remedy: str = RESTORE) -> SegmentHeader:
    """Read and verify the header of a segment.

    Raises `CorruptLogError` for an invalid header, for a segment of another store, and for a
    segment under another segment's name. `remedy` says what to do then.
    """
    data = read_whole(disk, name, HEADER_SIZE)
    expected = segment_seq(name.rpartition("/")[2])
    try:
        header = SegmentHeader.decode(data)
    except InvalidBytesError as error:
        raise corrupt_segment_error(disk, name, 0, expected, str(error), remedy) from error
    reason = header_fault(header, store, expected)
    if reason is not None:
        raise corrupt_segment_error(disk, name, 0, expected, reason, remedy)
    return header


def header_fault(header: SegmentHeader, store: uuid.UUID, expected: int | None) -> str | None:
    """Return why a header does not fit a segment of `store` named for event `expected`, if so."""
    if header.store != store:
        return f"it belongs to another store ({header.store})"
    if header.first_seq != expected:
        return f"it is the segment of event {header.first_seq}, renamed"
    return None


def file_crc(file: File, end: int, head: bytes = b"") -> int:
    """Compute the CRC-32 of a file up to offset `end`, or of the whole file if the file is shorter.

    `head` is the beginning of the file, if the caller has read it already.
    """
    crc, offset = zlib.crc32(memoryview(head)[:end]), len(head)
    while offset < end:
        window = file.read(offset, min(WINDOW, end - offset))
        if not window:
            break
        crc = zlib.crc32(window, crc)
        offset += len(window)
    return crc
