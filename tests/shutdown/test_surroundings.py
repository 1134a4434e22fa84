"""Task groups, timeouts, eager tasks, uvloop, a loop in a thread: a store ends in order in each."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from eventstore import EventStore, StoreUsageError, read_events, shutdown_on_signals
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.support.bank import Bank, bank_registry, pay

QUIET: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}


def opening(path: Path) -> Any:
    return EventStore.open(path, bank_registry(), **QUIET)


def recorded(path: Path) -> int:
    """The number of events of a store that was closed in order."""
    return len(list(read_events(path, bank_registry())))


async def clean(path: Path) -> int:
    async with opening(path) as store:
        assert store.recovery.clean
        return int(store.seq)


class BotError(Exception):
    """What a task of a bot dies of."""


class TestTaskGroups:
    def test_a_task_that_dies_ends_the_others_and_the_store(self, tmp_path: Path) -> None:
        acknowledged = []

        async def trades(store: EventStore[Bank]) -> None:
            while True:
                acknowledged.append((await store.append(pay())).seq)

        async def dies(store: EventStore[Bank]) -> None:
            while store.seq < 5:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0)
            raise BotError

        async def bot() -> None:
            async with opening(tmp_path) as store, asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(trades(store))
                tasks.create_task(dies(store))

        with pytest.raises(ExceptionGroup) as raised:
            asyncio.run(bot())
        assert raised.group_contains(BotError)
        assert asyncio.run(clean(tmp_path)) >= max(acknowledged) >= 5

    def test_a_group_within_the_store_may_be_cancelled_as_a_whole(self, tmp_path: Path) -> None:
        async def bot() -> None:
            async with opening(tmp_path) as store:
                with pytest.raises(TimeoutError):
                    await three_traders(store)
                await store.append(pay())  # the store is as usable as before
                assert store.stats().pending == 0

        async def three_traders(store: EventStore[Bank]) -> None:
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(_for_ever(store, limit))

        asyncio.run(bot())
        assert asyncio.run(clean(tmp_path)) == recorded(tmp_path) > 20


async def _for_ever(store: EventStore[Bank], limit: asyncio.Timeout | None = None) -> None:
    """Append without an end. After twenty events, the time is up."""
    while True:
        await store.append(pay())
        if limit is not None and store.seq > 20:
            limit.reschedule(asyncio.get_running_loop().time())


class TestTimeouts:
    def test_a_timeout_round_an_append_leaves_the_write_going_on(self) -> None:
        async def bot() -> None:
            async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
                with pytest.raises(TimeoutError):
                    await in_no_time(store)
                await store.flush()
                assert store.seq == 1

        async def in_no_time(store: EventStore[Bank]) -> None:
            async with asyncio.timeout(0):
                await store.append(pay())

        run_in_virtual_time(bot())

    def test_a_timeout_round_the_whole_store_closes_the_store(self, tmp_path: Path) -> None:
        async def bot() -> None:
            async with asyncio.timeout(None) as limit, opening(tmp_path) as store:
                await _for_ever(store, limit)

        with pytest.raises(TimeoutError):
            asyncio.run(bot())
        assert asyncio.run(clean(tmp_path)) > 20


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")
class TestEagerTasks:
    def test_appends_by_eager_tasks_are_one_order(self, tmp_path: Path) -> None:
        async def bot() -> None:
            eager: Any = vars(asyncio)["eager_task_factory"]
            asyncio.get_running_loop().set_task_factory(eager)
            async with opening(tmp_path) as store:
                receipts = await asyncio.gather(*(store.append(pay()) for _ in range(50)))
                assert [receipt.seq for receipt in receipts] == list(range(1, 51))
                tasks = [asyncio.create_task(_appended(store)) for _ in range(50)]
                for task in tasks[::2]:
                    task.cancel()
                await asyncio.wait(tasks)
                await store.snapshot()
                assert store.seq == 100, "a cancelled append was submitted before"

        asyncio.run(bot())
        assert asyncio.run(clean(tmp_path)) == 100


async def _appended(store: EventStore[Bank]) -> None:
    await store.append(pay())


def test_uvloop(tmp_path: Path) -> None:
    async def bot() -> None:
        with shutdown_on_signals(signal.SIGUSR1):
            async with opening(tmp_path) as store:
                await asyncio.gather(*(store.append(pay()) for _ in range(100)))
                await store.snapshot()
                os.kill(os.getpid(), signal.SIGUSR1)
                await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with pytest.raises(SystemExit):
            runner.run(bot())
        assert runner.run(clean(tmp_path)) == 100


class TestALoopInAThread:
    def in_a_thread(self, call: Callable[[], object]) -> list[BaseException]:
        raised: list[BaseException] = []

        def caught() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001  told to the test
                raised.append(error)

        thread = threading.Thread(target=caught)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        return raised

    def test_the_main_thread_ends_its_task(self, tmp_path: Path) -> None:
        begun = threading.Event()
        running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

        async def bot() -> None:
            task = asyncio.current_task()
            assert task is not None
            async with opening(tmp_path) as store:
                await store.append(pay())
                running.append((asyncio.get_running_loop(), task))
                begun.set()
                await _for_ever(store)

        def stop() -> None:
            assert begun.wait(30)
            loop, task = running[0]
            loop.call_soon_threadsafe(task.cancel)

        stopper = threading.Thread(target=stop)
        stopper.start()
        (error,) = self.in_a_thread(lambda: asyncio.run(bot()))
        stopper.join(30)
        assert isinstance(error, asyncio.CancelledError)
        assert asyncio.run(clean(tmp_path)) >= 1

    def test_no_signal_is_handled_there(self, tmp_path: Path) -> None:
        async def bot() -> None:
            with shutdown_on_signals():
                pass

        (error,) = self.in_a_thread(lambda: asyncio.run(bot()))
        assert isinstance(error, StoreUsageError)
        assert "call_soon_threadsafe(task.cancel)" in str(error)
