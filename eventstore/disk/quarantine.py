"""The quarantine folder: bytes that the store set aside. The store deletes none of them."""

from __future__ import annotations

from eventstore.disk.base import Disk, read_whole, sync_folder, write_atomically
from eventstore.disk.layout import QUARANTINE_FOLDER, QUARANTINE_TEMPORARY

__all__ = ["quarantine"]


def quarantine(disk: Disk, base: str, content: bytes) -> str:
    """Write `content` to a file of the quarantine folder, durably, and return the file's name.

    The file is called `base`. A number is added where other bytes have the name. A file with the
    same bytes, from an earlier attempt, is written again under the same name.

    Raises `OSError`, which the caller translates.
    """
    disk.make_folder(QUARANTINE_FOLDER)
    sync_folder(disk)
    taken = disk.list(QUARANTINE_FOLDER)
    number = 0
    while (candidate := f"{base}-{number}" if number else base) in taken:
        if read_whole(disk, f"{QUARANTINE_FOLDER}/{candidate}") == content:
            break
        number += 1
    target = f"{QUARANTINE_FOLDER}/{candidate}"
    write_atomically(disk, target, QUARANTINE_TEMPORARY, content)
    return target
