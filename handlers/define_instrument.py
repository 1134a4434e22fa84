"""`define_instrument`: the meaning of a symbol, before the first trade of the symbol.

Without an instrument, a symbol is a share priced in the base currency. Every later event uses the
definition, so the definition of a traded symbol can only be repeated, or given other steps. With
`strict`, symbols without an instrument are refused from now on.
"""

from __future__ import annotations

import msgspec

from eventstore import Event, Operation, handler
from handlers.amounts import Quantity, exact_arithmetic, positive
from handlers.errors import TradingError
from handlers.instrument import Instrument, InstrumentKind, Symbol, share_in
from handlers.message_memory import Fill
from handlers.order import Closing
from handlers.state import EngineState

__all__ = ["DefineInstrument", "define_instrument"]

_NAME = "define_instrument"


class DefineInstrument(Operation, tag="define_instrument"):
    """Payload: the meaning of `symbol`. `Instrument` describes the fields.

    `quote` left out is the base currency of the state. `settlement` left out is the quote
    currency, for an inverse contract `base`. `strict` is `None` to leave
    the strictness of the state as it is.
    """

    symbol: Symbol
    kind: InstrumentKind = "security"
    base: str | None = None
    quote: str | None = None
    settlement: str | None = None
    multiplier: Quantity = 1
    price_step: Quantity | None = None
    quantity_step: Quantity | None = None
    strict: bool | None = None


@handler
@exact_arithmetic
def define_instrument(state: EngineState, event: Event[DefineInstrument]) -> EngineState:
    """Define a symbol, or repeat the definition."""
    data = event.data
    symbol = data.symbol
    instrument = _instrument(state, data)
    strict = state.strict if data.strict is None else data.strict
    known = state.instruments.get(symbol)
    if known == instrument and strict == state.strict:
        return state
    meaning = known or share_in(state.base_currency)
    if _traded(state, symbol) and not _means_the_same(meaning, instrument):
        raise TradingError(
            f"{symbol} was traded as {meaning!r}, and is now told to be {instrument!r}; nothing "
            "was written. Give the new instrument a symbol of its own"
        )
    instruments = state.instruments.set(symbol, instrument)
    return msgspec.structs.replace(state, instruments=instruments, strict=strict)


def _instrument(state: EngineState, data: DefineInstrument) -> Instrument:
    """Raises `TradingError` for a definition without a currency, `AmountError` for a number."""
    quote = data.quote or state.base_currency
    if data.kind in ("spot", "inverse") and not data.base:
        raise TradingError(
            f"{data!r}: a {data.kind} instrument needs its base; nothing was written"
        )
    if data.kind == "spot" and data.base == quote:
        raise TradingError(f"{data!r}: base and quote are the same; nothing was written")
    given = {"multiplier": data.multiplier, "price_step": data.price_step}
    given["quantity_step"] = data.quantity_step
    numbers = {
        name: None if value is None else positive(value, _NAME, name)
        for name, value in given.items()
    }
    multiplier = numbers["multiplier"]
    if data.kind == "spot" and multiplier != 1:
        raise TradingError(f"{data!r}: a spot pair has no multiplier; nothing was written")
    default = data.base if data.kind == "inverse" else quote
    settlement = data.settlement or default or quote
    if data.kind != "linear" and settlement != default:
        raise TradingError(
            f"{data!r}: a {data.kind} instrument is settled in {default}; nothing was written"
        )
    return Instrument(
        data.kind, quote, settlement, data.base, multiplier or positive(1, _NAME, "multiplier"),
        numbers["price_step"], numbers["quantity_step"],
    )  # fmt: skip


def _means_the_same(one: Instrument, other: Instrument) -> bool:
    steps = {"price_step": None, "quantity_step": None}
    return msgspec.structs.replace(one, **steps) == msgspec.structs.replace(other, **steps)


def _traded(state: EngineState, symbol: str) -> bool:
    """Whether a position or anything remembered depends on the meaning of the symbol."""
    return any(position.symbol == symbol for position in state.positions.values()) or any(
        not isinstance(told, Closing)
        and told.symbol == symbol
        and (isinstance(told, Fill) or told.effect is not None)
        for _, told in state.memory.told()
    )
