"""Room in a log's queue: fair, exact, linear, and with an end to every wait."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from eventstore import EventLog, EventStore, HandlerRegistry, Operation, handler
from eventstore.disk.layout import segment_name
from eventstore.errors import (
    EventStoreError,
    InvalidPayloadError,
    StoreClosedError,
    StoreFailedError,
    StoreFullError,
    StoreOverloadedError,
)
from eventstore.log.backpressure import Room
from eventstore.model.operation import Event
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import VirtualTimeLoop, run_in_virtual_time

LIMIT = 4


class RefusedError(Exception):
    """The error of a handler that refuses, inside the block that would submit."""


ENDS = (
    asyncio.CancelledError,
    TimeoutError,
    RefusedError,
    InvalidPayloadError,
    StoreFullError,
    StoreFailedError,
    StoreClosedError,
)
"""The ways in which an append may end without a receipt."""


async def settle() -> None:
    """Let the loop turn until every woken task has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def within(seconds: float, append: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(seconds):
        await append()


class Queue:
    """A log from the side of its room: appends add to `pending`, and commits give back."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.room = Room(limit)
        self.submitted: list[str] = []
        self.added = self.committed = 0

    async def append(self, name: str, count: int = 1, *, refused: bool = False) -> None:
        self.room.ensure_open()
        if self.room.fits(count):
            self.submit(name, count, refused)
        else:
            await self.room.submit_when_fits(count, self.submit, name, count, refused)

    def submit(self, name: str, count: int = 1, refused: bool = False) -> None:
        if refused:
            raise RefusedError
        self.submitted.append(name)
        self.added += count
        self.room.pending += count

    def appending(self, name: str, count: int = 1, *, refused: bool = False) -> asyncio.Task[None]:
        return asyncio.create_task(self.append(name, count, refused=refused))

    def commit(self, count: int | None = None) -> None:
        """Give back `count` pending events, or all of them."""
        count = self.room.pending if count is None else min(count, self.room.pending)
        self.committed += count
        self.room.give_back(count)


def full() -> Queue:
    queue = Queue()
    for _ in range(LIMIT):
        queue.submit("first")
    queue.submitted.clear()
    return queue


SelfT = TypeVar("SelfT")


def in_virtual_time(
    test: Callable[[SelfT], Coroutine[Any, Any, None]],
) -> Callable[[SelfT], None]:
    """Run a test in virtual time, where an endless wait raises `StalledError`."""

    @functools.wraps(test)
    def run(self: SelfT) -> None:
        run_in_virtual_time(test(self))

    return run


class TestFitting:
    def test_up_to_the_limit(self) -> None:
        room = Room(LIMIT)
        room.pending = 1
        assert room.fits(3)
        assert not room.fits(4)

    def test_any_number_fits_alone(self) -> None:
        assert Room(LIMIT).fits(1000)

    def test_the_error_of_a_full_one_says_the_facts(self) -> None:
        error = full().room.overloaded_error()
        assert isinstance(error, StoreOverloadedError)
        assert (error.pending, error.limit) == (LIMIT, LIMIT)
        assert "max_pending" in str(error)

    @in_virtual_time
    async def test_nothing_fits_ahead_of_a_waiter(self) -> None:
        queue = full()
        queue.room.give_back(1)
        waiting = queue.appending("group", 3)
        await settle()
        assert queue.room.pending == 3
        assert not queue.room.fits(1)
        queue.commit()
        await waiting
        assert queue.room.fits(1)

    @in_virtual_time
    async def test_granted_room_is_taken(self) -> None:
        """Between the grant and the waiter's next turn, nobody else gets the room."""
        queue = full()
        waiting = queue.appending("waited", LIMIT)
        await settle()
        queue.commit()
        assert queue.room.pending == 0
        assert not queue.room.fits(1)
        await waiting
        assert queue.room.pending == LIMIT

    @in_virtual_time
    async def test_waiting_where_there_is_room_takes_no_time(self) -> None:
        waiting = Room(LIMIT).submit_when_fits(2, lambda: "submitted")
        with pytest.raises(StopIteration, match="submitted"):
            waiting.send(None)


class TestPassingOn:
    """A waiter that leaves, in any way, lets the next waiter in."""

    @in_virtual_time
    async def test_after_a_refusal(self) -> None:
        queue = full()
        tasks = [queue.appending("refused", LIMIT, refused=True) for _ in range(3)]
        last = queue.appending("last", LIMIT)
        await settle()
        queue.commit()
        await last
        assert [type(task.exception()) for task in tasks] == [RefusedError] * 3
        assert (queue.submitted, queue.room.pending) == (["last"], LIMIT)

    @in_virtual_time
    async def test_after_a_call_that_submitted_nothing(self) -> None:
        queue = full()
        idle = asyncio.create_task(queue.room.submit_when_fits(LIMIT, lambda: "nothing"))
        await settle()
        last = queue.appending("last", LIMIT)
        await settle()
        queue.commit()
        assert await idle == "nothing"
        await last
        assert queue.room.pending == LIMIT

    @in_virtual_time
    async def test_after_a_cancellation_in_the_line(self) -> None:
        """The group at the front keeps small appends waiting, though these would fit."""
        queue = full()
        queue.room.give_back(1)
        group = queue.appending("group", LIMIT)
        small = queue.appending("small")
        await settle()
        group.cancel()
        await small
        assert (queue.submitted, queue.room.pending) == (["small"], LIMIT)

    @in_virtual_time
    async def test_after_a_cancellation_of_a_granted_one(self) -> None:
        queue = full()
        granted, following = queue.appending("granted", LIMIT), queue.appending("next", LIMIT)
        await settle()
        queue.commit()
        granted.cancel()
        await following
        assert granted.cancelled()
        assert (queue.submitted, queue.room.pending) == (["next"], LIMIT)

    @in_virtual_time
    async def test_after_a_cancellation_in_the_same_turn_as_a_commit(self) -> None:
        """The cancelled one is not out of the line yet when room is granted."""
        queue = full()
        cancelled, following = queue.appending("cancelled", LIMIT), queue.appending("next", LIMIT)
        await settle()
        cancelled.cancel()
        queue.commit()
        await following
        assert (queue.submitted, queue.room.pending) == (["next"], LIMIT)

    @in_virtual_time
    async def test_after_a_timeout(self) -> None:
        queue = full()
        queue.room.give_back(1)
        group = asyncio.create_task(asyncio.wait_for(queue.append("group", LIMIT), 10))
        await settle()
        await queue.appending("small")
        await settle()
        assert isinstance(group.exception(), TimeoutError)
        assert queue.room.pending == LIMIT

    @in_virtual_time
    async def test_in_order_of_arrival(self) -> None:
        queue = full()
        tasks = [queue.appending(str(number), 1 + number % 3) for number in range(50)]
        for number in range(0, 50, 7):
            await settle()
            tasks[number].cancel()
        for _ in tasks:  # each commit lets one in at least
            await settle()
            queue.commit()
        assert queue.submitted == sorted(queue.submitted, key=int)
        assert all(task.cancelled() or task.exception() is None for task in tasks)


class TestClosing:
    @in_virtual_time
    async def test_wakes_everyone_at_once_with_an_error_of_their_own(self) -> None:
        queue = full()
        tasks = [queue.appending("waits", 1) for _ in range(10)]
        await settle()
        queue.room.close(StoreClosedError("closed", path="p"))
        assert queue.room.taken == LIMIT, "whoever is refused takes no room"
        await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks]
        assert all(isinstance(error, StoreClosedError) for error in errors)
        assert len({id(error) for error in errors}) == 10
        queue.commit()
        assert (queue.submitted, queue.room.pending) == ([], 0)

    def test_a_refusal_has_the_facts_and_the_cause_but_no_old_traceback(self) -> None:
        room = Room(LIMIT)
        refusal = StoreFailedError("failed", path="p", errno=5)
        refusal.__cause__ = cause = OSError(5, "cause")
        room.close(refusal)
        for _ in range(3):
            with pytest.raises(StoreFailedError, match="failed") as raised:
                room.ensure_open()
            error = raised.value
            assert error is not refusal
            assert (error.path, error.errno, error.__cause__) == ("p", 5, cause)
            assert len(raised.traceback) == 2
        assert refusal.__traceback__ is None

    def test_a_loop_that_was_closed_over_waiters(self) -> None:
        """The garbage collector closes the coroutines of the waiters, one after the other."""
        loop = VirtualTimeLoop(10.0)
        queue = full()
        coroutines = [queue.append("never", LIMIT) for _ in range(3)]

        async def session() -> None:
            tasks = [loop.create_task(coroutine) for coroutine in coroutines]
            await settle()
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant

        loop.run_until_complete(session())
        queue.commit()  # the first is granted, and never runs again
        loop.close()
        for coroutine in coroutines:
            coroutine.close()  # raises nothing, though nobody can be woken
        assert queue.submitted == []

    @in_virtual_time
    async def test_disowned_waiters_are_not_woken(self) -> None:
        queue = full()
        waiting = queue.appending("the parent's")
        await settle()
        queue.room.disown(StoreClosedError("another process's", path="p"))
        await settle()
        assert not waiting.done()
        with pytest.raises(StoreClosedError):
            queue.room.ensure_open()
        waiting.cancel()


