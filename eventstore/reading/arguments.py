"""The arguments of readings, checked: the registry, the operations, the state to begin with."""

from __future__ import annotations

import typing
from collections.abc import Collection
from typing import Any

from eventstore.arguments import argument_error
from eventstore.errors import UnknownOperationError
from eventstore.model.handler import Handler, Upcaster
from eventstore.model.operation import Operation, operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.model.value_types import copy_value

__all__ = [
    "checked_operations",
    "checked_registry",
    "checked_state",
    "operation_names",
]


def checked_registry(registry: Any) -> HandlerRegistry[Any]:
    """Return `registry`. Raises `ConfigError` for any other object, such as a handler."""
    if isinstance(registry, HandlerRegistry):
        return registry
    cure = "pass HandlerRegistry(...) with the handlers"
    if isinstance(registry, Handler | Upcaster | list | tuple):
        cure = "pass HandlerRegistry(value)"
    elif callable(registry) and not isinstance(registry, type):
        cure = "if it makes a registry, call it: pass value()"
    raise argument_error("registry", registry, f"expected a HandlerRegistry; {cure}")


def checked_operations(
    operations: Collection[str] | None, known: Collection[str] | None
) -> Collection[str] | None:
    """Return the names of the operations to keep, `None` for all operations.

    `known` are the names with a registered handler, `None` when reading without a registry.
    Raises `UnknownOperationError` for a name outside `known`, and `ConfigError` for anything
    that is no collection of names.
    """
    if operations is None:
        return None
    given: Any = (operations,) if isinstance(operations, str) else operations
    try:
        names: frozenset[Any] = frozenset(given)
    except TypeError as error:
        expected = "expected the names of operations, such as {'deposit'}"
        raise argument_error("operations", given, expected) from error
    for name in names:
        if not isinstance(name, str):
            expected = "expected the name of an operation, such as 'deposit'"
            raise argument_error("operations", name, expected)
    if known is None:
        return names
    for name in sorted(names):
        if name not in known:
            raise UnknownOperationError(
                f"no handler is registered for {name!r}, which was asked for (known: "
                f"{', '.join(known) or 'none'}); register one, or read without a registry",
                operation=name,
            )
    return names


def operation_names(operation: Any, registry: HandlerRegistry[Any]) -> Collection[str]:
    """Return the name of an operation, given as a name or a payload class. `None` means all names.

    Raises `UnknownOperationError` and `ConfigError`.
    """
    if isinstance(operation, type) and issubclass(operation, Operation):
        operation = operation_name(operation)
    if type(operation) is str and operation in registry.operations:
        return (operation,)
    wanted = None if operation is None else (operation,)
    return checked_operations(wanted, registry.operations) or registry.operations


def checked_state(registry: HandlerRegistry[Any], state: Any) -> Any:
    """Return a copy of a first state. Raises `ConfigError` for a state of another class."""
    kind = typing.get_origin(registry.state_type) or registry.state_type
    if isinstance(kind, type) and not typing.is_typeddict(kind):
        wanted: Any = (float, int) if kind is float else kind
        if not isinstance(state, wanted):
            raise argument_error("state", state, f"expected a state of class {kind.__name__}")
    return copy_value(state)
