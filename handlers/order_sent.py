"""`order_sent`: an order about to be sent, recorded before the sending.

The order is open under the engine's id, until `order_closed`. `order_updated` adds the
venue's id. Sent again, the order changes nothing, also after it was closed. Where fills or updates
of the order were told first, the fills count, and the order gets what only the engine knows: the
time of sending and the side of the position.
"""

from __future__ import annotations

from msgspec.structs import replace

from eventstore import Event, Operation, handler
from handlers.amounts import Number, Quantity, exact, exact_arithmetic, positive
from handlers.instrument import Account, Identifier, Side, Symbol
from handlers.order import Order, TradeSide
from handlers.order_lookup import closing_of, filled_by, order_of, with_order
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
    known = order_of(state, data.venue, data.account, client_order_id, "")
    if known is not None:
        side = data.position_side if known.position_side == NET else known.position_side
        time = data.time if known.sent is None else known.sent
        order = replace(known, position_side=side, sent=time)
        return state if order == known else replace(state, **with_order(state, order))
    if closing_of(state.memory, data.venue, data.account, client_order_id, ()) is not None:
        return state
    order = Order(
        "", client_order_id, data.symbol, data.side, shares, price, venue=data.venue,
        account=data.account, position_side=data.position_side, sent=data.time,
    )  # fmt: skip
    order = replace(order, filled=filled_by(state.memory, order, None))
    return replace(state, **with_order(state, order))
