"""`order_sent`: an order about to be sent, recorded before the sending.

The order is open under the engine's id, until `order_closed`. `order_updated` adds the
venue's id. Sent again, the order changes nothing, also after it was closed.
"""

from __future__ import annotations

import msgspec

from eventstore import Event, Operation, handler
from handlers.amounts import Number, Quantity, exact, exact_arithmetic, positive
from handlers.instrument import Account, Identifier, Side, Symbol
from handlers.order import Order, TradeSide
from handlers.order_lookup import is_closed, order_of, with_order
from handlers.position import MAIN, NET
from handlers.state import EngineState

__all__ = ["OrderSent", "order_sent"]


class OrderSent(Operation, tag="order_sent"):
    """Payload: an order of `shares` of `symbol` goes to the venue as `client_order_id`.

    `price` is the limit, `None` for an order without one. `position_side` is the side of
    the position. `time` is the time of sending, in nanoseconds since the epoch.
    """

    client_order_id: Identifier
    symbol: Symbol
    side: TradeSide
    shares: Quantity
    price: Number | None = None
    position_side: Side = NET
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
@exact_arithmetic
def order_sent(state: EngineState, event: Event[OrderSent]) -> EngineState:
    """Remember the order as open."""
    data = event.data
    state.instrument(data.symbol)  # raises for a symbol that a strict state does not know
    shares = positive(data.shares, "order_sent", "shares")
    price = None if data.price is None else exact(data.price, "order_sent", "price")
    client_order_id = data.client_order_id
    if is_closed(state.memory, data.venue, data.account, client_order_id, ""):
        return state
    if order_of(state, data.venue, data.account, client_order_id, ""):
        return state
    order = Order(
        "", client_order_id, data.symbol, data.side, shares, price, venue=data.venue,
        account=data.account, position_side=data.position_side, sent=data.time,
    )  # fmt: skip
    return msgspec.structs.replace(state, **with_order(state, order))
