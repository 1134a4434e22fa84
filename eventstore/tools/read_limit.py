"""The part of a log that `eventstore info` reads, so that it takes a moment at any size."""

from __future__ import annotations

import contextlib

from eventstore.disk.base import Disk, open_to_read
from eventstore.disk.layout import segment_name
from eventstore.disk.listing import Listing
from eventstore.errors import EventStoreError

__all__ = ["first_read"]

_READ_AT_MOST = 16 << 20
"""Bytes of the segments that are read. Header and length judge all older ones."""


def first_read(disk: Disk, listing: Listing) -> int:
    """Return the first event of the oldest segment to be read, 0 where every segment is read.

    The last segment is read whatever its size: only its bytes tell how the log ends.
    """
    left, read = _READ_AT_MOST, 0
    for first in reversed(listing.segments):
        with (
            contextlib.suppress(FileNotFoundError, EventStoreError),  # the survey tells of these
            open_to_read(disk, segment_name(first)) as file,
        ):
            left -= file.size()
        if left < 0:
            return read or first
        read = first
    return 0
