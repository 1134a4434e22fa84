"""`record_trade`: one fill, with all consequences.

- *Cash*: a buy pays `shares * price`, a sell receives the same. Both pay `fee` (a negative fee
  is a rebate).
- *Average price*: adding to a position, long or short, averages by shares. Reducing a position
  keeps the average. A trade past zero closes the old position and opens the rest at the trade's
  price, like two trades, one after the other. The new position has no weight, since the weight was
  the old position's.
- *Realised profit*: the closed shares times their gain over the average price. Realised profit is
  gross of fees. Fees are added up apart, so net profit is `realized_pnl - fees`.
- *Zero*: a position is removed when its shares are exactly zero.

Shares are doubles, and sums of doubles round. After buying 0.1 and 0.2 and selling 0.3, 5.6e-17
shares are left. The rest stays in the state, where everybody can see the rest. Declaring such a
rest zero below some threshold was rejected, because the threshold would be wrong for the next
instrument. Cash is the same either way. Shares that doubles hold exactly (whole numbers, or counts
of the smallest lot) always close to zero. For other shares, close with an `update_position` of
zero shares in the same append.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from eventstore import Event, Operation, handler
from handlers.state import EngineState, Number, Position, Symbol, drop_unknown_keys

__all__ = ["RecordTrade", "record_trade"]


class RecordTrade(Operation, tag="record_trade"):
    """Payload: `shares` of `symbol` were bought or sold at `price`, for a `fee`."""

    trade_id: Annotated[str, Meta(min_length=1)]
    symbol: Symbol
    side: Literal["buy", "sell"]
    shares: Annotated[float, Meta(gt=0.0, le=1e100)]
    price: Number
    fee: Number = 0.0


@handler
def record_trade(state: EngineState, event: Event[RecordTrade]) -> EngineState:
    """Book one fill."""
    data = event.data
    symbol = data.symbol
    price = data.price
    traded = data.shares if data.side == "buy" else -data.shares
    positions = state.positions
    realized_pnl = state.realized_pnl
    extra = state.extra

    held = positions.get(symbol)
    if held is None or not held.shares:
        weight = None if held is None else held.weight
        positions = positions.set(symbol, Position(symbol, traded, price, weight, event.time))
    else:
        before = held.shares
        after = before + traded
        average = held.price
        weight = held.weight
        if (before > 0.0) == (traded > 0.0):
            average = (before * average + traded * price) / after
        elif not after:
            realized_pnl += before * (price - average)
        elif (before > 0.0) == (after > 0.0):
            realized_pnl -= traded * (price - average)
        else:
            realized_pnl += before * (price - average)
            average = price
            weight = None
        if after:
            positions = positions.set(symbol, Position(symbol, after, average, weight, event.time))
        else:
            positions = positions.delete(symbol)
            extra = drop_unknown_keys(extra, symbol)

    return EngineState(
        state.cash - traded * price - data.fee,
        positions,
        realized_pnl,
        state.fees + data.fee,
        state.trade_count + 1,
        extra,
    )
