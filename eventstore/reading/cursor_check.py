"""A cursor compared with the history at hand, and made a number of that history.

A cursor stands between two events: behind the event that the cursor names. As a start, a cursor is
the event after. As an exclusive stop, a cursor is the event after, too. As a moment of a state, a
cursor is the event that the cursor names.

The comparison reads the event with the cursor's number (`eventstore/timelines.py` says what is
compared). An event that was discarded cannot be read. Then the manifest has the checksum of the
last discarded event, and nothing behind an earlier one is in the store.
"""

from __future__ import annotations

import contextlib

from eventstore.cursor import Cursor, checksum_at
from eventstore.disk.base import Disk
from eventstore.disk.layout import LOG_FOLDER, segment_seq
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import HistoryUnavailableError, StoreReadOnlyError
from eventstore.log.base import Chunk, Log
from eventstore.log.memory import MemoryLog
from eventstore.log.reader import LogReader
from eventstore.moment import NamedPlace, Place
from eventstore.os_errors import translating_read_errors

__all__ = [
    "checksum_in",
    "confirm",
    "confirm_live",
    "confirm_moment",
    "place_behind",
    "place_behind_live",
]


def confirm(disk: Disk, cursor: Cursor, last: int | None = None) -> int:
    """Return the cursor's number once the history on `disk` is known to go on from the cursor.

    `last` is the last event that may be read, by default the last that there is.

    Raises `HistoryForkedError`, `CursorAheadError`, `ForeignCursorError`, and what reading raises.
    """
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
    lineage, seq = manifest.lineage(disk.path), cursor.seq
    lineage.check(cursor)
    if last is not None and seq > last:
        raise lineage.ahead_error(cursor, last)
    if seq == 0:
        return seq
    if not manifest.logged:
        raise HistoryUnavailableError(
            f"{disk.path} has no log (use_wal=False), so the event of the cursor {cursor} cannot "
            "be compared; ask for the state without a moment, which is the last one",
            requested=seq,
            first_available=0,
        )
    checksum = checksum_in(disk, manifest, seq)
    if checksum is None and seq >= manifest.history_start:
        raise lineage.ahead_error(cursor, _last_seq(disk, manifest))
    if checksum is not None:
        lineage.check_event(cursor, checksum)
    return seq


def confirm_moment(disk: Disk, cursor: Cursor) -> int:
    """Return the cursor's number for a state as of the cursor.

    Raises the errors of `confirm`, and `HistoryUnavailableError` where the event was discarded: a
    snapshot may have the state, and nothing tells whether the snapshot is of the cursor's history.
    """
    seq = confirm(disk, cursor)
    with translating_read_errors(disk.path):
        first = load_manifest(disk).history_start
    if 0 < seq < first - 1:
        raise HistoryUnavailableError(
            f"{disk.path}: event {seq} is not available any more, so the cursor {cursor} cannot be "
            f"compared; ask for the state at the number {seq}, if any history will do",
            requested=seq,
            first_available=first,
        )
    return seq


def checksum_in(disk: Disk, manifest: Manifest, seq: int) -> int | None:
    """Return the checksum of event `seq`, `None` where the event is gone from the store.

    Raises what reading raises.
    """
    if not seq or not manifest.logged:
        return None
    if seq < manifest.history_start:
        known = manifest.checksum_before
        return known if seq == manifest.history_start - 1 and isinstance(known, int) else None
    return _read_checksum(disk, manifest, seq)


def _read_checksum(disk: Disk, manifest: Manifest, seq: int) -> int | None:
    for chunk in LogReader(disk, manifest.store).chunks(seq, seq + 1):
        return checksum_at(chunk.array, seq - chunk.first_seq)
    return None


def _last_seq(disk: Disk, manifest: Manifest) -> int:
    with translating_read_errors(disk.path):
        firsts = map(segment_seq, disk.list(LOG_FOLDER))
    last = max((first for first in firsts if first is not None), default=1) - 1
    for chunk in LogReader(disk, manifest.store).chunks(last + 1):
        last = chunk.first_seq + chunk.events - 1
    return last


def place_behind(disk: Disk, place: NamedPlace) -> Place:
    """Return `place`, a cursor as the number of the event behind the cursor.

    Raises the errors of `confirm`.
    """
    return confirm(disk, place) + 1 if isinstance(place, Cursor) else place


async def confirm_live(log: Log, cursor: Cursor) -> int:
    """Confirm a cursor in an open store, as `confirm` does for a store on disk.

    Nothing behind the last durable event counts, but in a store that was opened read-only.
    """
    last = _last_of(log)
    if log.disk is not None and not isinstance(log, MemoryLog):
        return await log.run(confirm, log.disk, cursor, last)
    log.lineage.check(cursor)
    seq = cursor.seq
    if last is not None and seq > last:
        raise log.lineage.ahead_error(cursor, last)
    if seq:
        with contextlib.suppress(HistoryUnavailableError):  # then nothing else can be read either
            async for checksum in log.read(seq, seq + 1, _first_checksum):
                log.lineage.check_event(cursor, checksum)
    return seq


def _first_checksum(chunk: Chunk) -> int:
    return checksum_at(chunk.array, 0)


def _last_of(log: Log) -> int | None:
    try:
        return log.appender.numbers.durable
    except StoreReadOnlyError:
        return None


async def place_behind_live(log: Log, place: NamedPlace) -> Place:
    """Return `place`, a cursor as the number of the event behind the cursor.

    Raises the errors of `confirm`.
    """
    return await confirm_live(log, place) + 1 if isinstance(place, Cursor) else place
