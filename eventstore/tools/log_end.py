"""The last event of a store, read without opening the store."""

from __future__ import annotations

import os
from typing import Any

from eventstore.disk.base import Disk
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.log.base import Chunk
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.os_errors import translating_read_errors

__all__ = ["last_event", "last_event_of"]


def last_event(path: str | os.PathLike[str]) -> Event[Any] | None:
    """Return the last event of the store at `path`, `None` in a store without events.

    The payload is a plain dictionary, and no plugin is needed. Only the end of the log is read.
    Raises `StoreNotFoundError`, `StoreAccessError`, `ReadFailedError`, and `CorruptLogError` where
    the end is damaged.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(disk.path):
            return last_event_of(disk)
    finally:
        disk.close()


def last_event_of(disk: Disk) -> Event[Any] | None:
    """Return the last event of the store on `disk`, `None` in a store without events."""
    manifest = load_manifest(disk)
    if not manifest.logged:
        return None
    listing = Listing.read(disk)
    firsts = {first for first, _, _ in manifest.archived}
    firsts.update(first for first in listing.segments if first >= manifest.log_start)
    for first in sorted(firsts, reverse=True):
        last: Chunk | None = None
        for chunk in LogReader(disk, manifest.store, CACHED_BYTES).chunks(first):
            last = chunk
        if last is not None:  # the only chunk that is decoded
            return EventCodec().decode(last.array, last.events, last.first_seq)[-1]
    return None
