"""A connection to the cluster: one stream, published to with the expected sequence number.

Theory of operation
-------------------
A publisher names the expected number of the stream's last message. The leader of the stream
refuses a message with a wrong expectation. So two writers never interleave, a message sent twice is
stored once, and a writer who was away finds out with the next message.

Every error of the client library becomes an error of the package. The content of the file of
credentials never stands in a text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from eventstore.errors import ReplicationError, ReplicationUnavailableError, StreamMismatchError
from eventstore.replication.messages import (
    MessageError,
    Outgoing,
    StreamEnd,
    history_subject,
    subjects,
)
from eventstore.replication_config import ReplicationConfig

__all__ = ["Connection", "WrongSequenceError", "connect", "end_tasks"]

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 1.0
_CANCEL_AGAIN = 0.2
REQUEST_SECONDS = 5.0

_WRONG_LAST_SEQUENCE = 10071
_CLIENT_NAME = "eventstore"


class WrongSequenceError(Exception):
    """The stream has another last message than the publisher expected. Nothing was stored."""


class Connection:
    """One connection, and the stream of the configuration. `path` is the store's directory."""

    def __init__(self, path: str, config: ReplicationConfig, client: Client) -> None:
        self.path = path
        self.config = config
        self.client = client
        self.stream: JetStreamContext = client.jetstream(timeout=REQUEST_SECONDS)

    def __repr__(self) -> str:
        return f"<Connection to {self.config.shown}, stream {self.config.stream!r}>"

    @property
    def largest(self) -> int:
        """Size in bytes of the largest message for the server."""
        return int(self.client.max_payload)

    def error(self, kind: type[ReplicationError], reason: str) -> ReplicationError:
        """Return an error about this store and cluster."""
        return _error(kind, self.path, self.config, reason)

    @contextlib.asynccontextmanager
    async def translating(self, doing: str) -> AsyncIterator[None]:
        """Raise errors of this package for those of the client library."""
        try:
            yield
        except (nats.js.errors.ServiceUnavailableError, nats.errors.NoRespondersError) as error:
            text = f"{doing}: JetStream does not answer: is it enabled, and is there a quorum?"
            raise self.error(ReplicationUnavailableError, text) from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            reason = f"{doing}: {type(error).__name__} {error}".rstrip()
            raise self.error(ReplicationUnavailableError, reason) from error

    async def ensure_stream(self, *, create: bool = True) -> int:
        """Make the stream where there is none, and check its settings. Return the last number.

        Raises `ReplicationError` where there is no JetStream, `StreamMismatchError` for other
        settings, and `ReplicationUnavailableError`.
        """
        wanted = _stream_config(self.config)
        async with self.translating("asking for the stream"):
            try:
                info = await self.stream.stream_info(self.config.stream)
            except nats.js.errors.NotFoundError:
                if not create:
                    raise self.error(
                        ReplicationError, "there is no such stream: has the writer been started?"
                    ) from None
                try:
                    info = await self.stream.add_stream(wanted)
                except nats.js.errors.APIError as error:
                    raise self.error(
                        ReplicationError, f"the stream cannot be made: {error.description}"
                    ) from error
            except nats.js.errors.APIError as error:
                if isinstance(error, nats.js.errors.ServiceUnavailableError):
                    raise
                raise self.error(
                    ReplicationError, f"JetStream refuses: {error.description}"
                ) from error
        differences = _differences(info.config, wanted)
        if differences:
            raise self.error(
                StreamMismatchError,
                "the stream has other settings: " + "; ".join(differences) + ". Change the stream "
                "or the configuration",
            )
        return int(info.state.last_seq)

    async def end(self) -> StreamEnd | None:
        """Return the end of the stream, `None` for an empty stream.

        Raises `StreamMismatchError` for a message of no store.
        """
        async with self.translating("reading the end of the stream"):
            info = await self.stream.stream_info(self.config.stream)
            if not info.state.messages:
                return None
            try:
                last = await self.stream.get_msg(self.config.stream, seq=info.state.last_seq)
            except nats.js.errors.NotFoundError:
                return None
        try:
            return StreamEnd.of(last.headers)
        except MessageError as error:
            text = f"message {last.seq} of the stream was not written by a store: {error}"
            raise self.error(StreamMismatchError, text) from error

    async def last_number(self) -> int:
        """Return the number of the last message, 0 for a new stream."""
        async with self.translating("asking for the stream"):
            return int((await self.stream.stream_info(self.config.stream)).state.last_seq)

    async def last_history(self) -> bytes | None:
        """Return the content of the last history message, `None` where there is none."""
        async with self.translating("reading the history"):
            with contextlib.suppress(nats.js.errors.NotFoundError):
                name, subject = self.config.stream, history_subject(self.config.stream)
                return (await self.stream.get_last_msg(name, subject)).data
        return None

    async def publish(self, message: Outgoing, expected: int) -> int:
        """Store a message behind message `expected`, and return the number of the message.

        Raises `WrongSequenceError`, and `ReplicationUnavailableError` where nobody knows whether
        the message was stored.
        """
        headers = {**message.headers, "Nats-Expected-Last-Sequence": str(expected)}
        async with self.translating("publishing"):
            try:
                ack = await self.stream.publish(
                    message.subject,
                    message.data,
                    timeout=REQUEST_SECONDS,
                    stream=self.config.stream,
                    headers=headers,
                )
            except nats.js.errors.APIError as error:
                if error.err_code == _WRONG_LAST_SEQUENCE:
                    raise WrongSequenceError(str(error.description)) from error
                text = f"the stream refuses a message: {error.description}"
                raise self.error(ReplicationUnavailableError, text) from error
        return int(ack.seq)

    async def close(self) -> None:
        """End the connection. A message without an acknowledgement is perhaps stored."""
        await _close(self.client)


