"""`trade_fee`: the fee of a fill, told apart from the fill.

Interactive Brokers tells execution and commission in two messages, in either order. A fee of an
unknown fill waits for the fill. A known fee is a duplicate, and another fee than the known one
raises `ConflictError`.
"""

from __future__ import annotations

from eventstore import Event, Operation, handler
from handlers.amending import amend, text
from handlers.amounts import ONE, Number, exact, exact_arithmetic
from handlers.instrument import Account, Identifier, Symbol
from handlers.message_memory import Amendment, Terms, amendment_identity, fill_identity
from handlers.order import TradeSide
from handlers.position import MAIN
from handlers.state import EngineState

__all__ = ["TradeFee", "trade_fee"]


class TradeFee(Operation, tag="trade_fee", essential=True):
    """Payload: the `fee` of the fill `trade_id`.

    `reference` is the venue's id of the message. Where empty, the fill is the identity. `side` is
    the side of the trade. The other fields are those of `RecordTrade`.
    """

    trade_id: Identifier
    symbol: Symbol
    side: TradeSide
    fee: Number
    fee_currency: str | None = None
    reference: str = ""
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
@exact_arithmetic
def trade_fee(state: EngineState, event: Event[TradeFee]) -> EngineState:
    """Add the fee to the fill, once."""
    data = event.data
    instrument, fee = state.instrument(data.symbol), exact(data.fee, "trade_fee", "fee")
    currency = data.fee_currency or instrument.settlement
    fill = fill_identity(data.venue, data.account, data.symbol, data.trade_id, data.side)
    identity = amendment_identity("trade_fee", fill, data.reference)
    content = (
        ("trade_id", data.trade_id),
        ("symbol", data.symbol),
        ("side", data.side),
        ("fee", text(data.fee, "trade_fee", "fee")),
        ("fee_currency", currency if fee else ""),
    )
    terms = Terms(ONE, ONE, fee, currency)
    amendment = Amendment(identity, fill, terms, only_fee=True, time=data.time)
    return amend(state, event, amendment, content)
