"""`Doubt`: what it knows, and when an answer about it can be believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from eventstore import EventStore, IntentError, SimulatedClock, StoreClosedError
from eventstore.testing import SimulatedDisk, run_in_virtual_time
from tests.support.orders import START, Book, Mark, PlaceOrder, opened

Body = Callable[[EventStore[Book]], Coroutine[Any, Any, None]]
SECOND = 10**9


def run(body: Body, disk: SimulatedDisk | None = None, **options: Any) -> SimulatedDisk:
    there = SimulatedDisk() if disk is None else disk

    async def program() -> None:
        async with opened(there, **options) as store:
            await body(store)

    run_in_virtual_time(program())
    return there.reopen()


def now() -> float:
    return asyncio.get_running_loop().time()


class TestDecidable:
    def test_waits_for_the_venue_and_for_its_queries(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await asyncio.sleep(10)
            async with store.intend(PlaceOrder(decision=1), within=timedelta(seconds=5)) as order:
                assert order.time == START + 10 * SECOND
                assert order.decidable_at == START + 16 * SECOND
                await asyncio.sleep(2)
                assert order.age == timedelta(seconds=2)
                await order.decidable()
                assert now() == pytest.approx(16)
                await order.decidable()
                assert now() == pytest.approx(16)

        run(body)

    def test_counts_from_the_intent_also_after_a_restart(self) -> None:
        """What was given to `intend` is in the log, and in a snapshot."""

        async def body(store: EventStore[Book]) -> None:
            within, lag = timedelta(seconds=30), timedelta(milliseconds=1500)
            async with store.intend(PlaceOrder(decision=1), within=within, lag=lag):
                await store.append(Mark(price=1))

        async def later(store: EventStore[Book]) -> None:
            (doubt,) = store.in_doubt
            assert (doubt.within, doubt.lag) == (timedelta(seconds=30), timedelta(seconds=1.5))
            began, there = now(), store.recovery.snapshot_seq
            await asyncio.sleep(4)
            await doubt.decidable()
            # the loop of this program began at 0 again, and so did its clock
            assert now() - began == pytest.approx(31.5), there
            await store.snapshot()

        disk = run(later, run(body))
        run(later, disk)

    def test_a_clock_that_is_set_neither_shortens_nor_lengthens_the_wait(self) -> None:
        clock = SimulatedClock(START)

        async def body(store: EventStore[Book]) -> None:
            async with store.intend(PlaceOrder(decision=1), within=timedelta(seconds=5)) as order:
                waiting = asyncio.create_task(order.decidable())
                await asyncio.sleep(0)
                clock.set(START - 3600 * SECOND)
                await waiting
                assert now() == pytest.approx(6)

        run(body, clock=clock)

    def test_cancelling_changes_nothing(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            async with store.intend(PlaceOrder(decision=1), within=timedelta(seconds=5)) as order:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await order.decidable()
                await order.decidable()
                assert now() == pytest.approx(6)

        run(body)

    def test_without_within_names_the_choices(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            async with store.intend(PlaceOrder(decision=1)) as order:
                assert order.decidable_at is None
                for choice in ("receive window", "expires", "cancel the order", "never forgets"):
                    with pytest.raises(IntentError, match=choice) as refused:
                        await order.decidable()
                assert refused.value.id == order.id

        run(body)


class TestDoubt:
    def test_shares_nothing_with_the_store(self) -> None:
        """A doubt neither keeps the store alive, nor hands out what the store keeps."""

        async def program() -> None:
            store = await opened(None)
            async with store.intend(PlaceOrder(decision=1)) as order:
                pass
            (first,) = store.in_doubt
            assert first is order
            with pytest.warns(ResourceWarning, match="was not closed"):
                del store
            assert order.operation.decision == 1
            with pytest.raises(StoreClosedError, match="is gone"):
                await order.settle("accepted")

        run_in_virtual_time(program())

    def test_is_named_in_messages(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            async with store.intend(PlaceOrder(decision=1, client_order_id="a")) as order:
                assert repr(order).startswith("<Doubt 'a' of event 1: PlaceOrder(")

        run(body)
