"""`order_updated`: the venue's word on an open order.

An order's own message moves neither money nor positions nor the filled quantity, since fills tell
all three. An unknown order (sent by another program, or by hand) is open from now on, and earlier
fills of the order count. An order known twice, by the engine's id and by the venue's, is one order
as soon as an update tells both ids. An id that the venue gives to another order is no longer an id
of the earlier one.

Updates may come in any order. An update of an earlier venue time than the known one tells an
earlier id of the order, and changes nothing else. An update of a closed order opens nothing, and
closes the order under the ids in the update. Only an update of a later venue time than the closing
opens the order again, as after a bust. Such an order is open while its fills are less than its
quantity. The closing remembers the update, so the order of telling does not count.
"""

from __future__ import annotations

from msgspec.structs import replace

from eventstore import Event, Operation, handler
from handlers.amounts import Number, Quantity, exact, exact_arithmetic, positive
from handlers.instrument import Account, Identifier, Side, Symbol, is_older
from handlers.order import Order, TradeSide
from handlers.order_lookup import (
    close_order,
    closed_ids,
    closing_of,
    filled_by,
    is_open_again,
    order_of,
    with_order,
    without_order,
)
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
    place, ids = (data.venue, data.account), (data.client_order_id, data.order_id)
    known = order_of(state, *place, *ids)
    order = Order(
        data.order_id, data.client_order_id, data.symbol, data.side, shares, price,
        venue=data.venue, account=data.account, position_side=data.position_side or NET,
        time=data.time,
    )  # fmt: skip
    closed = closing_of(state.memory, *place, data.client_order_id, [data.order_id])
    if closed is not None:
        if closed.opened is not None:
            order = _joined(order, closed.opened, data.position_side)
        elif not is_older(closed.time, data.time):
            other_id = known is not None and known.order_id not in ("", data.order_id)
            if known is not None and other_id and not is_older(known.time, data.time):
                return state  # the closed id is one that the order had before
            return close_order(state, known, place, data.client_order_id, {data.order_id}, closed)
        order = _with_ids(order, known, closed_ids(state.memory, *place, closed))
        closed = replace(closed, opened=order)
        state = close_order(state, known, place, data.client_order_id, {data.order_id}, closed)
        if not is_open_again(state.memory, closed):
            return state
    if known is None:
        order = replace(order, filled=filled_by(state.memory, order, None))
        return replace(state, **with_order(state, order))
    same = order_of(state, *place, "", data.order_id)
    if same is not None and same.key != known.key:
        if same.client_order_id and is_older(data.time, known.time):
            return state  # the id is of another order since
        state = replace(state, **without_order(state, same))
        if same.client_order_id:
            state = replace(state, **with_order(state, same.without_name(data.order_id)))
        else:
            order = _joined(order, same, data.position_side)
    order = _joined(order, known, data.position_side)
    if order == known:
        return state
    if (known.names, known.client_order_id) != (order.names, order.client_order_id):
        more = filled_by(state.memory, order, known)
        order = replace(order, filled=order.filled + more)
    state = replace(state, **without_order(state, known))
    return replace(state, **with_order(state, order))


def _with_ids(order: Order, known: Order | None, closed: set[str]) -> Order:
    """Return an order that is opened again with the ids of the open one and of the closed one."""
    names = closed if known is None else closed | {known.order_id, *known.former_ids}
    more = sorted(names - {"", order.order_id, *order.former_ids})
    return replace(order, former_ids=(*order.former_ids, *more))


def _joined(told: Order, known: Order, position_side: Side | None) -> Order:
    """Return one order of two, with the facts of the later one by venue time.

    `position_side` is the told one, `None` where not told.
    """
    late = is_older(told.time, known.time)
    newer, older = (known, told) if late else (told, known)
    former = dict.fromkeys((*older.former_ids, *newer.former_ids, older.order_id))
    return replace(
        newer,
        client_order_id=newer.client_order_id or older.client_order_id,
        filled=known.filled,
        position_side=known.position_side if late else position_side or known.position_side,
        former_ids=tuple(name for name in former if name not in ("", newer.order_id)),
        sent=older.sent if newer.sent is None else newer.sent,
        time=older.time if newer.time is None else newer.time,
    )
