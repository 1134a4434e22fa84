"""The threads that all stores of a process share: how many, for whom, and what holds up nobody."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventLog, EventStore, StoreFailedError, shared_threads
from eventstore.log import runner, spare
from eventstore.shared_threads import Crew, CrewExecutor, Lane
from tests.support.bank import bank_after, bank_registry, pay
from tests.support.gates import PATIENCE, GatedDisk, commits

QUIET: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None, "idle_seal": 3600.0}


class Calls(Lane[Any]):
    """A lane whose work are calls."""

    def do(self, work: Any) -> None:
        work()


class Owner:
    """An owner that notes how often it was asked."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def look(self) -> None:
        self.asked.release()


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> Crew:
    """A new crew of writers, of two."""
    made = Crew("eventstore-writer", 2)
    monkeypatch.setattr(runner, "WRITERS", made)
    return made


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def done(lane: Calls) -> None:
    """Wait until everything put so far is done."""
    ended = threading.Event()
    lane.put(ended.set)
    assert ended.wait(PATIENCE)


# ---- crews and lanes -------------------------------------------------------------------------


class TestLane:
    def test_work_is_done_in_order_and_one_at_a_time(self) -> None:
        lane = Calls(Crew("of-order", 4))
        seen: list[int] = []
        for number in range(1000):
            lane.put(lambda number=number: seen.append(number))
        done(lane)
        assert seen == list(range(1000))

    def test_a_wide_one_is_worked_in_at_once(self) -> None:
        lane = Calls(Crew("of-width", 4), width=2)
        both = threading.Barrier(2, timeout=PATIENCE)
        met: queue.SimpleQueue[int] = queue.SimpleQueue()
        for _ in range(6):
            lane.put(lambda: met.put(both.wait()))
        assert sorted(met.get(timeout=PATIENCE) for _ in range(6)) == [0, 0, 0, 1, 1, 1]

    @pytest.mark.parametrize("width", [1, 2])
    def test_and_by_no_more_threads_than_its_width(self, width: int) -> None:
        """A thread that comes while all turns are taken does no work of the lane."""
        crew_of_few, gate = Crew("of-turns", width), threading.Event()
        lane = Calls(crew_of_few, width)
        begun: queue.SimpleQueue[int] = queue.SimpleQueue()

        def hangs() -> None:
            begun.put(1)
            gate.wait(PATIENCE)

        done_by: queue.SimpleQueue[str] = queue.SimpleQueue()
        for _ in range(width):
            lane.put(hangs)
        try:
            for _ in range(width):
                begun.get(timeout=PATIENCE)
            lane.put(lambda: done_by.put(threading.current_thread().name))
            lane._serve()  # as a further thread would
            assert done_by.empty()
        finally:
            gate.set()
        assert done_by.get(timeout=PATIENCE) == "of-turns"

    def test_work_that_raises_ends_its_thread_and_nothing_else(self) -> None:
        crew_of_one = Crew("of-one", 1)
        lane = Calls(crew_of_one)
        told: queue.SimpleQueue[str] = queue.SimpleQueue()
        before, threading.excepthook = threading.excepthook, lambda args: told.put(str(args[1]))
        try:
            lane.put(lambda: sys.exit("this thread dies"))
            lane.put(lambda: int("no number"))
            done(lane)
            done(lane)
            assert sorted(told.get(timeout=PATIENCE) for _ in range(2)) == [
                "invalid literal for int() with base 10: 'no number'",
                "this thread dies",
            ]
        finally:
            threading.excepthook = before

    def test_a_put_that_was_cut_off_can_be_repeated(self) -> None:
        """As an exception of a signal handler does, between any two steps of `put`."""
        lane = Calls(Crew("of-repetition", 1))
        seen: list[int] = []
        lane._left.append(lambda: seen.append(1))  # and no more
        lane.put(lambda: seen.append(2))
        done(lane)
        lane._calls.put(lane._serve)  # once too often
        done(lane)
        assert seen == [1, 2]


