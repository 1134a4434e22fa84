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
from handlers.amending import take_effect_once
from handlers.amounts import exact_arithmetic
from handlers.instrument import Account, Identifier, Symbol
from handlers.message_memory import SplitBy
from handlers.position import MAIN
from handlers.state import EngineState

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
    after = take_effect_once(state, event, content, effect)
    mark = after.marks.get(data.symbol)
    if after is state or mark is None:
        return after
    if data.time is not None and mark.time is not None and mark.time >= data.time:
        return after
    return msgspec.structs.replace(after, marks=after.marks.delete(data.symbol))
