"""A book of orders: operations that intend and settle, for tests of intents."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from immutables import Map

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    IntentSettled,
    Operation,
    SimulatedClock,
    handler,
)
from eventstore.missing_await import Opening
from eventstore.testing import SimulatedDisk


class Book(msgspec.Struct, frozen=True):
    """The client order id of each decision, the quantity filled, and the outcomes as told."""

    done: Map[int, str] = Map()
    filled: int = 0
    outcomes: tuple[str, ...] = ()


class PlaceOrder(Operation, intent="client_order_id"):
    client_order_id: str = ""
    decision: int
    qty: int = 1


class Replace(Operation, intent="client_order_id", settles="replaces"):
    """An intent that settles another one."""

    client_order_id: str = ""
    replaces: str


class RecordFill(Operation, settles="client_order_id"):
    client_order_id: str | None
    qty: int


class Mark(Operation):
    price: int


@handler
def place_order(state: Book, event: Event[PlaceOrder]) -> Book:
    if event.data.qty < 0:
        raise ValueError("an order is not negative")
    name = event.data.client_order_id
    return msgspec.structs.replace(state, done=state.done.set(event.data.decision, name))


@handler
def replace(state: Book, event: Event[Replace]) -> Book:
    return state


@handler
def record_fill(state: Book, event: Event[RecordFill]) -> Book:
    return msgspec.structs.replace(state, filled=state.filled + event.data.qty)


@handler
def mark(state: Book, event: Event[Mark]) -> Book:
    return state


@handler
def intent_settled(state: Book, event: Event[IntentSettled]) -> Book:
    state = msgspec.structs.replace(state, outcomes=(*state.outcomes, event.data.outcome))
    if event.data.outcome == "never_sent" and isinstance(event.intended, PlaceOrder):
        return msgspec.structs.replace(state, done=state.done.delete(event.intended.decision))
    return state


def order_registry(
    *, settlements: bool = True, more: tuple[Any, ...] = ()
) -> HandlerRegistry[Book]:
    """Return the handlers. Without `settlements` there is none of `intent_settled`."""
    own = (intent_settled,) if settlements else ()
    return HandlerRegistry(place_order, replace, record_fill, mark, *own, *more)


class LoopClock(SimulatedClock):
    """A clock that goes with the time of the running event loop."""

    def time_ns(self) -> int:
        return START + round(asyncio.get_running_loop().time() * 1e9)


START = 1_700_000_000_000_000_000


def opened(disk: SimulatedDisk | None, **options: Any) -> Opening[EventStore[Book]]:
    """Open a store of orders on a simulated disk, or one in memory."""
    registry = options.pop("registry", None) or order_registry()
    clock = options.pop("clock", None) or LoopClock()
    if disk is None:
        return EventStore.in_memory(registry, clock=clock)
    return EventStore.open("", registry, disk=disk, clock=clock, **options)


def ids_in_doubt(store: EventStore[Book]) -> list[str]:
    return [doubt.id for doubt in store.in_doubt]
