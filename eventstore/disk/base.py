"""The only way to files: the :class:`Disk` protocol, and :class:`LocalDisk`, which is the real one.

A disk is one store directory. Names are relative to it, at most one folder deep (``log/spare``).
Every call is synchronous and may block, so none is made on the event loop's thread; a disk whose
calls never block (a simulated one) says so with ``blocking = False`` and is called inline.

What callers may rely on, and what a simulated disk has to model:

* ``write`` may write fewer bytes than asked for, and says how many; ``read`` returns fewer only at
  the end of the file. Failures are ``OSError``.
* What ``write``, ``truncate`` and ``size`` changes survive a power cut is known only after ``sync``
  of that file; what names survive, only after ``sync_folder`` of that folder.
* A failed ``sync`` says nothing about which bytes are on the platter, and a later one that succeeds
  says nothing about them either. Nobody calls it again.
* ``rename`` replaces its target atomically.
* Calls may be made by several threads at once, whatever they are about.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import Protocol

from eventstore.errors import read_error

__all__ = [
    "Disk",
    "File",
    "SyncFailedError",
    "open_to_read",
    "read_whole",
    "sync",
    "sync_folder",
    "write_atomically",
    "write_fully",
]


Bytes = bytes | bytearray | memoryview


class File(Protocol):
    """An open file."""

    name: str

    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: Bytes) -> int: ...
    def sync(self) -> None: ...
    def truncate(self, size: int) -> None: ...
    def size(self) -> int: ...
    def close(self) -> None: ...


class Disk(Protocol):
    """One store directory."""

    path: str
    blocking: bool

    def lock(self) -> None:
        """Own the store until ``close``. Raises ``StoreLockedError`` at once if another does."""

    def create(self, name: str) -> File:
        """A new file for reading and writing; ``FileExistsError`` if the name is taken."""

    def open(self, name: str, *, writable: bool = False) -> File:
        """An existing file; ``FileNotFoundError`` if there is none."""

    def list(self, folder: str = "") -> list[str]:
        """The sorted names in a folder, without its path; none if the folder does not exist."""

    def make_folder(self, folder: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def sync_folder(self, folder: str = "") -> None: ...

    def entropy(self, length: int) -> bytes:
        """Random bytes, for salts and identities."""

    def close(self) -> None:
        """Give up the lock and the directory; files that are open stay usable."""


_ATTEMPTS = 100  # more than signals call for: a call that is interrupted every time has failed


def write_fully(file: File, offset: int, data: Bytes) -> None:
    """Write all of ``data``: short writes are finished, interruptions are invisible."""
    view = memoryview(data)
    interrupted = 0
    while view:
        try:
            written = file.write(offset, view)
        except InterruptedError:
            interrupted += 1
            if interrupted == _ATTEMPTS:
                raise
            continue
        if written <= 0:
            raise OSError(errno.EIO, "the disk accepted no bytes")
        offset += written
        view = view[written:]
        interrupted = 0


class SyncFailedError(OSError):
    """A sync failed, whatever its errno: what is on stable storage is unknown from here on."""


def sync(file: File) -> None:
    """Put a file on stable storage. Raises :class:`SyncFailedError`, after which nobody retries."""
    _synced(file.sync)


def sync_folder(disk: Disk, folder: str = "") -> None:
    """Put a folder's names on stable storage. Raises :class:`SyncFailedError`."""
    _synced(disk.sync_folder, folder)


def _synced(call: Callable[..., None], *args: str) -> None:
    for _ in range(_ATTEMPTS):
        try:
            return call(*args)
        except InterruptedError:
            continue
        except OSError as error:
            raise SyncFailedError(error.errno, f"sync failed: {error.strerror}") from error
    raise SyncFailedError(errno.EINTR, "sync failed: interrupted every time")


def write_atomically(disk: Disk, name: str, temporary: str, data: bytes) -> None:
    """Make ``name`` hold ``data``, or leave it as it was: write aside, sync, rename, sync."""
    with contextlib.suppress(FileNotFoundError):
        disk.remove(temporary)
    file = disk.create(temporary)
    try:
        write_fully(file, 0, data)
        sync(file)
    finally:
        file.close()
    disk.rename(temporary, name)
    sync_folder(disk, name.rpartition("/")[0])


@contextlib.contextmanager
def open_to_read(disk: Disk, name: str) -> Iterator[File]:
    """A file to read from.

    Raises ``FileNotFoundError``, :class:`ReadFailedError` and :class:`StoreAccessError`.
    """
    try:
        file = disk.open(name)
        try:
            yield file
        finally:
            file.close()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise read_error(error, f"{disk.path}/{name}", 0) from error


def read_whole(disk: Disk, name: str, limit: int | None = None) -> bytes:
    """The file's bytes (its first ``limit``). Raises what :func:`open_to_read` raises."""
    with open_to_read(disk, name) as file:
        return file.read(0, file.size() if limit is None else limit)
