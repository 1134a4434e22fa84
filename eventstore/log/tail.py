"""What the end of a segment is: a pure function from its bytes to one of three answers.

Theory of operation
-------------------
A crash leaves the last segment with a valid prefix and, behind it, whatever of the commit in flight
reached the disk. Damage leaves a valid prefix too. Telling them apart is the whole art, because the
first must be set aside quietly and the second must never be.

Let X be the first offset at which no valid record stands.

* *Only zeros behind X*: the writer had not got any further. ``Clean``.
* Otherwise look behind X for records of this segment (its salt, aligned). A record carries
  ``synced_end``, the offset up to which everything was on stable storage *before it was written*. A
  valid header with ``synced_end > X`` proves that the bytes at X were once durable, and therefore
  once valid: they have been damaged since. ``Corrupt``.
* No such record: in the strictest mode only one record is ever in flight, so nothing acknowledged
  can be behind X; in the others, whatever lies there was acknowledged without being synced, which
  is what those modes permit a power cut to take. ``TornTail``.

A segment's length decides too (see ``format.py``): zero-filled to the header's ``size``, or
ending exactly with a seal of a finished segment. A shorter one was cut by somebody; an idle seal
is never followed by a cut. And a record that is whole, with valid checksums, but of the wrong
sequence number was never written by this code: ``Corrupt``. So is an invalid last seal of a
segment that was made as a whole: a writer to a preallocated one stops earlier.

The damage that no single disk can decide: a flipped bit in the very last record of a segment that
was not sealed looks like a torn write, and is set aside and reported. After a seal (a second of
idleness is enough) every flipped bit is corruption.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
    read_record,
    read_seal,
    read_synced_end,
)

__all__ = ["Clean", "Corrupt", "Tail", "TornTail", "classify_tail", "proof_of_durability"]


class Clean(NamedTuple):
    """The segment ends after a whole record (or its header).

    ``end``: the data end, before a closing seal. ``next_seq``: the number of the next event.
    ``sealed``: the kind of the seal it ends with, ``None`` where the writer did not get to it.
    """

    records: list[Record]
    end: int
    next_seq: int
    sealed: SealKind | None


class TornTail(NamedTuple):
    """An unfinished commit lies between ``end`` and ``torn_end``."""

    records: list[Record]
    end: int
    next_seq: int
    torn_end: int


class Corrupt(NamedTuple):
    """What was durable at ``offset`` is not valid any more."""

    offset: int
    expected_seq: int
    reason: str


Tail = Clean | TornTail | Corrupt

_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)


def classify_tail(data: bytes, header: SegmentHeader) -> Tail:
    """Say what the end of the last segment is; ``data`` is the whole file."""
    records: list[Record] = []
    offset = data_end = HEADER_SIZE
    seq = header.first_seq
    sealed: SealKind | None = None
    crc, crc_end = 0, 0
    reason = ""
    while offset < len(data):
        try:
            record = read_record(data, offset, header.salt)
        except InvalidBytesError as error:
            reason = str(error)
            break
        if record.first_seq != seq:
            return Corrupt(offset, seq, f"a record of event {record.first_seq} stands here")
        if record.events:
            records.append(record)
            data_end, sealed = record.end, None
        else:
            crc, crc_end = zlib.crc32(data[crc_end:offset], crc), offset
            try:
                sealed, sealed_crc = read_seal(data, record)
            except InvalidBytesError as error:
                return Corrupt(offset, seq, str(error))
            if crc != sealed_crc:
                return Corrupt(offset, seq, "the seal's checksum of the segment does not match")
            if sealed is SealKind.IDLE:
                data_end = record.end
        seq += record.events
        offset = record.end
    finished = sealed is SealKind.CLOSED or sealed is SealKind.CONTINUED
    whole = len(data) == header.size or (finished and offset == len(data))
    torn_end = end_of_data(data)
    if torn_end <= offset:
        if not whole:
            return Corrupt(offset, seq, _cut(len(data), header))
        return Clean(records, data_end, seq, sealed)
    witness = proof_of_durability(data, header, offset)
    if witness is not None:
        return Corrupt(
            offset,
            seq,
            f"{reason}, though the record at offset {witness} proves it was durable",
        )
    if not whole:
        return Corrupt(offset, seq, f"{reason}, and {_cut(len(data), header)}")
    if offset + SEAL_SIZE == header.size:
        return Corrupt(offset, seq, f"{reason}, though only a seal can stand here")
    return TornTail(records, data_end if sealed is None else offset, seq, torn_end)


def end_of_data(data: bytes) -> int:
    """The offset behind the last byte that is not zero, looked for from the end, block by block."""
    end = len(data)
    while data[max(0, end - _BLOCK) : end] == _ZEROS:
        end -= _BLOCK
    last = data[max(0, end - _BLOCK) : end]
    return end - len(last) + len(last.rstrip(b"\0"))


def proof_of_durability(data: bytes, header: SegmentHeader, offset: int) -> int | None:
    """The offset of a record that proves the bytes at ``offset`` were once durable.

    Its header is proof enough: it was written, in one piece, by who knew what was durable. Whether
    its body is whole as well says nothing about that, and to ask would take quadratic time where
    many headers claim long bodies.
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


def _cut(length: int, header: SegmentHeader) -> str:
    return f"the file has {length} bytes, neither its full {header.size} nor the end of a seal"
