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

from eventstore.decorators import Handler, Upcaster
from eventstore.errors import RegistrationError

__all__ = [
    "ENTRY_POINT_GROUP",
    "blamed",
    "blaming",
    "distribution_of",
    "installed",
    "load",
    "members",
    "named",
]

ENTRY_POINT_GROUP = "eventstore.handlers"


def installed(group: str) -> list[EntryPoint]:
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


def load(point: EntryPoint) -> list[Any]:
    """What an entry point names. Raises :class:`RegistrationError`, naming the plugin."""
    try:
        loaded = point.load()
    except Exception as error:
        raise RegistrationError(
            f"{named(point)} cannot be imported: {type(error).__name__}: {error}; mend or "
            "uninstall it",
            plugin=point.name,
            distribution=distribution_of(point),
        ) from error
    if isinstance(loaded, ModuleType):
        found = list(members(loaded))
        if not found:
            raise RegistrationError(
                f"{named(point)}: module {loaded.__name__} holds no function marked with @handler",
                plugin=point.name,
                distribution=distribution_of(point),
            )
        return found
    if isinstance(loaded, Iterable):
        return list(loaded)
    return [loaded]


@contextlib.contextmanager
def blaming(point: EntryPoint) -> Iterator[None]:
    """Have a :class:`RegistrationError` name the plugin that it is about."""
    try:
        yield
    except RegistrationError as error:
        raise blamed(error, point) from error


def blamed(error: RegistrationError, point: EntryPoint) -> RegistrationError:
    """``error``, with plugin and distribution."""
    return RegistrationError(
        f"{named(point)}: {error}",
        operation=error.operation,
        plugin=point.name,
        distribution=distribution_of(point),
    )


def distribution_of(point: EntryPoint) -> str | None:
    """The name of the distribution that an entry point came with."""
    return point.dist.name if point.dist is not None else None


def named(point: EntryPoint) -> str:
    """A plugin, for messages."""
    return f"plugin {point.name!r} ({point.value}) of distribution {distribution_of(point)!r}"
