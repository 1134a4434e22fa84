"""The bytes of a run of keys. Nothing here touches a file.

A run is an immutable file with the keys of the events `first` to `last`, in the order of their
hashes. Numbers are little-endian, except in rows. Rows are big-endian, so the order of their bytes
is the order of hashes::

    +--------+-------+-------+-----+--------+--------+-----+
    | header | block | block | ... | prints | prints | ... |
    +--------+-------+-------+-----+--------+--------+-----+

Header, 512 bytes::

    0    8s  magic           b"EVSTKEY\\n"
    8    H   format version  1
    10   H   checksum        1 = CRC-32 (zlib)
    12   16s store UUID
    28   16s seed            keys the hashes (a branch has the seed of the parent)
    44   Q   first           the run covers the events from `first`
    52   Q   last            to `last`
    60   Q   rows            how many
    68   Q   homes           how many blocks hashes are spread over
    76   Q   blocks          how many, the blocks for overflow included
    84   I   CRC-32 of all prints
    88   q   latest          the time that the age of keys counted to at event `last`
    96   Q   events          `keys: remember` at the time of writing, 0 for no limit:
    104  Q   age             keys that were older at event `last` may be missing
    112  396x zeros
    508  I   CRC-32 of bytes 0 to 508

A row, 32 bytes, big-endian: `Q` hash of operation and key, `Q` digest of operation, key and
payload, `Q` number and `q` time of the event.

A block, 1024 bytes, has up to 31 rows. The home of a hash is block `hash * homes >> 64`. A home
without room puts further rows into the next blocks::

    0    992s rows           zeros behind the last
    992  H    rows           how many
    994  H    overflow       1 where the next block has rows for want of room here
    996  Q    number of the block
    1004 16x  zeros
    1020 I    CRC-32 of bytes 0 to 1020, begun from the CRC-32 of the seed

The prints of a block, 128 bytes: the last four bytes of the hashes of 31 rows, then `I` overflow. A
reader holds the prints in memory, and so answers for unknown keys without reading a file.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

__all__ = [
    "BLOCK_ROWS",
    "BLOCK_SIZE",
    "FOR_EVER",
    "HEADER_SIZE",
    "PRINTS_SIZE",
    "PRINT_BYTES",
    "ROW",
    "BlockWriter",
    "InvalidRunError",
    "Remember",
    "Row",
    "RunHeader",
    "block_rows",
    "first_hash",
    "homes_for",
    "joined",
    "prints_of",
]

MAGIC = b"EVSTKEY\n"
VERSION = 1
CRC32 = 1

ROW = struct.Struct(">QQQq")
BLOCK_ROWS = 31
BLOCK_SIZE = 1024
PRINT_BYTES = 4 * BLOCK_ROWS
PRINTS_SIZE = 128
_FILLED = 26  # rows of a block on average: fuller blocks overflow too often

_HEADER = struct.Struct("<8sHH16s16sQQQQQIqQQ396xI")
_FOOT = struct.Struct("<HHQ16xI")
HEADER_SIZE = _HEADER.size
_ROWS_SIZE = BLOCK_ROWS * ROW.size

assert ROW.size == 32
assert HEADER_SIZE == 512
assert _ROWS_SIZE + _FOOT.size == BLOCK_SIZE
assert PRINT_BYTES + 4 == PRINTS_SIZE


class InvalidRunError(ValueError):
    """Bytes that are no whole run of keys. The message says why."""


class Row(NamedTuple):
    """One known key: its hash, and digest, number and time (nanoseconds) of its event."""

    hash: int
    digest: int
    seq: int
    time: int


class Remember(NamedTuple):
    """How long keys are remembered: for so many events, or nanoseconds. `None` is for ever."""

    events: int | None = None
    age: int | None = None

    def forgets(self, row: Row, next_seq: int, latest: int) -> bool:
        """Tell whether a key is forgotten for event `next_seq`, with `latest` the latest time."""
        if self.events is not None and next_seq - row.seq > self.events:
            return True
        return self.age is not None and latest - row.time > self.age


FOR_EVER = Remember()
_SOME_TIME = Remember(events=(1 << 63) - 1)


def joined(rules: Iterable[Remember]) -> Remember:
    """Return the rule for a run made of runs with these rules, and written under one of them.

    Where two rules differ, any key may be missing.

    >>> joined([Remember(events=5), Remember(events=5)])
    Remember(events=5, age=None)
    """
    found = set(rules)
    return found.pop() if len(found) == 1 else _SOME_TIME


class RunHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a run of keys, with the names of the table above."""

    store: uuid.UUID
    seed: bytes
    first: int
    last: int
    rows: int
    homes: int
    blocks: int
    prints_crc: int = 0
    latest: int = 0
    remember: Remember = FOR_EVER

    def encode(self) -> bytes:
        """Return the header's 512 bytes."""
        data = _HEADER.pack(
            MAGIC,
            VERSION,
            CRC32,
            self.store.bytes,
            self.seed,
            self.first,
            self.last,
            self.rows,
            self.homes,
            self.blocks,
            self.prints_crc,
            self.latest,
            self.remember.events or 0,
            self.remember.age or 0,
            0,
        )
        return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes) -> RunHeader:
        """Read the header at the beginning of `data`. Raises `InvalidRunError`."""
        if len(data) < HEADER_SIZE or data[:8] != MAGIC:
            raise InvalidRunError("it does not begin like a run of keys")
        _, version, checksum, *facts, crc = _HEADER.unpack_from(data)
        store, seed, first, last, rows, homes, blocks, prints, latest, events, age = facts
        if zlib.crc32(data[: HEADER_SIZE - 4]) != crc:
            raise InvalidRunError("the header's checksum does not match")
        if version != VERSION or checksum != CRC32:
            raise InvalidRunError(f"format version {version} is not known to this release")
        if not 1 <= first <= last or not 1 <= homes <= blocks or rows > blocks * BLOCK_ROWS:
            raise InvalidRunError("the header contradicts itself")
        return cls(
            store=uuid.UUID(bytes=store),
            seed=seed,
            first=first,
            last=last,
            rows=rows,
            homes=homes,
            blocks=blocks,
            prints_crc=prints,
            latest=latest,
            remember=Remember(events or None, age or None),
        )

    @property
    def size(self) -> int:
        """The bytes of the whole file."""
        return self.prints_offset + self.blocks * PRINTS_SIZE

    @property
    def prints_offset(self) -> int:
        """The place of the prints in the file."""
        return HEADER_SIZE + self.blocks * BLOCK_SIZE


