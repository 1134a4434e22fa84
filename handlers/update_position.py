"""`update_position`: the holding of one symbol, as told by an outside count.

The operation sets shares and average price. Cash, profit and fees stay (`record_trade` moves
those). Exactly zero shares remove the position. Removing a position that is not held changes
nothing. Without a `weight`, an earlier weight stays.
"""

from __future__ import annotations

from eventstore import Event, Operation, handler
from handlers.state import EngineState, Number, Position, Symbol

__all__ = ["UpdatePosition", "update_position"]


class UpdatePosition(Operation, tag="update_position"):
    """Payload: hold `shares` of `symbol` (negative: short) at the average `price`."""

    symbol: Symbol
    shares: Number
    price: Number
    weight: Number | None = None


@handler
def update_position(state: EngineState, event: Event[UpdatePosition]) -> EngineState:
    """Set or remove one position."""
    data = event.data
    symbol = data.symbol
    held = state.positions.get(symbol)
    if not data.shares:
        return state if held is None else state.without(symbol)
    weight = data.weight
    if weight is None and held is not None:
        weight = held.weight
    position = Position(symbol, data.shares, data.price, weight, event.time)
    return EngineState(
        state.cash,
        state.positions.set(symbol, position),
        state.realized_pnl,
        state.fees,
        state.trade_count,
        state.extra,
    )
