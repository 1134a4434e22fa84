"""The end of a segment: a pure function from the bytes of a segment to one of three verdicts.

Theory of operation
-------------------
A crash leaves a valid prefix in the last segment. Behind the prefix stand the parts of the commit
in flight that reached the disk. Damage leaves a valid prefix too. Recovery sets an unfinished
commit aside, and must never set damage aside, so the two must be told apart.

Let X be the first offset without a valid record. The first rule that applies decides:

1. Only zeros stand behind X. The writer had written no further: `Clean`.
2. Behind X stands a valid record header of this segment (with the segment's salt, aligned) and with
   `synced_end > X`. `synced_end` is the offset up to which the segment was on stable storage before
   that record was written. So the bytes at X were once durable, hence valid, and were damaged
   later: `Corrupt`.
3. No such header stands there, so no sync that came back covers X. Where each record is synced,
   only one record is in flight, and no acknowledged event is behind X. A record that did not wait
   for a sync may be torn, and then every later one is unsynced, too: a sync covers the segment from
   its beginning. A power cut may take such records: `TornTail`.

More is `Corrupt`:

- A segment of a wrong length (see `format.py`). A segment is zero-filled to the header's `size`, or
  ends exactly with the seal of a finished segment. An idle seal is never followed by a cut.
- A whole record with valid checksums and a wrong sequence number. The writer never writes one.
- An invalid last seal in a segment that was made as a whole. A writer to a preallocated segment
  stops earlier, so a torn write cannot stand at the very end.

One kind of damage cannot be decided from a single disk. A flipped bit in the last record of an
unsealed segment looks like a torn write, and so does one in an unsynced record in front of the last
one, which was synced with it. What is from there on is set aside and reported. Behind a seal (a
second of idleness is enough) every flipped bit is corruption.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
    read_record,
    read_seal,
    read_synced_end,
    read_verified,
)

__all__ = [
    "NOTHING",
    "Clean",
    "Corrupt",
    "Tail",
    "TornTail",
    "Verified",
    "classify_tail",
    "crc_up_to",
    "proof_of_durability",
]


class Clean(NamedTuple):
    """A segment that ends after a whole record, or after the segment header.

    - `records`: the records with events.
    - `end`: the data end, in front of a closing seal.
    - `next_seq`: number of the next event.
    - `sealed`: kind of the seal at the end, `None` if the last record is no seal.
    """

    records: list[Record]
    end: int
    next_seq: int
    sealed: SealKind | None


class TornTail(NamedTuple):
    """A segment with an unfinished commit between `end` and `torn_end`."""

    records: list[Record]
    end: int
    next_seq: int
    torn_end: int


class Corrupt(NamedTuple):
    """A segment with damage at `offset`, where event `expected_seq` should begin."""

    offset: int
    expected_seq: int
    reason: str


class Verified(NamedTuple):
    """The bytes of a segment up to offset `end`, with the known CRC-32 `crc`."""

    end: int
    crc: int


NOTHING = Verified(0, 0)
"""No bytes at all."""

Tail = Clean | TornTail | Corrupt

_FEW = 200
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)


class _Prefix(NamedTuple):
    """The valid records at the start of a segment. `reason` says why no record follows them.

    `offset` is the first offset without a valid record, X in the theory of operation. `data_end`
    leaves out a closing seal.
    """

    records: list[Record]
    offset: int
    data_end: int
    next_seq: int
    sealed: SealKind | None
    reason: str


def classify_tail(
    data: bytes,
    header: SegmentHeader,
    between: Callable[[], None] | None = None,
    verified: Verified = NOTHING,
) -> Tail:
    """Classify the end of a segment. `data` is the whole file, `header` its decoded header.

    `between` is called after every few records. `verified` are bytes whose checksum was compared
    already, and which end behind a record.
    """
    prefix = _read_prefix(data, header, between, verified)
    if isinstance(prefix, Corrupt):
        return prefix
    records, offset, data_end, seq, sealed, reason = prefix
    finished = sealed is SealKind.CLOSED or sealed is SealKind.CONTINUED
    whole = len(data) == header.size or (finished and offset == len(data))
    torn_end = end_of_data(data)
    if torn_end <= offset:
        if not whole:
            return Corrupt(offset, seq, _wrong_length_reason(len(data), header))
        return Clean(records, data_end, seq, sealed)
    witness = proof_of_durability(data, header, offset)
    if witness is not None:
        return Corrupt(
            offset,
            seq,
            f"{reason}, though the record at offset {witness} proves it was durable",
        )
    if not whole:
        return Corrupt(offset, seq, f"{reason}, and {_wrong_length_reason(len(data), header)}")
    if offset + SEAL_SIZE == header.size:
        return Corrupt(offset, seq, f"{reason}, though only a seal can stand here")
    return TornTail(records, data_end if sealed is None else offset, seq, torn_end)


def _read_prefix(
    data: bytes,
    header: SegmentHeader,
    between: Callable[[], None] | None,
    verified: Verified,
) -> _Prefix | Corrupt:
    """Read valid records up to the first offset without one.

    The verdict is `Corrupt` at once for a valid record with a wrong sequence number, for a seal of
    an unknown kind, and for a seal with a wrong checksum of the segment.
    """
    walked = _walk_verified(data, header, verified.end)
    if walked is None:
        walked = _Prefix([], HEADER_SIZE, HEADER_SIZE, header.first_seq, None, "")
        verified = NOTHING
    records, offset, data_end, seq, sealed, _ = walked
    crc_end, crc = verified
    salt, size = header.salt, len(data)
    while offset < size:
        try:
            record = read_record(data, offset, salt)
        except InvalidBytesError as error:
            return _Prefix(records, offset, data_end, seq, sealed, str(error))
        _, first_seq, events, _, _, end = record
        if first_seq != seq:
            return Corrupt(offset, seq, f"a record of event {first_seq} stands here")
        if events:
            records.append(record)
            data_end, sealed = end, None
            if between is not None and len(records) % _FEW == 0:
                between()
        else:
            crc, crc_end = zlib.crc32(memoryview(data)[crc_end:offset], crc), offset
            try:
                sealed, sealed_crc = read_seal(data, record)
            except InvalidBytesError as error:
                return Corrupt(offset, seq, str(error))
            if crc != sealed_crc:
                return Corrupt(offset, seq, "the seal's checksum of the segment does not match")
            if sealed is SealKind.IDLE:
                data_end = end
        seq += events
        offset = end
    return _Prefix(records, offset, data_end, seq, sealed, "")


def _walk_verified(data: bytes, header: SegmentHeader, stop: int) -> _Prefix | None:
    """Find the records up to offset `stop` by their lengths, in verified bytes.

    Returns `None` where the lengths do not lead from record to record up to `stop`.
    """
    records: list[Record] = []
    offset = data_end = HEADER_SIZE
    seq = header.first_seq
    sealed: SealKind | None = None
    while offset + RECORD_HEADER_SIZE < stop:
        record = read_verified(data, offset)
        _, first_seq, events, length, _, end = record
        if first_seq != seq or not length or end > stop:
            return None
        if events:
            records.append(record)
            data_end, sealed = end, None
        else:
            try:
                sealed, _ = read_seal(data, record)
            except InvalidBytesError:
                return None
            if sealed is SealKind.IDLE:
                data_end = end
        seq += events
        offset = end
    return _Prefix(records, offset, data_end, seq, sealed, "") if offset == stop else None


def crc_up_to(data: bytes, end: int, verified: Verified) -> int:
    """Compute the CRC-32 of a segment up to offset `end`, from the known CRC-32 on if that helps.

    `verified` is a beginning of the same bytes.
    """
    view = memoryview(data)
    if verified.end > end:
        return zlib.crc32(view[:end])
    return zlib.crc32(view[verified.end : end], verified.crc)


def end_of_data(data: bytes) -> int:
    """Find the offset behind the last byte that is not zero, from the end, block by block."""
    end = len(data)
    while data[max(0, end - _BLOCK) : end] == _ZEROS:
        end -= _BLOCK
    last = data[max(0, end - _BLOCK) : end]
    return end - len(last) + len(last.rstrip(b"\0"))


def proof_of_durability(data: bytes, header: SegmentHeader, offset: int) -> int | None:
    """Find a record which proves that the bytes at `offset` were once durable. Returns its offset.

    A valid record header is proof enough, because the writer wrote `synced_end` into the header. A
    damaged body does not weaken the proof. To verify bodies would take quadratic time where many
    headers claim long bodies.
    """
    position = data.find(header.salt, offset + ALIGNMENT)
    while position >= 0:
        if position % ALIGNMENT == 0:
            try:
                if read_synced_end(data, position, header.salt) > offset:
                    return position
            except InvalidBytesError:
                pass
        position = data.find(header.salt, position + 1)
    return None


def _wrong_length_reason(length: int, header: SegmentHeader) -> str:
    return f"the file has {length} bytes, neither its full {header.size} nor the end of a seal"
