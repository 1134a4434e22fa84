"""The trading model: the books of a trading desk, and the operations on the books, one file each.

This distribution registers every operation through the entry-point group `eventstore.handlers`,
beside any other installed plugin. A new operation needs no change here: see
`docs/writing-a-handler.md`. `docs/trading.md` has the effect of each operation on each number.

In this package, the names of operations, such as `record_trade`, are handlers. Each handler hides
the module of the same name. `import_module`, and so entry points, still find the module.

pytest rewrites the assertions of plugins. None are to be rewritten here: PYTEST_DONT_REWRITE.
"""

from eventstore import HandlerRegistry, RegistrationError
from handlers.adjust_cash import AdjustCash, adjust_cash
from handlers.bust_trade import BustTrade, bust_trade
from handlers.correct_trade import CorrectTrade, correct_trade
from handlers.define_instrument import DefineInstrument, define_instrument
from handlers.errors import (
    AmountError,
    ConflictError,
    MissingPriceError,
    TooLateError,
    TradingError,
    UnknownSymbolError,
    VenueMessageError,
)
from handlers.full_state import FullState, full_state
from handlers.instrument import Instrument
from handlers.mark import Mark, mark
from handlers.new_or_duplicate import outcome_of
from handlers.order import Order
from handlers.order_closed import OrderClosed, order_closed
from handlers.order_sent import OrderSent, order_sent
from handlers.order_updated import OrderUpdated, order_updated
from handlers.position import Position
from handlers.record_trade import RecordTrade, record_trade
from handlers.settle import Settle, settle
from handlers.split import Split, split
from handlers.state import EngineState
from handlers.trade_fee import TradeFee, trade_fee
from handlers.update_position import UpdatePosition, update_position

__all__ = [
    "AdjustCash",
    "AmountError",
    "BustTrade",
    "ConflictError",
    "CorrectTrade",
    "DefineInstrument",
    "EngineState",
    "FullState",
    "Instrument",
    "Mark",
    "MissingPriceError",
    "Order",
    "OrderClosed",
    "OrderSent",
    "OrderUpdated",
    "Position",
    "RecordTrade",
    "Settle",
    "Split",
    "TooLateError",
    "TradeFee",
    "TradingError",
    "UnknownSymbolError",
    "UpdatePosition",
    "VenueMessageError",
    "adjust_cash",
    "bust_trade",
    "correct_trade",
    "define_instrument",
    "full_state",
    "mark",
    "order_closed",
    "order_sent",
    "order_updated",
    "outcome_of",
    "record_trade",
    "settle",
    "split",
    "trade_fee",
    "trading_registry",
    "update_position",
]

_HANDLERS = (
    adjust_cash,
    bust_trade,
    correct_trade,
    define_instrument,
    full_state,
    mark,
    order_closed,
    order_sent,
    order_updated,
    record_trade,
    settle,
    split,
    trade_fee,
    update_position,
)


def trading_registry() -> HandlerRegistry[EngineState]:
    """Return a registry of every installed handler of `EngineState`, of this package and of
    plugins.

    Raises `RegistrationError` when a plugin cannot be loaded. Raises the same error when the
    built-in operations are not among the installed entry points, because this distribution was not
    installed.
    """
    registry = HandlerRegistry.discover(EngineState)
    missing = {item.__name__ for item in _HANDLERS}.difference(registry.operations)
    if missing:
        raise RegistrationError(
            f"no installed plugin handles {', '.join(sorted(missing))}: the project is importable, "
            "but its entry points in 'eventstore.handlers' are not installed; install it (pip "
            "install -e . in its directory)"
        )
    return registry
