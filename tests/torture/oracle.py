"""The oracle: the record of one program's dealings with a store, and the duties of recovery.

Theory of operation
-------------------
A running workload writes a `Record`. Every event carries a number of its own. The handlers tell
the record of each event when the store folds the event. So the record knows the order of submission
without asking the store. From then on, the event counts as *submitted*. A submitted event may be in
the log or not, until the store has *published* the event. A *refused* event must not be in the log.

A `Claim` is the duty at one instant. The store must have a prefix of the events submitted and not
refused. The prefix ends between groups. After a kill, the prefix holds at least the published
events. After a power cut, the prefix holds at least the flushed events (where a commit is an
`fdatasync`, these are the same). Claims are cheap, because they share the record's lists, which
only grow. Where the record has to shorten a list, the record begins another list.

`recovered_as_claimed` holds a recovered store against a claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from eventstore import (
    Cursor,
    Event,
    EventStore,
    HistoryForkedError,
    HistoryUnavailableError,
    IntentSettled,
    ReadFailedError,
)
from eventstore.named_cursors import list_cursors
from tests.torture.ledger import Fill, Ledger, Order, ledger_after, number_of
from tests.torture.store_or_log import Opened

__all__ = [
    "Claim",
    "Kept",
    "OracleError",
    "Record",
    "Served",
    "Submitted",
    "cursor_as_claimed",
    "history_as_claimed",
    "open_after",
    "recovered_as_claimed",
    "state_as_claimed",
]


class OracleError(AssertionError):
    """A promise was broken."""


class Submitted(NamedTuple):
    """One submitted event, and the event's group."""

    event: Event[Any]
    group: int


class Kept(NamedTuple):
    """A cursor that somebody keeps, and the event that the cursor stands behind."""

    cursor: Cursor
    event: Event[Any]


class Claim(NamedTuple):
    """The facts of one instant. `states[n]` is the state after `n` events.

    `cursors` are kept by others, the first `kept` of them at this instant. `saved` is the name of a
    named cursor, and the number of its last acknowledged save.
    """

    submitted: Sequence[Submitted]
    states: Sequence[Ledger]
    length: int
    after_kill: int
    after_power_cut: int
    keeps_history: bool = True
    logged: bool = True
    cursors: Sequence[Kept] = ()
    kept: int = 0
    saved: tuple[str, int] = ("", 0)

    def ends_between_groups(self, count: int) -> bool:
        """Tell whether the first `count` events are whole groups."""
        if count in (0, self.length):
            return True
        return self.submitted[count - 1].group != self.submitted[count].group


class Served(NamedTuple):
    """What an opened store, or log, has: `open` are its open intents. A log has no state."""

    seq: int
    state: Ledger | None = None
    open: Mapping[str, int] = {}

    @classmethod
    def by(cls, store: Opened) -> Served:
        """Return what `store` has now."""
        if not isinstance(store, EventStore):
            return cls(store.seq)
        return cls(store.seq, store.state, {doubt.id: doubt.seq for doubt in store.in_doubt})


class Record:
    """A program's calls on a store, and the answers.

    `published` and `flushed` count the events, from the first on, that are known to be in the
    log, and known to be on stable storage. `discards` says whether the store may discard history.
    `logged` says whether the store has a log. Without a log, a published event is owed to nobody
    until a snapshot covers the event.
    """

    def __init__(self, *, discards: bool = False, logged: bool = True) -> None:
        self.discards = discards
        self.logged = logged
        self.submitted: list[Submitted] = []
        self.states: list[Ledger] = [Ledger()]
        self.published = 0
        self.flushed = 0
        self.refused: set[int] = set()
        self.cursors: list[Kept] = []
        self.saved = ("", 0)
        self._numbers = itertools.count(1)
        self._groups = itertools.count(1)
        self._group_of: dict[int, int] = {}

    def new_group(self, size: int) -> tuple[int, range]:
        """Return the number of a group about to be submitted, and the numbers of its events."""
        group = next(self._groups)
        numbers = [next(self._numbers) for _ in range(size)]
        self._group_of.update(dict.fromkeys(numbers, group))
        return group, range(numbers[0], numbers[-1] + 1)

    def observe(self, event: Event[Any]) -> None:
        """Note that the store folded an event on the head: the event is submitted."""
        position = event.seq - 1
        if position < self.published:
            raise OracleError(f"event {event.seq} was given out twice: {self.published} stand")
        # the earlier event of this number is gone, whether told or not
        if position < len(self.submitted):
            self._cut(position)
        if position > len(self.submitted):
            raise OracleError(f"event {event.seq} follows event {len(self.submitted)}")
        self.submitted.append(Submitted(event, self._group_of[number_of(event.data)]))
        self.states.append(ledger_after(self.states[-1], event.data))

    def keep(self, store: Opened) -> None:
        """Keep the cursor behind the last published event, as a program elsewhere may."""
        if self.logged and isinstance(store, EventStore) and store.seq:
            self.cursors.append(Kept(store.cursor, self.submitted[store.seq - 1].event))

    def refuse(self, group: int) -> None:
        """Note a refusal: neither a group nor the groups queued behind the group are in the log."""
        self.refused.add(group)
        for position in range(self.published, len(self.submitted)):
            if self.submitted[position].group == group:
                self._cut(position)
                return

    def publish(self, seq: int) -> None:
        """Note that the program can see events up to `seq`."""
        if seq > len(self.submitted):
            raise OracleError(f"event {seq} is published, but {len(self.submitted)} were submitted")
        if seq < self.published:
            raise OracleError(f"event {self.published} was published, now it is {seq}")
        self.published = seq

    def reopened(self, seq: int) -> None:
        """Note that a store just opened serves events up to `seq`, and no others are left."""
        self._cut(seq)
        self.published = self.flushed = seq

    def claim(self) -> Claim:
        """Return the present duty."""
        return Claim(
            self.submitted,
            self.states,
            len(self.submitted),
            self.published if self.logged else self.flushed,
            self.flushed,
            self.logged and not self.discards,
            self.logged,
            self.cursors,
            len(self.cursors),
            self.saved,
        )

    def _cut(self, length: int) -> None:
        if length < len(self.submitted):
            self.submitted = self.submitted[:length]
            self.states = self.states[: length + 1]


