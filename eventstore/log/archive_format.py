"""The bytes of an archive: functions from bytes to values and back. No function touches a file.

Theory of operation
-------------------
An archive holds one segment (`format.py`) in Zstandard frames, so that any Zstandard tool gives the
segment back. The frames are *blocks*: whole records of about 64 KiB, each compressed by itself. One
event therefore costs one block. Behind the blocks stand two frames that decompressors skip::

    +---------+---------+-----+---------+-------+------------+
    | block 0 | block 1 | ... | block n | index | seek table |
    +---------+---------+-----+---------+-------+------------+

The seek table is the last frame, as the published seekable format has it: how many bytes each frame
has, and how many bytes it decompresses to. 0 for the index, which decompresses to nothing::

    0   I  magic 0x184D2A5E
    4   I  bytes that follow
    8   II compressed bytes, decompressed bytes; for each block, then for the index
    ..  I  number of frames
    ..  B  0: the table has no checksums of its own
    ..  I  magic 0x8F92EAB1

The index says which events a block has, and holds the checksums::

    0   I   magic 0x184D2A5D
    4   I   bytes that follow
    8   QqI for each block: its first event, the latest time of any event of the archive up to the
            end of the block (nanoseconds since the epoch), and the CRC-32 of the block's frame
    ..  16s store UUID
    ..  Q   number of the event behind the last one
    ..  I   CRC-32 of all members before, and then of the seek table

Some bits of a frame do not matter to a decompressor, so the CRC is that of the compressed bytes. A
flipped bit anywhere contradicts one of the checksums, or a constant.

An index with a right checksum may still lie. So every answer of an index is compared with what the
block holds: a block has exactly the promised bytes, and begins with the promised event.
"""

from __future__ import annotations

import bisect
import itertools
import struct
import sys
import uuid
import zlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from eventstore.errors import CorruptLogError
from eventstore.log.format import (
    HEADER_SIZE,
    LENGTHS_AT,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    SealKind,
    SegmentHeader,
    encode_record,
    encode_seal,
    read_lengths,
    record_size,
)
from eventstore.model.codec import latest_time

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover - only one of the two is there
else:
    from backports import zstd  # pragma: no cover - only one of the two is there

__all__ = [
    "FOOTER_SIZE",
    "ArchiveBuilder",
    "ArchiveIndex",
    "decompress_block",
    "encode_index",
    "index_size",
    "read_index",
    "tail_size",
    "told_blocks",
    "told_tail_size",
]

BLOCK_BYTES = 64 << 10
"""Bytes of records after which a block ends."""
_SKIPPABLE = struct.Struct("<II")
_ENTRY = struct.Struct("<QqI")
_ABOUT = struct.Struct("<16sQ")
_CRC = struct.Struct("<I")
_SIZES = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")
FOOTER_SIZE = _FOOTER.size
"""Bytes at the end of an archive that tell how long index and seek table are."""
_INDEX_MAGIC = 0x184D2A5D
_SEEK_TABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1
_OPTIONS: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
_NO_TIME = 1 << 63
_MAX_SEGMENT = (1 << 30) + (1 << 29)

assert _ENTRY.size == 20
assert FOOTER_SIZE == 9


class ArchiveIndex(NamedTuple):
    """The index and the seek table of an archive. The `n` blocks are counted from 0.

    - `store`: the store that the archive belongs to.
    - `next_seq`: number of the event behind the last one.
    - `firsts`: first event of each block.
    - `latest`: latest time of any event of the archive up to the end of each block.
    - `checksums`: CRC-32 of each block's frame.
    - `frames`: offset of each frame in the archive, and the offset behind the last block.
    - `offsets`: offset of each block in the segment, and the size of the segment.
    """

    store: uuid.UUID
    next_seq: int
    firsts: tuple[int, ...]
    latest: tuple[int, ...]
    checksums: tuple[int, ...]
    frames: tuple[int, ...]
    offsets: tuple[int, ...]

    def block_of(self, seq: int) -> int:
        """Return the block that holds event `seq`, the first or the last one for events outside."""
        return max(bisect.bisect_right(self.firsts, seq) - 1, 0)

    def check_segment(self, data: bytes, between: Callable[[], None]) -> None:
        """Compare with the decompressed segment. Raises `InvalidBytesError` for a lie.

        `between` is called after every record.
        """
        self.check_header(SegmentHeader.decode(data[:HEADER_SIZE]))
        found = _blocks_found(data, frozenset(self.offsets), between)
        if found != (self.firsts, self.latest, self.next_seq):
            raise InvalidBytesError("its index tells of other events or times than its blocks hold")

    def check_header(self, header: SegmentHeader) -> None:
        """Compare with the header of the segment. Raises `InvalidBytesError` for a lie."""
        if header.size != self.offsets[-1]:
            raise InvalidBytesError(
                f"its segment is not of the {header.size} bytes that it says, but of "
                f"{self.offsets[-1]}"
            )
        if (header.store, header.first_seq) != (self.store, self.firsts[0]):
            raise InvalidBytesError(
                f"its index is that of event {self.firsts[0]} of the store {self.store}, and its "
                f"segment that of event {header.first_seq} of the store {header.store}"
            )


