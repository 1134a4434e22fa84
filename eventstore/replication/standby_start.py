"""The first step of a standby: a directory with the store's identity, and events to go on from."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator

from eventstore.blocking_calls import run_blocking, run_opening
from eventstore.config import StoreConfig
from eventstore.errors import ReplicationError
from eventstore.replication.backup_place import ClusterPlace
from eventstore.replication.connecting import connect
from eventstore.replication.connection import Connection
from eventstore.replication.history_bucket import history_of
from eventstore.replication.lease import Holder
from eventstore.replication.replica_directory import ensure_replica
from eventstore.replication.searching import stream_end
from eventstore.replication.standby_progress import StandbyPlaces
from eventstore.replication_config import ReplicationConfig
from eventstore.tools.backup.copying import newest_catalog
from eventstore.tools.backup.entrance import open_place
from eventstore.tools.backup.places import Place

__all__ = ["prepare_replica"]


async def prepare_replica(
    path: str, config: StoreConfig, replicate: ReplicationConfig, backup: str | None
) -> Holder:
    """Make the directory of a standby where there is none, and return the directory's identity.

    A new directory begins with `backup`, or with the stream, or with the newest copy in the cluster
    where the stream does not reach back to event 1.

    Raises `ReplicationError` and its kinds, and the errors of a restore.
    """
    connection = await connect(path, replicate)
    try:
        await connection.ensure_stream(create=False)
        history = await history_of(connection)
        places, newcomer = await StandbyPlaces.of(connection), _newcomer(path)
        await places.tell(newcomer, 0)  # nobody trims the stream meanwhile
        try:
            async with _beginning(connection, path, backup) as place:
                holder = await run_opening(
                    path, None, lambda: ensure_replica(path, history, config, place), _keep
                )
            await places.tell(holder.id, 0)
        finally:
            with contextlib.suppress(ReplicationError):
                await places.forget(newcomer)
        return holder
    finally:
        await connection.close()


def _keep(holder: Holder) -> None:
    """Leave the directory of an opening that was given up: the next one goes on from there."""


def _newcomer(path: str) -> str:
    """Return a name for a standby without an identity: the same one after a crash."""
    place = f"{socket.gethostname()}:{os.path.abspath(path)}"
    return f"new-{hashlib.sha256(place.encode()).hexdigest()[:16]}"


@contextlib.asynccontextmanager
async def _beginning(
    connection: Connection, path: str, backup: str | None
) -> AsyncIterator[Place | None]:
    """Give the place that a new directory begins with, `None` for the stream's beginning."""
    if await asyncio.to_thread(os.path.lexists, path):
        yield None
    elif backup is not None:
        yield await asyncio.to_thread(open_place, backup)
    elif await _begins_with_event_1(connection):
        yield None
    else:
        place = await ClusterPlace.of(connection)
        try:
            if await run_blocking(None, lambda: newest_catalog(place)) is None:
                raise connection.error(
                    ReplicationError,
                    "the stream does not reach back to event 1, and the cluster has no copy of the "
                    "store: have the writer make one, with eventstore replication trim, or begin "
                    "with a backup",
                )
            yield place
        finally:
            place.close()


async def _begins_with_event_1(connection: Connection) -> bool:
    first = await connection.first_record()
    begin = None if first is None else connection.end_of(first.headers, first.seq or 0)
    if begin is not None:
        return begin.first == 1
    end = await stream_end(connection)
    return end is None or end.last == 0
