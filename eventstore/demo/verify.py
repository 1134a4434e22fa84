"""A check that the store holds the right events and state, after all kills of the worker.

The check answers six questions, each with the differences found:

1. Is every event in the store the journal's event for the tape, in the same place, with nothing
   missing, doubled or added?
2. Is the reopened state the ledger's, exactly?
3. Are the accounts also the ledger's when only the trades are folded, without the marks?
4. Is the reopened state (a snapshot and the events after it) equal to a fold of every event from
   the first?
5. Does a second opening give the same state and the same end?
6. Did the second process, which followed the store through all kills, come to the same state?

The store is opened read-only: verifying changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from eventstore import Event, EventStore, HandlerRegistry, state_digest
from eventstore.demo.events_to_record import Journal
from eventstore.demo.messages import Followed
from eventstore.demo.second_account import Ledger, differences
from eventstore.demo.strategy import DEFAULT_RULES, Strategy
from eventstore.demo.tape_reader import read_moments
from eventstore.model.conversion import encode_hook

__all__ = ["Check", "Verification", "verify"]

MOST_DIFFERENCES = 5
"""Differences listed per question."""


@dataclass(slots=True)
class Check:
    """One question, and the differences found."""

    question: str
    wrong: list[str] = field(default_factory=list)

    def add(self, difference: str) -> None:
        if len(self.wrong) < MOST_DIFFERENCES:
            self.wrong.append(difference)


@dataclass(frozen=True, slots=True)
class Verification:
    """The answers, the ledger at the end of the tape, and the number of events in the store.

    `followed` is the outcome of the second process.
    """

    checks: tuple[Check, ...]
    ledger: Ledger
    events: int
    followed: Followed

    @property
    def passed(self) -> bool:
        return not any(check.wrong for check in self.checks)


async def verify(
    store_path: Path, tape: Path, registry: HandlerRegistry[Any], followed: Followed
) -> Verification:
    """Compare a closed store with the tape, and with the outcome of the second process.

    Raises the errors of opening and reading the store.
    """
    ledger = _ledger(tape)
    events = Check("every event is there once, in its place, as the tape makes it")
    accounts = Check("the reopened state is the independent ledger's, exactly")
    trades = Check("so it is when only the trades are folded, without the marks")
    folded = Check("snapshot and tail give the state that folding every event gives")
    again = Check("opening it again gives the same")
    second = Check("the second process followed every event through all kills, to the same state")
    async with EventStore.open(store_path, registry, read_only=True) as store:
        state, seq = store.state, store.seq
        count, all_events, all_trades = await _compared_and_folded(store, tape, registry, events)
    accounts.wrong += differences(ledger, state)[:MOST_DIFFERENCES]
    trades.wrong += differences(ledger, all_trades, marked=False)[:MOST_DIFFERENCES]
    digest = state_digest(state)
    if state_digest(all_events) != digest:
        folded.add(f"digests {digest} and {state_digest(all_events)} differ")
    async with EventStore.open(store_path, registry, read_only=True) as store:
        if (store.seq, state_digest(store.state)) != (seq, digest):
            again.add(f"event {store.seq} and digest {state_digest(store.state)}")
    if (followed.seq, followed.digest) != (seq, digest):
        second.add(f"event {followed.seq} and digest {followed.digest}, not {seq} and {digest}")
    checks = (events, accounts, trades, folded, again, second)
    return Verification(checks, ledger, count, followed)


async def _compared_and_folded(
    store: EventStore[Any], tape: Path, registry: HandlerRegistry[Any], check: Check
) -> tuple[int, Any, Any]:
    """Compare each event of `store` with the tape.

    Returns the number of events, the fold of all of them, and the fold without the marks.
    """
    all_events = all_trades = registry.initial()
    expected = _expected_events(tape)
    count = 0
    async for event in store.events(start=1):
        count += 1
        _compare(check, event, count, next(expected, None))
        all_events = registry.fold(all_events, [event])
        if event.operation != "mark":
            all_trades = registry.fold(all_trades, [event])
    missing = sum(1 for _ in expected)
    if missing:
        check.add(f"the last {missing} events of the tape are not in the store")
    if count != store.seq:
        check.add(f"the store says it ends at event {store.seq}, but {count} can be read")
    return count, all_events, all_trades


def _ledger(tape: Path) -> Ledger:
    """Account for the whole tape."""
    ledger = Ledger(DEFAULT_RULES.capital)
    strategy = Strategy(DEFAULT_RULES)
    for prints in read_moments(tape):
        last = {one.symbol: one.price for one in prints}
        for fill in strategy.trade(prints):
            ledger.record(fill)
            ledger.mark(fill.symbol, last[fill.symbol])
    return ledger


def _expected_events(tape: Path) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Yield time, key, operation and payload of every event that the tape makes."""
    journal = Journal()
    for prints in read_moments(tape):
        for group in journal.moment(prints):
            for operation, data in group.operations:
                yield group.time, group.key, operation, data


def _compare(
    check: Check, event: Event[Any], seq: int, expected: tuple[int, str, str, dict[str, Any]] | None
) -> None:
    if expected is None:
        check.add(f"event {event.seq} ({event.operation}) is not one of the tape's")
        return
    time, key, operation, data = expected
    if (event.seq, event.time, event.key, event.operation) != (seq, time, key, operation):
        check.add(
            f"event {event.seq} is {event.operation} {event.key!r} of {event.datetime}, not event "
            f"{seq}, {operation} {key!r}"
        )
        return
    recorded = msgspec.to_builtins(event.data, builtin_types=(Decimal,), enc_hook=encode_hook)
    for name, value in data.items():
        if recorded.get(name) != value:
            check.add(f"event {seq}: {name} is {recorded.get(name)!r}, not {value!r}")
