"""A bare log, used in every way: any values, in batches, read back from any number.

The model is a list of the events. After a crash the log holds a prefix of the list, of whole
batches, with every acknowledged event. In the looser modes, a power cut leaves at least the flushed
events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventstore import (
    ConfigError,
    Durability,
    Event,
    EventLog,
    InvalidPayloadError,
    Receipt,
    StoreClosedError,
    StoreConfig,
    StoreLockedError,
    StoreOverloadedError,
    StoreReadOnlyError,
    StoreUsageError,
)
from eventstore.clock import LATEST
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import VirtualTimeLoop
from tests.stateful import draws
from tests.stateful.profile import PATIENCE, examples
from tests.torture.crash_points import Point
from tests.torture.misuse import CALLS, MisusedClock
from tests.torture.oracle import Record

PATH = "log"

_REFUSED: tuple[tuple[Any, ...], ...] = ((), (object(),), (1, 2**64), ("\ud800",), ({1: object()},))
_batches = st.lists(draws.values, min_size=1, max_size=5)


class LogMachine(RuleBasedStateMachine):
    """One log, and one program that uses the log."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable()
        self.loop = VirtualTimeLoop(patience=PATIENCE)
        self.clock = MisusedClock(1_700_000_000_000_000_000)
        self.events: list[Event[Any]] = []
        self.batches: list[int] = [0]  # number of events after each batch
        self.receipts: list[Receipt] = []
        self.acknowledged = self.flushed = 0
        self.log: EventLog[Any] | None = None

    def teardown(self) -> None:
        logging.disable(logging.NOTSET)
        if self.log is not None:
            self.run(self.log.close())
        self.loop.close()

    def run(self, step: Any) -> Any:
        made = self.loop.run_until_complete(step)
        assert self.loop.errors == []
        return made

    @property
    def opened(self) -> EventLog[Any]:
        assert self.log is not None
        return self.log

    @initialize(seed=st.integers(0, 2**16), config=draws.configs)
    def begin(self, seed: int, config: StoreConfig) -> None:
        self.disk = SimulatedDisk(seed)
        self.open(config, 0)

    def open(self, config: StoreConfig, required: int) -> None:
        """Open the log. At least `required` of the submitted events are there."""
        self.config = config
        self.log = self.run(
            EventLog.open(PATH, config=config, disk=self.disk, clock=self.clock).__aenter__()
        )
        count = self.opened.seq
        assert required <= count <= len(self.events)
        assert count in self.batches, "a batch was torn"
        del self.events[count:]
        self.batches = [end for end in self.batches if end <= count]
        self.receipts.clear()
        self.acknowledged = self.flushed = count
        assert self.run(self.found(1, None)) == self.events

    async def found(self, start: int, stop: int | None) -> list[Event[Any]]:
        return [event async for event in self.opened.read(start, stop)]

    @invariant()
    def only_what_is_durable_is_seen(self) -> None:
        if self.log is None:
            return
        seq = self.log.seq
        done = [receipt.seq for receipt in self.receipts if receipt.done]
        self.acknowledged = max([self.acknowledged, *done])
        assert self.acknowledged <= seq <= len(self.events)
        assert all(receipt.error is None for receipt in self.receipts)
        if self.config.durability is Durability.COMMIT:
            self.flushed = seq
        worst = next(self.disk.images(limit=1))
        reader = self.run(EventLog.open(PATH, disk=worst, read_only=True).__aenter__())
        assert self.flushed <= reader.seq <= len(self.events)
        self.run(reader.close())

    # ---- writing ---------------------------------------------------------------------------

    def _expect(self, values: list[Any], key: str | None, metadata: Any) -> None:
        """Expect these events in the log from now on, unless a crash cuts the log before them."""
        first, time = len(self.events) + 1, self.clock.present_ns()
        self.events += [
            Event(seq, time, value, key, metadata) for seq, value in enumerate(values, first)
        ]
        self.batches.append(len(self.events))

    @rule(values=_batches, key=draws.keys, metadata=draws.metadata)
    def append(self, values: list[Any], key: str | None, metadata: Any) -> None:
        receipt = self.run(self._append(values, key, metadata))
        assert (receipt.first_seq, receipt.seq) == (
            len(self.events) - len(values) + 1,
            len(self.events),
        )
        assert receipt.seq <= self.opened.seq

    async def _append(self, values: list[Any], key: str | None = None, metadata: Any = None) -> Any:
        self._expect(values, key, metadata)
        return await self.opened.append(*values, key=key, metadata=metadata)

    @rule(batches=st.lists(_batches, min_size=1, max_size=4))
    def submit(self, batches: list[list[Any]]) -> None:
        async def submitted() -> None:
            for values in batches:
                try:
                    receipt = self.opened.submit(*values)
                except StoreOverloadedError:
                    assert self.config.max_pending == 6
                else:
                    self._expect(values, None, None)
                    self.receipts.append(receipt)

        self.run(submitted())

    @rule(size=st.sampled_from((3_000, 5_000, 20_000)))
    def append_what_is_longer_than_a_segment(self, size: int) -> None:
        self.run(self._append([b"\0" * size]))

    @rule(values=_batches, turns=st.integers(0, 3))
    def cancel(self, values: list[Any], turns: int) -> None:
        """Cancel an append. The events are in the log all the same, because there was room."""

        async def cancelled() -> None:
            await self.opened.flush()
            task = asyncio.ensure_future(self._append(values))
            await asyncio.sleep(0)  # one turn of the loop
            for _ in range(turns):
                await asyncio.sleep(0)  # one turn of the loop
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self.run(cancelled())

    @rule(values=st.sampled_from(_REFUSED))
    def append_what_is_refused(self, values: tuple[Any, ...]) -> None:
        async def refused() -> bool:
            try:
                await self.opened.append(*values)
            except InvalidPayloadError:
                return True
            return False

        assert self.run(refused())

    @rule(
        queued=st.lists(_batches, min_size=1, max_size=4),
        waiting=st.lists(st.one_of(st.none(), _batches), min_size=2, max_size=5),
        cancels=st.booleans(),
    )
    def wait_for_room(
        self, queued: list[list[Any]], waiting: list[list[Any] | None], cancels: bool
    ) -> None:
        """Good and refused (`None`) appends wait, and the refused ones may be cancelled in line."""

        async def refused() -> None:
            try:
                await self.opened.append(*range(5), 2**64)  # the smaller queue holds six
            except InvalidPayloadError:
                return
            raise AssertionError("a value that cannot be encoded was appended")

        async def waited() -> None:
            for values in queued:
                with contextlib.suppress(StoreOverloadedError):
                    self.opened.submit(*values)
                    self._expect(values, None, None)
            tasks = [
                asyncio.ensure_future(refused() if values is None else self._append(values))
                for values in waiting
            ]
            await asyncio.sleep(0)  # one turn of the loop
            for task, wanted in zip(tasks, waiting, strict=True):
                if cancels and wanted is None:
                    task.cancel()
            for told in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(told, Exception):
                    raise told
            assert self.loop.time() == began, "there was room, and nobody who waited was told"
            await self.opened.flush()
            assert self.opened.stats().pending == 0

        began = self.loop.time()
        self.run(waited())

    @rule(values=_batches, name=st.sampled_from(sorted(CALLS)), lets_out=st.booleans())
    def call_the_log_in_mid_submission(self, values: list[Any], name: str, lets_out: bool) -> None:
        """The call is refused. The clock that makes it goes on, or lets the refusal out."""

        def call() -> None:
            try:
                CALLS[name](self.opened)
            except StoreUsageError:
                if lets_out:
                    raise
            else:
                raise AssertionError(f"a call of {name} in mid-submission was let in")

        async def called() -> bool:
            await self.opened.flush()  # there is room
            self.clock.call = call
            try:
                receipt = self.opened.submit(*values)
            except StoreUsageError:
                return True
            self._expect(values, None, None)
            await receipt
            return False

        assert self.run(called()) == lets_out

    @rule(moment=draws.moments)
    def set_the_clock(self, moment: int) -> None:
        self.clock.set(moment)

    @rule()
    def append_at_an_impossible_time(self) -> None:
        async def refused() -> bool:
            try:
                await self.opened.append(1)
            except ConfigError:
                return True
            return False

        now = self.clock.time_ns()
        self.clock.set(LATEST + 1)
        assert self.run(refused())
        self.clock.set(now)

    @rule()
    def flush(self) -> None:
        self.run(self.opened.flush())
        assert self.opened.seq == self.flushed or self.opened.seq == len(self.events)
        self.flushed = len(self.events)

    @rule(seconds=st.sampled_from((0.06, 0.6, 4.0)))
    def idle(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run(asyncio.sleep(seconds))

    # ---- reading ---------------------------------------------------------------------------

    @rule(start=st.integers(-1, 60), length=st.one_of(st.none(), st.integers(0, 20)))
    def read(self, start: int, length: int | None) -> None:
        stop = None if length is None else start + length
        last = self.opened.seq
        end = last + 1 if stop is None else min(stop, last + 1)
        expected = self.events[max(start, 1) - 1 : max(end, 1) - 1]
        assert self.run(self.found(start, stop)) == expected

    @rule()
    def open_for_reading_and_for_writing(self) -> None:
        """Any number of readers, and one writer."""

        async def others() -> None:
            async with EventLog.open(PATH, disk=self.disk.reopen(), read_only=True) as reader:
                assert self.opened.seq <= reader.seq <= len(self.events)
                try:
                    await reader.append(1)
                except StoreReadOnlyError:
                    pass
                else:
                    raise AssertionError("a reader wrote")
            try:
                await EventLog.open(PATH, disk=self.disk.reopen())
            except StoreLockedError:
                return
            raise AssertionError("two writers")

        before = self.disk.contents()
        self.run(others())
        assert self.disk.contents() == before

    # ---- ends ------------------------------------------------------------------------------

    @rule(values=_batches, before=st.integers(0, 4), turns=st.integers(0, 8), config=draws.configs)
    def close_beside_an_appender(
        self, values: list[Any], before: int, turns: int, config: StoreConfig
    ) -> None:
        """Cancel a closing after so many turns, while another task appends. Then close again."""
        log = self.opened

        async def appended() -> None:
            with contextlib.suppress(StoreClosedError):
                while True:
                    await log.flush()  # there is room
                    receipt = log.submit(*values)
                    self._expect(values, None, None)
                    await receipt

        async def closed() -> None:
            appending = asyncio.ensure_future(appended())
            for _ in range(before):
                await asyncio.sleep(0)  # one turn of the loop
            closing = asyncio.ensure_future(closes())
            for _ in range(turns):
                await asyncio.sleep(0)  # one turn of the loop
            closing.cancel()
            await asyncio.wait([closing])
            await log.close()
            await appending

        async def closes() -> None:
            await log.close()

        self.run(closed())
        self.disk = self.disk.reopen()
        self.open(config, len(self.events))

    @rule(config=draws.configs)
    def close_and_open_again(self, config: StoreConfig) -> None:
        self.run(self.opened.close())
        assert all(receipt.done and receipt.error is None for receipt in self.receipts)
        self.disk = self.disk.reopen()
        self.open(config, len(self.events))

    @rule(image=draws.images, config=draws.configs)
    def crash(self, image: str, config: StoreConfig) -> None:
        claim = Record().claim()._replace(after_kill=self.opened.seq, after_power_cut=self.flushed)
        point = Point(0, "before", self.disk.clone(), claim)
        _, found, required = point.image(image)
        self.run(self.opened.close())  # on the machine before the crash
        self.disk = found
        self.open(config, required)
        again = next(self.disk.images(limit=1))
        assert self.run(self._seq(again)) == self.opened.seq

    async def _seq(self, disk: SimulatedDisk) -> int:
        async with EventLog.open(PATH, disk=disk) as log:
            return log.seq


LogMachine.TestCase.settings = examples(40)
TestLog = LogMachine.TestCase
