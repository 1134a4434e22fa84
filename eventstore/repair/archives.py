"""Damaged archives: the flipped bit found, and an archive built from records."""

from __future__ import annotations

import zlib

from eventstore.log.archive import TRAILER_SIZE, archive_trailer
from eventstore.log.flipped_bits import Flip, find_flip

__all__ = ["mend_archive"]


def mend_archive(content: bytes) -> tuple[Flip, ...] | None:
    """Find the bit whose turning makes the checksum of an archive right, `None` without one.

    The caller decompresses the mended archive. The checksum in the Zstandard frame, and the
    checksums of the records within, are witnesses of another kind.
    """
    at = len(content) - TRAILER_SIZE
    if at <= 0:
        return None
    compressed, stored = content[:at], content[at:]
    right = archive_trailer(compressed)
    wrong = int.from_bytes(right, "little") ^ int.from_bytes(stored, "little")
    if wrong.bit_count() == 1:  # the damage is in the trailer
        bit = wrong.bit_length() - 1
        return (Flip(at + bit // 8, bit % 8),)
    if right[:-4] != stored[:-4]:
        return None
    flip = find_flip(at, zlib.crc32(compressed) ^ int.from_bytes(stored[-4:], "little"))
    return None if flip is None else (flip,)
