"""One segment file: its name, its creation, and the writing of records and seals to it.

Theory of operation
-------------------
An :class:`ActiveSegment` belongs to the writer's thread alone. ``end`` is where the next record
goes; all before it is valid. ``synced_end`` is the part of it known to be on stable storage: only a
``sync`` that succeeded moves it. ``crc`` runs along with ``end``, so that the successor's header
and the seals can vouch for the whole file without reading it.

A write that fails for lack of space is cut back: its range is filled with zeros again (it was
before), so that the next record finds the place as if nothing had been. Every other failure, and a
cut that fails, leaves bytes nobody can vouch for: the caller must stop using the segment.
"""

from __future__ import annotations

import errno
import uuid
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from eventstore.disk.base import Disk, File, read_whole, sync, write_fully
from eventstore.disk.layout import segment_seq
from eventstore.errors import NO_SPACE, CorruptLogError
from eventstore.log.format import (
    HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    SealKind,
    SegmentHeader,
    encode_record,
    encode_seal,
)

__all__ = [
    "WINDOW",
    "ActiveSegment",
    "SegmentEnd",
    "build_segment",
    "corrupt_segment_error",
    "file_crc",
    "fresh_salt",
    "read_header",
    "sealed_end",
    "write_seal",
    "zero_fill",
]

WINDOW = 64 << 10
"""The bytes that are read at a time where a file is read through: few enough to stay in a cache."""
RESERVED = 3 * SEAL_SIZE
"""Kept free at the end of a segment: an idle seal, a closing one, and one that says it goes on."""

_FILL = bytes(1 << 20)


def fresh_salt(disk: Disk) -> bytes:
    """Eight random bytes that are not all zero, which zero fill must never look like."""
    while True:
        salt = disk.entropy(8)
        if any(salt):
            return salt


def zero_fill(file: File, size: int) -> None:
    """Make ``file`` ``size`` bytes of zeros that have their place on the disk."""
    for offset in range(0, size, len(_FILL)):
        write_fully(file, offset, memoryview(_FILL)[: size - offset])


class SegmentEnd(NamedTuple):
    """What a successor has to know of a segment that gets no more records.

    ``end`` and ``crc``: the data end, and the CRC up to it, for the successor's header.
    ``seal_at`` and ``seal_crc``: where the seal goes that says there is a successor.
    ``continued``: that seal stands already. ``seals``: seals right before it that an earlier
    process wrote. Whether they are on the disk, or only in the page cache, is unknown, since that
    process may have died before its sync, or been told that it failed; so they are written again
    with it.
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
    """The segment that records are appended to."""

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
        """Begin a segment in a zero-filled file: its header is on stable storage on return."""
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
        """Whether it holds no event yet; then a successor takes its name and its place."""
        return self.next_seq == self.header.first_seq

    def has_room(self, size: int) -> bool:
        """Whether a record of ``size`` bytes fits, with the seals that must follow."""
        return self.end + size + RESERVED <= self.header.size

    def append(self, count: int, body: bytes) -> int:
        """Write one record behind the last one; the bytes written. Not synced yet.

        Raises ``OSError``; if it is for lack of space, the segment is as it was before.
        """
        data = encode_record(
            self.header.salt, self.end, self.next_seq, count, body, self.synced_end
        )
        self._write(data)
        self.next_seq += count
        return len(data)

    def seal_idle(self) -> None:
        """Attest that all before is durable (it must be synced). Records may follow."""
        self._write(encode_seal(self.header.salt, self.end, self.next_seq, SealKind.IDLE, self.crc))

    def _write(self, data: bytes) -> None:
        try:
            write_fully(self.file, self.end, data)
        except OSError as error:
            if error.errno in NO_SPACE:
                self._cut_back(len(data))
            raise
        self.end += len(data)
        self.crc = zlib.crc32(data, self.crc)

    def _cut_back(self, length: int) -> None:
        """Zero what was written of a record, and no more: that might be refused as well."""
        try:
            written = self.file.read(self.end, length).rstrip(b"\0")
            write_fully(self.file, self.end, bytes(len(written)))
        except OSError as error:
            raise OSError(errno.EIO, "a refused record could not be cut back") from error

    def sync(self) -> None:
        """Put all that was written on stable storage. Raises ``SyncFailedError``, for good."""
        sync(self.file)
        self.synced_end = self.end

    def finished(self) -> SegmentEnd:
        """What the successor has to know."""
        return SegmentEnd(
            self.header.first_seq,
            self.next_seq,
            self.header.salt,
            self.end,
            self.crc,
            self.end,
            self.crc,
        )


def sealed_end(header: SegmentHeader, data: bytes, seal_at: int, next_seq: int) -> SegmentEnd:
    """How a segment ends that its writer sealed: ``data`` is all of it, the seal at ``seal_at``."""
    crc = zlib.crc32(data[:seal_at])
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
    """Seal a segment whose data is durable, cut the zeros off behind the seal, and sync.

    Repeating it after a failure that was no failed sync writes the same bytes again.
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
    """A sealed segment of its own, with a new salt: of ``runs`` (first number, count, bytes).

    ``room`` is how many bytes are to follow the seal in the file until it is sealed.
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
    disk: Disk, name: str, offset: int, expected_seq: int | None, reason: str
) -> CorruptLogError:
    """The error for a damaged segment."""
    path = f"{disk.path}/{name}"
    expected = "" if expected_seq is None else f", where event {expected_seq} should begin"
    return CorruptLogError(
        f"{path} is corrupt at offset {offset}{expected}: {reason}. Nothing was written. Restore "
        "the file from a backup, or open a copy of the store to salvage what is before the damage",
        path=path,
        offset=offset,
        expected_seq=expected_seq,
    )


def read_header(disk: Disk, name: str, store: uuid.UUID) -> SegmentHeader:
    """Read and verify a segment's header: it must be this store's and fit the file's name."""
    data = read_whole(disk, name, HEADER_SIZE)
    expected = segment_seq(name.rpartition("/")[2])
    try:
        header = SegmentHeader.decode(data)
    except InvalidBytesError as error:
        raise corrupt_segment_error(disk, name, 0, expected, str(error)) from error
    if header.store != store:
        raise corrupt_segment_error(
            disk, name, 0, expected, f"it belongs to another store ({header.store})"
        )
    if header.first_seq != expected:
        raise corrupt_segment_error(
            disk, name, 0, expected, f"it is the segment of event {header.first_seq}, renamed"
        )
    return header


def file_crc(file: File, end: int, head: bytes = b"") -> int:
    """The CRC-32 of a file up to ``end``; ``head`` is what is known of its beginning.

    Of a shorter file it is that of all there is.
    """
    crc, offset = zlib.crc32(memoryview(head)[:end]), len(head)
    while offset < end:
        window = file.read(offset, min(WINDOW, end - offset))
        if not window:
            break
        crc = zlib.crc32(window, crc)
        offset += len(window)
    return crc
