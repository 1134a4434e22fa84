"""`mark`: the last price of a symbol, for unrealised profit and equity.

A mark moves neither money nor positions. A price of an earlier venue time than the known one is
left out.
"""

from __future__ import annotations

import msgspec

from eventstore import Event, Operation, handler
from handlers.amounts import Number, exact, exact_arithmetic
from handlers.errors import TradingError
from handlers.instrument import LastPrice, Symbol, is_older
from handlers.state import EngineState

__all__ = ["Mark", "mark"]


class Mark(Operation, tag="mark", durability="interval"):
    """Payload: the last price of `symbol`. `time` is the venue's, nanoseconds since the epoch."""

    symbol: Symbol
    price: Number
    time: int | None = None


@handler(trusted=True)
@exact_arithmetic
def mark(state: EngineState, event: Event[Mark]) -> EngineState:
    """Remember the newest price."""
    data = event.data
    instrument = state.instrument(data.symbol)
    price = exact(data.price, "mark", "price")
    if instrument.kind == "inverse" and (price.is_signed() or not price):
        raise TradingError(f"{data!r}: the price is not above zero; nothing was written")
    known = state.marks.get(data.symbol)
    if known is not None and is_older(data.time, known.time):
        return state
    marks = state.marks.set(data.symbol, LastPrice(price, data.time))
    return msgspec.structs.replace(state, marks=marks)
