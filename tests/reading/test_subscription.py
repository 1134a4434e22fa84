"""Following a store: every durable event, once, in order, however slow or late the follower is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest

from eventstore import (
    ConfigError,
    CursorAheadError,
    Event,
    EventStore,
    ForeignCursorError,
    HistoryForkedError,
    SimulatedClock,
    StoreClosedError,
    StoreFailedError,
    SubscriberTooSlowError,
    Subscription,
)
from eventstore.history import branch
from eventstore.log.base import Chunk
from eventstore.reading import recent_events
from eventstore.reading.recent_events import BUFFER
from eventstore.testing import SimulatedDisk
from tests.support.bank import Bank, Withdraw, bank_registry, pay
from tests.support.gates import PATIENCE, GatedDisk

pytestmark = pytest.mark.asyncio

T = TypeVar("T")
BEGIN = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
NEVER: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}


def simulated(**options: Any) -> Any:
    return EventStore.open("", bank_registry(), disk=SimulatedDisk(), **{**NEVER, **options})


async def take(events: Subscription, count: int) -> list[int]:
    """The numbers of the next so many events."""
    async with asyncio.timeout(PATIENCE):
        return [(await anext(events)).seq for _ in range(count)]


async def rest(events: Subscription) -> list[int]:
    async with asyncio.timeout(PATIENCE):
        return [event.seq async for event in events]


class TestLive:
    async def test_events_as_they_come(self) -> None:
        async with simulated() as store:
            await store.append(pay())
            async with store.subscribe() as events:
                for seq in (2, 3, 4):
                    await store.append(pay())
                    assert await take(events, 1) == [seq]

    async def test_a_follower_that_waits_is_woken(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            waiting = asyncio.ensure_future(take(events, 3))
            await asyncio.sleep(0)
            await store.append(pay(), pay())
            assert not waiting.done()
            await store.append(pay())
            assert await waiting == [1, 2, 3]

    async def test_the_events_are_those_that_were_appended(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            await store.append(pay(5), key="k", metadata={"a": [1]})
            async with asyncio.timeout(PATIENCE):
                event = await anext(events)
            assert event == Event(1, event.time, pay(5), "k", {"a": [1]})
            assert [event] == [each async for each in store.events()]

    async def test_each_follower_gets_all_of_them(self) -> None:
        async with (
            simulated() as store,
            store.subscribe() as one,
            store.subscribe() as other,
        ):
            await store.append(pay(), pay())
            assert await take(one, 2) == [1, 2]
            await store.append(pay())
            assert await take(other, 3) == [1, 2, 3]
            assert await take(one, 1) == [3]

    async def test_what_was_subscribed_before_is_not_missed_when_first_asked_later(self) -> None:
        async with simulated() as store:
            events = store.subscribe()
            await store.append(pay(), pay())
            assert await take(events, 2) == [1, 2]
            await events.close()

    async def test_some_operations_only(self) -> None:
        async with simulated() as store:
            await store.append(pay(9), Withdraw(account="a", amount=1))
            async with store.subscribe(after=0, operations={"withdraw"}) as events:
                await store.append(pay(1), Withdraw(account="a", amount=1), pay(1))
                await store.append(Withdraw(account="a", amount=1))
                assert await take(events, 3) == [2, 4, 6]

    async def test_refused_events_are_never_seen(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            with pytest.raises(Exception, match="a"):
                await store.append(pay(1), Withdraw(account="a", amount=5))
            await store.append(pay(7))
            async with asyncio.timeout(PATIENCE):
                event = await anext(events)
            assert (event.seq, event.data.amount) == (1, 7)


class TestFromEarlier:
    @pytest.mark.parametrize("after", [0, -1, -3])
    async def test_from_the_beginning(self, after: int) -> None:
        async with simulated() as store:
            await store.append(*[pay()] * 10)
            async with store.subscribe(after=after) as events:
                assert await take(events, 10) == list(range(1, 11))
                await store.append(pay())
                assert await take(events, 1) == [11]

    async def test_from_a_number(self) -> None:
        async with simulated() as store:
            await store.append(*[pay()] * 10)
            async with store.subscribe(after=7) as events:
                await store.append(pay())
                assert await take(events, 4) == [8, 9, 10, 11]

    async def test_from_one_that_is_yet_to_come(self) -> None:
        async with simulated() as store, store.subscribe(after=3) as events:
            for _ in range(5):
                await store.append(pay())
            assert await take(events, 2) == [4, 5]

    async def test_what_comes_while_it_catches_up_is_neither_lost_nor_doubled(self) -> None:
        async with simulated() as store:
            await store.append(*[pay()] * (2 * BUFFER))
            async with store.subscribe(after=0) as events:
                seen: list[int] = []
                for _ in range(2 * BUFFER + 100):
                    if len(seen) % 40 == 0:
                        await store.append(pay())
                    seen += await take(events, 1)
                assert seen == list(range(1, len(seen) + 1))

    async def test_from_before_the_store_was_opened(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(pay(), pay())
            await store.snapshot()
        async with (
            EventStore.open("", bank_registry(), disk=disk.reopen(), **NEVER) as store,
            store.subscribe(after=0) as events,
        ):
            await store.append(pay())
            assert await take(events, 3) == [1, 2, 3]


class TestSlow:
    async def test_a_slow_follower_loses_nothing(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            await store.append(pay())
            assert await take(events, 1) == [1]
            total = 3 * BUFFER
            for _ in range(total // 64):
                await store.append(*[pay()] * 64)
            assert await take(events, total) == list(range(2, total + 2))
            await store.append(pay())
            assert await take(events, 1) == [total + 2]

    async def test_it_costs_no_more_memory_than_its_buffer(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            for _ in range(3 * BUFFER // 64):
                await store.append(*[pay()] * 64)
            assert len(store._subscriptions.recent) <= 2 * BUFFER
            assert await take(events, 3 * BUFFER) == list(range(1, 3 * BUFFER + 1))

    async def test_it_holds_nobody_up(self) -> None:
        async with simulated() as store, store.subscribe():
            for _ in range(10):
                await store.append(*[pay()] * BUFFER)
            assert store.seq == 10 * BUFFER

    async def test_a_group_larger_than_the_buffer_arrives_whole(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            await store.append(*[pay()] * (2 * BUFFER))
            assert await take(events, 2 * BUFFER) == list(range(1, 2 * BUFFER + 1))


async def settled(waiting: asyncio.Future[Event[Any]]) -> Event[Any] | None:
    """The event that came of a wait which was cancelled, if one did."""
    await asyncio.wait([waiting])
    return None if waiting.cancelled() else waiting.result()


class TestCancellation:
    async def test_cancelling_a_wait_loses_nothing(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            seen: list[int] = []
            for _ in range(10):
                waiting: asyncio.Future[Event[Any]] = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0)
                waiting.cancel()
                await store.append(pay())
                outcome = await settled(waiting)
                if outcome is not None:
                    seen.append(outcome.seq)
                else:
                    seen += await take(events, 1)
            assert seen == list(range(1, 11))

    @pytest.mark.parametrize("turns", range(12))
    async def test_cancelling_while_it_catches_up_loses_nothing(self, turns: int) -> None:
        async with simulated() as store:
            await store.append(*[pay()] * 100)
            async with store.subscribe(after=0) as events:
                waiting: asyncio.Future[Event[Any]] = asyncio.ensure_future(anext(events))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                outcome = await settled(waiting)
                taken = 0 if outcome is None else 1
                await store.append(pay())
                assert await take(events, 101 - taken) == list(range(1 + taken, 102))

    async def test_a_timeout_between_events(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(events)
            await store.append(pay())
            assert await take(events, 1) == [1]


class TestEnding:
    async def test_it_ends_when_the_store_is_closed(self) -> None:
        store = await simulated()
        events = store.subscribe()
        waiting = asyncio.ensure_future(rest(events))
        await asyncio.sleep(0)
        await store.append(pay())
        await store.append(pay())
        await store.close()
        assert await waiting == [1, 2]

    async def test_what_is_written_by_close_still_arrives(self) -> None:
        store = await simulated()
        events = store.subscribe()
        for _ in range(5):
            store.submit(pay())
        await store.close()
        assert await rest(events) == [1, 2, 3, 4, 5]
        with pytest.raises(StopAsyncIteration):
            await anext(events)

    async def test_one_too_far_behind_is_told(self, tmp_path: Path) -> None:
        store = await EventStore.open(tmp_path, bank_registry(), **NEVER)
        events = store.subscribe()
        for _ in range(4):
            await store.append(*[pay()] * BUFFER)
        await store.close()
        seen: list[int] = []

        async def follow() -> None:
            async for event in events:
                seen.append(event.seq)

        with pytest.raises(StoreClosedError):
            await follow()
        assert seen == list(range(1, len(seen) + 1))
        async with (
            EventStore.open(tmp_path, bank_registry(), **NEVER) as store,
            store.subscribe(after=len(seen)) as rest_of_them,
        ):
            assert await take(rest_of_them, 4 * BUFFER - len(seen)) == list(
                range(len(seen) + 1, 4 * BUFFER + 1)
            )

    async def test_it_ends_when_it_is_closed(self) -> None:
        async with simulated() as store:
            async with store.subscribe() as events:
                await store.append(pay(), pay())
                assert await take(events, 1) == [1]
            assert await rest(events) == []
            await store.append(pay())
            assert await rest(events) == []

    async def test_closing_wakes_whoever_waits(self) -> None:
        async with simulated() as store:
            events = store.subscribe()
            waiting = asyncio.ensure_future(rest(events))
            await asyncio.sleep(0)
            await events.close()
            assert await waiting == []

    async def test_closing_twice_is_harmless(self) -> None:
        async with simulated() as store, store.subscribe() as events:
            await events.close()
            await events.close()
        await events.close()

    async def test_closing_after_the_store_is_harmless(self) -> None:
        store = await simulated()
        async with store.subscribe() as events:
            await store.close()
        assert await rest(events) == []

    async def test_a_closed_one_is_forgotten(self) -> None:
        async with simulated() as store:
            for _ in range(3):
                async with store.subscribe():
                    await store.append(pay())
            assert len(store._subscriptions) == 0

    async def test_one_that_comes_too_late_is_refused(self) -> None:
        """The end is a fact, and not a message to those who were there."""
        for opening in (simulated(), EventStore.in_memory(bank_registry())):
            store = await opening
            await store.append(pay())
            closing = asyncio.ensure_future(store.close())
            await asyncio.sleep(0)
            for after in (None, 0):
                with pytest.raises(StoreClosedError):
                    store.subscribe(after=after)
            await closing
            with pytest.raises(StoreClosedError):
                store.subscribe()

    async def test_so_is_one_of_a_store_that_failed_before(self) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk, **NEVER)
        await store.append(pay())
        disk.fail(kind="sync", errno=errno.EIO)
        with pytest.raises(StoreFailedError):
            await store.append(pay())
        async with store.subscribe(after=0) as events:
            assert await take(events, 1) == [1], "what is durable is served"
        await store.close()
        with pytest.raises(StoreClosedError):
            store.subscribe()

    async def test_the_files_of_a_reading_are_closed_with_the_store(self, tmp_path: Path) -> None:
        before = open_files(tmp_path)
        store = await EventStore.open(tmp_path, bank_registry(), segment_size=16 << 20, **NEVER)
        for _ in range(8):
            await store.append(*[pay()] * BUFFER)
        await store.close()
        async with EventStore.open(tmp_path, bank_registry(), **NEVER) as store:
            events = store.subscribe(after=0)
            assert await take(events, 1) == [1]
        assert open_files(tmp_path) == before
        await events.close()


def open_files(folder: Path) -> list[str]:
    """The files inside a folder that this process has open."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        return []
    found = []
    for link in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(str(folder))]


