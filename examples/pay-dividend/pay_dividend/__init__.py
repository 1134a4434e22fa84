"""`pay_dividend`: cash received for the shares of a symbol, and the tax withheld."""

from typing import Annotated, Literal

from msgspec import Meta

from eventstore import Event, Operation, handler
from handlers import AdjustCash, EngineState, adjust_cash

__all__ = ["PayDividend", "pay_dividend"]


class PayDividend(Operation, tag="pay_dividend"):
    """Payload: `amount` of cash was received for the shares of `symbol`, before `tax`.

    `reference` is the id of the payment. A payment that is told twice counts once.
    """

    symbol: Annotated[str, Meta(min_length=1)]
    reference: Annotated[str, Meta(min_length=1)]
    amount: Annotated[float, Meta(ge=0.0, le=1e100)]
    tax: Annotated[float, Meta(ge=0.0, le=1e100)] = 0.0


@handler
def pay_dividend(state: EngineState, event: Event[PayDividend]) -> EngineState:
    """Book the dividend and the tax."""
    state = _moved(state, event, "dividend", event.data.amount)
    return _moved(state, event, "tax", -event.data.tax)


def _moved(
    state: EngineState, event: Event[PayDividend], kind: Literal["dividend", "tax"], amount: float
) -> EngineState:
    """Let the built-in handler book one movement of cash, exactly and once."""
    data = event.data
    movement = AdjustCash(type=kind, amount=amount, symbol=data.symbol, reference=data.reference)
    return adjust_cash(state, Event(event.seq, event.time, movement))
