"""Before a promotion: the stream gets the events of the standby that it lacks.

Theory of operation
-------------------
A timeline begins in the stream behind the last event of the promoted directory. The stream can end
before that event: the directory began with a backup of the writer, or an old message came twice and
the writer was lost before it sent the events again. Then every other reader would find a gap, so
the promotion does first what a writer does at each connection: it removes what fitted behind a
refused message, and sends the rest.
"""

from __future__ import annotations

import asyncio

from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest
from eventstore.log.reader import LogReader
from eventstore.replication.backlog import Backlog
from eventstore.replication.connection import Connection
from eventstore.replication.fork_point import checksums_of
from eventstore.replication.messages import History
from eventstore.replication.searching import stream_end
from eventstore.replication.shipping import WINDOW, Shipping
from eventstore.replication.tail_mending import mend

__all__ = ["close_gap"]


async def close_gap(connection: Connection, manifest: Manifest, last: int) -> bool:
    """Send what the stream lacks up to event `last`, the last one of a directory with the lease.

    Returns whether there was anything. Raises the errors of `Shipping.position` and `Shipping.run`.
    """
    await mend(connection, WINDOW, last)
    end = await stream_end(connection)
    if end is None or end.last >= last:
        return False
    disk = LocalDisk(connection.path, create=False, read_only=True)
    try:
        reader, level = LogReader(disk, manifest.store), asyncio.Event()

        def told(seq: int) -> None:
            if seq >= last:
                level.set()

        async def until_level() -> None:
            await level.wait()

        backlog = Backlog(reader.chunks, last)
        shipping = Shipping(connection, History.of(manifest), backlog, checksums_of(reader), told)
        await shipping.position()
        await connection.first_ended(shipping.run(), until_level())
    finally:
        disk.close()
    return True
