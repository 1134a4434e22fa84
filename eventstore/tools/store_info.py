"""The facts of `eventstore info`: identity, sizes, owner, and the outcome of an opening."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.layout import SPARE_SEGMENT
from eventstore.disk.local import LocalDisk
from eventstore.disk.owner_note import read_owner
from eventstore.disk.processes import standing_of
from eventstore.errors import EventStoreError, StoreFormatError, StoreNotFoundError
from eventstore.lock_owner import LockOwner, Standing
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.os_errors import translating_read_errors
from eventstore.reading.replay import recorded_batches
from eventstore.tools.backup.places import Advance, no_advance
from eventstore.tools.file_size import size_of
from eventstore.tools.file_survey import Overview, overview
from eventstore.tools.log_end import last_event_of
from eventstore.tools.opening_outcome import Opening, opening_of

__all__ = ["Inspection", "inspect_store"]

_ALIVE = frozenset({Standing.RUNNING, Standing.STOPPED, Standing.THIS_PROCESS, Standing.ELSEWHERE})


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one store.

    Attributes:
        path: The store's directory.
        opening: What opening for writing would come to.
        overview: The files, `None` where `store.json` cannot be read.
        first: Number and time of the first event in the store, `None` without one.
        last: Number and time of the last event that can be read, `None` without one.
        spare: Bytes of the spare segment, 0 without one.
        owner: The process that `writer.pid` names, `None` without one.
        standing: What became of the owner.
    """

    path: str
    opening: Opening
    overview: Overview | None = None
    first: tuple[int, int] | None = None
    last: tuple[int, int] | None = None
    spare: int = 0
    owner: LockOwner | None = None
    standing: Standing = Standing.UNKNOWN

    @property
    def in_use(self) -> bool:
        """Whether the owner of the lock is there, as far as anybody can know."""
        return self.owner is not None and self.standing in _ALIVE


def inspect_store(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    advance: Advance = no_advance,
    *,
    folded: bool = False,
) -> Inspection:
    """Inspect the store at `path`. Nothing is written, and no lock is taken.

    `advance` is called with the number of events folded so far, and of all to be folded. `folded`
    says that the caller has folded them with `registry`.

    Raises `StoreNotFoundError` where there is no store, and `StoreAccessError` or
    `ReadFailedError` where the directory cannot be looked into.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        opening = opening_of(disk, registry, advance, folded=folded)
        owner = read_owner(disk)
        found = Inspection(
            path=disk.path,
            opening=opening,
            owner=owner,
            standing=Standing.UNKNOWN if owner is None else standing_of(owner),
        )
        if isinstance(opening.error, StoreFormatError):  # files that this release cannot judge
            return found
        try:
            shown = overview(path)
        except StoreNotFoundError:
            if opening.verdict is not False:
                raise
            return found
        except EventStoreError as error:
            if opening.error is None and opening.verdict is not False:
                text = f"no: {type(error).__name__}: {error}"
                broken = msgspec.structs.replace(opening, verdict=False, text=text, error=error)
                return msgspec.structs.replace(found, opening=broken)
            return found
        return msgspec.structs.replace(
            found,
            overview=shown,
            first=_place(_first(disk, shown)),
            last=_place(_last(disk, shown)),
            spare=_spare(disk),
        )
    finally:
        disk.close()


def _place(event: Event[Any] | None) -> tuple[int, int] | None:
    return None if event is None else (event.seq, event.time)


def _first(disk: Disk, shown: Overview) -> Event[Any] | None:
    start = shown.manifest.history_start
    try:
        for events in recorded_batches(disk, EventCodec(), start, start + 1):
            return events[0]
    except (EventStoreError, FileNotFoundError):
        return None
    return None


def _last(disk: Disk, shown: Overview) -> Event[Any] | None:
    """Return the last event. The survey has the number, so the segment is not decoded again."""
    found: Event[Any] | None = None
    try:
        with translating_read_errors(disk.path):
            if shown.last_seq < shown.manifest.history_start:
                return last_event_of(disk)
            for events in recorded_batches(disk, EventCodec(), shown.last_seq, None):
                found = events[-1]
    except (EventStoreError, FileNotFoundError):
        return None
    return found


def _spare(disk: Disk) -> int:
    with contextlib.suppress(FileNotFoundError):
        return size_of(disk, SPARE_SEGMENT)
    return 0
