"""A program that lives and dies with a store: the common part of all workloads.

Theory of operation
-------------------
A `Program` opens a real store, or a log, on a simulated disk and goes through a few *lives*. A
life is an opening, steps, and an end. The end is a clean close, the death of the process or a power
cut. Each life has a decimal context of its own. An `oracle.Record` takes down the program's calls
and the answers. Each life begins by holding the recovered store against the record. The class of a
program decides which kind of store is opened, which steps are made and how the store is closed
(`misuse`, `workload`, `workload_kinds`).

A program runs on a `VirtualTimeLoop`, so that seed and faults decide every step and every call on
the disk.

A `tolerant` program goes on where the store reports an error. The program notes a refused commit
and tries the next one. A failed store is closed and opened again. For any other program, an error
is a broken promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
from collections.abc import Awaitable, Iterable, Mapping
from random import Random
from typing import Any, ClassVar
from unittest.mock import patch

from eventstore import (
    Durability,
    Event,
    EventStore,
    EventStoreError,
    Receipt,
    SimulatedClock,
    StoreConfig,
    StoreFailedError,
    StoreFullError,
    StoreOverloadedError,
)
from eventstore.log import spare
from eventstore.testing.faults import Call, Fault, Rule
from eventstore.testing.simulated_disk import SimulatedDisk
from tests.torture.ledger import Deposit, Transfer
from tests.torture.oracle import (
    Claim,
    OracleError,
    Record,
    Served,
    history_as_claimed,
    recovered_as_claimed,
    state_as_claimed,
)
from tests.torture.promised import Promised
from tests.torture.store_or_log import Opened, Subject, open_store
from tests.torture.surroundings import CONTEXTS, config_for

__all__ = ["BY_FORCE", "Program"]

BY_FORCE = ("kill", "power cut")
"""Ends of a life without a close."""

_ACCOUNTS = ("cash", "fees", "AAPL", "MSFT")


class Program:
    """One program. `steps` bounds the steps of each life."""

    kind: ClassVar[str] = ""
    """Prefix of the program's cases. Each kind draws from numbers of its own."""
    subject: ClassVar[Subject] = staticmethod(open_store)
    weights: ClassVar[Mapping[str, int]] = {}
    """Steps of the program, and how often each is made."""
    closes: ClassVar[tuple[str, ...]] = ("close",)
    """Ways to close the store at the end of a life."""

    def __init__(
        self,
        seed: int,
        disk: SimulatedDisk | None = None,
        *,
        lives: int | None = None,
        steps: int = 10,
        tolerant: bool = False,
    ) -> None:
        self.random = Random(f"{self.kind} {seed}" if self.kind else seed)
        self.seed = seed
        self.disk = disk if disk is not None else SimulatedDisk(seed, unnamed=True)
        self.config = self.configured(config_for(self.random))
        self.clock = SimulatedClock(1_700_000_000_000_000_000)
        self.record = Record(discards=self.config.history == "discard", logged=self.config.use_wal)
        self.store: Opened | None = None
        self.errors: list[EventStoreError] = []
        self.lives = self.random.choice((1, 2, 2, 3)) if lives is None else lives
        self._steps = steps
        self._tolerant = tolerant
        self._claim = self.record.claim()
        self.promised = Promised()
        self._background: list[asyncio.Task[Any]] = []
        self.watch: Rule | None = None
        self._machine: object = None
        self._begin_watching()

    def configured(self, config: StoreConfig) -> StoreConfig:
        """Adapt a configuration to this kind of program."""
        return config

    # Knowledge of the program.

    def claim(self) -> Claim:
        """Return the duty of the disk at this instant, also in the middle of a call."""
        store, record = self.store, self.record
        if store is None:  # being opened or closed: nothing was added since the last claim
            return self._claim
        if store.seq != record.published:
            self._publish(store.seq)
        if not record.logged:
            record.flushed = max(record.flushed, store.stats().snapshot_seq)
        else:
            self.promised.flush(record, self.config, self._now())
        return record.claim()

    def _publish(self, seq: int) -> None:
        if self.record.logged:
            self.promised.publish(self.record, self.config, seq, self._now())
        else:
            self.record.publish(seq)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _folded(self, event: Event[Any]) -> None:
        if self.store is not None:  # otherwise recovery folds
            self.record.observe(event)

    def _begin_watching(self) -> None:
        """Let `watch` see the calls on this machine, and no longer those on the one before."""
        machine = self._machine = object()

        def rule(call: Call) -> Fault | None:
            watched = self.watch is not None and self._machine is machine
            return self.watch(call) if watched and self.watch is not None else None

        self.disk.add_rule(rule)

    # Lives of the program.

    async def run(self) -> None:
        """Live all lives. At the end, the store is closed, and `disk` is the last disk.

        The first segment is so small that segments grow in a program of few events.
        """
        with patch.object(spare, "FIRST_SIZE", 4096):
            for life in range(self.lives):
                last = life == self.lives - 1
                with decimal.localcontext(self.random.choice(CONTEXTS)):
                    if not await self._live(last):
                        return

    async def _live(self, last: bool) -> bool:
        """Live one life. Returns whether the store could be opened."""
        if not await self.open():
            return False
        names, weights = list(self.weights), list(self.weights.values())
        for _ in range(1 + int(self.random.random() * self._steps)):
            self.clock.advance(0.001)
            await self.step(self.random.choices(names, weights)[0])
            if self._open().stats().failed:
                break
        await self.end(self.random.choice(self.closes if last else (*self.closes, *BY_FORCE)))
        return True

    async def step(self, name: str) -> None:
        """Make one step, by the step's name in `weights`."""
        await getattr(self, f"_{name}")()

    async def open(self) -> bool:
        """Open the store, and check the recovered events. Returns whether the store could be
        opened.
        """
        try:
            store = await self.subject(
                self.disk, self.config, clock=self.clock, observe=self._folded
            )
        except EventStoreError as error:
            self.disk = self.disk.reopen()  # a failed opening closes its disk
            self._report(error)
            return False
        try:
            await recovered_as_claimed(store, self._claim, self._claim.after_kill)
        except EventStoreError as error:
            await self._succeeds(store.close())
            self.disk = self.disk.reopen()
            self._report(error)
            return False
        except OracleError:
            with contextlib.suppress(EventStoreError):
                await store.close()
            raise
        self.record.reopened(store.seq)
        self.promised.reopened()
        self.store = store
        return True

    async def end(self, how: str) -> None:
        """End a life by one of `closes`, or `BY_FORCE`."""
        disk = self.disk
        if how in BY_FORCE:
            await self._end_by_force(how)
        else:
            await self._close(how)
            self.disk = disk.reopen()
        self._background.clear()

    async def _close(self, how: str) -> None:
        store = self._open()
        await self._succeeds(store.flush())
        await self._succeeds(asyncio.gather(*self._background))
        self._claim = self.claim()
        self.store = None
        if await self._succeeds(self.closing(store)):
            self._claim_all()

    def _claim_all(self) -> None:
        """Claim every published event: the store was closed in order."""
        count = self.record.published
        self._claim = self._claim._replace(after_kill=count, after_power_cut=count)

    async def _end_by_force(self, how: str) -> None:
        store, disk = self._open(), self.disk
        claim = self._claim = self.claim()
        self.store = None
        if how == "kill":
            self.disk = disk.after_kill()
        else:
            self.disk = disk.after_power_cut(self.random.getrandbits(16))
            self._claim = claim._replace(after_kill=claim.after_power_cut)
        self._begin_watching()
        # the end of a killed store is of no interest
        with contextlib.suppress(EventStoreError):
            await store.close()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def closing(self, store: Opened) -> None:
        """Close a store without users."""
        await store.close()

    def _open(self) -> Opened:
        assert self.store is not None
        return self.store

    # Calls on the store.

    def options(self, group: int | None) -> Mapping[str, Any]:
        """Return further arguments of the call that submits a group, `None` for a known one."""
        return {}

    def _small_count(self) -> int:
        return self.random.randint(1, 4)

    def _operations(self, count: int) -> tuple[int, list[Any]]:
        random = self.random
        group, numbers = self.record.new_group(count)
        operations: list[Any] = []
        for number in numbers:
            account, amount = random.choice(_ACCOUNTS), random.randrange(1000)
            if random.random() < 0.3:
                operations.append(
                    Transfer(number=number, source=account, target="cash", amount=amount)
                )
            else:
                size = random.choice((0, 5, 40, 40, 300, 900, 1800, 5000 if count == 1 else 0))
                memo = f"{number}:".ljust(size, "x") if size else ""
                operations.append(Deposit(number=number, account=account, amount=amount, memo=memo))
        return group, operations

    async def _appended(self, count: int) -> None:
        group, operations = self._operations(count)
        key = f"group {group}" if group % 3 == 0 else None
        await self._succeeds(self._acknowledged(group, operations, key), group)

    async def _acknowledged(self, group: int, operations: Iterable[Any], key: str | None) -> None:
        store = self._open()
        receipt = await store.append(*operations, key=key, **self.options(group))
        if not receipt.seq <= store.seq:
            raise OracleError(f"event {receipt.seq} was acknowledged, {store.seq} published")
        self.record.keep(store)
        known = isinstance(store, EventStore) and self.config.keys.remember.events is None
        if key is not None and group % 2 and known:  # as after a time-out
            options = self.options(None)
            again = await store.append(*operations, key=key, **options)
            if (again.seq, again.duplicate) != (receipt.seq, True):
                raise OracleError(f"event {receipt.seq} was written again: {again}")
            waited = options.get("durability") is Durability.COMMIT
            if waited and self.record.logged and store is self.store:
                self.record.flushed = max(self.record.flushed, again.seq)

    def _submit(self, count: int) -> tuple[int, Receipt | None]:
        group, operations = self._operations(count)
        try:
            options = self.options(group)
            return group, self._open().submit(*operations, metadata={"group": group}, **options)
        except StoreOverloadedError:
            self.record.refuse(group)
        except EventStoreError as error:
            self._report(error)
        return group, None

    async def _succeeds(self, made: Awaitable[Any], group: int | None = None) -> bool:
        """Await a call that the store may refuse. Returns whether the call succeeded."""
        try:
            await made
        except StoreFullError as error:
            self._report(error)
            if group is not None:
                self.record.refuse(group)
            return False
        except EventStoreError as error:
            self._report(error)
            return False
        return True

    def _report(self, error: EventStoreError) -> None:
        if not self._tolerant:
            raise OracleError(f"{type(error).__name__}: {error}") from error
        self.errors.append(error)
        if isinstance(error, StoreFailedError) and self.store is not None:
            self.claim()

    # Steps of every kind of program.

    async def _append(self) -> None:
        await self._appended(1)

    async def _group(self) -> None:
        await self._appended(self.random.randint(2, 5))

    async def _burst(self) -> None:
        receipts = [self._submit(self.random.choice((1, 1, 3))) for _ in range(self._small_count())]
        await asyncio.sleep(0)
        for group, receipt in receipts[self.random.choice((0, 0, len(receipts))) :]:
            if receipt is not None:
                await self._succeeds(receipt, group)

    async def _crowd(self) -> None:
        async def appender(count: int) -> None:
            for _ in range(count):
                await self._appended(1)

        await asyncio.gather(*(appender(self._small_count()) for _ in range(self._small_count())))

    async def _cancel(self) -> None:
        tasks = [asyncio.ensure_future(self._appended(1)) for _ in range(self._small_count())]
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        for task in tasks[:: self.random.choice((1, 2))]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _flush(self) -> None:
        count = len(self.record.submitted)
        if await self._succeeds(self._open().flush()) and not self._tolerant and self.record.logged:
            self.record.flushed = max(self.record.flushed, count)

    async def _read(self) -> None:
        store = self._open()
        first = self.random.randint(1, max(1, store.seq)) if self._claim.keeps_history else None
        if first is not None:
            submit = self.random.random() < 0.5
            seq = first
            try:
                async for event in store.events(first):
                    if event != self.record.submitted[seq - 1].event:
                        raise OracleError(f"while writing, event {seq} was read as {event}")
                    if submit and seq == first:
                        self._submit(1)
                    seq += 1
            except EventStoreError as error:
                self._report(error)

    async def _follow(self) -> None:
        """Let another process read the store while this process writes."""
        other = self.disk.reopen()
        required = self.claim().after_kill
        try:
            reader = await self.subject(other, self.config, read_only=True)
            try:
                state_as_claimed(Served.by(reader), self.claim(), required)
                if not self.record.discards:
                    await history_as_claimed(reader, self.claim())
            finally:
                await reader.close()
        except EventStoreError as error:
            self._report(error)

    async def _idle(self) -> None:
        seconds = self.random.choice((0.01, 0.06, 0.6, 4.0))
        self.clock.advance(seconds)
        await asyncio.sleep(seconds)
