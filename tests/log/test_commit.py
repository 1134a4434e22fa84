"""Group commit from the side of appends: sharing, waiting, failing, and every end of a log."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import shared_threads
from eventstore.config import Durability
from eventstore.disk.base import Bytes
from eventstore.disk.layout import segment_name
from eventstore.disk.local import LocalDisk
from eventstore.disk.local_file import LocalFile
from eventstore.errors import (
    EventStoreError,
    StoreClosedError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StoreOverloadedError,
)
from eventstore.event_log import EventLog
from eventstore.history import read_events
from eventstore.log import runner
from eventstore.log.format import HEADER_SIZE, SealKind, SegmentHeader
from eventstore.log.tail_verdict import Clean, classify_tail
from eventstore.shared_threads import Crew
from eventstore.testing import Call, Fault, SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.log.samples import open_on, values_on
from tests.support.endings import end_of

ROOT = Path(__file__).resolve().parent.parent.parent
SEGMENT = segment_name(1)
PATIENCE = 20.0
SMALL: dict[str, Any] = {"segment_size": 1 << 16, "idle_seal": 3600.0, "slow_sync": 3600.0}
"""Options for segments that are zero-filled in no time. On a slow disk, nothing is sealed idle, and
no warning tells of it.
"""


class WatchedFile(LocalFile):
    """A file that reports its calls to the disk. The disk may hold a call, or make it fail."""

    __slots__ = ("_disk",)

    def __init__(self, fd: int, name: str, disk: WatchedDisk) -> None:
        super().__init__(fd, name, disk.path)
        self._disk = disk

    def write(self, offset: int, data: Bytes) -> int:
        self._disk.entered("write", self.name)
        return super().write(offset, data)

    def sync(self) -> None:
        self._disk.entered("sync", self.name)
        super().sync()


class WatchedDisk(LocalDisk):
    """A real directory. Writes and syncs are recorded, and can be held or made to fail."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True)
        self.calls: list[Call] = []
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self._held = ""
        self._failures: dict[str, int] = {}

    def entered(self, kind: str, name: str) -> None:
        self.calls.append(Call(kind, name))
        if name == self._held:
            self.arrived.set()
            assert self.gate.wait(PATIENCE), "the test forgot to let go"
        code = self._failures.pop(kind, None) if name == SEGMENT else None
        if code is not None:
            raise OSError(code, os.strerror(code))

    def hold(self, name: str = SEGMENT) -> None:
        """Every write and sync of a file waits from now on."""
        self.gate.clear()
        self.arrived.clear()
        self._held = name

    def let_go(self) -> None:
        self._held = ""
        self.gate.set()

    def fail(self, *, kind: str, errno: int, name: str = SEGMENT) -> None:
        assert name == SEGMENT
        self._failures[kind] = errno

    def create(self, name: str) -> WatchedFile:
        file = super().create(name)
        fd, file._fd = file._fd, -1
        return WatchedFile(fd, name, self)

    def open(self, name: str, *, writable: bool = False) -> WatchedFile:
        file = super().open(name, writable=writable)
        fd, file._fd = file._fd, -1
        return WatchedFile(fd, name, self)


AnyDisk = SimulatedDisk | WatchedDisk


