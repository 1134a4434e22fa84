"""The events that a power cut may not take, where operations and calls ask for durability.

A group asks for a durability with its call, or for none. `Promised` knows each group's, and works
out the number of flushed events from the number of published ones.
"""

from __future__ import annotations

from collections import deque

from eventstore import Durability, StoreConfig
from tests.torture.oracle import Record

__all__ = ["Promised"]

_INSTANT = 1e-6
"""Seconds in which a sync that is due now has not been made yet."""
_STRICTEST = (Durability.COMMIT, Durability.INTERVAL, Durability.NONE)


class Promised:
    """The durability of each group of one program."""

    def __init__(self) -> None:
        self._asked: dict[int, Durability] = {}
        self._due: deque[tuple[float, int]] = deque()

    def ask(self, group: int, durability: Durability) -> None:
        """Note that a group about to be submitted asks for a durability."""
        self._asked[group] = durability

    def reopened(self) -> None:
        """Note that all events are on stable storage: a store was just opened."""
        self._due.clear()

    def publish(self, record: Record, config: StoreConfig, seq: int, now: float) -> None:
        """Note that events up to `seq` are published, and which of these are flushed by now."""
        before = record.published
        record.publish(seq)
        for place in range(before, seq):
            durability = self._of(record.submitted[place].group, config)
            if durability is Durability.COMMIT:
                record.flushed = max(record.flushed, place + 1)
            elif durability is Durability.INTERVAL:
                self._due.append((now, place + 1))

    def flush(self, record: Record, config: StoreConfig, now: float) -> None:
        """Note the events that a timer has flushed by now."""
        due = now - config.sync_interval - _INSTANT
        while self._due and self._due[0][0] < due:
            record.flushed = max(record.flushed, self._due.popleft()[1])

    def _of(self, group: int, config: StoreConfig) -> Durability:
        asked, given = self._asked.get(group), config.durability
        if asked is None or (
            given is not Durability.COMMIT and _STRICTEST.index(given) < _STRICTEST.index(asked)
        ):
            return given
        return asked
