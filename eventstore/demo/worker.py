"""The process that trades and is killed: `python -m eventstore.demo.worker STORE`.

The worker opens the store, runs the journal over the tape, and appends the events that the store
does not have yet.

*Orders first.* Each order is an intent, and on stable storage before the sending. Only then is the
fill taken from the tape, which is the venue, and recorded. The fill settles the intent. The orders
of one moment are submitted together, and so are the fills, so one commit may hold all of them. No
order is ever based on a fill that a crash could take back.

*Told twice.* The venue tells each fill twice, and tells the next worker the last fill before a kill
once more. The id of the fill is the key of its group, so the store records the group once.

*In doubt.* A kill between an order and its fill leaves the intent open. The next worker finds the
order among `recovery.in_doubt`, asks the venue, and records the fill.

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
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from eventstore import EventStore, EventStoreError, Receipt, RecoveryReport, SimulatedClock
from eventstore.demo.errors import DemoError
from eventstore.demo.events_to_record import Group, Journal
from eventstore.demo.messages import (
    Acknowledged,
    Failed,
    Finished,
    Message,
    Opening,
    Progress,
    Ready,
    Sent,
    send,
)
from eventstore.demo.registry import trading_registry
from eventstore.demo.second_account import differences
from eventstore.demo.tape_reader import Print, read_moments

__all__ = ["STORE_OPTIONS", "Recording", "main", "record_tape"]

STORE_OPTIONS: dict[str, Any] = {
    "segment_size": 64 * 1024,
    "wal_max_entries": 500,
    "auto_save_interval": None,
}
"""Small segments and frequent snapshots, so that a short run has some of everything."""

READ_AHEAD = 256
"""Moments of the tape that one call on a thread reads."""

STATS_EVERY = 32
"""Moments with fills between two reports of the store's counters."""


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
        work = Recording(store, clock, say)
        journal = Journal()
        if not store.seq:
            say(Ready(_plain(store.recovery)))
        async for prints in _moments(tape):
            await work.record(journal, prints)
        if journal.seq < work.found:
            raise DemoError(
                f"{store_path} holds {work.found} events, but this tape makes {journal.seq}: it "
                "was made from another tape, or added to; take another --store"
            )
        say(Finished(store.stats(), work.told_again))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)


_Submitted = tuple[Group, Receipt, bool]
"""A group, its receipt, and whether the group was submitted before."""


class Recording:
    """One life of the worker.

    `found` is the number of events in the store at its opening. `told_again` counts the fills that
    were told once more, and not recorded again.
    """

    def __init__(
        self, store: EventStore[Any], clock: SimulatedClock, say: Callable[[Message], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._say = say
        self._moments = 0
        self.found = store.seq
        self.told_again = 0

    async def record(self, journal: Journal, prints: tuple[Print, ...]) -> None:
        orders: list[_Submitted] = []
        fills: list[_Submitted] = []
        for group in journal.moment(prints):
            if group.last_seq < self.found:
                continue
            if group.first_seq <= self.found:
                self._check(group, journal)
                if not group.is_order:
                    await self._durable([(group, self._submit(group), True)])
                continue
            if not group.is_order and orders:
                await self._durable(orders)
                self._say(Sent(orders[-1][0].last_seq))
                orders = []
            self._clock.set(group.time)
            if group.is_order:
                orders.append((group, self._submit(group), False))
            else:
                fills += ((group, self._submit(group), again) for again in (False, True))
        await self._durable(fills)
        if fills:
            self._say(Acknowledged(fills[-1][0].last_seq))
            self._moments += 1
            if self._moments % STATS_EVERY == 0:
                self._say(Progress(self._store.stats(), self.told_again))

    def _submit(self, group: Group) -> Receipt:
        return self._store.submit(*group.operations, key=group.key)

    async def _durable(self, submitted: list[_Submitted]) -> None:
        """Wait for the groups, and check the number of each. A repeated one is a duplicate."""
        for group, receipt, again in submitted:
            await receipt
            if (receipt.seq, receipt.duplicate) != (group.last_seq, again):
                raise DemoError(f"{receipt!r} is not event {group.last_seq} of the journal")
            self.told_again += again

    def _check(self, group: Group, journal: Journal) -> None:
        """Check, where the journal has reached the end of the store, that both agree.

        The accounts must agree, and the orders that were sent and not filled.
        """
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
        found = [doubt.id for doubt in self._store.recovery.in_doubt]
        if found != journal.open_orders:
            raise DemoError(
                f"the orders in doubt at event {self.found} are {found}, but this tape leaves "
                f"{journal.open_orders} open"
            )
        self._say(Ready(_plain(self._store.recovery), len(found)))


def _plain(report: RecoveryReport) -> RecoveryReport:
    """Return the report without the doubts, which are objects of the open store."""
    return msgspec.structs.replace(report, in_doubt=())


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
