"""The interface between the writer of a log and the copying to other machines.

A log without replication has no `Replica`, and costs the commit path one comparison for a commit.
`load_replica` imports the room of replication only where a configuration asks for it.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, Protocol

from eventstore.config import Durability, StoreConfig
from eventstore.disk.base import Disk
from eventstore.disk.manifest import Manifest
from eventstore.errors import ConfigError, StoreFailedError
from eventstore.standing_warnings import StandingWarnings

__all__ = ["Lag", "Replica", "begin_replica"]

_IMPLEMENTATION = "eventstore.replication.shipping_thread"


class Lag(NamedTuple):
    """The events missing on other machines, their bytes, and the age of the oldest in seconds."""

    events: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Replica(Protocol):
    """The copying of one log. The writer's thread calls all methods but `stop`.

    `failure` is set once nothing more may be written: the writer refuses the next commit.
    `sends_beside_sync` says whether to call `send` before each sync.
    """

    warnings: StandingWarnings
    failure: StoreFailedError | None
    sends_beside_sync: bool

    @property
    def lag(self) -> Lag:
        """The events missing on other machines."""

    def written(self, first_seq: int, count: int, body: bytes) -> None:
        """Take a record that was written. Never waits."""

    def send(self, seq: int) -> None:
        """Send the events up to `seq`, which are written: their sync comes next.

        Waits for no answer, and never raises.
        """

    def synced(self, seq: int) -> None:
        """Take notice of the events up to `seq`, now on stable storage.

        Waits for a quorum where the configuration says so. Raises `FencedError`, and
        `QuorumLostError` where the log is closed meanwhile.
        """

    def stop(self) -> None:
        """Take notice of the closing of the log: wait for the cluster no longer than a moment.

        Called on the event loop, and never waits.
        """

    def close(self) -> None:
        """End the copying. The next opening sends the rest."""


def begin_replica(
    disk: Disk, manifest: Manifest, config: StoreConfig, last_seq: int
) -> Replica | None:
    """Begin to copy a log whose last event is `last_seq`, `None` where nothing is configured.

    Runs off the event loop. Raises `ConfigError` where the extra is not installed, and the errors
    of `eventstore.replication`.
    """
    settings = config.replicate
    if settings is None:
        return None
    try:
        module: Any = importlib.import_module(_IMPLEMENTATION)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"replicate needs {error.name}: pip install 'asyncio-eventstore[nats]'", key="replicate"
        ) from error
    if settings.acknowledge == "quorum" and config.durability is not Durability.COMMIT:
        raise ConfigError(
            "replicate.acknowledge: quorum needs durability: commit, because only durable events "
            f"are sent, and a receipt waits for no sync with {config.durability.value}",
            key="replicate",
        )
    if not disk.blocking or not manifest.logged:
        raise ConfigError("replicate: only a store with a log on a real disk", key="replicate")
    replica: Replica = module.Shipper.begin(disk, manifest, settings, last_seq)
    return replica
