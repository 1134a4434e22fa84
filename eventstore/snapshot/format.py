"""The bytes of a snapshot. Nothing here touches a file.

Little-endian::

    +--------+-------+-------+-----+-------+--------+
    | header | about | slice | ... | slice | footer |
    +--------+-------+-------+-----+-------+--------+

Header, 64 bytes::

    0   8s  magic           b"EVSTSNP\\n"
    8   H   format version  3
    10  H   checksum        1 = CRC-32 (zlib)
    12  16s store UUID
    28  Q   seq             the state is that after event `seq`
    36  q   created         nanoseconds since the epoch
    44  q   latest          the latest time of any event up to `seq`, nanoseconds since the epoch
    52  4s  timeline        identity of the timeline of event `seq`, zeros where it is not known
    56  4x  zeros
    60  I   CRC-32 of bytes 0 to 60

A slice is `I` length, `I` CRC-32 of the content started from the slice's number, the content.
The first slice, number 0, is *about*: a MessagePack map with the handlers' fingerprint, the state's
type, and the open intents (`eventstore.model.open_intents`). The other slices hold the state
(`eventstore.model.state_slices`).

Footer, 96 bytes::

    0   8s  magic           b"EVSTSEND"
    8   I   slices          how many, *about* included
    12  I   zeros
    16  32s state digest    of eventstore.state_digest
    48  32s BLAKE2b         of everything before the footer
    80  12x zeros
    92  I   CRC-32 of bytes 0 to 92
"""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib
from collections.abc import Iterator

import msgspec

from eventstore.errors import newer_format_error

__all__ = [
    "HEADER_SIZE",
    "UNKNOWN_TIMELINE",
    "About",
    "InvalidSnapshotError",
    "SnapshotBuilder",
    "SnapshotHeader",
    "parse",
]

MAGIC = b"EVSTSNP\n"
END_MAGIC = b"EVSTSEND"
VERSION = 3
CRC32 = 1

_HEADER = struct.Struct("<8sHH16sQqq4s4xI")
_SLICE = struct.Struct("<II")
_FOOTER = struct.Struct("<8sI4x32s32s12xI")

HEADER_SIZE = _HEADER.size
UNKNOWN_TIMELINE = "00000000"

assert HEADER_SIZE == 64
assert _SLICE.size == 8
assert _FOOTER.size == 96


class InvalidSnapshotError(ValueError):
    """Bytes that are no whole snapshot. The message says why."""


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a snapshot of event `seq`. Times are nanoseconds since the epoch.

    `created` is the time of writing, and `latest` the latest time of any event up to `seq`.
    `timeline` is the identity of the timeline in which event `seq` was appended, eight hexadecimal
    digits. Zeros stand for a timeline that is not known.
    """

    store: uuid.UUID
    seq: int
    created: int
    latest: int
    timeline: str = UNKNOWN_TIMELINE

    def encode(self) -> bytes:
        """Return the header's 64 bytes."""
        data = _HEADER.pack(
            MAGIC,
            VERSION,
            CRC32,
            self.store.bytes,
            self.seq,
            self.created,
            self.latest,
            bytes.fromhex(self.timeline),
            0,
        )
        return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes) -> SnapshotHeader:
        """Read the header at the beginning of `data`. Raises `InvalidSnapshotError`."""
        if len(data) < _HEADER.size or data[:8] != MAGIC:
            raise InvalidSnapshotError("it does not begin like a snapshot")
        _, version, checksum, store, seq, created, latest, timeline, crc = _HEADER.unpack_from(data)
        if zlib.crc32(data[: _HEADER.size - 4]) != crc:
            raise InvalidSnapshotError("the header's checksum does not match")
        if version > VERSION:
            raise newer_format_error("a snapshot of the store", version, VERSION)
        if version != VERSION or checksum != CRC32:
            raise InvalidSnapshotError(f"format version {version} is not known to this release")
        return cls(
            store=uuid.UUID(bytes=store),
            seq=seq,
            created=created,
            latest=latest,
            timeline=timeline.hex(),
        )


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The handlers' `fingerprint` by operation (`HandlerRegistry`), and the state type's name.

    `intents` are the encoded events that opened the intents which are open after the snapshot's
    event, oldest first. `used` are the settled ids that callers gave, with their events. `keys` is
    the last event covered by the runs of identity keys, 0 without a run. `reader` names the
    programs that have read the state back, empty where code of a class had a part in that.
    """

    fingerprint: dict[str, str]
    state: str
    intents: tuple[bytes, ...] = ()
    used: dict[str, int] = {}
    keys: int = 0
    reader: str = ""


class SnapshotBuilder:
    """Builder of a snapshot's bytes, part by part: `begin`, any number of `slice`, then `end`."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self._slices = 0

    def begin(self, header: SnapshotHeader, about: About) -> bytes:
        """Return the bytes of the header and of the first slice."""
        data = header.encode()
        self._hash.update(data)
        return data + self.slice(msgspec.msgpack.encode(about, order="deterministic"))

    def slice(self, content: bytes) -> bytes:
        """Return the bytes of one more slice."""
        data = _SLICE.pack(len(content), zlib.crc32(content, self._slices)) + content
        self._slices += 1
        self._hash.update(data)
        return data

    def end(self, state_digest: str) -> bytes:
        """Return the footer's bytes. `state_digest` is hexadecimal."""
        data = _FOOTER.pack(
            END_MAGIC, self._slices, bytes.fromhex(state_digest), self._hash.digest(), 0
        )
        return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def parse(data: bytes) -> tuple[SnapshotHeader, About, str, Iterator[bytes]]:
    """Return a snapshot's header, about, state digest (hexadecimal) and slices of the state.

    Every byte is verified by the digest in the footer first. Each slice's checksum is verified when
    the iterator reaches the slice.

    Raises `InvalidSnapshotError`, and so does the iterator.
    """
    header = SnapshotHeader.decode(data)
    end = len(data) - _FOOTER.size
    if end < _HEADER.size + _SLICE.size:
        raise InvalidSnapshotError("it is cut short")
    magic, count, state, whole, crc = _FOOTER.unpack_from(data, end)
    if magic != END_MAGIC or zlib.crc32(data[end:-4]) != crc:
        raise InvalidSnapshotError("it has no valid footer: it is cut short or damaged")
    if hashlib.blake2b(memoryview(data)[:end], digest_size=32).digest() != whole:
        raise InvalidSnapshotError("its digest does not match: it is damaged")
    slices = _slices(data, _HEADER.size, end, count)
    try:
        about = msgspec.msgpack.decode(next(slices), type=About)
    except (StopIteration, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSnapshotError(f"it does not say what it is about: {error}") from None
    return header, about, state.hex(), slices


def _slices(data: bytes, offset: int, end: int, count: int) -> Iterator[bytes]:
    for number in range(count):
        if offset + _SLICE.size > end:
            raise InvalidSnapshotError(f"slice {number} is missing")
        length, crc = _SLICE.unpack_from(data, offset)
        offset += _SLICE.size
        if length > end - offset:
            raise InvalidSnapshotError(f"slice {number} does not fit")
        content = data[offset : offset + length]
        if zlib.crc32(content, number) != crc:
            raise InvalidSnapshotError(f"slice {number}'s checksum does not match")
        offset += length
        yield content
    if offset != end:
        raise InvalidSnapshotError("there is more than the slices it counts")
