"""A disk that does not answer is told of while it does not answer, and to those who wait for it."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventLog, EventStore, OutcomeUnknownError, Receipt, StoreConfig
from eventstore.log.backpressure import Room
from eventstore.log.base import Numbers, Record
from eventstore.log.stall_watch import CommitWatch
from eventstore.model.operation import Outcome
from eventstore.standing_warnings import StandingWarnings
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.support.bank import bank_registry, pay
from tests.support.gates import GatedDisk, commits

SLOW = 0.05


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.001)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "the disk" in record.message]


class Jobs:
    """The job in flight, as a group commit shows it, and the watch over it."""

    def __init__(self, **config: Any) -> None:
        self.flight: object | None = None
        self.room = Room(100)
        self.numbers = Numbers(0)
        self.left: list[Record] = []
        self.warnings = StandingWarnings("store")
        self.watch = CommitWatch(
            asyncio.get_running_loop(),
            StoreConfig(**{"slow_sync": 1.0, **config}),
            self.warnings,
            self.room,
            self.numbers,
            lambda: self.flight,
            lambda: self.left,
        )

    def submit(self) -> Receipt:
        seq = self.numbers.head = self.numbers.head + 1
        outcome = Outcome()
        self.left.append(Record(outcome))
        return Receipt(seq, seq, 0, outcome)

    def begin(self) -> None:
        self.flight = object()
        if not self.watch.armed:
            self.watch.arm()

    def end(self) -> None:
        self.flight = None


class TestStalls:
    """In virtual time, so that the moments are exact."""

    def test_one_job_that_hangs_is_told_once_and_at_its_end(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def run() -> None:
            jobs = Jobs()
            jobs.begin()
            jobs.room.pending = 7
            await asyncio.sleep(0.99)
            assert (told(caplog), jobs.watch.stalled) == ([], 0.0)
            await asyncio.sleep(0.02)
            (warning,) = told(caplog)
            assert warning.startswith("store: the disk has not answered for 1.000 s, and 7 events")
            await asyncio.sleep(29.4)
            assert jobs.watch.stalled == pytest.approx(30.41)
            assert jobs.warnings.texts == (warning.removeprefix("store: "),)
            assert told(caplog) == [warning]
            jobs.end()
            await asyncio.sleep(1.0)
            assert told(caplog)[1:] == ["store: the disk answered after 31.000 s"]
            assert (jobs.watch.stalled, jobs.watch.armed) == (0.0, False)
            assert not jobs.warnings.texts

        run_in_virtual_time(run())

    def test_one_behind_others_is_told_within_twice_the_time(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def run() -> None:
            jobs = Jobs()
            for _ in range(100):
                jobs.begin()
                await asyncio.sleep(0.033)
                jobs.end()
            jobs.begin()
            await asyncio.sleep(2.0)
            assert len(told(caplog)) == 1

        run_in_virtual_time(run())

    def test_many_quick_ones_are_not(self, caplog: pytest.LogCaptureFixture) -> None:
        async def run() -> None:
            jobs = Jobs()
            for _ in range(100):
                jobs.begin()
                await asyncio.sleep(0.033)
            jobs.end()
            await asyncio.sleep(1.0)
            assert (told(caplog), jobs.watch.armed) == ([], False)

        run_in_virtual_time(run())

    def test_another_that_hangs_is_told_again(self, caplog: pytest.LogCaptureFixture) -> None:
        async def run() -> None:
            jobs = Jobs()
            for _ in range(2):
                jobs.begin()
                await asyncio.sleep(2.5)
            assert ["not answered" in text for text in told(caplog)] == [True, False, True]

        run_in_virtual_time(run())


QUEUES = ((50, False), (51, True), (99, True), (40, True), (26, True), (25, False), (60, True))


class TestQueue:
    def test_a_queue_past_half_is_told_once_and_at_its_end(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def run() -> None:
            jobs = Jobs()
            for pending, standing in QUEUES:
                jobs.begin()
                jobs.room.pending = pending
                await asyncio.sleep(1.0)
                assert jobs.warnings.stands("queue") is standing, pending
            jobs.end()
            jobs.room.pending = 0
            await asyncio.sleep(1.0)
            assert not jobs.warnings.texts

        run_in_virtual_time(run())
        lines = [
            record.message for record in caplog.records if "wait to be written" in record.message
        ]
        assert [line.partition(" (")[0] for line in lines] == [
            "store: 51 of at most 100 events",
            "store: 25 events wait to be written",
            "store: 60 of at most 100 events",
            "store: 0 events wait to be written",
        ]


async def ends(receipt: Receipt) -> tuple[float, object]:
    """The moment at which an await of the receipt ends, and the outcome."""
    loop = asyncio.get_running_loop()
    try:
        await receipt
    except OutcomeUnknownError as error:
        return loop.time(), error
    return loop.time(), None


class TestCommitTimeout:
    """In virtual time. A tick comes four times in a timeout, at least."""

    def test_who_waits_so_long_is_told_that_the_outcome_is_unknown(self) -> None:
        async def run() -> None:
            jobs = Jobs(commit_timeout=8.0)
            first = jobs.submit()
            jobs.begin()
            waiting = [asyncio.create_task(ends(first)) for _ in range(2)]
            await asyncio.sleep(2.9)
            behind = jobs.submit()
            later = asyncio.create_task(ends(behind))
            await asyncio.sleep(5.0)
            assert not any(task.done() for task in waiting)
            told = [await task for task in waiting]
            assert [when for when, _ in told] == [8.0, 8.0]
            errors = [error for _, error in told]
            assert errors[0] is not errors[1], "no two waiters share a traceback"
            for error in errors:
                assert isinstance(error, OutcomeUnknownError)
                assert (error.path, error.waited, error.receipt) == ("store", 8.0, first)
                assert "event 1 will be in the log is unknown" in str(error)
            when, error = await later
            assert (when, type(error)) == (11.0, OutcomeUnknownError)
            assert [first.done, behind.done] == [False, False]

        run_in_virtual_time(run())

    def test_whoever_awaits_again_waits_for_the_outcome(self) -> None:
        async def run() -> None:
            jobs = Jobs(commit_timeout=1.0)
            receipt = jobs.submit()
            jobs.begin()
            with pytest.raises(OutcomeUnknownError) as told:
                await receipt
            again = asyncio.create_task(_awaited(told.value.receipt))
            await asyncio.sleep(100.0)
            assert not again.done()
            receipt.resolve()
            assert await again is receipt

        run_in_virtual_time(run())

    def test_whoever_awaits_late_is_told_at_once(self) -> None:
        async def run() -> None:
            jobs = Jobs(commit_timeout=1.0)
            receipt = jobs.submit()
            jobs.begin()
            await asyncio.sleep(5.0)
            with pytest.raises(OutcomeUnknownError):
                await receipt
            again = asyncio.create_task(_awaited(receipt))
            await asyncio.sleep(5.0)
            receipt.resolve()
            assert await again is receipt

        run_in_virtual_time(run())

    def test_an_outcome_that_came_meanwhile_wins(self) -> None:
        async def run() -> None:
            jobs = Jobs(commit_timeout=1.0)
            receipt = jobs.submit()
            jobs.begin()
            await asyncio.sleep(5.0)
            receipt.resolve()
            assert await receipt is receipt

        run_in_virtual_time(run())

    def test_many_quick_jobs_leave_nobody_in_the_dark(self) -> None:
        async def run() -> None:
            jobs = Jobs(commit_timeout=1.0)
            receipt = jobs.submit()
            waiting = asyncio.create_task(ends(receipt))
            for _ in range(20):
                jobs.begin()
                await asyncio.sleep(0.7)
                jobs.end()
            assert not waiting.done(), "no single job took so long"
            receipt.resolve()
            await waiting

        run_in_virtual_time(run())

    def test_without_a_timeout_everybody_waits(self) -> None:
        async def run() -> None:
            jobs = Jobs()
            receipt = jobs.submit()
            jobs.begin()
            waiting = asyncio.create_task(ends(receipt))
            await asyncio.sleep(1e4)
            assert not waiting.done()
            receipt.resolve()
            await waiting

        run_in_virtual_time(run())

    def test_the_error_goes_to_another_process_without_its_receipt(self) -> None:
        error = OutcomeUnknownError("m", path="p", waited=1.5, receipt=Receipt(1, 1, 0))
        copied = pickle.loads(pickle.dumps(error))
        assert (str(copied), copied.path, copied.waited, copied.receipt) == ("m", "p", 1.5, None)


async def _awaited(receipt: Any) -> Any:
    return await receipt


async def patiently(append: Awaitable[Receipt]) -> None:
    """Wait for the outcome of an append on a real disk, which may be slow at any time."""
    unknown: OutcomeUnknownError | None = None
    try:
        await append
    except OutcomeUnknownError as error:
        unknown = error
    if unknown is not None:
        assert unknown.receipt is not None
        await unknown.receipt


@pytest.mark.asyncio
async def test_a_commit_that_takes_too_long(tmp_path: Path) -> None:
    """The store goes on: nothing is lost, and nothing is there twice."""
    disk = GatedDisk(tmp_path, commits)
    opening = EventStore.open(tmp_path, bank_registry(), disk=disk, commit_timeout=SLOW)
    async with opening as store:
        await patiently(store.append(pay(1)))
        disk.gate.shut()
        with pytest.raises(OutcomeUnknownError) as told:
            await store.append(pay(2))
        with pytest.raises(OutcomeUnknownError):
            await store.append(pay(3))
        assert (store.seq, store.head_seq, store.stats().pending) == (1, 3, 2)
        assert not store.stats().failed
        disk.gate.open()
        assert told.value.receipt is not None
        await told.value.receipt
        await patiently(store.append(pay(4)))
        await store.flush()
        assert (store.seq, store.stats().pending) == (4, 0)
        assert [event.data.amount async for event in store.events()] == [1, 2, 3, 4]


@pytest.mark.asyncio
async def test_a_sync_that_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = GatedDisk(tmp_path, commits)
    async with EventLog.open(disk=disk, slow_sync=SLOW) as log:
        await log.append(b"one")
        await until(lambda: not log.stats().stalled)
        caplog.clear()  # a disk that was slow for real
        disk.gate.shut()
        receipts = [log.submit(b"two"), log.submit(b"three")]
        await until(lambda: told(caplog))
        assert "2 events wait" in told(caplog)[0]
        stats = log.stats()
        assert (stats.stalled >= SLOW, stats.pending) == (True, 2)
        assert [text for text in stats.warnings if "has not answered" in text]
        disk.gate.open()
        for receipt in receipts:
            await receipt
        await until(lambda: not log.stats().stalled)
        assert "the disk answered after" in told(caplog)[-1]


@pytest.mark.asyncio
@pytest.mark.parametrize("what", ["beginning a segment", "closing"])
async def test_any_other_step_that_hangs(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    disk = GatedDisk(tmp_path, lambda call, name: call == "write" and name.startswith("log/"))
    log = await EventLog.open(disk=disk, slow_sync=SLOW, segment_size=4096)
    if what == "beginning a segment":
        disk.gate.shut()
        waiting: asyncio.Future[object] = asyncio.ensure_future(log.append(b"one"))
    else:
        await log.append(b"one")
        await until(lambda: log.stats().spare_ready)
        disk.gate.shut()
        waiting = asyncio.ensure_future(log.close())
    try:
        await until(lambda: told(caplog))
    finally:
        disk.gate.open()
    await waiting
    await log.close()


@pytest.mark.asyncio
async def test_an_idle_log_is_not_watched(tmp_path: Path) -> None:
    async with EventLog.open(tmp_path, slow_sync=SLOW, idle_seal=3600.0) as log:
        await log.append(b"one")
        watch = log._log.appender.watch
        await until(lambda: not watch.armed)
        await until(lambda: watch.stalled == 0.0)  # a real disk may have been slow
