"""Settling: what closes an intent, what it writes, and what handlers see."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from eventstore import (
    ConfigError,
    Event,
    EventStore,
    IntentSettled,
    InvalidPayloadError,
    Operation,
    RegistrationError,
    StoreFullError,
    StoreReadOnlyError,
    UnknownOperationError,
    handler,
    read_events,
    replay,
    state_at,
    upcaster,
)
from eventstore.history import branch
from eventstore.model.registry import HandlerRegistry
from eventstore.testing import Call, Fault, SimulatedDisk, run_in_virtual_time
from tests.support.orders import (
    Book,
    Mark,
    PlaceOrder,
    RecordFill,
    Replace,
    ids_in_doubt,
    mark,
    opened,
    order_registry,
)

Body = Callable[[EventStore[Book]], Coroutine[Any, Any, None]]


def run(body: Body, disk: SimulatedDisk | None = None, **options: Any) -> SimulatedDisk:
    """Run `body` with a store, and return the disk as the store left it."""
    there = SimulatedDisk() if disk is None else disk

    async def program() -> None:
        async with opened(there, **options) as store:
            await body(store)

    run_in_virtual_time(program())
    return there.reopen()


async def intent(store: EventStore[Book], decision: int = 1, **fields: Any) -> Any:
    async with store.intend(PlaceOrder(decision=decision, **fields)) as order:
        return order


class Placed(Operation, tag="place_order", version=2, intent="client_order_id"):
    """The newer version of `PlaceOrder`."""

    client_order_id: str = ""
    decision: int
    shares: int


@upcaster
def newer(old: PlaceOrder) -> list[Mark | Placed]:
    placed = Placed(client_order_id=old.client_order_id, decision=old.decision, shares=old.qty)
    return [Mark(price=0), placed]


@handler
def placed(state: Book, event: Event[Placed]) -> Book:
    done = state.done.set(event.data.decision, event.data.client_order_id)
    return msgspec.structs.replace(state, done=done)


@handler
def told(state: Book, event: Event[IntentSettled]) -> Book:
    assert isinstance(event.intended, Placed)
    return msgspec.structs.replace(state, done=state.done.delete(event.intended.decision))


class Other(Operation, tag="intent_settled"):
    """An operation with the name of the built-in one."""


@handler
def other(state: Book, event: Event[Other]) -> Book:
    return state


class TestSettle:
    def test_writes_one_record_with_whatever_else_is_known(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            commits = store.stats().commits
            receipt = await order.settle("accepted", Mark(price=7), note="as order 9")
            assert (receipt.first_seq, receipt.seq) == (2, 3)
            assert store.stats().commits == commits + 1
            settled, mark = receipt.events
            assert settled.data == IntentSettled(
                id=order.id, outcome="accepted", note="as order 9", intended=order.operation
            )
            assert mark.data == Mark(price=7)
            assert (order.settled, order.receipt, store.in_doubt) == (True, receipt, ())
            assert store.state.outcomes == ("accepted",)

        run(body)

    def test_twice_writes_nothing_and_gives_the_first_receipt(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            first = await order.settle("accepted")
            assert await order.settle("rejected", Mark(price=7)) is first
            assert (store.seq, store.state.outcomes) == (2, ("accepted",))

        run(body)

    def test_the_second_time_waits_for_a_disk_that_the_first_did_not_wait_for(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            fill = RecordFill(client_order_id=order.id, qty=1)
            first = await store.append(fill, durability="none")
            assert store.stats().synced_seq < first.seq
            assert await order.settle("accepted") is first
            assert store.stats().synced_seq == first.seq

        run(body)

    @pytest.mark.parametrize("max_pending", [1, 1000])
    def test_twice_at_once(self, max_pending: int) -> None:
        """Also where both wait for room, and the second gets its turn after the first."""

        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            fillers = [asyncio.create_task(store.append(Mark(price=n))) for n in range(3)]
            await asyncio.sleep(0)
            told = await asyncio.gather(order.settle("accepted"), order.settle("rejected"))
            await asyncio.gather(*fillers)
            assert told[0] is told[1]
            assert store.state.outcomes == ("accepted",)

        run(body, max_pending=max_pending)

    def test_by_the_body_of_one_doubt_and_the_list_of_another(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            (listed,) = store.in_doubt
            assert listed is order
            first = await listed.settle("expired")
            assert await order.settle("accepted") is first

        run(body)

    @pytest.mark.parametrize("outcome", ["", None, 5])
    def test_without_an_outcome(self, outcome: Any) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            with pytest.raises(ConfigError, match="outcome"):
                await order.settle(outcome)
            with pytest.raises(InvalidPayloadError, match="note"):
                await order.settle("accepted", note=3)
            assert store.in_doubt == (order,)

        run(body)

    def test_after_a_refused_commit_the_intent_is_open_and_can_be_settled_again(self) -> None:
        disk = SimulatedDisk()

        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            left = [Fault(errno.ENOSPC)]

            def full(call: Call) -> Fault | None:
                return left.pop() if left and call.kind == "write" else None

            disk.add_rule(full)
            with pytest.raises(StoreFullError):
                await order.settle("accepted")
            assert (store.in_doubt, order.settled) == ((order,), False)
            receipt = await order.settle("rejected")
            assert (receipt.seq, store.state.outcomes) == (2, ("rejected",))

        run(body, disk)

    def test_of_a_store_that_is_only_read(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await intent(store)

        async def read(store: EventStore[Book]) -> None:
            (doubt,) = store.recovery.in_doubt
            assert store.in_doubt == (doubt,)
            with pytest.raises(StoreReadOnlyError):
                await doubt.settle("accepted")

        run(read, run(body), read_only=True)


class TestByValue:
    def test_a_fill_proves_acceptance(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            fill = await store.append(RecordFill(client_order_id=order.id, qty=2))
            assert (order.settled, store.in_doubt) == (True, ())
            assert await order.settle("accepted") is fill
            assert fill.events[0].metadata == {"eventstore.settles": order.id}
            again = await store.append(RecordFill(client_order_id=order.id, qty=3))
            assert again.events[0].metadata is None
            assert (store.state.filled, store.state.outcomes) == (5, ())

        run(body)

    def test_a_settlement_in_flight_is_waited_for(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            fill = store.submit(RecordFill(client_order_id=order.id, qty=2))
            assert (store.in_doubt, order.settled) == ((), fill.done)
            assert await order.settle("accepted") is fill

        run(body)

    @pytest.mark.parametrize("name", ["elsewhere", "", None])
    def test_of_nothing_open_is_an_ordinary_event(self, name: str | None) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            await store.append(RecordFill(client_order_id=name, qty=2))
            settled = IntentSettled(id="elsewhere", outcome="odd", intended=order.operation)
            receipt = await store.append(settled)
            assert receipt.events[0].intended is None, "the store says what was intended"
            assert store.in_doubt == (order,)
            assert (store.state.filled, store.state.outcomes) == (2, ("odd",))

        run(body)

    def test_in_the_record_of_the_intent_itself(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            receipt = await store.append(
                PlaceOrder(decision=1, client_order_id="a"),
                IntentSettled(id="a", outcome="never_sent"),
            )
            assert receipt.events[1].intended == PlaceOrder(decision=1, client_order_id="a")
            assert (store.in_doubt, dict(store.state.done)) == ((), {})

        disk = run(body)

        async def later(store: EventStore[Book]) -> None:
            assert store.recovery.in_doubt == ()

        run(later, disk)

    def test_by_an_intent_that_replaces_it(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store)
            async with store.intend(Replace(replaces=order.id)) as newer:
                assert order.settled
            assert ids_in_doubt(store) == [newer.id]

        run(body)

    def test_several_in_one_group_are_each_open_by_themselves(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await store.append(*[PlaceOrder(decision=n) for n in range(3)])
            one, two, three = store.in_doubt
            await two.settle("accepted")
            await store.append(RecordFill(client_order_id=one.id, qty=1))
            assert store.in_doubt == (three,)

        run(body)


class TestIntended:
    """`event.intended` is typed and the same wherever the event is folded or read."""

    @pytest.fixture(params=[False, True], ids=["folded", "from a snapshot"])
    def disk(self, request: pytest.FixtureRequest) -> SimulatedDisk:
        async def body(store: EventStore[Book]) -> None:
            order = await intent(store, 4)
            if request.param:
                await store.snapshot()
            await order.settle("never_sent")
            await intent(store, 5)

        return run(body)

    def test_by_a_handler(self, disk: SimulatedDisk) -> None:
        assert list(state_at("", order_registry(), disk=disk).done) == [5]
        states = [state for _, state in replay("", order_registry(), disk=disk)]
        assert [list(state.done) for state in states] == [[4], [], [5]]

        async def later(store: EventStore[Book]) -> None:
            assert list(store.state.done) == [5]
            events = [event async for event in store.events()]
            assert events[1].intended == events[0].data

        run(later, disk)

    def test_by_readers(self, disk: SimulatedDisk) -> None:
        event = list(read_events("", order_registry(), disk=disk))[1]
        assert isinstance(event.intended, PlaceOrder)
        plain = list(read_events("", disk=disk))[1].data["intended"]
        assert plain == {
            "op": "place_order", "client_order_id": event.data.id, "decision": 4, "qty": 1
        }  # fmt: skip

    def test_in_a_branch(self, disk: SimulatedDisk) -> None:
        async def program() -> None:
            async with branch("", order_registry(), disk=disk) as store:
                assert list(store.state.done) == [5]
                (doubt,) = store.in_doubt
                assert doubt.inherited
                await doubt.settle("never_sent")
                assert list(store.state.done) == []

        run_in_virtual_time(program())

    def test_without_a_handler_nothing_changes(self, disk: SimulatedDisk) -> None:
        registry = order_registry(settlements=False)
        assert list(state_at("", registry, disk=disk).done) == [4, 5]
        assert "intent_settled" in registry.operations

        async def later(store: EventStore[Book]) -> None:
            (doubt,) = store.in_doubt
            await doubt.settle("accepted")
            assert store.state.outcomes == ()
            assert await store.snapshot() == 4

        disk = run(later, disk, registry=registry)

        async def with_the_handler_again(store: EventStore[Book]) -> None:
            assert store.recovery.snapshots_rejected, "made without the handler"
            assert store.state.outcomes == ("never_sent", "accepted")

        run(with_the_handler_again, disk)

    def test_in_an_older_version(self, disk: SimulatedDisk) -> None:
        async def later(store: EventStore[Book]) -> None:
            (doubt,) = store.in_doubt
            assert doubt.operation == Placed(client_order_id=doubt.id, decision=5, shares=1)

        disk = run(later, disk, registry=HandlerRegistry(placed, told, mark, newer))
        assert list(state_at("", HandlerRegistry(placed, told, mark, newer), disk=disk).done) == [5]


class TestRegistration:
    def test_of_another_operation_of_that_name(self) -> None:
        with pytest.raises(RegistrationError, match="intent_settled"):
            order_registry(settlements=False, more=(other,))

    def test_where_nothing_intends(self) -> None:
        registry = HandlerRegistry(mark)
        assert (registry.operations, registry.marked) == (("mark",), frozenset())
        with pytest.raises(UnknownOperationError, match="intent_settled"):
            registry.payload("intent_settled", {"id": "a", "outcome": "b"})
