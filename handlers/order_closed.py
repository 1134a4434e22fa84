"""`order_closed`: an order without further fills: filled, cancelled, rejected, or expired.

A late fill is booked all the same. Later messages about the order change nothing, unless the venue
opened the order again at a later time of its own (`order_updated`), which may be told before the
closing. A closing without a venue time is final.
"""

from __future__ import annotations

from msgspec.structs import replace

from eventstore import Event, InvalidPayloadError, Operation, handler
from handlers.amounts import ZERO
from handlers.instrument import Account, is_older
from handlers.order import Closing
from handlers.order_lookup import close_order, closing_of, order_of
from handlers.position import MAIN
from handlers.state import EngineState

__all__ = ["OrderClosed", "order_closed"]


class OrderClosed(Operation, tag="order_closed", essential=True):
    """Payload: the order `order_id` is closed, for a `reason` in free words.

    `order_id` is the venue's id, empty where unknown: then `client_order_id`, the engine's id, is
    needed. As `order_id` of an order that is open here, the engine's id will do, unless the venue
    closed another order of this id. `time` is the venue's, in nanoseconds since the epoch.
    """

    order_id: str = ""
    client_order_id: str = ""
    reason: str = ""
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
def order_closed(state: EngineState, event: Event[OrderClosed]) -> EngineState:
    """Forget the open order, and remember the closing."""
    data = event.data
    place, own, ids = (data.venue, data.account), data.client_order_id, {data.order_id} - {""}
    if not own and not ids:
        raise InvalidPayloadError(
            "order_closed, field `$.order_id`: the order has neither the venue's id nor "
            "client_order_id; nothing was written",
            operation="order_closed",
            field="$.order_id",
        )
    order = order_of(state, *place, own, data.order_id)
    told_before = closing_of(state.memory, *place, "", ids) is not None
    if order is None and not own and not told_before:
        order = order_of(state, *place, data.order_id, "")
        closed = closing_of(state.memory, *place, data.order_id, ()) is not None
        if order is not None or closed:
            own, ids = data.order_id, set()
    later = order is not None and is_older(data.time, order.time)
    opened = replace(order, filled=ZERO) if order is not None and later else None
    closing = Closing(state.memory.count + 1, event.time, data.reason, data.time, opened)
    return close_order(state, order, place, own, ids, closing)
