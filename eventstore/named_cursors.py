"""Named cursors: the places of consumers, kept in the store's directory.

Theory of operation
-------------------
A consumer that stops and goes on later keeps a cursor. A named cursor is kept beside the log, in
one small file for each name::

    cursors/risk.json          {"name": "risk", "cursor": "6fa4...", "crc": 2610839674}

The consumer saves the cursor after its own work on an event. A crash between the work and the save
repeats the work: each event comes *at least once*. The writer of the log never touches the folder.

Consumers live in any process and take no lock. A cursor is written under a temporary name of this
save alone, synced, and renamed over the file. So a reader sees the old cursor or the new one. A
crash can leave the temporary file. The next consumer of the same name removes the file. A consumer
whose temporary file was removed by another consumer of the same name writes again.

`crc` is the CRC-32 of the name and the cursor with a line feed between, in UTF-8. A damaged file is
refused: a consumer that began anew in silence would do all of its work twice.
"""

from __future__ import annotations

import contextlib
import re
import zlib

import msgspec

from eventstore.arguments import argument_error
from eventstore.cursor import Cursor
from eventstore.disk.base import Disk, read_whole, sync, sync_folder, write_fully
from eventstore.disk.layout import (
    CURSOR_FOLDER,
    cursor_name,
    cursor_temporary,
    is_cursor_temporary,
    name_of_cursor,
)
from eventstore.errors import (
    ConfigError,
    CorruptStoreError,
    CursorNotSavedError,
    EventStoreError,
)
from eventstore.os_errors import (
    NO_ACCESS,
    SHORTAGE,
    errno_name,
    path_in_error,
    shortage_words,
    translating_read_errors,
)

__all__ = ["checked_name", "list_cursors", "load_cursor", "save_cursor"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_ATTEMPTS = 10
_MAX_SIZE = 4096


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    cursor: str
    crc: int

    def checksum(self) -> int:
        return zlib.crc32(f"{self.name}\n{self.cursor}".encode())


def checked_name(name: str) -> str:
    """Return the name of a cursor. Raises `ConfigError` for a text that is no such name."""
    if type(name) is str and _NAME.fullmatch(name):
        return name
    raise argument_error(
        "cursor",
        name,
        "expected a name of at most 64 letters, digits and '_.-', the first no dot or dash",
    )


def load_cursor(disk: Disk, name: str) -> Cursor | None:
    """Return the cursor saved under `name`, `None` where there is none.

    Temporary files of a crash are removed. Raises `CorruptStoreError` for a damaged file, and
    `ReadFailedError` and `StoreAccessError`.
    """
    with translating_read_errors(disk.path):
        bases = disk.list(CURSOR_FOLDER)
    for base in bases:
        if is_cursor_temporary(base, name):
            with contextlib.suppress(OSError):  # gone already, or not ours to remove
                disk.remove(f"{CURSOR_FOLDER}/{base}")
    try:
        return _read(disk, name)
    except FileNotFoundError:
        return None


def _read(disk: Disk, name: str) -> Cursor:
    """Read one file. Raises `FileNotFoundError` and `CorruptStoreError`."""
    file = cursor_name(name)
    data = read_whole(disk, file, _MAX_SIZE)
    try:
        saved = msgspec.json.decode(data, type=_Saved)
        if (saved.name, saved.crc) == (name, saved.checksum()):
            return Cursor.parse(saved.cursor)
        reason = "its checksum does not match" if saved.name == name else "it was renamed"
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigError) as error:
        reason = str(error)
    raise CorruptStoreError(
        f"{disk.path}/{file} is damaged ({reason}): restore it from a backup, or remove it. The "
        f"consumer {name!r} then begins where after= says, or at the first event",
        path=f"{disk.path}/{file}",
    )


def save_cursor(disk: Disk, name: str, cursor: Cursor) -> None:
    """Save a cursor under `name`, durably, in place of an earlier one.

    Raises `CursorNotSavedError`. The earlier cursor is kept then.
    """
    saved = _Saved(name, str(cursor), 0)
    saved = msgspec.structs.replace(saved, crc=saved.checksum())
    data = msgspec.json.format(msgspec.json.encode(saved)) + b"\n"
    try:
        if CURSOR_FOLDER not in disk.list():
            disk.make_folder(CURSOR_FOLDER)
            sync_folder(disk)
        for attempt in range(_ATTEMPTS):
            temporary = cursor_temporary(name, disk.entropy(4).hex())
            file = disk.create(temporary)
            try:
                write_fully(file, 0, data)
                sync(file)
            finally:
                file.close()
            try:
                disk.rename(temporary, cursor_name(name))
                break
            except FileNotFoundError:  # another consumer of this name took it for a leftover
                if attempt == _ATTEMPTS - 1:
                    raise
        sync_folder(disk, CURSOR_FOLDER)
    except OSError as error:
        raise _not_saved_error(error, path_in_error(error, disk.path), name) from error


def _not_saved_error(cause: OSError, path: str, name: str) -> CursorNotSavedError:
    if cause.errno in SHORTAGE:
        lacking, remedy = shortage_words(cause)
        reason = f"{lacking}; {remedy}"
    elif cause.errno in NO_ACCESS:
        reason = f"this user may not write to the folder {CURSOR_FOLDER}; check its permissions"
    else:
        reason = "check the device"
    return CursorNotSavedError(
        f"{path}: the cursor {name!r} could not be saved ({errno_name(cause)}): {reason}, then "
        "save again. Until then events since the earlier save come again",
        path=path,
        name=name,
        errno=cause.errno,
    )


def list_cursors(disk: Disk) -> list[tuple[str, Cursor | EventStoreError]]:
    """Return every named cursor, or the error for a damaged file, by name.

    Raises `ReadFailedError` and `StoreAccessError` for the folder.
    """
    found: list[tuple[str, Cursor | EventStoreError]] = []
    with translating_read_errors(disk.path):
        names = sorted(name for name in map(name_of_cursor, disk.list(CURSOR_FOLDER)) if name)
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            try:
                found.append((name, _read(disk, name)))
            except EventStoreError as error:
                found.append((name, error))
    return found
