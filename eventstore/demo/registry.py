"""The installed trading handlers, with orders as intents.

The trading handlers leave open whether an order is an intent: an engine says so by its classes. The
demonstration says so here, for the classes of whatever handlers are installed. Names, fields and
states are those of the handlers, so every other program reads the store without this module.
"""

from __future__ import annotations

import types
from importlib.metadata import entry_points
from typing import Any

from eventstore.demo.errors import DemoError
from eventstore.model.handler import Handler
from eventstore.model.hidden_package import hidden_package_message, hiding_file
from eventstore.model.operation import Operation, operation_name
from eventstore.model.plugins import find_plugins
from eventstore.model.registry import HandlerRegistry

__all__ = ["trading_registry"]

PLUGINS = "eventstore.handlers"
"""The entry-point group of handlers."""

TRAITS: dict[str, dict[str, Any]] = {
    "order_sent": {"intent": "client_order_id"},
    "record_trade": {"settles": "client_order_id", "essential": True},
}
"""An order is open from its sending to its fill."""


class _Declared(Handler[Any, Any]):
    """A handler of an operation whose class says more than the handler's own class."""

    def __init__(self, found: Handler[Any, Any], traits: dict[str, Any]) -> None:
        super().__init__(found.function, found.version)
        state_type, payload = found.types()
        arguments = {"tag": operation_name(payload), **traits}
        declared = types.new_class(payload.__name__, (payload,), arguments)
        self._types: tuple[Any, type[Operation]] = state_type, declared

    def types(self) -> tuple[Any, type[Operation]]:
        return self._types


def trading_registry() -> HandlerRegistry[Any]:
    """Return the installed trading handlers: the handlers for the state of `record_trade`.

    Raises `DemoError` where no handler is installed, and where another package hides the handlers.
    """
    path = hiding_file()
    if path is not None:
        raise DemoError(
            f"the demonstration needs the trading handlers, but {hidden_package_message(path)}"
        )
    for point in entry_points(group=PLUGINS, name="record_trade"):
        state_type = HandlerRegistry(point.load()).state_type
        registry: HandlerRegistry[Any] = HandlerRegistry(state_type=state_type)
        for _, item in find_plugins(PLUGINS, state_type):
            registry.register(_declared(item))
        return registry
    raise DemoError(
        "no handler of record_trade is installed: the demonstration needs the trading handlers, "
        f"which are found through the entry-point group {PLUGINS!r}; install the project "
        "(pip install -e .), so that its entry points are known"
    )


def _declared(item: Any) -> Any:
    traits = TRAITS.get(operation_name(item.types()[1])) if isinstance(item, Handler) else None
    return item if traits is None else _Declared(item, traits)
