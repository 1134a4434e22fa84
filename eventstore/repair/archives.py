"""Damaged archives: the flipped bits found by the checksums of blocks and index."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

from eventstore.log.archive_format import (
    FOOTER_SIZE,
    ArchiveIndex,
    index_size,
    read_index,
    tail_size,
    told_blocks,
)
from eventstore.log.flipped_bits import Flip, checked_flip, find_flip, flipped
from eventstore.log.format import InvalidBytesError

__all__ = ["mend_archive"]


def mend_archive(content: bytes) -> tuple[Flip, ...] | None:
    """Find the bits whose turning makes every checksum of an archive right, `None` without them.

    At most one bit of each block and one of the index are turned. The caller decompresses the
    mended archive. The checksum in each Zstandard frame, and the checksums of the records within,
    are witnesses of another kind.
    """
    found = _mended_index(content)
    if found is None:
        return None
    index, flips = found
    for number, checksum in enumerate(index.checksums):
        begin, end = index.frames[number], index.frames[number + 1]
        syndrome = zlib.crc32(memoryview(content)[begin:end]) ^ checksum
        if syndrome:
            flip = find_flip(end - begin, syndrome)
            if flip is None:
                return None
            flips += (Flip(begin + flip.offset, flip.bit),)
    return flips or None


def _mended_index(content: bytes) -> tuple[ArchiveIndex, tuple[Flip, ...]] | None:
    """Read the index, with one bit of index and seek table turned if need be."""
    for flips in _candidates(content):
        with contextlib.suppress(InvalidBytesError):
            return read_index(flipped(content, flips), len(content)), flips
    return None


def _candidates(content: bytes) -> Iterator[tuple[Flip, ...]]:
    """Yield the bits that may be wrong in index and seek table, beginning with none.

    The checksum finds a bit that it covers. It finds none where the length of the index is in
    doubt, and none in the first constants. Each bit there is tried.
    """
    yield ()
    size = len(content)
    if size < FOOTER_SIZE:
        return
    blocks = told_blocks(content)
    begin, crc_at = size - tail_size(blocks), index_size(blocks) - 4
    if begin > 0:
        tail = content[begin:]
        checked = tail[8:crc_at] + tail[crc_at + 4 :]
        flip = checked_flip(checked, tail[crc_at : crc_at + 4], 0)
        if flip is not None:
            at = flip.offset + 8
            if flip.offset >= len(checked):
                at = flip.offset - len(checked) + crc_at
            elif at >= crc_at:
                at += 4
            yield (Flip(begin + at, flip.bit),)
    for at in (*range(begin, begin + 8), *range(size - FOOTER_SIZE, size)):
        if at >= 0:
            yield from ((Flip(at, bit),) for bit in range(8))
