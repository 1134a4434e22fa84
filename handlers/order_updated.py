"""`order_updated`: the venue's word on an open order.

An order's own message moves neither money nor positions nor the filled quantity, since fills tell
all three. An update of a closed order, and an update of an earlier venue time than the known one,
change nothing. An unknown order (sent by another program, or by hand) is open from now on, and
earlier fills of the order count. An order known twice, by the engine's id and by the venue's, is
one order as soon as an update tells both ids. An id that the venue gives to another order is no
longer an id of the earlier one.
"""

from __future__ import annotations

import msgspec

from eventstore import Event, Operation, handler
from handlers.amounts import Number, Quantity, exact, exact_arithmetic, positive
from handlers.instrument import Account, Identifier, Side, Symbol, is_older
from handlers.order import Order, TradeSide
from handlers.order_lookup import filled_by, is_closed, order_of, with_order, without_order
from handlers.position import MAIN, NET
from handlers.state import EngineState

__all__ = ["OrderUpdated", "order_updated"]


class OrderUpdated(Operation, tag="order_updated"):
    """Payload: the venue's order `order_id` is open, for `shares` in all.

    `client_order_id` is the engine's id, empty for an order of somebody else. `position_side` is
    `None` for the known one. The other fields are those of `OrderSent`. `time` is the venue's, in
    nanoseconds since the epoch.
    """

    order_id: Identifier
    symbol: Symbol
    side: TradeSide
    shares: Quantity
    price: Number | None = None
    client_order_id: str = ""
    position_side: Side | None = None
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
@exact_arithmetic
def order_updated(state: EngineState, event: Event[OrderUpdated]) -> EngineState:
    """Remember the venue's word on the order."""
    data = event.data
    state.instrument(data.symbol)  # raises for a symbol that a strict state does not know
    shares = positive(data.shares, "order_updated", "shares")
    price = None if data.price is None else exact(data.price, "order_updated", "price")
    ids = (data.client_order_id, data.order_id)
    if is_closed(state.memory, data.venue, data.account, *ids):
        return state
    known = order_of(state, data.venue, data.account, *ids)
    if known is not None and is_older(data.time, known.time):
        return state
    order = Order(
        data.order_id, data.client_order_id, data.symbol, data.side, shares, price,
        venue=data.venue, account=data.account, position_side=data.position_side or NET,
        time=data.time,
    )  # fmt: skip
    if known is not None:
        same = order_of(state, data.venue, data.account, "", data.order_id)
        if same is not None and same.key != known.key:
            state = msgspec.structs.replace(state, **without_order(state, same))
            if same.client_order_id:
                rest = with_order(state, same.without_name(data.order_id))
                state = msgspec.structs.replace(state, **rest)
        order = _continued(order, known, data.position_side)
        state = msgspec.structs.replace(state, **without_order(state, known))
    if known is None or (known.names, known.client_order_id) != (
        order.names,
        order.client_order_id,
    ):
        more = filled_by(state.memory, order, known)
        order = msgspec.structs.replace(order, filled=order.filled + more)
    return msgspec.structs.replace(state, **with_order(state, order))


def _continued(order: Order, known: Order, position_side: Side | None) -> Order:
    """Return an order with the facts known before and not told again."""
    former = known.former_ids
    if known.order_id and known.order_id != order.order_id:
        former = (*former, known.order_id)
    return msgspec.structs.replace(
        order,
        client_order_id=order.client_order_id or known.client_order_id,
        filled=known.filled,
        position_side=position_side or known.position_side,
        former_ids=tuple(name for name in former if name != order.order_id),
        sent=known.sent,
        time=known.time if order.time is None else order.time,
    )