def _blocks_found(
    data: bytes, offsets: frozenset[int], between: Callable[[], None]
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return first event and latest time of each block, and the number behind the last event."""
    offset, number, latest = HEADER_SIZE, 0, -_NO_TIME
    firsts, times = [], []
    try:
        while offset < len(data):
            number, events, length = read_lengths(data, offset + LENGTHS_AT)
            if offset in offsets or offset == HEADER_SIZE:
                firsts.append(number)
                times.append(latest)
            if events:
                body = offset + RECORD_HEADER_SIZE
                latest = max(latest, latest_time(data[body : body + length], events))
            offset += record_size(length)
            between()
    except (struct.error, CorruptLogError) as error:
        raise InvalidBytesError(f"its records cannot be read: {error}") from error
    return tuple(firsts), (*times[1:], latest), number


def tail_size(blocks: int) -> int:
    """Compute the bytes of index and seek table of an archive with so many blocks."""
    return index_size(blocks) + _SKIPPABLE.size + (blocks + 1) * _SIZES.size + FOOTER_SIZE


def told_blocks(tail: bytes) -> int:
    """Return how many blocks the last bytes of an archive tell of."""
    return int(_FOOTER.unpack_from(tail, len(tail) - FOOTER_SIZE)[0]) - 1


def index_size(blocks: int) -> int:
    """Compute the bytes of the index of an archive with so many blocks."""
    return _SKIPPABLE.size + blocks * _ENTRY.size + _ABOUT.size + _CRC.size


def encode_index(index: ArchiveIndex) -> bytes:
    """Encode index and seek table, with a right checksum."""
    blocks = len(index.firsts)
    entries = zip(index.firsts, index.latest, index.checksums, strict=True)
    payload = b"".join(itertools.starmap(_ENTRY.pack, entries))
    payload += _ABOUT.pack(index.store.bytes, index.next_seq)
    sizes = [
        _SIZES.pack(behind - begin, end - offset)
        for (begin, behind), (offset, end) in zip(
            itertools.pairwise(index.frames), itertools.pairwise(index.offsets), strict=True
        )
    ]
    sizes.append(_SIZES.pack(index_size(blocks), 0))
    table = b"".join((*sizes, _FOOTER.pack(blocks + 1, 0, _SEEKABLE_MAGIC)))
    table = _SKIPPABLE.pack(_SEEK_TABLE_MAGIC, len(table)) + table
    crc = _CRC.pack(zlib.crc32(table, zlib.crc32(payload)))
    length = len(payload) + _CRC.size
    return b"".join((_SKIPPABLE.pack(_INDEX_MAGIC, length), payload, crc, table))


def told_tail_size(footer: bytes, size: int) -> int:
    """Return the bytes of index and seek table, told by the end of an archive of `size` bytes.

    `footer` holds the last `FOOTER_SIZE` bytes or more. Raises `InvalidBytesError`.
    """
    if len(footer) < FOOTER_SIZE:
        raise InvalidBytesError("it is cut short: there is no seek table")
    _, flags, magic = _FOOTER.unpack_from(footer, len(footer) - FOOTER_SIZE)
    blocks = told_blocks(footer)
    if magic != _SEEKABLE_MAGIC or flags or blocks < 1:
        raise InvalidBytesError("it does not end with a seek table")
    if tail_size(blocks) > size:
        raise InvalidBytesError(f"an index of {blocks} blocks does not fit the file")
    return tail_size(blocks)


def read_index(tail: bytes, size: int) -> ArchiveIndex:
    """Read index and seek table from the end of an archive of `size` bytes.

    `tail` holds `told_tail_size` bytes or more. Raises `InvalidBytesError`.
    """
    wanted = told_tail_size(tail, size)
    tail, blocks = tail[-wanted:], told_blocks(tail)
    at = index_size(blocks)
    about = at - _CRC.size - _ABOUT.size
    crc = zlib.crc32(tail[at:], zlib.crc32(tail[_SKIPPABLE.size : at - _CRC.size]))
    heads = (_SKIPPABLE.unpack_from(tail), _SKIPPABLE.unpack_from(tail, at))
    rest = at - _SKIPPABLE.size, len(tail) - at - _SKIPPABLE.size
    if heads != ((_INDEX_MAGIC, rest[0]), (_SEEK_TABLE_MAGIC, rest[1])):
        raise InvalidBytesError("its index does not begin like one")
    if crc != _CRC.unpack_from(tail, at - _CRC.size)[0]:
        raise InvalidBytesError("the checksum of its index does not match")
    entries = tuple(zip(*_ENTRY.iter_unpack(tail[_SKIPPABLE.size : about]), strict=True))
    sizes = tail[at + _SKIPPABLE.size : -FOOTER_SIZE - _SIZES.size]
    compressed, raw = zip(*_SIZES.iter_unpack(sizes), strict=True)
    frames = tuple(itertools.accumulate(compressed, initial=0))
    offsets = tuple(itertools.accumulate(raw, initial=0))
    store, next_seq = _ABOUT.unpack_from(tail, about)
    firsts: tuple[int, ...] = entries[0]
    if (
        frames[-1] + len(tail) != size
        or offsets[-1] > _MAX_SEGMENT
        or offsets[1] < HEADER_SIZE
        or not all(raw)
        or any(before >= behind for before, behind in itertools.pairwise((*firsts, next_seq)))
        or _SIZES.unpack_from(tail, len(tail) - FOOTER_SIZE - _SIZES.size) != (at, 0)
    ):
        raise InvalidBytesError("the sizes and numbers in its index are impossible")
    return ArchiveIndex(
        uuid.UUID(bytes=store), next_seq, firsts, entries[1], entries[2], frames, offsets
    )


def decompress_block(index: ArchiveIndex, number: int, frame: bytes | memoryview) -> bytes:
    """Decompress one block. Raises `InvalidBytesError` unless the block is what the index says.

    The checksum of the compressed bytes is verified before anything is decompressed, and no more is
    decompressed than the index says.
    """
    if zlib.crc32(frame) != index.checksums[number]:
        raise InvalidBytesError(f"the checksum of block {number} does not match")
    size = index.offsets[number + 1] - index.offsets[number]
    decompressor = zstd.ZstdDecompressor()
    try:
        # At most one byte more than the index says, so that a surplus is noticed.
        data = decompressor.decompress(frame, max_length=size + 1)
    except zstd.ZstdError as error:
        raise InvalidBytesError(f"block {number}: {error}") from error
    if len(data) != size:
        raise InvalidBytesError(f"block {number} is not of the {size} bytes that its index says")
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidBytesError(f"block {number} is not one whole Zstandard frame")
    return data


class ArchiveBuilder:
    """The making of an archive, record by record.

    No more than one block is in memory uncompressed, and each call compresses one block at most.
    """

    def __init__(self, header: SegmentHeader, salt: bytes, data_size: int) -> None:
        """`header` is that of the segment, and `data_size` the size of all records together."""
        size = HEADER_SIZE + data_size + SEAL_SIZE
        header = msgspec.structs.replace(header, salt=salt, size=size)
        first = header.encode()
        self._header = header
        self._crc = zlib.crc32(first)
        self._offset = len(first)
        self._parts = [first]
        self._size = 0
        self._block_first = header.first_seq
        self._latest = -_NO_TIME
        self._frames: list[bytes] = []
        self._entries: list[tuple[int, int, int]] = []
        self._offsets = [0]

    def add(self, first_seq: int, events: int, body: bytes, latest: int) -> None:
        """Add a record. `latest` is the latest time of its events."""
        if self._size >= BLOCK_BYTES:
            self._end_block()
            self._block_first = first_seq
        self._latest = max(self._latest, latest)
        salt, offset = self._header.salt, self._offset
        self._put(encode_record(salt, offset, first_seq, events, body, offset))

    def finish(self, next_seq: int) -> bytes:
        """Seal the segment, and return the content of the archive."""
        self._put(
            encode_seal(self._header.salt, self._offset, next_seq, SealKind.CLOSED, self._crc)
        )
        self._end_block()
        frames = tuple(itertools.accumulate(map(len, self._frames), initial=0))
        firsts, latest, checksums = zip(*self._entries, strict=True)
        index = ArchiveIndex(
            self._header.store, next_seq, firsts, latest, checksums, frames, tuple(self._offsets)
        )
        return b"".join((*self._frames, encode_index(index)))

    def _put(self, part: bytes) -> None:
        self._parts.append(part)
        self._crc = zlib.crc32(part, self._crc)
        self._offset += len(part)
        self._size += len(part)

    def _end_block(self) -> None:
        frame = zstd.compress(b"".join(self._parts), options=_OPTIONS)
        self._frames.append(frame)
        self._entries.append((self._block_first, self._latest, zlib.crc32(frame)))
        self._offsets.append(self._offset)
        self._parts, self._size = [], 0
