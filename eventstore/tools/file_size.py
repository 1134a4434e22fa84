"""The size of a file of a store, or of a folder with everything in the folder."""

from __future__ import annotations

import contextlib

from eventstore.disk.base import Disk, open_to_read
from eventstore.errors import EventStoreError

__all__ = ["size_of"]


def size_of(disk: Disk, name: str) -> int:
    """Return the bytes of a file, or of all files in a folder. 0 of anything that cannot be read.

    Raises `FileNotFoundError` for a file that is gone.
    """
    try:
        with open_to_read(disk, name) as file:
            return file.size()
    except EventStoreError:  # perhaps a folder, such as the one of a repair in `quarantine`
        with contextlib.suppress(EventStoreError, OSError):
            return sum(size_of(disk, f"{name}/{base}") for base in disk.list(name))
    return 0