@pytest.mark.parametrize("leaving", ["cancelled", "refused", "closed"])
def test_a_flood_of_leaving_waiters_takes_linear_time(leaving: str) -> None:
    """Eight times as many take eight times as long, where a quadratic cost takes 64 times."""

    async def seconds(count: int) -> float:
        queue = full()
        tasks = [queue.appending("waits", LIMIT, refused=True) for _ in range(count)]
        await settle()
        began = time.process_time()
        if leaving == "cancelled":
            for task in tasks:
                task.cancel()
        elif leaving == "refused":
            queue.commit()
        else:
            queue.room.close(StoreClosedError("closed", path="p"))
        await asyncio.wait(tasks)
        for task in tasks:
            assert task.cancelled() or task.exception() is not None
        return time.process_time() - began

    few, many = (
        min(run_in_virtual_time(seconds(count)) for _ in range(3)) for count in (2_000, 16_000)
    )
    assert many < 24 * few


# ---- a model ---------------------------------------------------------------------------------

COUNTS = st.integers(1, LIMIT + 2)
APPENDS = st.tuples(st.sampled_from(["append", "append", "refused", "timeout"]), COUNTS)
CHANGES = st.one_of(
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("commit"), st.integers(1, LIMIT)),
    st.tuples(st.sampled_from(["turn", "settle", "sleep"]), st.just(0)),
)
STEPS = st.lists(st.one_of(APPENDS, APPENDS, CHANGES, CHANGES, CHANGES), min_size=5, max_size=40)


