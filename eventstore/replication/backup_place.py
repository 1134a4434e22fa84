"""A place for backups in the cluster: a JetStream object store beside the stream.

Theory of operation
-------------------
Backups are made and read off the event loop, and each request to the cluster is made on the loop of
the connection. The calling thread waits for the loop, and no longer than until `close`.

An object store is a stream: the bytes of an object under a random subject, and then one message
under the object's name. The message is sent with the condition that the name is free. So no object
is ever overwritten, whoever writes. Any client of NATS reads the objects.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import hashlib
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import nats.js.errors
from nats.js.object_store import ObjectStore

from eventstore.errors import ReplicationError, ReplicationUnavailableError
from eventstore.replication.bucket_listing import last_entry, subjects_of
from eventstore.replication.connection import Connection

__all__ = ["ClusterPlace"]

T = TypeVar("T")

_TAKEN = 10071  # the code of the server for a wrong last sequence of a subject
_CHUNK = 128 * 1024
_LOOK = 1.0
"""Seconds between two looks of a waiting thread whether the place was closed."""
_GET_SECONDS = 60.0


class _Described(msgspec.Struct):
    """The message under the name of an object."""

    size: int = 0
    deleted: bool = False


class ClusterPlace:
    """The objects of one stream's store: see `eventstore.tools.backup.places.Place`."""

    def __init__(self, connection: Connection, bucket: str, store: ObjectStore) -> None:
        self.name = f"{connection.config.shown}, object store {bucket!r}"
        self._connection = connection
        self._bucket = bucket
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def __repr__(self) -> str:
        return f"<ClusterPlace {self._bucket!r}>"

    @classmethod
    async def of(cls, connection: Connection) -> ClusterPlace:
        """Return the place of the connection's stream, and make it where there is none.

        Raises `ReplicationError`.
        """
        config, bucket = connection.config, _bucket_name(connection)
        with connection.making(f"the object store {bucket}"):
            store = await connection.stream.create_object_store(bucket, replicas=config.replicas)
        return cls(connection, bucket, store)

    @classmethod
    async def find(cls, connection: Connection) -> ClusterPlace | None:
        """Return the place of the connection's stream, `None` where there is none.

        Raises `ReplicationUnavailableError`.
        """
        bucket = _bucket_name(connection)
        with connection.translating(f"looking for the object store {bucket}"):
            try:
                return cls(connection, bucket, await connection.stream.object_store(bucket))
            except nats.js.errors.NotFoundError:
                return None

    def close(self) -> None:
        """Have every call of another thread end within a moment."""
        self._closed = True

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the loop, called from another thread. Raises the exception of the work."""
        try:
            doing = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop has ended
            work.close()
            raise self._closed_error() from None
        while True:
            try:
                return doing.result(_LOOK)
            except concurrent.futures.TimeoutError:
                if self._closed:
                    doing.cancel()
                    raise self._closed_error() from None
            except concurrent.futures.CancelledError:
                raise self._closed_error() from None

    def _closed_error(self) -> ReplicationError:
        return self._connection.error(ReplicationUnavailableError, "the copying was given up")

    # ---- Place -----------------------------------------------------------------------------

    def list(self, prefix: str) -> dict[str, int]:
        return self._wait(self._list(prefix))

    async def _list(self, prefix: str) -> dict[str, int]:
        sizes: dict[str, int] = {}
        with self._connection.translating("listing the object store"):
            about = f"$O.{self._bucket}.M."
            for subject in await subjects_of(self._connection, self._stream, f"{about}*"):
                name = base64.urlsafe_b64decode(subject.removeprefix(about)).decode()
                if not name.startswith(prefix):
                    continue
                found = await last_entry(self._connection, self._stream, subject)
                if found is None:
                    continue
                described = msgspec.json.decode(found.data or b"{}", type=_Described)
                if not described.deleted:
                    sizes[name] = described.size
        return sizes

    def get(self, name: str) -> bytes:
        return self._wait(self._get(name))

    async def _get(self, name: str) -> bytes:
        found = None
        translating = self._connection.translating(f"reading {name}")
        with translating, contextlib.suppress(nats.js.errors.ObjectNotFoundError):
            async with asyncio.timeout(_GET_SECONDS):
                found = await self._store.get(name)
        if found is None:
            raise FileNotFoundError(name)
        data = found.data or b""
        if len(data) != found.info.size:
            raise self._connection.error(ReplicationUnavailableError, f"{name} came in part only")
        return data

    def put_new(self, name: str, data: bytes) -> bool:
        return self._wait(self._put_new(name, data))

    async def _put_new(self, name: str, data: bytes) -> bool:
        stream, identity = self._connection.stream, uuid.uuid4().hex
        chunks = f"$O.{self._bucket}.C.{identity}"
        pieces = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
        described = {
            "name": name,
            "bucket": self._bucket,
            "nuid": identity,
            "size": len(data),
            "chunks": len(pieces),
            "digest": f"SHA-256={digest}",
            "options": {"max_chunk_size": _CHUNK},
        }
        free = {"Nats-Expected-Last-Subject-Sequence": "0"}
        with self._connection.translating(f"writing {name}"):
            try:
                for piece in pieces:
                    await stream.publish(chunks, piece)
                await stream.publish(
                    self._about(name), msgspec.json.encode(described), headers=free
                )
            except nats.js.errors.APIError as error:
                await stream.purge_stream(self._stream, subject=chunks)
                if error.err_code == _TAKEN:
                    return False
                text = f"the object store refuses {name}: {error.description}"
                raise self._connection.error(ReplicationUnavailableError, text) from error
        return True

    def remove(self, name: str) -> None:
        self._wait(self._remove(name))

    async def _remove(self, name: str) -> None:
        stream = self._connection.stream
        with self._connection.translating(f"removing {name}"):
            try:
                found = await self._store.get_info(name)
            except nats.js.errors.NotFoundError:
                return
            await stream.purge_stream(self._stream, subject=self._about(name))
            await stream.purge_stream(self._stream, subject=f"$O.{self._bucket}.C.{found.nuid}")

    @property
    def _stream(self) -> str:
        return f"OBJ_{self._bucket}"

    def _about(self, name: str) -> str:
        """Return the subject of the message about an object."""
        encoded = base64.urlsafe_b64encode(name.encode()).decode()
        return f"$O.{self._bucket}.M.{encoded}"


def _bucket_name(connection: Connection) -> str:
    return f"{connection.config.stream}-copy"
