"""The only way to files: the `Disk` protocol, which `LocalDisk` implements on real files.

A disk is one store directory. Names are relative to the directory, at most one folder deep
(`log/spare`). Every call is synchronous and may block, so no call is made on the event loop's
thread. A disk whose calls never block (a simulated one) says so with `blocking = False`. The
calls of such a disk are made inline.

Guarantees to callers, and duties of a simulated disk:

* `write` may write fewer bytes than asked for, and returns their number. `read` returns fewer
  bytes only at the end of the file. Failures are `OSError`.
* `write`, `truncate` and a changed size survive a power cut for certain only after `sync` of
  the file. Names survive for certain only after `sync_folder` of the folder.
* After a failed `sync`, nobody knows which bytes are on the platter. A later successful `sync`
  proves nothing about those bytes either. The library never calls `sync` again.
* `rename` replaces its target atomically.
* An open file or directory is not what its path names: somebody may remove, rename or replace it.
  `ensure_in_place` looks. The look changes nothing, and a look that fails for another reason is
  no verdict.
* Several threads may make calls at once, on the same file or folder too.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeGuard

from eventstore.arguments import argument_error, checked_flag, checked_path
from eventstore.os_errors import SyncFailedError, read_error

__all__ = [
    "Disk",
    "File",
    "check_location",
    "open_to_read",
    "read_whole",
    "sync",
    "sync_folder",
    "sync_path",
    "write_atomically",
    "write_fully",
]


Bytes = bytes | bytearray | memoryview


class File(Protocol):
    """An open file."""

    name: str
    """Name relative to the store's directory."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end of the file."""

    def write(self, offset: int, data: Bytes) -> int:
        """Write bytes of `data` at `offset` and return their number, possibly fewer."""

    def sync(self) -> None:
        """Put the file's bytes and size on stable storage."""

    def truncate(self, size: int) -> None:
        """Cut or extend the file to `size` bytes."""

    def size(self) -> int:
        """Return the size in bytes."""

    def links(self) -> int:
        """Return the number of names that the file has, 0 for a file that was removed."""

    def ensure_in_place(self, size: int = 0) -> None:
        """Raise `GoneError` unless the store's path and `name` lead to this very file.

        Raise `GoneError` for a file of fewer than `size` bytes, too.
        """

    def close(self) -> None:
        """Close the file, without a sync."""


class Disk(Protocol):
    """One store directory."""

    path: str
    """Path of the directory, for messages."""
    blocking: bool
    """Whether calls may block the thread."""

    def lock(self) -> None:
        """Own the store until `close`. Raises `StoreLockedError` at once if taken."""

    def create(self, name: str) -> File:
        """Create a file to read and write. Raises `FileExistsError` if the name is taken."""

    def open(self, name: str, *, writable: bool = False) -> File:
        """Open an existing file. Raises `FileNotFoundError` if there is none."""

    def list(self, folder: str = "") -> list[str]:
        """Return the sorted names in a folder, without its path. A missing folder has no names."""

    def make_folder(self, folder: str) -> None:
        """Make a folder of the store, unless the folder exists."""

    def rename(self, old: str, new: str) -> None:
        """Rename `old` to `new`, and replace a file of this name atomically."""

    def remove(self, name: str) -> None:
        """Remove a file. Raises `FileNotFoundError` if there is none."""

    def sync_folder(self, folder: str = "") -> None:
        """Put the names in a folder on stable storage."""

    def sync_path(self) -> None:
        """Put the name of the store's directory on stable storage, and those of its parents.

        Somebody else may have made the directories a moment ago, so an existing name is no proof.
        """

    def ensure_in_place(self, name: str = "") -> None:
        """Raise `GoneError` unless the store's path leads to this very directory.

        Raise `GoneError` for a directory without the file `name`, too.
        """

    def free_bytes(self) -> int | None:
        """Return the bytes that the store may still take, `None` where nobody knows."""

    def overwrite(self, name: str, data: bytes) -> None:
        """Make a small file at the top begin with `data`, in place and without a sync.

        The file is a hint: a power cut may take the file, or leave any earlier or torn bytes. A
        missing file is made. The call is cheap when repeated, because the file stays open until
        `close`. A file with a second name elsewhere is replaced. Raises `OSError`.
        """

    def entropy(self, length: int) -> bytes:
        """Return `length` random bytes, for salts and identities."""

    def close(self) -> None:
        """Give up the lock and the directory. Open files stay usable."""


def check_location(path: Any, disk: Any, read_only: Any = True) -> None:
    """Raise `ConfigError` where `disk` is no disk, or is `None` and `path` no path.

    `read_only` must be a bool.
    """
    checked_flag("read_only", read_only)
    if disk is None:
        checked_path(path)
    elif not is_disk(disk):
        raise argument_error("disk", disk, "expected a disk, such as a SimulatedDisk()")


def is_disk(value: Any) -> TypeGuard[Disk]:
    """Tell whether an argument is a disk, by one method that no path and no file has."""
    return not isinstance(value, type) and callable(getattr(value, "sync_folder", None))


_ATTEMPTS = 100  # more than signals call for: a call interrupted every time has failed


def write_fully(file: File, offset: int, data: Bytes) -> None:
    """Write all of `data`. Finish short writes, and repeat interrupted ones.

    Raises `OSError` where a write fails, or is interrupted every time.
    """
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


_SHORTEST = 1e-6


def sync(file: File) -> None:
    """Put a file on stable storage. Raises `SyncFailedError`, after which nobody may retry."""
    _sync_or_fail(file.sync)


def sync_folder(disk: Disk, folder: str = "") -> None:
    """Put a folder's names on stable storage. Raises `SyncFailedError`."""
    _sync_or_fail(disk.sync_folder, folder)


def sync_path(disk: Disk) -> None:
    """Put the names that lead to the store on stable storage. Raises `SyncFailedError`."""
    _sync_or_fail(disk.sync_path)


def _sync_or_fail(call: Callable[..., None], *args: str) -> None:
    for _ in range(_ATTEMPTS):
        try:
            return call(*args)
        except InterruptedError:
            continue
        except OSError as error:
            raise SyncFailedError(error.errno, f"sync failed: {error.strerror}") from error
    raise SyncFailedError(errno.EINTR, "sync failed: interrupted every time")


def give_way(disk: Disk) -> None:
    """Give the interpreter's lock to the event loop, from a thread that works in Python.

    Without that, the loop waits for the lock for a switch interval, five milliseconds. A sleep of
    no length would be over before the loop's thread is awake, so the thread sleeps for the shortest
    time there is, some 50 microseconds. A disk whose calls never block is used in the loop's own
    thread, and needs no sleep.
    """
    if disk.blocking:
        time.sleep(_SHORTEST)


def write_atomically(disk: Disk, name: str, temporary: str, data: bytes) -> None:
    """Make `name` hold `data`, or leave `name` as before.

    The bytes go to `temporary` and are synced. The rename follows, then a sync of the folder.
    """
    try:
        file = disk.create(temporary)
    except FileExistsError:  # of an earlier attempt
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
    """Open a file for reading, and close the file at the end of the block.

    Raises `FileNotFoundError`, `ReadFailedError` and `StoreAccessError`, also for errors
    inside the block.
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
    """Return the file's bytes, or the first `limit`. Raises the errors of `open_to_read`."""
    with open_to_read(disk, name) as file:
        return file.read(0, file.size() if limit is None else limit)
