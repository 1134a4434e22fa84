"""Step 6, the right bot: keys, intents, and patience before the venue's answer is believed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from book import PLAN, SYMBOL, Book, PlaceOrder, RecordFillOnce, fields_of

from eventstore import Doubt, EventStore
from eventstore.testing.simulation import Disconnected, Fill, Rejected, VenueClient

Resolve = Callable[[Doubt[PlaceOrder], VenueClient], Awaitable[None]]


async def ask(doubt: Doubt[PlaceOrder], venue: VenueClient) -> None:
    """Ask the venue for the order, as often as it takes, and believe the answer."""
    while True:
        try:
            order = await venue.order(doubt.id)
        except (TimeoutError, Rejected):
            await asyncio.sleep(0.5)
        else:
            await doubt.settle("accepted" if order else "never_sent")
            return


async def wait_then_ask(doubt: Doubt[PlaceOrder], venue: VenueClient) -> None:
    """Wait until the venue would refuse every request for the order, and ask then."""
    await doubt.decidable()
    await ask(doubt, venue)


async def trade(store: EventStore[Book], venue: VenueClient, resolve: Resolve) -> None:
    """Carry out every decision. `resolve` finds out about an order in doubt."""
    within = timedelta(seconds=venue.receive_window)
    lag = timedelta(seconds=venue.query_lag)
    for doubt in store.in_doubt:  # of an earlier life
        await resolve(doubt, venue)
    for decision, qty in PLAN.items():
        while decision not in store.state.done:
            await asyncio.sleep(2)
            order = PlaceOrder(decision=decision, qty=qty)
            async with store.intend(order, within=within, lag=lag) as doubt:
                try:
                    await venue.place(
                        doubt.id, SYMBOL, qty, timestamp=doubt.time, decision=decision
                    )
                except TimeoutError:
                    await resolve(doubt, venue)
                except Rejected:
                    await doubt.settle("never_sent")
                else:
                    await doubt.settle("accepted")


async def record(store: EventStore[Book], *fills: Fill) -> None:
    """Record the new ones among fills: the store knows the keys of all recorded fills."""
    if fills:
        await store.append(*(RecordFillOnce(**fields_of(fill)) for fill in fills))


async def listen(store: EventStore[Book], venue: VenueClient) -> None:
    """Record the fills of the stream, and connect again whenever the stream ends."""
    while True:
        try:
            async for message in venue.stream():
                if isinstance(message, Fill):
                    await record(store, message)
        except Disconnected:
            await asyncio.sleep(0.2)


async def poll(store: EventStore[Book], venue: VenueClient) -> None:
    """Ask for all fills every three seconds."""
    while True:
        with contextlib.suppress(TimeoutError, Rejected):
            await record(store, *await venue.fills())
        await asyncio.sleep(3)


async def bot(
    store: EventStore[Book], venue: VenueClient, resolve: Resolve = wait_then_ask
) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(store, venue))
        tasks.create_task(poll(store, venue))
        tasks.create_task(trade(store, venue, resolve))
