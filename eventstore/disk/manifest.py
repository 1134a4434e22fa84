"""``store.json``: which store this is, and which part of its history it still has.

The file is rewritten atomically (a temporary file, synced, renamed, folder synced) and carries a
CRC-32 of its other members, because a changed digit in it would otherwise look like another fact.

It is the last thing that is made when a store is made: a directory without it holds no event.
"""

from __future__ import annotations

import uuid
import zlib
from typing import Literal

import msgspec

from eventstore.disk.base import Disk, write_atomically
from eventstore.disk.layout import MANIFEST, MANIFEST_TEMPORARY
from eventstore.errors import CorruptStoreError, StoreNotFoundError, read_error

__all__ = ["BranchPoint", "Manifest", "load_manifest", "save_manifest"]

FORMAT = 1
_MAX_SIZE = 1 << 26
_MAX_SEQ = 1 << 62
_TIMES = range(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9)  # the years 1 to 9999
_PIECE = 1 << 16  # read at a time: a read asks for the memory first


class BranchPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which store another one branched from: its directory at the time, UUID, and last event."""

    path: str
    store: uuid.UUID
    seq: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts in ``store.json``.

    ``kind``: whether an ``EventStore`` or an ``EventLog`` writes here; the other would refuse it.
    ``created``: nanoseconds since the epoch. ``logged``: whether events are logged at all
    (``use_wal``). ``log_start``: the first event that the ``log`` folder must hold; all before it
    was archived, discarded, or (``history_start`` tells) never logged. ``history_start``: the first
    event that can be read, from archive or log. ``archived``: of each archive the first and
    the last event, and the latest time of any event up to there (nanoseconds since the epoch).
    ``branched``: where events before ``history_start`` are, in a store that branched from another;
    the member is left out in every other.
    """

    store: uuid.UUID
    created: int
    logged: bool = True
    log_start: int = 1
    history_start: int = 1
    archived: tuple[tuple[int, int, int], ...] = ()
    kind: Literal["store", "log"] = "store"
    format: int = FORMAT
    branched: BranchPoint | msgspec.UnsetType = msgspec.UNSET
    crc: int = 0

    def checksum(self) -> int:
        """The CRC-32 of everything but the checksum."""
        return zlib.crc32(msgspec.json.encode(msgspec.structs.replace(self, crc=0)))


def load_manifest(disk: Disk) -> Manifest:
    """Read ``store.json``.

    Raises :class:`StoreNotFoundError` where there is none, and :class:`CorruptStoreError`.
    """
    path = f"{disk.path}/{MANIFEST}"
    try:
        file = disk.open(MANIFEST)
        try:
            data = piece = file.read(0, _PIECE)
            while len(piece) == _PIECE and len(data) < _MAX_SIZE:
                piece = file.read(len(data), _PIECE)
                data += piece
        finally:
            file.close()
    except FileNotFoundError:
        raise StoreNotFoundError(f"there is no store at {disk.path}", path=disk.path) from None
    except OSError as error:
        raise read_error(error, path) from error
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptStoreError(
            f"{path} is damaged ({error}): restore it from a backup; without it nothing here "
            "can be told from another store's files",
            path=path,
        ) from error
    if manifest.format != FORMAT:
        raise CorruptStoreError(
            f"{path} is of format {manifest.format}, which this release does not know", path=path
        )
    if manifest.checksum() != manifest.crc or _encode(manifest) != data:
        raise CorruptStoreError(
            f"{path} is damaged (its checksum does not match): restore it from a backup", path=path
        )
    if not 1 <= manifest.log_start <= _MAX_SEQ or manifest.created not in _TIMES:
        raise CorruptStoreError(
            f"{path} has values that are impossible: restore it from a backup", path=path
        )
    return manifest


def save_manifest(disk: Disk, manifest: Manifest) -> Manifest:
    """Replace ``store.json`` durably. ``OSError`` is the caller's to translate."""
    manifest = msgspec.structs.replace(manifest, crc=manifest.checksum())
    write_atomically(disk, MANIFEST, MANIFEST_TEMPORARY, _encode(manifest))
    return manifest


def _encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
