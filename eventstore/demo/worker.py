"""The process that trades and is killed: `python -m eventstore.demo.worker STORE`.

The worker opens the store, runs the journal over the tape, and appends the events that the store
does not have yet. The fills of one moment are submitted together and awaited before the next moment
begins. The venue reports the fills of a moment at the same time, so one commit may hold all of
them. No order is ever based on a fill that a crash could take back.

*Exactly once.* The journal gives event `n` the same content in every run, and the store numbers its
events without a gap. A restarted worker runs the journal over the tape from the beginning and
submits no event up to the last number in the store. At this number the worker compares the
recovered accounts with the journal's own, exactly. Then the worker appends the rest. A missing
or doubled event would make the numbers or the accounts disagree.

Events have the tape's own times, through a `SimulatedClock`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import Any

from eventstore import EventStore, EventStoreError, HandlerRegistry, Receipt, SimulatedClock
from eventstore.demo.journal import Group, Journal
from eventstore.demo.ledger import differences
from eventstore.demo.messages import (
    Acknowledged,
    Failed,
    Finished,
    Message,
    Opening,
    Progress,
    Ready,
    send,
)
from eventstore.demo.tape import Print, read_moments
from eventstore.model.shadowing import hidden_package_message, hiding_file

__all__ = ["STORE_OPTIONS", "DemoError", "main", "record_tape", "trading_registry"]

STORE_OPTIONS: dict[str, Any] = {
    "segment_size": 64 * 1024,
    "wal_max_entries": 500,
    "auto_save_interval": None,
}
"""Small segments and frequent snapshots, so that a short run has some of everything."""

PLUGINS = "eventstore.handlers"
"""The entry-point group of handlers."""

READ_AHEAD = 256
"""Moments of the tape that one call on a thread reads."""

STATS_EVERY = 32
"""Moments with fills between two reports of the store's counters."""


class DemoError(EventStoreError):
    """The demonstration cannot go on: the store does not hold the events of the tape."""


def trading_registry() -> HandlerRegistry[Any]:
    """Return the installed trading handlers: the handlers for the state of `record_trade`.

    Raises `DemoError` where no handler is installed, and where another package hides the handlers.
    """
    path = hiding_file()
    if path is not None:
        raise DemoError(
            f"the demonstration needs the trading handlers, but {hidden_package_message(path)}"
        )
    for point in entry_points(group=PLUGINS, name="record_trade"):
        return HandlerRegistry.discover(HandlerRegistry(point.load()).state_type)
    raise DemoError(
        "no handler of record_trade is installed: the demonstration needs the trading handlers, "
        f"which are found through the entry-point group {PLUGINS!r}; install the project "
        "(pip install -e .), so that its entry points are known"
    )


async def record_tape(store_path: Path, tape: Path, say: Callable[[Message], None]) -> None:
    """Open the store, record the missing events of the tape, and close the store on request.

    The request is a line on standard input. Raises `DemoError` if the store holds anything else
    than the tape's events.
    """
    first = await asyncio.to_thread(lambda: next(read_moments(tape)))
    clock = SimulatedClock(first[0].received)
    say(Opening())
    async with EventStore.open(
        store_path, trading_registry(), clock=clock, **STORE_OPTIONS
    ) as store:
        work = _Recording(store, clock, say)
        journal = Journal()
        if not store.seq:
            say(Ready(store.recovery))
        async for prints in _moments(tape):
            await work.record(journal, prints)
        if journal.seq < work.found:
            raise DemoError(
                f"{store_path} holds {work.found} events, but this tape makes {journal.seq}: it "
                "was made from another tape, or added to; take another --store"
            )
        say(Finished(store.stats()))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)


class _Recording:
    """One life of the worker. `found` is the number of events in the store at its opening."""

    def __init__(
        self, store: EventStore[Any], clock: SimulatedClock, say: Callable[[Message], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._say = say
        self._moments = 0
        self.found = store.seq

    async def record(self, journal: Journal, prints: tuple[Print, ...]) -> None:
        receipts: list[Receipt] = []
        for group in journal.moment(prints):
            if group.last_seq < self.found:
                continue
            if group.first_seq <= self.found:
                self._check(group, journal)
                continue
            self._clock.set(group.time)
            receipts.append(self._store.submit(*group.operations, key=group.key))
            if receipts[-1].seq != group.last_seq:
                raise DemoError(f"{receipts[-1]!r} is not event {group.last_seq} of the journal")
        for receipt in receipts:
            await receipt
        if receipts:
            self._say(Acknowledged(receipts[-1].seq))
            self._moments += 1
            if self._moments % STATS_EVERY == 0:
                self._say(Progress(self._store.stats()))

    def _check(self, group: Group, journal: Journal) -> None:
        """Check, where the journal has reached the end of the store, that the accounts agree."""
        if group.last_seq != self.found:
            raise DemoError(
                f"the store ends at event {self.found}, inside the group of events "
                f"{group.first_seq} to {group.last_seq}: a group must be whole or absent"
            )
        wrong = differences(journal.ledger, self._store.state)
        if wrong:
            raise DemoError(
                f"the state recovered at event {self.found} is not what this tape leads to: "
                + "; ".join(wrong)
            )
        self._say(Ready(self._store.recovery))


async def _moments(tape: Path) -> AsyncIterator[tuple[Print, ...]]:
    """Yield the moments of the tape, read some moments ahead on a thread."""
    moments = read_moments(tape)
    while batch := await asyncio.to_thread(lambda: list(islice(moments, READ_AHEAD))):
        for prints in batch:
            yield prints


def main(arguments: list[str] | None = None) -> int:
    """Run the worker. Messages go to standard output, all else to standard error."""
    parser = argparse.ArgumentParser(prog="python -m eventstore.demo.worker")
    parser.add_argument("store", type=Path)
    parser.add_argument("--tape", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    say = partial(send, sys.stdout.fileno())
    try:
        asyncio.run(record_tape(chosen.store, chosen.tape, say))
    except EventStoreError as error:
        say(Failed(str(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
