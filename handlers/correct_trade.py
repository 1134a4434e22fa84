"""`correct_trade`: a fill replaced by the venue, with another quantity, price or fee.

Everything is as if the fill had been told so at once. The fill goes on under `new_trade_id`, and a
correction can be corrected. Without a fee in the correction, the known fee stays. A correction of
an unknown fill waits for the fill.
"""

from __future__ import annotations

from eventstore import Event, Operation, handler
from handlers.amending import amend, text
from handlers.amounts import Number, Quantity, exact_arithmetic
from handlers.instrument import Account, Identifier, Symbol
from handlers.message_memory import Amendment, Terms, amendment_identity, fill_identity
from handlers.order import TradeSide
from handlers.position import MAIN
from handlers.record_trade import told_terms
from handlers.state import EngineState

__all__ = ["CorrectTrade", "correct_trade"]

_NAME = "correct_trade"


class CorrectTrade(Operation, tag="correct_trade", essential=True):
    """Payload: the fill `trade_id` is `shares` at `price`, and is called `new_trade_id`.

    `reference` is the venue's id of the message. Where empty, `new_trade_id` is the identity.
    `fee` is `None` where the correction does not tell the fee. The other fields are those of
    `RecordTrade`.
    """

    trade_id: Identifier
    new_trade_id: Identifier
    symbol: Symbol
    side: TradeSide
    shares: Quantity
    price: Number
    fee: Number | None = None
    fee_currency: str | None = None
    reference: str = ""
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
@exact_arithmetic
def correct_trade(state: EngineState, event: Event[CorrectTrade]) -> EngineState:
    """Replace the fill, once."""
    data = event.data
    fill = fill_identity(data.venue, data.account, data.symbol, data.trade_id, data.side)
    renamed = fill_identity(data.venue, data.account, data.symbol, data.new_trade_id, data.side)
    identity = amendment_identity(_NAME, renamed, data.reference)
    told = told_terms(
        _NAME, state.instrument(data.symbol), data.side, data.shares, data.price, data.fee,
        data.fee_currency,
    )  # fmt: skip
    content = (
        ("trade_id", data.trade_id),
        ("new_trade_id", data.new_trade_id),
        ("symbol", data.symbol),
        ("side", data.side),
        ("shares", text(data.shares, _NAME, "shares")),
        ("price", text(data.price, _NAME, "price")),
        ("fee", text(data.fee, _NAME, "fee")),
        ("fee_currency", told[3]),
    )
    amendment = Amendment(identity, fill, Terms(*told), renamed=renamed, time=data.time)
    return amend(state, event, amendment, content)
