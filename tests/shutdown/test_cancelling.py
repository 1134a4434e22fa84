"""Every public coroutine, cancelled at every await point: the store goes on, and loses nothing."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import eventstore
from eventstore import (
    Event,
    EventLog,
    EventStore,
    Follower,
    HandlerRegistry,
    Operation,
    SimulatedClock,
    StoreClosedError,
    follow,
    handler,
    history,
)
from eventstore.detached_work import wake
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.history import branch, compare
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.shutdown.awaits import WAYS, CancelledAt

CONFIG: dict[str, Any] = {"segment_size": 4096, "wal_max_entries": None, "auto_save_interval": None}


class Add(Operation):
    amount: int
    memo: str = ""


class Order(Operation, intent="order_id"):
    order_id: str = ""


class Fill(Operation, key="fill_id"):
    fill_id: str
    amount: int


def sum_registry() -> HandlerRegistry[int]:
    @handler
    def add(state: int, event: Event[Add]) -> int:
        return state + event.data.amount

    @handler
    def order(state: int, event: Event[Order]) -> int:
        return state

    @handler
    def fill(state: int, event: Event[Fill]) -> int:
        return state + event.data.amount

    return HandlerRegistry(add, order, fill, initial=int)


def open_store(disk: Disk, **options: Any) -> Any:
    return EventStore.open(
        "", sum_registry(), disk=disk, clock=SimulatedClock(10**18), **CONFIG | options
    )


Store = EventStore[int]
Scenario = Callable[[Store], Coroutine[Any, Any, Any]]


# ---- what is cancelled, on an open store -----------------------------------------------------


async def append(store: Store) -> None:
    await store.append(Add(amount=1))


async def append_a_group_that_begins_a_segment(store: Store) -> None:
    await store.append(Add(amount=1, memo="x" * 5000), Add(amount=2))


async def append_that_waits_for_room(store: Store) -> None:
    for _ in range(6):
        store.submit(Add(amount=1))
    await store.append(Add(amount=1), Add(amount=1))


async def append_relaxed(store: Store) -> None:
    await store.append(Add(amount=1), durability="none")


async def a_receipt(store: Store) -> None:
    await store.submit(Add(amount=1))


async def flush(store: Store) -> None:
    await store.append(Add(amount=1), durability="none")
    store.submit(Add(amount=1))
    await store.flush()


async def snapshot(store: Store) -> None:
    store.submit(Add(amount=1))
    await store.snapshot()
    await store.append(Add(amount=1))
    await asyncio.gather(store.snapshot(), store.snapshot())


async def close(store: Store) -> None:
    store.submit(Add(amount=1))
    await store.close()


async def events(store: Store) -> None:
    async for _ in store.events():
        await asyncio.sleep(0)


async def subscribed(store: Store) -> None:
    async with store.subscribe(after=0) as subscription:
        store.submit(Add(amount=1))
        for _ in range(store.seq + 1):
            await anext(subscription)


async def subscription_closed(store: Store) -> None:
    subscription = store.subscribe()
    waiting = asyncio.ensure_future(anext(subscription, None))
    await asyncio.sleep(0)
    await subscription.close()
    await waiting


async def cursor_saved(store: Store) -> None:
    async with store.subscribe(cursor="risk", after=0) as subscription:
        await anext(subscription)
        await subscription.save()


async def keyed(store: Store) -> None:
    """The same fill from two tasks: the second waits for the first."""
    fill = Fill(fill_id="f", amount=7)
    await asyncio.gather(store.append(fill), store.append(fill))
    await store.append(fill)


async def keyed_and_looked_up(store: Store) -> None:
    """The fill is in a run of keys, and the disk has to be asked."""
    fill = Fill(fill_id="f", amount=7)
    await store.append(fill)
    await store.snapshot()
    await asyncio.gather(store.append(fill), store.append(fill))


async def read_only(store: Store) -> None:
    """Another store, opened on the same files, follows this one."""
    disk = store.log.disk
    assert disk is not None
    async with EventStore.open("", sum_registry(), disk=reopened(disk), read_only=True) as reader:
        options: dict[str, Any] = {"slow": "error", "max_lag": 5, "cursor": "beside"}
        async with reader.subscribe(after=0, **options) as events_beside:
            await store.append(Add(amount=1))
            for _ in range(4):
                await anext(events_beside)
            await events_beside.save()
        await events(reader)
        await reader.find("f")


async def find(store: Store) -> None:
    await store.append(Fill(fill_id="f", amount=7))
    await store.snapshot()
    await store.find("f")


async def intend(store: Store) -> None:
    async with store.intend(Order()) as doubt:
        await doubt.settle("accepted")


async def decidable(store: Store) -> None:
    within, lag = timedelta(milliseconds=1), timedelta(milliseconds=1)
    async with store.intend(Order(), within=within, lag=lag) as doubt:
        await doubt.decidable()
        await doubt.settle("never_sent")


async def leaving_a_group_of_tasks(store: Store) -> None:
    async with asyncio.TaskGroup() as tasks:
        for amount in (1, 2, 3):
            tasks.create_task(_appended(store, amount))


async def _appended(store: Store, amount: int) -> None:
    await store.append(Add(amount=amount))


SCENARIOS: dict[str, Scenario] = {
    "EventStore.append": append,
    "EventStore.append, a segment begins": append_a_group_that_begins_a_segment,
    "EventStore.append, waiting": append_that_waits_for_room,
    "EventStore.append, relaxed": append_relaxed,
    "Receipt.__await__": a_receipt,
    "EventStore.flush": flush,
    "EventStore.snapshot": snapshot,
    "EventStore.close": close,
    "EventStore.events": events,
    "Subscription.__anext__": subscribed,
    "Subscription.close": subscription_closed,
    "Subscription.save": cursor_saved,
    "EventStore.append, keyed": keyed,
    "EventStore.append, looked up": keyed_and_looked_up,
    "EventStore.open, read-only": read_only,
    "EventStore.find": find,
    "EventStore.intend": intend,
    "Doubt.settle": intend,
    "Doubt.decidable": decidable,
    "asyncio.TaskGroup": leaving_a_group_of_tasks,
}


async def cancelled(store: Store, scenario: Scenario, number: int, way: str) -> bool:
    """Cancel a scenario at an await point. Returns whether there was a point of that number."""
    run = CancelledAt(scenario(store), number, way)
    await run.to_its_end()
    return run.reached


async def check_usable(store: Store, acknowledged: int) -> int:
    """Check that an open store takes appends, and returns the number of the last event."""
    await store.flush()
    assert store.seq >= acknowledged
    assert store.stats().pending == 0
    before = store.seq
    receipt = await store.append(Add(amount=10))
    assert (receipt.seq, store.seq, store.head_seq) == (before + 1,) * 3
    assert await store.snapshot() == receipt.seq
    found = [event async for event in store.events()]
    assert [event.seq for event in found] == list(range(1, receipt.seq + 1))
    amounts = [event.data.amount for event in found if isinstance(event.data, Add | Fill)]
    assert store.state == sum(amounts)
    fills = [event.data for event in found if isinstance(event.data, Fill)]
    assert len(fills) <= 1
    again = await store.append(Fill(fill_id="f", amount=7))
    assert again.duplicate is bool(fills)
    receipt = again if not fills else receipt
    return receipt.seq


async def check_reopened(disk: Disk, seq: int) -> None:
    async with open_store(disk, create=False) as store:
        assert store.seq >= seq
        assert store.recovery.clean
        assert not store.recovery.snapshots_rejected
        await check_usable(store, seq)


async def cancel_on_an_open_store(
    make: Callable[[], Disk], again: Callable[[Disk], Disk], scenario: Scenario, way: str
) -> int:
    """Cancel at every await point, one store each. Returns the number of points."""
    number = 0
    reached = True
    while reached:
        number += 1
        disk = make()
        store = await open_store(disk, max_pending=6)
        for _ in range(3):
            await store.append(Add(amount=1))
        reached = await cancelled(store, scenario, number, way)
        try:
            seq = await check_usable(store, 3)
        except StoreClosedError:
            assert scenario is close
            seq = 3
        await store.close()
        await check_reopened(again(disk), seq)
    return number - 1


def reopened(disk: Disk) -> Disk:
    """The disk as the next process finds it."""
    return disk.reopen() if isinstance(disk, SimulatedDisk) else LocalDisk(disk.path)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_await_point_on_a_simulated_disk(name: str, way: str) -> None:
    cancelled = cancel_on_an_open_store(SimulatedDisk, reopened, SCENARIOS[name], way)
    points = run_in_virtual_time(cancelled)
    assert points >= 1


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_await_point_on_a_real_disk(name: str, way: str, tmp_path: Path) -> None:
    """The same with threads: an answer comes from another thread, at any time."""
    made: list[Path] = []

    def make() -> Disk:
        made.append(tmp_path / f"store-{len(made)}")
        return LocalDisk(made[-1], create=True)

    scenario = SCENARIOS[name]
    asyncio.run(cancel_on_an_open_store(make, reopened, scenario, way))


# ---- opening and closing ---------------------------------------------------------------------


async def opened_and_left(disk: Disk, opened: list[Store], **options: Any) -> None:
    async with open_store(disk, **options) as store:
        opened.append(store)
        store.submit(Add(amount=1))
        await asyncio.sleep(0)


async def awaited_and_closed(disk: Disk, opened: list[Store], **options: Any) -> None:
    store = await open_store(disk, **options)
    try:
        await store.append(Add(amount=1))
    finally:
        await store.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("use", [opened_and_left, awaited_and_closed])
@pytest.mark.parametrize("options", [{}, {"use_wal": False}, {"durability": "none"}])
@pytest.mark.parametrize("before", [0, 1], ids=["new", "old"])
def test_opening_and_leaving(
    use: Callable[..., Coroutine[Any, Any, None]], options: dict[str, Any], way: str, before: int
) -> None:
    """The lock is free afterwards. Leaving the block closes the store, also when cancelled."""

    async def run() -> None:
        number, reached = 0, True
        while reached:
            number += 1
            disk = SimulatedDisk()
            for _ in range(before):
                async with open_store(disk, **options) as store:
                    await store.append(Add(amount=1))
                disk = disk.reopen()
            opened: list[Store] = []
            driven = CancelledAt(use(disk, opened, **options), number, way)

            async def awaits(driven: CancelledAt = driven) -> None:
                await driven

            task = asyncio.ensure_future(awaits())
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
            reached = driven.reached
            if use is awaited_and_closed:
                await asyncio.sleep(10)  # the closing goes on
            if not opened:
                disk.close()  # as the garbage collection of a directory of its own does
            async with open_store(disk.reopen(), **options) as store:
                assert store.seq >= before
                assert store.recovery.clean or not store.recovery.seq
                await store.append(Add(amount=1))

    run_in_virtual_time(run())


# ---- logs, branches, followers ---------------------------------------------------------------


async def log_calls(log: EventLog[Any]) -> None:
    await log.append(1, 2)
    log.submit(3)
    await log.flush()
    async for _ in log.read():
        await asyncio.sleep(0)
    await log.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_log(way: str) -> None:
    async def run() -> None:
        number, reached = 0, True
        while reached:
            number += 1
            disk = SimulatedDisk()
            log = await EventLog.open(disk=disk, segment_size=4096)
            await log.append(0)
            driven = CancelledAt(log_calls(log), number, way)

            async def awaits(driven: CancelledAt = driven) -> None:
                await driven

            task = asyncio.ensure_future(awaits())
            await asyncio.wait([task])
            reached = driven.reached
            await log.close()
            async with EventLog.open(disk=disk.reopen()) as again:
                assert again.recovery.clean
                values = [event.data async for event in again.read()]
                assert values in ([0], [0, 1, 2], [0, 1, 2, 3])
                await again.append(4)
        assert number > 5

    run_in_virtual_time(run())


@pytest.mark.parametrize("way", WAYS)
def test_a_follower(way: str, tmp_path: Path) -> None:
    """A follower that was cancelled goes on with the next event, and none is left out."""

    async def run() -> None:
        path = tmp_path / "store"
        async with EventStore.open(path, sum_registry(), **CONFIG) as store:
            for amount in range(3):
                await store.append(Add(amount=amount))
            for number in range(1, 8):
                async with follow(path, sum_registry(), cursor=f"at-{number}", after=0) as follower:
                    driven = CancelledAt(_followed(follower), number, way)

                    async def awaits(driven: CancelledAt = driven) -> None:
                        await driven

                    task = asyncio.ensure_future(awaits())
                    await asyncio.wait([task])
                    seen = follower.seq
                    rest = [(await anext(follower)).seq for _ in range(3 - seen)]
                    assert rest == list(range(seen + 1, 4))
                    await follower.close()

    asyncio.run(run())


async def _followed(follower: Follower) -> None:
    for _ in range(2):
        await anext(follower)
    await follower.save()
    await anext(follower)


async def branched_and_compared(path: Path, to: Path | None) -> None:
    async with (
        branch(path, sum_registry(), to=to) as other,
        EventStore.open(path, sum_registry(), read_only=True) as store,
    ):
        await other.append(Add(amount=1))
        await compare(store, other)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "on disk"])
def test_a_branch(durable: bool, way: str, tmp_path: Path) -> None:
    """The parent is as before, and another branch can be made beside."""

    async def run() -> None:
        path = tmp_path / "store"
        async with EventStore.open(path, sum_registry(), **CONFIG) as store:
            for amount in range(3):
                await store.append(Add(amount=amount))
        number, reached = 0, True
        while reached:
            number += 1
            to = tmp_path / f"branch-{number}" if durable else None
            driven = CancelledAt(branched_and_compared(path, to), number, way)

            async def awaits(driven: CancelledAt = driven) -> None:
                await driven

            task = asyncio.ensure_future(awaits())
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
            reached = driven.reached
        async with EventStore.open(path, sum_registry(), **CONFIG, create=False) as store:
            assert (store.seq, store.recovery.clean) == (3, True)
        await branched_and_compared(path, tmp_path / "last" if durable else None)
        assert number > 3

    asyncio.run(run())


# ---- nothing was forgotten -------------------------------------------------------------------

ELSEWHERE = {
    "EventLog.append": test_a_log,
    "EventLog.flush": test_a_log,
    "EventLog.read": test_a_log,
    "EventLog.close": test_a_log,
    "Follower.__anext__": test_a_follower,
    "Follower.save": test_a_follower,
    "Follower.close": test_a_follower,
    "compare": test_a_branch,
}
ENTERED = ("__aenter__", "__aexit__", "end")
"""Methods of `async with`, which the scenarios use. `Subscription.end` is the store's."""