async def _close(client: Client) -> None:
    """Close a client, within a moment: the library may wait for a peer that is gone."""
    closing = asyncio.ensure_future(client.close())
    await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
    if not closing.done():
        closing.cancel()
    elif not closing.cancelled():
        closing.exception()  # of a connection that nobody uses any more


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and wait until each has ended.

    `asyncio.wait_for` of Python 3.11 swallows a cancellation that comes with an answer, so one
    cancellation is not always enough.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_AGAIN)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # the caller has told of the first one


async def connect(path: str, config: ReplicationConfig) -> Connection:
    """Connect to one server of the cluster.

    Raises `ReplicationError` for refused credentials and missing TLS, and
    `ReplicationUnavailableError` where no server answers.
    """
    options: dict[str, Any] = {}
    if config.credentials is not None:
        await _check_credentials(path, config)
        options["user_credentials"] = config.credentials
    if config.tls or config.tls_ca is not None:
        options["tls"] = await _tls_context(path, config)
    errors: list[Exception] = []

    async def note(error: Exception) -> None:
        errors.append(error)

    client = Client()
    try:
        connecting = asyncio.ensure_future(
            client.connect(
                list(config.servers),
                name=_CLIENT_NAME,
                allow_reconnect=False,
                connect_timeout=2,
                max_reconnect_attempts=1,
                error_cb=note,
                **options,
            )
        )
        await _within(connecting, CONNECT_SECONDS)
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        await _close(client)
        raise _connect_error(path, config, [*errors, error]) from None
    except BaseException:  # cancelled: nobody else knows of the socket
        await _close(client)
        raise
    if config.tls and not _is_encrypted(client):
        await _close(client)
        raise _error(
            ReplicationError,
            path,
            config,
            "the server offers no TLS, and replicate.tls asks for it",
        )
    return Connection(path, config, client)


async def _within(task: asyncio.Future[None], seconds: float) -> None:
    """Wait for a task no longer than so, even one that does not heed a cancellation.

    Raises `TimeoutError`, and the exception of the task.
    """
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        raise TimeoutError(f"no answer within {seconds:g} s")
    task.result()


async def _check_credentials(path: str, config: ReplicationConfig) -> None:
    """Raise for an unreadable file: the library reads the file only when a server asks."""

    def read() -> None:
        with open(config.credentials or "", "rb") as file:
            file.read(1)

    try:
        await asyncio.to_thread(read)
    except OSError as error:
        reason = f"the file of credentials {config.credentials} cannot be read: {error.strerror}"
        raise _error(ReplicationError, path, config, reason) from error


