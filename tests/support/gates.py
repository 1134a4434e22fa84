"""Gates on a real disk, which hold a store up so that a test can look."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventstore.disk.base import Bytes, File
from eventstore.disk.local import LocalDisk

PATIENCE = 20.0  # seconds after which a waiting test has failed


class Gate:
    """A gate, at which every thread waits while the gate is shut."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._opened.set()
        self._reached = threading.Event()

    def shut(self) -> None:
        self._reached.clear()
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    def pass_through(self) -> None:
        if not self._opened.is_set():
            self._reached.set()
            if not self._opened.wait(PATIENCE):
                raise TimeoutError("nobody opened the gate")

    async def reached(self) -> None:
        """Wait until some thread waits at the gate."""
        assert await asyncio.to_thread(self._reached.wait, PATIENCE), "nobody came to the gate"


class _GatedFile:
    def __init__(self, file: File, disk: GatedDisk) -> None:
        self._file = file
        self._disk = disk

    @property
    def name(self) -> str:
        return self._file.name

    @name.setter
    def name(self, name: str) -> None:
        self._file.name = name

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: Bytes) -> int:
        self._disk.arrive("write", self.name)
        return self._file.write(offset, data)

    def sync(self) -> None:
        self._disk.arrive("sync", self.name)
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def size(self) -> int:
        return self._file.size()

    def links(self) -> int:
        return self._file.links()

    def ensure_in_place(self, size: int = 0) -> None:
        self._file.ensure_in_place(size)

    def close(self) -> None:
        self._file.close()


class GatedDisk(LocalDisk):
    """A directory whose files may stop at a gate: `at` decides by call and file name."""

    def __init__(self, path: Path, at: Callable[[str, str], bool]) -> None:
        super().__init__(path, create=True)
        self.gate = Gate()
        self._at_gate = at

    def arrive(self, call: str, name: str) -> None:
        if self._at_gate(call, name):
            self.gate.pass_through()

    def create(self, name: str) -> Any:  # no LocalFile, but still a File
        return _GatedFile(super().create(name), self)

    def open(self, name: str, *, writable: bool = False) -> Any:  # as above
        return _GatedFile(super().open(name, writable=writable), self)


def commits(call: str, name: str) -> bool:
    """Select the syncs that make events durable."""
    return call == "sync" and name.startswith("log/0")


def snapshot_writes(call: str, name: str) -> bool:
    return call == "write" and name.startswith("snapshots/")
