"""Levels: the moment at which a group of events is acknowledged, as a number that is compared.

Theory of operation
-------------------
Every group has a level. The lowest level of a record's groups decides for the record, because a
record is written and synced as a whole.

- `SYNCED`: the record is synced, and then acknowledged. The sync covers every event before it.
- `TIMED`: the record is acknowledged after the write. A timer syncs the log within `sync_interval`.
- `UNTIMED`: the record is acknowledged after the write. The next sync, of whatever reason, covers
  it: that of a `SYNCED` record, of a snapshot, of `flush`, of the idle seal, or of the closing.

Records stand in the log in the order of submission, and a sync covers the file from its beginning.
A power cut therefore takes a suffix of records which nobody waited for, and never a record in front
of a synced one.

A store has a level for whatever says nothing, its *default*. Operations and calls may ask for
another one. In a store that syncs every commit they may ask for less. In any other store they may
only ask for more: its owner has decided what may be lost at most.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventstore.arguments import argument_error
from eventstore.config import Durability

__all__ = ["SYNCED", "TIMED", "UNTIMED", "Levels", "checked_durability"]

SYNCED, TIMED, UNTIMED = range(3)

_LEVELS = {Durability.COMMIT: SYNCED, Durability.INTERVAL: TIMED, Durability.NONE: UNTIMED}


def checked_durability(value: Durability | str, name: str = "durability") -> Durability:
    """Return the `Durability` that `value` is or names. Raises `ConfigError` for anything else.

    >>> checked_durability("interval")
    <Durability.INTERVAL: 'interval'>
    """
    try:
        return Durability(value)
    except ValueError:
        names = ", ".join(repr(member.value) for member in Durability)
        raise argument_error(name, value, f"expected a Durability, or one of {names}") from None


class Levels:
    """The levels of one log, whose groups have the level `default` unless they ask for another."""

    __slots__ = ("default",)

    def __init__(self, durability: Durability) -> None:
        self.default: int = _LEVELS[durability]

    def asked(self, durability: Durability | str) -> int:
        """Return the level of a group for which a call asks. Raises `ConfigError`."""
        level = _LEVELS[checked_durability(durability)]
        return level if self.default == SYNCED else min(level, self.default)

    def of_group(self, durabilities: Iterable[Durability | None]) -> int:
        """Return the level of a group, the strictest of its events'.

        `durabilities` are those that the classes of its events ask for, `None` for none.
        """
        return min(
            self.default if durability is None else self.asked(durability)
            for durability in durabilities
        )
