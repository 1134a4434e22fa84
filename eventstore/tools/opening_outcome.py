"""The outcome of opening a store for writing, decided without writing: `opening_of`.

The decision reads the same bytes as an opening: the manifest, the newest snapshot, the chain of
headers, the segments behind the oldest kept snapshot, and the end of the log. Of a long log there
only the end is read (`read_limit.py`), and the words say so. The owner of the directory is the user
in question.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from typing import Any

import msgspec

from eventstore.directory import inspect_directory, refuse_orphans
from eventstore.disk.base import Disk, open_to_read, read_whole
from eventstore.disk.layout import (
    MANIFEST,
    QUARANTINE_FOLDER,
    SPARE_SEGMENT,
    snapshot_name,
    torn_offset,
)
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest
from eventstore.disk.optimistic import read_beside_writer
from eventstore.errors import (
    CorruptSnapshotError,
    CorruptStoreError,
    EventStoreError,
    RegistrationError,
    StoreFormatError,
    StoreNotFoundError,
)
from eventstore.keys.run_chain import find_runs, lost_keys_error
from eventstore.log.flipped_bits import torn_events
from eventstore.log.reader import LogReader
from eventstore.log.recovery import ExaminedLog, examine_log
from eventstore.log.tail_verdict import TornTail
from eventstore.model.codec import EventCodec
from eventstore.model.fingerprint import changes_no_state
from eventstore.model.operation import tag_of
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import REPAIR_NOTES
from eventstore.os_errors import translating_read_errors
from eventstore.reading.replay import fold_to, recorded_batches, recorded_name
from eventstore.snapshot.format import InvalidSnapshotError, parse
from eventstore.tools.access_problems import access_problems
from eventstore.tools.backup.places import Advance, no_advance
from eventstore.tools.read_limit import first_read

__all__ = ["Opening", "opening_of"]

UNKNOWN = "not known without handlers (--registry)"
_FOLDED = 10_000
"""The most events to be folded without a request, so that the verdict takes a moment."""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an opening.

    Attributes:
        verdict: `True` where the store opens, `False` where not, `None` where nobody knows.
        text: The verdict in words, with the next command where there is one.
        error: The error of the opening, `None` without one.
        unreachable: Whether permissions, space or a newer release are in the way, and no damage.
        snapshot: The event of the first snapshot to be used, 0 without one.
        folds: Number of events to be folded behind the snapshot.
        torn_bytes: Bytes of an unfinished commit.
        torn_events: First and last event in these bytes, if one turned bit makes the bytes whole.
        clean: Whether the last writer ended in order. `None` where the end cannot be read.
        next_command: The command to type next, `None` if nothing is to do.
    """

    verdict: bool | None
    text: str
    error: EventStoreError | None = None
    unreachable: bool = False
    snapshot: int = 0
    folds: int = 0
    torn_bytes: int = 0
    torn_events: tuple[int, int] | None = None
    clean: bool | None = None
    next_command: str | None = None


class _Bytes(msgspec.Struct, frozen=True):
    """Facts from the bytes alone: the snapshot's event, and the log as found."""

    manifest: Manifest
    snapshot: int
    log: ExaminedLog | None
    whole: bool = True
    """Whether every byte behind the snapshot was read."""


def opening_of(
    disk: Disk,
    registry: HandlerRegistry[Any] | None = None,
    advance: Advance = no_advance,
    *,
    folded: bool = False,
) -> Opening:
    """Decide the outcome of opening the store on `disk` for writing. Write nothing.

    With a `registry`, the events behind the snapshot are folded. Without one, the installed
    plugins are tried where they know every operation. `advance` is called with the number of events
    folded so far, and of all to be folded. With `folded`, the caller has folded every event with
    `registry`, so only the snapshot is loaded.

    Raises `StoreNotFoundError` for a directory without a store.
    """
    try:
        problems = access_problems(disk.path)
        if problems:
            return Opening(verdict=False, text=f"no: {'; '.join(problems)}", unreachable=True)
        with translating_read_errors(disk.path):
            found = read_beside_writer(disk, lambda listing: _look(disk, listing))
            opening = _without_handlers(disk, found)
            upto = found.snapshot if folded else None
            return _with_handlers(disk, registry, found, opening, advance, upto)
    except StoreNotFoundError:
        raise
    except StoreFormatError as error:
        return Opening(verdict=False, text=f"no: {_told(error)}", error=error, unreachable=True)
    except EventStoreError as error:
        damaged = isinstance(error, CorruptStoreError)
        after = f"eventstore repair {shlex.quote(disk.path)}" if damaged else None
        hint = "" if after is None else f"; next: {after}"
        return Opening(
            verdict=False,
            text=f"no: {_told(error)}{hint}",
            error=error,
            unreachable=not damaged,
            next_command=after,
        )


