"""Finding the plugins that are installed in this environment.

An entry point of the group ``eventstore.handlers`` names a handler, an upcaster, or a module or an
iterable that holds some.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from eventstore.errors import RegistrationError
from eventstore.model.handler import Handler, Upcaster
from eventstore.model.operation import Operation

__all__ = [
    "ENTRY_POINT_GROUP",
    "describe_plugin",
    "distribution_of",
    "errors_naming_plugin",
    "find_plugins",
    "handlers_in",
    "installed_plugins",
    "load_plugin",
    "members",
    "plugin_error",
]

ENTRY_POINT_GROUP = "eventstore.handlers"


def find_plugins(
    group: str, state_type: Any
) -> list[tuple[EntryPoint, Handler[Any, Any] | Upcaster[Any, Any]]]:
    """Load every installed plugin, and return the handlers and upcasters for one state type.

    Each comes with the entry point that names it, handlers before upcasters. Handlers for another
    state are left out, and so are the upcasters that lead to payloads of such handlers only. With
    the state type `None` nothing is left out.

    Raises `RegistrationError`, naming the plugin, for a plugin that cannot be imported, and for an
    item without the annotations that it needs.
    """
    handlers: list[tuple[EntryPoint, Handler[Any, Any]]] = []
    upcasters: list[tuple[EntryPoint, Upcaster[Any, Any]]] = []
    foreign: set[type[Operation]] = set()
    for point in installed_plugins(group):
        for item in load_plugin(point):
            with errors_naming_plugin(point):
                if isinstance(item, Upcaster):
                    item.new_types()
                    upcasters.append((point, item))
                elif state_type is not None and item.types()[0] != state_type:
                    foreign.add(item.types()[1])
                else:
                    handlers.append((point, item))
    if foreign:  # one payload class may be folded into several states
        foreign.difference_update([item.types()[1] for _, item in handlers])
    return [*handlers, *_without_foreign(upcasters, foreign)]


def _without_foreign(
    upcasters: list[tuple[EntryPoint, Upcaster[Any, Any]]], foreign: set[type[Operation]]
) -> list[tuple[EntryPoint, Upcaster[Any, Any]]]:
    """The upcasters that do not lead to foreign payloads only.

    A payload that is led to foreign payloads only is foreign itself, so the search is repeated
    until no upcaster goes.
    """
    elsewhere, home = set(foreign), list(upcasters)
    before = -1
    while len(home) != before:
        before = len(home)
        for found in list(home):
            new = found[1].new_types()
            if new is not None and new <= elsewhere:
                elsewhere.add(found[1].old_type())
                home.remove(found)
    return home


def installed_plugins(group: str) -> list[EntryPoint]:
    """The entry points of a group, in an order that does not depend on the environment's."""
    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))


def members(module: ModuleType) -> Iterator[Any]:
    """The handlers and upcasters that a module defines; a package's, those of its modules too."""
    for value in vars(module).values():
        if isinstance(value, Handler | Upcaster) and (
            value.__module__ == module.__name__
            or value.__module__.startswith(f"{module.__name__}.")
        ):
            yield value


def handlers_in(item: Any) -> Iterator[Handler[Any, Any] | Upcaster[Any, Any]]:
    """``item``, if it is a handler or an upcaster; all that a module or an iterable holds.

    Raises :class:`RegistrationError` for what is none, and for what holds none.
    """
    if isinstance(item, Handler | Upcaster):
        yield item
    elif isinstance(item, ModuleType | Iterable) and not isinstance(item, str):
        found = list(members(item)) if isinstance(item, ModuleType) else list(item)
        if not found:
            name = getattr(item, "__name__", repr(item))
            raise RegistrationError(f"{name} holds no function marked with @handler")
        for member in found:
            yield from handlers_in(member)
    else:
        raise RegistrationError(
            f"{item!r} is no handler: mark the function with @eventstore.handler"
        )


def load_plugin(point: EntryPoint) -> list[Handler[Any, Any] | Upcaster[Any, Any]]:
    """What an entry point names. Raises :class:`RegistrationError`, naming the plugin."""
    try:
        loaded = point.load()
    except Exception as error:  # importing a plugin may raise anything
        raise RegistrationError(
            f"{describe_plugin(point)} cannot be imported: {type(error).__name__}: {error}; "
            "mend or uninstall it",
            plugin=point.name,
            distribution=distribution_of(point),
        ) from error
    with errors_naming_plugin(point):
        return list(handlers_in(loaded))


@contextlib.contextmanager
def errors_naming_plugin(point: EntryPoint) -> Iterator[None]:
    """Have a :class:`RegistrationError` name the plugin that it is about."""
    try:
        yield
    except RegistrationError as error:
        raise plugin_error(error, point) from error


def plugin_error(error: RegistrationError, point: EntryPoint) -> RegistrationError:
    """``error``, with plugin and distribution."""
    return RegistrationError(
        f"{describe_plugin(point)}: {error}",
        operation=error.operation,
        plugin=point.name,
        distribution=distribution_of(point),
    )


def distribution_of(point: EntryPoint) -> str | None:
    """The name of the distribution that an entry point came with."""
    return point.dist.name if point.dist is not None else None


def describe_plugin(point: EntryPoint) -> str:
    """A plugin, for messages."""
    return f"plugin {point.name!r} ({point.value}) of distribution {distribution_of(point)!r}"
