"""Checksums made right again: without right checksums, every change stops at the first check.

Each function takes a file with changes anywhere. The function returns the file with every checksum
as the format demands, as far as the lengths in the file lead. Damage beyond stays.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
import sys
import uuid
import zlib
from typing import Any

import msgspec

from eventstore.log.archive_format import (
    FOOTER_SIZE,
    ArchiveIndex,
    encode_index,
    index_size,
    read_index,
    tail_size,
    told_blocks,
)
from eventstore.log.format import InvalidBytesError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "archived",
    "bomb",
    "forged_archive",
    "forged_manifest",
    "forged_segment",
    "forged_snapshot",
    "unpacked_size",
    "with_index",
]

_MOST = 1 << 26  # more than any archive made here


def forged_segment(data: bytes) -> bytes:
    """Return a segment whose header, records and seals have right checksums."""
    forged = bytearray(data)
    if len(forged) < 512:
        return bytes(forged)
    _put(forged, 508, zlib.crc32(forged[:508]))
    salt = forged[48:56]
    offset = 512
    while offset + 40 <= len(forged):
        if not any(forged[offset : offset + 40]):
            break
        forged[offset : offset + 8] = salt
        count, length = struct.unpack_from("<II", forged, offset + 16)
        start = offset + 40
        end = start + length + -length % 8
        if end <= len(forged) and count == 0 and length == 8:
            _put(forged, start + 4, zlib.crc32(forged[:offset]))
        # of the part of the body that exists
        _put(forged, offset + 32, zlib.crc32(forged[start:end]))
        _put(forged, offset + 36, zlib.crc32(forged[offset : offset + 36], offset))
        if length == 0 or end > len(forged):
            break
        offset = end
    return bytes(forged)


def forged_snapshot(data: bytes) -> bytes:
    """Return a snapshot whose header, slices and footer have right checksums."""
    forged = bytearray(data)
    if len(forged) < 64 + 96:
        return bytes(forged)
    _put(forged, 60, zlib.crc32(forged[:60]))
    end = len(forged) - 96
    offset, number = 64, 0
    while offset + 8 <= end:
        (length,) = struct.unpack_from("<I", forged, offset)
        if length > end - offset - 8:
            break
        content = forged[offset + 8 : offset + 8 + length]
        _put(forged, offset + 4, zlib.crc32(content, number))
        offset += 8 + length
        number += 1
    forged[end + 48 : end + 80] = hashlib.blake2b(forged[:end], digest_size=32).digest()
    _put(forged, len(forged) - 4, zlib.crc32(forged[end:-4]))
    return bytes(forged)


def forged_manifest(data: bytes) -> bytes:
    """Return a `store.json` with its members as the store lays them out, and their checksum."""
    try:
        facts: Any = json.loads(data)
        facts = {**facts, "crc": 0}
        facts["crc"] = zlib.crc32(msgspec.json.encode(facts))
        return msgspec.json.format(msgspec.json.encode(facts)) + b"\n"
    except (ValueError, TypeError, RecursionError):
        return data  # no JSON any more, or none with members


def archived(segment: bytes) -> bytes:
    """A segment as an archive of one block."""
    checked: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    return with_index([zstd.compress(segment, options=checked)], segment[:512], len(segment))


def with_index(frames: list[bytes], header: bytes, size: int, next_seq: int = 1 << 62) -> bytes:
    """Return frames as an archive whose index tells of a segment with this header and size.

    The size is divided evenly, and so are the numbers of events.
    """
    header = header.ljust(512, b"\0")
    (first,) = struct.unpack_from("<Q", header, 40)
    count = len(frames)
    index = ArchiveIndex(
        store=uuid.UUID(bytes=header[16:32]),
        next_seq=next_seq,
        firsts=tuple(range(first, first + count)),
        latest=(1 << 62,) * count,
        checksums=tuple(map(zlib.crc32, frames)),
        frames=tuple(itertools.accumulate(map(len, frames), initial=0)),
        offsets=tuple(size * number // count for number in range(count + 1)),
    )
    try:
        return b"".join((*frames, encode_index(index)))
    except struct.error:  # a size that the seek table cannot tell
        return b"".join(frames)


def forged_archive(data: bytes) -> bytes:
    """Return an archive whose index has right checksums, as far as the lengths lead."""
    forged = bytearray(data)
    if len(forged) < FOOTER_SIZE:
        return data
    blocks = told_blocks(data)
    begin = len(forged) - tail_size(blocks)
    if blocks < 1 or begin < 0:
        return data
    at = begin + index_size(blocks)
    offset = 0
    for number in range(blocks):
        (length,) = struct.unpack_from("<I", forged, at + 8 + 8 * number)
        frame = forged[offset : min(offset + length, begin)]
        _put(forged, begin + 8 + 20 * number + 16, zlib.crc32(frame))
        offset += length
    _put(forged, at - 4, zlib.crc32(forged[at:], zlib.crc32(forged[begin + 8 : at - 4])))
    return bytes(forged)


def unpacked_size(data: bytes) -> int:
    """Return the bytes of an archive's segment if its index is valid, else 0."""
    try:
        size = read_index(data, len(data)).offsets[-1]
    except InvalidBytesError:
        return 0
    return size if size <= _MOST else 0


def bomb(blocks: int, first: bytes = b"", *, told: int | None = None) -> bytes:
    """Return a frame of `blocks` blocks of 128 KiB zeros, each of four bytes, behind `first`.

    `told` is the size that the frame claims, `None` for none at all.
    """
    head = struct.pack("<IBB", 0xFD2FB528, 0, 0x70)  # no size, a window of 16 MiB
    if told is not None:
        head = struct.pack("<IBBQ", 0xFD2FB528, 0xC0, 0x70, told)
    content = b""
    if first:
        content += (len(first) << 3).to_bytes(3, "little") + first
    for number in range(blocks):
        last = number == blocks - 1
        content += (1 << 17 << 3 | 1 << 1 | last).to_bytes(3, "little") + b"\0"
    return head + content


def _put(data: bytearray, offset: int, value: int) -> None:
    struct.pack_into("<I", data, offset, value & 0xFFFFFFFF)
