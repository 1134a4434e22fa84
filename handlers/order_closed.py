"""`order_closed`: an order without further fills: filled, cancelled, rejected, or expired.

A late fill is booked all the same. Later messages about the order change nothing, unless the venue
opened the order again at a later time of its own (`order_updated`).
"""

from __future__ import annotations

from eventstore import Event, Operation, handler
from handlers.instrument import Account, Identifier
from handlers.message_memory import Message
from handlers.order_lookup import close_order, is_closed, order_of
from handlers.position import MAIN
from handlers.state import EngineState

__all__ = ["OrderClosed", "order_closed"]


class OrderClosed(Operation, tag="order_closed", essential=True):
    """Payload: the order `order_id` is closed, for a `reason` in free words.

    `order_id` is the venue's id. Of an order that is open here, the engine's id will do. `time` is
    the venue's, in nanoseconds since the epoch.
    """

    order_id: Identifier
    client_order_id: str = ""
    reason: str = ""
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
def order_closed(state: EngineState, event: Event[OrderClosed]) -> EngineState:
    """Forget the open order, and remember the closing."""
    data = event.data
    place, own, ids = (data.venue, data.account), data.client_order_id, {data.order_id}
    order = order_of(state, *place, own, data.order_id)
    if order is None and not own:
        order = order_of(state, *place, data.order_id, "")
        if order is not None or is_closed(state.memory, *place, data.order_id, ""):
            own, ids = data.order_id, set()
    message = Message(
        state.memory.count + 1, event.time, (("reason", data.reason),), data.account,
        time=data.time,
    )  # fmt: skip
    return close_order(state, order, place, own, ids, message)
