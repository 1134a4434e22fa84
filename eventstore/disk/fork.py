"""What a forked child inherits and must not use: locks and commits are the parent's.

Whatever has to know is kept here weakly, and told in the child before anything else runs there.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForkAware", "register_for_fork", "unregister_for_fork"]


class ForkAware(Protocol):
    """Something that belongs to one process."""

    def forked(self) -> None:
        """Called in a forked child: this copy is not to be used."""


_living: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def register_for_fork(thing: ForkAware) -> None:
    """Tell ``thing`` in every child that is forked while it lives."""
    _living.add(thing)


def unregister_for_fork(thing: ForkAware) -> None:
    """``thing`` need not be told any more."""
    _living.discard(thing)


def _in_child() -> None:
    for thing in list(_living):
        thing.forked()


os.register_at_fork(after_in_child=_in_child)
