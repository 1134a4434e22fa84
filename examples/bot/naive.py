"""Step 1, as everybody writes the first bot: send, then record. Fills as the stream brings them."""

from __future__ import annotations

import asyncio

from book import PLAN, SYMBOL, Book, OrderSent, RecordFill, fields_of

from eventstore import EventStore
from eventstore.testing.simulation import Disconnected, Fill, Rejected, VenueClient


async def trade(store: EventStore[Book], venue: VenueClient) -> None:
    """Send the order of each decision, and record the sending."""
    for decision, qty in PLAN.items():
        while decision not in store.state.done:
            await asyncio.sleep(2)
            try:
                await venue.place(f"order-{decision}", SYMBOL, qty, decision=decision)
            except (TimeoutError, Rejected):
                continue  # try again
            await store.append(OrderSent(decision=decision))


async def listen(store: EventStore[Book], venue: VenueClient) -> None:
    """Record the fills of the stream, and connect again whenever the stream ends."""
    while True:
        try:
            async for message in venue.stream():
                if isinstance(message, Fill):
                    await store.append(RecordFill(**fields_of(message)))
        except Disconnected:
            await asyncio.sleep(0.2)


async def bot(store: EventStore[Book], venue: VenueClient) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(store, venue))
        tasks.create_task(trade(store, venue))
