"""The way to a server of the cluster: credentials, TLS, and the errors of a failed connection.

Every error of the client library becomes an error of the package. The content of the file of
credentials never stands in a text.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
from typing import Any

import nats.errors
import nkeys
from nats.aio.client import Client

from eventstore.arguments import argument_error
from eventstore.config import StoreConfig
from eventstore.errors import (
    ConfigError,
    EventStoreError,
    ReplicationError,
    ReplicationUnavailableError,
)
from eventstore.replication.asking import REQUEST_SECONDS
from eventstore.replication.connection import Connection, connection_error
from eventstore.replication.endings import close_client
from eventstore.replication.pipeline import Pipeline
from eventstore.replication_config import ReplicationConfig

__all__ = ["connect", "settings_in"]

CONNECT_SECONDS = 3.0
"""How long one server has for a connection, with all first words."""
_ANSWER_SECONDS = 2
"""How long a server has to accept a connection, and to say each word."""

_LARGEST_CREDENTIALS = 1024 * 1024
_SERVER_WAIT = 0.1  # seconds until a server that did not answer is tried once more
_CLIENT_NAME = "eventstore"
_NO_TLS = "the server offers no TLS, and replicate.tls asks for it"


def settings_in(config: Any, purpose: str) -> ReplicationConfig:
    """Return the key `replicate` of a configuration. Raises `ConfigError` where there is none."""
    if not isinstance(config, StoreConfig):
        raise argument_error("config", config, "expected a StoreConfig, as StoreConfig.load(file)")
    if config.replicate is None:
        raise ConfigError(f"{purpose}: the key replicate is needed", key="replicate")
    return config.replicate


async def connect(path: str, config: ReplicationConfig) -> Connection:
    """Connect to one server of the cluster.

    The servers are tried one after the other, in an order drawn anew. A server that accepts the
    connection and says nothing keeps the client library from the next one, so each has a client.

    Raises `ReplicationError` for refused credentials and missing TLS, and
    `ReplicationUnavailableError` where no server answers.
    """
    options: dict[str, Any] = {"reconnect_time_wait": _SERVER_WAIT}
    if config.credentials is not None:
        await _check_credentials(path, config)
        options["user_credentials"] = config.credentials
    if config.encrypted:
        options["tls"] = await _tls_context(path, config)
    errors: list[Exception] = []
    for server in random.sample(config.servers, len(config.servers)):
        connection = await _connect_to(server, path, config, options, errors)
        if connection is not None:
            return connection
    raise _connect_error(path, config, errors)


async def _connect_to(
    server: str,
    path: str,
    config: ReplicationConfig,
    options: dict[str, Any],
    errors: list[Exception],
) -> Connection | None:
    """Connect to a server. Returns `None` where that fails, and adds the reasons to `errors`."""

    async def note(error: Exception) -> None:
        errors.append(error)

    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def end() -> None:
        if not lost.done():
            lost.set_result(None)

    client = Client()
    pipeline = Pipeline(client, REQUEST_SECONDS)
    try:
        connecting = asyncio.ensure_future(
            client.connect(
                [server],
                name=_CLIENT_NAME,
                allow_reconnect=False,
                connect_timeout=_ANSWER_SECONDS,
                max_reconnect_attempts=1,
                error_cb=note,
                closed_cb=end,
                **options,
            )
        )
        await _within(connecting, CONNECT_SECONDS)
        await pipeline.begin()
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        await close_client(client)
        errors.append(error)
        return None
    except Exception as error:  # any: a fault of the library, of which a caller knows no kind
        await close_client(client)
        if config.credentials is None or isinstance(error, EventStoreError):
            raise
        # The library read the file of credentials, and the error may hold a part of the content.
        name = type(error).__name__
        reason = f"connecting failed ({name}; its text is left out, for it may hold a secret)"
        raise connection_error(ReplicationUnavailableError, path, config, reason) from None
    except BaseException:  # cancelled: nobody else knows of the socket
        await close_client(client)
        raise
    if config.encrypted and not _is_encrypted(client):
        await close_client(client)
        raise connection_error(ReplicationError, path, config, _NO_TLS)
    return Connection(path, config, client, pipeline, lost)


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
    """Raise for a file that cannot be read or used.

    The library reads the file only when a server asks, raises another kind of error for each fault
    of the content, and reads on for ever where there is no token.
    """

    def read() -> bytes:
        with open(config.credentials or "", "rb") as file:
            return file.read(_LARGEST_CREDENTIALS)

    try:
        content = await asyncio.to_thread(read)
    except OSError as error:
        reason = f"the file of credentials {config.credentials} cannot be read: {error.strerror}"
        raise connection_error(ReplicationError, path, config, reason) from error
    fault = _fault_of_credentials(content)
    if fault is not None:
        reason = f"the file of credentials {config.credentials} cannot be used: {fault}"
        raise connection_error(ReplicationError, path, config, reason)


def _fault_of_credentials(content: bytes) -> str | None:
    """Return why the library cannot use the content of a file of credentials, `None` if it can."""
    lines = content.splitlines(keepends=True)
    found = dict(itertools.pairwise(lines))
    token, seed = (
        next((line[:-1] for mark, line in found.items() if title in mark), None)
        for title in (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED")
    )
    if not token or not token.isascii():
        return "there is no token of a user (JWT)"
    try:
        nkeys.from_seed(bytearray(seed or b"")).wipe()
    except Exception:  # noqa: BLE001  any: each kind of damage is another error there
        return "there is no seed of a user's key"
    return None


async def _tls_context(path: str, config: ReplicationConfig) -> ssl.SSLContext:
    def load() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=config.tls_ca)
        if config.tls_certificate is not None:
            context.load_cert_chain(config.tls_certificate, config.tls_key)
        return context

    try:
        return await asyncio.to_thread(load)
    except (OSError, ssl.SSLError) as error:
        files = (config.tls_ca, config.tls_certificate, config.tls_key)
        named = ", ".join(file for file in files if file is not None)
        reason = f"the certificates in {named} cannot be used: {error}"
        raise connection_error(ReplicationError, path, config, reason) from error


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
            return connection_error(ReplicationError, path, config, reason)
        if isinstance(error, nats.errors.InvalidUserCredentialsError | FileNotFoundError):
            reason = f"the file of credentials {config.credentials} cannot be used"
            return connection_error(ReplicationError, path, config, reason)
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = (
                f"the server's certificate is not trusted: {error.verify_message}. Check the names "
                "in replicate.servers, and replicate.tls_ca"
            )
            return connection_error(ReplicationError, path, config, reason)
        if isinstance(error, ssl.SSLError):
            reason = (
                f"no encrypted connection ({error.reason}): does the server ask for a certificate "
                "of this machine? See replicate.tls_certificate"
            )
            return connection_error(ReplicationError, path, config, reason)
        if isinstance(error, nats.errors.SecureConnRequiredError) or "tls" in text:
            reason = _NO_TLS if config.encrypted else "the server asks for TLS: set replicate.tls"
            return connection_error(ReplicationError, path, config, reason)
    told = next((error for error in reversed(errors) if str(error)), errors[-1])
    reason = f"no server answers ({type(told).__name__} {told})".replace(" )", ")")
    return connection_error(ReplicationUnavailableError, path, config, reason)
