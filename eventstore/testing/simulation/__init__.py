"""A bot against a venue, crashes and a bad network, in virtual time.

`simulate` runs a bot, and `compare_bots` several. `docs/test-your-bot.md` is the way in.

* Around the bot: `simulating` (what users call), `campaign` (many seeds), `report`, `shrinking`
  (the fewest faults) and `telling` (the time line).
* One run: `run` (and its verdict), `lives` (one process after another), `process` (steps and
  deaths), `checks` (held against the venue's books), `real_readings` (real clocks and chance).
* Outside of the process: `world` (time, chance and story), `venue`, `client` (and the network),
  `venue_books`, `orders`, `faults`, `chance`, and `loop` (no real world).
"""

from eventstore.testing.simulation.checks import Evidence, Finding, books_of, fill_of
from eventstore.testing.simulation.client import VenueClient
from eventstore.testing.simulation.faults import Faults
from eventstore.testing.simulation.loop import NotSimulatedError
from eventstore.testing.simulation.orders import (
    Disconnected,
    Fill,
    Order,
    OrderRequest,
    RateLimited,
    Rejected,
)
from eventstore.testing.simulation.report import SeedResult, SimulationError, SimulationReport
from eventstore.testing.simulation.run import Run
from eventstore.testing.simulation.simulating import compare_bots, simulate
from eventstore.testing.simulation.venue import AcceptedOrder, Exposure, Venue
from eventstore.testing.simulation.venue_books import Books, Ledger
from eventstore.testing.simulation.world import LoopClock

__all__ = [
    "AcceptedOrder",
    "Books",
    "Disconnected",
    "Evidence",
    "Exposure",
    "Faults",
    "Fill",
    "Finding",
    "Ledger",
    "LoopClock",
    "NotSimulatedError",
    "Order",
    "OrderRequest",
    "RateLimited",
    "Rejected",
    "Run",
    "SeedResult",
    "SimulationError",
    "SimulationReport",
    "Venue",
    "VenueClient",
    "books_of",
    "compare_bots",
    "fill_of",
    "simulate",
]
