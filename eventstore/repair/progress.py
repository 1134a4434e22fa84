"""The progress of a diagnosis or a repair: a function to be told, a disk that tells of reading."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from eventstore.disk.base import Disk, open_to_read
from eventstore.disk.layout import ARCHIVE_FOLDER, LOG_FOLDER, SNAPSHOT_FOLDER
from eventstore.errors import EventStoreError

__all__ = ["READING", "WRITING", "Advance", "ProgressDisk", "no_advance"]

Advance = Callable[[str, int, int | None], None]
"""Is told the task, how much of the task is done, and how much there is, `None` if unknown.

Events are counted, but kilobytes for the task `READING`, and files for `WRITING`.
"""

READING, WRITING = "reading", "writing"
_FOLDERS = (LOG_FOLDER, ARCHIVE_FOLDER, SNAPSHOT_FOLDER)


def no_advance(task: str, done: int, total: int | None) -> None:
    """Tell nobody."""


class ProgressDisk:
    """A view of a disk that tells how much of the store's files was read.

    `folders` are those to be read, and `passes` says how many times.
    """

    def __init__(
        self, disk: Any, advance: Advance, *, folders: Sequence[str] = _FOLDERS, passes: int = 1
    ) -> None:
        self._disk = disk
        self._advance = advance
        self._read = 0
        self._total = passes * sum(_size(disk, name) for name in _names(disk, folders))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def open(self, name: str, *, writable: bool = False) -> Any:
        return _ProgressFile(self._disk.open(name, writable=writable), self._add)

    def _add(self, count: int) -> None:
        self._read += count
        total = max(self._total, self._read)  # a file may be read twice
        self._advance(READING, self._read // 1000, total // 1000)


class _ProgressFile:
    """A file of a `ProgressDisk`."""

    def __init__(self, file: Any, add: Callable[[int], None]) -> None:
        self._file = file
        self._add = add

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, offset: int, length: int) -> bytes:
        data: bytes = self._file.read(offset, length)
        self._add(len(data))
        return data


def _names(disk: Disk, folders: Sequence[str]) -> list[str]:
    return [f"{folder}/{base}" for folder in folders for base in disk.list(folder)]


def _size(disk: Disk, name: str) -> int:
    """Return the size of a file, 0 of a file that the diagnosis has to tell of."""
    with contextlib.suppress(EventStoreError, FileNotFoundError), open_to_read(disk, name) as file:
        return file.size()
    return 0
