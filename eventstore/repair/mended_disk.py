"""A disk as a repair will leave it: some bits of some files are turned on reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.log.flipped_bits import Flip

__all__ = ["MendedDisk"]


class MendedDisk:
    """A read-only view of a disk. `flips` are by the name of the file."""

    def __init__(self, disk: Any, flips: Mapping[str, tuple[Flip, ...]]) -> None:
        self._disk = disk
        self._flips = flips

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def open(self, name: str, *, writable: bool = False) -> Any:
        file = self._disk.open(name, writable=writable)
        flips = self._flips.get(name)
        return _MendedFile(file, flips) if flips else file


class _MendedFile:
    def __init__(self, file: Any, flips: tuple[Flip, ...]) -> None:
        self._file = file
        self._flips = flips

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(self._file.read(offset, length))
        for flip in self._flips:
            if offset <= flip.offset < offset + len(data):
                data[flip.offset - offset] ^= flip.mask
        return bytes(data)