@given(steps=STEPS, closed=st.booleans())
def test_nobody_waits_while_there_is_room(steps: list[tuple[str, int]], closed: bool) -> None:
    async def session() -> None:
        queue = full()
        tasks: list[tuple[int, asyncio.Task[None]]] = []

        def waiting() -> list[int]:
            return [count for count, task in tasks if not task.done()]

        for kind, number in steps:
            match kind:
                case "append" | "refused":
                    task = queue.appending("x" * number, number, refused=kind == "refused")
                    tasks.append((number, task))
                case "timeout":
                    append = functools.partial(queue.append, "x" * number, number)
                    tasks.append((number, asyncio.create_task(within(5, append))))
                case "cancel" if number < len(tasks):
                    tasks[number][1].cancel()
                case "commit":
                    queue.commit(number)
                case "turn":
                    await asyncio.sleep(0)
                case "settle" | "sleep":
                    await asyncio.sleep(10 if kind == "sleep" else 0)  # timeouts end in time only
                    await settle()
                    pending = queue.room.pending
                    assert pending == queue.added - queue.committed
                    if waiting():
                        event("some wait")
                        assert pending > 0
                        assert pending + waiting()[0] > LIMIT
                    else:
                        assert queue.room.fits(1) == (pending < LIMIT)
        if closed:
            queue.room.close(StoreClosedError("closed", path="p"))
            await settle()
            assert not waiting()
        for _ in tasks:  # each commit lets one in at least
            queue.commit()
            await settle()
        assert not waiting()
        assert queue.room.pending == queue.added - queue.committed
        queue.commit()
        assert queue.room.fits(LIMIT * 2)
        for outcome in await asyncio.gather(*(task for _, task in tasks), return_exceptions=True):
            assert outcome is None or isinstance(outcome, ENDS), outcome

    run_in_virtual_time(session())


