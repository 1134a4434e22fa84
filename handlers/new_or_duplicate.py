"""The outcome of telling an operation: new, or told before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from eventstore import Event, Operation
from handlers.adjust_cash import AdjustCash, adjust_cash
from handlers.bust_trade import BustTrade, bust_trade
from handlers.correct_trade import CorrectTrade, correct_trade
from handlers.errors import ConflictError
from handlers.message_memory import fill_identity
from handlers.record_trade import RecordTrade, record_trade
from handlers.settle import Settle, settle
from handlers.split import Split, split
from handlers.state import EngineState
from handlers.trade_fee import TradeFee, trade_fee
from handlers.update_position import UpdatePosition, update_position

__all__ = ["Outcome", "outcome_of"]

Outcome = Literal["booked", "duplicate", "completed", "waiting", "conflict"]

_WITH_IDENTITY: dict[type[Operation], Callable[[EngineState, Event[Any]], EngineState]] = {
    AdjustCash: adjust_cash,
    BustTrade: bust_trade,
    CorrectTrade: correct_trade,
    RecordTrade: record_trade,
    Settle: settle,
    Split: split,
    TradeFee: trade_fee,
    UpdatePosition: update_position,
}


def outcome_of(state: EngineState, operation: Operation) -> Outcome:
    """Return the outcome of appending `operation` to `state`.

    - `booked`: something new. Operations without an identity are always new.
    - `duplicate`: told before with the same content. The state stays unchanged.
    - `completed`: a fill told before without the fee.
    - `waiting`: an amendment of an unknown fill, kept until the fill comes.
    - `conflict`: told before with another content. Appending raises `ConflictError`.

    Raises the error of the handler for an operation refused for another reason.

    >>> from handlers import Mark
    >>> outcome_of(EngineState(), Mark(symbol="AAPL", price=200))
    'booked'
    """
    function = _WITH_IDENTITY.get(type(operation))
    counted = isinstance(operation, UpdatePosition) and not operation.reference
    if function is None or counted:
        return "booked"
    try:
        after = function(state, Event(2**62, 0, operation))
    except ConflictError:
        return "conflict"
    if after is state:
        return "duplicate"
    if isinstance(operation, RecordTrade):
        identity = fill_identity(
            operation.venue, operation.account, operation.symbol, operation.trade_id, operation.side
        )
        return "booked" if state.memory.get(identity) is None else "completed"
    return "waiting" if _waiting(after) > _waiting(state) else "booked"


def _waiting(state: EngineState) -> int:
    """The number of amendments waiting for a fill."""
    return sum(map(len, state.memory.waiting.values()))
