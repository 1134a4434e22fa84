"""`simulate` and `compare_bots`: a bot against a venue, crashes and a bad network."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

from eventstore.arguments import argument_error
from eventstore.config import StoreConfig
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.selection import checked_registry
from eventstore.testing.simulation.campaign import run_seeds
from eventstore.testing.simulation.checks import Checks, FillName, books_of, fill_of
from eventstore.testing.simulation.faults import Faults
from eventstore.testing.simulation.real_readings import undisturbed
from eventstore.testing.simulation.report import SimulationReport, table
from eventstore.testing.simulation.scenario import Bot, Scenario
from eventstore.testing.simulation.venue import Venue
from eventstore.testing.simulation.venue_books import Books

__all__ = ["SEED_VARIABLE", "compare_bots", "simulate"]

SEED_VARIABLE = "EVENTSTORE_SIMULATED_SEED"
"""The environment variable with the only seed to run, whatever `seeds` says."""


def simulate(
    bot: Bot,
    *,
    registry: HandlerRegistry[Any],
    venue: Venue | None = None,
    seeds: Iterable[int] = range(200),
    faults: Faults | None = None,
    check: Callable[[Any, Event[Any]], object] | None = None,
    books: Callable[[Any], Books] = books_of,
    fill: Callable[[Event[Any]], FillName | None] = fill_of,
    limit: Decimal | float | Mapping[str, Decimal | float] | None = None,
    decisions: Collection[Any] = (),
    config: StoreConfig | Mapping[str, Any] | None = None,
    duration: float = 20.0,
    jobs: int = 1,
    progress: bool | None = None,
) -> SimulationReport:
    """Run a bot against a venue, crashes and a bad network, once for each seed, in virtual time.

    `bot(store, venue)` is a coroutine function. It is called with an open `EventStore` on a
    simulated disk and a `VenueClient`, and called again after each death of its process. The bot
    may end or go on for ever. Everything in a run follows from the seed.

    Args:
        registry: the handlers of the bot's store.
        venue: the venue, by default `Venue()`.
        seeds: the numbers of the runs.
        faults: the rates of faults, by default `Faults()`.
        check: is called with the state behind each event of the history, and the event. A text, a
            false value or an `AssertionError` is a finding. `None` and true values are none.
        books: gives the positions, cash and fees of a state. The default reads the attributes
            `positions`, `cash` and `fees`.
        fill: gives the fill that an event books, as a pair of its id and its revision or `None`.
            The default reads the fields `fill_id` or `trade_id`, and `revision`.
        limit: the largest position that open orders may lead to, for each symbol or for all.
        decisions: decisions of which each must be an order at the end.
        config: the configuration of the store, by default with small segments and frequent
            snapshots.
        duration: seconds with faults. After them, the last life has time to settle everything.
        jobs: the number of processes. Results do not depend on it.
        progress: whether to show progress on standard error, by default if that is a terminal.

    Returns a report. `report.check()` raises `SimulationError` with the time line of the first
    failure, after a search for the fewest faults.

    Raises `ConfigError` for a wrong argument, and `RuntimeError` inside of an event loop: every
    run has a loop. An exception of the bot is a finding.
    """
    scenario = Scenario(
        bot,
        checked_registry(registry),
        Venue() if venue is None else venue,
        Faults() if faults is None else faults,
        Checks(check, books, fill, limit, tuple(decisions)),
        config,
        duration,
    )
    if duration <= 0:
        raise argument_error("duration", duration, "expected seconds above 0")
    _ensure_no_loop()
    began = time.perf_counter()
    steps, readings = undisturbed(scenario)
    results = run_seeds(scenario, _chosen(seeds), steps, jobs, progress)
    return SimulationReport(
        results, scenario.checks.missing(scenario.registry), readings,
        time.perf_counter() - began, _name_of(bot), scenario, steps,
    )  # fmt: skip


def compare_bots(bots: Mapping[str, Bot], **options: Any) -> str:
    """Run several bots with the same seeds, and return a table of what is wrong with which.

    `options` are the arguments of `simulate`. Each line has the number of seeds that fail, and for
    each kind of finding how many seeds have one.
    """
    return table({name: simulate(bot, **options) for name, bot in bots.items()})


def _name_of(bot: Bot) -> str:
    """Return the name of a bot, with the module unless that is the program."""
    name = getattr(bot, "__name__", repr(bot))
    module = getattr(bot, "__module__", "__main__").rpartition(".")[2]
    return name if module == "__main__" else f"{module}.{name}"


def _ensure_no_loop() -> None:
    """Raise `RuntimeError` inside of an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "simulate() runs event loops, and an event loop is running here: call simulate() from a "
        "plain function, such as `def test_bot():`, or by asyncio.to_thread"
    )


def _chosen(seeds: Iterable[int]) -> list[int]:
    """Return the seeds to run."""
    only = os.environ.get(SEED_VARIABLE)
    chosen = list(seeds) if only is None else [int(only)]
    if not chosen or not all(isinstance(seed, int) for seed in chosen):
        raise argument_error("seeds", seeds, "expected whole numbers, such as range(200)")
    return chosen
