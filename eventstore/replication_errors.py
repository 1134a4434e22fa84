"""The errors of replication. `errors.py` has the whole tree, and is the module to import from."""

from __future__ import annotations

from eventstore.error_base import PathError
from eventstore.live_errors import StoreFailedError

__all__ = [
    "FencedError",
    "LeaseHeldError",
    "QuorumLostError",
    "ReplicationError",
    "ReplicationUnavailableError",
    "StreamMismatchError",
]


class ReplicationError(PathError):
    """The cluster cannot be used as configured: credentials, TLS, JetStream, or the lease.

    No event was written. `path` is the directory of the store, `servers` the servers without names
    and passwords, and `stream` the name of the stream.
    """

    def __init__(self, message: str, *, path: str, servers: str, stream: str) -> None:
        super().__init__(message, path=path)
        self.servers = servers
        self.stream = stream


class ReplicationUnavailableError(ReplicationError):
    """No server of the cluster answers, or the cluster has no quorum. Trying again may help."""


class LeaseHeldError(ReplicationError):
    """Another machine is the writer of the stream, by the lease."""


class StreamMismatchError(ReplicationError):
    """The stream has other settings than the configuration, or is another store's or history's.

    `last_shared` is the last event that stream and store are known to share, 0 for none. `last` is
    the last event in the stream. `ahead` says that the stream only goes on behind the store's end,
    and the next opening takes the events over. `other_settings` says that only the settings differ:
    an open store, and a standby, wait until somebody changes the settings back.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str,
        servers: str,
        stream: str,
        last_shared: int = 0,
        last: int = 0,
        ahead: bool = False,
        other_settings: bool = False,
    ) -> None:
        super().__init__(message, path=path, servers=servers, stream=stream)
        self.last_shared = last_shared
        self.last = last
        self.ahead = ahead
        self.other_settings = other_settings


class FencedError(StoreFailedError):
    """Another machine was promoted to be the writer. This store is read-only until it rejoins.

    `timeline` is the number of the timeline begun by the other machine. `last_shared` is the last
    event that both machines have: later events of this store are on this machine alone.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str,
        errno: int | None = None,
        timeline: int = 0,
        last_shared: int = 0,
    ) -> None:
        super().__init__(message, path=path, errno=errno)
        self.timeline = timeline
        self.last_shared = last_shared


class QuorumLostError(StoreFailedError):
    """The store was closed while events waited for a quorum. The outcome of the events is unknown.

    The events are on this machine's disk, and are sent at the next opening.
    """
