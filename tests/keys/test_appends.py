"""Appends with identity keys: what is written once, what is a duplicate, and what conflicts."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import errno
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    IntentError,
    InvalidPayloadError,
    KeyConflictError,
    Operation,
    PartialDuplicateError,
    ReadFailedError,
    SequenceConflictError,
    StoreClosedError,
    StoreFailedError,
    StoreFullError,
    StoreOverloadedError,
    StoreUsageError,
    handler,
)
from eventstore.history import branch
from eventstore.keys.index import find_in_runs
from eventstore.keys.run import Run
from eventstore.open_store import keyed_appends
from eventstore.open_store.keyed_appends import KeyedAppends
from eventstore.testing import SimulatedDisk
from tests.log.test_call_guard import in_thread
from tests.support.gates import PATIENCE
from tests.test_head import failing_once


class Fill(Operation, key=("symbol", "fill_id")):
    symbol: str = "BTC"
    fill_id: str
    qty: float = 1.0


class Quote(Operation, key="quote_id", on_conflict="first"):
    quote_id: str | None
    price: float = 0.0


class Tag(Operation, key=lambda tag: tag.name.lower() or None):
    name: str
    labels: dict[str, int] = msgspec.field(default_factory=dict)


class Order(Operation, key="decision", intent="order_id"):
    order_id: str = ""
    decision: int
    qty: int = 1


class Note(Operation):
    text: str = ""


class Part(Operation, key=lambda part: (part.qty / 3,)):
    qty: Decimal


class Stops(Operation, key=lambda stops: next(iter(()))):
    pass


class Leg(Operation, key="leg_id"):
    leg_id: str
    sizes: list[int]


CALLED: list[EventStore[int]] = []
"""Stores that the key of `Odd` appends to."""


class Odd(Operation, key=lambda odd: str(CALLED[0].submit(Note()).seq)):
    pass


@handler
def fill(state: int, event: Event[Fill]) -> int:
    if event.data.qty < 0:
        raise ValueError("no such quantity")
    return state + 1


@handler
def quote(state: int, event: Event[Quote]) -> int:
    return state + 1


@handler
def tag(state: int, event: Event[Tag]) -> int:
    return state + 1


@handler
def odd(state: int, event: Event[Odd]) -> int:
    return state


@handler
def part(state: int, event: Event[Part]) -> int:
    return state + 1


@handler
def stops(state: int, event: Event[Stops]) -> int:
    return state


@handler
def leg(state: int, event: Event[Leg]) -> int:
    return state + len(event.data.sizes)


@handler
def order(state: int, event: Event[Order]) -> int:
    return state + 1


@handler
def note(state: int, event: Event[Note]) -> int:
    return state + 1


REGISTRY = HandlerRegistry[int](fill, quote, tag, order, note, odd, part, stops, leg, initial=int)


async def opened(disk: SimulatedDisk, **options: Any) -> EventStore[int]:
    options = {"wal_max_entries": None, "auto_save_interval": None, **options}
    return await EventStore.open("", REGISTRY, disk=disk, **options)


@pytest_asyncio.fixture(params=["disk", "no log", "memory", "run"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[EventStore[int]]:
    if request.param == "memory":
        async with EventStore.in_memory(REGISTRY) as made:
            yield made
        return
    made = await opened(SimulatedDisk(), use_wal=request.param != "no log")
    if request.param == "run":
        append = made.append

        async def append_and_write(*operations: Any, **options: Any) -> Any:
            receipt = await append(*operations, **options)
            await made.snapshot()  # every known key is in a run from here on
            return receipt

        made.append = append_and_write  # type: ignore[method-assign]  # each append, then a run
    yield made
    await made.close()


@pytest.mark.asyncio
class TestAnOperation:
    async def test_is_written_once(self, store: EventStore[int]) -> None:
        first = await store.append(Fill(fill_id="1"))
        again = await store.append(Fill(fill_id="1"))
        assert not first.duplicate
        assert again.duplicate
        assert (again.first_seq, again.seq, again.time) == (1, 1, first.time)
        assert again.events == ()
        assert (store.seq, store.state) == (1, 1)
        with pytest.raises(StoreUsageError, match="nothing was folded"):
            _ = again.state

    async def test_is_the_same_whatever_equal_values_it_was_given(
        self, store: EventStore[int]
    ) -> None:
        await store.append(Fill(fill_id="1", qty=2.0))
        assert (await store.append(Fill(fill_id="1", qty=2))).duplicate
        assert (await store.append("fill", {"fill_id": "1", "qty": 2})).duplicate
        await store.append(Tag(name="a", labels={"x": 1, "y": 2}))
        assert (await store.append(Tag(name="a", labels={"y": 2, "x": 1}))).duplicate

    async def test_with_another_payload_conflicts(self, store: EventStore[int]) -> None:
        await store.append(Fill(fill_id="1", qty=2.0))
        with pytest.raises(KeyConflictError, match=r"'BTC:1' is that of event 1") as caught:
            await store.append(Fill(fill_id="1", qty=3.0))
        error = caught.value
        assert error.key == "BTC:1"
        assert error.given == Fill(fill_id="1", qty=3.0)
        assert (error.first.seq, error.first.key) == (1, "BTC:1")
        if error.first.data is not None:  # else there is no log
            assert error.first.data == Fill(fill_id="1", qty=2.0)
            assert error.differences == {"qty": (2.0, 3.0)}
        assert store.seq == store.head_seq == 1

    async def test_whose_class_says_so_stands_in_a_conflict(self, store: EventStore[int]) -> None:
        await store.append(Quote(quote_id="q", price=1.0))
        receipt = await store.append(Quote(quote_id="q", price=2.0))
        assert receipt.duplicate
        assert receipt.differences in ({"price": (1.0, 2.0)}, {})
        assert store.seq == 1

    async def test_without_a_value_for_its_key_has_no_key(self, store: EventStore[int]) -> None:
        for _ in range(2):
            assert not (await store.append(Quote(quote_id=None))).duplicate
        assert store.seq == 2

    async def test_has_a_key_beside_those_of_other_operations(self, store: EventStore[int]) -> None:
        await store.append(Quote(quote_id="x"))
        assert not (await store.append(Tag(name="x"))).duplicate
        assert (await store.append(Tag(name="x"))).duplicate

    async def test_has_the_key_of_the_call_in_place_of_its_own(
        self, store: EventStore[int]
    ) -> None:
        await store.append(Fill(fill_id="1"), key="mine")
        assert not (await store.append(Fill(fill_id="1"))).duplicate
        assert (await store.append(Fill(fill_id="1"), key="mine")).duplicate

    @pytest.mark.parametrize("key", ["", 5, b"k", ("a",)])
    async def test_is_refused_with_a_key_that_is_none(
        self, store: EventStore[int], key: Any
    ) -> None:
        with pytest.raises(InvalidPayloadError, match="key"):
            await store.append(Note(), key=key)
        assert store.seq == 0

    async def test_that_cannot_be_recorded_is_refused_under_a_known_key_too(
        self, store: EventStore[int]
    ) -> None:
        await store.append(Fill(fill_id="1"))
        wrong: Any = "many"
        with pytest.raises(InvalidPayloadError):
            await store.append(Fill(fill_id="1", qty=wrong))


@pytest.mark.asyncio
class TestAGroup:
    async def test_with_the_key_of_the_call_is_one_unit(self, store: EventStore[int]) -> None:
        group = Note(text="a"), Quote(quote_id="q"), Note(text="b")
        first = await store.append(*group, key="g")
        again = await store.append(*group, key="g")
        assert again.duplicate
        assert (again.first_seq, again.seq, again.time) == (1, 3, first.time)
        for other in (
            group[:1],
            group[1:],
            (*group, Note(text="c")),
            (*group[:2], Note(text="B")),
            (group[0], Fill(fill_id="1")),
        ):
            with pytest.raises(KeyConflictError):
                await store.append(*other, key="g")
        assert store.seq == 3

    async def test_of_known_operations_writes_the_new_ones_alone(
        self, store: EventStore[int]
    ) -> None:
        await store.append(Fill(fill_id="1"), Fill(fill_id="2"))
        receipt = await store.append(*(Fill(fill_id=str(number)) for number in range(1, 6)))
        assert not receipt.duplicate
        assert (receipt.first_seq, receipt.seq) == (3, 5)
        assert [event.data.fill_id for event in receipt.events] == ["3", "4", "5"]
        again = await store.append(Fill(fill_id="4"), Fill(fill_id="1"))
        assert again.duplicate
        assert (again.first_seq, again.seq) == (1, 4)

    async def test_says_what_stands_beside_what_is_written(self, store: EventStore[int]) -> None:
        """A re-poll of many, of which one was told otherwise before, is no place to be silent."""
        await store.append(Quote(quote_id="a", price=1.0))
        receipt = await store.append(
            Quote(quote_id="a", price=2.0), Quote(quote_id="b", price=3.0), Fill(fill_id="1")
        )
        assert (receipt.first_seq, receipt.seq, receipt.duplicate) == (2, 3, False)
        assert receipt.differences in ({"price": (1.0, 2.0)}, {})
        receipt = await store.append(Quote(quote_id="c"), Quote(quote_id="c", price=4.0))
        assert (receipt.first_seq, receipt.seq) == (4, 4)
        assert receipt.differences == {"price": (0.0, 4.0)}
        receipt = await store.append(Quote(quote_id="d"), Quote(quote_id="d"), Fill(fill_id="1"))
        assert receipt.differences is None

    async def test_with_one_operation_without_a_key_is_new_as_a_whole(
        self, store: EventStore[int]
    ) -> None:
        await store.append(Fill(fill_id="1"), Note(text="x"))
        with pytest.raises(PartialDuplicateError, match="note at position 2 has no key") as caught:
            await store.append(Fill(fill_id="9"), Fill(fill_id="1"), Note(text="x"))
        assert caught.value.duplicates == (1,)
        assert store.seq == 2

    async def test_with_one_key_twice_writes_it_once(self, store: EventStore[int]) -> None:
        receipt = await store.append(
            Fill(fill_id="1"), Note(), Fill(fill_id="1", qty=1), Fill(fill_id="2")
        )
        assert [event.key for event in receipt.events] == ["BTC:1", None, "BTC:2"]
        with pytest.raises(KeyConflictError, match="another operation of the same append"):
            await store.append(Fill(fill_id="3"), Fill(fill_id="3", qty=2.0))
        assert store.seq == 3


@pytest.mark.asyncio
class TestADecision:
    """An intent with a key: the id that the store fills in is no other payload."""

    async def test_is_intended_once(self) -> None:
        async with EventStore.in_memory(REGISTRY) as store:
            async with store.intend(Order(decision=1)) as doubt:
                pass
            with pytest.raises(IntentError, match="intended before"):
                async with store.intend(Order(decision=1)):
                    raise AssertionError("the body ran")
            assert [one.id for one in store.in_doubt] == [doubt.id]
            assert (await store.append(Order(decision=1))).duplicate
            assert (await store.append(Order(decision=1, order_id=doubt.id))).duplicate
            with pytest.raises(KeyConflictError):
                await store.append(Order(decision=1, qty=2))
            assert store.seq == 1

    async def test_is_intended_once_across_a_restart(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        async with store.intend(Order(decision=1)):
            await store.snapshot()
        await store.close()
        store = await opened(disk.reopen())
        with pytest.raises(IntentError, match="intended before"):
            async with store.intend(Order(decision=1)):
                raise AssertionError("the body ran")
        async with store.intend(Order(decision=2)) as doubt:
            assert doubt.seq == store.seq == 2
        await store.close()


@pytest.mark.asyncio
class TestInFlight:
    async def test_the_second_has_the_outcome_of_the_first(self) -> None:
        store = await opened(SimulatedDisk(), durability="commit")
        receipts = [store.submit(Fill(fill_id="1")) for _ in range(3)]
        assert [receipt.duplicate for receipt in receipts] == [False, True, True]
        with pytest.raises(KeyConflictError, match="event 1"):
            store.submit(Fill(fill_id="1", qty=5.0))
        await receipts[2]
        assert receipts[0].done
        assert store.seq == 1
        await store.close()

    async def test_a_refused_commit_takes_its_keys_back(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await store.append(Fill(fill_id="1"))
        disk.add_rule(failing_once("write", errno.ENOSPC))
        receipts = [store.submit(Fill(fill_id="2")) for _ in range(3)]
        for receipt in receipts:
            with pytest.raises(StoreFullError):
                await receipt
        assert not (await store.append(Fill(fill_id="2"))).duplicate
        assert (await store.append(Fill(fill_id="2"))).duplicate
        assert store.seq == 2
        await store.close()

    async def test_after_an_unknown_outcome_the_same_append_is_right(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        disk.add_rule(failing_once("sync", errno.EIO))
        receipts = [store.submit(Fill(fill_id="1")) for _ in range(2)]
        for receipt in receipts:
            with pytest.raises(StoreFailedError):
                await receipt
        await store.close()
        store = await opened(disk.reopen())
        await store.append(Fill(fill_id="1"))
        assert (store.seq, store.state) == (1, 1)
        await store.close()

    async def test_a_handler_that_raises_takes_no_key(self) -> None:
        store = await opened(SimulatedDisk())
        with pytest.raises(ValueError, match="no such quantity"):
            await store.append(Fill(fill_id="1", qty=-1.0))
        assert not (await store.append(Fill(fill_id="1"))).duplicate
        await store.close()

    async def test_a_cancelled_append_is_a_duplicate_of_itself(self) -> None:
        store = await opened(SimulatedDisk())
        task = asyncio.ensure_future(store.append(Fill(fill_id="1")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await store.append(Fill(fill_id="1"))).duplicate or store.seq == 1
        await store.close()


@pytest.mark.asyncio
class TestExpectedSeq:
    async def test_a_duplicate_wins_over_it(self, store: EventStore[int]) -> None:
        first = await store.append(Fill(fill_id="1"), expected_seq=0)
        again = await store.append(Fill(fill_id="1"), expected_seq=0)
        assert again.duplicate
        assert again.seq == first.seq
        with pytest.raises(SequenceConflictError):
            await store.append(Fill(fill_id="2"), expected_seq=0)
        with pytest.raises(SequenceConflictError):
            await store.append(Note(), expected_seq=0)

    async def test_it_wins_over_a_conflict(self, store: EventStore[int]) -> None:
        fill, other = Fill(fill_id="1"), Fill(fill_id="1", qty=5.0)
        await store.append(fill)
        again = [Fill(fill_id="2"), Fill(fill_id="2", qty=5.0)]
        for group in ([other], [fill, Note()], again):
            with pytest.raises(SequenceConflictError):
                await store.append(*group, expected_seq=0)
            with pytest.raises(KeyConflictError):
                await store.append(*group, expected_seq=1)


@pytest.mark.asyncio
class TestFind:
    async def test_gives_the_event(self, store: EventStore[int]) -> None:
        await store.append(Note(), Fill(fill_id="1", qty=2.0))
        await store.append(Tag(name="BTC:1"))
        found = await store.find(("BTC", "1"), Fill)
        assert found is not None
        assert (found.seq, found.key) == (2, "BTC:1")
        assert found.data in (Fill(fill_id="1", qty=2.0), None)
        either = await store.find("BTC:1")
        assert either is not None
        assert either.seq == 2
        assert await store.find("btc:1", "fill") is None
        last = await store.find("btc:1")
        assert last is not None
        assert last.seq == 3

    async def test_gives_the_first_event_of_a_group(self, store: EventStore[int]) -> None:
        await store.append(Tag(name="t"), Note(text="n"), key="g")
        found = await store.find("g")
        assert found is not None
        assert found.seq == 1
        other = await store.find("g", Note)
        assert other is not None
        assert other.seq == (1 if other.data is None else 2)

    async def test_takes_no_value_that_identifies_nothing(self, store: EventStore[int]) -> None:
        for key in ("", None, 1.5):
            with pytest.raises(ValueError, match="key"):
                await store.find(key)

    async def test_a_key_that_no_run_can_hold_costs_no_thread(
        self, store: EventStore[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def asked(*arguments: object) -> None:
            raise AssertionError(f"a thread looks for {arguments}")

        monkeypatch.setattr(keyed_appends, "find_in_runs", asked)
        assert await store.find("nobody", Tag) is None
        assert await store.find("nobody") is None


@pytest.mark.asyncio
async def test_a_key_function_may_not_call_the_store() -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        CALLED[:] = [store]
        with pytest.raises(StoreUsageError, match="while it folds"):
            store.submit(Odd())
        CALLED.clear()
        assert store.seq == 0


@pytest.mark.asyncio
async def test_a_key_is_made_in_the_decimal_context_of_handlers(store: EventStore[int]) -> None:
    await store.append(Part(qty=Decimal(10)))
    with decimal.localcontext(prec=5):
        assert (await store.append(Part(qty=Decimal(10)))).duplicate


@pytest.mark.asyncio
async def test_stop_iteration_of_a_key_function_is_typed() -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        for call in (store.append, store.submit):
            with pytest.raises(InvalidPayloadError, match=r"next\(\) without a default"):
                await call(Stops())


@pytest.mark.asyncio
async def test_nobody_changes_an_event_by_its_receipt_or_by_an_error() -> None:
    store = await opened(SimulatedDisk())
    async with store.subscribe() as others:
        receipt = store.submit(Leg(leg_id="a", sizes=[1]))
        with pytest.raises(KeyConflictError) as caught:
            store.submit(Leg(leg_id="a", sizes=[2]))
        caught.value.first.data.sizes.append(3)
        receipt.events[0].data.sizes.append(4)
        await receipt
        assert receipt.events[0].data.sizes == [1]
        assert (await anext(others)).data.sizes == [1]
        assert (await store.append(Leg(leg_id="a", sizes=[1]))).duplicate
    await store.close()


@pytest.mark.asyncio
async def test_a_look_up_that_outlives_the_store_is_told() -> None:
    disk = SimulatedDisk()
    store = await opened(disk)
    await store.append(Fill(fill_id="1"))
    await store.snapshot()
    receipt = store.submit(Fill(fill_id="1"))
    assert not receipt.done
    await store.close()
    with contextlib.suppress(StoreClosedError):
        assert (await receipt).duplicate


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["simulated", "real"])
async def test_a_closing_waits_for_look_ups(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group was submitted before. Behind the end of the log, nobody would write it."""
    disk = SimulatedDisk() if kind == "simulated" else None
    store = await EventStore.open(tmp_path, REGISTRY, disk=disk, max_pending=1)
    await store.append(Fill(fill_id="1"))
    await store.snapshot()
    look_up = KeyedAppends._look_up

    async def late(keyed: KeyedAppends, *arguments: Any) -> None:
        await look_up(keyed, *arguments)
        for _ in range(50):
            await asyncio.sleep(0.001)

    monkeypatch.setattr(KeyedAppends, "_look_up", late)
    receipt = store.submit(Fill(fill_id="1"), Fill(fill_id="2"))
    await asyncio.wait_for(store.close(), PATIENCE)
    assert receipt.done
    assert (await receipt).seq == 2
    disk = disk.reopen() if disk is not None else None
    async with EventStore.open(tmp_path, REGISTRY, disk=disk) as again:
        assert again.seq == 2


