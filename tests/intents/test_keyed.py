"""Intents with an identity key: one decision is intended once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from eventstore import (
    DuplicateIntentError,
    Event,
    EventStore,
    HandlerRegistry,
    KeyConflictError,
    Operation,
    SequenceConflictError,
    handler,
)
from eventstore.testing import SimulatedDisk, run_in_virtual_time
from tests.support.orders import Book, Mark, RecordFill, ids_in_doubt, mark, opened, record_fill

Body = Callable[[EventStore[Book]], Coroutine[Any, Any, None]]


class Decide(Operation, intent="client_order_id", key="decision"):
    client_order_id: str = ""
    decision: int
    qty: int = 1


@handler
def decide(state: Book, event: Event[Decide]) -> Book:
    done = state.done.set(event.data.decision, event.data.client_order_id)
    return msgspec.structs.replace(state, done=done)


class Seen(Operation, key="name"):
    """A message of the venue."""

    name: str


@handler
def seen(state: Book, event: Event[Seen]) -> Book:
    return state


REGISTRY = HandlerRegistry(decide, record_fill, mark, seen)


def run(body: Body, disk: SimulatedDisk | None = None, **options: Any) -> SimulatedDisk:
    there = SimulatedDisk() if disk is None else disk

    async def program() -> None:
        async with opened(there, registry=REGISTRY, **options) as store:
            await body(store)

    run_in_virtual_time(program())
    return there.reopen()


async def intended(store: EventStore[Book], decision: int, **fields: Any) -> Any:
    async with store.intend(Decide(decision=decision, **fields)) as doubt:
        return doubt


async def refused(store: EventStore[Book], decision: int, **fields: Any) -> DuplicateIntentError:
    before = store.head_seq
    with pytest.raises(DuplicateIntentError) as found:
        async with store.intend(Decide(decision=decision, **fields)):
            pytest.fail("the body ran")
    assert store.head_seq == before
    return found.value


class TestASecondIntend:
    def test_of_an_open_intent(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            doubt = await intended(store, 1)
            error = await refused(store, 1)
            assert (error.id, error.first.data) == (doubt.id, doubt.operation)
            assert "with event 1, and is open" in str(error)
            assert store.in_doubt == (doubt,)
            await doubt.settle("accepted")
            assert "with event 1, and was settled" in str(await refused(store, 1))
            await intended(store, 2)

        run(body)

    def test_while_the_first_is_at_work(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            async with store.intend(Decide(decision=1)) as doubt:
                error = await refused(store, 1)
                assert error.id == doubt.id
                assert store.in_doubt == ()

        run(body)

    @pytest.mark.parametrize("durability", ["commit", "none"])
    def test_side_by_side_is_one_intent(self, durability: str) -> None:
        async def body(store: EventStore[Book]) -> None:
            told = await asyncio.gather(
                *(intended(store, 1) for _ in range(3)), return_exceptions=True
            )
            errors = [one for one in told if isinstance(one, DuplicateIntentError)]
            (doubt,) = [one for one in told if not isinstance(one, BaseException)]
            assert [error.id for error in errors] == [doubt.id] * 2
            assert (store.seq, store.in_doubt) == (1, (doubt,))

        run(body, durability=durability)

    def test_is_told_so_whatever_number_was_expected(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await intended(store, 1)
            with pytest.raises(DuplicateIntentError):
                async with store.intend(Decide(decision=1), expected_seq=0):
                    pytest.fail("the body ran")
            with pytest.raises(SequenceConflictError):
                async with store.intend(Decide(decision=2), expected_seq=0):
                    pytest.fail("the body ran")

        run(body)

    def test_cancelled_during_the_look_up_is_in_doubt_once_written(self) -> None:
        """The key is forgotten, and its row is still on disk."""

        async def body(store: EventStore[Book]) -> None:
            doubt = await intended(store, 1)
            await doubt.settle("accepted")
            await store.append(*[Mark(price=price) for price in range(5)])
            await store.snapshot()
            again = asyncio.create_task(intended(store, 1))
            await asyncio.sleep(0)
            again.cancel()
            with pytest.raises(asyncio.CancelledError):
                await again
            await store.flush()
            assert [one.operation.decision for one in store.in_doubt] == [1]

        run(body, keys={"remember": {"events": 3}})

    def test_with_another_payload_is_a_conflict(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            doubt = await intended(store, 1)
            with pytest.raises(KeyConflictError) as found:
                await intended(store, 1, qty=2)
            assert found.value.differences == {"qty": (1, 2)}
            assert found.value.first.data == doubt.operation
            assert store.seq == 1

        run(body)

    @pytest.mark.parametrize("name", ["mine", ""])
    def test_under_another_id_is_the_same_decision(self, name: str) -> None:
        async def body(store: EventStore[Book]) -> None:
            doubt = await intended(store, 1, client_order_id=name)
            for given in ("", "another", doubt.id):
                assert (await refused(store, 1, client_order_id=given)).id == doubt.id
            assert store.seq == 1

        run(body)

    @pytest.mark.parametrize("history", ["archive", "discard"])
    def test_after_a_restart(self, history: str) -> None:
        """The key is in a run on disk, and is looked up off the loop."""

        async def body(store: EventStore[Book]) -> None:
            await intended(store, 1)
            await store.append(RecordFill(client_order_id=store.in_doubt[0].id, qty=1))
            await intended(store, 2)
            for _ in range(6):
                await store.append(*[Mark(price=price) for price in range(50)])
                await store.snapshot()

        async def later(store: EventStore[Book]) -> None:
            (doubt,) = store.in_doubt
            for decision in (1, 2):
                error = await refused(store, decision)
                assert error.first.seq == {1: 1, 2: 3}[decision]
                assert (error.first.data is None) == (history == "discard")
            told = ids_in_doubt(store)
            async with store.intend(Decide(decision=3)) as third:
                assert ids_in_doubt(store) == told == [doubt.id]
            assert store.in_doubt == (doubt, third)

        options: dict[str, Any] = {"segment_size": 4096, "backup_count": 1, "history": history}
        run(later, run(body, **options), **options)

    @pytest.mark.parametrize("snapshots", [False, True])
    def test_of_a_key_that_would_be_forgotten(self, snapshots: bool) -> None:
        """A key is remembered as long as its intent is open, however short the memory is."""

        async def body(store: EventStore[Book]) -> None:
            doubt = await intended(store, 1)
            for price in range(10):
                await store.append(Mark(price=price))
                if snapshots:
                    await store.snapshot()
            assert (await refused(store, 1)).first.data == doubt.operation
            await intended(store, 2)
            await doubt.settle("never_sent")
            assert (await intended(store, 1)).seq == store.seq

        run(body, keys={"remember": {"events": 3}})

    def test_in_memory(self) -> None:
        async def program() -> None:
            async with opened(None, registry=REGISTRY) as store:
                await intended(store, 1)
                await refused(store, 1)

        run_in_virtual_time(program())


class TestASecondSettlement:
    def test_beside_a_key_that_is_looked_up(self) -> None:
        """Both calls wait for the disk, and one of both writes."""

        async def body(store: EventStore[Book]) -> None:
            await store.append(Seen(name="old"))
            for _ in range(3):
                await store.append(Mark(price=1))
                await store.snapshot()

        async def later(store: EventStore[Book]) -> None:
            doubt = await intended(store, 1)
            before = store.seq
            told = await asyncio.gather(
                *(doubt.settle("accepted", Seen(name=name)) for name in ("new", "newer"))
            )
            assert told[0] is told[1]
            assert store.seq == before + 2

        run(later, run(body))


class TestASecondAppend:
    @pytest.mark.parametrize("snapshot", [False, True])
    def test_is_a_duplicate_whatever_id_the_store_filled_in(self, snapshot: bool) -> None:
        async def body(store: EventStore[Book]) -> None:
            first = await store.append(Decide(decision=1))
            if snapshot:
                await store.snapshot()
            again = await store.append(Decide(decision=1))
            assert (again.duplicate, again.seq) == (True, first.seq)
            assert (store.seq, len(store.in_doubt)) == (1, 1)

        async def later(store: EventStore[Book]) -> None:
            assert (await store.append(Decide(decision=1))).duplicate
            assert (store.seq, len(store.in_doubt)) == (1, 1)

        run(later, run(body))
