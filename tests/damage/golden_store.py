"""A small store that has everything, closed cleanly: the victim of the damage tests.

The store has six lives of a program. There are twelve events, alone and in groups, an idle seal in
the middle of two segments, and three snapshots, of which the last two are kept. The configuration
`history` decides the fate of the older segments. Everything is on a simulated disk, from a seed.
Another seed gives another store of the same shape.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Literal, NamedTuple

from eventstore import Event, EventStore, SimulatedClock, StoreConfig
from eventstore.disk.manifest import load_manifest
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.ledger import Deposit, Ledger, ledger_registry

PATH = "golden"
REGISTRY = ledger_registry()
LIVES = ("1 idle 1", "1 2 snapshot", "1 1 snapshot", "1", "1 snapshot idle 1", "2")
History = Literal["archive", "keep", "discard"]


class Golden(NamedTuple):
    """A closed store, and the facts about it. `events` are those still in the history."""

    disk: SimulatedDisk
    config: StoreConfig
    clock: SimulatedClock
    state: Ledger
    seq: int
    events: list[Event[Any]]

    @property
    def first(self) -> int:
        """Number of the first event that can be read."""
        return self.events[0].seq

    @property
    def snapshots(self) -> list[str]:
        """The snapshots' names, the oldest first."""
        return [name for name in self.disk.files() if name.startswith("snapshots/")]

    @property
    def segments(self) -> list[str]:
        """The segments' names, the oldest first."""
        return [name for name in self.disk.files() if name.startswith("log/0")]

    @property
    def archives(self) -> list[str]:
        """The archives' names, the oldest first."""
        return [name for name in self.disk.files() if name.startswith("archive/")]


@functools.cache
def golden(history: History, seed: int = 1, retain: int = 2, lives: int = len(LIVES)) -> Golden:
    """Return the golden store, or its first `lives`. `retain` is the number of snapshots kept.

    The store is made once, and every caller gets the same. Clone the disk to use the store.
    """
    return run_in_virtual_time(_golden(history, seed, retain, lives))


async def _golden(history: History, seed: int, retain: int, lives: int) -> Golden:
    disk = SimulatedDisk(seed, PATH)
    clock = SimulatedClock(1_700_000_000_000_000_000)
    config = StoreConfig(
        segment_size=4096,
        backup_count=retain,
        wal_max_entries=None,
        auto_save_interval=None,
        idle_seal=0.5,
        history=history,
    )
    number = 0
    for life in LIVES[:lives]:
        async with EventStore.open(PATH, REGISTRY, config, disk=disk, clock=clock) as store:
            for step in life.split():
                clock.advance(1)
                if step == "snapshot":
                    await store.snapshot()
                elif step == "idle":
                    await asyncio.sleep(1)
                else:
                    numbers = range(number + 1, number + 1 + int(step))
                    number = numbers[-1]
                    await store.append(
                        *(Deposit(number=n, account="cash", amount=n) for n in numbers)
                    )
        disk = disk.reopen()
    async with EventStore.open(PATH, REGISTRY, config, disk=disk.clone(), clock=clock) as store:
        first = load_manifest(disk).history_start
        events = [event async for event in store.events(first)]
        return Golden(disk, config, clock, store.state, store.seq, events)
