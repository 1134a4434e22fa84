"""The books of all bots in this folder: positions, cash, fees, and finished decisions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from immutables import Map

from eventstore import Event, HandlerRegistry, IntentSettled, Operation, handler
from eventstore.testing.simulation import Fill

PLAN = {1: Decimal("0.3"), 2: Decimal("-0.2"), 3: Decimal("0.5"), 4: Decimal("0.1")}
"""The strategy: each decision, with the quantity to trade."""

SYMBOL = "BTC-USDT"


class Book(msgspec.Struct, frozen=True):
    """The knowledge of a bot. `done` has the client order id of each decision.

    `fills` has the newest revision of each fill, for busts and corrections.
    """

    positions: Map[str, Decimal] = Map()
    cash: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    done: Map[int, str] = Map()
    fills: Map[str, RecordFillOnce] = Map()


class OrderSent(Operation):
    """A record of a sent order, made afterwards."""

    decision: int


class PlaceOrder(Operation, intent="client_order_id"):
    """A record of an order, made before the order is sent."""

    client_order_id: str = ""
    decision: int
    qty: Decimal


class RecordFill(Operation):
    """A fill, recorded as often as somebody says so."""

    fill_id: str
    revision: int
    client_order_id: str
    symbol: str
    qty: Decimal
    price: Decimal
    fee: Decimal


class RecordFillOnce(Operation, key=("fill_id", "revision"), settles="client_order_id"):
    """A fill, recorded once: id and revision are a key. Any fill proves that its order exists."""

    fill_id: str
    revision: int
    client_order_id: str
    symbol: str
    qty: Decimal
    price: Decimal
    fee: Decimal


def fields_of(fill: Fill) -> dict[str, Any]:
    """Return the recorded fields of a fill."""
    return {name: getattr(fill, name) for name in RecordFill.__struct_fields__}


def booked(book: Book, fill: RecordFill | RecordFillOnce, sign: int = 1) -> Book:
    """Add a fill to the books, or with `sign` -1 take the fill out again."""
    held = book.positions.get(fill.symbol, Decimal(0)) + sign * fill.qty
    return msgspec.structs.replace(
        book,
        positions=book.positions.set(fill.symbol, held),
        cash=book.cash - sign * (fill.qty * fill.price + fill.fee),
        fees=book.fees + sign * fill.fee,
    )


@handler
def record_fill(book: Book, event: Event[RecordFill]) -> Book:
    return booked(book, event.data)


@handler
def record_fill_once(book: Book, event: Event[RecordFillOnce]) -> Book:
    """Book a fill in the place of an earlier revision. Revisions may come out of order."""
    fill = event.data
    earlier = book.fills.get(fill.fill_id)
    if earlier is not None:
        if earlier.revision > fill.revision:
            return book
        book = booked(book, earlier, -1)
    book = booked(book, fill)
    return msgspec.structs.replace(book, fills=book.fills.set(fill.fill_id, fill))


@handler
def order_sent(book: Book, event: Event[OrderSent]) -> Book:
    return msgspec.structs.replace(book, done=book.done.set(event.data.decision, ""))


@handler
def place_order(book: Book, event: Event[PlaceOrder]) -> Book:
    done = book.done.set(event.data.decision, event.data.client_order_id)
    return msgspec.structs.replace(book, done=done)


@handler
def intent_settled(book: Book, event: Event[IntentSettled]) -> Book:
    """Decide again about an order that never reached the venue."""
    if event.data.outcome == "never_sent" and isinstance(event.intended, PlaceOrder):
        return msgspec.structs.replace(book, done=book.done.delete(event.intended.decision))
    return book


REGISTRY = HandlerRegistry(record_fill, record_fill_once, order_sent, place_order, intent_settled)
