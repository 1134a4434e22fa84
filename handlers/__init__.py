"""The trading engine's state and operations, one file each, found like the handlers of any plugin.

This distribution registers `update_position`, `record_trade` and `full_state` through the
entry-point group `eventstore.handlers`, beside any other installed plugin. A new operation needs
no change here: see `docs/writing-a-handler.md`.

In this package, the names `update_position`, `record_trade` and `full_state` are handlers.
Each handler hides the module of the same name. `import_module`, and so entry points, still find
the module.
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
    """Return a registry of every installed handler of `EngineState`, of this package and of
    plugins.

    Raises `RegistrationError` when a plugin cannot be loaded. Raises the same error when the
    built-in operations are not among the installed entry points, because this distribution was not
    installed.
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
