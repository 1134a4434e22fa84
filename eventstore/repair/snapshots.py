"""The flipped bit of a damaged snapshot. The digest of the whole file confirms the bit."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from eventstore.log.flipped_bits import Flip, checked_flip, find_flip, flipped
from eventstore.snapshot.format import HEADER_SIZE, InvalidSnapshotError, parse

__all__ = ["mend_snapshot"]

_CRC_SIZE = 4
_FOOTER_SIZE = 96
_SLICE = struct.Struct("<II")  # length, CRC started from the slice's number


def mend_snapshot(data: bytes) -> tuple[Flip, ...] | None:
    """Find the bit that makes a snapshot valid, `None` where no bit does."""
    if len(data) < HEADER_SIZE + _FOOTER_SIZE:
        return None
    for flip in _candidates(data):
        try:
            _, _, _, slices = parse(flipped(data, (flip,)))
            for _ in slices:
                pass
        except InvalidSnapshotError:
            continue
        return (flip,)
    return None


def _candidates(data: bytes) -> Iterator[Flip]:
    """Yield a bit for each part of the file whose checksum is wrong."""
    end = len(data) - _FOOTER_SIZE
    for start, stop in ((0, HEADER_SIZE), (end, len(data))):
        checked, stored = data[start : stop - _CRC_SIZE], data[stop - _CRC_SIZE : stop]
        if zlib.crc32(checked) != int.from_bytes(stored, "little"):
            flip = checked_flip(checked, stored, 0)
            if flip is not None:
                yield Flip(start + flip.offset, flip.bit)
    offset, number = HEADER_SIZE, 0
    while offset + _SLICE.size <= end:
        length, crc = _SLICE.unpack_from(data, offset)
        content = data[offset + _SLICE.size : min(end, offset + _SLICE.size + length)]
        syndrome = zlib.crc32(content, number) ^ crc
        if syndrome or len(content) < length:
            yield from _in_slice(offset, content, syndrome)
            return
        offset, number = offset + _SLICE.size + length, number + 1


def _in_slice(offset: int, content: bytes, syndrome: int) -> Iterator[Flip]:
    """Yield the bits that may be wrong in a slice: of the content, the checksum, the length."""
    flip = find_flip(len(content), syndrome)
    if flip is not None:
        yield Flip(offset + _SLICE.size + flip.offset, flip.bit)
    for bit in range(8 * _SLICE.size):
        yield Flip(offset + bit // 8, bit % 8)
