"""The manifest, `store.json`: the identity of a store, and the part of history still in the
store.

The file is rewritten atomically (a temporary file, synced, renamed, folder synced). The file
carries a CRC-32 of its other members, because a changed digit would otherwise look like another
fact. Spaces, newlines and the order of members do not matter, so that an editor that only saved the
file has damaged nothing.

Making a store ends with this file. A directory without the file holds no event.
"""

from __future__ import annotations

import codecs
import contextlib
import uuid
import zlib
from typing import Literal

import msgspec

from eventstore.disk.base import Disk, write_atomically
from eventstore.disk.layout import MANIFEST, MANIFEST_TEMPORARY
from eventstore.error_base import REPAIR
from eventstore.errors import CorruptStoreError, StoreNotFoundError, newer_format_error
from eventstore.os_errors import read_error
from eventstore.timelines import Lineage, Timeline, next_timeline

__all__ = [
    "RELEASE",
    "BranchPoint",
    "InitialStateRecord",
    "Manifest",
    "begin_timeline",
    "decode_manifest",
    "load_manifest",
    "note_first_snapshot",
    "save_manifest",
]

FORMAT = 1
RELEASE = "0.1.0"
"""The release that makes a store. The metadata of the package would cost an import to read."""
_MAX_SIZE = 1 << 26
_MAX_SEQ = 1 << 62
_POSSIBLE_TIMES = range(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9)  # the years 1 to 9999
_READ_SIZE = 1 << 16  # bytes read at a time: a read first allocates as many as asked for


class BranchPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Origin of a branch: the other store's directory at the time, UUID, and last common event."""

    path: str
    store: uuid.UUID
    seq: int


class InitialStateRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state that a store was begun with, before the first event.

    `digest` is the digest of the state, and `type` the fingerprint of its type. `state` is
    the state in MessagePack, and is left out where it is large.
    """

    digest: str
    type: str
    state: bytes | msgspec.UnsetType = msgspec.UNSET


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts in `store.json`.

    Attributes:
        store: The store's UUID.
        created: Nanoseconds since the epoch.
        logged: Whether events are logged at all (`use_wal`).
        log_start: First event that the `log` folder must hold. All events before were archived,
            discarded, or never logged, as `history_start` tells.
        history_start: First event that can be read, from archive or log. In a store without a log,
            more than 1 says that there is a snapshot.
        archived: First and last event of each archive, and the latest time of any event up to the
            last (nanoseconds since the epoch).
        kind: Whether an `EventStore` or an `EventLog` writes here. The other refuses the
            directory.
        format: Version of the formats of all files.
        release: Release that made the store. Left out where nobody knows.
        timelines: Unbroken histories of appends that the history is made of, oldest first
            (`eventstore/timelines.py`).
        checksum_before: CRC-32 of the event before `history_start`. A cursor may stand behind this
            event, which is gone. Left out where nothing is gone, or the checksum is not known.
        branched: Place of the events before `history_start`, in a store that branched from
            another. Every other store leaves the member out.
        initial: State before the first event. An `EventLog` has none.
        crc: CRC-32 of the other members.
    """

    store: uuid.UUID
    created: int
    timelines: tuple[Timeline, ...]
    logged: bool = True
    log_start: int = 1
    history_start: int = 1
    archived: tuple[tuple[int, int, int], ...] = ()
    kind: Literal["store", "log"] = "store"
    format: int = FORMAT
    release: str | msgspec.UnsetType = msgspec.UNSET
    checksum_before: int | msgspec.UnsetType = msgspec.UNSET
    branched: BranchPoint | msgspec.UnsetType = msgspec.UNSET
    initial: InitialStateRecord | msgspec.UnsetType = msgspec.UNSET
    crc: int = 0

    def checksum(self) -> int:
        """Return the CRC-32 of every member but the checksum."""
        return zlib.crc32(msgspec.json.encode(msgspec.structs.replace(self, crc=0)))

    def lineage(self, path: str) -> Lineage:
        """Return the identity of the history. `path` is the store's name in messages."""
        return Lineage(path, self.store, self.timelines)


