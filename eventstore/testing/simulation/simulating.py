"""`simulate` and `compare_bots`: a bot against a venue, crashes and a bad network."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from eventstore.arguments import argument_error, checked_count, checked_function
from eventstore.config import StoreConfig
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.arguments import checked_registry
from eventstore.testing.simulation.arguments import (
    checked_bot,
    checked_items,
    checked_seconds,
    checked_seeds,
    exact,
)
from eventstore.testing.simulation.campaign import run_seeds
from eventstore.testing.simulation.checks import Checks, FillName, books_of, fill_of
from eventstore.testing.simulation.faults import Faults
from eventstore.testing.simulation.real_readings import undisturbed
from eventstore.testing.simulation.report import SimulationReport, table
from eventstore.testing.simulation.scenario import SMALL, Bot, Scenario
from eventstore.testing.simulation.venue import Venue
from eventstore.testing.simulation.venue_books import Books

__all__ = ["SEED_VARIABLE", "compare_bots", "simulate"]

T = TypeVar("T")

SEED_VARIABLE = "EVENTSTORE_SIMULATED_SEED"
"""The environment variable with the only seed to run, whatever `seeds` says."""


def simulate(
    bot: Bot,
    *,
    registry: HandlerRegistry[Any] | None = None,
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
        registry: the handlers of the bot's store, by default every installed one.
        venue: the venue, by default `Venue()`.
        seeds: the numbers of the runs.
        faults: the rates of faults, by default `Faults()`.
        check: is called with the state behind each event of the history, and the event. A text, a
            false value or an `AssertionError` is a finding. `None` and true values are none.
        books: gives the positions, cash and fees of a state. The default reads the attributes
            `positions`, `cash` and `fees`.
        fill: gives the fill that an event books, as a pair of its id and its revision or `None`.
            A text alone is the id of a fill without revisions. The default reads the fields
            `fill_id` or `trade_id`, and `revision`.
        limit: the largest position that open orders may lead to, for each symbol or for all.
        decisions: decisions of which each must be an order at the end.
        config: the configuration of the store, by default with small segments and frequent
            snapshots.
        duration: seconds with faults. After them, the last life has time to settle everything.
        jobs: the number of processes. Results do not depend on it.
        progress: whether to show progress on standard error, by default if that is a terminal.

    Returns a report. `report.check()` raises `SimulationError` with the time line of the first
    failure, after a search for the fewest faults.

    Raises `ConfigError` for a wrong argument, what the code of a `venue`, of `check`, `books` or
    `fill` raises, and `RuntimeError` inside of an event loop: every
    run has a loop. An exception of the bot is a finding.
    """
    scenario = Scenario(
        checked_bot(bot),
        HandlerRegistry.discover() if registry is None else checked_registry(registry),
        _instance("venue", venue, Venue),
        _instance("faults", faults, Faults),
        _checks(check, books, fill, limit, decisions),
        _config(config),
        checked_seconds("duration", duration, positive=True),
    )
    if progress is not None and not isinstance(progress, bool):
        raise argument_error("progress", progress, "expected True, False or None")
    chosen = _chosen(seeds)
    jobs = checked_count("jobs", jobs, "a number of processes")
    unchecked = scenario.checks.missing(scenario.registry)
    _ensure_no_loop()
    began = time.perf_counter()
    steps, readings = undisturbed(scenario)
    results = run_seeds(scenario, chosen, steps, jobs, progress)
    seconds = time.perf_counter() - began
    return SimulationReport(results, unchecked, readings, seconds, _name_of(bot), scenario, steps)


def compare_bots(bots: Mapping[str, Bot], **options: Any) -> str:
    """Run several bots with the same seeds, and return a table of what is wrong with which.

    `options` are the arguments of `simulate`. Each line has the number of seeds that fail, and for
    each kind of finding how many seeds have one.
    """
    given: Any = bots
    if not isinstance(given, Mapping) or not given:
        raise argument_error("bots", bots, "expected each bot under a name, such as {'mine': bot}")
    return table({name: simulate(bot, **options) for name, bot in bots.items()})


def _instance(argument: str, value: T | None, kind: type[T]) -> T:
    """Return an instance of a class, by default a new one. Raises `ConfigError` for any other."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise argument_error(argument, value, f"expected a {kind.__name__}(...)")
    return value


def _checks(check: Any, books: Any, fill: Any, limit: Any, decisions: Any) -> Checks:
    """Return the checks of a simulation. Raises `ConfigError` for an argument of a wrong type."""
    if check is not None:
        checked_function("check", check)
    if isinstance(limit, Mapping):
        limit = {name: exact(f"limit[{name!r}]", value) for name, value in limit.items()}
    elif limit is not None:
        limit = exact("limit", limit)
    decisions = checked_items("decisions", decisions, "several decisions, such as [1, 2]")
    books, fill = checked_function("books", books), checked_function("fill", fill)
    return Checks(check, books, fill, limit, decisions)


def _config(config: Any) -> StoreConfig:
    """Return the configuration of the store. The checks read the whole history."""
    found = StoreConfig.of(SMALL if config is None else config)
    if not found.use_wal or found.history == "discard":
        raise argument_error(
            "config",
            config,
            "the checks read every event: leave out use_wal=False and history='discard'",
        )
    return found


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
    if only is None:
        return checked_seeds(seeds)
    if not only.lstrip("-").isdecimal():
        raise argument_error(SEED_VARIABLE, only, "expected the number of a seed, or no variable")
    return [int(only)]
