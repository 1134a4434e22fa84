"""The trading engine's state and its operations, one file each, found like any plugin's.

``update_position``, ``record_trade`` and ``full_state`` are registered by this distribution through
the entry-point group ``eventstore.handlers``, beside whatever else is installed. A new operation
needs no change here: see ``docs/writing-a-handler.md``.

The names ``update_position``, ``record_trade`` and ``full_state`` of this package are the handlers;
each hides the module of the same name that it comes from (which ``import_module``, and so entry
points, still find).
"""

from eventstore import HandlerRegistry, RegistrationError
from handlers.full_state import FullState, full_state
from handlers.record_trade import RecordTrade, record_trade
from handlers.state import EngineState, Position
from handlers.update_position import UpdatePosition, update_position

__all__ = [
    "EngineState",
    "FullState",
    "Position",
    "RecordTrade",
    "UpdatePosition",
    "full_state",
    "record_trade",
    "trading_registry",
    "update_position",
]


def trading_registry() -> HandlerRegistry[EngineState]:
    """A registry of every installed handler of :class:`EngineState`: the built-in ones and plugins.

    Raises ``RegistrationError`` when a plugin cannot be loaded, and when the built-in operations
    are not among the installed entry points, because this distribution was not installed.
    """
    registry = HandlerRegistry.discover(EngineState)
    missing = {"full_state", "record_trade", "update_position"}.difference(registry.operations)
    if missing:
        raise RegistrationError(
            f"no installed plugin handles {', '.join(sorted(missing))}: the project is importable, "
            "but its entry points in 'eventstore.handlers' are not installed; install it (pip "
            "install -e . in its directory), or build HandlerRegistry(update_position, "
            "record_trade, full_state)"
        )
    return registry
