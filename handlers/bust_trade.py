"""`bust_trade`: a fill taken back by the venue.

Everything is as if the fill had never been: balances, quantity, fees, and the split between cost
and realised profit. Everything told of the position since the fill is folded anew. The fill stays
known and busted, also when a re-poll tells the fill again. A bust of an unknown fill waits for the
fill.
"""

from __future__ import annotations

from eventstore import Event, Operation, handler
from handlers.amending import amend
from handlers.amounts import exact_arithmetic
from handlers.instrument import Account, Identifier, Symbol
from handlers.message_memory import Amendment, amendment_identity, fill_identity
from handlers.order import TradeSide
from handlers.position import MAIN
from handlers.state import EngineState

__all__ = ["BustTrade", "bust_trade"]


class BustTrade(Operation, tag="bust_trade", essential=True):
    """Payload: the fill `trade_id` never was.

    `reference` is the venue's id of the message. Where empty, the fill is the identity. `side` is
    the side of the trade. The other fields are those of `RecordTrade`.
    """

    trade_id: Identifier
    symbol: Symbol
    side: TradeSide
    reference: str = ""
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
@exact_arithmetic
def bust_trade(state: EngineState, event: Event[BustTrade]) -> EngineState:
    """Take the fill back, once."""
    data = event.data
    state.instrument(data.symbol)  # raises for a symbol that a strict state does not know
    fill = fill_identity(data.venue, data.account, data.symbol, data.trade_id, data.side)
    identity = amendment_identity("bust_trade", fill, data.reference)
    content = (("trade_id", data.trade_id), ("symbol", data.symbol), ("side", data.side))
    amendment = Amendment(identity, fill, None, time=data.time)
    return amend(state, event, amendment, content)
