"""Events of a damaged log: everything whole, and a gap for each part that cannot be read.

Outside of the damaged files the log is read as always, so nothing waits for a diagnosis of the
whole store. A damaged segment is read as a repair reads it (`repair/salvage.py`). An archive with
damage is left out as a whole.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.layout import segment_name
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import CorruptLogError, EventStoreError
from eventstore.log.base import Chunk
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.repair.damaged_places import Part
from eventstore.repair.salvage import History, history_of_file
from eventstore.repair.segments_by_header import placed_segments

__all__ = ["Gap", "read_around_damage"]

_NO_LAST = 1 << 62


class Gap(msgspec.Struct, frozen=True):
    """Events that cannot be read: `first` to `last`, in the file `path`.

    `last` is `None` where nobody knows how many there were. `reason` is the message of the error.
    """

    first: int
    last: int | None
    path: str
    reason: str


def read_around_damage(
    disk: Disk, start: int, stop: int | None = None, codec: EventCodec | None = None
) -> Iterator[Sequence[Event[Any]] | Gap]:
    """Iterate over the events from number `start` to `stop` (exclusive), and over the gaps.

    Payloads are plain dictionaries, or what `codec` decodes. Raises `StoreNotFoundError`,
    `HistoryUnavailableError`, and `ReadFailedError`.
    """
    seq = start
    codec = EventCodec() if codec is None else codec
    manifest = load_manifest(disk)
    while stop is None or seq < stop:
        try:
            for chunk in LogReader(disk, manifest.store, CACHED_BYTES).chunks(seq, stop):
                yield _events(codec, chunk, seq, stop)
                seq = chunk.first_seq + chunk.events
            return
        except CorruptLogError as error:
            reason, path = str(error), error.path.removeprefix(f"{disk.path}/")
        files = _files(disk, manifest := load_manifest(disk))
        firsts = sorted(files)
        place = bisect.bisect_right(firsts, seq)
        following = firsts[place] if place < len(firsts) else None
        end = min((one for one in (following, stop) if one is not None), default=None)
        first = firsts[place - 1] if place else 0
        damaged = _damaged_file(disk, files.get(first), first, following)
        for chunk in () if damaged is None else damaged.chunks(seq, end):
            if chunk.first_seq > seq:
                yield Gap(seq, chunk.first_seq - 1, path, reason)
            yield _events(codec, chunk, max(seq, chunk.first_seq), end)
            seq = chunk.first_seq + chunk.events
        if damaged is not None and following is None and _is_the_end(damaged):
            return
        if end is None:
            yield Gap(seq, None, path, reason)
            return
        if seq < end:
            yield Gap(seq, end - 1, path, reason)
            seq = end


def _files(disk: Disk, manifest: Manifest) -> dict[int, str]:
    """Name the file of each part of the history by its first event. An archive has no name here."""
    placed, _ = placed_segments(disk, manifest, Listing.read(disk))
    archived = {first: "" for first, _, _ in manifest.archived}
    return archived | {first: found.source for first, found in placed.items()}


def _damaged_file(
    disk: Disk, source: str | None, first: int, following: int | None
) -> History | None:
    """Return the readable events of a damaged segment, `None` where no event can be read."""
    if not source:
        return None
    last = _NO_LAST if following is None else following - 1
    part = Part(name=segment_name(first), source=source, archived=False, first=first, last=last)
    history = history_of_file(disk, part)
    try:
        history.load(part)
    except (EventStoreError, FileNotFoundError):
        return None
    return history


def _is_the_end(history: History) -> bool:
    return history.load(history.diagnosis.parts[0]).ended


def _events(codec: EventCodec, chunk: Chunk, first: int, stop: int | None) -> Sequence[Event[Any]]:
    events = codec.decode(chunk.array, chunk.events, chunk.first_seq)
    behind = chunk.events if stop is None else stop - chunk.first_seq
    return events[max(0, first - chunk.first_seq) : behind]
