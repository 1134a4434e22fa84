"""The bases of all errors. `errors.py` has the whole tree, and is the module to import from."""

from __future__ import annotations

import copy
from typing import Any, Final, TypeVar

__all__ = [
    "REPAIR",
    "EventStoreError",
    "MissingError",
    "PathError",
    "SystemCallError",
    "fresh_error",
]

REPAIR: Final = "let `eventstore repair` name the remedies and their prices"
"""The remedy in every message about damage."""


class EventStoreError(Exception):
    """Base of every error of this library. Every error can be pickled with all facts."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[EventStoreError], arguments: tuple[Any, ...], facts: dict[str, Any]
) -> EventStoreError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(facts)
    return error


class PathError(EventStoreError):
    """An error about one path, as `path`."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class MissingError(PathError):
    """An error about a thing that is not at a path. `what` names the thing: `store`, or another."""

    def __init__(self, message: str, *, path: str, what: str = "store") -> None:
        super().__init__(message, path=path)
        self.what = what


class SystemCallError(PathError):
    """An error with the number of the operating system, as `errno`."""

    def __init__(self, message: str, *, path: str, errno: int | None = None) -> None:
        super().__init__(message, path=path)
        self.errno = errno


ErrorT = TypeVar("ErrorT", bound=Exception)


def fresh_error(stored: ErrorT) -> ErrorT:
    """Return a copy of `stored` to raise, with its facts and cause and a traceback of its own.

    An error that is raised again and again keeps every frame that it passed through.
    """
    copied = copy.copy(stored)
    if stored.__cause__ is not None:  # an assignment of None would hide the context, too
        copied.__cause__ = stored.__cause__
    return copied
