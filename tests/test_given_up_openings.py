"""An opening that is cancelled frees the store, and the next opening waits for that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eventstore import Clock, EventLog, EventStore, StoreLockedError, SystemClock
from eventstore.blocking_calls import run_opening, wait_for_given_up
from eventstore.disk.local import LocalDisk
from tests.support.bank import Bank, bank_registry, pay
from tests.support.gates import PATIENCE

pytestmark = pytest.mark.asyncio


class HeldUp(SystemClock):
    """A clock that holds an opening up, on its thread and with the lock, until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Event()

    def time_ns(self) -> int:
        if threading.current_thread() is not threading.main_thread():
            self.entered.set()
            assert self.let_go.wait(PATIENCE)
        return super().time_ns()

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, PATIENCE)


async def cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def opened_store(path: Path) -> Any:
    return EventStore.open(path, bank_registry())


def opened_log(path: Path) -> Any:
    return EventLog.open(path)


def opened_disk(path: Path) -> Any:
    return EventStore.open("", bank_registry(), disk=LocalDisk(path, create=True))


@pytest.mark.parametrize("opening", [opened_store, opened_log, opened_disk])
async def test_it_is_opened_again_at_once(opening: Callable[[Path], Any], tmp_path: Path) -> None:
    async def opens() -> Any:
        return await opening(tmp_path / "store")

    for turns in range(1, 12):
        task = asyncio.ensure_future(opens())
        for _ in range(turns):
            await asyncio.sleep(0)  # one turn of the loop
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():  # the opening ended in fewer turns
            await task.result().close()
        async with opening(tmp_path / "store"):
            pass


async def test_the_next_opening_waits_for_one_under_way(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "store") as store:
        await store.append(pay(1))
    held = HeldUp()
    first = asyncio.ensure_future(_opened(tmp_path / "store", held))
    await held.reached()
    await cancelled(first)
    second = asyncio.ensure_future(_opened(tmp_path / "other" / ".." / "store"))
    elsewhere = await _opened(tmp_path / "elsewhere")
    await elsewhere.close()
    await asyncio.sleep(0.01)  # an opening that did not wait would be done
    assert not second.done()
    held.let_go.set()
    store = await second
    assert store.seq == 1
    await store.close()


async def test_one_that_nobody_gave_up_refuses_the_next(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "store"):
        with pytest.raises(StoreLockedError, match="a store of it is still open"):
            await opened_store(tmp_path / "store")
    await (await opened_store(tmp_path / "store")).close()


async def test_one_that_waits_may_be_given_up_too(tmp_path: Path) -> None:
    held = HeldUp()
    first = asyncio.ensure_future(_opened(tmp_path / "store", held))
    await held.reached()
    await cancelled(first)
    second = asyncio.ensure_future(_opened(tmp_path / "store"))
    await asyncio.sleep(0.01)  # it waits on a thread by then, or has not begun: both are right
    await cancelled(second)
    held.let_go.set()
    async with opened_store(tmp_path / "store") as store:
        await store.append(pay(1))


async def test_one_that_never_began_makes_nothing(tmp_path: Path) -> None:
    busy = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor)
        waiting = loop.run_in_executor(None, busy.wait, PATIENCE)
        opening = asyncio.ensure_future(_opened(tmp_path / "store"))
        await asyncio.sleep(0.01)  # it is queued behind the busy thread, and nobody tells of it
        await cancelled(opening)
        busy.set()
        await waiting
        await asyncio.to_thread(wait_for_given_up, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("ended", [False, True])
async def test_what_was_opened_is_closed_once(ended: bool, tmp_path: Path) -> None:
    let_go, begun, closed = threading.Event(), threading.Event(), list[str]()

    def call() -> str:
        begun.set()
        assert let_go.wait(PATIENCE)
        return "opened"

    task = asyncio.ensure_future(run_opening(tmp_path, None, call, closed.append))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    if ended:  # in the turn of the loop before the task hears of it
        asyncio.get_running_loop().call_soon(let_go.set)
    task.cancel()
    await asyncio.wait([task])
    let_go.set()
    await asyncio.to_thread(wait_for_given_up, tmp_path)
    assert closed == ["opened"]


async def _opened(path: Path, clock: Clock | None = None) -> EventStore[Bank]:
    return await EventStore.open(path, bank_registry(), clock=clock)