# ---- and the same of a log and of a store ----------------------------------------------------


class Add(Operation):
    amount: int


@handler
def add(state: int, happened: Event[Add]) -> int:
    if happened.data.amount < 0:
        raise RefusedError
    return state + happened.data.amount


async def opened(kind: str, disk: SimulatedDisk) -> Any:
    options: dict[str, Any] = {"max_pending": 2, "segment_size": 1 << 16}
    if kind == "log":
        return await EventLog.open(disk=disk, **options)
    return await EventStore.open("", HandlerRegistry(add), disk=disk, **options)


def value(kind: str, refused: bool) -> Any:
    if kind == "log":
        return object() if refused else b"a value"
    return Add(amount=-1 if refused else 1)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "refused", "submit", "timeout", "cancel", "no space", "turn", "settle"]
        ),
        st.integers(1, 3),
    ),
    max_size=30,
)


@pytest.mark.parametrize("kind", ["log", "store"])
@given(actions=ACTIONS, ending=st.sampled_from(["close", "fail", "drain"]))
def test_every_append_ends_and_pending_is_exact(
    kind: str, actions: list[tuple[str, int]], ending: str
) -> None:
    async def session() -> None:
        disk = SimulatedDisk()
        target = await opened(kind, disk)
        tasks: list[asyncio.Task[Any]] = []
        receipts: list[Any] = []

        for action, number in actions:
            group = [value(kind, action == "refused")] * number
            match action:
                case "append" | "refused":
                    tasks.append(asyncio.create_task(target.append(*group)))
                case "timeout":
                    append = functools.partial(target.append, *group)
                    tasks.append(asyncio.create_task(within(1e-9, append)))
                case "submit":
                    with contextlib.suppress(StoreOverloadedError):
                        receipts.append(target.submit(*group))
                case "cancel":
                    for task in tasks[-number:]:
                        task.cancel()
                case "no space":
                    disk.fail(kind="write", name=segment_name(1), errno=errno.ENOSPC)
                case "turn":
                    await asyncio.sleep(0)
                case "settle":
                    await asyncio.sleep(10)
                    assert all(task.done() for task in tasks)
                    assert target.stats().pending == 0
        if ending == "fail":
            disk.fail(kind="sync", name=segment_name(1), errno=errno.EIO)
        if ending == "close":
            with contextlib.suppress(EventStoreError):
                await target.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(10)
        assert target.stats().pending == 0
        for outcome in outcomes:
            assert not isinstance(outcome, BaseException) or isinstance(outcome, ENDS), outcome
        assert all(receipt.done for receipt in receipts)
        with contextlib.suppress(EventStoreError):  # the outcome of a receipt not awaited
            await target.close()

    run_in_virtual_time(session())
