"""A store without a log: snapshots are the only durable data, and the only duty.

After any crash, every event under a snapshot is there. Later events may be gone. Such a store may
begin to log, once. From then on the store is like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventstore import (
    ConfigError,
    Durability,
    Event,
    EventStore,
    HistoryUnavailableError,
    StoreClosedError,
    StoreConfig,
    StoreUsageError,
)
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import VirtualTimeLoop
from tests.stateful import draws
from tests.stateful.profile import PATIENCE, examples
from tests.torture.crash_points import Point
from tests.torture.ledger import Ledger, ledger_after, ledger_registry
from tests.torture.misuse import CALLS, MisusedClock
from tests.torture.oracle import Record

PATH = "ledger"


class SnapshotsOnlyMachine(RuleBasedStateMachine):
    """One store with `use_wal=False`, and one program that uses the store."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable()
        self.loop = VirtualTimeLoop(patience=PATIENCE)
        self.clock = MisusedClock(1_700_000_000_000_000_000)
        self.context = decimal.getcontext()
        self.called_by_handler: Callable[[], None] | None = None
        self.registry = ledger_registry(self._folded)
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
        with decimal.localcontext(self.context):
            made = self.loop.run_until_complete(step)
        assert self.loop.errors == []
        return made

    def _folded(self, event: Event[Any]) -> None:
        call, self.called_by_handler = self.called_by_handler, None
        if call is not None:
            call()

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
            EventStore.open(
                PATH, self.registry, config, disk=self.disk, clock=self.clock
            ).__aenter__()
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
            group = self._group(payloads)
            receipt = await self.opened.append(*group) if waits else self.opened.submit(*group)
            self._expect(group)
            assert receipt.seq == len(self.states) - 1
            await receipt

        self.run(appended())

    def _group(self, payloads: list[Any]) -> list[Any]:
        group = []
        for payload in payloads:
            self.number += 1
            group.append(msgspec.structs.replace(payload, number=self.number))
        return group

    def _expect(self, group: list[Any]) -> None:
        """Expect these events in the state from now on."""
        for payload in group:
            self.states.append(ledger_after(self.states[-1], payload))
        self.ends.append(len(self.states) - 1)

    @rule(
        payloads=draws.groups,
        name=st.sampled_from(sorted(CALLS)),
        by_clock=st.booleans(),
        lets_out=st.booleans(),
    )
    def call_the_store_in_mid_submission(
        self, payloads: list[Any], name: str, by_clock: bool, lets_out: bool
    ) -> None:
        """The call is refused. Its caller goes on, or lets the refusal out."""

        def call() -> None:
            try:
                CALLS[name](self.opened)
            except StoreUsageError:
                if lets_out:
                    raise
            else:
                raise AssertionError(f"a call of {name} in mid-submission was let in")

        async def called() -> bool:
            group = self._group(payloads)
            if by_clock:
                self.clock.call = call
            else:
                self.called_by_handler = call
            try:
                await self.opened.append(*group)
            except StoreUsageError:
                return True
            self._expect(group)
            return False

        assert self.run(called()) == lets_out

    @rule(moment=draws.moments, context=draws.contexts)
    def set_clock_and_decimal_context(self, moment: int, context: decimal.Context) -> None:
        self.clock.set(moment)
        self.context = context

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

    @rule(
        payloads=draws.groups,
        before=st.integers(0, 4),
        turns=st.integers(0, 8),
        snapshots=st.booleans(),
        config=draws.configs,
    )
    def close_beside_users(
        self,
        payloads: list[Any],
        before: int,
        turns: int,
        snapshots: bool,
        config: StoreConfig,
    ) -> None:
        """Cancel a closing after so many turns, while others use the store. Then close again."""
        store = self.opened

        async def appended() -> None:
            with contextlib.suppress(StoreClosedError):
                while True:
                    if snapshots:
                        await store.snapshot()
                    await store.flush()  # there is room
                    group = self._group(payloads)
                    receipt = store.submit(*group)
                    self._expect(group)
                    await receipt
                    await asyncio.sleep(0)  # one turn of the loop

        async def closes() -> None:
            await store.close()

        async def closed() -> None:
            appending = asyncio.ensure_future(appended())
            for _ in range(before):
                await asyncio.sleep(0)  # one turn of the loop
            closing = asyncio.ensure_future(closes())
            for _ in range(turns):
                await asyncio.sleep(0)  # one turn of the loop
            closing.cancel()
            await asyncio.wait([closing])
            await store.close()
            await appending

        self.run(closed())
        self.covered = len(self.states) - 1
        self.disk = self.disk.reopen()
        self.open(config)

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
                    self.registry,
                    msgspec.structs.replace(config, use_wal=False),
                    disk=self.disk.clone(),
                )
            except ConfigError:
                return True
            return False

        assert self.run(refused())


SnapshotsOnlyMachine.TestCase.settings = examples(30)
TestSnapshotsOnly = SnapshotsOnlyMachine.TestCase
