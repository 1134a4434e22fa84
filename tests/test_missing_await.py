"""What is said where `await` was forgotten, or `with` stands for `async with`."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    EventLog,
    EventStore,
    EventStoreError,
    NotAwaitedError,
    StoreClosedError,
    StoreUsageError,
    follow,
    follow_sync,
    read_events,
    replay,
)
from eventstore.testing import SimulatedDisk
from tests.support.bank import bank_registry, pay
from tests.support.orders import Mark, PlaceOrder, order_registry


def opening(kind: str) -> Any:
    if kind == "log":
        return EventLog.open(disk=SimulatedDisk())
    if kind == "memory":
        return EventStore.in_memory(bank_registry())
    return EventStore.open("", bank_registry(), disk=SimulatedDisk())


@pytest.fixture(params=["store", "memory", "log"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def value(kind: str) -> Any:
    return b"value" if kind == "log" else pay()


def misuses(store: EventStore[Any], path: Path) -> dict[str, Callable[[], Any]]:
    """Return uses of a store with a word too few or too many, as somebody types them."""

    async def awaited(value: Any) -> None:
        await value

    async def iterated(value: Any) -> None:
        async for _ in value:
            pass

    async def entered(value: Any) -> None:
        async with value:
            pass

    async def plain(value: Any) -> None:
        for _ in value:
            pass

    async def entered_plainly(value: Any) -> None:
        with value:
            pass

    intend: Any = store.intend
    events: Any = store.events()
    subscription: Any = store.subscribe()
    sync: Any = follow_sync(path)
    read: Any = read_events(path)
    return {
        "subscribe, awaited": lambda: awaited(store.subscribe(after=0)),
        "follow, awaited": lambda: awaited(follow(path)),
        "events, awaited": lambda: awaited(store.events()),
        "events, plain for": lambda: plain(store.events()),
        "events, next": lambda: plain(iter(lambda: next(events), None)),
        "events, with": lambda: entered_plainly(events),
        "events, async with": lambda: entered(events),
        "the store, plain for": lambda: plain(store),
        "the store, async for": lambda: iterated(store),
        "read_events, with": lambda: entered_plainly(read),
        "read_events, async with": lambda: entered(read),
        "read_events, anext": lambda: awaited(anext(read)),
        "subscribe, next": lambda: plain(iter(lambda: next(subscription), None)),
        "read_events, awaited": lambda: awaited(read),
        "read_events, async for": lambda: iterated(read),
        "replay, async for": lambda: iterated(replay(path, order_registry())),
        "intend, awaited": lambda: awaited(intend(PlaceOrder(decision=2))),
        "an attribute of intend": lambda: awaited(intend(PlaceOrder(decision=2)).id),
        "subscribe, plain for": lambda: plain(store.subscribe(after=0)),
        "follow, plain for": lambda: plain(follow(path)),
        "follow_sync, async for": lambda: iterated(sync),
        "follow_sync, async with": lambda: entered(sync),
    }


class TestTheLiveLoop:
    @pytest.mark.asyncio
    async def test_a_word_too_few_is_named(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, order_registry()) as store:
            await store.append(Mark(price=1))
            for use in misuses(store, tmp_path).values():
                with pytest.raises(NotAwaitedError, match=r"`(async )?(with|for)|`(await a)?next"):
                    await use()
            assert store.seq == 1

    @pytest.mark.asyncio
    async def test_the_words_are_right_for_every_iteration(self, tmp_path: Path) -> None:
        async with EventLog.open(tmp_path) as log:
            await log.append(1, 2, 3)
            for read in (log.read(), log.read(1, 3)):
                assert (await anext(read)).seq == 1
                assert [event.seq async for event in read][:1] == [2]
                await read.aclose()
            reading: Any = log.read()
            with pytest.raises(NotAwaitedError, match="`async for` instead of `for`"):
                list(reading)
            with pytest.raises(ConfigError, match="start"):
                log.read("now")  # type: ignore[arg-type]  # the point
        events = read_events(tmp_path)
        assert next(events).seq == 1
        assert [event.seq for event in events] == [2, 3]

    @pytest.mark.asyncio
    async def test_a_forgotten_await_is_named(self) -> None:
        async with EventStore.in_memory(order_registry()) as store:
            async with store.intend(PlaceOrder(decision=1)) as doubt:
                calls: list[Any] = [store.find("a"), doubt.settle("accepted")]
            for call in calls:
                with pytest.raises(NotAwaitedError, match=r"was not awaited.*'seq'"):
                    print(call.seq)
                call.close()
            assert store.in_doubt == (doubt,)


class TestAppend:
    @pytest.mark.asyncio
    async def test_a_task_takes_what_it_returns(self, kind: str) -> None:
        async with opening(kind) as opened:
            call = opened.append(value(kind))
            assert isinstance(call, Coroutine)
            assert asyncio.iscoroutine(call)
            assert (await asyncio.create_task(call)).seq == 1
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(opened.append(value(kind)))
            gathered = await asyncio.gather(*(opened.append(value(kind)) for _ in range(3)))
            assert [receipt.seq for receipt in gathered] == [3, 4, 5]
            assert (await asyncio.wait_for(opened.append(value(kind)), 5)).seq == 6

    @pytest.mark.asyncio
    async def test_a_task_of_it_can_be_cancelled(self, kind: str) -> None:
        async with opening(kind) as opened:
            task = asyncio.create_task(opened.append(value(kind)))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await opened.append(value(kind))).seq == 1

    @pytest.mark.asyncio
    async def test_a_forgotten_await_is_named(self, kind: str) -> None:
        async with opening(kind) as opened:
            call = opened.append(value(kind))
            with pytest.raises(NotAwaitedError, match=r"append\(\) was not awaited.*'seq'"):
                print(call.seq)
            assert "until it is awaited" in repr(call)
            assert not hasattr(call, "time"), "an AttributeError, as the protocol has it"
            call.close()
            assert opened.seq == 0

    @pytest.mark.asyncio
    async def test_python_warns_of_it_as_well(self, kind: str) -> None:
        async with opening(kind) as opened:
            with pytest.warns(RuntimeWarning, match="append' was never awaited"):
                opened.append(value(kind))  # forgotten, and so freed at once

    def test_it_is_documented_as_before(self) -> None:
        assert "operations" in str(inspect.signature(EventStore.append))
        assert "values" in str(inspect.signature(EventLog.append))
        assert (EventStore.append.__doc__ or "").startswith("Record operations")


class TestOpen:
    def test_a_forgotten_await_is_named(self, kind: str) -> None:
        with pytest.raises(NotAwaitedError, match=r"async with EventStore\.open"):
            _ = opening(kind).append

    def test_what_was_dropped_unused_did_nothing_and_warns(self, kind: str) -> None:
        with pytest.warns(RuntimeWarning, match="never awaited, so nothing was opened"):
            opening(kind)  # forgotten, and so freed at once

    @pytest.mark.asyncio
    async def test_an_intent_that_was_never_opened_warns(self) -> None:
        async with EventStore.in_memory(order_registry()) as store:
            with pytest.warns(RuntimeWarning, match="nothing was recorded.*`async with"):
                store.intend(PlaceOrder(decision=1))
            assert store.seq == 0

    @pytest.mark.asyncio
    async def test_what_is_open_is_closed_by_a_block_of_its_own(self, kind: str) -> None:
        async with await opening(kind) as opened:
            assert (await opened.append(value(kind))).seq == 1
        with pytest.raises(StoreClosedError):
            await opened.append(value(kind))

    @pytest.mark.asyncio
    async def test_the_method_for_the_events_is_named(self) -> None:
        async with EventLog.open(disk=SimulatedDisk()) as log:
            nothing_to_iterate: Any = log
            with pytest.raises(NotAwaitedError, match=r"log\.read\(\)"):
                list(nothing_to_iterate)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
    async def test_a_copy_is_refused(self, kind: str, way: Callable[[Any], Any]) -> None:
        """A copy that was dropped closed the log of the original."""
        async with opening(kind) as opened:
            with pytest.raises(StoreUsageError, match="neither copied nor pickled"):
                way(opened)
            assert (await opened.append(value(kind))).seq == 1

    def test_with_for_async_with(self, kind: str) -> None:
        with pytest.raises(NotAwaitedError, match="`async with` instead of `with`"):
            opening(kind).__enter__()
        with pytest.raises(EventStoreError, match="instead of `with`"), opening(kind):
            raise AssertionError("entered")

    @pytest.mark.asyncio
    async def test_with_around_what_is_open(self, kind: str) -> None:
        async with opening(kind) as opened:
            with pytest.raises(NotAwaitedError, match=type(opened).__name__), opened:
                raise AssertionError("entered")

    @pytest.mark.asyncio
    async def test_with_around_a_subscription(self) -> None:
        async with opening("store") as store:
            subscription = store.subscribe()
            with pytest.raises(NotAwaitedError, match="Subscription"), subscription:
                raise AssertionError("entered")
            await subscription.close()
