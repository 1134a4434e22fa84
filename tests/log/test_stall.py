"""A disk that does not answer is told of while it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import EventLog
from eventstore.log.backpressure import Room
from eventstore.log.timers import StallWatch
from eventstore.testing.virtual_time import run_in_virtual_time
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

    def __init__(self) -> None:
        self.flight: object | None = None
        self.room = Room(100)
        loop = asyncio.get_running_loop()
        self.watch = StallWatch(loop, 1.0, "store", self.room, lambda: self.flight)

    def begin(self) -> None:
        self.flight = object()
        if not self.watch.armed:
            self.watch.arm()

    def end(self) -> None:
        self.flight = None


class TestWatch:
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
            assert told(caplog) == [warning]
            jobs.end()
            await asyncio.sleep(1.0)
            assert told(caplog)[1:] == ["store: the disk answered after 31.000 s"]
            assert (jobs.watch.stalled, jobs.watch.armed) == (0.0, False)

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