def homes_for(rows: int) -> int:
    """Return over how many blocks so many rows are spread."""
    return max(1, -(-rows // _FILLED))


def first_hash(block: int, homes: int) -> int:
    """Return the lowest hash whose home is `block` or a later one."""
    return -(-(block << 64) // homes)


def block_rows(data: bytes, number: int, seed: bytes) -> tuple[list[bytes], bool]:
    """Return the rows of a block, and whether the block overflows.

    Raises `InvalidRunError` for any other bytes than the block of this number and seed.
    """
    if len(data) != BLOCK_SIZE or zlib.crc32(data[:-4], zlib.crc32(seed)) != int.from_bytes(
        data[-4:], "little"
    ):
        raise InvalidRunError(f"the checksum of block {number} does not match")
    count, overflow, place, _ = _FOOT.unpack_from(data, _ROWS_SIZE)
    if place != number or count > BLOCK_ROWS:
        raise InvalidRunError(f"block {number} is another block")
    return [data[at : at + 32] for at in range(0, count * 32, 32)], bool(overflow)


def prints_of(block: bytes) -> bytes:
    """Return the prints of a block of rows."""
    rows = memoryview(block)[:_ROWS_SIZE].cast("I")
    return rows[1::8].tobytes() + bytes((block[_ROWS_SIZE + 2], 0, 0, 0))


class BlockWriter:
    """Cutter of ordered rows into blocks.

    The rows come in batches. Every row of a later batch is behind all rows of earlier batches.
    """

    def __init__(self, homes: int, seed: bytes) -> None:
        self._homes = homes
        self._seed_crc = zlib.crc32(seed)
        self._left: list[bytes] = []  # rows without a block yet, in order
        self.blocks = 0
        self.rows = 0

    def add(self, rows: Iterable[bytes], below: int) -> Iterator[bytes]:
        """Yield the blocks without room for a hash of `below` or more."""
        self._left.extend(rows)
        while self.blocks < self._homes and first_hash(self.blocks + 1, self._homes) <= below:
            end = first_hash(self.blocks + 1, self._homes)
            ready = (
                len(self._left) if end >> 64 else bisect_left(self._left, end.to_bytes(8, "big"))
            )
            yield self._block(ready)

    def end(self) -> Iterator[bytes]:
        """Yield the remaining blocks, up to the last home and for overflow."""
        yield from self.add((), 1 << 64)
        while self._left:
            yield self._block(len(self._left))

    def _block(self, ready: int) -> bytes:
        """Make the next block of the first `ready` remaining rows, as far as a block has room."""
        count = min(ready, BLOCK_ROWS)
        rows, self._left[:count] = self._left[:count], []
        foot = _FOOT.pack(count, ready > count, self.blocks, 0)
        data = b"".join((*rows, bytes((BLOCK_ROWS - count) * 32), foot[:-4]))
        self.blocks += 1
        self.rows += count
        return data + zlib.crc32(data, self._seed_crc).to_bytes(4, "little")
