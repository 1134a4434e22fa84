"""Flipped bits found by a checksum: pure functions over bytes, without a look at any file.

Theory of operation
-------------------
CRC-32 is affine. So `crc(damaged) ^ crc(whole)`, the *syndrome*, depends on the error alone, and
not on the bytes around the error. The syndrome of one flipped bit depends on the place of the bit
in the byte, and on the number of bytes behind. One step of the CRC over a zero byte leads from one
distance to the next, and the step can be reversed. So the search starts from the syndrome, steps
back byte by byte, and compares with the eight syndromes of a last byte. A start value of the CRC
cancels out.

Up to 91,607 bits, CRC-32 tells every error of at most three bits apart from every other error of
one bit. So two flipped bits are never taken for one. Damage of more bits looks like one flipped bit
in one of `2**32 / bits` cases. A second witness therefore stands beside every mend: the record must
decode, and its numbers must fit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    Record,
    SegmentHeader,
    read_record,
    read_seal,
)
from eventstore.model.codec import array_header

__all__ = [
    "Flip",
    "checked_flip",
    "find_flip",
    "find_two_flips",
    "flipped",
    "holds_events",
    "mend_record",
    "mend_records",
    "mend_segment_header",
    "mended_records",
    "torn_events",
]

_CRC = struct.Struct("<I")
_BODY_FACTS = struct.Struct("<II8xI")  # count, body length, CRC of the body
_BODY_FACTS_AT = 16
_TWO_FLIPS_LIMIT = 16 << 10
"""Bytes of the longest record that is searched for two flipped bits."""


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()
_LAST_BYTE = {_TABLE[1 << bit]: bit for bit in range(8)}
_BACK = {entry >> 24: ((entry << 8) & 0xFFFFFFFF, index) for index, entry in enumerate(_TABLE)}
"""By the highest byte of a syndrome: what leads back over one zero byte."""


class Flip(NamedTuple):
    """One flipped bit: offset of the byte in the file, and number of the bit, 0 the lowest."""

    offset: int
    bit: int

    @property
    def mask(self) -> int:
        """The bit as a number to be combined with the byte by exclusive or."""
        return 1 << self.bit


def flipped(data: bytes, flips: tuple[Flip, ...]) -> bytes:
    """Return a copy of `data` with some bits turned."""
    if not flips:
        return data
    turned = bytearray(data)
    for flip in flips:
        turned[flip.offset] ^= flip.mask
    return bytes(turned)


def find_flip(length: int, syndrome: int) -> Flip | None:
    """Find the one bit of `length` bytes whose turning has this syndrome.

    `syndrome` is the CRC-32 of the damaged bytes, combined with the right CRC-32 by exclusive or.
    Takes about 0.1 microseconds a byte.
    """
    last_byte, back = _LAST_BYTE, _BACK
    for distance in range(length):
        if syndrome in last_byte:
            return Flip(length - 1 - distance, last_byte[syndrome])
        shifted, index = back[syndrome >> 24]
        syndrome = ((syndrome << 8) & 0xFFFFFFFF) ^ shifted | index
    return None


def find_two_flips(length: int, syndrome: int) -> Iterator[tuple[Flip, Flip]]:
    """Yield every pair of bits of `length` bytes whose turning together has this syndrome.

    For a record the pairs are many: about `(8 * length)**2 / 2**33` of them are wrong.
    """
    if length > _TWO_FLIPS_LIMIT:
        return
    places: dict[int, Flip] = {}
    for bit in range(8):
        value = _TABLE[1 << bit]
        for offset in range(length - 1, -1, -1):
            places[value] = Flip(offset, bit)
            value = value >> 8 ^ _TABLE[value & 0xFF]
    for value, one in places.items():
        other = places.get(syndrome ^ value)
        if other is not None and one < other:
            yield one, other


def mend_segment_header(data: bytes) -> Flip | None:
    """Find the bit that makes the 512 bytes of a segment header valid."""
    if len(data) < HEADER_SIZE:
        return None
    flip = checked_flip(data[: HEADER_SIZE - _CRC.size], data[HEADER_SIZE - _CRC.size :], 0)
    if flip is None:
        return None
    try:
        SegmentHeader.decode(flipped(data[:HEADER_SIZE], (flip,)))
    except InvalidBytesError:
        return None
    return flip


def checked_flip(checked: bytes, stored: bytes, start: int) -> Flip | None:
    """Find the bit at fault in bytes that a CRC stands behind. The bit may be one of the CRC's."""
    syndrome = zlib.crc32(checked, start) ^ _CRC.unpack_from(stored)[0]
    if syndrome.bit_count() == 1:
        bit = syndrome.bit_length() - 1
        return Flip(len(checked) + bit // 8, bit % 8)
    return find_flip(len(checked), syndrome)


def mend_record(data: bytes, offset: int, salt: bytes, seq: int) -> tuple[Flip, ...] | None:
    """Find the bits that make the record at `offset` of a segment valid.

    Header and body have a checksum each, so at most one bit of each is turned. The result is empty
    for a valid record, and `None` where no such bits exist. `salt` is the segment's and `seq` the
    number that the record must have.
    """
    flips: tuple[Flip, ...] = ()
    header = data[offset : offset + RECORD_HEADER_SIZE]
    if len(header) < RECORD_HEADER_SIZE:
        return None
    checked, stored = header[: -_CRC.size], header[-_CRC.size :]
    if zlib.crc32(checked, offset & 0xFFFFFFFF) != _CRC.unpack(stored)[0]:
        flip = checked_flip(checked, stored, offset & 0xFFFFFFFF)
        if flip is None:
            return None
        flips = (flip,)
        header = flipped(header, flips)
    length, body_crc = _BODY_FACTS.unpack_from(header, _BODY_FACTS_AT)[1:]
    body = data[offset + RECORD_HEADER_SIZE :][: length + -length % ALIGNMENT]
    syndrome = zlib.crc32(body) ^ body_crc
    if syndrome:
        flip = find_flip(len(body), syndrome)
        if flip is None:
            return None
        flips += (Flip(RECORD_HEADER_SIZE + flip.offset, flip.bit),)
    mended = flipped(data[offset : offset + RECORD_HEADER_SIZE + len(body)], flips)
    try:
        record = read_record(mended, 0, salt, place=offset)
    except InvalidBytesError:
        return None
    if record.first_seq != seq or not holds_events(mended, record):
        return None
    return tuple(Flip(offset + flip.offset, flip.bit) for flip in flips)


def holds_events(data: bytes, record: Record) -> bool:
    """Whether the body of a valid record holds the events, or the seal, that the header tells."""
    try:
        if not record.events:
            read_seal(data, record)
            return record.body_length == SEAL_SIZE - RECORD_HEADER_SIZE
        body = data[record.body]
        events = msgspec.msgpack.decode(array_header(record.events) + body, type=list[_Event])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidBytesError):
        return False
    numbers = [event.seq for event in events]
    return numbers == list(range(record.first_seq, record.first_seq + record.events))


