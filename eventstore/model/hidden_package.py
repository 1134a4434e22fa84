"""Detect another package that hides the trading handlers.

The distribution has two packages: `eventstore` and `handlers`. The name `handlers` is common. A
folder or a module with the same name, earlier on `sys.path`, hides the package. An import of
`handlers.update_position` then fails or finds a stranger's module.

A store without trading handlers must work all the same. Discovery therefore leaves hidden entry
points out, without importing the stranger's package. Only where a trading handler is missing does
an error name the hiding file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "DISTRIBUTION",
    "PACKAGE",
    "hidden_package_message",
    "hiding_file",
    "is_hidden",
    "remedy_for",
    "trading_operations",
]

DISTRIBUTION = "asyncio-eventstore"
"""The name of this distribution in package metadata."""

PACKAGE = "handlers"
"""The package of the trading handlers."""


def hiding_file() -> str | None:
    """Return the path of the file that hides the package `handlers`, `None` if nothing does.

    The package is hidden if `import handlers` finds a package or a module elsewhere than beside the
    package `eventstore`. Without any `handlers` on `sys.path` nothing is hidden.
    """
    found = _path_of(PACKAGE)
    if found is None:
        return None
    beside = Path(__file__).parents[2] / PACKAGE
    folder = Path(found) if Path(found).suffix != ".py" else Path(found).parent
    return None if folder.resolve() == beside.resolve() else found


def is_hidden(point: EntryPoint) -> bool:
    """Return whether an entry point belongs to the trading handlers while `handlers` is hidden.

    The name of the distribution is asked for last: reading the metadata takes a millisecond.
    """
    return (
        _is_in_package(point)
        and hiding_file() is not None
        and point.dist is not None
        and point.dist.name == DISTRIBUTION
    )


def hidden_package_message(path: str) -> str:
    """Return one sentence for an error: the file at `path` hides the package, and the way out."""
    return (
        f"{path} hides the package {PACKAGE!r} of {DISTRIBUTION}: rename it, or keep its folder "
        "off sys.path (the command eventstore and python -P leave out the current directory)"
    )


def remedy_for(operation: str | None, otherwise: str) -> str:
    """Return the way to get a handler for `operation`, or for anything at all with `None`.

    The answer is `otherwise`, unless the trading handler of that operation is hidden.
    """
    path = hiding_file()
    if path is None or not (operation is None or operation in trading_operations()):
        return otherwise
    return hidden_package_message(path)


def trading_operations() -> frozenset[str]:
    """Return the operations with a handler in `handlers`, empty without an installed distribution.

    Each of the distribution's entry points for a handler has the name of the operation. Reading the
    metadata takes milliseconds, so only the error path may call this function.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        points = distribution(DISTRIBUTION).entry_points
    except PackageNotFoundError:
        return frozenset()
    return frozenset(point.name for point in points if _is_in_package(point))


def _is_in_package(point: EntryPoint) -> bool:
    return point.module.partition(".")[0] == PACKAGE


def _path_of(package: str) -> str | None:
    """Return the file of a top-level module, or the first folder of a namespace package."""
    module = sys.modules.get(package)
    if module is not None and module.__spec__ is None:  # made by hand: find_spec would raise
        return getattr(module, "__file__", None)
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None:
        return None
    if spec.has_location:
        return spec.origin
    folders = list(spec.submodule_search_locations or ())
    return folders[0] if folders else spec.origin
