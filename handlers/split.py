"""`split`: the shares of a symbol are multiplied by a ratio of whole numbers.

Cost and profit stay, and short positions are split too. A mark from before the split is forgotten.
A fraction paid out in cash is told as a fill that sells the fraction. A quantity without a finite
decimal is rounded to 34 digits. The identity is venue, account and reference. Every side of
the symbol in the account is split.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from eventstore import Event, Operation, handler
from handlers.amending import is_known
from handlers.amounts import exact_arithmetic
from handlers.booking import on_every_side
from handlers.instrument import Account, Identifier, Symbol
from handlers.position import MAIN
from handlers.state import EngineState
from handlers.told import Message, SplitBy, message_identity

__all__ = ["Split", "split"]


class Split(Operation, tag="split"):
    """Payload: of `symbol`, `denominator` shares became `numerator` shares.

    `reference` is the venue's id of the split. `time` is the venue's, in nanoseconds since the
    epoch.
    """

    symbol: Symbol
    numerator: Annotated[int, Meta(gt=0)]
    denominator: Annotated[int, Meta(gt=0)]
    reference: Identifier
    venue: str = ""
    account: Account = MAIN
    time: int | None = None


@handler
@exact_arithmetic
def split(state: EngineState, event: Event[Split]) -> EngineState:
    """Multiply the quantities of the symbol, once."""
    data = event.data
    state.instrument(data.symbol)  # raises for a symbol that a strict state does not know
    effect = SplitBy(data.numerator, data.denominator)
    content = (
        ("symbol", data.symbol),
        ("numerator", str(data.numerator)),
        ("denominator", str(data.denominator)),
    )
    message = Message(
        state.memory.count + 1,
        event.time,
        content,
        data.account,
        data.symbol,
        None,
        effect,
        time=data.time,
    )
    identity = message_identity("split", data.venue, data.account, data.reference)
    if is_known(state.memory, identity, message, data):
        return state
    state = msgspec.structs.replace(state, memory=state.memory.add(identity, message))
    state = on_every_side(state, effect, data.symbol, data.account, event.time)
    mark = state.marks.get(data.symbol)
    if mark is None or (data.time is not None and mark.time is not None and mark.time >= data.time):
        return state
    return msgspec.structs.replace(state, marks=state.marks.delete(data.symbol))
