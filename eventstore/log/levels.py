"""Levels: the moment of the acknowledgement of a group of events, as a number to compare.

Theory of operation
-------------------
Every group has a level. The lowest level of a record's groups decides for the record, because a
record is written and synced as a whole.

- `SYNCED`: the record is synced, and then acknowledged. The sync covers every earlier event.
- `TIMED`: the record is acknowledged after the write. A timer syncs the log within `sync_interval`.
- `UNTIMED`: the record is acknowledged after the write. The next sync covers the record, whatever
  the reason: a `SYNCED` record, a snapshot, `flush`, the idle seal, or the closing.

Records stand in the log in the order of submission, and a sync covers the file from the beginning.
A power cut therefore takes a suffix of records without a sync, and never a record in front of a
synced one.

A store has a *default*, the level of a group without a wish. Operations and calls may ask for
another level. In a store with a sync for each commit, they may ask for less. In any other store
they may only ask for more, because the owner has decided what may be lost at most.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from eventstore.arguments import argument_error
from eventstore.config import Durability

__all__ = ["SYNCED", "TIMED", "UNTIMED", "Levels", "checked_durability"]

SYNCED, TIMED, UNTIMED = range(3)

_LEVELS = {Durability.COMMIT: SYNCED, Durability.INTERVAL: TIMED, Durability.NONE: UNTIMED}


def checked_durability(value: Durability | str, name: str = "durability") -> Durability:
    """Return `value`, a `Durability` or the text of one, as a `Durability`. Raises `ConfigError`.

    >>> checked_durability("interval")
    <Durability.INTERVAL: 'interval'>
    """
    if isinstance(value, Durability):
        return value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return Durability(str.__str__(value))  # a subclass could call the store to compare
    names = ", ".join(repr(member.value) for member in Durability)
    raise argument_error(name, value, f"expected a Durability, or one of {names}")


class Levels:
    """The levels of one log. `default` is the level of a group without a wish of its own."""

    __slots__ = ("default",)

    def __init__(self, durability: Durability) -> None:
        self.default: int = _LEVELS[durability]

    def asked(self, durability: Durability | str) -> int:
        """Return the level of a group with `durability` in the call. Raises `ConfigError`."""
        level = _LEVELS[checked_durability(durability)]
        return level if self.default == SYNCED else min(level, self.default)

    def of_group(self, durabilities: Iterable[Durability | None]) -> int:
        """Return the level of a group: the level of the strictest event.

        `durabilities` come from the classes of the events, `None` for a class without a wish.
        """
        return min(
            self.default if durability is None else self.asked(durability)
            for durability in durabilities
        )
