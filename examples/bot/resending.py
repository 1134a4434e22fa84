"""Step 5: an order in doubt is sent again under the same id. Most venues take the order twice."""

from __future__ import annotations

import asyncio

import right
from book import SYMBOL, Book, PlaceOrder

from eventstore import Doubt, EventStore
from eventstore.testing.simulation import Rejected, VenueClient


async def send_again(doubt: Doubt[PlaceOrder], venue: VenueClient) -> None:
    """Send the order until the venue takes it, or knows the id."""
    order = doubt.operation
    while True:
        try:
            await venue.place(doubt.id, SYMBOL, order.qty, decision=order.decision)
        except Rejected as refusal:
            if "in use" in str(refusal):
                break
            await asyncio.sleep(0.5)
        except TimeoutError:
            continue
        else:
            break
    await doubt.settle("accepted")


async def bot(store: EventStore[Book], venue: VenueClient) -> None:
    await right.bot(store, venue, resolve=send_again)