class TestCrew:
    def test_nobody_waits_behind_calls_that_hang(self) -> None:
        """Each one that hangs has a thread of its own, whatever the size of the crew."""
        crew_of_two = Crew("of-two", 2)
        gate = threading.Event()
        stuck = [Calls(crew_of_two) for _ in range(7)]
        try:
            for lane in stuck:
                lane.put(lambda: gate.wait(PATIENCE))
            done(Calls(crew_of_two))
            assert len(threads_of("of-two")) <= 9, "seven that hang, one that works, one that looks"
        finally:
            gate.set()

    def test_it_is_bounded_where_nothing_hangs(self) -> None:
        crew_of_two = Crew("of-two-that-work", 2)
        lanes = [Calls(crew_of_two) for _ in range(50)]
        for _ in range(20):
            for lane in lanes:
                lane.put(lambda: None)
        for lane in lanes:
            done(lane)
        assert len(threads_of("of-two-that-work")) <= 3

    def test_idle_members_leave(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_threads, "_IDLE", 0.01)
        lane = Calls(Crew("of-nobody", 2))
        done(lane)
        for thread in threads_of("of-nobody"):
            thread.join(PATIENCE)
        assert threads_of("of-nobody") == []
        done(lane)  # and another one comes

    def test_while_there_are_owners_they_are_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_threads, "_IDLE", 0.01)
        lane, owner = Calls(owned := Crew("of-owners", 2)), Owner()
        owned.join(owner)
        done(lane)
        for _ in range(5):
            assert owner.asked.acquire(timeout=PATIENCE)
        (thread,) = threads_of("of-owners")
        owned.leave(owner)
        thread.join(PATIENCE)
        assert not thread.is_alive()

    def test_the_last_owner_sends_members_at_work_home(self) -> None:
        """The next store asks the system for a thread, and is told where there is none."""
        owned, gate = Crew("of-the-last", 8), threading.Event()
        at_work = threading.Barrier(3)
        owner = Owner()
        owned.join(owner)

        def work() -> None:
            at_work.wait(PATIENCE)
            gate.wait(PATIENCE)

        lanes = [Calls(owned), Calls(owned)]
        for lane in lanes:
            lane.put(work)
        at_work.wait(PATIENCE)
        members = threads_of("of-the-last")
        assert len(members) == 2
        owned.leave(owner)
        gate.set()
        for thread in members:
            thread.join(shared_threads._IDLE / 2)
        assert threads_of("of-the-last") == []

    def test_two_owners_have_a_second_thread_to_ask_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the first one hangs in the work of one owner, the other is asked all the same."""
        monkeypatch.setattr(shared_threads, "_IDLE", 0.01)
        owned, gate = Crew("of-two-owners", 2), threading.Event()
        owners = [Owner(), Owner()]
        try:
            for owner in owners:
                owned.join(owner)
            stuck = Calls(owned)
            stuck.put(lambda: gate.wait(PATIENCE))
            done(Calls(owned))
            for owner in owners:
                assert owner.asked.acquire(timeout=PATIENCE)
        finally:
            gate.set()
            for owner in owners:
                owned.leave(owner)

    def test_without_a_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuses(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        lane = Calls(Crew("of-none", 2))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuses)
            with pytest.raises(RuntimeError, match="new thread"):
                lane.put(lambda: None)
        done(lane)

    def test_a_lookout_that_was_cut_off_comes_with_the_next_call(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An exception of a signal handler may come in the middle of the start of the thread."""

        def interrupted(thread: threading.Thread) -> None:
            raise KeyboardInterrupt

        crew_of_one, gate = Crew("of-one", 1), threading.Event()
        stuck = Calls(crew_of_one)
        try:
            stuck.put(lambda: gate.wait(3 * PATIENCE))
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    Calls(crew_of_one).put(lambda: None)
            done(Calls(crew_of_one))
        finally:
            gate.set()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    def test_a_forked_child_has_a_crew_of_its_own(self) -> None:
        lane = Calls(shared := Crew("of-parent", 1))
        done(lane)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - no tracer follows a fork
            lane.put(lambda: os.write(writing, b"the parent's work"))
            done(Calls(shared))
            os.write(writing, b"the child's")
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        assert os.read(reading, 100) == b"the child's"
        os.close(reading)


