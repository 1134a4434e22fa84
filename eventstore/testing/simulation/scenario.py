"""Everything about a run but the seed: `Scenario`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eventstore.config import StoreConfig
from eventstore.model.registry import HandlerRegistry
from eventstore.store import EventStore
from eventstore.testing.simulation.checks import Checks
from eventstore.testing.simulation.client import VenueClient
from eventstore.testing.simulation.faults import Faults
from eventstore.testing.simulation.venue import Venue

__all__ = ["SMALL", "Bot", "Scenario"]

Bot = Callable[[EventStore[Any], VenueClient], Awaitable[object]]

SMALL: Mapping[str, Any] = {
    "segment_size": 8192,
    "wal_max_entries": 25,
    "auto_save_interval": None,
    "idle_seal": 1_000_000.0,
}
"""A configuration with small segments and frequent snapshots: short runs meet both."""


@dataclass(frozen=True)
class Scenario:
    """A bot, a store, a venue, and the possible faults.

    `duration` is the time with faults, in seconds. The last life then goes on for `quiet`
    seconds, without any fault.
    """

    bot: Bot
    registry: HandlerRegistry[Any]
    venue: Venue = field(default_factory=Venue)
    faults: Faults = field(default_factory=Faults)
    checks: Checks = field(default_factory=Checks)
    settings: StoreConfig | Mapping[str, Any] = field(default_factory=lambda: SMALL)
    duration: float = 20.0

    @property
    def quiet(self) -> float:
        """Seconds for the answer to every open question."""
        return 6.0 + 2 * (self.venue.receive_window + self.venue.query_lag)
