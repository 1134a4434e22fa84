"""`blame`: the events that gave a place of the state its value."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from eventstore.analysis.moments import number_at
from eventstore.analysis.state_path import StatePath, check_shown
from eventstore.arguments import checked_count, checked_function
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.model.differences import ABSENT
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import AnyMoment
from eventstore.reading.arguments import checked_registry
from eventstore.reading.bases import earliest_base, nearest_base
from eventstore.reading.fold_intervals import states_from

__all__ = ["ABSENT", "Blame", "Change", "blame"]


class Change(msgspec.Struct, frozen=True):
    """An event that changed a value: the event, and the value before and after.

    `ABSENT` of `eventstore.analysis` stands for a value that is not there, as of a position before
    the first trade.
    """

    event: Event[Any]
    before: Any
    after: Any


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `blame`.

    Attributes:
        field: The place in the state.
        seq: The event at the moment that was asked for.
        value: The value after that event, `ABSENT` if there is none.
        changes: The last changes, newest first. The first one gave the value.
        searched_from: The event behind which every change is among `changes`, or was not needed. 0
            is the beginning: a value without a change is the one of the initial state.
    """

    field: str
    seq: int
    value: Any
    changes: tuple[Change, ...]
    searched_from: int


def blame(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any],
    field: str,
    *,
    at: AnyMoment | None = None,
    n: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> Blame:
    """Find the last events that changed one place of the state, without the writer's lock.

    The search goes backwards from snapshot to snapshot. As a rule only the events behind the last
    snapshot are folded. A value that never changed costs a fold of the whole history.

    Args:
        path: The store's directory.
        registry: The handlers.
        field: A place in the state, such as `cash` or `positions['BTC-USDT'].shares`.
        at: A number, a time (also as text with an offset) or a cursor. The default is the end.
        n: The number of changes to find.
        advance: Called with the number of events that were folded since the last call.

    Raises:
        ConfigError: `field` is no place in this state, or an argument is of the wrong type.
        HistoryUnavailableError: The store does not have the event `at`.
        CorruptLogError, ReadFailedError, ReplayError: As of `replay`.
    """
    checked_registry(registry)
    place = StatePath(field)
    checked_count("n", n, "a number of changes")
    checked_function("advance", advance)
    disk = LocalDisk(path, read_only=True)
    try:
        return _Search(disk, registry, place, n, advance).run(number_at(disk, at))
    finally:
        disk.close()


class _Search:
    def __init__(
        self,
        disk: Disk,
        registry: HandlerRegistry[Any],
        place: StatePath,
        n: int,
        advance: Callable[[int], None],
    ) -> None:
        self._disk = disk
        self._registry = registry
        self._place = place
        self._n = n
        self._advance = advance
        self._changes: list[Change] = []  # newest first

    def run(self, seq: int) -> Blame:
        beginning = earliest_base(self._disk, self._registry)
        value, end = self._interval(seq, check=True)
        while len(self._changes) < self._n and end > beginning:
            _, end = self._interval(end)
        return Blame(
            field=self._place.text,
            seq=seq,
            value=value,
            changes=tuple(self._changes),
            searched_from=end,
        )

    def _interval(self, last: int, *, check: bool = False) -> tuple[Any, int]:
        """Search from the base before event `last`. Returns the value there, and the base."""
        base = nearest_base(self._disk, self._registry, upto=max(last - 1, 0))
        found = deque[Change](maxlen=self._n - len(self._changes))
        state = base.state
        before = self._place.value_in(state)
        for event, state in states_from(self._disk, self._registry, base, last):
            after = self._place.value_in(state)
            if after is not before and after != before:
                found.append(Change(event, before, after))
            before = after
            self._advance(1)
        if check:
            check_shown([self._place], state)
        self._changes.extend(reversed(found))
        return before, base.seq