def _told(error: EventStoreError) -> str:
    return f"{type(error).__name__}: {error}"


def _look(disk: Disk, listing: Listing) -> _Bytes:
    if MANIFEST not in listing.root:
        refuse_orphans(disk, listing)
    manifest = inspect_directory(disk, listing)
    snapshot, required = _newest_snapshot(disk, manifest, listing)
    if manifest.history_start > snapshot + 1:
        raise CorruptSnapshotError(
            f"{disk.path}: no sound snapshot is left, and nothing else stands in for the events "
            f"before event {manifest.history_start}",
            path=f"{disk.path}/snapshots",
        )
    log: ExaminedLog | None = None
    whole = True
    if manifest.logged:
        kept = [seq for seq in listing.snapshot_seqs if seq >= manifest.history_start]
        oldest = min(kept[0] if kept else 0, snapshot)  # of those that retention keeps
        needed, begin = max(oldest + 1, manifest.log_start), first_read(disk, listing)
        log = examine_log(
            disk,
            manifest.store,
            listing,
            log_start=manifest.log_start,
            verify_from=max(needed, begin),
        )
        whole = begin <= needed
    _check_keys(disk, manifest, listing, snapshot, required)
    return _Bytes(manifest, snapshot, log, whole)


def _check_keys(
    disk: Disk, manifest: Manifest, listing: Listing, snapshot: int, required: int
) -> None:
    """Check that lost runs of identity keys can be written again, from the events that are kept.

    Runs have to cover the events up to `required`. Raises `CorruptStoreError` and
    `CorruptLogError` where the events cannot be read.
    """
    found = find_runs(disk, manifest.store, listing.keys, required)
    for run in found.runs:
        run.close()
    if found.covered >= required:
        return
    available = manifest.history_start if manifest.logged else snapshot + 1
    if available > found.covered + 1:
        raise lost_keys_error(disk.path, found, snapshot, available)
    for _ in LogReader(disk, manifest.store).chunks(found.covered + 1, snapshot + 1):
        pass


def _newest_snapshot(disk: Disk, manifest: Manifest, listing: Listing) -> tuple[int, int]:
    """Return the event of the newest snapshot whose bytes are whole, 0 without one.

    The second number is the last event whose keys must be in runs.
    """
    for seq in reversed(listing.snapshot_seqs):
        try:
            header, about, _, slices = parse(read_whole(disk, snapshot_name(seq)))
            for _ in slices:
                pass
        except StoreFormatError:
            raise
        except (InvalidSnapshotError, FileNotFoundError, EventStoreError):
            continue
        if header.store == manifest.store and header.seq == seq:
            return seq, about.keys
    return 0, 0


