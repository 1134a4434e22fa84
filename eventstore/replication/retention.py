"""Retention: a copy of the store goes to the cluster, and the stream is trimmed behind the copy.

Theory of operation
-------------------
The copy is a backup (`eventstore/tools/backup`) in an object store beside the stream. Each part of
the copy is read back before the copy counts, and every part of the whole copy must be there before
anything is removed. The copy is older than the message that the stream ended with, so nothing is
removed that another machine wrote meanwhile.

A writer may be sending events again, behind an old message that came twice. Then the last messages
of the stream name older events than the messages before. So trimming waits until the stream ends
with the last event of the copy, for as long as the stream goes on.

The stream keeps every record behind the last event of the copy, every record that a standby lacks
(`standby_progress.py`), the message right before these, every history message, and the last
message.

The engine's process makes the copy in a thread, once the stream has grown beyond
`replicate.trim_above`, or an operator does, with `eventstore replication trim`.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import NamedTuple

from eventstore.arguments import checked_path
from eventstore.blocking_calls import run_blocking
from eventstore.config import StoreConfig
from eventstore.disk.local import LocalDisk
from eventstore.errors import EventStoreError, ReplicationError, StreamMismatchError
from eventstore.operator_log import operator_log
from eventstore.replication.backup_place import ClusterPlace
from eventstore.replication.connecting import connect, settings_in
from eventstore.replication.connection import Connection
from eventstore.replication.messages import StreamEnd
from eventstore.replication.replica_directory import manifest_of
from eventstore.replication.searching import find_message, own_message, stream_end
from eventstore.replication.standby_progress import StandbyPlaces
from eventstore.standing_warnings import StandingWarnings
from eventstore.tools.backup.catalog import Catalog
from eventstore.tools.backup.copying import backup
from eventstore.tools.backup.restore import plan_restore

__all__ = ["Trimmed", "keep_small", "trim"]

_logger = operator_log("eventstore.replication")

_COPIES = 2
_LOOK = 0.2
"""Seconds between two looks at the end of the stream."""
_WARNING = "replication-trim"


class Trimmed(NamedTuple):
    """The result of trimming a stream.

    Attributes:
        copied: Last event of the newest copy in the cluster.
        oldest_standby: Last event of the standby that is furthest behind, `None` without standbys.
        bytes_before: Bytes of the stream on one server before.
        bytes: Bytes of the stream afterwards.
    """

    copied: int
    oldest_standby: int | None
    bytes_before: int
    bytes: int


async def trim(path: str | os.PathLike[str], config: StoreConfig) -> Trimmed:
    """Copy the writer's store at `path` to the cluster, and trim the stream behind the copy.

    Runs beside the writer, without the lock. Cancelling leaves the stream as it was.

    Raises `ReplicationError` and its kinds, `StreamMismatchError` for a store that is not the
    stream's writer, and the errors of a backup.
    """
    settings = settings_in(config, "to trim a stream")
    connection = await connect(checked_path(path), settings)
    try:
        await connection.ensure_stream(create=False)
        return await _trimmed(connection)
    finally:
        await connection.close()


async def keep_small(connection: Connection, warnings: StandingWarnings) -> None:
    """Trim the stream whenever it has grown beyond `replicate.trim_above`, without an end.

    Trouble becomes a standing warning. Raises `ReplicationUnavailableError`.
    """
    limit = connection.config.trim_above
    wanted = limit or 0
    while True:
        await asyncio.sleep(connection.config.lease)  # the stream grows slowly
        if limit is None or await connection.size() < wanted:
            continue
        try:
            found = await _trimmed(connection)
        except (EventStoreError, OSError) as error:
            text = f"the stream is not trimmed: {error}"
            warnings.begin(_WARNING, text, _logger)
            wanted = await connection.size() + limit // 4
        else:
            wanted = max(limit, found.bytes + limit // 4)
            if found.bytes < limit:
                warnings.end(_WARNING, "the stream is trimmed again")
            else:
                text = (
                    f"the stream is not trimmed below {found.bytes} bytes: the copy in the cluster "
                    f"ends with event {found.copied}, the oldest standby with event "
                    f"{found.oldest_standby}"
                )
                warnings.begin(_WARNING, text, _logger)


async def _trimmed(connection: Connection) -> Trimmed:
    last, end = await connection.last_number(), await stream_end(connection)
    if end is None:
        raise connection.error(ReplicationError, "the stream is empty: there is nothing to trim")
    place = await ClusterPlace.of(connection)
    try:
        catalog = await run_blocking(None, lambda: _copy(connection, place, end))
    finally:
        place.close()
    reached = await _reached(connection, catalog.last)
    standbys = await (await StandbyPlaces.of(connection)).all()
    if max(standbys.values(), default=0) > reached:
        raise connection.error(
            ReplicationError,
            f"a standby has event {max(standbys.values())}, and the stream ends with event "
            f"{reached}: the writer has to send the rest again first. Nothing was trimmed",
        )
    oldest = min(standbys.values(), default=None)
    safe = catalog.last if oldest is None else min(catalog.last, oldest)
    found = await find_message(connection, lambda one: one.last > safe)
    before = await connection.size()
    begin = last if found is None else await own_message(connection, found.begin)
    await connection.purge_records(min(last, begin))
    return Trimmed(catalog.last, oldest, before, await connection.size())


async def _reached(connection: Connection, last: int) -> int:
    """Wait until the stream ends with event `last`, or stands still. Return its last event."""
    reached, since = -1, time.monotonic()
    while True:
        end = await stream_end(connection)
        now = 0 if end is None else end.last
        if now > reached:
            reached, since = now, time.monotonic()
        if reached >= last or time.monotonic() - since > connection.config.lease:
            return reached
        await asyncio.sleep(_LOOK)  # nobody tells of the end


def _copy(connection: Connection, place: ClusterPlace, end: StreamEnd) -> Catalog:
    """Copy the store, and return the newest copy, every part of which is in the cluster."""
    timeline = manifest_of(connection.path).timelines[-1]
    if (timeline.number, timeline.id) != (end.timeline, end.timeline_id):
        raise connection.error(
            StreamMismatchError,
            f"the stream is in timeline {end.timeline}, and this store in timeline "
            f"{timeline.number}: trim with the directory of the writer. Nothing was removed",
        )
    disk = LocalDisk(connection.path, read_only=True)
    try:
        copy = backup(disk, place, keep=_COPIES)
    finally:
        disk.close()
    plan = plan_restore(place)
    if plan.missing:
        raise connection.error(
            ReplicationError,
            f"the copy in the cluster lacks {len(plan.missing)} objects, the first is "
            f"{plan.missing[0]}: nothing was trimmed. Remove the object store "
            f"{connection.config.stream}-copy, and trim again",
        )
    return copy.catalog
