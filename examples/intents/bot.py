"""A bot whose orders are intents: the part that would be yours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from immutables import Map
from venue import Rejected, Venue

from eventstore import Doubt, Event, EventStore, HandlerRegistry, IntentSettled, Operation, handler


class Book(msgspec.Struct, frozen=True):
    """The client order id of each decision that was carried out, or is in doubt."""

    done: Map[int, str] = Map()


class PlaceOrder(Operation, intent="client_order_id"):
    client_order_id: str = ""
    decision: int
    qty: int


@handler
def place_order(book: Book, event: Event[PlaceOrder]) -> Book:
    return Book(book.done.set(event.data.decision, event.data.client_order_id))


@handler
def intent_settled(book: Book, event: Event[IntentSettled]) -> Book:
    """Decide again what never reached the venue."""
    if event.data.outcome == "never_sent" and isinstance(event.intended, PlaceOrder):
        return Book(book.done.delete(event.intended.decision))
    return book


REGISTRY = HandlerRegistry(place_order, intent_settled)

Resolve = Callable[[Doubt[PlaceOrder], Venue], Awaitable[None]]


async def wait_then_ask(doubt: Doubt[PlaceOrder], venue: Venue) -> None:
    """Wait until no request can take effect any more, and believe the venue then."""
    await doubt.decidable()
    await ask(doubt, venue)


async def ask(doubt: Doubt[PlaceOrder], venue: Venue) -> None:
    """Ask the venue, as often as it takes, and believe the answer."""
    while True:
        try:
            known = await venue.order(doubt.id)
        except TimeoutError:
            continue
        await doubt.settle("accepted" if known else "never_sent")
        return


async def trade(
    store: EventStore[Book],
    venue: Venue,
    decisions: dict[int, int],
    resolve: Resolve = wait_then_ask,
) -> None:
    """Carry out every decision once, whatever happened to the bot before."""
    for doubt in store.in_doubt:
        await resolve(doubt, venue)
    for decision, qty in decisions.items():
        while decision not in store.state.done:
            order = PlaceOrder(decision=decision, qty=qty)
            async with store.intend(order, within=venue.receive_window, lag=venue.lag) as doubt:
                try:
                    await venue.place(doubt.id, decision, doubt.time)
                    await doubt.settle("accepted")
                except Rejected as refusal:
                    await doubt.settle("never_sent", note=str(refusal))
                except TimeoutError:
                    await resolve(doubt, venue)
