"""`use_wal=False`: snapshots only. A crash loses the events after the last snapshot."""

from __future__ import annotations

import asyncio
import errno
import gc
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    CorruptSnapshotError,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    HistoryUnavailableError,
    SimulatedClock,
    SnapshotMismatchError,
    StoreClosedError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
    handler,
    read_events,
    replay,
    state_at,
)
from eventstore.testing import Fault, SimulatedDisk
from tests.support.bank import (
    InsufficientFundsError,
    Withdraw,
    bank_after,
    bank_registry,
    deposit,
    pay,
    withdraw,
)
from tests.support.gates import PATIENCE, GatedDisk, snapshot_writes

pytestmark = pytest.mark.asyncio

ONLY: dict[str, Any] = {"use_wal": False, "wal_max_entries": None, "auto_save_interval": None}


def opened(disk: SimulatedDisk, **options: Any) -> Any:
    return EventStore.open("", bank_registry(), disk=disk, **{**ONLY, **options})


class FailingClock(SimulatedClock):
    """A clock whose readings can be made to fail."""

    fails = False

    def time_ns(self) -> int:
        if self.fails:
            raise ZeroDivisionError
        return super().time_ns()

    def monotonic_ns(self) -> int:
        if self.fails:
            raise ZeroDivisionError
        return super().monotonic_ns()


async def made(*amounts: int, snapshot_after: tuple[int, ...] = ()) -> SimulatedDisk:
    """A closed store without a log."""
    disk = SimulatedDisk()
    async with opened(disk) as store:
        for number, amount in enumerate(amounts, 1):
            await store.append(pay(amount))
            if number in snapshot_after:
                await store.snapshot()
    return disk.reopen()


