"""The events of a segment repacked into the records of an archive.

Records of a segment are as large as the commits were, often one event. Records of an archive are of
even size, and each is compressed by itself (`archive_format.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from eventstore.disk.base import Disk
from eventstore.log.archive_format import ArchiveBuilder
from eventstore.log.format import Record, SegmentHeader, record_size
from eventstore.log.segment import fresh_salt
from eventstore.model.codec import array_header, latest_time

__all__ = ["Pause", "compress_runs", "no_pause", "repack"]

Pause = Callable[[], None]
"""Lets other threads go on, between two slices of long work."""

RECORD_BYTES = 32 << 10
"""Bytes of events in a record of an archive, at least."""
_RECORD_EVENTS = 4096
_Run = tuple[int, int, bytes]
_Pack = Callable[[], Iterable[_Run]]
_decode_raw = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def no_pause() -> None:
    """Do not pause: no other thread waits."""


def compress_runs(
    disk: Disk, header: SegmentHeader, pack: _Pack, successor: int, pause: Pause = no_pause
) -> bytes:
    """Make the content of an archive from records: first number, count, and bytes of each.

    `pack` is called twice, at first for the size alone: all records would be a second segment.
    """
    data_size = sum(record_size(len(body)) for _, _, body in pack())
    builder = ArchiveBuilder(header, fresh_salt(disk), data_size)
    for first, count, body in pack():
        builder.add(first, count, body, latest_time(body, count))
        pause()
    return builder.finish(successor)


def repack(data: bytes, records: Iterable[Record], first: int, pause: Pause) -> Iterator[_Run]:
    """Repack the events of a finished segment into records of even size: number, count, bytes."""
    bodies: list[bytes] = []
    seq, size = first, 0
    for record in records:
        for count, body in _pieces(record.events, data[record.body]):
            bodies.append(body)
            seq, size = seq + count, size + len(body)
            if size >= RECORD_BYTES or seq - first >= _RECORD_EVENTS:
                yield first, seq - first, b"".join(bodies)
                first, bodies, size = seq, [], 0
                pause()
    if bodies:
        yield first, seq - first, b"".join(bodies)


def _pieces(count: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Take a large record apart into events, so that one is read without thousands of others."""
    if count == 1 or len(body) < RECORD_BYTES:
        yield count, body
        return
    for event in _decode_raw(array_header(count) + body):
        yield 1, bytes(event)