@pytest.mark.asyncio
async def test_a_run_that_is_written_during_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are looked up once more, and the receipt has the numbers of the group."""
    store = await opened(SimulatedDisk(), max_pending=1)
    await store.append(Fill(fill_id="1"))
    await store.snapshot()
    await store.append(Fill(fill_id="2"))
    look_up = KeyedAppends._look_up
    looked: list[int] = []

    async def beside(keyed: KeyedAppends, *arguments: Any) -> None:
        await look_up(keyed, *arguments)
        looked.append(await store.snapshot())

    monkeypatch.setattr(KeyedAppends, "_look_up", beside)
    receipt = store.submit(Fill(fill_id="1"), Fill(fill_id="3"))
    assert (await asyncio.wait_for(receipt, PATIENCE)) is receipt
    assert looked == [2, 2]
    assert (receipt.first_seq, receipt.seq, receipt.done) == (3, 3, True)
    assert await asyncio.wait_for(receipt, PATIENCE) is receipt
    assert store.state == 3
    await store.close()


@pytest_asyncio.fixture
async def with_a_run() -> AsyncIterator[EventStore[int]]:
    """A store with room for four events, and fills 1 to 9 in a run: they are looked up on disk."""
    store = await opened(SimulatedDisk(), max_pending=4)
    for number in range(1, 10):
        await store.append(Fill(fill_id=str(number)))
    await store.snapshot()
    yield store
    await store.close()


@pytest.mark.asyncio
class TestLookUps:
    """A group with a look-up has its place in the queue, from the call to the outcome."""

    async def test_count_against_the_queue(self, with_a_run: EventStore[int]) -> None:
        store = with_a_run
        receipts = [store.submit(Fill(fill_id=str(number))) for number in (1, 2, 3)]
        assert store.stats().pending == 3
        with pytest.raises(StoreOverloadedError) as refused:
            store.submit(Fill(fill_id="4"), Fill(fill_id="5"))
        assert (refused.value.pending, refused.value.limit) == (3, 4)
        written = store.submit(Note())  # which has no key to be looked up
        with pytest.raises(StoreOverloadedError):
            store.submit(Note())
        waiting = [
            asyncio.ensure_future(store.append(Fill(fill_id=str(number % 9 + 1))))
            for number in range(100)
        ]
        await asyncio.sleep(0)
        assert store.stats().pending == 4, "whoever waits for room is in no queue"
        assert [(await receipt).seq for receipt in receipts] == [1, 2, 3]
        assert (await written).seq == 10
        assert all(receipt.duplicate for receipt in await asyncio.gather(*waiting))
        assert store.stats().pending == 0

    async def test_are_awaited_in_their_own_event_loop_alone(
        self, with_a_run: EventStore[int]
    ) -> None:
        """The look-up wakes the loop of the store, and nobody would wake the other one."""
        receipt = with_a_run.submit(Fill(fill_id="1"))

        async def awaited() -> object:
            return await receipt

        told = in_thread(lambda: asyncio.run(asyncio.wait_for(awaited(), PATIENCE)))
        assert isinstance(told, StoreUsageError)
        assert "another event loop" in str(told)
        assert (await receipt).duplicate

    async def test_of_a_group_beyond_the_limit(self, with_a_run: EventStore[int]) -> None:
        group = [Fill(fill_id=str(number)) for number in range(3, 13)]
        receipt = with_a_run.submit(*group)
        assert with_a_run.stats().pending == 10
        with pytest.raises(StoreOverloadedError):
            with_a_run.submit(Note())
        assert [event.key for event in (await receipt).events] == ["BTC:10", "BTC:11", "BTC:12"]

    @pytest.mark.parametrize("outcome", ["known", "new", "conflict", "refused", "unreadable"])
    @pytest.mark.parametrize("cancelled", [False, True])
    async def test_give_their_room_back(
        self,
        outcome: str,
        cancelled: bool,
        with_a_run: EventStore[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store = with_a_run
        known = outcome in ("known", "conflict")
        qty = {"conflict": 7.0, "refused": -1.0}.get(outcome, 1.0)
        operation = Fill(fill_id="1" if known else "new", qty=qty)
        if not known:
            monkeypatch.setattr(Run, "may_hold", lambda run, key_hash: True)
        if outcome == "unreadable":

            def unreadable(run: Run, key_hash: int) -> None:
                raise ReadFailedError("keys/ cannot be read", path="keys")

            monkeypatch.setattr(Run, "find", unreadable)
        appending = [asyncio.ensure_future(store.append(operation)) for _ in range(9)]
        await asyncio.sleep(0)
        assert store.stats().pending == 4
        if cancelled:
            for task in appending:
                task.cancel()
        gathered = asyncio.gather(*appending, return_exceptions=True)
        await asyncio.wait_for(gathered, PATIENCE)
        await store.flush()
        assert store.stats().pending == 0
        monkeypatch.undo()
        await asyncio.wait_for(store.append(*[Note()] * 4), PATIENCE)

    async def test_give_their_room_back_where_the_log_fails(
        self, with_a_run: EventStore[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = with_a_run
        monkeypatch.setattr(Run, "may_hold", lambda run, key_hash: True)
        receipts = [store.submit(Fill(fill_id=name)) for name in ("new", "1")]
        store.log.fail(StoreFailedError("failed", path="p"))
        with pytest.raises(StoreFailedError):
            await receipts[0]
        assert (await receipts[1]).duplicate
        assert store.stats().pending == 0
        assert store.seq == 9

    @pytest.mark.parametrize("use_wal", [False, True])
    async def test_of_a_store_without_a_log_and_of_a_branch(self, use_wal: bool) -> None:
        disk = SimulatedDisk()
        store = await opened(disk, use_wal=use_wal, max_pending=4)
        await store.append(*[Fill(fill_id=str(number)) for number in range(1, 10)])
        await store.snapshot()
        await store.close()
        disk = disk.reopen()
        opening = (
            branch("", REGISTRY, disk=disk)
            if use_wal
            else EventStore.open("", REGISTRY, disk=disk, use_wal=False, max_pending=4)
        )
        async with opening as store:
            receipts = [store.submit(Fill(fill_id=str(number))) for number in range(1, 5)]
            assert store.stats().pending == 4
            if use_wal:  # all that a branch in memory has is in memory: there is no limit
                receipts.append(store.submit(Fill(fill_id="5")))
            else:
                with pytest.raises(StoreOverloadedError):
                    store.submit(Note())
            assert all([(await receipt).duplicate for receipt in receipts])
            assert store.stats().pending == 0
            await store.append(Note())


def test_a_key_is_looked_up_for_a_submit_between_two_runs_of_the_loop() -> None:
    """Every other `submit` is taken there, so this one is, too."""
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(opened(SimulatedDisk()))
    loop.run_until_complete(_filled(store))
    receipt, fresh = store.submit(Fill(fill_id="1")), store.submit(Fill(fill_id="3"))
    assert store.stats().pending == 2
    loop.run_until_complete(store.close())
    loop.close()
    assert (receipt.seq, receipt.duplicate, receipt.error) == (1, True, None)
    assert (fresh.seq, fresh.duplicate, fresh.error) == (3, False, None)


async def _filled(store: EventStore[int]) -> None:
    await store.append(Fill(fill_id="1"), Fill(fill_id="2"))
    await store.snapshot()


@pytest.mark.asyncio
async def test_a_key_is_found_while_its_run_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened(SimulatedDisk())
    await store.append(Tag(name="a"))
    await store.snapshot()
    await store.append(Quote(quote_id="b"))
    monkeypatch.setattr(Run, "may_hold", lambda run, key_hash: True)  # as a print may, by chance
    run = store.log.run

    async def beside(call: Any, *arguments: Any) -> Any:
        found = await run(call, *arguments)
        if call is find_in_runs:
            await store.snapshot()
        return found

    monkeypatch.setattr(store.log, "run", beside)
    found = await store.find("b")
    assert found is not None
    assert found.seq == 2
    await store.close()
