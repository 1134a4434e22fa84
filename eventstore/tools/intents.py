"""The open intents of a store, found without a handler: `open_intents`.

The marks of intents are in the events' metadata, and the newest snapshot has the intents that were
open then. So the events behind that snapshot are enough, as plain data.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import snapshot_name
from eventstore.disk.manifest import Manifest
from eventstore.errors import EventStoreError
from eventstore.log.reader import LogReader
from eventstore.model.codec import EventCodec, array_header
from eventstore.model.open_intents import NO_INTENTS, OpenIntents, holds_marks
from eventstore.model.operation import OPERATION_FIELD, Event
from eventstore.snapshot.format import InvalidSnapshotError, parse

__all__ = ["OpenIntent", "open_events", "open_intents"]

_PLAIN = EventCodec()


class OpenIntent(msgspec.Struct, frozen=True):
    """An open intent: the client order id, the name of the operation, and the event's number."""

    id: str
    operation: str
    seq: int


def open_intents(
    disk: Disk, manifest: Manifest, snapshots: Sequence[int], *, readable_from: int = 0
) -> tuple[OpenIntent, ...] | None:
    """Return the open intents, oldest first, `None` where the events cannot be read.

    `snapshots` are the events with a snapshot, ascending. `readable_from` is the first event that
    the caller wants to be read: `None` is returned where earlier ones are needed.
    """
    if manifest.kind == "store" and max(snapshots, default=0) + 1 < readable_from:
        return None
    try:
        opened = open_events(disk, manifest, snapshots)
    except (EventStoreError, FileNotFoundError):
        return None
    return tuple(OpenIntent(name, _operation(event.data), event.seq) for name, event in opened)


def open_events(
    disk: Disk,
    manifest: Manifest,
    snapshots: Sequence[int],
    advance: Callable[[int], None] = lambda count: None,
) -> list[tuple[str, Event[Any]]]:
    """Return the ids and events of the open intents, oldest first, as plain data.

    `advance` is called with the number of events looked at since the last call. Raises
    `CorruptLogError` and the other errors of reading.
    """
    seq, intents = _newest(disk, manifest.store, snapshots)
    if manifest.logged and manifest.kind == "store":
        for chunk in LogReader(disk, manifest.store).chunks(seq + 1):
            if holds_marks(chunk.array):
                events = _PLAIN.decode(chunk.array, chunk.events, chunk.first_seq)
                intents = intents.after(event for event in events if event.seq > seq)
            advance(chunk.events)
    return intents.by_age()


def _newest(disk: Disk, store: uuid.UUID, snapshots: Sequence[int]) -> tuple[int, OpenIntents]:
    """Return the newest whole snapshot's event, 0 without one, and the intents open there."""
    for seq in sorted(snapshots, reverse=True):
        try:
            header, about, _, _ = parse(read_whole(disk, snapshot_name(seq)))
            if header.store == store and header.seq == seq:
                return seq, OpenIntents.decoded(about.intents, about.used, _decoded)
        except (InvalidSnapshotError, EventStoreError, FileNotFoundError, KeyError, TypeError):
            continue
    return 0, NO_INTENTS


def _decoded(data: bytes) -> list[Event[Any]]:
    return _PLAIN.decode(array_header(1) + data, 1, msgspec.msgpack.decode(data)[0])


def _operation(data: Any) -> str:
    tag = data.get(OPERATION_FIELD, "") if isinstance(data, Mapping) else ""
    return str(tag).partition("@")[0]