@pytest.fixture(params=["simulated", "local"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> AnyDisk:
    return SimulatedDisk() if request.param == "simulated" else WatchedDisk(tmp_path / "store")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[WatchedDisk]:
    disk = WatchedDisk(tmp_path / "store")
    yield disk
    disk.let_go()


def again(disk: AnyDisk) -> AnyDisk:
    """The same disk for the next opening, after the first was closed."""
    return disk.reopen() if isinstance(disk, SimulatedDisk) else WatchedDisk(Path(disk.path))


async def turns_until(happened: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds that wakes no task."""
    while not happened():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0)


async def begun(disk: AnyDisk, **options: Any) -> EventLog[Any]:
    """Return an open log with one event, a segment and a spare."""
    log = await EventLog.open(disk=disk, **SMALL | options)
    await log.append(0)
    await turns_until(lambda: log.stats().spare_ready)
    return log


async def held(log: EventLog[Any], disk: WatchedDisk, value: object) -> Any:
    """Submit `value`, and keep the record in flight."""
    disk.hold()
    receipt = log.submit(value)
    assert await asyncio.to_thread(disk.arrived.wait, PATIENCE)
    return receipt


async def stored(disk: AnyDisk) -> list[Any]:
    """Return the values found by the next opening."""
    async with EventLog.open(disk=again(disk), **SMALL) as log:
        return [event.data async for event in log.read()]


def calls_on_segment(disk: AnyDisk, since: int = 0) -> list[str]:
    return [
        call.kind
        for call in disk.calls[since:]
        if call.name == SEGMENT and call.kind in ("write", "sync")
    ]


class TestSharing:
    @pytest.mark.asyncio
    async def test_a_lone_append_is_one_write_and_one_sync(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        for value in range(1, 6):
            since = len(disk.calls)
            await log.append(value)
            assert calls_on_segment(disk, since) == ["write", "sync"]
        assert log.stats().commits == 6
        await log.close()

    @pytest.mark.asyncio
    async def test_a_group_is_one_record(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        since = len(disk.calls)
        receipt = await log.append("a", "b", "c")
        assert calls_on_segment(disk, since) == ["write", "sync"]
        assert (receipt.first_seq, receipt.seq) == (2, 4)
        await log.close()

    @pytest.mark.asyncio
    async def test_concurrent_appends_share_commits(self, disk: AnyDisk) -> None:
        """The first append finds the writer idle. All the others share the next record."""
        log = await begun(disk)
        since = len(disk.calls)
        receipts = await asyncio.gather(*(log.append(value) for value in range(1, 65)))
        assert [receipt.seq for receipt in receipts] == list(range(2, 66))
        assert calls_on_segment(disk, since) == ["write", "sync"] * 2
        await log.close()
        assert await stored(disk) == list(range(65))

    @pytest.mark.asyncio
    async def test_those_that_were_woken_together_write_together_again(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        rounds, writers = 20, 16

        async def writes() -> None:
            for value in range(rounds):
                await log.append(value)

        await asyncio.gather(*(writes() for _ in range(writers)))
        assert log.stats().commits <= 2 * rounds + 2
        await log.close()

    @pytest.mark.asyncio
    async def test_after_a_shared_commit_one_waits_for_a_turn(self, disk: AnyDisk) -> None:
        """After a shared record, the first to submit again is not written alone."""
        log = await begun(disk)
        commits = log.stats().commits
        for receipt in [log.submit(value) for value in (1, 2, 3)]:
            await receipt
        assert log.stats().commits == commits + 2  # the first alone: no commit was shared yet
        for _ in range(5):
            await asyncio.sleep(0)
        for receipt in [log.submit(value) for value in (4, 5, 6)]:
            await receipt
        assert log.stats().commits == commits + 3
        await log.close()
        assert await stored(disk) == [0, 1, 2, 3, 4, 5, 6]

    @pytest.mark.asyncio
    async def test_one_job_is_in_flight_and_the_rest_is_the_next_record(
        self, local: WatchedDisk
    ) -> None:
        log = await begun(local)
        since = len(local.calls)
        first = await held(log, local, 1)
        rest = [log.submit(value) for value in range(2, 10)]
        assert calls_on_segment(local, since) == ["write"]
        assert not any(receipt.done for receipt in (first, *rest))
        assert log.seq == 1
        assert log.stats().pending == 9
        local.let_go()
        for receipt in (first, *rest):
            assert await receipt is receipt
        assert calls_on_segment(local, since) == ["write", "sync"] * 2
        assert (log.seq, log.stats().pending) == (10, 0)
        await log.close()

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("groups", "records"),
        [
            pytest.param([["x" * 1_000_000]] * 9, [1, 4, 4], id="of many bytes"),
            pytest.param([[0] * 30_000] * 5, [30_000, 60_000, 60_000], id="of many events"),
        ],
    )
    async def test_a_record_is_bounded(
        self, groups: list[list[object]], records: list[int], disk: AnyDisk
    ) -> None:
        """A long queue becomes several records. Recovery holds one record in memory at a time."""
        one_segment: dict[str, Any] = {"segment_size": 32 << 20, "low_space": "refuse"}
        log = await EventLog.open(disk=disk, max_pending=200_000, **one_segment)
        receipts = [log.submit(*group) for group in groups]
        await log.flush()
        assert all(receipt.done for receipt in receipts)
        assert log.stats().commits == 3
        data = disk.open(SEGMENT).read(0, 32 << 20)
        tail = classify_tail(data, SegmentHeader.decode(data))
        assert isinstance(tail, Clean)
        assert [record.events for record in tail.records] == records
        await log.close()

    @pytest.mark.asyncio
    async def test_nothing_is_acknowledged_before_its_sync(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        for value in range(1, 20):
            await log.append(value)
            if isinstance(disk, SimulatedDisk):
                image = disk.after_power_cut(value)
                assert open_on(image).next_seq == value + 2
            else:
                assert calls_on_segment(disk)[-1] == "sync"
        await log.close()

    @pytest.mark.asyncio
    async def test_a_receipt_says_how_it_stands(self, local: WatchedDisk) -> None:
        log = await begun(local)
        receipt = await held(log, local, 1)
        assert (receipt.seq, receipt.first_seq, receipt.done, receipt.error) == (2, 2, False, None)
        assert "seq=2 pending" in repr(receipt)
        local.let_go()
        await receipt
        assert receipt.done
        assert "seq=2 acknowledged" in repr(receipt)
        await log.close()


class TestCancelling:
    @pytest.mark.asyncio
    async def test_the_write_goes_on_and_so_do_the_others(self, local: WatchedDisk) -> None:
        log = await begun(local)
        await held(log, local, 1)
        cancelled, kept = (asyncio.create_task(log.append(value)) for value in (2, 3))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        local.let_go()
        assert (await kept).seq == 4
        assert cancelled.cancelled()
        await log.close()
        assert await stored(local) == [0, 1, 2, 3]

    @pytest.mark.asyncio
    async def test_a_receipt_can_be_awaited_again(self, local: WatchedDisk) -> None:
        log = await begun(local)
        receipt = await held(log, local, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_wait(receipt), timeout=0)
        first, second = (asyncio.create_task(_wait(receipt)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        local.let_go()
        assert await second is receipt
        assert await receipt is receipt
        await log.close()

    @pytest.mark.asyncio
    async def test_while_waiting_for_room_nothing_was_submitted(self, local: WatchedDisk) -> None:
        log = await begun(local, max_pending=2)
        await held(log, local, 1)
        log.submit(2)
        waiting = [asyncio.create_task(log.append(value)) for value in (3, 4, 5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        local.let_go()
        assert [(await task).seq for task in waiting[1:]] == [4, 5]
        await log.close()
        assert await stored(local) == [0, 1, 2, 4, 5]

    @pytest.mark.asyncio
    async def test_room_that_was_granted_already_is_given_back(self, disk: AnyDisk) -> None:
        """The cancellation comes after the grant, and before the waiter runs again."""
        log = await begun(disk, max_pending=2)
        log.submit(1)
        receipt = log.submit(2)
        waiting = asyncio.create_task(log.append("given up", "too"))
        await receipt  # the receipt wakes its waiter first, and the room its waiter next
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await log.flush()
        assert [log.submit(value).seq for value in (3, 4)] == [4, 5]
        await log.close()
        assert await stored(disk) == [0, 1, 2, 3, 4]

    def test_who_gave_up_is_not_let_in(self) -> None:
        """Cancelled, and not yet out of the line when there is room again."""
        disk = SimulatedDisk()

        async def session() -> None:
            log = await begun(disk, max_pending=2)
            log.submit(1)
            second = log.submit(2)
            waiting = asyncio.create_task(log.append("given", "up"))
            await turns_until(lambda: log.stats().commits == 3)
            assert not second.done  # the record is written, and the loop learns of the write next
            waiting.cancel()
            await second
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            assert [log.submit(value).seq for value in (3, 4)] == [4, 5]
            await log.close()

        run_in_virtual_time(session())  # an exception of a callback is raised here, too
        assert asyncio.run(stored(disk)) == [0, 1, 2, 3, 4]


async def _wait(receipt: Any) -> Any:
    return await receipt


class TestFailing:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("kind", "code", "expected"),
        [
            ("write", errno.ENOSPC, StoreFullError),
            ("write", errno.EIO, StoreFailedError),
            ("sync", errno.EIO, StoreFailedError),
            ("sync", errno.ENOSPC, StoreFailedError),
        ],
    )
    async def test_everything_queued_behind_fails_with_the_same_error(
        self, disk: AnyDisk, kind: str, code: int, expected: type[EventStoreError]
    ) -> None:
        log = await begun(disk)
        disk.fail(kind=kind, name=SEGMENT, errno=code)
        receipts = [log.submit(value) for value in range(1, 6)]
        assert [receipt.seq for receipt in receipts] == [2, 3, 4, 5, 6]
        errors = await asyncio.gather(*map(_wait, receipts), return_exceptions=True)
        assert isinstance(errors[0], expected)
        assert {str(error) for error in errors} == {str(errors[0])}
        assert len({id(receipt.error) for receipt in receipts}) == 1
        assert "failed: " + expected.__name__ in repr(receipts[0])
        assert log.seq == 1
        with contextlib.suppress(expected):
            await log.flush()
        if expected is StoreFullError:
            assert (await log.append("goes on")).seq == 2  # the numbers went back
            await log.close()
            assert await stored(disk) == [0, "goes on"]
        else:
            assert log.stats().failed
            for _ in range(2):
                with pytest.raises(StoreFailedError) as raised:
                    await log.append("never")
                assert str(raised.value) == str(errors[0])
                assert raised.value.__cause__ is errors[0].__cause__
            since = len(disk.calls)
            await log.close()
            assert calls_on_segment(disk, since) == []
            found = await stored(disk)
            assert found in ([0], [0, 1])  # unknown, and found out by reopening

    @pytest.mark.parametrize("durability", ["interval", "none"])
    @pytest.mark.parametrize("when", ["before the closing", "in the closing"])
    def test_closing_tells_of_acknowledged_events_without_a_sync(
        self, durability: str, when: str
    ) -> None:
        async def session() -> None:
            disk, pause = SimulatedDisk(), 0.5 if when.startswith("before") else 1e6
            options: Any = {"sync_interval": pause, "idle_seal": pause}
            log = await EventLog.open(disk=disk, durability=durability, **SMALL | options)
            await log.append(0)
            await log.flush()
            disk.fail(kind="sync", name=SEGMENT, errno=errno.EIO)
            await log.append(1)
            await log.append(2)
            await asyncio.sleep(2)  # of virtual time
            assert log.stats().failed is when.startswith("before")
            for _ in range(2):
                with pytest.raises(StoreFailedError, match="events 2 to 3 were ack") as raised:
                    await log.close()
                assert raised.value.errno == errno.EIO
                assert isinstance(raised.value.__cause__, OSError)
            assert await stored(disk) == [0, 1, 2]  # the system had not forgotten the bytes

        run_in_virtual_time(session())

    def test_closing_says_nothing_where_every_acknowledged_event_was_synced(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            log = await EventLog.open(disk=disk, **SMALL)
            disk.fail(kind="write", name=SEGMENT, errno=errno.EIO)
            with contextlib.suppress(StoreFailedError):
                await log.append(0)
            assert log.stats().failed
            await log.close()

        run_in_virtual_time(session())

    @pytest.mark.asyncio
    async def test_reading_goes_on_after_a_failure(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        disk.fail(kind="sync", name=SEGMENT, errno=errno.EIO)
        with pytest.raises(StoreFailedError):
            await log.append("unknown")
        assert [event.data async for event in log.read()] == [0]
        await log.close()

    @pytest.mark.asyncio
    async def test_it_is_logged_with_the_number_of_events(
        self, disk: AnyDisk, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = await begun(disk)
        disk.fail(kind="write", name=SEGMENT, errno=errno.ENOSPC)
        with caplog.at_level(logging.ERROR, "eventstore"), pytest.raises(StoreFullError):
            await log.append("a", "b", "c")
        assert "3 events were not committed" in caplog.text
        await log.close()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("ending", ["flush", "close"])
    async def test_what_nobody_awaited_is_reported_by(self, disk: AnyDisk, ending: str) -> None:
        log = await begun(disk)
        disk.fail(kind="write", name=SEGMENT, errno=errno.ENOSPC)
        log.submit("refused")
        with pytest.raises(StoreFullError):
            await getattr(log, ending)()
        if ending == "flush":
            await log.flush()  # once is enough
            await log.append("goes on")
            await log.close()
        with pytest.raises(StoreClosedError):
            await log.append("x")
        assert await stored(disk) == ([0, "goes on"] if ending == "flush" else [0])

    @pytest.mark.asyncio
    async def test_what_was_awaited_after_it_had_failed_is_not_reported_again(
        self, disk: AnyDisk
    ) -> None:
        async with EventLog.open(disk=disk, **SMALL) as log:
            await log.append(0)
            disk.fail(kind="write", name=SEGMENT, errno=errno.ENOSPC)
            receipt = log.submit("refused")
            await turns_until(lambda: receipt.done)
            with pytest.raises(StoreFullError):
                await receipt
            await log.flush()
        assert await stored(disk) == [0]

    @pytest.mark.asyncio
    async def test_leaving_the_block_reports_it_too(self, disk: AnyDisk) -> None:
        async def session() -> None:
            async with EventLog.open(disk=disk, **SMALL) as log:
                await log.append(0)
                disk.fail(kind="write", name=SEGMENT, errno=errno.ENOSPC)
                log.submit("refused")

        with pytest.raises(StoreFullError):
            await session()
        assert await stored(disk) == [0]

    @pytest.mark.asyncio
    async def test_a_spare_that_fails_is_the_end_too(self) -> None:
        disk = SimulatedDisk()
        async with EventLog.open(disk=disk, **SMALL) as log:
            disk.add_rule(lambda call: Fault(errno.EIO) if call.args == ("log/spare",) else None)
            await log.append(0)
            await turns_until(lambda: log.stats().failed)
            with pytest.raises(StoreFailedError, match="preparing"):
                await log.append(1)
        assert await stored(disk) == [0]

    @pytest.mark.asyncio
    async def test_a_spare_that_finds_no_space_is_not(self) -> None:
        disk = SimulatedDisk()
        async with EventLog.open(disk=disk, **SMALL) as log:
            disk.add_rule(lambda call: Fault(errno.ENOSPC) if call.args == ("log/spare",) else None)
            await log.append(0)
            await turns_until(lambda: log.stats().space_warning is not None)
            await log.append(1)
            assert not log.stats().failed


class TestRoom:
    @pytest.mark.asyncio
    async def test_submit_raises_and_append_waits_in_order(self, local: WatchedDisk) -> None:
        log = await begun(local, max_pending=4)
        await held(log, local, 1)
        for value in (2, 3, 4):
            log.submit(value)
        with pytest.raises(StoreOverloadedError, match="max_pending") as raised:
            log.submit("too many")
        assert (raised.value.pending, raised.value.limit) == (4, 4)
        waiting = [asyncio.create_task(log.append(value)) for value in range(5, 15)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        assert log.stats().pending == 4
        local.let_go()
        receipts = await asyncio.gather(*waiting)
        assert [receipt.seq for receipt in receipts] == list(range(6, 16))
        await log.close()
        assert await stored(local) == list(range(15))

    @pytest.mark.asyncio
    async def test_a_group_is_not_overtaken_by_smaller_ones(self, local: WatchedDisk) -> None:
        log = await begun(local, max_pending=3)
        await held(log, local, 1)
        log.submit(2)
        group = asyncio.create_task(log.append("a", "b", "c"))
        await asyncio.sleep(0)
        lone = asyncio.create_task(log.append("after"))
        await asyncio.sleep(0)
        with pytest.raises(StoreOverloadedError):
            log.submit("would fit, and would overtake")
        local.let_go()
        assert ((await group).seq, (await lone).seq) == (6, 7)
        await log.close()

    @pytest.mark.asyncio
    async def test_a_group_larger_than_the_queue_goes_alone(self, disk: AnyDisk) -> None:
        log = await begun(disk, max_pending=2)
        assert (await log.append(*range(10))).seq == 11
        await log.close()

    @pytest.mark.asyncio
    async def test_those_waiting_go_on_after_a_refused_commit(self, local: WatchedDisk) -> None:
        log = await begun(local, max_pending=2)
        local.fail(kind="sync", errno=errno.EINTR)  # invisible
        first = await held(log, local, 1)
        second = log.submit(2)
        waiting = [asyncio.create_task(log.append(value)) for value in (3, 4, 5)]
        await asyncio.sleep(0)
        local.let_go()
        await first
        await second
        assert [(await task).seq for task in waiting] == [4, 5, 6]
        await log.close()

    @pytest.mark.asyncio
    async def test_those_waiting_are_told_of_a_failure(self, local: WatchedDisk) -> None:
        log = await begun(local, max_pending=2)
        first = await held(log, local, 1)
        second = log.submit(2)
        waiting = [asyncio.create_task(log.append(value)) for value in (3, 4, 5)]
        await asyncio.sleep(0)
        local.fail(kind="sync", errno=errno.EIO)
        local.let_go()
        outcomes = await asyncio.gather(
            _wait(first), _wait(second), *waiting, return_exceptions=True
        )
        assert all(isinstance(outcome, StoreFailedError) for outcome in outcomes)
        await log.close()

    @pytest.mark.asyncio
    async def test_those_waiting_are_told_of_the_end(self, local: WatchedDisk) -> None:
        log = await begun(local, max_pending=2)
        first = await held(log, local, 1)
        second = log.submit(2)
        waiting = [asyncio.create_task(log.append(value)) for value in (3, 4, 5)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(log.close())
        await asyncio.sleep(0)
        local.let_go()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, StoreClosedError) for outcome in outcomes)
        await closing
        assert (first.error, second.error) == (None, None)
        assert await stored(local) == [0, 1, 2]


class TestClosing:
    @pytest.mark.asyncio
    async def test_it_drains_seals_and_frees_the_lock(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        receipts = [log.submit(value) for value in range(1, 100)]
        await log.close()
        assert all(receipt.done and receipt.error is None for receipt in receipts)
        async with EventLog.open(disk=again(disk), **SMALL) as reopened:
            assert (reopened.recovery.clean, reopened.seq) == (True, 100)

    @pytest.mark.asyncio
    async def test_also_when_the_body_raised(self, disk: AnyDisk) -> None:
        async def session() -> None:
            async with EventLog.open(disk=disk, **SMALL) as log:
                await log.append(0)
                log.submit(1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await session()
        assert await stored(disk) == [0, 1]

    @pytest.mark.asyncio
    async def test_what_the_body_raised_wins(self, disk: AnyDisk) -> None:
        async def session() -> None:
            async with EventLog.open(disk=disk, **SMALL) as log:
                await log.append(0)
                disk.fail(kind="write", name=SEGMENT, errno=errno.ENOSPC)
                log.submit("refused")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await session()
        assert await stored(disk) == [0]

    @pytest.mark.asyncio
    async def test_twice_and_by_two_at_once(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        await asyncio.gather(log.close(), log.close())
        await log.close()

    @pytest.mark.asyncio
    async def test_in_the_first_moment(
        self, disk: AnyDisk, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No spare is made for a store that is closing."""
        for number in range(10):
            log = await EventLog.open(disk=disk, **SMALL)
            log.submit(number)
            await log.close()
            files = disk.files() if isinstance(disk, SimulatedDisk) else _files(Path(disk.path))
            assert "log/new.tmp" not in files
            disk = again(disk)
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        disk.close()

    @pytest.mark.asyncio
    async def test_cancelling_it_cancels_the_waiting(self, local: WatchedDisk) -> None:
        log = await begun(local)
        receipt = await held(log, local, 1)
        closing = asyncio.create_task(log.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        assert closing.cancelled()
        local.let_go()
        await log.close()
        assert receipt.done
        assert await stored(local) == [0, 1]

    @pytest.mark.asyncio
    async def test_cancelling_it_while_the_spare_is_made(self, local: WatchedDisk) -> None:
        log = await EventLog.open(disk=local, **SMALL)
        await log.append(0)
        local.hold("log/new.tmp")
        if not log.stats().spare_ready:
            await asyncio.sleep(0)
        closing = asyncio.create_task(log.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        local.let_go()
        await asyncio.wait_for(log.close(), PATIENCE)
        assert await stored(local) == [0]

    @pytest.mark.asyncio
    async def test_afterwards_everything_is_refused(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        await log.close()
        with pytest.raises(StoreClosedError, match="is closed") as raised:
            await log.append(1)
        assert raised.value.path == disk.path
        with pytest.raises(StoreClosedError):
            log.submit(1)
        with pytest.raises(StoreClosedError):
            await log.flush()
        with pytest.raises(StoreClosedError):
            [event async for event in log.read()]
        assert log.seq == 1
        assert log.stats().events == 1

    @pytest.mark.asyncio
    async def test_the_thread_ends(
        self, local: WatchedDisk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runner, "WRITERS", Crew("eventstore-writer", 8))
        before = set(threading.enumerate())
        log = await begun(local)
        (thread,) = _writers(before)
        await log.close()
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _writers(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name == "eventstore-writer"
    ]


def forget(logs: list[EventLog[Any]]) -> None:
    logs.clear()
    gc.collect()


class TestAbandoned:
    @pytest.mark.parametrize("in_flight", [False, True])
    def test_a_loop_closed_in_mid_append(
        self, local: WatchedDisk, in_flight: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The writers finish the record, and free the lock."""
        monkeypatch.setattr(shared_threads, "_IDLE", 0.001)
        loop = asyncio.new_event_loop()

        async def opens() -> EventLog[Any]:
            log = await begun(local)
            if in_flight:
                await held(log, local, 1)
            await loop.shutdown_default_executor()
            return log

        logs = [loop.run_until_complete(opens())]
        end = end_of(logs[0])
        loop.close()
        local.let_go()
        end()
        with pytest.warns(ResourceWarning, match="was not closed"):
            forget(logs)
        assert asyncio.run(stored(local)) == ([0, 1] if in_flight else [0])

    @pytest.mark.asyncio
    async def test_a_log_whose_closing_was_refused_is_not_closed(self, local: WatchedDisk) -> None:
        """Another thread asks. The log goes on, and frees its lock when it is forgotten."""
        logs = [await begun(local)]
        end = end_of(logs[0])
        with pytest.raises(EventStoreError, match="another"):
            await asyncio.to_thread(asyncio.run, logs[0].close())
        assert "closed" not in repr(logs[0])
        await logs[0].append(1)
        with pytest.warns(ResourceWarning, match="was not closed"):
            forget(logs)
        await asyncio.to_thread(end)
        async with EventLog.open(disk=again(local), **SMALL) as reopened:
            assert reopened.seq == 2

    @pytest.mark.asyncio
    async def test_a_forgotten_log_warns_and_loses_nothing(self, local: WatchedDisk) -> None:
        logs = [await begun(local)]
        end = end_of(logs[0])
        receipt = logs[0].submit(1)
        with pytest.warns(ResourceWarning, match="was not closed: use `async with`"):
            forget(logs)
        await receipt
        await asyncio.to_thread(end)
        async with EventLog.open(disk=again(local), **SMALL) as reopened:
            assert [event.data async for event in reopened.read()] == [0, 1]
            assert reopened.recovery.clean

    @pytest.mark.asyncio
    async def test_a_forgotten_one_writes_what_was_queued(self, disk: AnyDisk) -> None:
        """Every receipt gets its outcome. Afterwards the lock is free."""
        logs = [await begun(disk)]
        end = end_of(logs[0])
        receipts = [logs[0].submit(value) for value in range(1, 6)]
        with pytest.warns(ResourceWarning, match="was not closed"):
            forget(logs)
        for receipt in receipts:
            assert await asyncio.wait_for(_wait(receipt), PATIENCE) is receipt
        await asyncio.to_thread(end)
        assert await stored(disk) == [0, 1, 2, 3, 4, 5]

    def test_a_forgotten_one_does_nothing_more(self) -> None:
        """The lock is free, so a late write would reach another writer's log."""
        disk = SimulatedDisk()

        async def session() -> None:
            logs = [await EventLog.open(disk=disk, durability="interval", **SMALL)]
            await logs[0].append(0)
            receipt = logs[0].submit(1)
            with pytest.warns(ResourceWarning, match="was not closed"):
                forget(logs)
            await receipt
            since = len(disk.calls)
            await asyncio.sleep(1000)
            assert disk.calls[since:] == []

        run_in_virtual_time(session())
        assert asyncio.run(stored(disk)) == [0, 1]

    @pytest.mark.asyncio
    async def test_a_forgotten_one_whose_commit_fails(self, local: WatchedDisk) -> None:
        """The waiter still gets the error."""
        logs = [await begun(local)]
        receipt = await held(logs[0], local, 1)
        with pytest.warns(ResourceWarning, match="was not closed"):
            forget(logs)
        local.fail(kind="sync", errno=errno.EIO)
        local.let_go()
        with pytest.raises(StoreFailedError, match="syncing"):
            await asyncio.wait_for(_wait(receipt), PATIENCE)

    def test_a_loop_that_cancels_everything_in_the_middle_of_a_close(
        self, local: WatchedDisk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`asyncio.run` does the same at its end. The record is finished, and the lock is free."""
        monkeypatch.setattr(shared_threads, "_IDLE", 0.001)
        loop = asyncio.new_event_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: problems.append(context))

        async def session() -> Callable[[], None]:
            log = await begun(local)
            receipt = await held(log, local, 1)
            end = end_of(log)
            closing = loop.create_task(log.close())
            for _ in range(3):
                await asyncio.sleep(0)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            assert closing in tasks
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            local.let_go()
            await receipt
            await loop.shutdown_default_executor()
            return end

        end = loop.run_until_complete(session())
        loop.close()
        end()
        assert problems == []
        assert asyncio.run(stored(local)) == [0, 1]

    def test_a_loop_that_lives_is_left_alone(
        self, local: WatchedDisk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Idle threads keep checking whether the loop was closed."""
        monkeypatch.setattr(shared_threads, "_IDLE", 0.001)
        looks = threading.Semaphore(0)

        class Watched(asyncio.SelectorEventLoop):
            def is_closed(self) -> bool:
                if threading.current_thread().name == "eventstore-writer":
                    looks.release()
                return super().is_closed()

        async def session() -> None:
            log = await begun(local)
            for _ in range(5):
                assert await asyncio.to_thread(looks.acquire, timeout=PATIENCE)
            assert (await log.append(1)).seq == 2
            await log.close()

        with asyncio.Runner(loop_factory=Watched) as loop:
            loop.run(session())
        assert asyncio.run(stored(local)) == [0, 1]

    @pytest.mark.asyncio
    async def test_a_forgotten_one_without_a_thread(self) -> None:
        disk = SimulatedDisk()
        logs = [await begun(disk)]
        with pytest.warns(ResourceWarning):
            forget(logs)
        assert await stored(disk) == [0]

    @pytest.mark.asyncio
    async def test_a_forgotten_reader(self, local: WatchedDisk) -> None:
        await (await begun(local)).close()
        readers = [await EventLog.open(local.path, read_only=True)]
        with pytest.warns(ResourceWarning):
            forget(readers)

    @pytest.mark.asyncio
    async def test_a_closed_one_is_quiet(self, disk: AnyDisk) -> None:
        logs = [await begun(disk)]
        await logs[0].close()
        forget(logs)


def script(
    body: str, *arguments: object, run: str = "asyncio.run(main(sys.argv[1]))", **options: Any
) -> subprocess.Popen[str]:
    """Start a process that runs `body` inside `async def main(path)`. `run` runs `main`."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    code = (
        "import asyncio, json, os, signal, sys\n"
        "from eventstore import *\n"
        f"async def main(path):\n{lines}\n"
        f"{run}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **options,
    )


HOLD = """
async with EventLog.open(path, segment_size=1 << 16) as log:
    await log.append("from another process")
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


class TestOneWriter:
    @pytest.mark.asyncio
    async def test_in_the_same_process(self, disk: AnyDisk) -> None:
        log = await begun(disk)
        with pytest.raises(StoreLockedError, match=f"this process .{os.getpid()}") as raised:
            await EventLog.open(disk=again(disk), **SMALL)
        assert (raised.value.pid, raised.value.path) == (os.getpid(), disk.path)
        await log.append("undisturbed")
        await log.close()
        assert await stored(disk) == [0, "undisturbed"]

    @pytest.mark.asyncio
    async def test_in_another_thread(self, local: WatchedDisk) -> None:
        log = await begun(local)

        def attempt() -> int | None:
            async def opens() -> None:
                await EventLog.open(local.path)

            with pytest.raises(StoreLockedError) as raised:
                asyncio.run(opens())
            return raised.value.pid

        assert await asyncio.to_thread(attempt) == os.getpid()
        await log.close()

    @pytest.mark.asyncio
    async def test_in_another_process(self, tmp_path: Path) -> None:
        with script(HOLD, tmp_path / "store") as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == process.pid
            with pytest.raises(StoreLockedError) as raised:
                await EventLog.open(tmp_path / "store")
            assert raised.value.pid == process.pid
            async with EventLog.open(tmp_path / "store", read_only=True) as reader:
                assert reader.seq == 1
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 0
        async with EventLog.open(tmp_path / "store") as log:
            assert log.seq == 1

    @pytest.mark.asyncio
    async def test_a_killed_one_frees_the_lock(self, tmp_path: Path) -> None:
        with script(HOLD, tmp_path / "store") as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)
            async with EventLog.open(tmp_path / "store") as log:
                assert [event.data async for event in log.read()] == ["from another process"]
                assert not log.recovery.clean


FORK = """
from tests.support.bank import bank_registry, pay
from tests.support.endings import end_of
if sys.argv[2] == "log":
    log = await EventLog.open(path, segment_size=1 << 16)
    value = str
else:
    log = await EventStore.open(path, bank_registry(), segment_size=1 << 16)
    value = lambda account: pay(1, account)
await log.append(value("before"))
receipts = [log.submit(value(name)) for name in ("in flight", "queued", "queued too")]
child = os.fork()
if child == 0:
    told = []
    for attempt in (
        lambda: log.submit(value("child")),
        lambda: log.append(value("child")).send(None),
        *(receipt.__await__().__next__ for receipt in receipts),
    ):
        try:
            attempt()
        except StoreClosedError as error:
            told.append(str(error))
    try:
        log.close().send(None)
        told.append("waits")
    except (StopIteration, StoreClosedError):
        told.append("closed")
    print(json.dumps(told), flush=True)
    os._exit(0)
os.waitpid(child, 0)
for receipt in receipts:
    await receipt
await log.append(value("after"))
await log.close()
"""

INHERITED = """
if sys.argv[2] == "log":
    log = await EventLog.open(path, segment_size=1 << 16)
    value = str
else:
    from tests.support.bank import bank_registry, pay
    wal = sys.argv[2] == "store"
    log = await EventStore.open(path, bank_registry(), segment_size=1 << 16, use_wal=wal)
    value = lambda account: pay(1, account)
await log.append(value("before"))
return log, value
"""

RUN_INHERITED = """
loop = asyncio.new_event_loop()
log, value = loop.run_until_complete(main(sys.argv[1]))
came, goes = os.pipe()

async def in_child():
    told = []
    for attempt in (lambda: log.submit(value("child")), lambda: log.append(value("child"))):
        try:
            made = attempt()
            await made
            told.append("accepted")
        except StoreClosedError as error:
            told.append(str(error))
    print(json.dumps(told), flush=True)
    os.close(goes)
    while True:  # wakes with every byte in the pipe that the child shares with the parent
        await asyncio.sleep(0.001)

async def in_parent():
    for number in range(200):
        await asyncio.wait_for(log.append(value("after")), 10)
    os.kill(child, signal.SIGKILL)  # asyncio's own wakeups, of other threads, can still be lost
    await log.close()
    return log.seq

child = os.fork()
if child == 0:
    loop.run_until_complete(in_child())
try:
    os.close(goes)
    os.read(came, 1)  # the child is at work
    print(loop.run_until_complete(in_parent()), flush=True)
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""

ORPHAN = """
log = await EventLog.open(path, segment_size=1 << 16)
await log.append("before")
if os.fork() == 0:
    print("child", flush=True)
    sys.stdin.read()
    os._exit(0)
sys.stdout.flush()
os.read(os.open(sys.argv[2], os.O_RDONLY), 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class TestFork:
    @pytest.mark.parametrize("kind", ["log", "store"])
    def test_the_child_is_refused_and_the_parent_goes_on(self, kind: str, tmp_path: Path) -> None:
        with script(FORK, tmp_path / "store", kind) as process:
            output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        told = json.loads(output.splitlines()[0])
        assert len(told) == 6
        assert all("belongs to the process that opened it" in line for line in told[:5])
        assert told[5] == "closed"
        found = [event.data for event in read_events(tmp_path / "store")]
        accounts = [data if kind == "log" else data["account"] for data in found]
        assert accounts == ["before", "in flight", "queued", "queued too", "after"]

    @pytest.mark.parametrize("kind", ["log", "store", "snapshots only"])
    def test_a_child_on_the_inherited_loop_is_refused_and_takes_no_wakeup(
        self, kind: str, tmp_path: Path
    ) -> None:
        """Child and parent share selector and pipe. A byte read by the child is lost."""
        with script(INHERITED, tmp_path / "store", kind, run=RUN_INHERITED) as process:
            output, errors = process.communicate(timeout=PATIENCE * 2)
        assert process.returncode == 0, errors
        told, seq = output.splitlines()
        refusals = json.loads(told)
        assert len(refusals) == 2
        assert all("belongs to the process that opened it" in line for line in refusals)
        assert int(seq) == 201

    @pytest.mark.asyncio
    async def test_the_lock_dies_with_the_parent_though_the_child_lives(
        self, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "go")
        with script(ORPHAN, tmp_path / "store", tmp_path / "go") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "child\n"
            with pytest.raises(StoreLockedError) as raised:
                await EventLog.open(tmp_path / "store")
            assert raised.value.pid == process.pid
            (tmp_path / "go").write_text("!")
            process.wait(PATIENCE)
            async with EventLog.open(tmp_path / "store") as log:
                assert [event.data async for event in log.read()] == ["before"]
            assert process.stdin is not None
            process.stdin.close()


class TestDurability:
    def attested(self, disk: SimulatedDisk) -> list[tuple[int, int]]:
        """Return the offset of each record, and the durable end that the record states."""
        data = disk.read_file(SEGMENT)
        tail = classify_tail(data, SegmentHeader.decode(data))
        assert isinstance(tail, Clean)
        return [(record.offset, record.synced_end) for record in tail.records]

    @pytest.mark.asyncio
    async def test_commit_syncs_each_record_before_the_next(self) -> None:
        disk = SimulatedDisk()
        async with EventLog.open(disk=disk, durability="commit") as log:
            for value in range(5):
                await log.append(value)
        assert all(offset == synced for offset, synced in self.attested(disk))

    @pytest.mark.asyncio
    async def test_none_leaves_it_to_the_system(self) -> None:
        disk = SimulatedDisk()
        async with EventLog.open(disk=disk, durability=Durability.NONE) as log:
            for value in range(5):
                await log.append(value)
            assert log.stats().syncs == 0
            assert {synced for _, synced in self.attested(disk)} == {HEADER_SIZE}
            await log.flush()
            assert log.stats().syncs == 1
            durable = disk.after_power_cut(1)
            await log.append(5)
            offset, synced = self.attested(disk)[-1]
            assert synced == offset
        assert open_on(durable).next_seq == 6

    @pytest.mark.asyncio
    async def test_interval_acknowledges_before_it_has_passed(self) -> None:
        disk = SimulatedDisk()
        async with EventLog.open(disk=disk, durability="interval", sync_interval=3600) as log:
            for value in range(5):
                await log.append(value)
            assert log.stats().syncs == 0
            assert {synced for _, synced in self.attested(disk)} == {HEADER_SIZE}
            await log.flush()
            assert log.stats().syncs == 1

    @pytest.mark.asyncio
    async def test_interval_syncs_when_it_has_passed(self) -> None:
        disk = SimulatedDisk()
        synced = asyncio.Event()

        def watch(call: Call) -> None:
            if call.kind == "sync" and call.name == SEGMENT:
                synced.set()

        disk.add_rule(watch)
        async with EventLog.open(disk=disk, durability="interval", sync_interval=0.001) as log:
            for value in range(3):
                await log.append(value)
                await asyncio.wait_for(synced.wait(), PATIENCE)
                synced.clear()
                assert open_on(disk.after_power_cut(value)).next_seq == value + 2
        assert [offset == synced for offset, synced in self.attested(disk)] == [True] * 3

    @pytest.mark.asyncio
    @pytest.mark.parametrize("durability", Durability)
    async def test_a_kill_takes_nothing_acknowledged_and_a_power_cut_leaves_a_prefix(
        self, durability: Durability
    ) -> None:
        disk = SimulatedDisk()
        log = await EventLog.open(disk=disk, durability=durability, segment_size=4096)
        submitted = []
        for value in range(40):
            await log.append(f"{value}" + "x" * 200, f"{value}")
            submitted += [f"{value}" + "x" * 200, f"{value}"]
        for image in (disk.after_kill(), *(disk.after_power_cut(seed) for seed in range(40))):
            found = open_on(image).next_seq - 1
            assert values_on(image) == submitted[:found]
            assert found % 2 == 0  # groups are whole or absent
            if durability is Durability.COMMIT:
                assert found == 80
        assert open_on(disk.after_kill()).next_seq == 81
        await log.close()
        for seed in range(10):
            assert open_on(disk.after_power_cut(seed)).next_seq == 81

    def test_idleness_begins_again_with_every_commit(self) -> None:
        async def session() -> None:
            disk, loop = SimulatedDisk(), asyncio.get_running_loop()
            log = await EventLog.open(disk=disk, idle_seal=1.0)
            await log.append(0)
            await asyncio.sleep(0.6)
            await log.append(1)
            began, written = loop.time(), []

            def watch(call: Call) -> None:
                if call.kind == "write" and call.name == SEGMENT:
                    written.append(loop.time() - began)

            disk.add_rule(watch)
            await asyncio.sleep(5)
            assert written == [pytest.approx(1.0, abs=0.02)]
            await log.close()

        run_in_virtual_time(session())

    @pytest.mark.asyncio
    async def test_after_idleness_the_log_is_sealed(self) -> None:
        disk = SimulatedDisk()
        sealed = asyncio.Event()
        async with EventLog.open(disk=disk, idle_seal=0.01) as log:
            await log.append(0)
            end = len(disk.read_file(SEGMENT).rstrip(b"\0"))

            def watch(call: Call) -> None:
                if call.kind == "write" and call.name == SEGMENT and int(call.args[0]) >= end:
                    sealed.set()

            disk.add_rule(watch)
            await asyncio.wait_for(sealed.wait(), PATIENCE)
            data = disk.read_file(SEGMENT)
            tail = classify_tail(data, SegmentHeader.decode(data))
            assert isinstance(tail, Clean)
            assert tail.sealed is SealKind.IDLE
            assert open_on(disk.after_power_cut(0)).clean
            assert (await log.append(1)).seq == 2