class TestReadOnly:
    """A store that was opened read-only follows the writer, in whatever process."""

    async def test_it_goes_on_behind_the_state_of_the_opening(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(pay(), pay())
            async with EventStore.open(
                "", bank_registry(), disk=disk.reopen(), read_only=True
            ) as reader:
                await store.append(pay(3))
                async with reader.subscribe() as events:
                    assert events.cursor == reader.cursor
                    await store.append(pay(4))
                    async with asyncio.timeout(PATIENCE):
                        found = [await anext(events) for _ in range(2)]
                    assert [event.data for event in found] == [pay(3), pay(4)]
                    assert (events.cursor, events.lag) == (store.cursor, 0)
                    assert reader.stats().subscribers == 1
                    assert reader.seq == 2, "the state stays as of the opening"

    @pytest.mark.parametrize("after", [0, 1, datetime(2026, 3, 2, tzinfo=UTC), "cursor"])
    async def test_behind_any_place(self, after: Any) -> None:
        disk = SimulatedDisk()
        clock = SimulatedClock(BEGIN)
        async with EventStore.open("", bank_registry(), disk=disk, clock=clock, **NEVER) as store:
            await store.append(pay())
            place = store.cursor if after == "cursor" else after
            await store.append(Withdraw(account="a", amount=1), pay())
        async with (
            EventStore.open("", bank_registry(), disk=disk.reopen(), read_only=True) as reader,
            reader.subscribe(after=place, operations={"withdraw"}) as events,
        ):
            assert await take(events, 1) == [2]

    async def test_it_ends_with_its_store(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(pay())
            reader = await EventStore.open("", bank_registry(), disk=disk.reopen(), read_only=True)
            events = reader.subscribe(after=0)
            waiting = asyncio.ensure_future(rest(events))
            await asyncio.sleep(0.01)
            await reader.close()
            assert await waiting == [1]
            with pytest.raises(StoreClosedError):
                reader.subscribe()

    async def test_a_record_in_flight_is_waited_for(self) -> None:
        """The opening has seen an event of which nobody knows yet whether it is durable."""
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(pay())
            earlier = disk.read_file("frontier")
            await store.append(pay())
            later = disk.read_file("frontier")
            other = disk.reopen()
            other.overwrite("frontier", earlier)
            async with EventStore.open("", bank_registry(), disk=other, read_only=True) as reader:
                assert reader.seq == 2
                events = reader.subscribe()
                waiting = asyncio.ensure_future(take(events, 1))
                await asyncio.sleep(0.01)
                assert not waiting.done()
                other.overwrite("frontier", later)
                await store.append(pay())
                assert await waiting == [3]
                await events.close()

    async def test_a_slow_one_ends_if_asked_to(self) -> None:
        disk = SimulatedDisk()
        async with (
            EventStore.open("", bank_registry(), disk=disk, **NEVER) as store,
            EventStore.open("", bank_registry(), disk=disk.reopen(), read_only=True) as reader,
            reader.subscribe(slow="error", max_lag=5) as events,
        ):
            await store.append(pay())
            assert await take(events, 1) == [1]
            await store.append(*[pay()] * 20)
            assert await take(events, 1) == [2], "how many there are is not known before a look"
            with pytest.raises(SubscriberTooSlowError) as caught:
                await take(events, 1)
            assert caught.value.lag == 19
            place: Any = caught.value.cursor
            async with store.subscribe(after=place) as again:
                assert await take(again, 1) == [3]

    async def test_history_is_no_lag_of_a_slow_one(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(*[pay()] * 20)
            other = disk.reopen()
            async with (
                EventStore.open("", bank_registry(), disk=other, read_only=True) as reader,
                reader.subscribe(after=0, slow="error", max_lag=5) as events,
            ):
                assert await take(events, 20) == list(range(1, 21))
                await store.append(pay())
                assert await take(events, 1) == [21]
                await store.append(*[pay()] * 20)
                assert await take(events, 1) == [22]
                with pytest.raises(SubscriberTooSlowError):
                    await take(events, 1)


class TestLeftAlone:
    """A subscription that nobody reads any more costs nothing."""

    async def test_one_that_was_left_with_break_ends_with_its_last_reference(self) -> None:
        async with simulated() as store:
            made: list[weakref.ref[Subscription]] = []

            async def next_event() -> Event[Any]:
                events = store.subscribe()
                made.append(weakref.ref(events))
                event: Event[Any]
                async for event in events:
                    return event
                raise AssertionError("the store was closed")

            for seq in range(1, 21):
                waiting = asyncio.ensure_future(next_event())
                await asyncio.sleep(0)
                await store.append(pay())
                assert (await waiting).seq == seq
                del waiting
                await asyncio.sleep(0)
                gc.collect()
                assert [events() for events in made] == [None] * seq
                assert len(store._subscriptions) == 0
            await store.append(pay())
            assert not store._subscriptions.active
            assert store._subscriptions.recent == []

    async def test_one_that_is_kept_and_never_iterated_costs_an_append_nothing(self) -> None:
        async with simulated() as store:
            kept = [store.subscribe() for _ in range(1000)]
            calls = 0

            def count(frame: FrameType, event: str, argument: Any) -> None:
                nonlocal calls
                calls += event == "call" and frame.f_code.co_filename == recent_events.__file__

            sys.setprofile(count)
            try:
                await store.append(pay())
            finally:
                sys.setprofile(None)
            assert calls == 1, "whatever the number of subscriptions"
            assert len(store._subscriptions.recent) == 1, "one copy for all of them"
            assert await take(kept[500], 1) == [1]

    async def test_a_task_that_follows_and_that_nobody_keeps_goes_on(self) -> None:
        """asyncio refers weakly to a waiting task."""
        async with simulated() as store:
            seen: list[int] = []

            async def follow() -> None:
                async for event in store.subscribe():
                    seen.append(event.seq)

            asyncio.ensure_future(follow())  # noqa: RUF006  the test keeps no reference
            await asyncio.sleep(0)
            for _ in range(5):
                gc.collect()
                await store.append(pay())
                await asyncio.sleep(0)
            assert seen == [1, 2, 3, 4, 5]

    async def test_all_that_wait_hold_no_events(self) -> None:
        async with simulated() as store:
            seen = [asyncio.ensure_future(rest(store.subscribe())) for _ in range(3)]
            for _ in range(10):
                await store.append(pay())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert store._subscriptions.recent == []
        assert await asyncio.gather(*seen) == [list(range(1, 11))] * 3


class TestSharedByTasks:
    """Several tasks may wait on one subscription: each event goes to one of them."""

    @pytest.mark.parametrize("after", [None, 0])
    async def test_every_event_is_handed_over_once_and_every_wait_ends(
        self, after: int | None
    ) -> None:
        async with simulated() as store:
            if after is not None:
                await store.append(*[pay()] * (3 * BUFFER))
            shared = store.subscribe(after=after)
            seen: list[int] = []

            async def work() -> None:
                async for event in shared:
                    seen.append(event.seq)
                    await asyncio.sleep(0)

            workers = [asyncio.ensure_future(work()) for _ in range(3)]
            for _ in range(20):
                await asyncio.sleep(0)
                await store.append(pay())
        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*workers, return_exceptions=True)
        assert seen == list(range(1, len(seen) + 1))
        if after is None:
            assert outcomes == [None] * 3
            assert len(seen) == 20

    async def test_closing_ends_every_wait(self) -> None:
        async with simulated() as store:
            shared = store.subscribe()
            workers = [asyncio.ensure_future(rest(shared)) for _ in range(3)]
            await asyncio.sleep(0)
            await shared.close()
            assert await asyncio.gather(*workers) == [[]] * 3

    async def test_one_that_is_cancelled_leaves_the_others_waiting(self) -> None:
        async with simulated() as store:
            shared = store.subscribe()
            first, second = (asyncio.ensure_future(take(shared, 1)) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            gc.collect()
            await store.append(pay())
            assert await second == [1]


class TestCatchingUp:
    async def test_it_reads_each_byte_once(self) -> None:
        """A cursor keeps its place: nothing is looked for from the beginning again."""
        disk = SimulatedDisk()
        async with EventStore.open(
            "", bank_registry(), disk=disk, segment_size=16 << 20, **NEVER
        ) as store:
            for _ in range(32):
                await store.append(*[pay()] * BUFFER)
            costs = []
            for consume in (count_events(store), take(store.subscribe(after=0), 32 * BUFFER)):
                before = len(disk.calls)
                await consume
                costs.append(sum(call.kind == "read" for call in disk.calls[before:]))
            reading, following = costs
            assert following <= reading + 4

    async def test_a_wait_that_is_cancelled_again_and_again_comes_to_an_end(
        self, tmp_path: Path
    ) -> None:
        """The chunk that is being read is not read again for the next one who waits."""
        disk = GatedDisk(tmp_path / "s", lambda call, name: False)
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(*[pay()] * 100)
            events = store.subscribe(after=0)
            calls = 0
            read = store.log.read

            def counted(start: int, stop: int, make: Callable[[Chunk], T]) -> AsyncIterator[T]:
                nonlocal calls
                calls += 1
                return read(start, stop, make)

            store.log.read = counted  # type: ignore[method-assign]  # to count the calls
            seen: list[int] = []
            async with asyncio.timeout(PATIENCE):
                while not seen:
                    waiting = asyncio.ensure_future(anext(events))
                    await asyncio.sleep(0)
                    waiting.cancel()
                    outcome = await settled(waiting)
                    if outcome is not None:
                        seen.append(outcome.seq)
            assert calls == 1
            assert seen + await take(events, 99) == list(range(1, 101))


async def count_events(store: EventStore[Bank]) -> int:
    return len([event async for event in store.events()])


class TestReactingToEvents:
    async def test_a_follower_may_append(self) -> None:
        async with simulated() as store, store.subscribe() as events:

            async def matching() -> None:
                async for event in events:
                    if event.operation == "deposit" and event.seq < 10:
                        await store.append(Withdraw(account="a", amount=1))
                    elif event.seq >= 10:
                        return

            following = asyncio.ensure_future(matching())
            while store.seq < 10:
                await store.append(pay(1))
            async with asyncio.timeout(PATIENCE):
                await following
            assert isinstance(store.state, Bank)


class TestPlaces:
    """`after`: a number, a cursor, a time. The event at the place is not given again."""

    async def test_behind_a_number_a_cursor_and_a_time(self) -> None:
        clock = SimulatedClock(BEGIN)
        async with simulated(clock=clock) as store:
            cursors = []
            for _ in range(6):
                clock.advance(timedelta(seconds=1))
                await store.append(pay())
                cursors.append(store.cursor)
            for seq in range(7):
                place: list[Any] = [seq, BEGIN + timedelta(seconds=seq)]
                place += [cursors[seq - 1]] if seq else []
                for after in place:
                    async with store.subscribe(after=after) as events:
                        assert await take(events, 6 - seq) == list(range(seq + 1, 7))

    async def test_a_time_that_is_yet_to_come(self) -> None:
        """Earlier events pass. The first later one begins, and clocks may go backwards then."""
        clock = SimulatedClock(BEGIN)
        async with simulated(clock=clock) as store:
            await store.append(pay())
            async with store.subscribe(after=BEGIN + timedelta(seconds=2)) as events:
                waiting = asyncio.ensure_future(take(events, 3))
                for second in (1, 2, 3, 1, 4):
                    clock.set(BEGIN + timedelta(seconds=second))
                    await store.append(pay())
                    await asyncio.sleep(0)
                assert await waiting == [4, 5, 6]

    async def test_the_cursor_stands_behind_what_was_given(self) -> None:
        """Live, from the log, left out: after each event reading on gives the one after."""
        async with simulated() as store:
            for amount in range(1, 5):
                await store.append(pay(amount), pay(amount))
            async with store.subscribe(after=2) as events:
                for seq in range(3, 13):
                    if seq == 7:
                        await store.append(*[pay()] * 4)
                    assert await take(events, 1) == [seq]
                    assert events.cursor.seq == seq
                    rest_of_them = [event.seq async for event in store.events(events.cursor)]
                    assert rest_of_them == list(range(seq + 1, store.seq + 1))
                assert events.cursor == store.cursor

    async def test_what_is_left_out_is_passed(self) -> None:
        async with simulated() as store:
            await store.append(pay(9), pay(1))
            async with store.subscribe(after=0, operations={"withdraw"}) as events:
                waiting = asyncio.ensure_future(take(events, 1))
                await asyncio.sleep(0.01)
                assert events.cursor == store.cursor
                await store.append(pay(1))
                await asyncio.sleep(0)
                await store.append(Withdraw(account="a", amount=1))
                assert await waiting == [4]
                assert (events.cursor, events.lag) == (store.cursor, 0)

    async def test_a_cursor_before_anything_was_given(self) -> None:
        async with simulated() as store:
            await store.append(pay(), pay())
            behind = store.cursor
            async with store.subscribe() as live, store.subscribe(after=behind) as same:
                assert live.cursor == same.cursor == behind
                await store.append(pay())
                assert live.cursor == behind
                assert live.lag == same.lag == 1

    @pytest.mark.parametrize("ahead", [False, True])
    async def test_a_cursor_of_another_history(self, ahead: bool) -> None:
        """Refused before the first event, in each iteration; nothing of the other history comes."""
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(pay(1))
        copy = disk.clone()
        async with EventStore.open("", bank_registry(), disk=disk.reopen(), **NEVER) as store:
            await store.append(*[pay(2)] * (9 if ahead else 1))
            cursor = store.cursor
        async with EventStore.open("", bank_registry(), disk=copy.reopen(), **NEVER) as store:
            await store.append(pay(20))
            async with store.subscribe(after=cursor) as events:
                for _ in range(2):
                    with pytest.raises(CursorAheadError if ahead else HistoryForkedError):
                        await take(events, 1)
                    await store.append(pay(20))
                assert events.cursor.seq == cursor.seq

    async def test_a_timeline_of_another_history_is_refused_at_once(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "a", bank_registry(), **NEVER) as store:
            await store.append(pay(), pay())
            cursor = store.cursor
            async with branch(tmp_path / "a", bank_registry(), at=1) as other:
                with pytest.raises(HistoryForkedError):
                    other.subscribe(after=cursor)
        async with EventStore.in_memory(bank_registry()) as stranger:
            with pytest.raises(ForeignCursorError):
                stranger.subscribe(after=cursor)


class TestTooSlow:
    """A slow subscriber costs the writer nothing."""

    async def test_with_error_it_ends_where_it_is(self) -> None:
        async with simulated() as store:
            events = store.subscribe(slow="error", max_lag=10)
            for _ in range(12):
                await store.append(pay())
                if store.seq < 3:
                    assert await take(events, 1) == [store.seq]
            assert events.lag == 10
            assert await take(events, 1) == [3]
            await store.append(pay(), pay())
            for _ in range(2):
                with pytest.raises(SubscriberTooSlowError, match="with after=") as caught:
                    await take(events, 1)
                error = caught.value
                assert (error.lag, error.max_lag, error.path) == (11, 10, store.path)
            assert store.stats().subscribers == 0
            async with store.subscribe(after=error.cursor) as again:
                assert await take(again, 1) == [4]

    async def test_history_is_no_lag(self) -> None:
        """A subscriber that was never up to date is not too slow: it is catching up."""
        async with simulated() as store:
            await store.append(*[pay()] * 50)
            async with store.subscribe(after=0, slow="error", max_lag=5) as events:
                assert await take(events, 50) == list(range(1, 51))
                waiting = asyncio.ensure_future(take(events, 1))
                await asyncio.sleep(0)
                await store.append(*[pay()] * 7)
                with pytest.raises(SubscriberTooSlowError):
                    await waiting

    @pytest.mark.parametrize("begin", ["first", "last", "cursor", "name"])
    async def test_one_that_never_waits_is_too_slow_once_it_was_up_to_date(
        self, begin: str
    ) -> None:
        async with simulated() as store:
            await store.append(*[pay()] * 50)
            places: dict[str, Any] = {
                "first": {"after": 0},
                "last": {"after": 50},
                "cursor": {"after": store.cursor},
                "name": {"after": 0, "cursor": "risk"},
            }
            async with store.subscribe(slow="error", max_lag=5, **places[begin]) as events:
                assert len(await take(events, events.lag)) in (0, 50)
                await store.append(*[pay()] * 7)
                with pytest.raises(SubscriberTooSlowError):
                    await anext(events)

    async def test_one_warning_and_its_end(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", logger="eventstore.reading.subscription")
        async with simulated() as store, store.subscribe() as events:
            for _ in range(5):
                await store.append(*[pay()] * BUFFER)
            await asyncio.sleep(0)
            (warning,) = caplog.records
            assert warning.levelname == "WARNING"
            assert "does not wait for it" in warning.getMessage()
            assert (store.stats().subscribers, store.stats().subscriber_lag) == (1, 5 * BUFFER)
            assert await take(events, 5 * BUFFER) == list(range(1, 5 * BUFFER + 1))
            waiting = asyncio.ensure_future(take(events, 1))
            await asyncio.sleep(0)
            assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
            assert "up to date again" in caplog.text
            assert store.stats().subscriber_lag == 0
            await store.append(pay())
            await waiting

    async def test_nobody_is_warned_of_history(self, caplog: pytest.LogCaptureFixture) -> None:
        async with simulated() as store:
            await store.append(*[pay()] * BUFFER)
            async with store.subscribe(after=0):
                for _ in range(3):
                    await store.append(*[pay()] * BUFFER)
                await asyncio.sleep(0)
                assert caplog.records == []


class TestStart:
    """`start` names the first event, where `after` names the one before."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("start", "first"), [(-5, 1), (0, 1), (1, 1), (2, 2), (4, 4)])
    async def test_it_is_the_number_of_the_first_event(self, start: int, first: int) -> None:
        async with EventStore.in_memory(bank_registry()) as store:
            await store.append(pay(), pay(), pay())
            async with store.subscribe(start=start) as events:
                await store.append(pay(), pay())
                assert (await anext(events)).seq == first

    @pytest.mark.asyncio
    async def test_it_is_a_number_and_stands_alone(self) -> None:
        async with EventStore.in_memory(bank_registry()) as store:
            with pytest.raises(ConfigError, match="start or after, and not both"):
                store.subscribe(start=1, after=0)
            moment: Any = datetime(2026, 3, 2, tzinfo=UTC)
            with pytest.raises(ConfigError, match="expected a sequence number"):
                store.subscribe(start=moment)
