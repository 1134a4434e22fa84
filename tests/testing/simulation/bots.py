"""A small book, and bots for the tests of the simulation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgspec
from immutables import Map

from eventstore import Event, EventStore, HandlerRegistry, Operation, handler
from eventstore.testing.simulation import Faults, Fill, Run, Venue, VenueClient
from eventstore.testing.simulation.checks import Checks
from eventstore.testing.simulation.run import run_seed
from eventstore.testing.simulation.scenario import Scenario

BTC = "BTC-USDT"
ONE = Decimal(1)
STEPS = 100
"""The range of steps for the deaths of a test."""


class Book(msgspec.Struct, frozen=True):
    positions: Map[str, Decimal] = Map()
    cash: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    noted: int = 0


class Booked(Operation):
    fill_id: str
    revision: int
    symbol: str
    qty: Decimal
    cash: Decimal
    fee: Decimal


class Noted(Operation):
    text: str = ""


@handler
def booked(book: Book, event: Event[Booked]) -> Book:
    data = event.data
    held = book.positions.get(data.symbol, Decimal(0)) + data.qty
    return msgspec.structs.replace(
        book,
        positions=book.positions.set(data.symbol, held),
        cash=book.cash + data.cash,
        fees=book.fees + data.fee,
    )


@handler
def noted(book: Book, event: Event[Noted]) -> Book:
    return msgspec.structs.replace(book, noted=book.noted + 1)


REGISTRY = HandlerRegistry(booked, noted)

Bot = Callable[[EventStore[Book], VenueClient], Awaitable[object]]


def booking(fill: Fill) -> Booked:
    """Return the event for the first revision of a fill."""
    cash = -fill.qty * fill.price - fill.fee
    return Booked(
        fill_id=fill.fill_id,
        revision=fill.revision,
        symbol=fill.symbol,
        qty=fill.qty,
        cash=cash,
        fee=fill.fee,
    )


def run(
    bot: Bot,
    *,
    venue: Venue | None = None,
    faults: Faults | None = None,
    seed: int = 0,
    kept: list[str] | None = None,
    steps: int = STEPS,
    **checks: Any,
) -> Run:
    """Run a bot once, by default without any fault."""
    scenario = Scenario(
        bot,
        REGISTRY,
        Venue() if venue is None else venue,
        Faults.none() if faults is None else faults,
        Checks(**checks),
    )
    return run_seed(scenario, seed, steps, kept)


def kinds(of: Run) -> list[str]:
    """Return the kinds of the findings, each once."""
    return list(dict.fromkeys(finding.kind for finding in of.findings))
