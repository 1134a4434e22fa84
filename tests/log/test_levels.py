"""Durability per group, in one order: who waits for the disk, and what a power cut may take."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from eventstore import (
    ConfigError,
    Durability,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    Operation,
    handler,
)
from eventstore.log.levels import SYNCED, TIMED, UNTIMED, Levels, checked_durability
from eventstore.testing import Call, SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.support.bank import bank_registry, pay

COMMIT, INTERVAL, NONE = Durability
NEVER: dict[str, Any] = {"idle_seal": 1e6, "segment_size": 4096}
T = TypeVar("T")


def virtually(session: Coroutine[Any, Any, T]) -> T:
    return run_in_virtual_time(session)


def left(disk: SimulatedDisk) -> list[Any]:
    """Values that are certain to be found after a power cut that takes whatever it may."""
    cut = next(iter(disk.images()))

    async def found() -> list[Any]:
        async with EventLog.open(disk=cut, read_only=True) as log:
            return [event.data async for event in log.read()]

    return asyncio.run(found())


class Cuts:
    """The values left by a power cut at certain moments, looked at when the session is over."""

    def __init__(self) -> None:
        self.disks: list[SimulatedDisk] = []

    def take(self, disk: SimulatedDisk) -> None:
        self.disks.append(disk.clone())

    def left(self) -> list[list[Any]]:
        return [left(disk) for disk in self.disks]


def syncs(disk: SimulatedDisk, since: int) -> int:
    return sum(call.kind == "sync" and call.name[4:5] == "0" for call in disk.calls[since:])


class Fill(Operation, durability="commit"):
    shares: int


class Quote(Operation, durability=Durability.INTERVAL):
    price: int


class Note(Operation):
    text: str


class Told(Operation, key="told_id"):
    told_id: str


class Order(Operation, intent="order_id"):
    order_id: str


def quotes_registry() -> HandlerRegistry[int]:
    @handler
    def fill(state: int, event: Event[Fill]) -> int:
        return state + event.data.shares

    @handler
    def quote(state: int, event: Event[Quote]) -> int:
        return state

    @handler
    def note(state: int, event: Event[Note]) -> int:
        return state

    @handler
    def order(state: int, event: Event[Order]) -> int:
        return state

    @handler
    def told(state: int, event: Event[Told]) -> int:
        return state

    return HandlerRegistry(fill, quote, note, order, told, initial=int)


class TestLevels:
    @pytest.mark.parametrize(
        ("store", "asked", "level"),
        [
            (COMMIT, COMMIT, SYNCED),
            (COMMIT, INTERVAL, TIMED),
            (COMMIT, NONE, UNTIMED),
            (INTERVAL, COMMIT, SYNCED),
            (INTERVAL, INTERVAL, TIMED),
            (INTERVAL, NONE, TIMED),  # the owner has decided what may be lost at most
            (NONE, COMMIT, SYNCED),
            (NONE, INTERVAL, TIMED),
            (NONE, NONE, UNTIMED),
        ],
    )
    def test_only_a_strict_store_is_made_weaker(
        self, store: Durability, asked: Durability, level: int
    ) -> None:
        assert Levels(store).asked(asked) == Levels(store).asked(asked.value) == level
        assert Levels(store).of_group([asked]) == level

    @pytest.mark.parametrize(
        ("store", "group", "level"),
        [
            (COMMIT, [INTERVAL, NONE], TIMED),
            (COMMIT, [NONE, NONE], UNTIMED),
            (COMMIT, [NONE, None], SYNCED),
            (INTERVAL, [NONE, None], TIMED),
            (NONE, [None, INTERVAL], TIMED),
            (NONE, [None, COMMIT, NONE], SYNCED),
            (NONE, [None], UNTIMED),
        ],
    )
    def test_a_group_is_as_strict_as_its_strictest_event(
        self, store: Durability, group: list[Durability | None], level: int
    ) -> None:
        assert Levels(store).of_group(group) == level

    @pytest.mark.parametrize("value", ["fsync", "", 0, True, ["commit"], {}])
    def test_anything_else_is_refused(self, value: Any) -> None:
        with pytest.raises(ConfigError, match="'commit', 'interval', 'none'") as told:
            checked_durability(value)
        assert told.value.key == "durability"


class TestOneOrder:
    def test_a_relaxed_event_waits_for_no_sync(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, **NEVER) as log:
                await log.append("fill")
                before = len(disk.calls)
                receipt = await log.append("mark", durability="interval")
                assert (receipt.done, log.seq) == (True, 2)
                assert [call.kind for call in disk.calls[before:]] == ["write"]
                assert log.stats().synced_seq == 1
                await log.append("another fill")
                assert syncs(disk, before) == 1
                assert log.stats().synced_seq == 3

        virtually(session())

    def test_what_a_power_cut_takes_is_a_suffix_of_such(self) -> None:
        cuts = Cuts()

        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, **NEVER) as log:
                for value in range(4):
                    await log.append(f"mark {value}", durability=NONE)
                cuts.take(disk)
                await log.append("fill")
                cuts.take(disk)
                await log.append("mark 4", "mark 5", durability=INTERVAL)
                cuts.take(disk)

        virtually(session())
        marks = [f"mark {value}" for value in range(4)]
        assert cuts.left() == [[], [*marks, "fill"], [*marks, "fill"]]

    @pytest.mark.parametrize("store", [INTERVAL, NONE])
    def test_a_strict_event_waits_in_any_store(self, store: Durability) -> None:
        cuts = Cuts()

        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(
                disk=disk, durability=store, sync_interval=3600, **NEVER
            ) as log:
                await log.append("mark")
                assert syncs(disk, 0) == 0
                await log.append("fill", durability=COMMIT)
                assert syncs(disk, 0) == 1
                cuts.take(disk)

        virtually(session())
        assert cuts.left() == [["mark", "fill"]]

    def test_a_shared_record_is_as_strict_as_its_strictest_group(self) -> None:
        """Receipts of relaxed groups resolve with the commit of the record, not before."""

        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, **NEVER) as log:
                await log.append("first")
                before = len(disk.calls)
                mixed = [(1, INTERVAL), (2, None), (3, NONE)]
                receipts = [log.submit(0, durability=NONE)]  # in flight at once, alone
                receipts += [log.submit(value, durability=asked) for value, asked in mixed]
                for receipt in receipts:
                    await receipt
                kinds = [call.kind for call in disk.calls[before:]]
                assert kinds == ["write", "write", "sync"]

        virtually(session())

    def test_a_relaxed_record_costs_a_lone_sync_at_a_roll(self) -> None:
        """No segment is left behind unsynced, whatever its last records asked for."""
        cuts = Cuts()

        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, **NEVER) as log:
                for value in range(20):
                    await log.append([value, "x" * 500], durability=NONE)
                    cuts.take(disk)

        virtually(session())
        found = [len(values) for values in cuts.left()]
        assert found == sorted(found)
        assert found[-1] >= 14
        assert found[5] == 0


class TestTheTimer:
    def test_timed_events_are_synced_within_the_interval(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, sync_interval=0.5, **NEVER) as log:
                await log.append("fill")
                before = len(disk.calls)
                for _ in range(4):
                    await log.append("mark", durability=INTERVAL)
                    await asyncio.sleep(0.1)
                assert syncs(disk, before) == 0
                await asyncio.sleep(0.11)
                assert (syncs(disk, before), log.stats().synced_seq) == (1, 5)
                await asyncio.sleep(10)
                assert syncs(disk, before) == 1, "nothing was unsynced any more"
                await log.append("mark", durability=INTERVAL)
                await asyncio.sleep(0.51)
                assert syncs(disk, before) == 2

        virtually(session())

    def test_a_commit_in_between_takes_the_work_off_it(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, sync_interval=0.5, **NEVER) as log:
                await log.append("mark", durability=INTERVAL)
                await log.append("fill")
                before = len(disk.calls)
                await asyncio.sleep(10)
                assert disk.calls[before:] == []

        virtually(session())

    def test_untimed_events_wait_for_the_next_commit(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, sync_interval=0.5, **NEVER) as log:
                await log.append("mark", durability=NONE)
                await asyncio.sleep(10)
                assert log.stats().synced_seq == 0
                await log.append("fill")
                assert log.stats().synced_seq == 2

        virtually(session())

    def test_or_for_idleness(self) -> None:
        async def session() -> None:
            async with EventLog.open(disk=SimulatedDisk(), idle_seal=1.0) as log:
                await log.append("mark", durability=NONE)
                await asyncio.sleep(1.1)
                assert log.stats().synced_seq == 1

        virtually(session())


class TestPromisesThatStand:
    """Flush, snapshots and closing mean stable storage, whatever the events asked for."""

    @pytest.mark.parametrize("how", ["flush", "close"])
    def test_flush_and_close(self, how: str) -> None:
        cuts = Cuts()

        async def session() -> None:
            disk = SimulatedDisk()
            log = await EventLog.open(disk=disk, **NEVER)
            await log.append(1, durability=NONE)
            log.submit(2, durability=NONE)
            await (log.flush() if how == "flush" else log.close())
            cuts.take(disk)
            await log.close()

        virtually(session())
        assert cuts.left() == [[1, 2]]

    def test_a_flush_of_what_is_synced_costs_nothing(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, **NEVER) as log:
                await log.append(1, durability=NONE)
                await log.append(2)
                before = len(disk.calls)
                await log.flush()
                assert disk.calls[before:] == []

        virtually(session())

    def test_a_snapshot_is_named_after_the_events_that_it_covers_are_synced(self) -> None:
        calls: list[Call] = []

        async def session() -> None:
            disk = SimulatedDisk()
            opening = EventStore.open("", bank_registry(), disk=disk, wal_max_entries=None, **NEVER)
            async with opening as store:
                await store.append(pay())
                await store.append(pay(2), durability="none")
                before = len(disk.calls)
                assert await store.snapshot() == 2
                calls.extend(disk.calls[before:])

        virtually(session())
        named = next(place for place, call in enumerate(calls) if call.kind == "rename")
        synced = [place for place, call in enumerate(calls) if call.kind == "sync"]
        assert calls[synced[0]].name.startswith("log/0")
        assert synced[0] < named

    def test_a_kill_takes_nothing_acknowledged(self) -> None:
        killed: list[SimulatedDisk] = []

        async def session() -> None:
            disk = SimulatedDisk()
            async with EventLog.open(disk=disk, **NEVER) as log:
                for value in range(5):
                    await log.append(value, durability=NONE)
                killed.append(disk.after_kill())

        virtually(session())
        assert left(killed[0]) == []  # the page cache alone had them,

        async def reopened() -> None:
            async with EventLog.open(disk=killed[0]) as log:
                assert [event.data async for event in log.read()] == [0, 1, 2, 3, 4]
                cuts.take(killed[0])

        cuts = Cuts()
        virtually(reopened())
        assert cuts.left() == [[0, 1, 2, 3, 4]]  # until the next opening made them durable


class TestTheStore:
    def test_relaxed_events_are_published_and_handed_out(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
                subscription = store.subscribe()
                receipt = await store.append(pay(5), durability="none")
                assert store.seq == receipt.seq == 1
                assert store.stats().synced_seq == 0
                assert (await anext(subscription)).seq == 1
                assert syncs(disk, 0) == 0

        virtually(session())

    @pytest.mark.parametrize("store", Durability)
    def test_a_class_asks_for_its_operations(self, store: Durability) -> None:
        """Of the store, the class and the call, the last one that says something decides."""

        async def session() -> None:
            disk = SimulatedDisk()
            config = {"durability": store, "sync_interval": 3600, **NEVER}
            async with EventStore.open("", quotes_registry(), disk=disk, **config) as opened:
                await opened.append(Fill(shares=1))
                assert syncs(disk, 0) == 1, "a fill waits for the disk in any store"
                await opened.append(Quote(price=2))
                assert syncs(disk, 0) == 1
                await opened.append(Quote(price=3), Quote(price=4))
                assert syncs(disk, 0) == 1
                await opened.append(Quote(price=5), Fill(shares=2))
                assert syncs(disk, 0) == 2, "a group is as strict as its strictest operation"
                await opened.append(Note(text="plain"))
                assert syncs(disk, 0) == (3 if store is COMMIT else 2)
                await opened.append(Quote(price=6), Note(text="plain"))
                assert syncs(disk, 0) == (4 if store is COMMIT else 2)
                before = syncs(disk, 0)
                await opened.append(Quote(price=7), durability="commit")
                assert syncs(disk, 0) == before + 1
                await opened.append(Fill(shares=3), durability="none")
                assert syncs(disk, 0) == before + 1
                await opened.append("quote", {"price": 8})
                assert syncs(disk, 0) == before + 1

        virtually(session())

    @pytest.mark.parametrize("store", [COMMIT, NONE])
    def test_a_duplicate_is_as_durable_as_it_asks_to_be(self, store: Durability) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            config = {"durability": store, **NEVER}
            async with EventStore.open("", quotes_registry(), disk=disk, **config) as opened:
                told = Told(told_id="a")
                await opened.append(told, durability="none")
                again = await opened.append(told, durability="none")
                assert (again.duplicate, opened.stats().synced_seq) == (True, 0)
                again = await opened.append(told, durability="commit")
                assert (again.duplicate, opened.seq, opened.stats().synced_seq) == (True, 1, 1)
                in_flight = [opened.submit(Told(told_id="b"), durability="none")]
                again = await opened.append(Told(told_id="b"), durability="commit")
                assert (again.duplicate, opened.stats().synced_seq) == (True, 2)
                assert in_flight[0].done
                await opened.append(Told(told_id="c"), durability="none")
                again = await opened.submit(Told(told_id="c"), durability="commit")
                assert (again.duplicate, opened.stats().synced_seq) == (True, 3)

        virtually(session())

    def test_an_intent_is_durable_whatever_is_asked_for(self) -> None:
        async def session() -> None:
            disk = SimulatedDisk()
            config = {"durability": NONE, **NEVER}
            async with EventStore.open("", quotes_registry(), disk=disk, **config) as opened:
                await opened.append(Order(order_id="a"), durability="none")
                assert opened.stats().synced_seq == 1

        virtually(session())

    def test_a_wrong_durability_is_refused_before_anything_is_folded(self) -> None:
        async def session() -> None:
            async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
                with pytest.raises(ConfigError, match="durability"):
                    await store.append(pay(), durability="later")
                with pytest.raises(ConfigError, match="durability"):
                    store.submit(pay(), durability="later")
                assert store.head_seq == 0
                await store.append(pay())

        virtually(session())

    def test_in_memory_it_changes_nothing(self) -> None:
        async def session() -> None:
            async with EventStore.in_memory(bank_registry()) as store:
                await store.append(pay(), durability="interval")
                with pytest.raises(ConfigError, match="durability"):
                    await store.append(pay(), durability="later")
                assert store.seq == 1

        virtually(session())