class TestWhatIsKept:
    async def test_close_takes_the_last_snapshot(self) -> None:
        disk = await made(1, 2, 3)
        assert [name for name in disk.files() if "/" in name] == [f"snapshots/{3:020d}.snap"]
        async with opened(disk) as store:
            assert (store.seq, store.state) == (3, bank_after(1, 2, 3))
            assert store.recovery.snapshot_seq == 3
            assert (await store.append(pay(4))).seq == 4

    async def test_also_where_the_clock_fails_then(self) -> None:
        disk, clock = SimulatedDisk(), FailingClock(10**18)
        async with opened(disk, clock=clock) as store:
            await store.append(pay())
            clock.fails = True
        async with opened(disk.reopen()) as store:
            assert (store.seq, store.state) == (1, bank_after(1))

    async def test_nothing_new_is_no_new_snapshot(self) -> None:
        disk = await made(1, 2, 3)
        before = disk.files()
        async with opened(disk):
            pass
        assert disk.files() == before

    async def test_a_crash_takes_what_came_after_the_last_one(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await store.append(pay(1), pay(2))
        assert await store.snapshot() == 2
        await store.append(pay(3))
        image = disk.after_power_cut(1)
        await store.close()
        async with opened(image) as again:
            assert (again.seq, again.state) == (2, bank_after(1, 2))

    async def test_snapshots_are_taken_by_count(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, wal_max_entries=3, backup_count=2) as store:
            for amount in range(1, 11):
                await store.append(pay(amount))
                for _ in range(10):
                    await asyncio.sleep(0)
            assert store.stats().snapshots == 3
        kept = [name for name in disk.files() if name.startswith("snapshots/")]
        assert kept == [f"snapshots/{seq:020d}.snap" for seq in (9, 10)]

    async def test_a_damaged_snapshot_falls_back_to_the_one_before(self) -> None:
        disk = await made(1, 2, 3, snapshot_after=(1, 2))
        disk.flip_bit(f"snapshots/{3:020d}.snap", 800)
        async with opened(disk) as store:
            assert (store.seq, store.state) == (2, bank_after(1, 2))
            assert len(store.recovery.snapshots_rejected) == 1
            assert store.recovery.warnings

    async def test_no_log_is_written(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "s", bank_registry(), **ONLY) as store:
            for amount in range(1, 50):
                await store.append(pay(amount))
            names = [path.name for path in (tmp_path / "s").iterdir()]
            assert sorted(names) == ["store.json", "writer.pid"]


class TestSnapshotsThatCannotBeUsed:
    """Nothing usable is not the same as nothing: the store is refused, and nothing is written."""

    async def refused(self, disk: SimulatedDisk, error: type[EventStoreError], **more: Any) -> str:
        before = {**disk.contents(), "writer.pid": b""}
        with pytest.raises(error, match="unusable_snapshots='set_aside'") as caught:
            await opened(disk, **more)
        with pytest.raises(error):
            await EventStore.open("", bank_registry(), disk=disk.reopen(), read_only=True)
        with pytest.raises(error):
            state_at("", bank_registry(), disk=disk.reopen())
        assert {**disk.contents(), "writer.pid": b""} == before
        return str(caught.value)

    async def test_all_of_them_damaged(self) -> None:
        disk = await made(1, 2, 3, snapshot_after=(1, 2))
        for seq in (1, 2, 3):
            disk.flip_bit(f"snapshots/{seq:020d}.snap", 800)
        said = await self.refused(disk, CorruptSnapshotError)
        for seq in (1, 2, 3):
            assert f"snapshots/{seq:020d}.snap: it is" in said or "damaged" in said
        await self.refused(disk.reopen(), CorruptSnapshotError, use_wal=True)

    async def test_all_of_them_gone(self) -> None:
        disk = await made(1, 2, 3)
        disk.remove_file(f"snapshots/{3:020d}.snap")
        assert "there is none" in await self.refused(disk, CorruptSnapshotError)

    async def test_one_of_other_handlers(self) -> None:
        disk = await made(1, 2, 3, snapshot_after=(1,))
        other = HandlerRegistry(deposit, handler(version=2)(withdraw.function))
        before = {**disk.contents(), "writer.pid": b""}
        with pytest.raises(SnapshotMismatchError, match="no log") as caught:
            await EventStore.open("", other, disk=disk, **ONLY)
        assert caught.value.operations == ("withdraw",)
        assert {**disk.contents(), "writer.pid": b""} == before
        async with opened(disk.reopen()) as store:
            assert store.state == bank_after(1, 2, 3)

    async def test_a_newer_good_one_of_other_handlers_is_not_passed_over_in_silence(self) -> None:
        disk = await made(1)
        less = HandlerRegistry(deposit)
        async with EventStore.open(
            "", less, disk=disk, unusable_snapshots="set_aside", **ONLY
        ) as store:
            await store.append(pay(9))
        kept = disk.reopen()
        async with EventStore.open("", less, disk=kept, **ONLY) as store:
            assert store.seq == 1
        other = HandlerRegistry(handler(version=2)(deposit.function))
        with pytest.raises(SnapshotMismatchError):
            await EventStore.open("", other, disk=kept.reopen(), **ONLY)

    async def test_nothing_was_ever_kept(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await store.append(pay(1))
        image = disk.after_power_cut(1)
        await store.close()
        async with opened(image) as again:
            assert (again.seq, again.state) == (0, bank_after())

    @pytest.mark.parametrize("how", ["damaged", "gone", "of other handlers"])
    async def test_asked_in_so_many_words_they_are_set_aside(self, how: str) -> None:
        disk = await made(1, 2, snapshot_after=(1,))
        names = [f"snapshots/{seq:020d}.snap" for seq in (1, 2)]
        registry = bank_registry()
        if how == "damaged":
            for name in names:
                disk.flip_bit(name, 800)
        elif how == "gone":
            for name in names:
                disk.remove_file(name)
        else:
            registry = HandlerRegistry(deposit, handler(version=2)(withdraw.function))
        content = {name: disk.read_file(name) for name in names if how != "gone"}
        options: dict[str, Any] = {**ONLY, "unusable_snapshots": "set_aside"}
        async with EventStore.open("", registry, disk=disk, **options) as store:
            assert (store.seq, store.state) == (0, bank_after())
            aside = [text for text in store.recovery.warnings if "set aside" in text]
            assert len(aside) == len(content)
            await store.append(pay(7))
        for name, data in content.items():
            assert disk.read_file(f"quarantine/{name.partition('/')[2]}") == data
        async with EventStore.open("", registry, disk=disk.reopen(), **ONLY) as store:
            assert (store.seq, store.state) == (1, bank_after(7))

    async def test_a_crash_while_they_are_set_aside(self) -> None:
        disk = (await made(1, 2, snapshot_after=(1,))).clone()
        for seq in (1, 2):
            disk.flip_bit(f"snapshots/{seq:020d}.snap", 800)
        before = {disk.read_file(f"snapshots/{seq:020d}.snap") for seq in (1, 2)}
        crashes: list[SimulatedDisk] = []
        disk.add_rule(lambda call: crashes.append(disk.clone()))
        async with opened(disk, unusable_snapshots="set_aside"):
            pass
        assert len(crashes) > 10
        for crash in crashes:
            for image in crash.images(limit=4):
                async with opened(image, unusable_snapshots="set_aside") as again:
                    assert (again.seq, again.state) == (0, bank_after())
                assert before <= set(image.contents().values()), "neither is lost"


class TestTheSameInterface:
    async def test_appending_refusing_following(self) -> None:
        async with opened(SimulatedDisk()) as store:
            events = store.subscribe()
            await store.append(pay(5))
            with pytest.raises(InsufficientFundsError):
                await store.append(Withdraw(account="a", amount=6))
            receipt = store.submit("withdraw", {"account": "a", "amount": 5})
            assert (await receipt).seq == 2
            await store.flush()
            async with asyncio.timeout(PATIENCE):
                assert [(await anext(events)).seq for _ in range(2)] == [1, 2]
            await events.close()

    async def test_there_is_no_history_and_it_says_so(self) -> None:
        async with opened(SimulatedDisk()) as store:
            await store.append(pay(5))
            with pytest.raises(HistoryUnavailableError, match="use_wal"):
                [event async for event in store.events()]

    async def test_another_writer_is_refused(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry(), **ONLY):
            for use_wal in (True, False):
                with pytest.raises(StoreLockedError):
                    await EventStore.open(tmp_path, bank_registry(), use_wal=use_wal)
        async with EventStore.open(tmp_path, bank_registry(), **ONLY):
            pass

    async def test_a_closed_one_refuses(self) -> None:
        store = await opened(SimulatedDisk())
        await store.append(pay(1))
        await store.close()
        await store.close()
        with pytest.raises(StoreClosedError):
            await store.append(pay(1))
        with pytest.raises(StoreClosedError):
            await store.snapshot()

    async def test_one_left_open_warns_and_frees_the_lock(self, tmp_path: Path) -> None:
        store = [await EventStore.open(tmp_path, bank_registry(), **ONLY)]
        with pytest.warns(ResourceWarning):
            store.clear()
        gc.collect()
        async with EventStore.open(tmp_path, bank_registry(), **ONLY):
            pass


class TestFailures:
    async def test_a_sync_that_failed_ends_the_store(self) -> None:
        """As in a store with a log, nobody knows whether the snapshot is on the disk."""
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(pay(1))
            disk.fail(kind="sync_folder", name="snapshots", errno=errno.EIO)
            with pytest.raises(StoreFailedError, match="snapshot") as raised:
                await store.snapshot()
            for _ in range(2):
                with pytest.raises(StoreFailedError) as again:
                    await store.append(pay(2))
                assert str(again.value) == str(raised.value)
            assert (store.seq, store.state, store.stats().failed) == (1, bank_after(1), True)
        async with opened(disk.reopen()) as store:
            assert store.state == bank_after(1)


class TestClosing:
    async def test_a_last_snapshot_that_fails_is_told_and_the_lock_is_free(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await store.append(pay(1))
        await store.snapshot()
        await store.append(pay(2))
        disk.add_rule(lambda call: Fault(errno=errno.ENOSPC) if call.kind == "write" else None)
        with pytest.raises(
            StoreFullError, match="all events after event 1, the last snapshot, are"
        ):
            await store.close()
        disk.heal()
        async with opened(disk.reopen()) as again:
            assert again.state == bank_after(1)

    async def test_a_cancelled_close_goes_on(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", snapshot_writes)
        store = await EventStore.open("", bank_registry(), disk=disk, **ONLY)
        await store.append(pay(7))
        disk.gate.shut()
        closing = asyncio.ensure_future(store.close())
        await disk.gate.reached()
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        disk.gate.open()
        async with asyncio.timeout(PATIENCE):
            await store.close()
        async with EventStore.open(tmp_path / "s", bank_registry(), **ONLY) as again:
            assert again.state == bank_after(7)


class TestChangingOnesMind:
    async def test_with_a_log_it_goes_on_at_the_next_number(self) -> None:
        disk = await made(1, 2, 3)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            assert (store.seq, store.state) == (3, bank_after(1, 2, 3))
            assert (await store.append(pay(4))).seq == 4
            assert [event.seq async for event in store.events(4)] == [4]
            with pytest.raises(HistoryUnavailableError) as caught:
                [event async for event in store.events(1)]
            assert caught.value.first_available == 4
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert (store.seq, store.state) == (4, bank_after(1, 2, 3, 4))
            assert store.recovery.events_folded == 1
        assert [event.seq for event in read_events("", start=4, disk=disk.reopen())] == [4]

    async def test_a_new_one_may_change_too(self) -> None:
        disk = await made()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            assert (await store.append(pay(4))).seq == 1

    async def test_a_crash_during_the_change_leaves_one_or_the_other(self) -> None:
        small: dict[str, Any] = {"segment_size": 4096}
        disk = (await made(1, 2, 3)).clone()
        crashes: list[SimulatedDisk] = []
        disk.add_rule(lambda call: crashes.append(disk.clone()))
        async with EventStore.open("", bank_registry(), disk=disk, **small) as store:
            await store.append(pay(4))
        assert len(crashes) > 20
        for crash in crashes:
            for image in crash.images(limit=4):
                async with EventStore.open("", bank_registry(), disk=image, **small) as again:
                    assert again.seq in (3, 4)
                    assert again.state == bank_after(*range(1, again.seq + 1))
                    assert (await again.append(pay(9))).seq == again.seq

    async def test_going_back_is_refused(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
        before = disk.contents()
        with pytest.raises(ConfigError, match="use_wal=False would stop writing") as caught:
            await opened(disk.reopen())
        assert caught.value.key == "use_wal"
        assert {**disk.contents(), "writer.pid": b""} == {**before, "writer.pid": b""}
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert store.state == bank_after(1)

    async def test_read_only_looks_at_either(self) -> None:
        disk = await made(1, 2)
        for use_wal in (True, False):
            async with EventStore.open(
                "", bank_registry(), disk=disk.reopen(), read_only=True, use_wal=use_wal
            ) as store:
                assert (store.seq, store.state) == (2, bank_after(1, 2))
                with pytest.raises(StoreReadOnlyError):
                    await store.append(pay(1))
                with pytest.raises(HistoryUnavailableError):
                    [event async for event in store.events()]


class TestReadingFromOutside:
    async def test_the_newest_state_can_be_read(self) -> None:
        disk = await made(1, 2, 3, snapshot_after=(1,))
        assert state_at("", bank_registry(), disk=disk) == bank_after(1, 2, 3)

    async def test_a_state_that_has_a_snapshot_can_be_read_and_no_other(self) -> None:
        disk = await made(1, 2, 3, snapshot_after=(1,))
        assert state_at("", bank_registry(), 1, disk=disk) == bank_after(1)
        assert state_at("", bank_registry(), 3, disk=disk) == bank_after(1, 2, 3)
        with pytest.raises(HistoryUnavailableError):
            state_at("", bank_registry(), 2, disk=disk)

    async def test_there_are_no_events_to_read(self) -> None:
        disk = await made(1, 2, 3)
        with pytest.raises(HistoryUnavailableError):
            list(read_events("", disk=disk))
        with pytest.raises(HistoryUnavailableError):
            list(replay("", bank_registry(), disk=disk))
