"""Plugins: the search for handlers installed in this environment.

An entry point of the group `eventstore.handlers` names a handler, an upcaster, or a module or an
iterable of handlers and upcasters.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from eventstore.arguments import describe
from eventstore.errors import RegistrationError
from eventstore.model.handler import Handler, Upcaster
from eventstore.model.hidden_package import PACKAGE, hidden_package_message, hiding_file, is_hidden
from eventstore.model.operation import Operation, operation_name, tag_of

if TYPE_CHECKING:  # a tenth of the time that importing eventstore takes
    from importlib.metadata import EntryPoint

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
    "rivals_error",
    "what_it_reads",
]

ENTRY_POINT_GROUP = "eventstore.handlers"


def find_plugins(
    group: str, state_type: Any
) -> list[tuple[EntryPoint, Handler[Any, Any] | Upcaster[Any, Any]]]:
    """Load every installed plugin, and return the handlers and upcasters for one state type.

    Handlers come before upcasters, and every item comes with its entry point. Handlers for another
    state are left out, and so are the upcasters that lead only to payloads of such handlers. With
    the state type `None` nothing is left out.

    Raises `RegistrationError`, naming the plugin, for a plugin that cannot be imported, and for an
    item with missing annotations.
    """
    if not isinstance(group, str):
        raise RegistrationError(f"group = {describe(group)}: expected the name of a group")
    if state_type is not None and not callable(state_type) and not typing.get_origin(state_type):
        raise RegistrationError(f"state_type = {describe(state_type)}: expected a class")
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

    A payload with a path to foreign payloads only is foreign as well, so the search is repeated
    until no further upcaster is left out.
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
    """Return the entry points of a group in the order of names, on every machine the same."""
    from importlib.metadata import entry_points

    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))


def members(module: ModuleType) -> Iterator[Any]:
    """Yield the handlers and upcasters of a module.

    A package also has the members imported from its own modules. Members imported from elsewhere
    are left out.
    """
    for value in vars(module).values():
        if isinstance(value, Handler | Upcaster) and (
            value.__module__ == module.__name__
            or value.__module__.startswith(f"{module.__name__}.")
        ):
            yield value


def handlers_in(item: Any) -> Iterator[Handler[Any, Any] | Upcaster[Any, Any]]:
    """Yield a handler or upcaster itself, or all handlers and upcasters of a module or an iterable.

    Raises `RegistrationError` for any other object, and for an empty module or iterable.
    """
    if isinstance(item, Handler | Upcaster):
        yield item
    elif isinstance(item, ModuleType | Iterable) and not isinstance(item, str | bytes | type):
        try:
            found = list(members(item)) if isinstance(item, ModuleType) else list(item)
        except TypeError as error:  # iterable by its type only, as an array of no dimension
            raise RegistrationError(f"{describe(item)} holds no handlers: {error}") from error
        if not found:
            name = getattr(item, "__name__", describe(item))
            raise RegistrationError(f"{name} holds no function marked with @handler")
        for member in found:
            yield from handlers_in(member)
    else:
        raise RegistrationError(
            f"{describe(item)} is no handler: mark the function with @eventstore.handler"
        )


def what_it_reads(item: Handler[Any, Any] | Upcaster[Any, Any]) -> tuple[type[Any], str]:
    """Return the kind of an item, and the operation of a handler or the old tag of an upcaster."""
    if isinstance(item, Handler):
        return Handler, operation_name(item.types()[1])
    return Upcaster, tag_of(item.old_type())


def load_plugin(point: EntryPoint) -> list[Handler[Any, Any] | Upcaster[Any, Any]]:
    """Return the handlers and upcasters that an entry point names.

    Raises `RegistrationError`, naming the plugin. A trading handler of this distribution that
    another package hides gives an empty list: whoever discovers plugins for a state of their own
    does not need it.
    """
    if is_hidden(point):
        return []
    try:
        loaded = point.load()
    except Exception as error:  # importing a plugin may raise anything
        path = hiding_file()
        if path and isinstance(error, ImportError) and _top_level_package(error.name) == PACKAGE:
            raise RegistrationError(
                f"{describe_plugin(point)} needs a package that is hidden: "
                f"{hidden_package_message(path)}",
                plugin=point.name,
                distribution=distribution_of(point),
            ) from error
        raise RegistrationError(
            f"{describe_plugin(point)} cannot be imported: {type(error).__name__}: {error}; "
            "mend or uninstall it",
            plugin=point.name,
            distribution=distribution_of(point),
        ) from error
    with errors_naming_plugin(point):
        return list(handlers_in(loaded))


def _top_level_package(module: str | None) -> str:
    return (module or "").partition(".")[0]


@contextlib.contextmanager
def errors_naming_plugin(point: EntryPoint) -> Iterator[None]:
    """Raise a `RegistrationError` from inside again, with the name of the plugin."""
    try:
        yield
    except RegistrationError as error:
        raise plugin_error(error, point) from error


def plugin_error(error: RegistrationError, point: EntryPoint) -> RegistrationError:
    """Make a copy of `error` with the names of plugin and distribution."""
    return RegistrationError(
        f"{describe_plugin(point)}: {error}",
        operation=error.operation,
        plugin=point.name,
        distribution=distribution_of(point),
    )


def rivals_error(
    item: Handler[Any, Any] | Upcaster[Any, Any],
    other: Handler[Any, Any] | Upcaster[Any, Any],
    point: EntryPoint | None,
) -> RegistrationError:
    """Make the error for two items that read the same. `point` is the plugin of the other one."""
    operation = what_it_reads(item)[1].partition("@")[0]
    known = repr(other) if point is None else f"{other!r} of {describe_plugin(point)}"
    both = f"handle {operation!r}"
    if isinstance(item, Upcaster):
        both = f"take {item.old_type().__name__}"
    return RegistrationError(
        f"{item!r} and {known} both {both}: remove one of them. In a notebook, register(..., "
        "replace=True) takes the new one",
        operation=operation,
    )


def distribution_of(point: EntryPoint) -> str | None:
    """Return the name of an entry point's distribution, `None` where the name is unknown."""
    return point.dist.name if point.dist is not None else None


def describe_plugin(point: EntryPoint) -> str:
    """Describe a plugin for messages: name, value, and distribution."""
    return f"plugin {point.name!r} ({point.value}) of distribution {distribution_of(point)!r}"
