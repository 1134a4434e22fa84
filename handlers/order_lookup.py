"""Parts shared by the operations on orders: look-up, remembered closings, and early fills.

An engine and a venue may use one text for two orders. So the ids of both are never compared with
each other.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from handlers.amounts import ZERO
from handlers.instrument import is_older
from handlers.message_memory import Fill, Identity, Memory, Message, message_identity
from handlers.order import Order
from handlers.state import EngineState

__all__ = [
    "close_order",
    "closing_of",
    "filled_by",
    "is_closed",
    "open_again",
    "order_of",
    "with_order",
    "without_order",
]


_REOPENED = (("opened again", ""),)


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
    memory: Memory, venue: str, account: str, client_order_id: str, order_id: str
) -> Message | None:
    """Return the latest closing of an order with one of two ids, `None` where none is closed."""
    found = [
        told
        for identity in _identities(venue, account, client_order_id, {order_id})
        if isinstance(told := memory.get(identity), Message) and told.content != _REOPENED
    ]
    return max(found, key=lambda told: told.time or 0, default=None)


def is_closed(
    memory: Memory, venue: str, account: str, client_order_id: str, order_id: str
) -> bool:
    """Whether an order with one of two ids is remembered as closed."""
    return closing_of(memory, venue, account, client_order_id, order_id) is not None


def close_order(
    state: EngineState,
    order: Order | None,
    place: tuple[str, str],
    client_order_id: str,
    ids: set[str],
    closed: Message,
) -> EngineState:
    """Return the state without an open order.

    The closing is remembered under the engine's id and every id at the venue. `place` is venue and
    account. A closing from before the order was opened again changes nothing.
    """
    changes: dict[str, Any] = {}
    if order is not None:
        changes = without_order(state, order)
        client_order_id = order.client_order_id or client_order_id
        ids = ids | {order.order_id, *order.former_ids}
    memory = state.memory
    for identity in _identities(*place, client_order_id, ids):
        told = memory.get(identity)
        if told is None:
            memory = memory.add(identity, closed)
        elif isinstance(told, Message) and told.content == _REOPENED:
            if is_older(closed.time, told.time):
                return state
            memory = memory.change({identity: closed})
    if not changes and memory is state.memory:
        return state
    return replace(state, memory=memory, **changes)


def open_again(
    memory: Memory, venue: str, account: str, client_order_id: str, order_id: str, time: int | None
) -> Memory:
    """Forget the closings of an order that a venue opened again at `time`, as after a bust."""
    return memory.change(
        {
            identity: replace(told, content=_REOPENED, time=time)
            for identity in _identities(venue, account, client_order_id, {order_id})
            if isinstance(told := memory.get(identity), Message)
        }
    )


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


def _identities(venue: str, account: str, client_order_id: str, ids: set[str]) -> list[Identity]:
    own = [message_identity("order_closed", venue, account, "engine", client_order_id)]
    theirs = [message_identity("order_closed", venue, account, "venue", name) for name in ids]
    return [identity for identity in (*own, *sorted(theirs)) if identity[-1]]
