"""Step 4: an order is recorded before the sending. An order in doubt is asked for, at once."""

from __future__ import annotations

import right
from book import Book

from eventstore import EventStore
from eventstore.testing.simulation import VenueClient


async def bot(store: EventStore[Book], venue: VenueClient) -> None:
    await right.bot(store, venue, resolve=right.ask)
