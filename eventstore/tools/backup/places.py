"""Places where a backup's objects are kept: the protocol, and a directory.

An object has a name with slashes, and is written once. No object is ever overwritten, so a writer
that should not be there any more cannot destroy the copies of another.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from eventstore.arguments import argument_error
from eventstore.errors import StoreNotFoundError
from eventstore.os_errors import read_error, write_error

__all__ = [
    "Advance",
    "DirectoryPlace",
    "Place",
    "TaskAdvance",
    "checked_place",
    "no_advance",
    "no_task_advance",
]

Advance = Callable[[int, int | None], None]
"""A function that is told how much is done, and how much there is."""

TaskAdvance = Callable[[str, int, int | None], None]
"""The same for several tasks in turn, each with a name. Kilobytes are counted, or events."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class Place(Protocol):
    """A place for objects. Failures are errors of `eventstore.errors`."""

    name: str
    """The place's name in messages."""

    def list(self, prefix: str) -> dict[str, int]:
        """Return the names under `prefix`, each with the size in bytes."""

    def get(self, name: str) -> bytes:
        """Return an object. Raises `FileNotFoundError` where there is none."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object durably. Return `False` where the name is taken, and change nothing."""

    def remove(self, name: str) -> None:
        """Remove an object, if there is one."""


def checked_place(place: Any) -> Place:
    """Return a place. Raises `ConfigError` for any other object, such as the place's name."""
    if isinstance(place, type) or not callable(getattr(place, "put_new", None)):
        raise argument_error("place", place, "expected a place: open_place(name) gives one")
    found: Place = place
    return found


def no_advance(done: int, total: int | None) -> None:
    """Tell nobody."""


def no_task_advance(task: str, done: int, total: int | None) -> None:
    """Tell nobody."""


class DirectoryPlace:
    """A directory of a file system. Every object is a file. `name` is for messages."""

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self._root = Path(path)
        self.name = str(path) if name is None else name

    def __repr__(self) -> str:
        return f"<DirectoryPlace {self.name!r}>"

    def list(self, prefix: str) -> dict[str, int]:
        root = self._root
        try:
            if not root.exists():
                return {}
            if not root.is_dir():
                raise StoreNotFoundError(
                    f"{self.name} is no directory, and so no backup", path=self.name, what="backup"
                )
            files = [
                path
                for path in (root / prefix).rglob("*")
                if path.is_file() and not path.name.startswith(".")
            ]
            return {str(path.relative_to(root)): path.stat().st_size for path in files}
        except OSError as error:
            raise read_error(error, str(error.filename or self.name)) from error

    def get(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise read_error(error, f"{self.name}/{name}") from error

    def put_new(self, name: str, data: bytes) -> bool:
        path = self._root / name
        try:
            self._make_folders(path.parent)
            return self._put(path, data)
        except OSError as error:
            raise write_error(error, str(path)) from error

    def _put(self, path: Path, data: bytes) -> bool:
        """Write aside, sync, and link: a link fails where the name is taken."""
        aside = path.parent / f".{path.name[:64]}.{secrets.token_hex(4)}.tmp"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if not _link(aside, path):
                return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(aside)
        sync_directory(path.parent)
        return True

    def _make_folders(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
            sync_directory(one.parent)

    def remove(self, name: str) -> None:
        path = self._root / name
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            folder = path.parent
            while folder != self._root and folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent
        except OSError as error:
            raise write_error(error, str(path)) from error


def _link(aside: Path, path: Path) -> bool:
    """Give a file its name, unless the name is taken."""
    try:
        os.link(aside, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:  # some file systems know no second name
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        aside.rename(path)
    return True


def sync_directory(folder: Path) -> None:
    """Put the names in a folder on stable storage."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
