"""`settle`: a contract is settled at a price.

The difference between the price and the cost is realised and paid, and the position goes on at that
price: what a futures exchange does every evening. With `final` the position is gone: expiry or
delivery in cash. A security is settled finally only (an option that is paid out).

The identity is venue, account and reference. Every side of the symbol in the account is settled.
"""

from __future__ import annotations

from eventstore import Event, Operation, handler
from handlers.amending import take_effect_once, text
from handlers.amounts import Number, exact, exact_arithmetic
from handlers.errors import TradingError
from handlers.instrument import Account, Identifier, Symbol
from handlers.message_memory import SettledAt
from handlers.position import MAIN
from handlers.state import EngineState

__all__ = ["Settle", "settle"]


class Settle(Operation, tag="settle"):
    """Payload: `symbol` was settled at `price` in `account`; the position is gone if `final`.

    `reference` is the venue's id of the settlement. `time` is the venue's, in nanoseconds since the
    epoch.
    """

    symbol: Symbol
    price: Number
    reference: Identifier
    final: bool = False
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
@exact_arithmetic
def settle(state: EngineState, event: Event[Settle]) -> EngineState:
    """Realise the difference to the price, once."""
    data = event.data
    instrument = state.instrument(data.symbol)
    price = exact(data.price, "settle", "price")
    if instrument.kind == "spot" or (instrument.kind == "security" and not data.final):
        raise TradingError(
            f"{data!r}: {data.symbol} is a {instrument.kind}, which is not settled"
            f"{' but finally' if instrument.kind == 'security' else ''}; nothing was written"
        )
    if instrument.kind == "inverse" and (price.is_signed() or not price):
        raise TradingError(f"{data!r}: the price is not above zero; nothing was written")
    effect = SettledAt(price, data.final)
    content = (
        ("symbol", data.symbol),
        ("price", text(data.price, "settle", "price")),
        ("final", str(data.final)),
    )
    return take_effect_once(state, event, content, effect)