async def _tls_context(path: str, config: ReplicationConfig) -> ssl.SSLContext:
    def load() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=config.tls_ca)

    try:
        return await asyncio.to_thread(load)
    except (OSError, ssl.SSLError) as error:
        reason = f"the certificates in {config.tls_ca} cannot be used: {error}"
        raise _error(ReplicationError, path, config, reason) from error


def _is_encrypted(client: Client) -> bool:
    """Tell whether the server asked for TLS. The client library goes on without TLS in silence.

    The library gives the server's words to nobody, so its private member is read.
    """
    return bool(client._server_info.get("tls_required"))  # noqa: SLF001  see above


def _connect_error(
    path: str, config: ReplicationConfig, errors: list[Exception]
) -> ReplicationError:
    """Return the error for a failed connection, by the errors of the client library."""
    for error in errors:
        text = str(error).lower()
        if isinstance(error, nats.errors.AuthorizationError) or "authorization" in text:
            reason = "the server refuses the credentials: check replicate.credentials"
            return _error(ReplicationError, path, config, reason)
        if isinstance(error, nats.errors.InvalidUserCredentialsError | FileNotFoundError):
            reason = f"the file of credentials {config.credentials} cannot be used"
            return _error(ReplicationError, path, config, reason)
        if isinstance(error, nats.errors.SecureConnRequiredError) or "tls" in text:
            reason = "the server asks for TLS: set replicate.tls"
            if config.tls:
                reason = "the server offers no TLS, and replicate.tls asks for it"
            return _error(ReplicationError, path, config, reason)
        if isinstance(error, ssl.SSLError):
            reason = f"the server's certificate is not trusted: {error.reason}"
            return _error(ReplicationError, path, config, reason)
    told = next((error for error in reversed(errors) if str(error)), errors[-1])
    reason = f"no server answers ({type(told).__name__} {told})".replace(" )", ")")
    return _error(ReplicationUnavailableError, path, config, reason)


def _error(
    kind: type[ReplicationError], path: str, config: ReplicationConfig, reason: str
) -> ReplicationError:
    message = f"{path}: replication to {config.shown}, stream {config.stream!r}: {reason}"
    return kind(message, path=path, servers=config.shown, stream=config.stream)


def _stream_config(config: ReplicationConfig) -> StreamConfig:
    """Return the settings of a new stream. A full stream refuses, and never drops the oldest."""
    return StreamConfig(
        name=config.stream,
        subjects=subjects(config.stream),
        num_replicas=config.replicas,
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        allow_direct=False,
    )


def _differences(found: StreamConfig, wanted: StreamConfig) -> list[str]:
    """Name the settings in which a stream differs from the wanted ones."""
    told = []
    for name in ("num_replicas", "storage", "retention", "discard"):
        one, other = getattr(found, name), getattr(wanted, name)
        if one != other:
            told.append(f"{name} is {_shown(one)}, not {_shown(other)}")
    if sorted(found.subjects or ()) != sorted(wanted.subjects or ()):
        told.append(f"subjects are {found.subjects}, not {wanted.subjects}")
    if found.mirror or found.sources or found.sealed:
        told.append("the stream is sealed, or a copy of other streams")
    if found.no_ack:
        told.append("no_ack is set, so nothing is acknowledged")
    return told


def _shown(value: Any) -> str:
    return str(getattr(value, "value", value))


async def check_syncs(config: ReplicationConfig) -> str | None:
    """Ask the HTTP port of a server whether messages are synced before the acknowledgement.

    Returns a warning, or `None` where all is well. Nothing is asked without `config.monitor`.
    """
    if config.monitor is None:
        return None
    url = f"{config.monitor.rstrip('/')}/varz"

    def ask() -> dict[str, Any]:
        with urllib.request.urlopen(url, timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    try:
        found = await asyncio.to_thread(ask)
    except (OSError, ValueError) as error:
        return f"{url} does not say whether the cluster syncs before it acknowledges: {error}"
    settings = found.get("jetstream", {}).get("config", {})
    if settings.get("sync_always") is True:
        return None
    return (
        "the cluster does not sync before it acknowledges (sync_interval is not `always`): when "
        "all servers lose power, acknowledged events are lost there. Set `jetstream "
        "{sync_interval: always}` on every server"
    )
