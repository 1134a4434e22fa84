"""The lease: an entry in the cluster with the name of the one machine that writes.

Theory of operation
-------------------
The lease is one key of a JetStream key-value bucket. The cluster removes an entry of the bucket
after `replicate.lease` seconds. The writer renews the entry three times in so many seconds. Only
the cluster's servers measure the age, so no clock of one machine is compared with another's.

The lease keeps two machines from writing by mistake, and tells a standby of a silent writer. Safety
does not rest on the lease. The stream refuses a writer who was away too long, because the writer
expects a wrong sequence number (`connection.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import time

import msgspec
import nats.js.errors
from nats.js.kv import KeyValue

from eventstore.errors import LeaseHeldError, ReplicationError, ReplicationUnavailableError
from eventstore.replication.asking import asked
from eventstore.replication.connection import Connection
from eventstore.replication.endings import end_tasks
from eventstore.replication.identity import Identity

__all__ = ["Holder", "Lease", "holder_of", "read_holder"]

_KEY = "writer"
_OTHER_REVISION = (10071, 10164)
"""The server's codes for an entry that another one has replaced."""
_ATTEMPTS = 10  # a busy cluster answers slowly, and the other machine renews meanwhile


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A holder of the lease: a directory by a random identity, and for people host and process."""

    id: str
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holder_of(identity: Identity) -> Holder:
    """Return this process as the holder of a lease for a directory."""
    return Holder(id=identity.id, host=socket.gethostname(), pid=os.getpid())


async def read_holder(connection: Connection) -> Holder | None:
    """Return the holder of the lease, `None` for nobody. Raises `ReplicationError`."""
    with connection.translating("reading the lease"):
        try:
            bucket = await connection.stream.key_value(f"{connection.config.stream}-lease")
            entry = await bucket.get(_KEY)
        except (nats.js.errors.BucketNotFoundError, nats.js.errors.KeyNotFoundError):
            return None
    return _decode_holder(connection, entry.value)


def _decode_holder(connection: Connection, value: bytes | None) -> Holder:
    """Raise `ReplicationError` for an entry that no store has written."""
    try:
        return msgspec.json.decode(value or b"", type=Holder)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise connection.error(
            ReplicationError,
            f"the entry of the lease was not written by a store ({error}): remove it, with "
            f"nats kv del {connection.config.stream}-lease {_KEY}",
        ) from error


class Lease:
    """The lease of one stream, as one machine sees it."""

    def __init__(self, connection: Connection, bucket: KeyValue, holder: Holder) -> None:
        self._connection = connection
        self._bucket = bucket
        self.holder = holder
        self._revision = 0

    def __repr__(self) -> str:
        return f"<Lease of {self._connection.config.stream!r} for {self.holder}>"

    @classmethod
    async def of(cls, connection: Connection, holder: Holder) -> Lease:
        """Return the lease of the connection's stream, and make its bucket where there is none.

        Raises `ReplicationError`.
        """
        config, name = connection.config, f"{connection.config.stream}-lease"
        with connection.making(f"the bucket {name}"):
            bucket = await asked(
                lambda: connection.stream.create_key_value(
                    bucket=name, ttl=config.lease, replicas=config.replicas
                )
            )
        return cls(connection, bucket, holder)

    async def current(self) -> Holder | None:
        """Return the holder of the lease, `None` where nobody has renewed in time."""
        with self._connection.translating("reading the lease"):
            try:
                entry = await asked(lambda: self._bucket.get(_KEY))
            except nats.js.errors.KeyNotFoundError:
                self._revision = 0
                return None
        self._revision = entry.revision or 0
        return _decode_holder(self._connection, entry.value)

    async def acquire(self, *, by_force: bool = False) -> None:
        """Take the lease, from this directory's earlier life, or from anybody (`by_force`).

        Another connection of this directory may renew the lease in the same moment: a promotion
        does so while the store is opened. Then this directory has the lease.

        Raises `LeaseHeldError` where another machine has the lease.
        """
        for _ in range(_ATTEMPTS):
            found = await self.current()
            if found is not None and found.id != self.holder.id and not by_force:
                raise self._connection.error(
                    LeaseHeldError,
                    f"{found} holds the lease, and renewed it less than "
                    f"{self._connection.config.lease:g} s ago. Stop that writer, or promote a "
                    "standby",
                )
            if await self._write() or await self._is_ours():
                return
        raise self._connection.error(
            LeaseHeldError, "other machines took the lease in the same moment: try again"
        )

    async def renew(self) -> bool:
        """Renew the lease. Returns whether the machine still has the lease.

        A lease that has run out is not taken again here: another machine may have written since.
        """
        # An answer may have been lost.
        return await self._write() or (await self._is_ours() and await self._write())

    async def _is_ours(self) -> bool:
        found = await self.current()
        return found is not None and found.id == self.holder.id

    async def keep(self) -> None:
        """Renew the lease three times in its span, until another machine has the lease.

        Raises `ReplicationUnavailableError` then, and where the cluster does not answer.
        """
        connection = self._connection
        while True:
            await asyncio.sleep(connection.config.lease / 3)  # time alone ends a lease
            if not await self.renew():
                raise connection.error(ReplicationUnavailableError, "the lease was taken")

    async def release(self) -> None:
        """Give the lease back, so that the next writer need not wait."""
        # A renewal that was cancelled is perhaps stored.
        if self._revision and not await self._delete() and await self._is_ours():
            await self._delete()

    async def release_within(self, seconds: float) -> None:
        """Give the lease back, however often the caller is cancelled meanwhile. Raises nothing.

        An error, and a longer time, leave the lease to run out.
        """
        releasing, end = asyncio.ensure_future(self.release()), time.monotonic() + seconds
        while not releasing.done() and (left := end - time.monotonic()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([releasing], timeout=left)
        await end_tasks(releasing)

    async def _delete(self) -> bool:
        with self._connection.translating("giving the lease back"):
            try:
                await self._bucket.delete(_KEY, last=self._revision)
            except nats.js.errors.APIError as error:
                if error.err_code in _OTHER_REVISION:
                    return False
                raise
        return True

    async def _write(self) -> bool:
        value = msgspec.json.encode(self.holder)
        write = functools.partial(self._bucket.create, _KEY, value)
        if self._revision:
            write = functools.partial(self._bucket.update, _KEY, value, last=self._revision)
        with self._connection.translating("renewing the lease"):
            try:
                self._revision = await self._connection.put(write)
            except nats.js.errors.KeyWrongLastSequenceError:
                return False
            except nats.js.errors.KeyNotFoundError:  # refused, and then the other entry ran out
                return False
        return True
