"""An open file of the real disk, and the two questions about a descriptor: synced, and in place?"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from eventstore.disk.base import Bytes
from eventstore.os_errors import GoneError

__all__ = ["LocalFile", "ensure_leads_to", "fsync_folder"]

_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class LocalFile:
    """A file of a `LocalDisk`: `pread`, `pwrite` and `fdatasync` on a descriptor.

    `root` is the absolute path of the store's directory.
    """

    __slots__ = ("_fd", "_root", "name")

    def __init__(self, fd: int, name: str, root: str) -> None:
        self._fd = fd
        self._root = root
        self.name: str = name

    def __repr__(self) -> str:
        return f"<LocalFile {self.name!r}{' closed' if self._fd < 0 else ''}>"

    def read(self, offset: int, length: int) -> bytes:
        first = os.pread(self._fd, length, offset)
        if len(first) == length or not first:
            return first
        parts = [first]
        got = len(first)
        while got < length and (part := os.pread(self._fd, length - got, offset + got)):
            parts.append(part)
            got += len(part)
        return b"".join(parts)

    def write(self, offset: int, data: Bytes) -> int:
        return os.pwrite(self._fd, data, offset)

    def sync(self) -> None:
        if self._fd < 0:
            raise OSError(errno.EBADF, "the file is closed")
        _fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def links(self) -> int:
        return os.fstat(self._fd).st_nlink

    def ensure_in_place(self, size: int = 0) -> None:
        status = ensure_leads_to(f"{self._root}/{self.name}", self._fd)
        if status.st_size < size:
            raise GoneError(f"it was cut to {status.st_size} bytes")

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:  # for a run of keys, which readers may hold longer than the store
        with contextlib.suppress(OSError):
            self.close()


_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def _fdatasync(fd: int) -> None:
    if _FULL_SYNC is None:
        os.fdatasync(fd)
    else:  # macOS: fsync alone leaves the bytes in the drive's cache
        fcntl.fcntl(fd, _FULL_SYNC)


def fsync_folder(fd: int) -> None:
    (os.fsync if _FULL_SYNC is None else _fdatasync)(fd)


def ensure_leads_to(path: str, fd: int) -> os.stat_result:
    """Raise `GoneError` unless `path` leads to the file or directory open as `fd`.

    Returns the status of the file or directory.
    """
    here = os.fstat(fd)
    there = None
    try:
        there = os.lstat(path)
    except OSError as error:
        if error.errno not in _NOWHERE:
            return here  # this process may not look there (any more), which says nothing
    if there is not None and os.path.samestat(here, there):
        return here
    now = _present_path(fd)
    if not here.st_nlink or (now is not None and now.endswith(" (deleted)")):
        raise GoneError("it was removed")
    if now == os.path.realpath(path):
        raise GoneError("something else was mounted over it")
    where = "elsewhere" if now is None else f"at {now}"
    other = "" if there is None else ", and another one has its place"
    raise GoneError(f"it was moved and is {where} now{other}")


def _present_path(fd: int) -> str | None:
    """Return the path of an open file or directory as the kernel knows it now, if it tells."""
    with contextlib.suppress(OSError):
        if hasattr(fcntl, "F_GETPATH"):  # macOS
            return os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        return os.readlink(f"/proc/self/fd/{fd}")
    return None
