"""`pay_dividend`: cash received for the shares of a symbol."""

from typing import Annotated

from msgspec import Meta

from eventstore import Event, Operation, handler
from handlers import EngineState

__all__ = ["PayDividend", "pay_dividend"]


class PayDividend(Operation, tag="pay_dividend"):
    """Payload: `amount` of cash was received for the shares of `symbol`, before `tax`."""

    symbol: Annotated[str, Meta(min_length=1)]
    amount: Annotated[float, Meta(ge=0.0, le=1e100)]
    tax: Annotated[float, Meta(ge=0.0, le=1e100)] = 0.0


@handler
def pay_dividend(state: EngineState, event: Event[PayDividend]) -> EngineState:
    """Add the amount after tax to the cash."""
    return state.replace(cash=state.cash + event.data.amount - event.data.tax)
