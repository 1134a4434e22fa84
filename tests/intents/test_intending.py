"""`EventStore.intend`: what is durable, and when the body runs."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    EventStore,
    IntentError,
    InvalidPayloadError,
    NotAwaitedError,
    SequenceConflictError,
    StoreClosedError,
    StoreFullError,
    StoreUsageError,
    UnknownOperationError,
)
from eventstore.testing import Call, Fault, SimulatedDisk, run_in_virtual_time
from tests.support.orders import (
    Book,
    Mark,
    PlaceOrder,
    RecordFill,
    ids_in_doubt,
    opened,
)

KINDS: dict[str, dict[str, Any]] = {
    "commit": {},
    "interval": {"durability": "interval", "sync_interval": 3600.0},
    "none": {"durability": "none"},
    "no log": {"use_wal": False},
}

Body = Callable[[EventStore[Book], SimulatedDisk], Coroutine[Any, Any, None]]


def run(body: Body, **options: Any) -> SimulatedDisk:
    """Run `body` with a store, and return the disk as the store left it."""
    disk = SimulatedDisk()

    async def program() -> None:
        async with opened(disk, **options) as store:
            await body(store, disk)

    run_in_virtual_time(program())
    return disk.reopen()


async def found_in(disk: SimulatedDisk, **options: Any) -> list[str]:
    async with opened(disk, **options) as store:
        return ids_in_doubt(store)


class TestDurability:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_body_runs_once_no_power_cut_can_take_the_intent(self, kind: str) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            for decision in range(3):
                async with store.intend(PlaceOrder(decision=decision)) as order:
                    for image in [disk.after_kill(), *disk.images(6)]:
                        assert order.id in await found_in(image, **KINDS[kind])
                await store.append(Mark(price=1))

        run(body, **KINDS[kind])

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_was_settled_durably_is_not_open_again(self, kind: str) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            async with store.intend(PlaceOrder(decision=1)) as order:
                await order.settle("accepted")
            if store.log.disk is not None:
                await store.flush()
            await store.snapshot()
            for image in disk.images(6):
                assert await found_in(image, **KINDS[kind]) == []

        run(body, **KINDS[kind])

    def test_a_store_in_memory_has_intents_too(self) -> None:
        async def program() -> None:
            async with opened(None) as store:
                async with store.intend(PlaceOrder(decision=1)) as order:
                    assert not store.in_doubt
                assert store.in_doubt == (order,)

        run_in_virtual_time(program())


class TestTheBody:
    def test_an_exception_passes_through_and_the_intent_stays_open(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            with pytest.raises(ZeroDivisionError):
                async with store.intend(PlaceOrder(decision=1)) as order:
                    raise ZeroDivisionError
            assert store.in_doubt == (order,)
            assert not order.settled

        run(body)

    def test_a_cancelled_body_leaves_the_intent_open(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1), store.intend(PlaceOrder(decision=1)) as order:
                    await asyncio.sleep(60)
            assert store.in_doubt == (order,)

        run(body)

    def test_nobody_else_is_told_of_an_intent_at_work(self) -> None:
        """Not even between its commit and the first step of the body."""

        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            told: list[str] = []

            async def listen() -> None:
                while True:
                    told.extend(ids_in_doubt(store))
                    await asyncio.sleep(0)

            listener = asyncio.create_task(listen())
            async with store.intend(PlaceOrder(decision=1)) as order:
                await asyncio.sleep(0)
                await order.settle("accepted")
            await asyncio.sleep(0)
            listener.cancel()
            assert told == []

        run(body)
        run(body, durability="none")

    def test_others_in_doubt_are_listed_oldest_first(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            await store.append(
                PlaceOrder(decision=1, client_order_id="zz"),
                PlaceOrder(decision=2, client_order_id="aa"),
            )
            async with store.intend(PlaceOrder(decision=3)):
                assert ids_in_doubt(store) == ["zz", "aa"]
            assert len(store.in_doubt) == store.stats().open_intents == 3

        run(body)

    def test_one_result_of_intend_is_one_intent(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            intending = store.intend(PlaceOrder(decision=1))
            async with intending:
                pass
            with pytest.raises(StoreUsageError, match="one `async with`"):
                async with intending:
                    pytest.fail("the body ran")
            assert store.seq == 1

        run(body)

    def test_a_plain_with_is_refused(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            intending: Any = store.intend(PlaceOrder(decision=1))
            with pytest.raises(NotAwaitedError, match="async with"), intending:
                pass

        run(body)


class TestWhatIsRecorded:
    def test_others_come_with_it_in_one_record(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            commits = store.stats().commits
            async with store.intend(
                PlaceOrder(decision=1), Mark(price=5), metadata={"by": "me"}, expected_seq=0
            ) as order:
                assert (order.seq, store.seq, store.stats().commits) == (1, 2, commits + 1)
            events = [event async for event in store.events()]
            assert [event.operation for event in events] == ["place_order", "mark"]
            assert events[0].metadata == {"by": "me", "eventstore.intent": {"id": order.id}}
            assert events[1].metadata == {"by": "me"}
            with pytest.raises(SequenceConflictError):
                async with store.intend(PlaceOrder(decision=2), expected_seq=0):
                    pytest.fail("the body ran")
            assert store.in_doubt == (order,)

        run(body)

    @pytest.mark.parametrize("how", ["append", "submit", "by name", "mapping"])
    def test_every_way_of_appending_opens_it(self, how: str) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            if how == "append":
                await store.append(Mark(price=1), PlaceOrder(decision=1))
            elif how == "submit":
                await store.submit(Mark(price=1), PlaceOrder(decision=1))
            elif how == "by name":
                await store.append(Mark(price=1))
                await store.append("place_order", {"decision": 1})
            else:
                await store.append(("mark", {"price": 1}), ("place_order", {"decision": 1}))
            (doubt,) = store.in_doubt
            assert (doubt.seq, doubt.within, doubt.decidable_at) == (2, None, None)
            assert doubt.operation == PlaceOrder(decision=1, client_order_id=doubt.id)
            assert dict(store.state.done) == {1: doubt.id}

        run(body)

    @pytest.mark.parametrize("key", ["eventstore.intent", "eventstore.settles"])
    def test_nobody_else_writes_the_marks(self, key: str) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            for operation in (Mark(price=1), PlaceOrder(decision=1)):
                with pytest.raises(InvalidPayloadError, match=f"'{key}' is a key that only"):
                    await store.append(operation, metadata={"a": 1, key: "x"})
            assert (store.seq, store.in_doubt) == (0, ())

        run(body)


def full_once() -> Callable[[Call], Fault | None]:
    left = [Fault(errno.ENOSPC)]
    return lambda call: left.pop() if left and call.kind == "write" else None


class TestRefusal:
    def test_of_the_handler(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            with pytest.raises(ValueError, match="not negative"):
                async with store.intend(PlaceOrder(decision=1, qty=-1)):
                    pytest.fail("the body ran")
            assert (store.seq, store.head_seq, store.in_doubt) == (0, 0, ())

        run(body)

    def test_of_the_disk(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            disk.add_rule(full_once())
            with pytest.raises(StoreFullError):
                async with store.intend(PlaceOrder(decision=1)):
                    pytest.fail("the body ran")
            assert (store.seq, store.in_doubt, store.head) == (0, (), store.state)
            async with store.intend(PlaceOrder(decision=2)) as order:
                assert order.operation.decision == 2
            assert store.in_doubt == (order,)

        run(body)

    def test_of_the_snapshot_that_stands_in_for_a_log(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            disk.add_rule(full_once())
            with pytest.raises(StoreFullError):
                async with store.intend(PlaceOrder(decision=1)):
                    pytest.fail("the body ran")
            (doubt,) = store.in_doubt
            await doubt.settle("never_sent")
            async with store.intend(PlaceOrder(decision=1)):
                assert store.stats().snapshot_seq == 3

        run(body, use_wal=False)

    def test_of_an_operation_that_intends_nothing(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            with pytest.raises(ConfigError, match="intent="):
                async with store.intend(Mark(price=1)):
                    pytest.fail("the body ran")
            with pytest.raises(UnknownOperationError):
                async with store.intend(PlaceOrder(decision=1), ("nothing", {})):
                    pytest.fail("the body ran")
            assert store.head_seq == 0

        run(body)

    @pytest.mark.parametrize("terms", [{"within": 5}, {"lag": None}, {"lag": timedelta(-1)}])
    def test_of_terms_that_are_no_durations(self, terms: Any) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            with pytest.raises(ConfigError, match="timedelta"):
                store.intend(PlaceOrder(decision=1), **terms)

        run(body)

    def test_of_a_closed_store(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            async with store.intend(PlaceOrder(decision=1)) as order:
                await store.close()
            with pytest.raises(StoreClosedError):
                async with store.intend(PlaceOrder(decision=2)):
                    pytest.fail("the body ran")
            with pytest.raises(StoreClosedError):
                await order.settle("accepted")

        run(body)


class TestCancellation:
    """Wherever the opening is cancelled, the intent is in doubt or was never recorded."""

    @pytest.mark.parametrize("options", [{}, KINDS["none"], KINDS["no log"], {"max_pending": 1}])
    @pytest.mark.parametrize("step", range(12))
    def test_at_each_step(self, step: int, options: dict[str, Any]) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            ran: list[str] = []

            async def trade() -> None:
                async with store.intend(PlaceOrder(decision=1)) as order:
                    ran.append(order.id)
                    await asyncio.sleep(3600)

            fillers = [asyncio.create_task(store.append(Mark(price=n))) for n in range(2)]
            task = asyncio.create_task(trade())
            for _ in range(step):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task, *fillers])
            if options.get("use_wal", True):
                await store.flush()
            recorded = [event for event in await all_events(store) if event == "place_order"]
            if options.get("use_wal", True):
                assert len(store.in_doubt) == len(recorded)
            assert set(ran) <= set(ids_in_doubt(store))
            for doubt in store.in_doubt:
                await doubt.settle("never_sent")
            async with store.intend(PlaceOrder(decision=1)) as again:
                await again.settle("accepted")
            assert (store.in_doubt, dict(store.state.done)) == ((), {1: again.id})

        run(body, **options)


async def all_events(store: EventStore[Book]) -> list[str]:
    if store.log.stats().seq and store.origin is not None:
        return []  # no log
    return [event.operation async for event in store.events()]


class TestGivenIds:
    def test_are_kept_and_used_once(self) -> None:
        async def body(store: EventStore[Book], disk: SimulatedDisk) -> None:
            async with store.intend(PlaceOrder(decision=1, client_order_id="mine")) as order:
                assert order.id == "mine"
                with pytest.raises(IntentError, match=r"'mine' is open \(event 1\)") as refused:
                    await store.append(PlaceOrder(decision=2, client_order_id="mine"))
                assert refused.value.id == "mine"
            await store.append(RecordFill(client_order_id="mine", qty=1))
            with pytest.raises(IntentError, match=r"'mine' was used \(event 1\)"):
                async with store.intend(PlaceOrder(decision=2, client_order_id="mine")):
                    pytest.fail("the body ran")
            with pytest.raises(IntentError, match="'twice' is open"):
                await store.append(
                    PlaceOrder(decision=3, client_order_id="twice"),
                    PlaceOrder(decision=4, client_order_id="twice"),
                )
            assert (store.seq, store.head_seq, store.in_doubt) == (2, 2, ())

        disk = run(body)

        async def later() -> None:
            for snapshot in (False, True, True):
                async with opened(disk_now[0]) as store:
                    with pytest.raises(IntentError, match="was used"):
                        await store.append(PlaceOrder(decision=2, client_order_id="mine"))
                    if snapshot:
                        await store.append(Mark(price=1))
                        await store.snapshot()
                disk_now[0] = disk_now[0].reopen()

        disk_now = [disk]
        run_in_virtual_time(later())
