"""Objects that a forked child inherits and must not use: locks and commits are the parent's.

Registered objects are held weakly. In the child `forked` is called on each, before any other code
runs there.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForkAware", "register_for_fork", "unregister_for_fork"]


class ForkAware(Protocol):
    """An object for one process only."""

    def forked(self) -> None:
        """Refuse all further use: this object is a forked child's copy."""


_living: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def register_for_fork(thing: ForkAware) -> None:
    """Call `thing.forked` in every child that is forked during the life of `thing`."""
    _living.add(thing)


def unregister_for_fork(thing: ForkAware) -> None:
    """Stop calling `thing.forked` in children."""
    _living.discard(thing)


def _in_child() -> None:
    for thing in list(_living):
        thing.forked()


os.register_at_fork(after_in_child=_in_child)
