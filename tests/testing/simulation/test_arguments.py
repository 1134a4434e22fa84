"""Arguments of a simulation, of its venue and of its requests: typed errors, before a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from eventstore import ConfigError, Event, EventStore
from eventstore.testing.simulation import Faults, Rejected, Venue, VenueClient, simulate
from eventstore.testing.simulation.arguments import exact
from eventstore.testing.simulation.simulating import SEED_VARIABLE
from tests.testing.simulation.bots import BTC, REGISTRY, Book, Noted, kinds, run

VENUE: Any = Venue
FAULTS: Any = Faults


async def idle(store: EventStore[Book], venue: VenueClient) -> None: ...


def plain(store: EventStore[Book], venue: VenueClient) -> None: ...


async def yielding(store: EventStore[Book], venue: VenueClient) -> Any:
    yield


async def agreeing(state: Book, event: Event[Any]) -> bool:
    return True


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("bot", None),
        ("bot", Book),
        ("bot", yielding),
        ("venue", Venue),
        ("venue", VenueClient),
        ("faults", Faults),
        ("faults", {"lost": 0.1}),
        ("seeds", 5),
        ("seeds", None),
        ("seeds", [True]),
        ("seeds", "12"),
        ("jobs", "2"),
        ("jobs", True),
        ("duration", math.nan),
        ("duration", math.inf),
        ("duration", "20"),
        ("check", "state.cash > 0"),
        ("check", agreeing),
        ("books", {}),
        ("books", lambda state: {"cash": state.cash}),
        ("fill", 5),
        ("limit", "1"),
        ("limit", {BTC: None}),
        ("decisions", 4),
        ("decisions", "1234"),
        ("config", {"use_wal": False}),
        ("config", {"history": "discard"}),
        ("config", 5),
    ],
)
def test_of_a_simulation(argument: str, value: Any) -> None:
    options: dict[str, Any] = {"bot": idle, "registry": REGISTRY, "seeds": [1], argument: value}
    with pytest.raises(ConfigError, match="config" if argument == "config" else rf"^{argument}"):
        simulate(**options)


def test_a_bot_that_was_called_already() -> None:
    with pytest.raises(ConfigError, match="without parentheses"):
        simulate(idle(None, None), registry=REGISTRY)  # type: ignore[arg-type]  # refused is the point


def test_a_bot_that_is_no_coroutine_function_is_a_finding() -> None:
    done = run(plain)  # type: ignore[arg-type]  # told is the point
    assert kinds(done) == ["bot failed"]
    assert "expected a coroutine function" in str(done.findings[0])


def test_the_seed_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEED_VARIABLE, "one")
    with pytest.raises(ConfigError, match=SEED_VARIABLE):
        simulate(idle, registry=REGISTRY)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("symbols", ["BTC"]),
        ("symbols", {}),
        ("symbols", {1: Decimal(1)}),
        ("symbols", {"A": "200"}),
        ("symbols", {"A": 0}),
        ("receive_window", "5"),
        ("receive_window", -1),
        ("query_lag", math.nan),
        ("requests_per_second", 0),
        ("fee_rate", "0.1"),
        ("lot", 0),
        ("tick", Decimal("NaN")),
        ("cash", None),
    ],
)
def test_of_a_venue(argument: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=argument):
        VENUE(**{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [("deaths", 3), ("deaths", (1,)), ("deaths", (0.5, 1)), ("lost", "0.1"), ("cut", None),
     ("slow", math.nan), ("cut", math.inf)],
)  # fmt: skip
def test_of_faults(argument: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=argument):
        FAULTS(**{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [("client_order_id", 7), ("symbol", None), ("qty", "1"), ("qty", math.nan),
     ("qty", Fraction(1, 3)), ("price", Decimal("Infinity")), ("price", -1), ("timestamp", 0.5)],
)  # fmt: skip
def test_of_an_order(argument: str, value: Any) -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        request: dict[str, Any] = {"client_order_id": "a", "symbol": BTC, "qty": 1, argument: value}
        with pytest.raises(ConfigError, match=argument):
            await venue.place(**request)
        with pytest.raises(Rejected, match="no symbol"):
            await venue.price("nothing")

    done = run(bot)
    assert done.error is None
    assert done.evidence is not None
    assert done.evidence.venue.orders == []


def test_a_float_is_its_shortest_decimal() -> None:
    assert exact("qty", 0.1) == Decimal("0.1")
    assert exact("qty", 3) == Decimal(3)
    assert exact("qty", Decimal("1E-9")) == Decimal("1E-9")


class OfFloats(Venue):
    """A venue as somebody writes one first."""

    def price_of(self, symbol: str) -> Any:
        return 100.1

    def fee_of(self, qty: Decimal, price: Decimal) -> Any:
        return 0.1


class Broken(Venue):
    def price_of(self, symbol: str) -> Any:
        return "100"


async def buying(store: EventStore[Book], venue: VenueClient) -> None:
    await venue.place("a", BTC, 0.25)


def test_a_venue_of_floats_has_exact_books() -> None:
    done = run(buying, venue=OfFloats(symbols={BTC: 100.5}))
    assert done.evidence is not None
    assert done.evidence.venue.ledger.positions == {BTC: Decimal("0.25")}
    paid = Decimal("0.25") * Decimal("100.1")
    fees = len(done.evidence.venue.fills) * Decimal("0.1")
    assert done.evidence.venue.ledger.cash == -paid - fees


def test_an_error_in_the_venues_code_names_the_seed() -> None:
    with pytest.raises(ConfigError, match=r"price_of\(\)") as caught:
        run(buying, venue=Broken(), seed=3)
    assert "seed 3" in caught.value.__notes__[0]


Named = Callable[[Event[Any]], Any]


@pytest.mark.parametrize("named", [lambda event: ("a", 1, 2), lambda event: 5])
def test_a_fill_of_another_form(named: Named) -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        await store.append(Noted())

    with pytest.raises(ConfigError, match="fill"):
        run(bot, fill=named)
