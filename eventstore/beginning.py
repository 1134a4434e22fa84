"""Where a store in memory begins: with a state, as of one event of another store's history.

An in-memory store that branched from a store on disk shares that one's history up to there: its
events are read from the other's files when they are asked for, and never copied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from eventstore.disk.manifest import StoreIdentity

__all__ = ["Beginning"]


class Beginning(NamedTuple):
    """``state``: that after event ``seq``; ``latest``: the latest time up to there, nanoseconds.

    ``parent_path`` and ``parent``: the store that has the events up to ``seq``.
    """

    state: Any
    seq: int = 0
    latest: int = 0
    parent_path: str = ""
    parent: StoreIdentity | None = None

    @property
    def path(self) -> str:
        """What the store is called in messages."""
        return ":memory:" if self.parent is None else f":memory: from {self.parent_path}@{self.seq}"
