"""A backup as one file, `NAME.tar.zst`, which `tar --zstd -x` unpacks into a backup directory.

Every member of the archive is one Zstandard frame. So one object is read without the others. A
frame that decompressors skip follows at the end, and holds the place of each object. The file is
written aside and renamed, and holds one copy.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from eventstore.errors import CorruptStoreError, HistoryForkedError, StoreReadOnlyError
from eventstore.os_errors import read_error, write_error
from eventstore.tools.backup.catalog import CATALOGS
from eventstore.tools.backup.places import Advance, DirectoryPlace, Place, sync_directory

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover - only one of the two is there
else:
    from backports import zstd  # pragma: no cover - only one of the two is there

__all__ = ["SUFFIX", "SingleFilePlace", "pack_directory", "scratch_directory"]

SUFFIX = ".tar.zst"

_SKIPPABLE = 0x184D2A5D
_FRAME = struct.Struct("<II")
_END = struct.Struct("<Q8s")
_MAGIC = b"EVSTIDX\n"
_END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


class _Member(msgspec.Struct, array_like=True, frozen=True):
    """The place of an object: its frame, and its bytes within the decompressed frame."""

    offset: int
    stored: int
    begin: int
    size: int


class SingleFilePlace:
    """The objects in one file, for reading. A missing file has no objects."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self.name = str(path)
        self._members = self._read_index()

    def __repr__(self) -> str:
        return f"<SingleFilePlace {self.name!r}>"

    def _read_index(self) -> dict[str, _Member]:
        try:
            if self._path.exists() and not self._path.is_file():  # a pipe would be waited for
                raise CorruptStoreError(f"{self.name} is no regular file", path=self.name)
            with self._path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                size = file.tell()
                file.seek(max(0, size - _END.size))
                end = file.read()
                length, magic = _END.unpack(end) if len(end) == _END.size else (0, b"")
                if magic != _MAGIC or length > size:
                    raise CorruptStoreError(
                        f"{self.name} is no file of `eventstore backup`, or was cut short",
                        path=self.name,
                    )
                file.seek(size - _END.size - length)
                return msgspec.json.decode(file.read(length), type=dict[str, _Member])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise read_error(error, self.name) from error
        except msgspec.MsgspecError as error:
            raise CorruptStoreError(f"{self.name} is damaged: {error}", path=self.name) from error

    def list(self, prefix: str) -> dict[str, int]:
        members = self._members.items()
        return {name: member.size for name, member in members if name.startswith(prefix)}

    def get(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise FileNotFoundError(name)
        try:
            with self._path.open("rb") as file:
                file.seek(member.offset)
                data = zstd.decompress(file.read(member.stored))
        except OSError as error:
            raise read_error(error, self.name) from error
        except zstd.ZstdError as error:
            raise CorruptStoreError(
                f"{self.name} is damaged at offset {member.offset} ({error})", path=self.name
            ) from error
        return data[member.begin : member.begin + member.size]

    def put_new(self, name: str, data: bytes) -> bool:
        raise StoreReadOnlyError(f"{self.name} is written as a whole only", path=self.name)

    def remove(self, name: str) -> None:
        raise StoreReadOnlyError(f"{self.name} is written as a whole only", path=self.name)


def pack_directory(
    source: DirectoryPlace, path: Path, replaced: Place | None, advance: Advance
) -> None:
    """Write the objects of a directory to one file at `path`, durably and under the name last.

    `replaced` is the file's content before, `None` where there was no file. `advance` is told of
    the packed kilobytes. Raises
    `HistoryForkedError` where another writer replaced the file meanwhile, and `CorruptStoreError`
    where the file does not read back. Then the file is as before.
    """
    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            with aside.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                _write_members(source, file, advance)
                file.flush()
                os.fsync(file.fileno())
            written = SingleFilePlace(aside)
            for name in source.list(""):
                if written.get(name) != source.get(name):
                    raise CorruptStoreError(f"{path} does not read back as written", path=str(path))
            before = {} if replaced is None else replaced.list(CATALOGS)
            if SingleFilePlace(path).list(CATALOGS) != before:
                raise HistoryForkedError(
                    f"{path} was replaced by another writer meanwhile: stop one of them",
                    path=str(path),
                    cursor="",
                    last_shared=0,
                )
            aside.rename(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                aside.unlink()
        sync_directory(path.parent)
    except OSError as error:
        raise write_error(error, str(path)) from error


def scratch_directory(path: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a directory beside `path`, which goes away at the end of a `with` block."""
    try:
        return tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", suffix=".tmp", dir=path.absolute().parent
        )
    except OSError as error:
        raise write_error(error, str(path)) from error


def _write_members(source: DirectoryPlace, file: IO[bytes], advance: Advance) -> None:
    members, offset, done = {}, 0, 0
    sizes = source.list("")
    total = sum(sizes.values())
    for name in sorted(sizes):
        data = source.get(name)
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        header = info.tobuf(tarfile.GNU_FORMAT)
        frame = zstd.compress(header + data + bytes(-len(data) % tarfile.BLOCKSIZE))
        file.write(frame)
        members[name] = _Member(offset, len(frame), len(header), len(data))
        offset += len(frame)
        done += len(data)
        advance(done // 1000, total // 1000)
    file.write(zstd.compress(_END_OF_TAR))
    index = msgspec.json.encode(members)
    file.write(_FRAME.pack(_SKIPPABLE, len(index) + _END.size) + index)
    file.write(_END.pack(len(index), _MAGIC))
