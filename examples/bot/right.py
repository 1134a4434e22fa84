"""A bot without a mistake: intents, keys, and patience before the venue's answer is believed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from book import (
    PLAN,
    SYMBOL,
    Book,
    PlaceOrder,
    RecordFillOnce,
    fields_of,
    intent_settled,
    place_order,
    record_fill_once,
)

from eventstore import Doubt, EventStore, HandlerRegistry
from eventstore.testing.simulation import Disconnected, Fill, Rejected, VenueClient

REGISTRY = HandlerRegistry(record_fill_once, place_order, intent_settled)


async def resolve(doubt: Doubt[PlaceOrder], venue: VenueClient) -> None:
    """Wait until no request can take effect any more, and believe the venue then."""
    await doubt.decidable()
    while True:
        try:
            order = await venue.order(doubt.id)
        except (TimeoutError, Rejected):
            await asyncio.sleep(0.5)
        else:
            await doubt.settle("accepted" if order else "never_sent")
            return


async def trade(store: EventStore[Book], venue: VenueClient) -> None:
    """Record the order of each decision, and then send the order."""
    within = timedelta(seconds=venue.receive_window)
    lag = timedelta(seconds=venue.query_lag)
    for doubt in store.in_doubt:
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


async def record(store: EventStore[Book], fill: Fill) -> None:
    await store.append(RecordFillOnce(**fields_of(fill)))


async def listen(store: EventStore[Book], venue: VenueClient) -> None:
    while True:
        try:
            async for message in venue.stream():
                if isinstance(message, Fill):
                    await record(store, message)
        except Disconnected:
            await asyncio.sleep(0.2)


async def poll(store: EventStore[Book], venue: VenueClient) -> None:
    """Ask for all fills every three seconds. The keys tell known fills from new ones."""
    while True:
        try:
            for fill in await venue.fills():
                await record(store, fill)
        except (TimeoutError, Rejected):
            pass
        await asyncio.sleep(3)


async def bot(store: EventStore[Book], venue: VenueClient) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(store, venue))
        tasks.create_task(poll(store, venue))
        tasks.create_task(trade(store, venue))
