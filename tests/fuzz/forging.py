"""Checksums made right again: without right checksums, every change stops at the first check.

Each function takes a file with changes anywhere. The function returns the file with every checksum
as the format demands, as far as the lengths in the file lead. Damage beyond stays.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from typing import Any

import msgspec

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
]

_SKIPPED = 0x184D2A5E
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
    """A segment as an archive."""
    checked: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    return forged_archive(zstd.compress(segment, options=checked) + bytes(12))


def forged_archive(data: bytes) -> bytes:
    """Return an archive whose trailer has the right checksum."""
    frame = data[:-12]
    return frame + struct.pack("<III", _SKIPPED, 4, zlib.crc32(frame))


def unpacked_size(data: bytes) -> int:
    """Return the bytes of an archive's segment, if frame and segment agree on a size, else 0."""
    try:
        head = zstd.ZstdDecompressor().decompress(data[:-12], max_length=512)
        (size,) = struct.unpack_from("<Q", head, 32)
        said = zstd.get_frame_info(data).decompressed_size
    except (zstd.ZstdError, struct.error):
        return 0
    return int(size) if size == said and size <= _MOST else 0


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
