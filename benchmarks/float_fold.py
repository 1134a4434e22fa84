"""The trading fold with floats, as the handlers had it before their amounts became exact.

The yardstick of the case `trading fold`. This fold leaves dust, books a trade told twice twice, and
knows neither currencies nor amendments. So the difference in cost is the price of these things too.
"""

from __future__ import annotations

from typing import Any

import msgspec
from immutables import Map

from eventstore import Event

__all__ = ["FloatPosition", "FloatState", "record_trade"]


class FloatPosition(msgspec.Struct, frozen=True, gc=False):
    """A holding at an average price."""

    symbol: str
    shares: float
    price: float
    weight: float | None = None
    updated: int = 0


class FloatState(msgspec.Struct, frozen=True, gc=False):
    """Cash, positions, and totals."""

    cash: float = 0.0
    positions: Map[str, FloatPosition] = Map()
    realized_pnl: float = 0.0
    fees: float = 0.0
    trade_count: int = 0
    extra: Map[str, Any] = Map()


def record_trade(state: FloatState, event: Event[Any]) -> FloatState:
    """Book one fill."""
    data = event.data
    symbol, price = data.symbol, data.price
    traded = data.shares if data.side == "buy" else -data.shares
    positions, realized_pnl = state.positions, state.realized_pnl
    held = positions.get(symbol)
    if held is None or not held.shares:
        weight = None if held is None else held.weight
        positions = positions.set(symbol, FloatPosition(symbol, traded, price, weight, event.time))
    else:
        before = held.shares
        after = before + traded
        average, weight = held.price, held.weight
        if (before > 0.0) == (traded > 0.0):
            average = (before * average + traded * price) / after
        elif not after:
            realized_pnl += before * (price - average)
        elif (before > 0.0) == (after > 0.0):
            realized_pnl -= traded * (price - average)
        else:
            realized_pnl += before * (price - average)
            average, weight = price, None
        if after:
            position = FloatPosition(symbol, after, average, weight, event.time)
            positions = positions.set(symbol, position)
        else:
            positions = positions.delete(symbol)
    return FloatState(
        state.cash - traded * price - data.fee,
        positions,
        realized_pnl,
        state.fees + data.fee,
        state.trade_count + 1,
        state.extra,
    )
