"""Known keys outlive restarts, snapshots, compaction, lost files and power cuts."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest

from eventstore import (
    CorruptStoreError,
    Event,
    EventStore,
    HandlerRegistry,
    KeyConflictError,
    Operation,
    SimulatedClock,
    StoreFailedError,
    StoreFullError,
    handler,
    upcaster,
)
from eventstore.disk.base import read_whole
from eventstore.history import branch
from eventstore.keys import keeper as key_keeper
from eventstore.keys import run_chain
from eventstore.keys.format import HEADER_SIZE
from eventstore.testing import Call, Fault, SimulatedDisk


class Fill(Operation, key="fill_id"):
    fill_id: str
    qty: float = 1.0


class Note(Operation):
    text: str = ""


@handler
def fill(state: int, event: Event[Fill]) -> int:
    return state + 1


@handler
def note(state: int, event: Event[Note]) -> int:
    return state + 1


REGISTRY = HandlerRegistry[int](fill, note, initial=int)


class SteppedClock(SimulatedClock):
    """A clock whose wall time is `step` nanoseconds wrong. The monotonic time is right."""

    step = 0

    def time_ns(self) -> int:
        return super().time_ns() + self.step


async def opened(disk: SimulatedDisk, **options: Any) -> EventStore[int]:
    options = {"wal_max_entries": None, "auto_save_interval": None, **options}
    return await EventStore.open("", options.pop("registry", REGISTRY), disk=disk, **options)


async def fills(store: EventStore[int], *numbers: int, **options: Any) -> None:
    for number in numbers:
        assert not (await store.append(Fill(fill_id=str(number)), **options)).duplicate


async def known(store: EventStore[int], *numbers: int) -> list[int]:
    """Return those of `numbers` whose fill is a duplicate. Nothing else is appended."""
    found = []
    for number in numbers:
        if await store.find(str(number), Fill) is not None:
            seq = store.seq
            assert (await store.append(Fill(fill_id=str(number)))).duplicate
            assert store.seq == seq
            found.append(number)
    return found


async def filled(**options: Any) -> SimulatedDisk:
    """Make a store with fills 1 to 26, runs of 1 to 20 and 21 to 23, and a snapshot of event 23."""
    disk = SimulatedDisk()
    store = await opened(disk, **options)
    for first, last in ((1, 20), (21, 23), (24, 26)):
        await fills(store, *range(first, last + 1))
        if last < 24:
            await store.snapshot()
    await store.close()
    return disk.reopen()


def failing(kind: str, code: int) -> Callable[[Call], Fault | None]:
    """Return a rule by which the next call of this kind on a run fails."""
    armed = [True]

    def rule(call: Call) -> Fault | None:
        if call.kind == kind and call.name.startswith("keys/") and armed:
            armed.clear()
            return Fault(errno=code)
        return None

    return rule


def runs(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.files() if name.startswith("keys/")]


@pytest.mark.asyncio
class TestARestart:
    @pytest.mark.parametrize("history", ["archive", "keep", "discard"])
    async def test_forgets_nothing(self, history: str) -> None:
        disk = await filled(history=history, segment_size=4096, backup_count=1)
        store = await opened(disk, history=history)
        assert await known(store, *range(1, 29)) == list(range(1, 27))
        with pytest.raises(KeyConflictError):
            await store.append(Fill(fill_id="2", qty=5.0))
        await store.close()

    async def test_of_a_store_without_a_log(self) -> None:
        disk = await filled(use_wal=False)
        store = await opened(disk, use_wal=False)
        assert await known(store, *range(1, 29)) == list(range(1, 27))
        found = await store.find("2")
        assert found is not None
        assert (found.seq, found.data, found.key) == (2, None, "2")
        await store.close()

    async def test_of_a_reader(self) -> None:
        store = await opened(await filled(), read_only=True)
        for number in range(1, 27):
            found = await store.find(str(number))
            assert found is not None
            assert found.data == Fill(fill_id=str(number))
        assert await store.find("27") is None
        await store.close()

    async def test_reads_no_block_and_writes_nothing(self) -> None:
        disk = await filled()
        before = len(disk.calls)
        store = await opened(disk)
        touched = [
            (call.kind, call.name) for call in disk.calls[before:] if "keys/" in (call.name or "")
        ]
        assert {kind for kind, _ in touched} <= {"open", "read", "size", "remove", "sync_folder"}
        assert len([kind for kind, _ in touched if kind == "read"]) <= 2 * len(runs(disk))
        await store.close()


def key_reads(disk: SimulatedDisk, since: int) -> list[int | str]:
    """Return the bytes of each read of a run since a call."""
    calls = disk.calls[since:]
    return [call.args[1] for call in calls if call.kind == "read" and "keys/" in call.name]


@pytest.mark.asyncio
class TestALargeRun:
    """No prints are read while a store is opened, so an opening takes as long for more keys."""

    @pytest.fixture(autouse=True)
    def large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_chain, "_PRINTS_AT_OPENING", 0)

    @pytest.mark.parametrize("read_only", [False, True])
    async def test_of_a_large_run_the_prints_are_read_once_they_are_missed(
        self, read_only: bool
    ) -> None:
        disk = await filled()
        before = len(disk.calls)
        store = await opened(disk, read_only=read_only)
        assert key_reads(disk, before) == [HEADER_SIZE] * len(runs(disk))
        assert await store.find("nobody's") is None
        await asyncio.sleep(0)  # a turn for the reading that the miss has begun
        before = len(disk.calls)
        for number in range(100, 200):
            assert await store.find(str(number)) is None
        assert key_reads(disk, before) == []
        assert await store.find("3") is not None
        await store.close()

    async def test_of_a_large_run_a_block_has_the_answer_without_the_prints(self) -> None:
        disk = await filled()
        store = await opened(disk)
        known, new = store.submit(Fill(fill_id="2")), store.submit(Fill(fill_id="new"))
        assert (await known).duplicate
        assert not (await new).duplicate
        with pytest.raises(KeyConflictError):
            await store.append(Fill(fill_id="5", qty=2.0))
        await store.close()

    async def test_of_a_large_run_damaged_prints_cost_time_alone(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = await filled()
        for name in runs(disk):
            disk.flip_bit(name, 8 * len(disk.read_file(name)) - 3)
        store = await opened(disk)
        assert await known(store, *range(1, 29)) == list(range(1, 27))
        await fills(store, 50, 51)
        assert await known(store, 50, 51, 52) == [50, 51]
        told = [record.message for record in caplog.records if "prints" in record.message]
        assert len(told) == 1
        assert "each look-up of a key reads the disk" in told[0]
        await store.close()


@pytest.mark.asyncio
class TestRuns:
    async def test_without_keys_there_is_no_folder(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await store.append(Note())
        await store.snapshot()
        await store.close()
        assert runs(disk) == []

    async def test_are_written_when_many_keys_are_in_memory(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(key_keeper, "MOST_RECENT", 10)
        disk = SimulatedDisk()
        store = await opened(disk)
        await fills(store, *range(100))
        assert runs(disk)
        assert store.stats().keys == 100
        await store.close()
        store = await opened(disk.reopen())
        assert await known(store, *range(101)) == list(range(100))
        await store.close()

    async def test_are_merged(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        for round_ in range(30):
            await fills(store, *range(10 * round_, 10 * round_ + 10))
            await store.snapshot()
        await fills(store, 300)  # lets the last merge end
        assert len(runs(disk)) <= 4
        assert await known(store, *range(302)) == list(range(301))
        await store.close()

    async def test_without_space_the_keys_stay_in_memory(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await fills(store, 1, 2)
        disk.add_rule(failing("create", errno.ENOSPC))
        with pytest.raises(StoreFullError):
            await store.snapshot()
        assert await known(store, 1, 2, 3) == [1, 2]
        await store.snapshot()
        assert len(runs(disk)) == 1
        assert await known(store, 1, 2, 3) == [1, 2]
        await store.close()

    async def test_a_failed_sync_of_one_fails_the_store(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await fills(store, 1)
        disk.add_rule(failing("sync", errno.EIO))
        with pytest.raises(StoreFailedError):
            await store.snapshot()
        await store.close()
        store = await opened(disk.reopen())
        assert await known(store, 1) == [1]
        await store.close()

    @pytest.mark.parametrize("history", ["archive", "discard"])
    async def test_whatever_sync_fails_the_next_opening_trusts_what_is_on_the_platter(
        self, history: str
    ) -> None:
        """A failed sync leaves a run in the page cache alone, and no later sync tells."""
        failed = 0
        for number in range(40):
            disk = SimulatedDisk(number)
            syncs = [*range(number), -1]  # the last one fails

            def once(call: Call, syncs: list[int] = syncs) -> Fault | None:
                synced = call.kind in ("sync", "sync_folder") and "keys" in str(call)
                return Fault(errno.EIO) if synced and syncs and syncs.pop(0) < 0 else None

            store = await opened(disk, history=history, backup_count=1)
            disk.add_rule(once)
            acknowledged = 0
            try:
                for round_ in range(6):
                    await fills(store, *range(3 * round_, 3 * round_ + 3))
                    acknowledged = 3 * round_ + 3
                    await store.snapshot()
            except StoreFailedError:
                failed += 1
            await store.close()
            syncs.clear()
            disk = disk.reopen()
            store = await opened(disk, history=history, backup_count=1)
            await fills(store, 100)
            await store.snapshot()
            await store.close()
            for image in disk.images(4):
                reopened = await opened(image, history=history, backup_count=1)
                assert await known(reopened, *range(acknowledged)) == [*range(acknowledged)]
                await reopened.close()
        assert failed > 10

    async def test_never_know_an_event_that_a_power_cut_took(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk, durability="none")
        await fills(store, 1, 2)
        disk.add_rule(failing("rename", errno.EIO))  # of the run: the log is ahead
        with pytest.raises(StoreFailedError):
            await store.snapshot()
        for image in disk.images(20):
            reopened = await opened(image, durability="none")
            assert reopened.seq == 2
            assert await known(reopened, 1, 2, 3) == [1, 2]
            await reopened.close()
        await store.close()


@pytest.mark.asyncio
class TestLostRuns:
    @pytest.mark.parametrize("lost", ["first", "last", "all"])
    @pytest.mark.parametrize("how", ["removed", "damaged", "damaged at the end", "cut"])
    async def test_are_made_again_from_the_log(self, lost: str, how: str) -> None:
        disk = await filled()
        names = runs(disk)
        for name in {"first": names[:1], "last": names[-1:], "all": names}[lost]:
            if how == "removed":
                disk.remove(name)
            elif how == "damaged":
                disk.open(name, writable=True).write(60, b"\xff")
            elif how == "damaged at the end":  # where the prints are
                data = read_whole(disk, name)
                disk.open(name, writable=True).write(len(data) - 1, bytes([data[-1] ^ 1]))
            else:
                disk.open(name, writable=True).truncate(700)
        store = await opened(disk.reopen(), read_only=True)
        assert [await store.find(str(number)) is None for number in (1, 21, 26, 27)] == [
            False, False, False, True,
        ]  # fmt: skip
        await store.close()
        store = await opened(disk)
        if how != "removed":
            assert "Its keys come from the log" in store.recovery.warnings[0]
        assert await known(store, *range(1, 29)) == list(range(1, 27))
        await store.close()
        store = await opened(disk.reopen())
        assert store.recovery.warnings == ()
        await store.close()

    @pytest.mark.parametrize("use_wal", [True, False])
    async def test_are_refused_where_the_events_are_gone_too(self, use_wal: bool) -> None:
        options: dict[str, Any] = {"use_wal": use_wal}
        if use_wal:
            options |= {"history": "discard", "segment_size": 4096, "backup_count": 1}
        disk = SimulatedDisk()
        store = await opened(disk, **options)
        for number in range(1, 40):
            await fills(store, number)
            await store.append(Note(text="x" * 1000))
            if not number % 10:
                await store.snapshot()
        await store.close()
        disk = disk.reopen()
        for name in runs(disk):
            disk.remove(name)
        with pytest.raises(CorruptStoreError, match="'lost': 'forget'"):
            await opened(disk.reopen(), **options)
        store = await opened(disk.reopen(), keys={"lost": "forget"}, **options)
        assert "lost and forgotten" in store.recovery.warnings[0]
        assert await store.find("1") is None
        await fills(store, 1)
        await store.close()
        store = await opened(disk.reopen(), **options)
        assert await known(store, 1) == [1]
        await store.close()

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    async def test_an_opening_that_cannot_write_them_again_loses_nothing(self, code: int) -> None:
        disk = await filled()
        for name in runs(disk):
            disk.remove_file(name)
        disk.add_rule(failing("create", code))
        refusal = StoreFullError if code == errno.ENOSPC else StoreFailedError
        with pytest.raises(refusal, match=r"recovery .* could not be finished .* nothing is lost"):
            await opened(disk)
        store = await opened(disk.reopen())
        assert await known(store, *range(1, 29)) == list(range(1, 27))
        await store.close()

    async def test_a_damaged_block_is_told_and_never_taken_for_an_unknown_key(self) -> None:
        disk = await filled()
        for name in runs(disk):
            disk.open(name, writable=True).write(520, b"\xff\xff")
        store = await opened(disk.reopen())
        with pytest.raises(CorruptStoreError, match="block 0"):
            await store.append(Fill(fill_id="1"))
        await fills(store, 50)
        await store.close()


@pytest.mark.asyncio
class TestWithoutALog:
    async def test_a_crash_takes_the_keys_with_the_events(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk, use_wal=False)
        await fills(store, 1, 2)
        await store.snapshot()
        await fills(store, 3, 4)
        disk.add_rule(
            lambda call: (
                Fault(errno=errno.ENOSPC)
                if call.kind == "create" and call.name.startswith("snapshots/")
                else None
            )
        )
        with pytest.raises(StoreFullError):
            await store.snapshot()  # the run of 3 and 4 is there, and no snapshot
        image = disk.after_kill()
        with pytest.raises(StoreFullError):
            await store.close()
        store = await opened(image, use_wal=False)
        assert store.seq == 2
        assert await known(store, 1, 2, 3, 4) == [1, 2]
        await fills(store, 5, 3)  # with the numbers of 3 and 4
        await store.close()
        store = await opened(image.reopen(), use_wal=False)
        assert await known(store, 1, 2, 3, 4, 5) == [1, 2, 3, 5]
        await store.close()


@pytest.mark.asyncio
class TestBranches:
    @pytest.mark.parametrize("at", [2, 22, 26])
    async def test_in_memory(self, at: int) -> None:
        disk = await filled()
        async with branch("", REGISTRY, at, disk=disk) as store:
            assert await known(store, *range(1, 28)) == list(range(1, at + 1))
            await fills(store, 50)
            assert await known(store, 50) == [50]

    @pytest.mark.parametrize("at", [2, 26])
    async def test_on_disk_and_without_the_parent(self, at: int, tmp_path: Any) -> None:
        disk = await filled()
        async with branch("", REGISTRY, at, to=tmp_path / "b", disk=disk) as store:
            await fills(store, 50)
        async with EventStore.open(tmp_path / "b", REGISTRY) as store:
            assert await known(store, *range(1, 28), 50) == [*range(1, at + 1), 50]
            await store.snapshot()
            await fills(store, 51)
        async with branch(tmp_path / "b", REGISTRY, to=tmp_path / "c") as store:
            assert await known(store, *range(1, 28), 50, 51) == [*range(1, at + 1), 50, 51]


@pytest.mark.asyncio
class TestRemember:
    async def test_by_number(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk, keys={"remember": {"events": 5}})
        await fills(store, *range(1, 11))
        assert store.stats().keys_since == 6
        for number in range(1, 12):
            assert (await store.find(str(number)) is not None) is (6 <= number <= 10)
        await store.snapshot()
        assert (await store.append(Fill(fill_id="6"))).duplicate
        await fills(store, 1)
        assert not (await store.append(Fill(fill_id="6"))).duplicate
        await store.close()

    async def test_by_the_times_of_events(self) -> None:
        clock = SimulatedClock(10**18)
        disk = SimulatedDisk()
        store = await opened(disk, clock=clock, keys={"remember": {"age": "2h"}})
        await fills(store, 1)
        clock.advance(3600)
        await fills(store, 2)
        await store.snapshot()
        clock.advance(3601)
        assert await known(store, 1, 2) == [1, 2]  # nothing later was recorded
        await fills(store, 3)
        assert store.stats().keys_since_time == 10**18 + 10**9
        assert await known(store, 1, 2, 3) == [2, 3]
        await store.close()

    async def test_a_clock_that_ran_ahead_for_a_moment_forgets_no_later_key(self) -> None:
        """Else each retry would be written again, until the time that the clock had told."""
        clock, disk = SimulatedClock(10**18), SimulatedDisk()
        options: dict[str, Any] = {"clock": clock, "keys": {"remember": {"age": "2h"}}}
        store = await opened(disk, **options)
        await fills(store, 1)
        clock.advance(10**8)
        await fills(store, 2)
        clock.set(10**18 + 10**9)
        await fills(store, 3)
        assert await known(store, 1, 2, 3) == [1, 2, 3]
        await store.snapshot()
        assert store.stats().keys_since_time == clock.time_ns() - 2 * 3600 * 10**9
        await store.close()
        store = await opened(disk.reopen(), **options)
        await fills(store, 4)
        await store.snapshot()  # and the runs are merged
        assert await known(store, 1, 2, 3, 4) == [1, 2, 3, 4]
        await store.close()

    async def test_runs_merged_while_the_clock_is_ahead_drop_no_key(self) -> None:
        """Nobody could bring such a key back once the clock was set right."""
        clock, disk = SteppedClock(10**18), SimulatedDisk()
        options: dict[str, Any] = {"clock": clock, "keys": {"remember": {"age": "2h"}}}
        store = await opened(disk, **options)
        await fills(store, 1)
        await store.snapshot()
        clock.step = 10**8 * 10**9
        await fills(store, 2)
        await store.snapshot()  # and the runs are merged
        await store.close()
        disk = disk.reopen()
        assert len(runs(disk)) == 1
        clock.step = 0
        store = await opened(disk, **options)
        assert await known(store, 1, 2) == [1, 2]
        await fills(store, 3)
        clock.advance(3600 * 3)
        await fills(store, 4)
        await store.snapshot()
        assert store.stats().keys == 2, "those of event 2, with the time ahead, and of event 4"
        await store.close()

    @pytest.mark.parametrize(
        "keys", [{"remember": {"age": "2 hours"}}, {"remember": 5}, {"remembers": {}}, 7]
    )
    async def test_anything_else_is_refused(self, keys: Any) -> None:
        with pytest.raises(ValueError, match="keys"):
            await opened(SimulatedDisk(), keys=keys)


class OldTrade(Operation, tag="trade", key="trade_id"):
    trade_id: str
    price: float


class Trade(Operation, tag="trade", version=2, key="trade_id"):
    trade_id: str
    price: float
    venue: str = "one"


@handler
def old_trade(state: int, event: Event[OldTrade]) -> int:
    return state + 1


@handler
def trade(state: int, event: Event[Trade]) -> int:
    return state + 1


@upcaster
def to_trade(old: OldTrade) -> Trade:
    return Trade(trade_id=old.trade_id, price=old.price)


@pytest.mark.asyncio
@pytest.mark.parametrize("snapshot", [True, False])
async def test_an_older_version_of_a_payload_is_the_same_when_its_newest_is(snapshot: bool) -> None:
    old = HandlerRegistry[int](old_trade, initial=int)
    new = HandlerRegistry[int](trade, to_trade, initial=int)
    disk = SimulatedDisk()
    store = await opened(disk, registry=old)
    await store.append(OldTrade(trade_id="a", price=1.0))
    if snapshot:
        await store.snapshot()
    await store.close()
    store = await opened(disk.reopen(), registry=new)
    assert (await store.append(Trade(trade_id="a", price=1.0))).duplicate
    with pytest.raises(KeyConflictError):
        await store.append(Trade(trade_id="a", price=1.0, venue="two"))
    await store.close()
