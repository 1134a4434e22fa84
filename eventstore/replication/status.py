"""The state of a stream beside a store's directory, found without taking a lock or a lease."""

from __future__ import annotations

import os
from typing import NamedTuple

from eventstore.arguments import checked_path
from eventstore.blocking_calls import run_blocking
from eventstore.config import StoreConfig
from eventstore.cursor import checksum_at
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import StreamMismatchError
from eventstore.log.base import Chunk
from eventstore.log.reader import LogReader
from eventstore.replication.backup_place import ClusterPlace
from eventstore.replication.connecting import connect, settings_in
from eventstore.replication.connection import Connection
from eventstore.replication.lease import read_holder
from eventstore.replication.messages import StreamEnd
from eventstore.replication.searching import stream_end
from eventstore.replication.standby_progress import standby_places
from eventstore.tools.backup.copying import newest_catalog

__all__ = ["StreamStatus", "stream_status"]


class StreamStatus(NamedTuple):
    """What a stream and a directory have.

    Attributes:
        path: The directory.
        stream: The name of the stream.
        last: Last event in the stream, 0 in an empty one.
        timeline: Number of the timeline that the stream ends in.
        holder: Holder of the lease in words, `None` while nobody has the lease.
        here: Last event in the directory.
        here_timeline: Number of the timeline that the directory ends in.
        level: Whether stream and directory end with the same event of the same timeline.
        messages: Number of messages in the stream.
        bytes: Bytes of the stream on one server.
        copied: Last event of the newest copy in the cluster, `None` without a copy.
        standbys: Last event that each standby has told, by the identity in its `replica.json`.
    """

    path: str
    stream: str
    last: int
    timeline: int
    holder: str | None
    here: int
    here_timeline: int
    level: bool
    messages: int
    bytes: int
    copied: int | None
    standbys: dict[str, int]

    @property
    def told(self) -> str:
        """The status in one sentence."""
        held = "nobody writes" if self.holder is None else f"{self.holder} writes"
        copied = "no copy" if self.copied is None else f"a copy up to event {self.copied:,}"
        standbys = [f"standby {name} at event {seq:,}" for name, seq in self.standbys.items()]
        other = ""
        if not self.level and (self.last, self.timeline) == (self.here, self.here_timeline):
            other = " of another history"
        return (
            f"stream {self.stream!r}: event {self.last:,}, timeline {self.timeline}; {held}; "
            f"{self.path}: event {self.here:,}, timeline {self.here_timeline}{other}; in "
            f"the cluster: {', '.join([copied, *(standbys or ['no standby'])])}"
        )


async def stream_status(path: str | os.PathLike[str], config: StoreConfig) -> StreamStatus:
    """Compare the stream of a configuration with the store at `path`. Changes nothing.

    Raises `ReplicationError` and its kinds, `StreamMismatchError` for the stream of another store,
    and the errors of reading a store.
    """
    settings = settings_in(config, "to look at a stream")
    where = checked_path(path)
    connection = await connect(where, settings)
    try:
        await connection.ensure_stream(create=False)
        end = await stream_end(connection)
        info = await connection.stream.stream_info(settings.stream)
        holder = await read_holder(connection)
        copied, standbys = await _copied(connection), await standby_places(connection)
    finally:
        await connection.close()
    here = await run_blocking(None, lambda: _end_of(where))
    if end is not None and end.store != here.store:
        reason = f"the stream is of the store {end.store}, and this is the store {here.store}"
        raise connection.error(StreamMismatchError, reason)
    return StreamStatus(
        where,
        settings.stream,
        0 if end is None else end.last,
        0 if end is None else end.timeline,
        None if holder is None else str(holder),
        here.last,
        here.timeline,
        end is not None and _same_end(end, here),
        info.state.messages,
        info.state.bytes,
        copied,
        standbys,
    )


async def _copied(connection: Connection) -> int | None:
    """Return the last event of the newest copy in the cluster."""
    place = await ClusterPlace.find(connection)
    if place is None:
        return None
    try:
        catalog = await run_blocking(None, lambda: newest_catalog(place))
    finally:
        place.close()
    return None if catalog is None else catalog.last


def _same_end(end: StreamEnd, here: StreamEnd) -> bool:
    theirs, ours = ((one.last, one.timeline, one.timeline_id, one.checksum) for one in (end, here))
    return theirs[:3] == ours[:3] and (theirs == ours or 0 in (end.checksum, here.checksum))


def _end_of(path: str) -> StreamEnd:
    """Return the end of the directory. The checksum is 0 where the last event is not in the log."""
    disk = LocalDisk(path, create=False, read_only=True)
    try:
        manifest = load_manifest(disk)
        last, checksum, timeline = manifest.history_start - 1, 0, manifest.timelines[-1]
        end: Chunk | None = None
        for end in LogReader(disk, manifest.store).chunks(max(manifest.log_start, 1)):
            last = end.first_seq + end.events - 1
        if end is not None:
            checksum = checksum_at(end.array, end.events - 1)
        return StreamEnd(manifest.store, timeline.number, timeline.id, last, checksum)
    finally:
        disk.close()
