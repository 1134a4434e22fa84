"""Adopting: the events that the stream has and this disk lost go back into the log.

Theory of operation
-------------------
With `quorum`, a record is sent beside the sync of this disk. A power cut can take the record from
the disk when the stream has it. Nobody was told that such an event is safe, because the sync had
not ended. But the stream has the event, and a standby may have it. So the event stands, and the
opening takes it over before the store serves anything. A directory that is an older copy gets its
later events back in the same way.

The opening has the lock and the lease, and shipping has found out that the stream goes on in a
timeline of the store (`shipping.py`). The records of the stream are then written behind the end of
the log, byte for byte, and the opening recovers once more. Two things are checked before the first
byte is written:

- The last event of the log is the same one in the stream. Otherwise the histories parted earlier.
- The numbers go on without a gap.

A crash in between leaves a beginning of the tail, and the next opening takes over the rest. A
machine that is promoted meanwhile begins a timeline: nothing behind that place is taken, and the
store finds itself fenced afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib

from eventstore.config import StoreConfig
from eventstore.cursor import checksum_at
from eventstore.disk.base import Disk
from eventstore.disk.manifest import Manifest
from eventstore.errors import StreamMismatchError
from eventstore.log.reader import LogReader
from eventstore.log.recovery import RecoveredLog
from eventstore.log.writer import LogWriter
from eventstore.replication.connecting import connect
from eventstore.replication.connection import Connection
from eventstore.replication.fork_point import checksums_of, fork_error
from eventstore.replication.messages import Record
from eventstore.replication.searching import stream_end
from eventstore.replication.stream_reader import StreamReader

__all__ = ["PartedError", "TailAdoption", "adopt"]


class PartedError(Exception):
    """The last event of the log is another one in the stream."""


class TailAdoption:
    """The writing of records behind the end of a log.

    `checksum` is the checksum of the log's last event, `None` where the event is gone.
    """

    def __init__(self, writer: LogWriter, checksum: int | None) -> None:
        self._writer = writer
        self._end = writer.next_seq - 1
        self._checksum = checksum

    def __repr__(self) -> str:
        return f"<TailAdoption behind event {self._end}, at event {self._writer.next_seq}>"

    def take(self, record: Record) -> int | None:
        """Write what is new in the next record of the stream.

        Returns the missing event where the record leaves a gap, `None` otherwise. Raises
        `PartedError`, and the errors of a commit. What was taken is durable once the writer is
        closed.
        """
        if record.first_seq <= self._end <= record.last_seq:
            theirs = checksum_at(record.chunk.array, self._end - record.first_seq)
            if self._checksum not in (None, theirs):
                raise PartedError
        new = record.behind(self._writer.next_seq - 1)
        if new is None:
            return None
        if new.first_seq > self._writer.next_seq:
            return self._writer.next_seq
        self._writer.commit(new.first_seq, new.events, new.body, sync=False)
        return None


def adopt(
    disk: Disk,
    manifest: Manifest,
    opened: RecoveredLog,
    config: StoreConfig,
    checksum: int | None,
) -> None:
    """Write the events of the stream behind the end of the log `opened`. Blocks until all is done.

    `checksum` is the checksum of the last event of the log, `None` where the event is gone.

    Raises `StreamMismatchError` where the histories parted or the stream has a gap, the other
    errors of replication, and the errors of a commit.
    """
    writer = LogWriter(
        disk,
        manifest.store,
        opened.last,
        opened.next_seq,
        spare_ready=opened.spare_ready,
        segment_size=config.segment_size,
        slow_sync=config.slow_sync,
        timeline=manifest.timelines[-1].number,
    )
    try:
        asyncio.run(_adopt(disk, manifest, config, TailAdoption(writer, checksum), opened.next_seq))
    finally:
        writer.close()


async def _adopt(
    disk: Disk, manifest: Manifest, config: StoreConfig, adoption: TailAdoption, next_seq: int
) -> None:
    assert config.replicate is not None
    connection = await connect(disk.path, config.replicate)
    ours = {(one.number, one.id) for one in manifest.timelines}
    try:
        stop = await connection.last_message()
        reader = StreamReader(connection, next_seq - 1)
        async with contextlib.aclosing(reader.messages(stop)) as messages:
            async for message in messages:
                if (message.end.timeline, message.end.timeline_id) not in ours:
                    return  # another machine was promoted meanwhile
                if isinstance(message.content, Record):
                    missing = adoption.take(message.content)
                    if missing is not None:
                        raise _gap_error(connection, missing, message.content)
    except PartedError:
        end = await stream_end(connection)
        checksum = checksums_of(LogReader(disk, manifest.store))
        last = next_seq - 1 if end is None else end.last
        raise await fork_error(connection, checksum, next_seq - 1, last) from None
    finally:
        await connection.close()


def _gap_error(connection: Connection, missing: int, record: Record) -> StreamMismatchError:
    error = connection.error(
        StreamMismatchError,
        f"the stream goes on with event {record.first_seq}, and this store ends with event "
        f"{missing - 1}: the events between are gone from the stream. Move the directory away, "
        f"begin a standby there, and promote it",
    )
    assert isinstance(error, StreamMismatchError)
    error.last_shared, error.last = missing - 1, record.last_seq
    return error
