"""`adjust_cash`: money received or paid without a trade.

- *deposit, withdrawal, funding, interest, dividend, tax*: the balance changes by `amount` (signed),
  and the flow is added up by type, symbol and currency. No profit changes.
- *fee, rebate*: the same, and counted among the fees (a payment is a negative amount). With the
  `symbol` of a spot pair and the base as currency, the coins leave the position at average cost.
- *settlement*: the amount of a daily settlement: realised profit of `symbol`, and moved into the
  cost of the position. `settle` does the same from a price.
- *transfer*: `amount` goes from `account` to `to_account`. No flow, no profit.
- *correction*: the difference to what a venue counts (`reconcile`), of unknown cause. A flow of its
  own type, so that it hides in no other.

The identity is venue, account, type and reference. A second telling changes nothing, and another
content raises `ConflictError`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from eventstore import Event, Operation, handler
from handlers.amending import is_known, same_text, text
from handlers.amounts import Number, exact, exact_arithmetic
from handlers.booking import effect_changes
from handlers.errors import TradingError
from handlers.instrument import Account, Identifier, Side
from handlers.message_memory import Effect, InKind, Message, SettledFor, message_identity
from handlers.position import MAIN, NET, position_key
from handlers.state import EngineState, balance_key
from handlers.sums import added

__all__ = ["AdjustCash", "adjust_cash"]

_NAME = "adjust_cash"


class AdjustCash(Operation, tag="adjust_cash"):
    """Payload: the balance of `currency` changes by `amount`.

    Attributes:
        type: The type of the movement.
        amount: The change of the balance of `account`, negative for money paid. Of a transfer: the
            amount on the way from `account` to `to_account`.
        reference: The venue's id of the movement.
        currency: The currency, by default the base currency of the state.
        symbol: The instrument of the movement, `None` for none.
        venue: Name of the venue.
        account: Name of the account.
        to_account: The receiving account of a transfer.
        position_side: The side of the settled position.
        time: The venue's time in nanoseconds since the epoch.
    """

    type: Literal[
        "deposit", "withdrawal", "funding", "interest", "dividend", "tax", "fee", "rebate",
        "settlement", "transfer", "correction",
    ]  # fmt: skip
    amount: Number
    reference: Identifier
    currency: str | None = None
    symbol: str | None = None
    venue: str = ""
    account: Account = MAIN
    to_account: str | None = None
    position_side: Side = NET
    time: int | None = None


@handler(trusted=True)
@exact_arithmetic
def adjust_cash(state: EngineState, event: Event[AdjustCash]) -> EngineState:
    """Book one movement of cash, once."""
    data = event.data
    amount = exact(data.amount, _NAME, "amount")
    currency = data.currency or state.base_currency
    symbol = same_text(data.symbol)
    effect = _effect(state, data, currency)
    content = (
        ("amount", text(data.amount, _NAME, "amount")),
        ("currency", currency),
        ("symbol", symbol),
        ("to_account", same_text(data.to_account)),
        ("position_side", data.position_side),
    )
    message = Message(
        state.memory.count + 1, event.time, content, data.account, symbol, data.position_side,
        effect, time=data.time,
    )  # fmt: skip
    identity = message_identity(_NAME, data.venue, data.account, data.type, data.reference)
    if is_known(state.memory, identity, message, data):
        return state
    changes: dict[str, Any] = {"memory": state.memory.add(identity, message)}
    if effect is not None:
        key = position_key(symbol, data.account, data.position_side)
        if data.type == "settlement" and key not in state.positions:
            raise TradingError(
                f"{data!r}: there is no position to settle, so an amount cannot be booked; nothing "
                "was written. Tell the settlement by its price (settle), or correct the position"
            )
        changes |= effect_changes(state, key, effect, symbol, event.time)
    if data.type == "transfer":
        balances = added(state.balances, balance_key(currency, data.account), -amount)
        to_account = same_text(data.to_account)
        changes["balances"] = added(balances, balance_key(currency, to_account), amount)
        return msgspec.structs.replace(state, **changes)
    changes["balances"] = added(state.balances, balance_key(currency, data.account), amount)
    if data.type != "settlement":
        changes["flow_sums"] = added(state.flow_sums, (data.type, symbol, currency), amount)
    if data.type in ("fee", "rebate"):
        changes["fee_sums"] = added(state.fee_sums, (symbol, currency), -amount)
    return msgspec.structs.replace(state, **changes)


def _effect(state: EngineState, data: AdjustCash, currency: str) -> Effect | None:
    """The effect of a movement on a position. Raises `TradingError` for a missing field."""
    if (data.type == "transfer") != bool(data.to_account):
        raise TradingError(
            f"{data!r}: to_account is for a transfer, and a transfer needs it; nothing was written"
        )
    if data.to_account == data.account:
        raise TradingError(f"{data!r}: a transfer needs two accounts; nothing was written")
    if data.type == "settlement":
        if not data.symbol:
            raise TradingError(f"{data!r}: a settlement needs its symbol; nothing was written")
        instrument = state.instrument(data.symbol)
        if instrument.kind not in ("linear", "inverse") or instrument.settlement != currency:
            raise TradingError(
                f"{data!r}: {data.symbol} is no contract that is settled in {currency}; nothing "
                "was written"
            )
        return SettledFor(exact(data.amount, _NAME, "amount"))
    if not data.symbol:
        return None
    instrument = state.instrument(data.symbol)
    in_kind = instrument.kind == "spot" and instrument.base == currency
    if in_kind and data.type in ("fee", "rebate"):
        return InKind(-exact(data.amount, _NAME, "amount"))
    return None
