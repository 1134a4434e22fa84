"""The bytes of a segment: functions from bytes to values and back. No function touches a file.

A segment is a header followed by records. All integers are little-endian. `0` is zero fill::

    offset 0        512                                        data end          size
    +---------------+----------+----------+-----+--------+-----+------+---------+
    | SegmentHeader | record   | record   | ... | record | ... | seal | 0 0 0 0 |
    +---------------+----------+----------+-----+--------+-----+------+---------+

Segment header, 512 bytes::

    0   8s  magic              b"EVSTLOG\\n"
    8   H   format version     1
    10  H   checksum algorithm 1 = CRC-32 (zlib)
    12  I   reserved           0
    16  16s store UUID
    32  Q   size               bytes the file was zero-filled to before it was named
    40  Q   first_seq          sequence number of the first event, which also names the file
    48  8s  salt               random and not zero; every record of this segment begins with it
    56  Q   previous_first     first_seq of the segment before, 0 for the first of the store
    64  Q   previous_end       data end of the segment before
    72  I   previous_crc       CRC-32 of the segment before, from 0 to its data end
    76  ..  zeros
    508 I   CRC-32 of bytes 0 to 508

Record, 8-byte aligned; a header of 40 bytes, the body, zeros up to a multiple of 8::

    0   8s  salt
    8   Q   first_seq          sequence number of the first event
    16  I   count              events in the body
    20  I   body_length        bytes, without the padding; 0 is never valid
    24  Q   synced_end         offset up to which the segment was durable before this write
    32  I   body_crc           CRC-32 of body and padding
    36  I   header_crc         CRC-32 of bytes 0 to 36, started from the record's own offset
    40  ..  body: the events, each MessagePack, concatenated (see eventstore.model.codec)

A *seal* is a record without events. `count` is 0, and `first_seq` is the next event's number. The
body has 8 bytes: `I` kind, `I` CRC-32 of the segment from 0 to the seal. `synced_end` of a seal is
the seal's own offset, since all bytes before a seal are durable. There are three kinds:

- `IDLE`: nothing was written for a while. Records may follow.
- `CLOSED`: the writer closed the store.
- `CONTINUED`: another segment follows.

Two rules make loss visible:

- A file is zero-filled to `size` and synced *before* the file gets its name. A file is cut shorter
  only after a seal other than `IDLE` was synced. So a segment is either `size` bytes long or ends
  with such a seal. Every other length means that somebody cut the file.
- The header of a successor holds data end and CRC of the segment before. A `CONTINUED` seal says
  that a successor must exist. So a short, missing or changed segment is found without decoding the
  segment.

The salt tells the records of a segment from older contents of the disk. The offset in the CRC tells
a record from a copy of the record at another place. LevelDB's log format and SQLite's WAL are the
models, and the salt is SQLite's. `synced_end` tells a torn end from corruption (see
`tail_verdict.py`).
"""

from __future__ import annotations

import enum
import struct
import uuid
import zlib
from typing import NamedTuple

import msgspec

from eventstore.errors import newer_format_error

__all__ = [
    "ALIGNMENT",
    "HEADER_SIZE",
    "LENGTHS_AT",
    "MAX_BODY",
    "MAX_SEQ",
    "RECORD_HEADER_SIZE",
    "SEAL_SIZE",
    "InvalidBytesError",
    "Record",
    "SealKind",
    "SegmentHeader",
    "closing_seal",
    "encode_record",
    "encode_seal",
    "read_lengths",
    "read_record",
    "read_seal",
    "read_synced_end",
    "read_verified",
    "record_size",
]

MAGIC = b"EVSTLOG\n"
VERSION = 1
CRC32 = 1

_HEADER = struct.Struct("<8sHHI16sQQ8sQQI")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<8sQIIQII")
_RECORD_CHECKED = struct.Struct("<8sQIIQI")
_LENGTHS = struct.Struct("<QII")
_LENGTHS_AND_END = struct.Struct("<QIIQ")
_SEAL = struct.Struct("<II")

