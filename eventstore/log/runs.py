"""Runs: the bodies of consecutive records, joined so that one call decodes many events.

A record may hold a single event, and a decoder call costs more than one event. So decoding record
by record would spend most of the time in calls.

`gather_runs` serves the reader of unsealed segments and recovery. The loop over
finished files (`segment_reader.py`) gathers bodies into an `OpenRun` by itself. That loop runs once
for every record of a history, and a generator would slow the loop down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from eventstore.log.base import Chunk
from eventstore.log.format import RECORD_HEADER_SIZE, Record
from eventstore.model.codec import array_header

__all__ = ["CHUNK_BYTES", "CHUNK_EVENTS", "OpenRun", "Run", "chunks_of", "gather_runs", "narrowed"]

CHUNK_BYTES = 256 << 10
"""Body bytes after which a run is full, unless told otherwise."""
CHUNK_EVENTS = 4096
"""Events after which a run is full."""
_LARGE = 4096
_decode_raw = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Run(NamedTuple):
    """Bodies of consecutive records: events `first_seq` up to `next_seq` (exclusive)."""

    first_seq: int
    next_seq: int
    bodies: list[bytes | memoryview]


def gather_runs(
    data: bytes, records: Iterable[Record], start: int, max_bytes: int, max_events: int
) -> Iterator[Run]:
    """Gather the bodies of verified records into runs.

    Args:
        data: The bytes of the segment.
        records: Records of that segment with events, in order.
        start: Number of the first wanted event. A record that ends before `start` is left out.
        max_bytes: Body bytes after which a run is full. One record may exceed the limit.
        max_events: Events after which a run is full.
    """
    bodies: list[bytes | memoryview] = []
    first = end = start
    size, view = 0, memoryview(data)
    for offset, number, events, length, _, _ in records:
        end = number + events
        if end <= start:
            continue
        if not bodies:
            first = number
        body = offset + RECORD_HEADER_SIZE
        part = data if length < _LARGE else view  # a view costs more than the copy of a small body
        bodies.append(part[body : body + length])
        size += length
        if size >= max_bytes or end - first >= max_events:
            yield Run(first, end, bodies)
            bodies, size = [], 0
    if bodies:
        yield Run(first, end, bodies)


def chunks_of(
    data: bytes, records: Iterable[Record], start: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Chunk]:
    """Gather verified records of one segment into chunks, from event `start` on.

    The first chunk may begin before `start`, in the middle of a record. `chunk_bytes` is the number
    of body bytes after which a chunk is full.
    """
    for run in gather_runs(data, records, start, chunk_bytes, CHUNK_EVENTS):
        yield _chunk(*run)


class OpenRun:
    """A run under construction: events `first_seq` up to `next_seq` (exclusive).

    - `start`: a record that ends before event `start` is left out.
    - `chunk_bytes`: body bytes after which the run is full.
    - `room`: body bytes until the run is full.
    """

    __slots__ = ("bodies", "chunk_bytes", "first_seq", "next_seq", "room", "start")

    def __init__(self, first_seq: int, start: int, chunk_bytes: int) -> None:
        self.start = start
        self.chunk_bytes = chunk_bytes
        self.first_seq = self.next_seq = first_seq
        self.bodies: list[bytes] = []
        self.room = chunk_bytes

    def take(self) -> Chunk:
        """Return the run as a chunk, and begin the next run."""
        chunk = _chunk(self.first_seq, self.next_seq, self.bodies)
        self.first_seq, self.bodies, self.room = self.next_seq, [], self.chunk_bytes
        return chunk


def narrowed(chunk: Chunk, start: int, stop: int) -> Chunk:
    """Cut a chunk to the events from `start` up to `stop` (exclusive), without decoding others."""
    first, behind = max(chunk.first_seq, start), min(chunk.first_seq + chunk.events, stop)
    if behind - first == chunk.events or behind <= first:
        return chunk
    try:
        bodies = _decode_raw(chunk.array)[first - chunk.first_seq : behind - chunk.first_seq]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return chunk  # decoding tells the fault
    return _chunk(first, behind, list(map(bytes, bodies)))


def _chunk(first_seq: int, next_seq: int, bodies: Iterable[bytes | memoryview]) -> Chunk:
    """Join the bodies of a run to one MessagePack array."""
    events = next_seq - first_seq
    return Chunk(first_seq, events, b"".join((array_header(events), *bodies)))
