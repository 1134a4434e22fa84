"""A limit order book, kept in an event store: a state and operations of one's own.

Orders are placed and cancelled. The book matches orders by price, then by time. Everything is an
event, so a restart, a replay or a second machine arrives at the same book and the same fills. None
of the store's own handlers is used.

Run with a directory, several times: `python examples/order_book.py /tmp/book`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Literal

import msgspec
from immutables import Map
from msgspec import Meta

from eventstore import Event, EventStore, HandlerRegistry, Operation, handler

Side = Literal["buy", "sell"]
Ticks = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Lots = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Order(msgspec.Struct, frozen=True):
    """The rest of an order in the book."""

    order_id: str
    lots: int


class OrderBook(msgspec.Struct, frozen=True):
    """Resting orders by price, oldest first, the side and price of each, and the trades' totals."""

    bids: Map[int, tuple[Order, ...]] = Map()
    asks: Map[int, tuple[Order, ...]] = Map()
    resting: Map[str, tuple[Side, int]] = Map()
    last_price: int | None = None
    lots_traded: int = 0

    @property
    def best_bid(self) -> int | None:
        return max(self.bids, default=None)

    @property
    def best_ask(self) -> int | None:
        return min(self.asks, default=None)


class PlaceOrder(Operation):
    """Payload: buy or sell `lots` at `price` or better. Lots not filled at once rest in the
    book.
    """

    order_id: Annotated[str, Meta(min_length=1)]
    side: Side
    price: Ticks
    lots: Lots


class CancelOrder(Operation):
    """Payload: take the rest of an order out of the book."""

    order_id: str


class OrderError(Exception):
    """The order's identifier is taken, or no order rests under this identifier."""


@handler
def place_order(book: OrderBook, event: Event[PlaceOrder]) -> OrderBook:
    data = event.data
    if data.order_id in book.resting:
        raise OrderError(f"order {data.order_id!r} is already in the book")
    left = data.lots
    while left and crosses(book, data):
        book, left = fill_best(book, data.side, left)
    if not left:
        return book
    levels = book.bids if data.side == "buy" else book.asks
    queue = (*levels.get(data.price, ()), Order(data.order_id, left))
    resting = book.resting.set(data.order_id, (data.side, data.price))
    return with_level(msgspec.structs.replace(book, resting=resting), data.side, data.price, queue)


@handler
def cancel_order(book: OrderBook, event: Event[CancelOrder]) -> OrderBook:
    order_id = event.data.order_id
    if order_id not in book.resting:
        raise OrderError(f"order {order_id!r} is not in the book")
    side, price = book.resting[order_id]
    levels = book.bids if side == "buy" else book.asks
    queue = tuple(order for order in levels[price] if order.order_id != order_id)
    resting = book.resting.delete(order_id)
    return with_level(msgspec.structs.replace(book, resting=resting), side, price, queue)


def crosses(book: OrderBook, data: PlaceOrder) -> bool:
    """Tell whether the other side has an order at this price or better."""
    if data.side == "buy":
        return book.best_ask is not None and book.best_ask <= data.price
    return book.best_bid is not None and book.best_bid >= data.price


def fill_best(book: OrderBook, side: Side, lots: int) -> tuple[OrderBook, int]:
    """Trade against the oldest order at the other side's best price. Returns the lots left."""
    other: Side = "sell" if side == "buy" else "buy"
    levels = book.asks if side == "buy" else book.bids
    price = min(levels) if side == "buy" else max(levels)
    oldest, *queue = levels[price]
    traded = min(lots, oldest.lots)
    resting = book.resting
    if oldest.lots > traded:
        queue.insert(0, Order(oldest.order_id, oldest.lots - traded))
    else:
        resting = resting.delete(oldest.order_id)
    book = msgspec.structs.replace(
        book, resting=resting, last_price=price, lots_traded=book.lots_traded + traded
    )
    return with_level(book, other, price, tuple(queue)), lots - traded


def with_level(book: OrderBook, side: Side, price: int, queue: tuple[Order, ...]) -> OrderBook:
    """Return the book with another queue at one price. An empty queue is taken out."""
    levels = book.bids if side == "buy" else book.asks
    if queue:
        levels = levels.set(price, queue)
    elif price in levels:
        levels = levels.delete(price)
    if side == "buy":
        return msgspec.structs.replace(book, bids=levels)
    return msgspec.structs.replace(book, asks=levels)


def order_book_registry() -> HandlerRegistry[OrderBook]:
    return HandlerRegistry(place_order, cancel_order)


async def main(directory: str) -> None:
    async with EventStore.open(directory, order_book_registry()) as store:
        turn = store.seq
        await store.append(PlaceOrder(order_id=f"s-{turn}", side="sell", price=101, lots=5))
        await store.append(PlaceOrder(order_id=f"b-{turn}", side="buy", price=101, lots=3))
        book = store.state
        print(f"{store.seq} events, {book.lots_traded} lots traded, asks: {dict(book.asks)}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