HEADER_SIZE = 512
RECORD_HEADER_SIZE = 40
ALIGNMENT = 8
SEAL_SIZE = RECORD_HEADER_SIZE + _SEAL.size
LENGTHS_AT = 8
read_lengths = _LENGTHS.unpack_from
"""Read first number, number of events and body length of a record that is known to be valid.

Arguments are the segment's bytes and the record's offset plus `LENGTHS_AT`. The name stands for the
method of the struct itself, because the call is made for every record of a history."""
MAX_BODY = 1 << 30
"""The largest body, in bytes: one gibibyte."""
MAX_SEQ = 1 << 62
"""The largest number that the first event of a segment can have."""

assert _HEADER.size == 76
assert _RECORD.size == RECORD_HEADER_SIZE
assert _RECORD_CHECKED.size == RECORD_HEADER_SIZE - 4
assert SEAL_SIZE == 48
assert HEADER_SIZE % ALIGNMENT == RECORD_HEADER_SIZE % ALIGNMENT == SEAL_SIZE % ALIGNMENT == 0

_PADDING = tuple(b"\0" * length for length in range(ALIGNMENT))


class InvalidBytesError(ValueError):
    """Bytes that are no valid header, record or seal. The message says why."""


class SealKind(enum.IntEnum):
    """The reason for a seal."""

    IDLE = 1
    CLOSED = 2
    CONTINUED = 3


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first 512 bytes of a segment. The module describes the fields."""

    store: uuid.UUID
    size: int
    first_seq: int
    salt: bytes
    previous_first: int = 0
    previous_end: int = 0
    previous_crc: int = 0

    def encode(self) -> bytes:
        """Encode the header as 512 bytes."""
        fields = _HEADER.pack(
            MAGIC,
            VERSION,
            CRC32,
            0,
            self.store.bytes,
            self.size,
            self.first_seq,
            self.salt,
            self.previous_first,
            self.previous_end,
            self.previous_crc,
        )
        checked = fields.ljust(HEADER_SIZE - _CRC.size, b"\0")
        return checked + _CRC.pack(zlib.crc32(checked))

    @classmethod
    def decode(cls, data: bytes) -> SegmentHeader:
        """Decode and verify a header. Raises `InvalidBytesError`."""
        if len(data) < HEADER_SIZE:
            raise InvalidBytesError(f"the header is cut short at {len(data)} of 512 bytes")
        if data[: len(MAGIC)] != MAGIC:
            raise InvalidBytesError("it does not begin like a segment")
        (stored,) = _CRC.unpack_from(data, HEADER_SIZE - _CRC.size)
        if zlib.crc32(data[: HEADER_SIZE - _CRC.size]) != stored:
            raise InvalidBytesError("the header's checksum does not match")
        (_, version, checksum, _, store, size, first, salt, previous, end, crc) = (
            _HEADER.unpack_from(data)
        )
        if version > VERSION:
            raise newer_format_error("a segment of the log", version, VERSION)
        if version != VERSION or checksum != CRC32:
            raise InvalidBytesError(
                f"format version {version} with checksum {checksum} is not known to this release"
            )
        if not 1 <= first <= MAX_SEQ or salt == bytes(8) or size < HEADER_SIZE:
            raise InvalidBytesError("the header's values are impossible")
        return cls(
            store=uuid.UUID(bytes=store),
            size=size,
            first_seq=first,
            salt=salt,
            previous_first=previous,
            previous_end=end,
            previous_crc=crc,
        )


class Record(NamedTuple):
    """The place of a valid record in a segment. `end` is the offset of the next record."""

    offset: int
    first_seq: int
    events: int
    body_length: int
    synced_end: int
    end: int

    @property
    def body(self) -> slice:
        """The place of the encoded events, without padding."""
        start = self.offset + RECORD_HEADER_SIZE
        return slice(start, start + self.body_length)


_new_record = tuple.__new__  # Record() takes longer, and a segment has many records


def record_size(body_length: int) -> int:
    """Compute the bytes of a record with a body of `body_length` bytes, padding included."""
    return RECORD_HEADER_SIZE + body_length + -body_length % ALIGNMENT


def encode_record(
    salt: bytes, offset: int, first_seq: int, count: int, body: bytes, synced_end: int
) -> bytes:
    """Encode a record for offset `offset`. The checksum of the header depends on the offset."""
    length = len(body)
    padded = body + _PADDING[-length % ALIGNMENT]
    checked = _RECORD_CHECKED.pack(salt, first_seq, count, length, synced_end, zlib.crc32(padded))
    return b"".join((checked, _CRC.pack(zlib.crc32(checked, offset & 0xFFFFFFFF)), padded))


def encode_seal(salt: bytes, offset: int, next_seq: int, kind: SealKind, segment_crc: int) -> bytes:
    """Encode a seal for offset `offset`. `segment_crc` is the CRC-32 of all bytes before."""
    return encode_record(salt, offset, next_seq, 0, _SEAL.pack(kind, segment_crc), offset)


def read_record(
    data: bytes | memoryview, offset: int, salt: bytes, place: int | None = None
) -> Record:
    """Read the record at `offset` of `data`, and verify header and body.

    `place` is the offset in the segment, if `data` is only a part of the segment. Lengths are
    compared with the length of `data` before use. Raises `InvalidBytesError`, for zero fill too.
    """
    if place is None:
        place = offset
    start = offset + RECORD_HEADER_SIZE
    if start > len(data):
        raise InvalidBytesError("the record's header is cut short")
    found, first_seq, count, length, synced_end, body_crc, header_crc = _RECORD.unpack_from(
        data, offset
    )
    if found != salt:
        raise InvalidBytesError("no record of this segment begins here")
    if zlib.crc32(data[offset : start - 4], place & 0xFFFFFFFF) != header_crc:
        raise InvalidBytesError("the record header's checksum does not match")
    end = start + length + -length % ALIGNMENT
    if length == 0 or end > len(data):
        raise InvalidBytesError(f"a body of {length} bytes does not fit the segment")
    if zlib.crc32(data[start:end]) != body_crc:
        raise InvalidBytesError("the record body's checksum does not match")
    if synced_end > place or count > length or (count == 0 and length != _SEAL.size):
        raise InvalidBytesError("the record's values are impossible")
    return _new_record(Record, (offset, first_seq, count, length, synced_end, end))


def read_verified(data: bytes, offset: int) -> Record:
    """Read the record at `offset` of verified bytes: no checksum is compared, and no value."""
    first_seq, count, length, synced_end = _LENGTHS_AND_END.unpack_from(data, offset + LENGTHS_AT)
    end = offset + RECORD_HEADER_SIZE + length + -length % ALIGNMENT
    return _new_record(Record, (offset, first_seq, count, length, synced_end, end))


def read_synced_end(
    data: bytes | memoryview, offset: int, salt: bytes, place: int | None = None
) -> int:
    """Read `synced_end` of the record header at `offset`, without a look at the body.

    `place` is the offset in the segment, if `data` is only a part of the segment. Raises
    `InvalidBytesError` where no valid record header stands.
    """
    if offset + RECORD_HEADER_SIZE > len(data):
        raise InvalidBytesError("the record's header is cut short")
    found, _, _, _, synced_end, _, header_crc = _RECORD.unpack_from(data, offset)
    if found != salt:
        raise InvalidBytesError("no record of this segment begins here")
    place = offset if place is None else place
    checked = data[offset : offset + RECORD_HEADER_SIZE - _CRC.size]
    if zlib.crc32(checked, place & 0xFFFFFFFF) != header_crc or synced_end > place:
        raise InvalidBytesError("the record header's checksum does not match")
    return int(synced_end)


def closing_seal(tail: bytes, offset: int, salt: bytes) -> tuple[SealKind, int] | None:
    """Read the closing seal of a file: kind, and CRC-32 of all bytes before the seal.

    `tail` holds the last `SEAL_SIZE` bytes of the file, and `offset` is the offset of `tail` in the
    file. Returns `None` where `tail` is no closing seal. An idle seal is none.
    """
    if offset < HEADER_SIZE:
        return None
    try:
        record = read_record(tail, 0, salt, place=offset)
        kind, segment_crc = read_seal(tail, record)
    except InvalidBytesError:
        return None
    return None if record.events or kind is SealKind.IDLE else (kind, segment_crc)


def read_seal(data: bytes | memoryview, record: Record) -> tuple[SealKind, int]:
    """Read the kind of a seal and the CRC-32 of the bytes before. Raises `InvalidBytesError`."""
    kind, segment_crc = _SEAL.unpack_from(data, record.body.start)
    try:
        return SealKind(kind), segment_crc
    except ValueError:
        raise InvalidBytesError(f"a seal of kind {kind} is not known to this release") from None