class _Event(msgspec.Struct, array_like=True, gc=False):
    seq: int
    time: int
    data: object
    key: str | None
    metadata: dict[str, object] | None


def mend_records(
    data: bytes, offset: int, end: int, salt: bytes, seq: int, next_seq: int | None
) -> tuple[Flip, ...] | None:
    """Find the bits that make whole records of everything from `offset` up to `end`.

    The records must begin with event `seq`, and lead to event `next_seq` unless that is `None`.
    """
    flips: tuple[Flip, ...] = ()
    while offset < end:
        found = mend_record(data, offset, salt, seq)
        if found is None:
            return None
        flips += found
        mended = flipped(data, found)
        record = read_record(mended, offset, salt)
        seq, offset = seq + record.events, record.end
    if next_seq is None:
        return flips  # the last bytes of a record may be zeros, and look like no part of it
    return flips if (offset, seq) == (end, next_seq) else None


_TORN_LIMIT = 1 << 20  # bytes that an opening searches in about a tenth of a second
_PADDING = bytes(1 << 12)  # zeros at the end of a record were cut off with the zeros behind


def mended_records(
    torn: bytes, offset: int, salt: bytes, seq: int
) -> tuple[tuple[Flip, ...], bytes, list[Record]]:
    """Find the bits that make whole records of torn bytes which stood at `offset` of a segment.

    Returns the bits, with places in `torn`, the mended bytes behind `offset` zeros, and the
    records. There are no records where no such bits exist.
    """
    data = bytes(offset) + torn + _PADDING
    flips = mend_records(data, offset, offset + len(torn), salt, seq, None)
    if not flips:
        return (), b"", []
    mended, records, at = flipped(data, flips), [], offset
    while at < offset + len(torn):
        record = read_record(mended, at, salt)
        records.append(record)
        at = record.end
    moved = tuple(Flip(flip.offset - offset, flip.bit) for flip in flips)
    return moved, mended, [record for record in records if record.events]


def torn_events(torn: bytes, offset: int, salt: bytes, seq: int) -> tuple[int, int] | None:
    """Return the first and the last event in torn bytes that one turned bit makes whole, if so."""
    if len(torn) > _TORN_LIMIT:
        return None
    _, _, records = mended_records(torn, offset, salt, seq)
    return (seq, records[-1].first_seq + records[-1].events - 1) if records else None