def load_manifest(disk: Disk) -> Manifest:
    """Read `store.json`.

    Raises:
        StoreNotFoundError: There is no such file.
        CorruptStoreError: The file is damaged.
        StoreFormatError: A newer release wrote the file.
        ReadFailedError: The device could not read the file.
        StoreAccessError: The file may not be read.
    """
    path = f"{disk.path}/{MANIFEST}"
    try:
        file = disk.open(MANIFEST)
        try:
            data = piece = file.read(0, _READ_SIZE)
            while len(piece) == _READ_SIZE and len(data) < _MAX_SIZE:
                piece = file.read(len(data), _READ_SIZE)
                data += piece
        finally:
            file.close()
    except FileNotFoundError:
        raise StoreNotFoundError(f"there is no store at {disk.path}", path=disk.path) from None
    except OSError as error:
        raise read_error(error, path) from error
    try:
        data = data.removeprefix(codecs.BOM_UTF8)  # some editors add one
        _check_format(path, data)
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptStoreError(
            f"{path} is damaged, or was edited ({error}): undo the edit, restore it from a "
            f"backup, or {REPAIR}",
            path=path,
        ) from error
    if not _is_sound(manifest, data):
        raise CorruptStoreError(
            f"{path} is damaged, or a value in it was edited (its checksum does not match): undo "
            f"the edit, restore it from a backup, or {REPAIR}",
            path=path,
        )
    if (
        not 1 <= manifest.log_start <= _MAX_SEQ
        or manifest.created not in _POSSIBLE_TIMES
        or not manifest.timelines
    ):
        raise CorruptStoreError(
            f"{path} has values that are impossible: restore it from a backup, or {REPAIR}",
            path=path,
        )
    return manifest


class _Format(msgspec.Struct):
    format: int = FORMAT


def _check_format(path: str, data: bytes) -> None:
    """Raise `StoreFormatError` for a file of a newer release, whose other members are not known.

    A flipped bit can turn the digit into a larger one. Then the other members are the ones of this
    release, and the checksum says so.
    """
    found = msgspec.json.decode(data, type=_Format).format
    if found <= FORMAT:
        return
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        known = msgspec.json.decode(data, type=Manifest)
        if msgspec.structs.replace(known, format=FORMAT).checksum() == known.crc:
            return
    raise newer_format_error(path, found, FORMAT)


def decode_manifest(data: bytes) -> Manifest:
    """Decode the bytes of a sound `store.json`. Raises `ValueError` for any other bytes."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not _is_sound(manifest, data):
        raise ValueError("the checksum does not match")
    return manifest


def save_manifest(disk: Disk, manifest: Manifest) -> Manifest:
    """Replace `store.json` durably, and return the manifest with its checksum.

    Raises `OSError`, which the caller translates.
    """
    manifest = msgspec.structs.replace(manifest, crc=manifest.checksum())
    write_atomically(disk, MANIFEST, MANIFEST_TEMPORARY, _encode(manifest))
    return manifest


def begin_timeline(disk: Disk, manifest: Manifest, left_at: int) -> Manifest:
    """Begin a timeline that leaves the present one behind event `left_at`, durably.

    Called where history changes other than by appending, before the first event of the new history
    is written. Raises `OSError`, which the caller translates.
    """
    timelines = next_timeline(manifest.timelines, left_at, disk.entropy(4))
    return save_manifest(disk, msgspec.structs.replace(manifest, timelines=timelines))


def _is_sound(manifest: Manifest, data: bytes) -> bool:
    return manifest.checksum() == manifest.crc and _says_the_same(manifest, data)


def _says_the_same(manifest: Manifest, data: bytes) -> bool:
    """Whether `data` says exactly what `manifest` is written as, in any order and with any spaces.

    An editor may add a newline, or sort the members. The checksum covers the values alone. So the
    rest is compared too: a flipped bit can leave a value as it is, such as a letter of a UUID.
    """
    written = _encode(manifest)
    if written == data:
        return True
    import json  # only for an edited file

    try:
        json.loads(data, object_pairs_hook=_refuse_a_member_twice)
    except ValueError:
        return False
    return _sorted_members(written) == _sorted_members(data)


def _refuse_a_member_twice(members: list[tuple[str, object]]) -> None:
    if len(dict(members)) < len(members):
        raise ValueError("a member stands twice, and a decoder takes the last one")


def _sorted_members(data: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(data), order="sorted")


def note_first_snapshot(disk: Disk, manifest: Manifest, seq: int) -> Manifest:
    """Record durably that a store without a log has a snapshot, the first one of event `seq`.

    Without the record, a store that lost its snapshots would look like one that never had any.
    Raises `OSError`, which the caller translates.
    """
    if manifest.history_start > 1:
        return manifest
    return save_manifest(disk, msgspec.structs.replace(manifest, history_start=seq + 1))


def _encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
