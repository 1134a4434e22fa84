"""Step 3: fills have keys, so the stream and a re-poll every three seconds go side by side."""

from __future__ import annotations

import asyncio

from book import Book
from naive import trade
from right import listen, poll

from eventstore import EventStore
from eventstore.testing.simulation import VenueClient


async def bot(store: EventStore[Book], venue: VenueClient) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(store, venue))
        tasks.create_task(poll(store, venue))
        tasks.create_task(trade(store, venue))
