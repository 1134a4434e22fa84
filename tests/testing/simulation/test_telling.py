"""The fewest faults of a failure, and the time line."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from eventstore import EventStore
from eventstore.testing.simulation import Faults, Fill, VenueClient
from eventstore.testing.simulation.checks import Checks
from eventstore.testing.simulation.run import Run, run_seed
from eventstore.testing.simulation.scenario import Scenario
from eventstore.testing.simulation.shrinking import shrink
from eventstore.testing.simulation.telling import tell, time_line
from tests.testing.simulation.bots import (
    BTC,
    ONE,
    REGISTRY,
    STEPS,
    Book,
    Noted,
    booking,
    kinds,
    run,
)

INVENTED = Fill("f9", "a", 1, BTC, ONE, ONE, ONE, 0)


async def sending_again(store: EventStore[Book], venue: VenueClient) -> None:
    """Send an order until there is a reply, and book each fill once."""
    booked = set()
    while True:
        try:
            await venue.place("a", BTC, ONE, decision=1)
        except TimeoutError:
            continue
        break
    while True:
        await asyncio.sleep(3)
        try:
            for fill in await venue.fills():
                if fill.fill_id not in booked:
                    booked.add(fill.fill_id)
                    await store.append(booking(fill))
        except TimeoutError:
            continue


def scenario(bot: Any, faults: Faults, **checks: Any) -> Scenario:
    return Scenario(bot, REGISTRY, faults=faults, checks=Checks(**checks))


def first_failure(of: Scenario, kind: str) -> Run:
    runs = (run_seed(of, seed, STEPS) for seed in range(100))
    return next(done for done in runs if kinds(done)[:1] == [kind])


def test_one_fault_is_enough_for_a_double_order() -> None:
    noisy = Faults(deaths=(0, 0), rejected=0, refused=0, lost=0.3, slow=0.3)
    trading = scenario(sending_again, noisy)
    failed = first_failure(trading, "double order")
    assert len(failed.faults) > 3
    shrunk = shrink(trading, failed, STEPS)
    assert len(shrunk.faults) == 1
    assert shrunk.faults[0].split()[1] in ("request", "reply")
    assert set(shrunk.faults) <= set(failed.faults)
    assert kinds(shrunk)[0] == "double order"


def test_a_failure_without_any_fault() -> None:
    async def wrong(store: EventStore[Book], venue: VenueClient) -> None:
        raise ZeroDivisionError

    always = scenario(wrong, Faults(deaths=(0, 0)))
    shrunk = shrink(always, run_seed(always, 3, STEPS), STEPS)
    assert shrunk.faults == []
    assert kinds(shrunk) == ["bot failed"]


def test_a_kill_takes_the_place_of_a_power_cut_where_it_is_enough() -> None:
    async def forgetful(store: EventStore[Book], venue: VenueClient) -> None:
        await venue.place(f"order {venue.clock.time_ns()}", BTC, ONE, decision=1)
        await asyncio.sleep(100)

    dying = scenario(
        forgetful, replace(Faults.none(), deaths=(1, 3), power=1.0), fill=lambda event: None
    )
    shrunk = shrink(dying, first_failure(dying, "double order"), STEPS)
    assert [fault.split()[0] for fault in shrunk.faults] == ["death"]


def test_the_time_line_puts_events_where_they_became_durable() -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        await venue.place("a", BTC, ONE, price=None, decision=1)
        async for message in venue.stream():
            if isinstance(message, Fill):
                await store.append(booking(message), booking(message))

    lines = time_line(run(bot, seed=4))
    who = [line[10:20].strip() for line in lines]
    assert who[:3] == ["bot", "bot", "venue"]
    assert {"store", "venue", "bot", "network"} == set(who)
    told = "\n".join(lines)
    assert "sends place 1 (decision 1)" in told
    assert "accepts order 1, a: +1 BTC-USDT at the market, for decision 1" in told
    assert "positions['BTC-USDT'] absent -> " in told
    assert "   <- double fill" in told
    times = [float(line[:8]) for line in lines]
    assert times == sorted(times)


def test_the_entries_that_show_a_mistake_are_marked() -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        for name in "abc":
            await venue.place(name, BTC, ONE, decision=name == "c")
        await asyncio.sleep(10)

    lines = time_line(run(bot, limit=2))
    marked = [line.partition("   <- ") for line in lines if "<-" in line]
    orders = [(line.split()[4], mark) for line, _, mark in marked if " accepts " in line]
    assert orders == [("1,", "double order"), ("2,", "double order"), ("3,", "over exposure")]
    assert {mark for line, _, mark in marked if " fills " in line} == {"missed fill"}


def test_a_long_time_line_is_shortened_to_the_mistake() -> None:
    async def long(store: EventStore[Book], venue: VenueClient) -> None:
        for number in range(400):
            await store.append(Noted())
            if number == 200:
                await store.append(booking(INVENTED))

    lines = tell(run(long)).splitlines()
    assert lines[0] == "unknown fill: the venue knows no fill f9"
    assert lines[5].endswith(" earlier lines")
    assert lines[-1].endswith(" later lines")
    assert lines[-6].endswith("   <- unknown fill")
    assert len(lines) < 165


def test_long_findings_are_cut_short_and_notes_are_told() -> None:
    async def blind(store: EventStore[Book], venue: VenueClient) -> None:
        for number in range(8):
            await venue.place(f"{number}", BTC, ONE)
        await asyncio.sleep(10)

        async def fail() -> None:
            raise ZeroDivisionError

        asyncio.create_task(fail())  # noqa: RUF006  forgotten on purpose
        await asyncio.sleep(1)

    told = tell(run(blind)).splitlines()
    assert told[0].startswith("missed fill: fill f")
    assert told[8].startswith("and ")
    assert told[-1].startswith("nobody looked at: Task exception was never retrieved")