class TestExecutor:
    def test_it_says_what_became_of_a_call(self) -> None:
        executor = CrewExecutor(Crew("of-executor", 2), 1)
        assert executor.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 7, 0).result(PATIENCE)
        executor.shutdown()
        assert executor.unfinished == set()

    def test_a_call_that_was_given_up_is_not_made(self) -> None:
        executor = CrewExecutor(Crew("of-giving-up", 2), 1)
        gate, made = threading.Event(), queue.SimpleQueue[int]()
        first: Future[Any] = executor.submit(gate.wait, PATIENCE)
        second = executor.submit(made.put, 2)
        assert second.cancel()
        gate.set()
        assert first.result(PATIENCE)
        executor.shutdown()
        assert made.empty()


# ---- stores ----------------------------------------------------------------------------------


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[list[GatedDisk]]:
    disks = [GatedDisk(tmp_path / f"hangs-{number}", commits) for number in range(5)]
    yield disks
    for disk in disks:
        disk.gate.open()


class TestStores:
    @pytest.mark.asyncio
    async def test_a_disk_that_hangs_holds_up_no_other_store(
        self, gated: list[GatedDisk], writers: Crew, tmp_path: Path
    ) -> None:
        """Five disks hang, and the crew has two threads."""
        opened = [await EventStore.open("", bank_registry(), QUIET, disk=disk) for disk in gated]
        for store, disk in zip(opened, gated, strict=True):
            await store.append(pay())
            disk.gate.shut()
        receipts = [store.submit(pay()) for store in opened]
        async with asyncio.timeout(PATIENCE):
            async with EventStore.open(tmp_path / "works", bank_registry(), QUIET) as works:
                for number in range(1, 20):
                    await works.append(pay(number))
                assert works.state == bank_after(*range(1, 20))
        assert not any(receipt.done for receipt in receipts)
        for disk in gated:
            disk.gate.open()
        for store, receipt in zip(opened, receipts, strict=True):
            await receipt
            await store.close()

    @pytest.mark.asyncio
    async def test_a_thread_that_dies_in_a_commit(
        self, tmp_path: Path, writers: Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Everybody is told, the lock is free, and another store does not notice."""
        dead = threading.Event()
        monkeypatch.setattr(threading, "excepthook", lambda args: dead.set())
        other = await EventLog.open(tmp_path / "other", config=QUIET)
        store = await EventLog.open(tmp_path / "dies", config=QUIET)
        await store.append(1)
        group: Any = store._log._group

        def dies(*args: object, **options: object) -> None:
            raise SystemExit("the thread is killed")

        monkeypatch.setattr(group._writer, "commit", dies)
        async with asyncio.timeout(PATIENCE):
            receipts = [store.submit(number) for number in range(2, 5)]
            for receipt in receipts:
                with pytest.raises(StoreFailedError, match="whether the events in flight"):
                    await receipt
            assert (await other.append(1)).seq == 1
            await other.close()
            while True:
                try:
                    again = await EventLog.open(tmp_path / "dies", config=QUIET)
                    break
                except Exception:  # noqa: BLE001  the lock is freed in a moment
                    await asyncio.sleep(0.001)
            assert [event.data async for event in again.read()] == [1]
            await again.close()
            with pytest.raises(StoreFailedError):
                await store.close()
            assert await asyncio.to_thread(dead.wait, PATIENCE)

    @pytest.mark.asyncio
    async def test_many_idle_stores_take_little(
        self, tmp_path: Path, writers: Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_threads, "_IDLE", 0.01)
        before = set(threading.enumerate())
        paths = [tmp_path / str(number) for number in range(40)]
        stores = [await EventStore.open(path, bank_registry()) for path in paths]
        for store in stores:
            await store.append(pay())
            async with asyncio.timeout(PATIENCE):
                while not store.stats().spare_ready:  # noqa: ASYNC110  there is no event
                    await asyncio.sleep(0)
        for path in paths:
            files = [entry for entry in path.rglob("*") if entry.is_file()]
            assert sum(entry.stat().st_size for entry in files) <= 6 * spare.FIRST_SIZE

        def threads() -> list[threading.Thread]:
            return [
                thread
                for thread in threading.enumerate()
                if thread not in before and thread.name.startswith("eventstore-")
            ]

        async with asyncio.timeout(PATIENCE):
            while len(threads()) > 2:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.001)
        assert {thread.name for thread in threads()} == {"eventstore-writer"}
        await asyncio.gather(*(store.close() for store in stores))
