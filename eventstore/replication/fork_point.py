"""The place where the histories of a store and of its stream parted, by the events themselves.

Theory of operation
-------------------
Timelines tell where one machine took the place of another. A store that lost events by a power
cut, or by an older copy, and went on without the events, has no timeline of its own. There the
events are compared, by checksum. Two histories that part never meet again. So reading begins a
little before the end, and further back only where the first event read differs already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec

from eventstore.cursor import checksum_at, checksum_of
from eventstore.errors import EventStoreError, StreamMismatchError
from eventstore.log.reader import LogReader
from eventstore.replication.connection import Connection
from eventstore.replication.messages import Record
from eventstore.replication.stream_reader import StreamReader

__all__ = ["Checksum", "checksums_of", "first_difference", "fork_error"]

_NEAR, _FURTHER = 64, 32
"""Events read at first, and how many times as many the next time."""

_decode_items = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

Checksum = Callable[[int], int | None]
"""Returns the checksum of an event of the store, `None` where the event is gone."""


def checksums_of(reader: LogReader) -> Checksum:
    """Return the function that reads the checksum of an event of a log."""

    def checksum(seq: int) -> int | None:
        with contextlib.suppress(EventStoreError):
            for chunk in reader.chunks(seq, seq + 1):
                return checksum_at(chunk.array, seq - chunk.first_seq)
        return None

    return checksum


async def first_difference(connection: Connection, checksum: Checksum, last: int) -> int | None:
    """Return the first event up to `last` that differs in the stream, `None` where all agree.

    Raises `StreamMismatchError` where the histories parted before the oldest event of the stream,
    or for a message of no store, and `ReplicationUnavailableError`.
    """
    span = _NEAR
    while True:
        start = max(last - span, 0)
        first, different = await _compare(connection, checksum, start, last)
        if different is None or different > first or different == 1:
            return different
        if not start:
            raise connection.error(
                StreamMismatchError,
                f"event {first}, the oldest one in the stream, is another one here: nobody knows "
                "where the histories parted. Move the directory away, and begin a standby in its "
                "place",
            )
        span *= _FURTHER


async def _compare(
    connection: Connection, checksum: Checksum, start: int, last: int
) -> tuple[int, int | None]:
    """Compare events from `start` to `last`, and read no message behind event `last`.

    Return the numbers of the first event compared and of the first different one.
    """
    first = 0
    stop = await connection.last_message()
    async with contextlib.aclosing(StreamReader(connection, start).messages(stop)) as messages:
        async for message in messages:
            if isinstance(message.content, Record):
                for seq, theirs in _checksums(message.content):
                    if start <= seq <= last:
                        first = first or seq
                        if checksum(seq) not in (None, theirs):
                            return first, seq
                if message.end.last >= last:
                    break
    return first, None


def _checksums(record: Record) -> Iterator[tuple[int, int]]:
    items: list[msgspec.Raw] = _decode_items(record.chunk.array)
    for seq, item in enumerate(items, record.first_seq):
        yield seq, checksum_of(bytes(item))


async def fork_error(
    connection: Connection, checksum: Checksum, ours: int, last: int
) -> StreamMismatchError:
    """Return the error for a store with other events up to event `ours` than the stream.

    The stream ends with event `last`.
    """
    parted = await first_difference(connection, checksum, min(ours, last)) or min(ours, last) + 1
    error = connection.error(
        StreamMismatchError,
        f"the stream does not fit this store: event {parted} is another one there. Two copies of "
        "the store were written, or a power cut took events and the store went on without the "
        f"cluster. Nothing was sent. The stream ends with event {last}. Next: eventstore "
        f"replication rejoin {connection.path}",
    )
    assert isinstance(error, StreamMismatchError)
    error.last_shared, error.last = parted - 1, last
    return error
