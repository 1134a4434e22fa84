"""The note beside the lock, read by anybody who wants to know who owns a store."""

from __future__ import annotations

from eventstore.disk.base import Disk
from eventstore.disk.layout import WRITER_PID
from eventstore.lock_owner import LockOwner

__all__ = ["read_owner"]

_SIZE = 4096  # bytes


def read_owner(disk: Disk) -> LockOwner | None:
    """Return the owner that `writer.pid` names, `None` where there is no note to be read.

    A writer that closed its store removed the note.
    """
    try:
        file = disk.open(WRITER_PID)
    except OSError:
        return None
    try:
        return LockOwner.decode(file.read(0, _SIZE))
    except OSError:
        return None
    finally:
        file.close()
