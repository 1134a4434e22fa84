"""Optimistic reading beside a writer, without the lock: damage told apart from a writer's work.

Theory of operation
-------------------
A *look* reads the store, starting from a listing of the directory. During a look, the writer may
begin a segment, move a segment to the archive, or remove a snapshot. Then a listed file is gone, or
a segment has a successor that is not in the listing. The look ends with an error.

Each of these steps of the writer creates, renames or removes a file. So the names are listed again
after a failed look. If the names changed, the writer may explain the error, and the look is
repeated with the new listing. If no name changed, the look was undisturbed, and those steps do not
explain the error.

A record that is being written changes no name either. The record is whole a moment later. So the
error of one undisturbed look is not believed, and two undisturbed looks are needed.
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

# What a writer may explain. A listing is older than the manifest read in the look: all listed
# snapshots may be gone, and the history before the newer ones discarded.
_ERRORS_A_WRITER_EXPLAINS = (
    CorruptLogError,
    CorruptSnapshotError,
    SnapshotMismatchError,
    ReadFailedError,
    FileNotFoundError,
)
_UNDISTURBED_LOOKS = 2
_MOST_LOOKS = 20


def attempts_beside_writer(disk: Disk, most: int = _MOST_LOOKS) -> Iterator[Listing]:
    """Yield a fresh listing for each look whose error a writer may explain.

    The caller leaves the loop after a look without an error. The loop ends after two undisturbed
    looks, or after `most` looks. The error of one more look is then to be believed.
    """
    undisturbed = 0
    listing = Listing.read(disk)
    for _ in range(most):
        yield listing
        before, listing = listing, Listing.read(disk)
        undisturbed += listing == before
        if undisturbed == _UNDISTURBED_LOOKS:
            return


def read_beside_writer(disk: Disk, look: Callable[[Listing], T]) -> T:
    """Repeat `look`, called with a listing, until no writer explains an error.

    Returns the result of the first look without an error. Raises the error of the last look. An
    error that no writer explains is raised at once.
    """
    for listing in attempts_beside_writer(disk):
        with contextlib.suppress(*_ERRORS_A_WRITER_EXPLAINS):
            return look(listing)
    return look(Listing.read(disk))
