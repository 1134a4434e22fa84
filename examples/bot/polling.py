"""Step 2: the naive bot, and all fills are asked for at the start and after each reconnection."""

from __future__ import annotations

import asyncio

from book import Book, RecordFill, fields_of
from naive import trade

from eventstore import EventStore
from eventstore.testing.simulation import Disconnected, Fill, Rejected, VenueClient


async def record(store: EventStore[Book], fill: Fill) -> None:
    await store.append(RecordFill(**fields_of(fill)))


async def catch_up(store: EventStore[Book], venue: VenueClient) -> None:
    """Ask for all fills, until there is an answer."""
    while True:
        try:
            for fill in await venue.fills():
                await record(store, fill)
        except (TimeoutError, Rejected):
            await asyncio.sleep(0.5)
        else:
            return


async def listen(store: EventStore[Book], venue: VenueClient) -> None:
    """Record the fills of the stream, and after each interruption all fills so far."""
    while True:
        await catch_up(store, venue)
        try:
            async for message in venue.stream():
                if isinstance(message, Fill):
                    await record(store, message)
        except Disconnected:
            await asyncio.sleep(0.2)


async def bot(store: EventStore[Book], venue: VenueClient) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(store, venue))
        tasks.create_task(trade(store, venue))
