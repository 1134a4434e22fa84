"""A store without a log: snapshots are the only durable data, and the only duty.

After any crash, every event under a snapshot is there. Later events may be gone. Such a store may
begin to log, once. From then on the store is like any other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventstore import (
    ConfigError,
    Durability,
    EventStore,
    HistoryUnavailableError,
    SimulatedClock,
    StoreConfig,
)
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import VirtualTimeLoop
from tests.stateful import draws
from tests.stateful.profile import examples
from tests.torture.crash_points import Point
from tests.torture.ledger import Ledger, ledger_after, ledger_registry
from tests.torture.oracle import Record

PATH = "ledger"
_REGISTRY = ledger_registry()


class SnapshotsOnlyMachine(RuleBasedStateMachine):
    """One store with `use_wal=False`, and one program that uses the store."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable()
        self.loop = VirtualTimeLoop(patience=1e9)
        self.clock = SimulatedClock(1_700_000_000_000_000_000)
        self.states: list[Ledger] = [Ledger()]
        self.ends = [0]  # number of events after each group
        self.covered = 0
        self.logged_from: int | None = None
        self.number = 0
        self.store: EventStore[Ledger] | None = None

    def teardown(self) -> None:
        logging.disable(logging.NOTSET)
        if self.store is not None:
            self.run(self.store.close())
        self.loop.close()

    def run(self, step: Any) -> Any:
        made = self.loop.run_until_complete(step)
        assert self.loop.errors == []
        return made

    @property
    def opened(self) -> EventStore[Ledger]:
        assert self.store is not None
        return self.store

    @initialize(seed=st.integers(0, 2**16), config=draws.configs)
    def begin(self, seed: int, config: StoreConfig) -> None:
        self.disk = SimulatedDisk(seed)
        self.open(config)

    def open(self, config: StoreConfig) -> None:
        logged = self.logged_from is not None
        config = msgspec.structs.replace(
            config, use_wal=logged, history="keep", durability=Durability.COMMIT
        )
        self.store = self.run(
            EventStore.open(PATH, _REGISTRY, config, disk=self.disk, clock=self.clock).__aenter__()
        )
        count = self.opened.seq
        assert self.covered <= count < len(self.states)
        assert count in self.ends, "a group was torn"
        assert self.opened.state == self.states[count]
        del self.states[count + 1 :]
        self.ends = [end for end in self.ends if end <= count]
        self.covered = count

    @invariant()
    def the_state_is_that_of_its_events(self) -> None:
        if self.store is not None:
            assert self.store.seq == len(self.states) - 1
            assert self.store.state == self.states[-1]
            if self.logged_from is not None:
                self.covered = self.store.seq

    @rule(payloads=draws.groups, waits=st.booleans())
    def append(self, payloads: list[Any], waits: bool) -> None:
        async def appended() -> None:
            group = []
            for payload in payloads:
                self.number += 1
                group.append(msgspec.structs.replace(payload, number=self.number))
                self.states.append(ledger_after(self.states[-1], group[-1]))
            self.ends.append(len(self.states) - 1)
            receipt = await self.opened.append(*group) if waits else self.opened.submit(*group)
            assert receipt.seq == len(self.states) - 1
            await receipt

        self.run(appended())

    @rule()
    def snapshot(self) -> None:
        assert self.run(self.opened.snapshot()) == self.opened.seq
        self.covered = self.opened.seq

    @rule(seconds=st.sampled_from((0.6, 4.0)))
    def idle(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run(asyncio.sleep(seconds))

    @rule()
    def read(self) -> None:
        async def numbers(start: int) -> list[int]:
            return [event.seq async for event in self.opened.events(start)]

        async def refused(start: int) -> bool:
            try:
                return await numbers(start) == []
            except HistoryUnavailableError:
                return True

        last = self.opened.seq
        if self.logged_from is None:
            assert self.run(refused(1))
        else:
            assert self.run(numbers(self.logged_from)) == list(range(self.logged_from, last + 1))
            if self.logged_from > 1:
                assert self.run(refused(1))

    @rule(config=draws.configs)
    def close_and_open_again(self, config: StoreConfig) -> None:
        self.run(self.opened.close())
        self.covered = len(self.states) - 1
        self.disk = self.disk.reopen()
        self.open(config)

    @rule(image=draws.images, config=draws.configs)
    def crash(self, image: str, config: StoreConfig) -> None:
        claim = Record().claim()._replace(after_kill=self.covered, after_power_cut=self.covered)
        _, found, _ = Point(0, "before", self.disk.clone(), claim).image(image)
        self.run(self.opened.close())  # on the machine before the crash
        self.disk = found
        self.open(config)

    @precondition(lambda self: self.logged_from is None and self.store is not None)
    @rule(config=draws.configs)
    def begin_to_log(self, config: StoreConfig) -> None:
        self.run(self.opened.close())
        self.covered = len(self.states) - 1
        self.logged_from = len(self.states)
        self.disk = self.disk.reopen()
        self.open(config)

    @precondition(lambda self: self.logged_from is not None)
    @rule(config=draws.configs)
    def log_no_more(self, config: StoreConfig) -> None:
        """Refused: events would be written nowhere."""

        async def refused() -> bool:
            try:
                await EventStore.open(
                    PATH,
                    _REGISTRY,
                    msgspec.structs.replace(config, use_wal=False),
                    disk=self.disk.clone(),
                )
            except ConfigError:
                return True
            return False

        assert self.run(refused())


SnapshotsOnlyMachine.TestCase.settings = examples(30)
TestSnapshotsOnly = SnapshotsOnlyMachine.TestCase
