"""`update_position`: the holding of one symbol, as told by an outside count.

The operation sets shares and average price. Balances, profit and fees stay (`record_trade` and
`adjust_cash` move those). Exactly zero shares remove the position. Removing a position that is not
held changes nothing. Without a `weight`, an earlier weight stays, unless the position changes its
sign: then weight and notes were the old position's.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from eventstore import Event, Operation, handler
from handlers.amending import is_known, text
from handlers.amounts import ZERO, Number, exact, exact_arithmetic
from handlers.booking import position_changes
from handlers.errors import AmountError
from handlers.instrument import Account, Side, Symbol
from handlers.message_memory import Message, message_identity
from handlers.position import MAIN, NET, Position, position_key
from handlers.state import EngineState

__all__ = ["UpdatePosition", "update_position"]

_NAME = "update_position"


class UpdatePosition(Operation, tag="update_position"):
    """Payload: hold `shares` of `symbol` (negative: short) at the average `price`.

    `reference` is an id of the count, and `time` the time of whoever counted, in nanoseconds since
    the epoch. A count with a reference changes nothing when it is told again.
    """

    symbol: Symbol
    shares: Number
    price: Number
    weight: Number | None = None
    account: Account = MAIN
    position_side: Side = NET
    venue: str = ""
    reference: str = ""
    time: int | None = None


@handler(trusted=True)
@exact_arithmetic
def update_position(state: EngineState, event: Event[UpdatePosition]) -> EngineState:
    """Set or remove one position."""
    data = event.data
    key = position_key(data.symbol, data.account, data.position_side)
    held = state.positions.get(key)
    position = _counted(state, data, event.time, held)
    changes = position_changes(state, key, held, position)
    if data.reference:
        content = (
            ("symbol", data.symbol),
            ("position_side", data.position_side),
            ("shares", text(data.shares, _NAME, "shares")),
            ("price", text(data.price, _NAME, "price")),
            ("weight", text(data.weight, _NAME, "weight")),
        )
        message = Message(
            state.memory.count + 1, event.time, content, data.account, data.symbol,
            data.position_side, time=data.time,
        )  # fmt: skip
        identity = message_identity(_NAME, data.venue, data.account, data.reference)
        if is_known(state.memory, identity, message, data):
            return state
        changes["memory"] = state.memory.add(identity, message)
    return msgspec.structs.replace(state, **changes) if changes else state


def _counted(
    state: EngineState, data: UpdatePosition, time: int, held: Position | None
) -> Position | None:
    """The position that was told, `None` for zero shares."""
    shares = exact(data.shares, _NAME, "shares")
    price = exact(data.price, _NAME, "price")
    instrument = state.instrument(data.symbol)
    weight: Decimal | None = None
    if data.weight is not None:
        weight = exact(data.weight, _NAME, "weight")
    elif held is not None and held.shares.is_signed() == shares.is_signed():
        weight = held.weight
    if not shares:
        return None
    inverse = instrument.kind == "inverse"
    if inverse and (price.is_signed() or not price):
        raise AmountError(
            f"{_NAME}, field `$.price`: {price} is not above zero, and {data.symbol} is an inverse "
            "contract; nothing was written",
            operation=_NAME,
            field="$.price",
        )
    return Position(
        data.symbol, shares, instrument.value(shares, price) or ZERO, data.account,
        data.position_side, instrument.multiplier, inverse, weight, time,
    )  # fmt: skip