def _without_handlers(disk: Disk, found: _Bytes) -> Opening:
    """Decide by the bytes alone: is there anything to write, and is there space?"""
    log = found.log
    if log is None:
        return Opening(verdict=True, text="yes", snapshot=found.snapshot, clean=True)
    torn, events = _torn(disk, log)
    opening = Opening(
        verdict=True,
        text="yes",
        snapshot=found.snapshot,
        folds=max(log.next_seq - 1 - found.snapshot, 0),
        torn_bytes=torn,
        torn_events=events,
        clean=log.last.sealed,
    )
    text = opening.text
    if not log.last.sealed:
        text += "; the writer was killed: 1 segment will be rewritten"
    if torn:
        text += f", {torn:,} bytes of an unfinished commit set aside"
    if events is not None:
        after = f"eventstore repair {shlex.quote(disk.path)} --mend --apply"
        text += f"; one turned bit makes events {events[0]:,} … {events[1]:,} whole; next: {after}"
        opening = msgspec.structs.replace(opening, next_command=after)
    if not found.whole:
        text += "; headers judged the older segments (eventstore verify reads them)"
    needed, free = log.last.tail.end + torn, disk.free_bytes()
    if not torn or free is None or free >= needed:  # without torn bytes, nothing is copied
        return msgspec.structs.replace(opening, text=text)
    if free + _spare_size(disk) >= needed:
        text = f"{text}; there is no space, so the spare segment will be used"
        return msgspec.structs.replace(opening, text=text)
    return msgspec.structs.replace(
        opening,
        verdict=False,
        text=f"no: needs {needed:,} bytes, {free:,} free on {_mount_of(disk.path)}: free some",
        unreachable=True,
    )


def _torn(disk: Disk, log: ExaminedLog) -> tuple[int, tuple[int, int] | None]:
    """Return how many bytes are torn, and the events that one turned bit would make of these.

    The bytes may be in the quarantine since an earlier opening, if nothing was appended after.
    """
    tail = log.last.tail
    if isinstance(tail, TornTail):
        data = log.last.data[tail.end : tail.torn_end]
        return len(data), torn_events(data, tail.end, log.last.header.salt, log.next_seq)
    for base in disk.list(QUARANTINE_FOLDER):
        offset = torn_offset(base)
        if offset is not None:
            data = read_whole(disk, f"{QUARANTINE_FOLDER}/{base}")
            events = torn_events(data, offset, data[:8], log.next_seq)
            if events is not None:
                return 0, events
    return 0, None


def _spare_size(disk: Disk) -> int:
    try:
        with open_to_read(disk, SPARE_SEGMENT) as file:
            return file.size()
    except (EventStoreError, FileNotFoundError):
        return 0


def _mount_of(path: str) -> str:
    """Return the mount point above a path."""
    here = os.path.realpath(path)
    while not os.path.ismount(here):
        here = os.path.dirname(here)
    return here


def _with_handlers(
    disk: Disk,
    registry: HandlerRegistry[Any] | None,
    found: _Bytes,
    opening: Opening,
    advance: Advance,
    upto: int | None,
) -> Opening:
    """Try the handlers up to an event, where the bytes alone let the store open."""
    if not opening.verdict or found.manifest.kind == "log":
        return opening
    after = f"eventstore repair {shlex.quote(disk.path)}"
    if registry is None:
        registry = _installed(disk, found, opening)
        if registry is None:
            return msgspec.structs.replace(opening, verdict=None, text=UNKNOWN)
        if opening.folds > _FOLDED:
            more = f"{opening.folds:,} events were not folded (--registry folds them)"
            return msgspec.structs.replace(opening, text=f"{opening.text}; {more}")
    try:
        fold_to(disk, registry, upto, lambda seq: advance(seq - opening.snapshot, opening.folds))
    except EventStoreError as error:
        return msgspec.structs.replace(
            opening,
            verdict=False,
            text=f"no: {_told(error)}; next: {after}",
            error=error,
            next_command=after,
        )
    return opening


def _installed(disk: Disk, found: _Bytes, opening: Opening) -> HandlerRegistry[Any] | None:
    """Return the registry of the installed plugins, if every operation to be folded is known."""
    try:
        registry: HandlerRegistry[Any] = HandlerRegistry.discover()
    except RegistrationError:
        return None
    known = {tag_of(kind).partition("@")[0] for kind in (*registry.payload_types, *REPAIR_NOTES)}
    if found.snapshot:
        with contextlib.suppress(InvalidSnapshotError, FileNotFoundError):
            _, about, _, _ = parse(read_whole(disk, snapshot_name(found.snapshot)))
            folded = [one for one in about.fingerprint.items() if not changes_no_state(*one)]
            if not dict(folded).keys() - {""} <= known:
                return None
    if found.manifest.logged and opening.folds <= _FOLDED:
        for events in recorded_batches(disk, EventCodec(), found.snapshot + 1, None):
            if any(recorded_name(event) not in known for event in events):
                return None
    return registry
