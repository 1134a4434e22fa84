"""Finding out whether another package hides the trading handlers.

The distribution has two packages: `eventstore` and, beside it, `handlers`. The name `handlers` is a
common one. A folder or a module of that name that stands earlier on `sys.path` hides the package,
and an import of `handlers.update_position` then fails or finds a stranger's module.

Nothing that does without the trading handlers may fail for that reason. Discovery passes the hidden
entry points over, without importing the stranger's package. An error says which file hides the
package only where a trading handler is missing.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "DISTRIBUTION",
    "TRADING_OPERATIONS",
    "hiding_file",
    "is_hidden",
    "remedy_for",
    "sentence",
]

DISTRIBUTION = "asyncio-eventstore"
"""The name of this distribution, as its metadata gives it."""

PACKAGE = "handlers"
"""The package of the trading handlers."""

TRADING_OPERATIONS = frozenset({"full_state", "record_trade", "update_position"})
"""The operations with a handler in `handlers`."""


def hiding_file() -> str | None:
    """Return the path of the file that hides the package `handlers`, `None` where none does.

    The package is hidden if `import handlers` finds a package or a module that is not beside the
    package `eventstore`. A package that cannot be found at all is not hidden.
    """
    found = _path_of(PACKAGE)
    if found is None:
        return None
    beside = Path(__file__).parents[2] / PACKAGE
    folder = Path(found) if Path(found).suffix != ".py" else Path(found).parent
    return None if folder.resolve() == beside.resolve() else found


def is_hidden(point: EntryPoint) -> bool:
    """Return whether an entry point is one of this distribution's and its package is hidden."""
    return (
        point.dist is not None
        and point.dist.name == DISTRIBUTION
        and point.module.partition(".")[0] == PACKAGE
        and hiding_file() is not None
    )


def sentence(path: str) -> str:
    """Return the sentence that says what the file at `path` hides, and the way out."""
    return (
        f"{path} hides the package {PACKAGE!r} of {DISTRIBUTION}: rename it, or keep its folder "
        "off sys.path (the command eventstore and python -P leave out the current directory)"
    )


def remedy_for(operation: str | None, otherwise: str) -> str:
    """Return the way to get a handler for `operation`, or for anything at all with `None`.

    The answer is `otherwise`, unless the trading handler of that operation is hidden.
    """
    asked_for = operation is None or operation in TRADING_OPERATIONS
    path = hiding_file() if asked_for else None
    return otherwise if path is None else sentence(path)


def _path_of(package: str) -> str | None:
    """Return the file of a top-level module, or the first folder of a namespace package."""
    module = sys.modules.get(package)
    if module is not None and module.__spec__ is None:  # made by hand: find_spec would raise
        return getattr(module, "__file__", None)
    spec: ModuleSpec | None = find_spec(package)
    if spec is None:
        return None
    if spec.has_location:
        return spec.origin
    folders = list(spec.submodule_search_locations or ())
    return folders[0] if folders else spec.origin
