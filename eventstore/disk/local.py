"""The real disk: a directory of a local file system, and the lock on the directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from eventstore.arguments import checked_flag, checked_path
from eventstore.disk.after_fork import register_for_fork
from eventstore.disk.layout import WRITER_PID
from eventstore.disk.local_file import LocalFile, ensure_leads_to, fsync_folder
from eventstore.disk.owner_note import read_owner
from eventstore.disk.processes import standing_of, this_process
from eventstore.errors import StoreAccessError, StoreFullError, StoreLockedError, StoreNotFoundError
from eventstore.lock_owner import Standing, refusal_text
from eventstore.os_errors import NO_ACCESS, SHORTAGE, GoneError, errno_name, read_error

__all__ = ["LocalDisk", "LocalFile"]


class LocalDisk:
    """A directory of a local file system.

    Every file and folder is opened relative to the directory's descriptor and without following
    symbolic links. New files are 0600 and new folders 0700. A writer is refused a directory that
    others may write to, or that belongs to somebody else, because anybody could replace its files.

    The lock is `flock` on the directory's descriptor. `lockf` was rejected for two reasons: a
    second `lockf` in the same process succeeds, and any unrelated `close` of the same file
    drops the lock. A forked child closes its copy of the descriptor at once, so the lock never
    outlives the owner. `writer.pid` only tells whom to ask.

    Args:
        path: The directory.
        create: Make the directory and its parents, if missing.
        read_only: Refuse to lock, and accept a directory of any owner.

    Raises:
        StoreNotFoundError: There is no directory, and `create` is false.
        StoreAccessError: The directory may not be used, or could not be made.
        StoreFullError: There is no space to make the directory.
    """

    blocking = True

    def __init__(
        self, path: str | os.PathLike[str], *, create: bool = False, read_only: bool = False
    ) -> None:
        self._folders: dict[str, int] = {}
        self._hints: dict[str, int] = {}
        self.path: str = checked_path(path)
        checked_flag("create", create)
        self._read_only = checked_flag("read_only", read_only)
        self._locked = False
        self._root = self.path
        if not read_only:  # before there is a descriptor: a child's copy would share the lock
            register_for_fork(self)
        if create and not read_only:
            self._make_missing(Path(self.path))
        try:
            if not os.path.isabs(self.path):
                # Not `abspath`, which is wrong about a symbolic link before `..`.
                self._root = f"{os.getcwd()}/{self.path}"
            # With a slash at the end, the kernel follows a symbolic link in spite of O_NOFOLLOW.
            self._folders[""] = self._open_folder(self.path.rstrip("/") or self.path, None)
        except FileNotFoundError:
            raise StoreNotFoundError(f"there is no store at {self.path}", path=self.path) from None
        except OSError as error:
            raise read_error(error, self.path, what=_kind_in_the_way(self.path)) from error

    def __repr__(self) -> str:
        state = "closed" if not self._folders else "locked" if self._locked else "not locked"
        return f"<LocalDisk {self.path!r} {'read-only ' if self._read_only else ''}{state}>"

    def _make_missing(self, path: Path) -> None:
        missing = [path, *path.parents]
        missing = missing[: next((i for i, p in enumerate(missing) if os.path.lexists(p)), 0)]
        try:
            for folder in reversed(missing):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o700)
        except OSError as error:
            kind = StoreFullError if error.errno in SHORTAGE else StoreAccessError
            found = _kind_in_the_way(str(path))
            reason = f"{found} ({errno_name(error)})" if found else error.strerror
            raise kind(
                f"the store's directory {path} cannot be made: {reason}",
                path=str(path),
                errno=error.errno,
            ) from error

    def _locate(self, name: str) -> tuple[str, int]:
        """Return the base name of `name`, and the descriptor of the folder."""
        folder, _, base = name.rpartition("/")
        return base, self._folder_fd(folder)

    def _folder_fd(self, folder: str) -> int:
        """Return the descriptor of a folder, opened once."""
        if not self._folders:
            raise OSError(errno.EBADF, "the disk is closed")
        fd = self._folders.get(folder)
        if fd is None:
            opened = self._open_folder(folder, self._folders[""])
            fd = self._folders.setdefault(folder, opened)
            if fd != opened:  # another thread was faster
                os.close(opened)
        return fd

    def _open_folder(self, name: str, within: int | None) -> int:
        try:
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=within)
        except OSError as error:
            if within is None or error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            found = _kind(os.lstat(name, dir_fd=within).st_mode)
            raise OSError(error.errno, f"it is {found}, not a directory", name) from error
        try:
            if not self._read_only:
                _check_owner(fd, self.path if within is None else f"{self.path}/{name}")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def lock(self) -> None:
        if self._read_only:
            raise StoreAccessError(f"{self.path} was opened read-only", path=self.path)
        root = self._folder_fd("")
        try:
            fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = read_owner(self)
            standing = Standing.UNKNOWN if owner is None else standing_of(owner)
            raise StoreLockedError(
                refusal_text(self.path, owner, standing), path=self.path, owner=owner
            ) from None
        except OSError as error:
            raise StoreAccessError(
                f"{self.path} cannot be locked ({errno_name(error)}): a store needs a local file "
                "system with `flock` for directories, which NFS, SMB and some others are not",
                path=self.path,
                errno=error.errno,
            ) from error
        self._locked = True
        try:
            self._write_owner_note()
        except OSError as error:
            if error.errno in NO_ACCESS:
                self.close()
                raise read_error(error, self.path) from error
            # Any other error, such as a full disk, only costs the hint. The lock does not need the
            # hint.

    def _write_owner_note(self) -> None:
        """Write who owns the lock into a file of this store alone."""
        fd = self._open_own_file(WRITER_PID)
        try:
            os.ftruncate(fd, 0)
            os.write(fd, this_process().encode())
        finally:
            os.close(fd)

    def _open_own_file(self, name: str) -> int:
        """Open or make a file of this store alone, to be written in place.

        A file of another kind, or with a second name elsewhere, is replaced and not written to.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        root = self._folder_fd("")
        fd = os.open(name, flags, 0o600, dir_fd=root)
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
                return fd
            os.unlink(name, dir_fd=root)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return os.open(name, flags | os.O_EXCL, 0o600, dir_fd=root)

    def create(self, name: str) -> LocalFile:
        base, folder = self._locate(name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _naming_file(name):
            return LocalFile(os.open(base, flags, 0o600, dir_fd=folder), name, self._root)

    def open(self, name: str, *, writable: bool = False) -> LocalFile:
        base, folder = self._locate(name)
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
        with _naming_file(name):
            fd = os.open(base, flags | os.O_NONBLOCK, dir_fd=folder)
            file = LocalFile(fd, name, self._root)
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                file.close()
                raise OSError(errno.ELOOP, f"it is {_kind(mode)}, not a regular file")
        return file

    def list(self, folder: str = "") -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(".", _FOLDER_FLAGS, dir_fd=self._folder_fd(folder))
            # A descriptor of this call alone: the position in the list of names belongs to the
            # descriptor.
            try:
                return sorted(os.listdir(fd))
            finally:
                os.close(fd)
        return []

    def make_folder(self, folder: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700, dir_fd=self._folder_fd(""))
        self._folder_fd(folder)

    def rename(self, old: str, new: str) -> None:
        old_base, old_folder = self._locate(old)
        new_base, new_folder = self._locate(new)
        os.rename(old_base, new_base, src_dir_fd=old_folder, dst_dir_fd=new_folder)

    def remove(self, name: str) -> None:
        base, folder = self._locate(name)
        os.unlink(base, dir_fd=folder)

    def sync_folder(self, folder: str = "") -> None:
        fsync_folder(self._folder_fd(folder))

    def sync_path(self) -> None:
        """Sync the parents, up to the root of the file system that holds the directory.

        A parent that this process has synced before, and whose names are the same since, is passed
        over. A parent may forbid to be listed, or be of a file system that syncs no folders. Then
        everything is synced, of all file systems.
        """
        below = os.fstat(self._folder_fd(""))
        folder = -1
        try:
            folder = os.open("..", _FOLDER_FLAGS, dir_fd=self._folder_fd(""))
            while (here := os.fstat(folder)).st_dev == below.st_dev and here.st_ino != below.st_ino:
                place, asked = (here.st_dev, here.st_ino), time.time_ns()
                if _SYNCED.get(place) != here.st_ctime_ns:
                    fsync_folder(folder)
                    if abs(asked - here.st_ctime_ns) > _CLEARLY:
                        _SYNCED[place] = here.st_ctime_ns
                below, parent = here, os.open("..", _FOLDER_FLAGS, dir_fd=folder)
                os.close(folder)
                folder = parent
        except OSError as error:
            if error.errno not in _UNSYNCABLE:
                raise
            os.sync()
        finally:
            if folder >= 0:
                os.close(folder)

    def ensure_in_place(self, name: str = "") -> None:
        ensure_leads_to(self._root, self._folder_fd(""))
        if name:
            base, folder = self._locate(name)
            try:
                os.stat(base, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                raise GoneError(f"{name} was removed") from None

    def free_bytes(self) -> int | None:
        found = os.fstatvfs(self._folder_fd(""))
        return found.f_bavail * found.f_frsize

    def overwrite(self, name: str, data: bytes) -> None:
        fd = self._hints.get(name)
        if fd is None:
            fd = self._hints[name] = self._open_own_file(name)
        os.pwrite(fd, data, 0)

    def entropy(self, length: int) -> bytes:
        return os.urandom(length)

    def close(self) -> None:
        """Close the directory's descriptor, which frees the lock."""
        if self._locked and self._folders:
            with contextlib.suppress(OSError):
                os.unlink(WRITER_PID, dir_fd=self._folders[""])
        self._release()

    def forked(self) -> None:
        """Close, in a forked child, the descriptors that hold the parent's lock."""
        self._release()

    def _release(self) -> None:
        self._locked = False
        opened = [*self._folders.values(), *self._hints.values()]
        self._folders, self._hints = {}, {}
        for fd in opened:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        self._release()


def _check_owner(fd: int, path: str) -> None:
    """Refuse a folder closed to the writer, or open to other writers."""
    status, user = os.fstat(fd), os.geteuid()
    mode = f"(mode {stat.S_IMODE(status.st_mode):04o})"
    code = None
    if status.st_uid != user:
        problem = f"belongs to user {status.st_uid}, not to {user}: run as the owner, or change it"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = f"can be written by others {mode}: chmod go-w it, and check who has been there"
    elif not status.st_mode & stat.S_IWUSR and user != 0:
        problem = f"may not be written to {mode}: chmod u+w it, or open this store read-only"
        code = errno.EACCES
    else:
        return
    raise StoreAccessError(f"{path} {problem}", path=path, errno=code)


_KINDS = {
    stat.S_IFREG: "a plain file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


def _kind_in_the_way(path: str) -> str | None:
    """Name the kind of file at a path, or at a part of the path, in place of a directory."""
    for part in reversed([Path(path), *Path(path).parents]):
        whole = part == Path(path)
        with contextlib.suppress(OSError):
            mode = (os.lstat if whole else os.stat)(part).st_mode
            if not stat.S_ISDIR(mode):
                remedy = "give another path"
                if stat.S_ISLNK(mode):
                    remedy = "symbolic links are not followed, so give the directory itself"
                return f"{part} is {_kind(mode)}, and a store is a directory: {remedy}"
    return None


@contextlib.contextmanager
def _naming_file(name: str) -> Iterator[None]:
    """Make an `OSError` name the file with its folder."""
    try:
        yield
    except OSError as error:
        error.filename = name
        raise


_SYNCED: dict[tuple[int, int], int] = {}
"""The time of the last change of each parent when it was synced, by device and inode.

A change in the same tick of the kernel's clock would have the same time. So a parent that has
changed a moment ago is not noted.
"""
_CLEARLY = 1_000_000_000
_UNSYNCABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS}
)
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
