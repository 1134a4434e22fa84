"""Every check, on books with one mistake each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from immutables import Map

from eventstore import Event, EventStore, HandlerRegistry, Operation, handler
from eventstore.testing.simulation import Books, Faults, Fill, Venue, VenueClient, books_of, fill_of
from eventstore.testing.simulation.checks import Checks
from eventstore.testing.simulation.run import run_seed
from eventstore.testing.simulation.scenario import Scenario
from tests.testing.simulation.bots import (
    BTC,
    ONE,
    REGISTRY,
    Book,
    booking,
    kinds,
    run,
)

Booking = Callable[[EventStore[Book], Fill], Awaitable[object]]


async def right(store: EventStore[Book], fill: Fill) -> None:
    await store.append(booking(fill))


def trading(book: Booking = right, **place: Any) -> Any:
    """Return a bot that buys 1 in one order, asks for the fills, and calls `book` with each."""

    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        await venue.place("a", BTC, ONE, **place)
        await asyncio.sleep(12)
        for fill in await venue.fills():
            await book(store, fill)

    return bot


def found(bot: Any, **options: Any) -> list[str]:
    return [str(finding) for finding in run(bot, **options).findings]


def test_right_books_have_no_finding() -> None:
    assert found(trading()) == []


async def twice(store: EventStore[Book], fill: Fill) -> None:
    await right(store, fill)
    await right(store, fill)


async def never(store: EventStore[Book], fill: Fill) -> None:
    pass


async def invented(store: EventStore[Book], fill: Fill) -> None:
    await right(store, fill)
    await right(store, replace(fill, fill_id="f99", qty=Decimal(0), fee=Decimal(0)))


async def without_fee(store: EventStore[Book], fill: Fill) -> None:
    await store.append(msgspec.structs.replace(booking(fill), fee=Decimal(0)))


async def of_another_symbol(store: EventStore[Book], fill: Fill) -> None:
    await store.append(msgspec.structs.replace(booking(fill), symbol="ETH-USDT"))


async def a_cent_off(store: EventStore[Book], fill: Fill) -> None:
    booked = booking(fill)
    await store.append(msgspec.structs.replace(booked, cash=booked.cash + Decimal("0.01")))


@pytest.mark.parametrize(
    ("book", "expected"),
    [
        (twice, ["double fill", "wrong position", "wrong cash", "wrong fees"]),
        (never, ["missed fill", "wrong position", "wrong cash", "wrong fees"]),
        (invented, ["double fill", "unknown fill"]),
        (without_fee, ["wrong fees"]),
        (of_another_symbol, ["wrong position"]),
        (a_cent_off, ["wrong cash"]),
    ],
)
def test_books_with_a_mistake(book: Booking, expected: list[str]) -> None:
    found_kinds = kinds(run(trading(book)))
    if book is invented:
        assert "unknown fill" in found_kinds
    else:
        assert found_kinds == expected


def test_an_old_revision_is_not_enough() -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        async for message in venue.stream():
            if isinstance(message, Fill) and not message.revision:
                await right(store, message)

    async def both(store: EventStore[Book], venue: VenueClient) -> None:
        trader = asyncio.create_task(trading(never)(store, venue))
        await bot(store, venue)
        await trader

    done = run(both, faults=replace(Faults.none(), corrected=1.0))
    assert "missed fill" in kinds(done)
    assert "(revision 1)" in str(done.findings[0])


@pytest.mark.parametrize("decision", [None, 7])
def test_an_order_that_was_sent_twice(decision: int | None) -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        await trading(decision=decision)(store, venue)
        await venue.place("a", BTC, ONE, decision=decision)
        await asyncio.sleep(12)
        for fill in await venue.fills():
            if fill.order_number == 2:
                await right(store, fill)

    name = "id a" if decision is None else "decision 7"
    assert found(bot) == [f"double order: {name} was sent as orders 1 and 2"]


def test_a_decision_without_an_order() -> None:
    bot = trading(decision=1)
    assert found(bot, decisions=[1]) == []
    assert found(bot, decisions=[1, 2]) == ["missing order: decision 2 was never sent"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (ONE, []),
        (
            Decimal("0.999"),
            ["over exposure: BTC-USDT could reach 1 with order 1, and the limit is 0.999"],
        ),
        ({"ETH-USDT": Decimal(0)}, []),
    ],
)
def test_the_exposure_limit(limit: Any, expected: list[str]) -> None:
    assert found(trading(), limit=limit) == expected


def test_exposure_counts_open_orders_of_one_side() -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        await asyncio.gather(
            venue.place("a", BTC, ONE, price=ONE),
            venue.place("b", BTC, ONE, price=ONE),
            venue.place("c", BTC, -ONE, price=Decimal(10**9)),
        )

    assert found(bot, limit=Decimal("1.5"))[-1].startswith("over exposure: BTC-USDT could reach 2")
    assert not any("exposure" in text for text in found(bot, limit=Decimal(2)))


def raises(state: Book, event: Event[Any]) -> None:
    assert state.cash == 0, "cash is spent"


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (lambda state, event: None, []),
        (lambda state, event: True, []),
        (lambda state, event: state.cash >= 0, ["at event 1: check= returned a false value"]),
        (lambda state, event: "no trading" if event.seq == 1 else None, ["at event 1: no trading"]),
        (raises, ["at event 1: cash is spent"]),
    ],
)
def test_the_users_own_predicate(check: Any, expected: list[str]) -> None:
    done = run(trading(), predicate=check)
    assert [finding.text.partition("\n")[0] for finding in done.findings] == expected
    assert all(finding.kind == "check failed" and finding.seq == 1 for finding in done.findings)


# ---- intents -------------------------------------------------------------------------------


class Placing(Operation, intent="order_id"):
    order_id: str = ""


@handler
def placing(book: Book, event: Event[Placing]) -> Book:
    return book


INTENDING = HandlerRegistry(placing)


def intending(outcome: str | None, sent: bool) -> list[str]:
    """Return the findings of a bot that intends an order, and settles the intent with `outcome`."""

    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        async with store.intend(Placing(), within=timedelta(seconds=1)) as doubt:
            if sent:
                await venue.place(doubt.id, BTC, ONE)
            if outcome is not None:
                await doubt.settle(outcome)

    scenario = Scenario(bot, INTENDING, Venue(), Faults.none(), Checks(books=lambda _: Books()))
    return kinds(run_seed(scenario, 0, 100))


@pytest.mark.parametrize(
    ("outcome", "sent", "expected"),
    [
        ("accepted", True, []),
        ("never_sent", False, []),
        (None, True, ["intent in doubt"]),
        ("never_sent", True, ["wrong settlement"]),
        ("rejected", True, ["wrong settlement"]),
        ("accepted", False, ["wrong settlement"]),
    ],
)
def test_intents(outcome: str | None, sent: bool, expected: list[str]) -> None:
    assert intending(outcome, sent) == expected


# ---- the input of the checks ------------------------------------------------------------------


def test_books_by_the_usual_names() -> None:
    held = {"A": SimpleNamespace(qty=1), "B": SimpleNamespace(shares=2.5), "C": Decimal(3)}
    state = SimpleNamespace(positions=Map(held), cash=5, fees=None)
    assert books_of(state) == Books({"A": 1, "B": 2.5, "C": Decimal(3)}, 5, None)
    assert books_of({"cash": 5}) == Books()


def test_fills_by_the_usual_names() -> None:
    def event(**fields: Any) -> Event[Any]:
        return Event(1, 0, SimpleNamespace(**fields))

    assert fill_of(event(fill_id="f1", revision=2)) == ("f1", 2)
    assert fill_of(event(trade_id="t1")) == ("t1", None)
    assert fill_of(event(text="f1")) is None


def test_checks_with_nothing_to_look_at_are_named() -> None:
    assert Checks().missing(REGISTRY) == []
    blind = Checks(books=lambda _: Books(cash=0)).missing(INTENDING)
    assert blind == [
        "positions are not compared: pass books=",
        "fees are not compared: pass books=",
        "fills are not counted: pass fill=",
    ]


def test_floats_are_compared_within_rounding() -> None:
    def in_floats(state: Book) -> Books:
        return Books(cash=float(state.cash) * (1 + 1e-12))

    assert found(trading(), books=in_floats) == []
