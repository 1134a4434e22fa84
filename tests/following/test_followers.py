"""`follow` and `follow_sync` as users call them: waiting, cancelling, closing, and places."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from eventstore import (
    ConfigError,
    CursorAheadError,
    Event,
    EventLog,
    EventStore,
    Follower,
    ForeignCursorError,
    HandlerRegistry,
    NotAwaitedError,
    Operation,
    SimulatedClock,
    StoreClosedError,
    StoreNotFoundError,
    UnknownOperationError,
    follow,
    follow_sync,
    handler,
    upcaster,
)
from eventstore.disk.layout import FRONTIER
from eventstore.following import wakeup
from eventstore.following.log_follower import LogFollower
from eventstore.log.frontier_file import Frontier
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.support.bank import Bank, bank_registry, pay, seqs

QUIET: dict[str, Any] = {"auto_save_interval": None, "wal_max_entries": None, "idle_seal": 3600.0}


def opened(disk: SimulatedDisk, **options: Any) -> Any:
    return EventStore.open("", bank_registry(), QUIET | options, disk=disk)


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[EventStore[Bank], Follower]]:
    """Yield a store with three events on a simulated disk, and a follower from the beginning."""
    disk = SimulatedDisk()
    async with opened(disk) as store:
        await store.append(pay(1), pay(2), pay(3))
        follower = follow("", bank_registry(), after=0, disk=disk.reopen(), **options)
        async with follower:
            yield store, follower


async def take(follower: Follower, number: int) -> list[Event[Any]]:
    return [await anext(follower) for _ in range(number)]


class TestWaiting:
    def test_history_comes_first_and_then_what_is_appended(self) -> None:
        async def program() -> None:
            async with pair() as (store, follower):
                events = await take(follower, 3)
                assert [event.data for event in events] == [pay(1), pay(2), pay(3)]
                waiting = asyncio.ensure_future(anext(follower))
                await asyncio.sleep(1)
                assert not waiting.done()
                await store.append(pay(4))
                assert (await waiting).data == pay(4)
                assert (follower.seq, follower.durable_seq) == (4, 4)

        run_in_virtual_time(program())

    def test_without_a_place_it_begins_with_the_next_event(self) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            async with opened(disk) as store:
                await store.append(pay(1))
                async with follow("", disk=disk.reopen()) as follower:
                    assert follower.seq == 1
                    await store.append(pay(2))
                    event = await anext(follower)
                    assert (event.seq, event.data["amount"]) == (2, 2)

        run_in_virtual_time(program())

    def test_cancelling_a_wait_at_any_time_loses_nothing(self) -> None:
        async def program() -> None:
            async with pair() as (store, follower):
                seen = []
                for turns in range(40):
                    waiting = asyncio.ensure_future(anext(follower))
                    for _ in range(turns % 8):
                        await asyncio.sleep(0)
                    if turns % 3 == 0:
                        await store.append(pay(store.seq + 1))
                    waiting.cancel()
                    with suppress(asyncio.CancelledError):
                        seen.append((await waiting).seq)
                while len(seen) < store.seq:
                    seen.append((await asyncio.wait_for(anext(follower), 60)).seq)
                assert seen == list(range(1, store.seq + 1))

        run_in_virtual_time(program())

    def test_a_cancelled_beginning_can_be_repeated(self) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            async with opened(disk) as store:
                await store.append(pay(1))
                for turns in range(6):
                    follower = follow("", after=0, disk=disk.reopen())
                    entering = asyncio.ensure_future(follower.__aenter__())
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    entering.cancel()
                    await asyncio.wait([entering])
                    assert (await anext(follower)).seq == 1
                    await follower.close()

        run_in_virtual_time(program())

    def test_each_event_goes_to_one_of_several_tasks(self) -> None:
        async def program() -> None:
            async with pair(until_closed=True) as (store, follower):
                seen: list[int] = []

                async def reader() -> None:
                    async for event in follower:
                        seen.append(event.seq)
                        await asyncio.sleep(0)

                readers = [asyncio.ensure_future(reader()) for _ in range(3)]
                for number in range(4, 30):
                    await store.append(pay(number))
                    await asyncio.sleep(0.01)
                await store.close()
                await asyncio.gather(*readers)
                assert sorted(seen) == list(range(1, 30))

        run_in_virtual_time(program())

    def test_errors_come_again_and_the_place_stays(self) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            async with opened(disk) as store:
                await store.append(pay(1))
                async with follow("", Renamed.registry(), after=0, disk=disk.reopen()) as follower:
                    for _ in range(2):
                        with pytest.raises(UnknownOperationError, match="deposit"):
                            await asyncio.wait_for(anext(follower), 60)
                    assert follower.seq == 0

        run_in_virtual_time(program())


class Renamed(Operation):
    amount: int

    @staticmethod
    def registry() -> HandlerRegistry[Any]:
        @handler
        def renamed(state: Bank, event: Event[Renamed]) -> Bank:
            return state

        return HandlerRegistry(renamed)


class TestEnding:
    def test_closing_ends_every_wait_and_may_be_repeated(self) -> None:
        async def program() -> None:
            async with pair() as (_, follower):
                await take(follower, 3)
                waiting = [asyncio.ensure_future(anext(follower)) for _ in range(3)]
                await asyncio.sleep(0.1)
                await asyncio.gather(follower.close(), follower.close())
                await follower.close()
                for wait in waiting:
                    with pytest.raises(StopAsyncIteration):
                        await wait
                with pytest.raises(StopAsyncIteration):
                    await anext(follower)
                assert "closed" in repr(follower)

        run_in_virtual_time(program())

    def test_cancelling_a_close_does_not_keep_the_files_open(self) -> None:
        async def program() -> None:
            for turns in range(6):
                async with pair() as (_, follower):
                    reading = asyncio.ensure_future(anext(follower))
                    closing = asyncio.ensure_future(follower.close())
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    closing.cancel()
                    await asyncio.gather(closing, reading, return_exceptions=True)
                    await follower.close()
                    with pytest.raises(OSError, match="closed"):
                        follower._started.disk.list()

        run_in_virtual_time(program())

    def test_a_follower_that_never_began_is_closed(self) -> None:
        async def program() -> None:
            follower = follow("", disk=SimulatedDisk())
            assert "nothing is read" in repr(follower)
            with pytest.raises(NotAwaitedError, match="async with"):
                _ = follower.cursor
            await follower.close()
            with pytest.raises(StopAsyncIteration):
                await anext(follower)

        run_in_virtual_time(program())

    def test_until_closed_ends_behind_the_last_event(self) -> None:
        async def program() -> None:
            async with pair(until_closed=True) as (store, follower):
                events = asyncio.ensure_future(collect(follower))
                await store.append(pay(4))
                await asyncio.sleep(1)
                assert not events.done()
                await store.close()
                assert seqs(await events) == [1, 2, 3, 4]

        run_in_virtual_time(program())

    def test_else_the_next_writer_is_waited_for(self) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            async with follow_of(disk) as follower:
                for life in range(1, 4):
                    async with opened(disk.reopen()) as store:
                        await store.append(pay(life))
                        assert (await anext(follower)).seq == life

        run_in_virtual_time(program())


@asynccontextmanager
async def follow_of(disk: SimulatedDisk) -> AsyncIterator[Follower]:
    async with opened(disk.reopen()):
        pass
    async with follow("", disk=disk.reopen()) as follower:
        yield follower


async def collect(follower: Follower) -> list[Event[Any]]:
    return [event async for event in follower]


class Old(Operation, tag="pair"):
    one: int
    two: int


class Single(Operation):
    number: int


@handler
def single(state: Bank, event: Event[Single]) -> Bank:
    return state


class TestPlaces:
    def test_a_cursor_goes_on_exactly_there(self) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            async with opened(disk, segment_size=4096) as store:
                for number in range(1, 60):
                    await store.append(pay(number, account="x" * 100))
                async with follow("", after=0, disk=disk.reopen()) as follower:
                    cursors = [follower.cursor]
                    for _ in range(59):
                        await anext(follower)
                        cursors.append(follower.cursor)
                assert [cursor.seq for cursor in cursors] == list(range(60))
                assert all(cursor.checksum is not None for cursor in cursors[1:])
                for cursor in cursors[::7]:
                    with follow_sync("", after=cursor, disk=disk.reopen()) as again:
                        assert again.seq == cursor.seq
                        assert again.cursor == cursor
                        if cursor.seq < 59:
                            assert next(again).seq == cursor.seq + 1

        run_in_virtual_time(program())

    def test_a_time_is_a_place(self) -> None:
        async def program() -> None:
            disk, clock = SimulatedDisk(), SimulatedClock(1_700_000_000 * 10**9)
            began = datetime.fromtimestamp(1_700_000_000, UTC)
            async with EventStore.open("", bank_registry(), QUIET, disk=disk, clock=clock) as store:
                for number in range(1, 6):
                    await store.append(pay(number))
                    clock.advance(10)
                for seconds, first in ((-1, 1), (0, 2), (5, 2), (10, 3), (39, 5), (40, 6)):
                    after = began + timedelta(seconds=seconds)
                    async with follow("", after=after, disk=disk.reopen()) as follower:
                        await store.append(pay(1)) if first > store.seq else None
                        assert (await anext(follower)).seq == first

        run_in_virtual_time(program())

    def test_only_the_wanted_operations_come(self) -> None:
        async def program() -> None:
            for registry in (None, bank_registry()):
                disk = SimulatedDisk()
                async with opened(disk) as store:
                    await store.append(pay(5))
                    await store.append("withdraw", {"account": "a", "amount": 1})
                    await store.append(pay(6))
                    async with follow(
                        "", registry, after=0, operations=["withdraw"], disk=disk.reopen()
                    ) as follower:
                        assert (await anext(follower)).seq == 2
                        assert follower.cursor.seq == 3, "nothing wanted is left before"

        run_in_virtual_time(program())

    def test_a_split_event_is_one_place(self) -> None:
        @handler
        def pair_of(state: Bank, event: Event[Old]) -> Bank:
            return state

        @upcaster
        def parts(old: Old) -> list[Single]:
            return [Single(number=old.one), Single(number=old.two)]

        async def program() -> None:
            disk = SimulatedDisk()
            async with EventStore.open(
                "", HandlerRegistry(pair_of), QUIET, disk=disk.reopen()
            ) as store:
                await store.append(Old(one=1, two=2), Old(one=3, two=4))
            registry = HandlerRegistry(single, parts)
            async with follow("", registry, after=0, disk=disk.reopen()) as follower:
                places = []
                for number in (1, 2, 3, 4):
                    assert (await anext(follower)).data == Single(number=number)
                    places.append(follower.cursor.seq)
                assert places == [0, 1, 1, 2]

        run_in_virtual_time(program())

    def test_a_log_of_values_is_followed_too(self) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, config=QUIET) as log:
                await log.append({"price": 1}, {"price": 2})
                async with follow("", after=1, disk=disk.reopen()) as follower:
                    assert (await anext(follower)).data == {"price": 2}

        run_in_virtual_time(program())


def one_event() -> SimulatedDisk:
    """A closed store with one event."""
    disk = SimulatedDisk()

    async def program() -> None:
        async with opened(disk) as store:
            await store.append(pay(1))

    run_in_virtual_time(program())
    return disk.reopen()


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"after": "1"}, "after"),
            ({"after": datetime(2026, 1, 1)}, "after"),
            ({"poll": 0}, "poll"),
            ({"poll": float("nan")}, "poll"),
            ({"poll": True}, "poll"),
            ({"operations": 5}, "operations"),
            ({"disk": 5}, "disk"),
        ],
    )
    def test_arguments_of_a_wrong_type_are_refused_at_once(
        self, options: dict[str, Any], reason: str
    ) -> None:
        for function in (follow, follow_sync):
            with pytest.raises(ConfigError, match=reason):
                function("somewhere", **options)

    def test_so_are_a_registry_that_is_none_and_an_unknown_name(self) -> None:
        bad: Any = bank_registry
        for function in (follow, follow_sync):
            with pytest.raises(ConfigError, match="registry"):
                function("somewhere", bad)
            with pytest.raises(UnknownOperationError):
                function("somewhere", bank_registry(), operations=["nothing"])

    @pytest.mark.parametrize("wait", ["1", math.nan, True, Decimal(1)])
    def test_a_wait_is_a_number_of_seconds(self, wait: Any) -> None:
        with follow_sync("", disk=one_event()) as follower, pytest.raises(ConfigError) as caught:
            follower.wait(wait)
        assert caught.value.key == "seconds"

    @pytest.mark.parametrize("wait", [0, -1, -(10**400), -math.inf])
    def test_a_wait_that_is_over_looks_once(self, wait: float) -> None:
        with follow_sync("", disk=one_event()) as follower:
            assert follower.wait(wait) is False
        with follow_sync("", after=0, disk=one_event()) as follower:
            assert follower.wait(wait) is True

    @pytest.mark.asyncio
    @pytest.mark.parametrize("longest", [10**400, 1e308, math.inf])
    async def test_every_number_above_zero_is_a_time_to_wait(
        self, longest: float, tmp_path: Path
    ) -> None:
        async with EventStore.open(tmp_path / "store", bank_registry(), QUIET) as store:
            path = tmp_path / "store"
            with follow_sync(path, poll=longest) as blocking:
                thread = asyncio.create_task(asyncio.to_thread(blocking.wait, longest))
                async with follow(path, poll=longest) as follower:
                    task = asyncio.create_task(anext(follower))
                    await asyncio.sleep(0.05)  # both wait by then, most often
                    await store.append(pay(1))
                    assert await thread is True
                    assert (await task).seq == 1

    def test_nothing_is_saved_by_a_closed_follower(self) -> None:
        with follow_sync("", after=0, cursor="risk", disk=one_event()) as blocking:
            next(blocking)
        with pytest.raises(StoreClosedError, match="is closed"):
            blocking.save()

        disk = one_event()

        async def program() -> None:
            async with follow("", after=0, cursor="risk", disk=disk) as follower:
                await anext(follower)
            with pytest.raises(StoreClosedError, match="is closed"):
                await follower.save()

        run_in_virtual_time(program())

    @pytest.mark.asyncio
    async def test_a_misspelt_path_is_said_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFoundError):
            follow_sync(tmp_path / "nowhere")
        follower = follow(tmp_path / "nowhere")
        with pytest.raises(StoreNotFoundError):
            async with follower:
                pass
        with pytest.raises(StoreNotFoundError):
            await anext(follower)
        await follower.close()
        with pytest.raises(NotAwaitedError), follow(tmp_path):  # type: ignore[attr-defined]  # the mistake
            pass


@pytest.fixture(params=["notified", "polling"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Follow by notifications, and as on a system that has none."""
    if request.param == "polling":
        monkeypatch.setattr(wakeup, "_inotify_library", lambda: None)
    return str(request.param)