async def recovered_as_claimed(store: Opened, claim: Claim, required: int) -> None:
    """Check a store that was just opened: at least `required` of the claimed events.

    Raises `OracleError`.
    """
    state_as_claimed(Served.by(store), claim, required)
    await history_as_claimed(store, claim)
    if isinstance(store, EventStore):
        await keys_as_claimed(store, claim)
    if isinstance(store, EventStore) and claim.kept:
        for index in {0, claim.kept // 2, claim.kept - 1}:
            await cursor_as_claimed(store, claim, claim.cursors[index])
    if isinstance(store, EventStore) and claim.saved[0]:
        _saved_as_claimed(store, *claim.saved)


async def keys_as_claimed(store: EventStore[Any], claim: Claim) -> None:
    """Check that a store knows the keys of its events, and of no event that is gone.

    One known key and one lost key stand for all: another opening looks at others. A key from before
    `keys_since` may be forgotten.
    """
    groups: dict[str, list[Event[Any]]] = {}
    for event, _ in claim.submitted:
        if event.key is not None:
            groups.setdefault(event.key, []).append(event)
    since = store.stats().keys_since
    known = [group for group in groups.values() if since <= group[0].seq <= store.seq]
    known = [group for group in known if group[-1].seq <= store.seq]
    for group in known[-1:] if store.seq % 2 else known[:1]:
        first = group[0]
        found = await store.find(str(first.key))
        if found is None or found.seq != first.seq:
            raise OracleError(f"the key of event {first.seq} is found as {found}")
    for group in groups.values():
        if group[0].seq > store.seq:
            found = await store.find(str(group[0].key))
            if found is not None:
                raise OracleError(f"event {group[0].seq} is gone, and its key known: {found}")
            return


async def written_once(store: EventStore[Any], claim: Claim) -> None:
    """Check that a group with a key is not written again, whichever life wrote it first."""
    seq = store.seq
    keyed = [event for event, _ in claim.submitted[:seq] if event.key is not None]
    for last in keyed[-1:]:
        group = [event.data for event in keyed if event.key == last.key]
        if last.seq + 1 - len(group) < store.stats().keys_since:
            return
        receipt = await store.append(*group, key=last.key)
        if not receipt.duplicate or receipt.seq != last.seq or store.seq != seq:
            raise OracleError(f"the group of event {last.seq} was written again: {receipt}")


async def cursor_as_claimed(store: EventStore[Any], claim: Claim, kept: Kept) -> None:
    """Check that reading on from a cursor gives the next event, or the fork where there is one."""
    cursor, seq, count = kept.cursor, kept.cursor.seq, store.seq
    shared = seq <= count and claim.submitted[seq - 1].event == kept.event
    try:
        found = [event async for event in store.events(cursor, seq + 2)]
    except HistoryForkedError as error:
        if shared:
            raise OracleError(f"the cursor behind event {seq} is refused: {error}") from error
        if error.last_shared > min(seq - 1, count):
            raise OracleError(f"{error.last_shared} events are not shared") from error
        return
    except HistoryUnavailableError as error:
        if claim.keeps_history:
            raise OracleError(f"event {seq + 1} is gone") from error
        return
    if not shared:
        raise OracleError(f"another history goes on behind event {seq}: {found}")
    ends = count, store.seq  # a commit may end while the cursor is read
    expected = [[one.event for one in claim.submitted[seq : min(seq + 1, end)]] for end in ends]
    if found not in expected:
        raise OracleError(f"{found} is behind the cursor of event {seq}, not {expected[0]}")


def _saved_as_claimed(store: EventStore[Any], name: str, seq: int) -> None:
    """Check that a named cursor is there, whole, and no older than its last acknowledged save."""
    assert store.log.disk is not None
    found = dict(list_cursors(store.log.disk)).get(name)
    if isinstance(found, ReadFailedError):
        raise found
    if not isinstance(found, Cursor) or found.seq < seq:
        raise OracleError(f"the cursor {name} was saved behind event {seq}, and now is {found}")


def state_as_claimed(served: Served, claim: Claim, required: int) -> None:
    """Check that a store has a prefix of the claim, of whole groups, and the state of this
    prefix.
    """
    count = served.seq
    if count < required:
        raise OracleError(f"events {count + 1} to {required} are lost")
    if count > claim.length:
        raise OracleError(f"{count} events were recovered, but only {claim.length} submitted")
    if not claim.ends_between_groups(count):
        raise OracleError(f"event {count} was recovered without the rest of its group")
    if served.state is None:
        return
    if served.state != claim.states[count]:
        raise OracleError(f"the state is not that of {count} events: {served.state}")
    expected = open_after(claim.submitted[:count])
    if list(served.open.items()) != list(expected.items()):
        raise OracleError(f"intents {served.open} are open after {count} events, not {expected}")


def open_after(submitted: Sequence[Submitted]) -> dict[str, int]:
    """Return the intents that are open after some events, with the numbers of their events."""
    opened: dict[str, int] = {}
    for event, _ in submitted:
        if isinstance(event.data, Order):
            opened[event.data.name] = event.seq
        elif isinstance(event.data, Fill):
            opened.pop(event.data.name, None)
        elif isinstance(event.data, IntentSettled):
            opened.pop(event.data.id, None)
    return opened


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
