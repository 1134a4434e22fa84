"""Another event in the place of a recorded one."""

from __future__ import annotations

import os
from typing import Any

from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.model.codec import EventCodec
from eventstore.model.operation import OPERATION_FIELD, Event
from eventstore.os_errors import translating_read_errors
from eventstore.repair.diagnosis import diagnose_disk
from eventstore.repair.salvage import History, events_of

__all__ = ["encode_replacement"]


def encode_replacement(path: str | os.PathLike[str], seq: int, data: Any) -> bytes:
    """Encode other data for event `seq`. Time, key and metadata stay as recorded.

    Raises `ValueError` for data without an operation, and where there is no event `seq`.
    """
    if not isinstance(data, dict) or not isinstance(data.get(OPERATION_FIELD), str):
        raise ValueError(f"the event needs a member {OPERATION_FIELD!r}: the operation's name")
    disk = LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(disk.path):
            history = History(disk=disk, diagnosis=diagnose_disk(disk, Listing.read(disk)))
            found = events_of(history, seq, seq + 1)
    finally:
        disk.close()
    if not found:
        raise ValueError(f"there is no event {seq} to replace")
    old: Event[Any] = found[0]
    return EventCodec().encode(Event(seq, old.time, data, old.key, old.metadata))
