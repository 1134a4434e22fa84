"""Parts shared by the operations on orders: look-up, remembered closings, and early fills.

An engine and a venue may use one text for two orders. So the ids of both are never compared with
each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from immutables import Map
from msgspec.structs import replace

from handlers.amounts import ZERO
from handlers.instrument import is_older
from handlers.message_memory import Fill, Identity, Memory, message_identity
from handlers.order import Closing, Order, OrderKey, OrderName
from handlers.state import EngineState

__all__ = [
    "close_order",
    "closed_ids",
    "closing_of",
    "filled_by",
    "is_closed",
    "is_open_again",
    "order_of",
    "orders_filled",
    "with_order",
    "without_order",
]


def order_of(
    state: EngineState, venue: str, account: str, client_order_id: str, order_id: str
) -> Order | None:
    """Return the open order with one of two ids. An empty id is none."""
    if client_order_id:
        order = state.orders.get((venue, account, client_order_id, ""))
        if order is not None:
            return order
    key = state.order_names.get((venue, account, order_id))
    return None if key is None else state.orders.get(key)


def with_order(state: EngineState, order: Order) -> dict[str, Any]:
    """Return the fields changed by a new or changed open order."""
    names = state.order_names
    for name in sorted(order.names):
        names = names.set(name, order.key)
    return {"orders": state.orders.set(order.key, order), "order_names": names}


def without_order(state: EngineState, order: Order) -> dict[str, Any]:
    """Return the fields changed by the end of an open order."""
    names = state.order_names
    for name in order.names:
        if names.get(name) == order.key:  # a venue may give the id to another order
            names = names.delete(name)
    return {"orders": state.orders.delete(order.key), "order_names": names}


def closing_of(
    memory: Memory, venue: str, account: str, client_order_id: str, ids: Iterable[str]
) -> Closing | None:
    """Return what is remembered of the end of an order, `None` where the order is not closed.

    `ids` are the venue's ids of the order. An empty id is none.
    """
    closing = None
    for identity in _identities(venue, account, client_order_id, ids):
        told = memory.get(identity)
        if isinstance(told, Closing):
            closing = told if closing is None else _both(closing, told)
    return closing


def closed_ids(memory: Memory, venue: str, account: str, closing: Closing) -> set[str]:
    """Return the ids at the venue under which a closing is remembered: those of its order."""
    kind = message_identity("order_closed", venue, account, "venue")
    return {
        identity[-1]
        for identity, told in memory.told()
        if isinstance(told, Closing) and told.number == closing.number and identity[:-1] == kind
    }


def is_closed(
    memory: Memory, venue: str, account: str, client_order_id: str, order_id: str
) -> bool:
    """Whether an order with one of two ids is closed, and was not opened again."""
    closing = closing_of(memory, venue, account, client_order_id, [order_id])
    return closing is not None and not is_open_again(memory, closing)


def is_open_again(memory: Memory, closing: Closing) -> bool:
    """Whether a venue opened a closed order again, and the fills are less than the order."""
    opened = closing.opened
    return opened is not None and filled_by(memory, opened, None) < opened.shares


def close_order(
    state: EngineState,
    order: Order | None,
    place: tuple[str, str],
    client_order_id: str,
    ids: set[str],
    closing: Closing,
) -> EngineState:
    """Return the state after the end of an order was told, or told again.

    The closing is remembered under the engine's id and every id at the venue. `place` is venue and
    account. An order that the venue opened again later stays open while the fills are less.
    """
    for known in (order, closing.opened):
        if known is not None:
            client_order_id = known.client_order_id or client_order_id
            ids = ids | {known.order_id, *known.former_ids}
    if (told := closing_of(state.memory, *place, client_order_id, ids)) is not None:
        closing = _both(told, closing)
    memory = state.memory
    for identity in _identities(*place, client_order_id, ids):
        known_closing = memory.get(identity)
        if known_closing is None:
            memory = memory.add(identity, closing)
        elif known_closing != closing:
            memory = memory.change({identity: closing})
    changes: dict[str, Any] = {}
    if order is not None and not is_open_again(memory, closing):
        changes = without_order(state, order)
    if not changes and memory is state.memory:
        return state
    return replace(state, memory=memory, **changes)


def orders_filled(
    state: EngineState, fill: Fill, quantity: Decimal, memory: Memory
) -> tuple[Map[OrderKey, Order], Map[OrderName, OrderKey]]:
    """Return the open orders and their names after `quantity` more of the order of a fill.

    An order that the venue opened again is open only while the fills are less than the order.
    `memory` is that after the fill.
    """
    place = (fill.venue, fill.account)
    order = order_of(state, *place, fill.client_order_id, fill.order_id)
    if order is not None:
        order = replace(order, filled=order.filled + quantity)
        if order.filled < order.shares or not _was_opened_again(memory, order):
            return state.orders.set(order.key, order), state.order_names
        changes = without_order(state, order)
    elif quantity.is_signed():
        closing = closing_of(memory, *place, fill.client_order_id, [fill.order_id])
        if closing is None or closing.opened is None or not is_open_again(memory, closing):
            return state.orders, state.order_names
        filled = filled_by(memory, closing.opened, None)
        changes = with_order(state, replace(closing.opened, filled=filled))
    else:
        return state.orders, state.order_names
    return changes["orders"], changes["order_names"]


def _was_opened_again(memory: Memory, order: Order) -> bool:
    place = (order.venue, order.account)
    closing = closing_of(memory, *place, order.client_order_id, [order.order_id])
    return closing is not None and closing.opened is not None


def _both(one: Closing, other: Closing) -> Closing:
    """Return the closing after two of the same order, told in any order."""
    time = None if one.time is None or other.time is None else max(one.time, other.time)
    opened = one.opened
    if opened is None or (
        other.opened is not None and not is_older(other.opened.time, opened.time)
    ):  # of the same word, the one told now knows every id
        opened = other.opened
    if opened is not None and not is_older(time, opened.time):
        opened = None
    return replace(one, time=time, opened=opened)


def filled_by(memory: Memory, order: Order, known: Order | None) -> Decimal:
    """Return the sum of the remembered fills of an order, without the fills of the known order.

    The known order is the same order before the message, with fewer ids. So a fill told before the
    order counts, and no fill counts twice.
    """
    own, names = order.client_order_id or None, {order.order_id, *order.former_ids} - {""}
    total = ZERO
    for generation in (memory.older, memory.recent):
        for told in generation.values():  # thousands, of which hardly any is of this order
            if isinstance(told, Fill) and (told.order_id in names or told.client_order_id == own):
                place = (told.venue, told.account)
                counted = known is not None and _is_of(told, known)
                if place == (order.venue, order.account) and not counted:
                    total += told.counted
    return total


def _is_of(fill: Fill, order: Order) -> bool:
    """Whether a fill of the same venue and account tells an id of the order."""
    if fill.client_order_id and fill.client_order_id == order.client_order_id:
        return True
    return fill.order_id == order.order_id != "" or fill.order_id in order.former_ids


def _identities(
    venue: str, account: str, client_order_id: str, ids: Iterable[str]
) -> list[Identity]:
    own = [message_identity("order_closed", venue, account, "engine", client_order_id)]
    theirs = [message_identity("order_closed", venue, account, "venue", name) for name in ids]
    return [identity for identity in (*own, *sorted(theirs)) if identity[-1]]
