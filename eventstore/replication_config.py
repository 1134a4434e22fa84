"""The configuration of replication: where the log is copied to, and what an append waits for."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

__all__ = ["ReplicationConfig"]

_SCHEMES = frozenset(("nats", "tls"))
_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ReplicationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part `replicate` of a configuration: a copy of the log on a NATS JetStream cluster.

    Attributes:
        servers: URLs of the cluster's servers, such as `nats://10.0.0.1:4222`.
        stream: Name of the stream, one for each store: letters, digits, `-` and `_`.
        replicas: Number of servers that hold the stream, 1, 3 or 5.
        acknowledge: `local`: an append waits for this disk alone, and the copy follows. `quorum`:
            an append waits until a quorum of the cluster has the events, too.
        credentials: Path of NATS's own file of credentials. `None` for a cluster without.
        tls: Whether the connection has to be encrypted. A server without TLS is refused. One URL
            with the scheme `tls` implies it.
        tls_ca: Path of the certificates that vouch for the servers, in PEM. `None`: the system's.
            Implies `tls`.
        tls_certificate: Path of the certificate of this machine, in PEM, for servers that ask for
            certificates. Implies `tls`.
        tls_key: Path of the key of the certificate, in PEM. `None`: in the same file.
        lease: Seconds after which a silent writer has lost the lease, 1 to 3600.
        monitor: URLs of the HTTP ports of servers, such as `http://10.0.0.1:8222`. Each connection
            checks that the servers sync before the acknowledgement.
        trim_above: Bytes of the stream above which the writer copies the store into the cluster's
            object store, and trims the stream. `None` never trims.
        publish_events: Prefix of the subjects on which decoded events are published as JSON, such
            as `events`. `None` publishes no events.
    """

    servers: tuple[str, ...]
    stream: str
    replicas: Literal[1, 3, 5] = 3
    acknowledge: Literal["local", "quorum"] = "local"
    credentials: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    lease: Annotated[float, msgspec.Meta(ge=1, le=3600, extra={"unit": "seconds"})] = 10.0
    monitor: tuple[str, ...] = ()
    trim_above: Annotated[int, msgspec.Meta(ge=65_536, extra={"unit": "bytes"})] | None = (
        256 * 1024 * 1024
    )
    publish_events: str | None = None

    def __post_init__(self) -> None:
        if not self.servers:
            raise ValueError("servers: expected at least one URL")
        for server in self.servers:
            _check_url(server)
        if _STREAM.fullmatch(self.stream) is None:
            raise ValueError(
                f"stream: {self.stream!r} is no name of a stream: up to 64 letters, digits, - and _"
            )

        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError("tls_key: a key without its certificate: name it in tls_certificate")

    @property
    def encrypted(self) -> bool:
        """Whether a connection without TLS is refused."""
        named = self.tls_ca is not None or self.tls_certificate is not None
        return self.tls or named or any(urlsplit(url).scheme == "tls" for url in self.servers)

    @property
    def shown(self) -> str:
        """The servers, for messages."""
        return ", ".join(self.servers)


def _check_url(server: str) -> None:
    """Raise `ValueError` for a text that is no URL of a NATS server. The text may hold a secret."""
    try:
        parts = urlsplit(server)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in _SCHEMES or not host:
        raise ValueError(
            "servers: expected URLs such as 'nats://10.0.0.1:4222', with a scheme of "
            f"{', '.join(sorted(_SCHEMES))} and a host"
        )
    if "@" in parts.netloc:
        raise ValueError(
            "servers: a URL with a name or password ends up in logs: use a file of credentials, "
            "and name it in replicate.credentials"
        )
