"""What recovery has to bring back: the record of one program's dealings with a store.

Theory of operation
-------------------
:class:`Record` is written while a workload runs. Every event carries a number of its own, and the
handlers tell the record of each event at the moment the store folds it, so that the record knows
the order in which events were submitted without asking the store for it. Seen from outside, an
event is from then on *submitted*; it may be in the log or not until the store has *published* it;
and one that was *refused* must not be.

A :class:`Claim` is what can be demanded at one instant: of all that was submitted and not
refused, a prefix, which ends between groups and holds at least what was published (after a kill)
or flushed (after a power cut; the same thing where a commit is an ``fdatasync``). Claims are
cheap: they share the record's lists, which only grow; where the record has to shorten one, it
begins another.

:func:`recovered_as_claimed` holds a recovered store against a claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from eventstore import Event, EventStore, HistoryUnavailableError
from tests.torture.ledger import Ledger, ledger_after
from tests.torture.store_or_log import Opened

__all__ = [
    "Claim",
    "OracleError",
    "Record",
    "Submitted",
    "history_as_claimed",
    "recovered_as_claimed",
    "state_as_claimed",
]


class OracleError(AssertionError):
    """A promise was broken."""


class Submitted(NamedTuple):
    """One event as it was submitted, and the group it belongs to."""

    event: Event[Any]
    group: int


class Claim(NamedTuple):
    """What was true at one instant; ``states[n]`` is the state after ``n`` events."""

    submitted: Sequence[Submitted]
    states: Sequence[Ledger]
    length: int
    after_kill: int
    after_power_cut: int
    keeps_history: bool = True
    logged: bool = True

    def ends_between_groups(self, count: int) -> bool:
        """Whether the first ``count`` events are whole groups."""
        if count in (0, self.length):
            return True
        return self.submitted[count - 1].group != self.submitted[count].group


class Record:
    """What a program did to a store, and what it was told.

    ``published`` and ``flushed`` are how many events, from the first on, are known to be in the
    log, and known to be on stable storage. ``discards`` says whether the store may discard
    history, ``logged`` whether it has a log: without one, what is published is owed to nobody until
    a snapshot covers it.
    """

    def __init__(self, *, discards: bool = False, logged: bool = True) -> None:
        self.discards = discards
        self.logged = logged
        self.submitted: list[Submitted] = []
        self.states: list[Ledger] = [Ledger()]
        self.published = 0
        self.flushed = 0
        self.refused: set[int] = set()
        self._numbers = itertools.count(1)
        self._groups = itertools.count(1)
        self._group_of: dict[int, int] = {}

    def new_group(self, size: int) -> tuple[int, range]:
        """A group about to be submitted: its number, and the numbers of its events."""
        group = next(self._groups)
        numbers = [next(self._numbers) for _ in range(size)]
        self._group_of.update(dict.fromkeys(numbers, group))
        return group, range(numbers[0], numbers[-1] + 1)

    def observe(self, event: Event[Any]) -> None:
        """The store folded an event on its head: it is submitted."""
        position = event.seq - 1
        if position < self.published:
            raise OracleError(f"event {event.seq} was given out twice: {self.published} stand")
        if position < len(self.submitted):  # what had this number is gone, told or not yet
            self._cut(position)
        if position > len(self.submitted):
            raise OracleError(f"event {event.seq} follows event {len(self.submitted)}")
        self.submitted.append(Submitted(event, self._group_of[event.data.number]))
        self.states.append(ledger_after(self.states[-1], event.data))

    def refuse(self, group: int) -> None:
        """The program was told that a group is not in the log, nor what was queued behind it."""
        self.refused.add(group)
        for position in range(self.published, len(self.submitted)):
            if self.submitted[position].group == group:
                self._cut(position)
                return

    def publish(self, seq: int) -> None:
        """The program can see events up to ``seq``."""
        if seq > len(self.submitted):
            raise OracleError(f"event {seq} is published, but {len(self.submitted)} were submitted")
        if seq < self.published:
            raise OracleError(f"event {self.published} was published, now it is {seq}")
        self.published = seq

    def reopened(self, seq: int) -> None:
        """A store that has just been opened serves events up to ``seq``, and no other is left."""
        self._cut(seq)
        self.published = self.flushed = seq

    def claim(self) -> Claim:
        """What can be demanded now."""
        return Claim(
            self.submitted,
            self.states,
            len(self.submitted),
            self.published if self.logged else self.flushed,
            self.flushed,
            self.logged and not self.discards,
            self.logged,
        )

    def _cut(self, length: int) -> None:
        if length < len(self.submitted):
            self.submitted = self.submitted[:length]
            self.states = self.states[: length + 1]


async def recovered_as_claimed(store: Opened, claim: Claim, required: int) -> None:
    """Check a store that was just opened: of what was claimed, ``required`` events at least.

    Raises :class:`OracleError`.
    """
    state_as_claimed(store, claim, required)
    await history_as_claimed(store, claim)


def state_as_claimed(store: Opened, claim: Claim, required: int) -> None:
    """Check that the store has a prefix of the claim, of whole groups, and its state."""
    count = store.seq
    if count < required:
        raise OracleError(f"events {count + 1} to {required} are lost")
    if count > claim.length:
        raise OracleError(f"{count} events were recovered, but only {claim.length} submitted")
    if not claim.ends_between_groups(count):
        raise OracleError(f"event {count} was recovered without the rest of its group")
    if isinstance(store, EventStore) and store.state != claim.states[count]:  # a log has none
        raise OracleError(f"the state is not that of {count} events: {store.state}")


async def history_as_claimed(store: Opened, claim: Claim) -> None:
    """Check that the store's events are the first ones of the claim, and no others."""
    count = store.seq
    if not claim.logged:
        await _nothing_logged(store)
        return
    first = 1
    try:
        found = [event async for event in store.events()]
    except HistoryUnavailableError as error:  # discarded, as the configuration says
        first = error.first_available
        if claim.keeps_history or first > store.recovery.snapshot_seq + 1:
            raise OracleError(
                f"events before {first} are gone, and no snapshot covers them"
            ) from error
        found = [event async for event in store.events(first)]
    expected = [submitted.event for submitted in claim.submitted[first - 1 : count]]
    if found != expected:
        raise OracleError(_difference(found, expected))


async def _nothing_logged(store: Opened) -> None:
    try:
        found = [event async for event in store.events()]
    except HistoryUnavailableError:
        return
    if store.seq or found:
        raise OracleError(f"a store without a log has {len(found)} events of {store.seq}")


def _difference(found: list[Event[Any]], expected: list[Event[Any]]) -> str:
    for position, (one, other) in enumerate(zip(found, expected, strict=False), 1):
        if one != other:
            return f"event {position} is {one}, not {other}"
    return f"the history has {len(found)} events, not {len(expected)}"