async def told_of(path: Path, seq: int) -> bytes:
    """Wait until the frontier tells of event `seq`, and return its bytes."""
    while Frontier.decode(data := (path / FRONTIER).read_bytes()).seq < seq:  # noqa: ASYNC110  a thread writes it
        await asyncio.sleep(0)
    return data


class TestRealFiles:
    @pytest.mark.asyncio
    async def test_an_event_wakes_a_follower(self, way: str, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "store", bank_registry(), QUIET) as store:
            async with follow(tmp_path / "store", poll=3600.0) as follower:
                assert (follower._watch.fd >= 0) is (way == "notified")
                for number in range(1, 20):
                    waiting = asyncio.ensure_future(anext(follower))
                    await asyncio.sleep(0)
                    await store.append(pay(number))
                    assert (await waiting).seq == number
            assert follower._watch.fd == -1

    @pytest.mark.asyncio
    async def test_a_thread_waits_as_long_as_it_wants(self, way: str, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "store", bank_registry(), QUIET) as store:
            with follow_sync(tmp_path / "store", until_closed=True) as events:
                assert not events.wait(0)
                assert not events.wait(0.01)
                await store.append(pay(1))
                assert await asyncio.to_thread(events.wait, 20)
                assert events.wait(0)
                assert next(events).seq == 1
                await store.close()
                assert await asyncio.to_thread(events.wait) is False
                assert list(events) == []

    @pytest.mark.asyncio
    async def test_an_event_wakes_a_thread(self, way: str, tmp_path: Path) -> None:
        seen: list[int] = []

        def reader() -> None:
            with follow_sync(tmp_path / "store", after=0, until_closed=True, poll=3600.0) as events:
                seen.extend(event.seq for event in events)

        async with EventStore.open(tmp_path / "store", bank_registry(), QUIET) as store:
            await store.append(pay(1))
            thread = threading.Thread(target=reader)
            thread.start()
            for number in range(2, 20):
                await store.append(pay(number))
        await asyncio.to_thread(thread.join, 20)
        assert seen == list(range(1, 20))

    @pytest.mark.asyncio
    async def test_a_change_during_the_look_is_not_missed(self, tmp_path: Path) -> None:
        path = tmp_path / "store"
        async with EventStore.open(path, bank_registry(), QUIET) as store:
            await store.append(pay(1))
        looks: list[bool] = []
        with follow_sync(path, poll=0.3) as follower:
            looked = follower._batches.next_batch

            def look(*, idle: bool) -> None:
                looks.append(idle)
                assert looked(idle=idle) is None
                if len(looks) == 3:
                    raise StopAsyncIteration
                (path / FRONTIER).write_bytes((path / FRONTIER).read_bytes())

            follower._batches.next_batch = look  # type: ignore[assignment,method-assign]  # a look, and more
            with pytest.raises(StopAsyncIteration):
                next(follower)
        assert looks == [False] * 3, "no look had to wait for its time"

    @pytest.mark.asyncio
    async def test_a_cursor_may_be_a_moment_ahead_of_the_frontier(self, tmp_path: Path) -> None:
        """The writer acknowledges an event, and tells other processes a moment later."""
        path = tmp_path / "store"
        async with EventStore.open(path, bank_registry(), QUIET) as store:
            await store.append(pay(1))
            frontier = (path / FRONTIER).read_bytes()
            await store.append(pay(2))
            cursor = store.cursor
            new = await told_of(path, 2)
            (path / FRONTIER).write_bytes(frontier)
            looks = 0
            looked = LogFollower._look

            def look(follower: LogFollower, *, idle: bool) -> Any:
                nonlocal looks
                looks += 1
                if looks == 4:
                    (path / FRONTIER).write_bytes(new)
                return looked(follower, idle=idle)

            with (
                patch.object(LogFollower, "_look", look),
                follow_sync(path, after=cursor) as follower,
            ):
                assert (follower.seq, looks) == (2, 4)
            (path / FRONTIER).write_bytes(frontier)
            with pytest.raises(CursorAheadError):
                follow_sync(path, after=cursor)

    @pytest.mark.asyncio
    async def test_a_replaced_directory_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "store"
        async with EventStore.open(path, bank_registry(), QUIET) as store:
            await store.append(pay(1))
            await store.append(pay(2))
        async with follow(path, after=0, poll=0.01) as follower:
            assert seqs(await take(follower, 2)) == [1, 2]
            os.rename(path, tmp_path / "aside")
            async with EventStore.open(path, bank_registry(), QUIET) as store:
                await store.append(pay(3))
                with pytest.raises(ForeignCursorError):
                    await anext(follower)

    @pytest.mark.asyncio
    async def test_a_follower_that_was_left_frees_its_files(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "store", bank_registry(), QUIET) as store:
            await store.append(pay(1))
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            assert (await anext(follow(tmp_path / "store", after=0))).seq == 1
            assert next(follow_sync(tmp_path / "store", after=0)).seq == 1
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before

    @pytest.mark.asyncio
    async def test_a_reader_needs_only_the_right_to_read(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "store", bank_registry(), QUIET) as store:
            await store.append(pay(1))
            names = sorted(os.listdir(tmp_path / "store"))
            with follow_sync(tmp_path / "store", after=0) as follower:
                assert next(follower).seq == 1
                assert sorted(os.listdir(tmp_path / "store")) == names
                assert "behind event 1" in repr(follower)
                follower.close()
                assert list(follower) == []

    def test_a_child_does_not_go_on_with_its_parents_follower(self) -> None:
        follower = follow_sync("", after=0, disk=one_event())
        follower.forked()
        for call in (follower.save, follower.__next__):
            with pytest.raises(StoreClosedError, match="not to this fork"):
                call()


class TestPace:
    def test_beside_notifications_it_is_slow(self) -> None:
        pace = wakeup.Pace(0.5)
        assert [pace.seconds(notified=True) for _ in range(3)] == [0.5] * 3

    def test_else_it_is_fast_while_events_come_and_slows_down(self) -> None:
        pace = wakeup.Pace(0.5)
        waits = [pace.seconds(notified=False) for _ in range(12)]
        assert waits[0] < 0.001
        assert waits == sorted(waits)
        assert waits[-1] == wakeup.Pace.LONGEST
        pace.found()
        assert pace.seconds(notified=False) == waits[0]
        assert wakeup.Pace(0.002).seconds(notified=False) == waits[0]

    def test_a_frontier_is_where_the_writer_says(self, tmp_path: Path) -> None:
        assert FRONTIER == "frontier"
        watch = wakeup.DirectoryWatch(os.fspath(tmp_path))
        assert watch.wait(0.0) is True
        (tmp_path / FRONTIER).write_bytes(b"x")
        assert watch.wait(20.0) is False
        watch.drain()
        assert watch.wait(0.0) is True
        watch.close()
        watch.close()
        assert wakeup.DirectoryWatch(os.fspath(tmp_path / "missing")).fd == -1