def coroutines_of(kind: type[Any]) -> list[str]:
    found = []
    for name, member in inspect.getmembers(kind):
        function = inspect.unwrap(member) if callable(member) else member
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            found.append(f"{kind.__name__}.{name}")
    return found


def test_every_public_coroutine_has_a_scenario() -> None:
    named = (getattr(eventstore, name) for name in eventstore.__all__)
    public = [name for kind in named if inspect.isclass(kind) for name in coroutines_of(kind)]
    assert "EventStore.append" in public
    functions = (getattr(history, name) for name in history.__all__)
    public += [each.__name__ for each in functions if inspect.iscoroutinefunction(each)]
    missing = [
        name
        for name in public
        if name not in SCENARIOS
        and name not in ELSEWHERE
        and name.partition(".")[2] not in ENTERED
        and not name.partition(".")[2].startswith("_")
    ]
    assert missing == []


# ---- the driver ------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "answers"), [("at once", [0, 1]), ("with the answer", [1, 2])])
def test_the_driver_cancels_where_it_says(way: str, answers: list[int]) -> None:
    """The answer of the second point has come, or not, before its task is cancelled."""
    came: list[int] = []

    def note(done: asyncio.Future[None]) -> None:
        if not done.cancelled():
            came.append(1)

    async def waits() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            future: asyncio.Future[None] = loop.create_future()
            future.add_done_callback(note)
            loop.call_soon(wake, future)
            await future

    async def run() -> None:
        for number in (1, 2):
            came.clear()
            driven = CancelledAt(waits(), number, way)

            async def awaits(driven: CancelledAt = driven) -> None:
                await driven

            task = asyncio.ensure_future(awaits())
            await asyncio.wait([task])
            assert task.cancelled()
            assert (driven.points, len(came)) == (number, answers[number - 1])

    run_in_virtual_time(run())
