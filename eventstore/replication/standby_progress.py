"""How far each standby is, as told in the cluster, and so the messages to keep for each standby.

Theory of operation
-------------------
Each standby writes the number of its last durable event into a key-value bucket beside the stream,
several times in the span of a lease. The cluster removes an entry that was not written for
`ABSENCE`: a standby that stays away so long begins anew, from the copy in the cluster.
"""

from __future__ import annotations

import contextlib

import nats.js.errors
from nats.js.kv import KeyValue

from eventstore.replication.asking import asked
from eventstore.replication.bucket_listing import subjects_of
from eventstore.replication.connection import Connection

__all__ = ["ABSENCE", "StandbyPlaces", "standby_places"]

ABSENCE = 7 * 86_400.0
"""Seconds until the stream stops to keep messages for an absent standby."""


class StandbyPlaces:
    """The last events of the standbys of one stream, each by the identity of its directory."""

    def __init__(self, connection: Connection, bucket: KeyValue) -> None:
        self._connection = connection
        self._bucket = bucket

    def __repr__(self) -> str:
        return f"<StandbyPlaces of {self._connection.config.stream!r}>"

    @classmethod
    async def of(cls, connection: Connection) -> StandbyPlaces:
        """Return the places at the connection's stream, and make the bucket where there is none.

        Raises `ReplicationError`.
        """
        config, name = connection.config, _bucket_name(connection)
        with connection.making(f"the bucket {name}"):
            bucket = await asked(
                lambda: connection.stream.create_key_value(
                    bucket=name, ttl=ABSENCE, replicas=config.replicas
                )
            )
        return cls(connection, bucket)

    async def tell(self, standby: str, seq: int) -> None:
        """Say that a standby has the events up to `seq`. Raises `ReplicationUnavailableError`."""
        connection = self._connection
        with connection.translating("telling the place of the standby"):
            await connection.put(lambda: self._bucket.put(standby, b"%d" % seq))

    async def forget(self, standby: str) -> None:
        """Remove the place of a standby. Raises `ReplicationUnavailableError`."""
        with self._connection.translating("forgetting the place of the standby"):
            await self._bucket.delete(standby)

    async def all(self) -> dict[str, int]:
        """Return the last event of each standby. Raises `ReplicationUnavailableError`."""
        found, name = {}, _bucket_name(self._connection)
        with self._connection.translating("reading the places of the standbys"):
            before = f"$KV.{name}."
            for subject in await subjects_of(self._connection, f"KV_{name}", f"{before}>"):
                key = subject.removeprefix(before)
                with contextlib.suppress(nats.js.errors.KeyNotFoundError):  # forgotten
                    found[key] = int((await self._bucket.get(key)).value or b"0")
        return found


async def standby_places(connection: Connection) -> dict[str, int]:
    """Return the last event of each standby, and make no bucket.

    Raises `ReplicationUnavailableError`.
    """
    with connection.translating("reading the places of the standbys"):
        try:
            bucket = await connection.stream.key_value(_bucket_name(connection))
        except nats.js.errors.NotFoundError:
            return {}
    return await StandbyPlaces(connection, bucket).all()


def _bucket_name(connection: Connection) -> str:
    return f"{connection.config.stream}-standbys"
