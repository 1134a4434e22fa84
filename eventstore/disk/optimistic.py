"""Looking at a store beside its writer, without its lock: damage told from work that goes on.

Theory of operation
-------------------
While a reader looks, the writer may begin a segment, move one to the archive, or retire a snapshot:
a file that was just listed is gone, or the last segment says that another follows which was not
listed yet. Every such step makes, renames or removes a file. So when a look ends badly although all
names stayed what they were, it was not for that reason.

A record that is being written, at that instant, changes no name. It is on the disk a moment later,
so one undisturbed look that ends badly is not believed either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from eventstore.disk.base import Disk
from eventstore.disk.listing import Listing
from eventstore.errors import (
    CorruptLogError,
    CorruptSnapshotError,
    ReadFailedError,
    SnapshotMismatchError,
)

__all__ = ["attempts_beside_writer", "read_beside_writer"]

T = TypeVar("T")

_EXPLAINED = (
    CorruptLogError,
    CorruptSnapshotError,
    SnapshotMismatchError,
    ReadFailedError,
    FileNotFoundError,
)
_BELIEVED = 2
_MOST = 20


def attempts_beside_writer(disk: Disk, most: int = _MOST) -> Iterator[Listing]:
    """A turn for each look that may end badly because of the writer; leave when one ends well.

    They end when two were undisturbed, or after ``most``: the next look is to be believed.
    """
    undisturbed = 0
    listing = Listing.read(disk)
    for _ in range(most):
        yield listing
        before, listing = listing, Listing.read(disk)
        undisturbed += listing == before
        if undisturbed == _BELIEVED:
            return


def read_beside_writer(disk: Disk, look: Callable[[Listing], T]) -> T:
    """What ``look`` returns. What it raises is raised when no writer explains it."""
    for listing in attempts_beside_writer(disk):
        with contextlib.suppress(*_EXPLAINED):
            return look(listing)
    return look(Listing.read(disk))
