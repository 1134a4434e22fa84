"""Open intents are kept: in snapshots, without history, in branches, in every kind of store."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from immutables import Map

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    IntentError,
    Operation,
    SimulatedClock,
    StateRefusedError,
    handler,
    read_events,
)
from eventstore.disk.layout import snapshot_name
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.history import branch
from eventstore.model.open_intents import OpenIntents
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault
from eventstore.testing import SimulatedDisk, run_in_virtual_time
from eventstore.tools.verify import verify
from tests.support.orders import (
    START,
    Book,
    LoopClock,
    Mark,
    PlaceOrder,
    RecordFill,
    ids_in_doubt,
    intent_settled,
    opened,
    order_registry,
    place_order,
    record_fill,
)

Body = Callable[[EventStore[Book]], Coroutine[Any, Any, None]]


def run(body: Body, disk: SimulatedDisk | None = None, **options: Any) -> SimulatedDisk:
    there = SimulatedDisk() if disk is None else disk

    async def program() -> None:
        async with opened(there, **options) as store:
            await body(store)

    run_in_virtual_time(program())
    return there.reopen()


async def place(store: EventStore[Book], *decisions: int, **fields: Any) -> list[Any]:
    orders = []
    for decision in decisions:
        async with store.intend(PlaceOrder(decision=decision, **fields)) as order:
            orders.append(order)
    return orders


class TestSnapshots:
    @pytest.mark.parametrize("settled", [(), (0,), (1,), (0, 1, 2)])
    def test_have_what_is_open(self, settled: tuple[int, ...]) -> None:
        names: list[str] = []

        async def body(store: EventStore[Book]) -> None:
            orders = await place(store, 0, 1, 2)
            names.extend(order.id for order in orders)
            await store.append(Mark(price=1))
            assert await store.snapshot() == 4
            for index in settled:
                await orders[index].settle("accepted")

        async def later(store: EventStore[Book]) -> None:
            assert store.recovery.snapshot_seq == 4
            left = [name for index, name in enumerate(names) if index not in settled]
            assert [doubt.id for doubt in store.recovery.in_doubt] == left == ids_in_doubt(store)
            for doubt in store.in_doubt:
                assert doubt.operation == PlaceOrder(
                    decision=names.index(doubt.id), client_order_id=doubt.id
                )
                assert doubt.seq == names.index(doubt.id) + 1
            await store.snapshot()

        disk = run(later, run(body))
        run(lambda store: again(store, len(names) - len(settled)), disk)

    def test_have_those_of_before_an_earlier_snapshot(self) -> None:
        """Retention and archiving pass the intent's event by."""

        async def body(store: EventStore[Book]) -> None:
            (order,) = await place(store, 1)
            for _ in range(8):
                await store.append(*[Mark(price=price) for price in range(50)])
                await store.snapshot()
            assert store.log.disk is not None
            assert load_manifest(store.log.disk).history_start > order.seq

        async def later(store: EventStore[Book]) -> None:
            (doubt,) = store.in_doubt
            assert doubt.operation.decision == 1
            receipt = await doubt.settle("never_sent")
            assert receipt.events[0].intended == doubt.operation
            assert dict(store.state.done) == {}

        run(
            later,
            run(body, segment_size=4096, backup_count=2, history="discard"),
            history="discard",
        )

    def test_that_would_give_back_other_intents_get_no_name(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            (order,) = await place(store, 1)
            assert await store.snapshot() == 1
            disk = store.log.disk
            assert disk is not None
            vault = SnapshotVault(disk, load_manifest(disk).store, order_registry())
            loaded = vault.load(1)
            assert isinstance(loaded, LoadedSnapshot)
            assert list(loaded.intents.events) == [order.id]
            misplaced = OpenIntents(Map({"another id": loaded.intents.events[order.id]}))
            with pytest.raises(StateRefusedError, match="other intents"):
                vault.write(loaded.state, 2, created=0, latest=0, intents=misplaced)
            assert snapshot_name(2) not in list(disk.files())  # type: ignore[attr-defined]  # a simulated disk

        run(body)

    def test_with_an_intent_that_no_class_reads_are_passed_over(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 1)
            await store.snapshot()

        disk = run(body)
        registry = order_registry()
        vault = SnapshotVault(disk, load_manifest(disk).store, registry)

        def fails(events: Any) -> Any:
            raise ValueError("no class reads this")

        registry.upcast = fails  # type: ignore[method-assign]  # as a class within might
        found = vault.load(1)
        assert isinstance(found, Rejected)
        assert "no class reads this" in found.reason


async def again(store: EventStore[Book], count: int) -> None:
    assert len(store.in_doubt) == count


class TestKinds:
    def test_without_a_log(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            (order,) = await place(store, 1)
            assert store.stats().snapshot_seq == 1
            await place(store, 2)
            await order.settle("accepted")

        async def later(store: EventStore[Book]) -> None:
            assert [doubt.operation.decision for doubt in store.in_doubt] == [2]

        run(later, run(body, use_wal=False), use_wal=False)
        # a log begun later goes on from the snapshot
        run(later, run(body, use_wal=False))

    def test_after_the_last_event_was_folded_from_the_beginning(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            one, two, _ = await place(store, 1, 2, 3)
            await two.settle("accepted")
            await store.append(RecordFill(client_order_id=one.id, qty=1))

        async def later(store: EventStore[Book]) -> None:
            assert store.recovery.snapshot_seq == 0
            assert [doubt.operation.decision for doubt in store.in_doubt] == [3]

        disk = run(body)
        run(later, disk)
        run(later, disk.reopen(), read_only=True)

    def test_by_handlers_that_intend_nothing_any_more(self) -> None:
        """The marks are in the log, and `intent=` may come back."""

        async def body(store: EventStore[Book]) -> None:
            await place(store, 1)

        disk = run(body)
        registry = order_registry(settlements=False)
        registry.marked = frozenset()

        async def later(store: EventStore[Book]) -> None:
            assert len(store.in_doubt) == 1
            await store.append(Mark(price=1))
            await store.snapshot()

        disk = run(later, disk, registry=registry)
        run(lambda store: again(store, 1), disk)


class TestVerify:
    def test_compares_what_is_open_at_every_snapshot(self, tmp_path: Path) -> None:
        async def program(path: Path) -> None:
            async with EventStore.open(path, order_registry()) as store:
                orders = await place(store, 1, 2)
                await store.snapshot()
                await orders[0].settle("accepted")
                await place(store, 3)
                await store.snapshot()
                await orders[1].settle("accepted")

        path = tmp_path / "s"
        asyncio.run(program(path))
        found = verify(path, order_registry())
        assert found.refolded is not None
        assert (found.damage, found.refolded.agreeing) == ((), (2, 4))

        disk = LocalDisk(path)
        disk.lock()
        vault = SnapshotVault(disk, load_manifest(disk).store, order_registry())
        loaded = vault.load(4)
        assert isinstance(loaded, LoadedSnapshot)
        vault.write(loaded.state, 4, created=0, latest=loaded.latest)  # intents left out
        disk.close()
        (damage,) = verify(path, order_registry()).damage
        assert damage.name == snapshot_name(4)
        assert "its open intents are not those of the events: " in damage.reason
        assert all(name in damage.reason for name in loaded.intents.events)


class TestBranches:
    def test_take_what_is_open_along_as_inherited(self, tmp_path: Path) -> None:
        async def program() -> None:
            path, registry = tmp_path / "parent", order_registry()
            async with EventStore.open(path, registry) as parent:
                one, two = await place(parent, 1, 2)
                for to in (None, tmp_path / "branch"):
                    async with branch(path, registry, at=1, to=to) as store:
                        (doubt,) = store.in_doubt
                        assert (doubt.id, doubt.inherited) == (one.id, True)
                        (own,) = await place(store, 3)
                        assert not own.inherited
                        assert own.id.split("-")[0] != one.id.split("-")[0]
                        assert ids_in_doubt(store) == [one.id, own.id]
                        await store.snapshot()
                async with EventStore.open(tmp_path / "branch", registry) as store:
                    assert [doubt.inherited for doubt in store.in_doubt] == [True, False]
                    await store.in_doubt[0].settle("expired")
                assert parent.in_doubt == (one, two)
                assert not any(doubt.inherited for doubt in parent.in_doubt)
            assert verify(tmp_path / "branch").damage == ()

        asyncio.run(program())


class TestIds:
    def test_have_the_form_that_every_venue_takes(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            for order in await place(store, 1, 2):
                assert re.fullmatch(r"[0-9a-z]{4}-[0-9A-Z]{6}-[0-9]+", order.id)
                assert order.id.endswith(f"-{order.seq}")
                assert len(f"{order.id.rpartition('-')[0]}-{2**63}") <= 32

        run(body)

    def test_are_other_ones_at_every_opening_and_in_every_copy(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 1)

        disk = run(body)
        openings: set[str] = set()
        for copy in (disk, disk.clone(), disk.clone()):
            if len(openings) == 2:
                copy.drop_caches()
            made: list[str] = []

            async def later(store: EventStore[Book], made: list[str] = made) -> None:
                made.extend(order.id for order in await place(store, 2))

            again = run(later, copy)
            made.extend(event.data.client_order_id for event in read_orders(again))
            openings |= {name.split("-")[1] for name in made}
        assert len(openings) >= 2

    def test_of_the_store_itself_are_refused(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            (order,) = await place(store, 1)
            await order.settle("accepted")
            prefix = order.id.removesuffix("1")
            for name in (order.id, "abcd-ABCDEF-1", f"{prefix}9"):
                with pytest.raises(IntentError) as refused:
                    await place(store, 2, client_order_id=name)
                assert refused.value.id == name
            (future,) = await place(store, 2, client_order_id="abcd-ABCDEF-99")
            await future.settle("accepted")
            with pytest.raises(IntentError, match="was used"):
                await place(store, 3, client_order_id="abcd-ABCDEF-99")

        run(body)

    def test_in_memory_are_the_same_for_the_same_clock(self) -> None:
        async def ids() -> list[str]:
            async with opened(None, clock=LoopClock()) as store:
                return [order.id for order in await place(store, 1, 2)]

        one, two = run_in_virtual_time(ids()), run_in_virtual_time(ids())
        assert one == two
        assert one[0] != one[1]


def read_orders(disk: SimulatedDisk) -> list[Any]:
    return [
        event
        for event in read_events("", order_registry(), disk=disk)
        if event.operation == "place_order"
    ]


class TestWarning:
    def test_says_what_to_ask_for(self, caplog: pytest.LogCaptureFixture) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 7)

        disk = run(body)
        caplog.set_level(logging.WARNING)
        run(lambda store: again(store, 1), disk)
        (line,) = [one.getMessage() for one in caplog.records if "in doubt" in one.getMessage()]
        assert re.fullmatch(
            r"simulated: 1 intent in doubt: place_order [\w-]+ 7 1, event 1, 0\.0 s ago: "
            r"ask the venue, then settle it",
            line,
        )

    def test_of_a_clock_that_was_set_back(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 7)

        async def later(store: EventStore[Book]) -> None:
            (warning,) = store.recovery.warnings
            assert "event 1, 1 day, 0:00:00 ahead of the clock: ask" in warning

        run(later, run(body), clock=SimulatedClock(START - 86_400 * 10**9))

    def test_is_one_line_for_many(self) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, *range(5), client_order_id="")
            await place(store, 9, client_order_id="a\nb" + "c" * 80)

        async def later(store: EventStore[Book]) -> None:
            (warning,) = store.recovery.warnings
            assert warning.startswith("6 intents in doubt: place_order ")
            assert warning.endswith("; and 3 more: ask the venue, settle each")
            for doubt in store.in_doubt[:5]:
                await doubt.settle("expired")

        async def last(store: EventStore[Book]) -> None:
            (warning,) = store.recovery.warnings
            assert r"place_order a\nbccc" in warning
            assert len(warning) < 150

        run(last, run(later, run(body)))


class PlainOrder(Operation, tag="place_order"):
    client_order_id: str = ""
    decision: int
    qty: int = 1


class PlainFill(Operation, tag="record_fill"):
    client_order_id: str | None
    qty: int


@handler
def plain_order(state: Book, event: Event[PlainOrder]) -> Book:
    name = event.data.client_order_id
    return msgspec.structs.replace(state, done=state.done.set(event.data.decision, name))


@handler
def plain_fill(state: Book, event: Event[PlainFill]) -> Book:
    return msgspec.structs.replace(state, filled=state.filled + event.data.qty)


class TestProgramsWithoutIntents:
    """A program for which orders are ordinary operations, such as a tool, reads the same store."""

    @pytest.mark.parametrize("settlements", [False, True])
    def test_trust_a_snapshot_unless_a_settlement_could_have_changed_it(
        self, settlements: bool
    ) -> None:
        disk = SimulatedDisk()
        registry = HandlerRegistry(
            place_order, record_fill, *((intent_settled,) if settlements else ())
        )
        plain = HandlerRegistry(plain_order, plain_fill)

        async def program() -> None:
            async with opened(disk, registry=registry) as store:
                (order,) = await place(store, 1)
                await store.append(RecordFill(client_order_id=order.id, qty=1))
                assert await store.snapshot() == 2
                state = store.state
            async with opened(disk.reopen(), registry=plain, read_only=True) as store:
                assert store.recovery.snapshot_seq == (0 if settlements else 2)
                assert store.state == state

        run_in_virtual_time(program())
