"""`record_trade`: one fill, with all consequences.

- *Balances*: what a fill moves depends on the instrument (`instrument.py`). A share without an
  instrument costs `shares * price` of the base currency.
- *Position*: adding adds the cost, reducing takes the part of the cost out. A fill past zero is two
  fills: the new position has neither weight nor notes, since these were the old position's.
- *Realised profit*: what came in less the cost of the part that was closed. Gross of fees.
- *Fees*, in any currency: they move the balance of their currency, and are added up apart. A fee in
  the base of a spot pair is paid in the traded coins, so the position has fewer coins, at an
  unchanged average price. `fee=None` says that the fee is not known yet; `trade_fee`, or the same
  fill told again with its fee, adds it.
- *Told again*: the identity of a fill is venue, account, symbol, trade id and side. The same fill
  again changes nothing. The same identity with other terms raises `ConflictError`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from eventstore import Event, Operation, handler
from handlers.amending import book_with_waiting, fill_told_again
from handlers.amounts import RECENT, Number, Quantity, exact, exact_arithmetic, positive
from handlers.booking import book_fill
from handlers.errors import AmountError
from handlers.instrument import Account, Identifier, Instrument, Side, Symbol
from handlers.message_memory import Fill, Terms
from handlers.order import TradeSide
from handlers.position import MAIN, NET
from handlers.state import EngineState

__all__ = ["RecordTrade", "record_trade", "told_terms"]


class RecordTrade(Operation, tag="record_trade", essential=True):
    """Payload: `shares` of `symbol` were bought or sold at `price`, for a `fee`.

    Attributes:
        trade_id: The venue's id of the fill.
        symbol: Name of the instrument.
        side: `buy` or `sell`.
        shares: Quantity of this fill, above zero, in the units that the venue trades.
        price: Price of this fill.
        fee: Fee of this fill, negative for a rebate, `None` where not known yet.
        fee_currency: Currency of the fee, by default the settlement currency of the instrument.
        venue: Name of the venue.
        account: Name of the account.
        position_side: The position that the fill is for: `net`, or `long` or `short` in hedge mode.
        order_id: The venue's id of the order, empty where unknown.
        client_order_id: The engine's id of the order, empty where unknown.
        liquidity: Whether the order was there before (`maker`) or not (`taker`).
        time: The venue's time in nanoseconds since the epoch, beside the time of the event.
    """

    trade_id: Identifier
    symbol: Symbol
    side: TradeSide
    shares: Quantity
    price: Number
    fee: Number | None = None
    fee_currency: str | None = None
    venue: str = ""
    account: Account = MAIN
    position_side: Side = NET
    order_id: str = ""
    client_order_id: str = ""
    liquidity: Literal["maker", "taker"] | None = None
    time: int | None = None


@handler(trusted=True)
@exact_arithmetic
def record_trade(state: EngineState, event: Event[RecordTrade]) -> EngineState:
    """Book one fill, once."""
    data = event.data
    symbol, account, side, venue = data.symbol, data.account, data.position_side, data.venue
    instrument = state.instruments.get(symbol) or state.instrument(symbol)
    quantity, price, fee, fee_currency = told_terms(
        "record_trade", instrument, data.side, data.shares, data.price, data.fee, data.fee_currency
    )
    memory = state.memory
    identity = ("fill", venue, account, symbol, data.trade_id, data.side)
    if identity in memory.recent or identity in memory.older:
        terms = Terms(quantity, price, fee, fee_currency)
        return fill_told_again(state, identity, terms, side, data)
    if memory.forgotten:
        memory.refuse_too_late(identity, data.time)
    key = symbol if account == MAIN and side == NET else (account, symbol, side)
    fill = Fill(
        memory.count + 1, event.time, account, symbol, side, quantity, price, fee, fee_currency,
        state.positions.get(key), venue, data.order_id, data.client_order_id, data.time,
    )  # fmt: skip
    if memory.waiting and identity in memory.waiting:
        return book_with_waiting(state, identity, fill, key, instrument, data)
    return book_fill(state, fill, key, instrument, memory.add(identity, fill))


def told_terms(
    operation: str,
    instrument: Instrument,
    side: str,
    shares: Number,
    price: Number,
    fee: Number | None,
    fee_currency: str | None,
) -> tuple[Decimal, Decimal, Decimal | None, str]:
    """Return the exact terms of a fill: signed quantity, price, fee, and currency of the fee.

    Raises `AmountError` for a number that no fill can have.
    """
    quantity = RECENT.get(shares) if shares.__class__ is float else None
    if quantity is None or quantity.is_signed() or not quantity:
        quantity = positive(shares, operation, "shares")
    if side == "sell":
        quantity = -quantity
    at = RECENT.get(price) if price.__class__ is float else None
    if at is None:
        at = exact(price, operation, "price")
    if instrument.kind == "inverse" and (at.is_signed() or not at):
        raise AmountError(
            f"{operation}, field `$.price`: {at} is not above zero, and the contract is inverse; "
            "nothing was written",
            operation=operation,
            field="$.price",
        )
    if fee is None:
        return quantity, at, None, ""
    paid = RECENT.get(fee) if fee.__class__ is float else None
    if paid is None:
        paid = exact(fee, operation, "fee")
    return quantity, at, paid, fee_currency or instrument.settlement
