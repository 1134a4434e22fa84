"""A copy as a disk: every reader of a store reads a backup through this disk.

The disk is read-only. A file is fetched, checked and put together when the file is opened, and the
last few files are kept. So memory is bounded by the size of a few segments.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
from collections import OrderedDict
from typing import Any, NoReturn

from eventstore.disk.layout import MANIFEST
from eventstore.errors import CorruptStoreError
from eventstore.tools.backup.catalog import Catalog, unpack_part
from eventstore.tools.backup.places import Place

__all__ = ["BackupDisk"]

_KEPT = 3


class BackupDisk:
    """The files of one copy, as `store.json` and folders. Implements `Disk` for reading."""

    blocking = True

    def __init__(self, place: Place, catalog: Catalog) -> None:
        self.path = place.name
        self._place = place
        self._catalog = catalog
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"<BackupDisk {self.path!r}, copy {self._catalog.number}>"

    def content(self, name: str) -> bytes:
        """Return the bytes of a file, put together from its parts and checked.

        Raises `FileNotFoundError`, and `CorruptStoreError` for a missing or damaged part.
        """
        if name == MANIFEST:
            return self._catalog.manifest.encode()
        kept = self._kept.get(name)
        if kept is None:
            kept = self._fetch(name)
            self._kept[name] = kept
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return kept

    def _fetch(self, name: str) -> bytes:
        file = self._catalog.files.get(name)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "no such file in the copy", name)
        data = b"".join(unpack_part(self._place, part) for part in file.parts)
        if len(data) != file.length or hashlib.sha256(data).hexdigest() != file.sha256:
            raise CorruptStoreError(
                f"{self.path}: the parts of {name} do not make the file that was copied", path=name
            )
        return data.ljust(file.size, b"\0")

    # ---- Disk ------------------------------------------------------------------------------

    def open(self, name: str, *, writable: bool = False) -> _BackupFile:
        if writable:
            _refuse()
        return _BackupFile(name, self.content(name))

    def list(self, folder: str = "") -> list[str]:
        names = [MANIFEST, *self._catalog.files]
        if not folder:
            return sorted({name.partition("/")[0] for name in names})
        return sorted(
            name.removeprefix(f"{folder}/") for name in names if name.startswith(f"{folder}/")
        )

    def ensure_in_place(self, name: str = "") -> None:
        """Do nothing: an object of a backup never changes."""

    def entropy(self, length: int) -> bytes:
        return secrets.token_bytes(length)

    def free_bytes(self) -> int | None:
        return None

    def lock(self) -> None:
        _refuse()

    def create(self, name: str) -> Any:
        _refuse()

    def make_folder(self, folder: str) -> None:
        _refuse()

    def rename(self, old: str, new: str) -> None:
        _refuse()

    def remove(self, name: str) -> None:
        _refuse()

    def sync_folder(self, folder: str = "") -> None:
        _refuse()

    def sync_path(self) -> None:
        _refuse()

    def overwrite(self, name: str, data: bytes) -> None:
        _refuse()

    def close(self) -> None:
        """Forget the files that were kept."""
        self._kept.clear()


class _BackupFile:
    """A file's bytes. Implements `File` for reading."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def size(self) -> int:
        return len(self._data)

    def links(self) -> int:
        return 1

    def ensure_in_place(self, size: int = 0) -> None:
        """Do nothing: an object of a backup never changes."""

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> int:
        _refuse()

    def sync(self) -> None:
        _refuse()

    def truncate(self, size: int) -> None:
        _refuse()

    def close(self) -> None:
        """Do nothing."""


def _refuse() -> NoReturn:
    raise OSError(errno.EROFS, "a backup is only read")
