"""What-if stores that branch from a live history, and what tells two of them apart."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from immutables import Map

from eventstore import (
    ConfigError,
    CorruptStoreError,
    Event,
    EventStore,
    HandlerRegistry,
    HistoryUnavailableError,
    SimulatedClock,
    StoreClosedError,
    StoreNotFoundError,
    SystemClock,
    handler,
    state_at,
    state_digest,
)
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import BranchPoint, load_manifest
from eventstore.history import ABSENT, branch, compare, differences
from eventstore.history.branch import create_branch
from eventstore.model.state_codec import StateAt
from eventstore.testing import Call, SimulatedDisk
from eventstore.testing.faults import Effect
from eventstore.timelines import first_timeline
from handlers import EngineState, FullState, RecordTrade, UpdatePosition, trading_registry
from handlers.record_trade import record_trade
from handlers.sums import added

REGISTRY = trading_registry()
BEGAN = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
OPTIONS: dict[str, Any] = {"segment_size": 4096, "wal_max_entries": 40, "auto_save_interval": None}

pytestmark = pytest.mark.asyncio


def trade(number: int, **changes: Any) -> RecordTrade:
    fields: dict[str, Any] = {
        "trade_id": f"t-{number}",
        "symbol": "AAPL" if number % 3 else "MSFT",
        "side": "sell" if number % 4 == 0 else "buy",
        "shares": 1.0 + number % 5,
        "price": 100.0 + number % 7,
        "fee": 0.5,
    }
    return RecordTrade(**{**fields, **changes})


def second(seq: int) -> datetime:
    """When event `seq` was recorded."""
    return BEGAN + timedelta(seconds=seq)


async def record(store: EventStore[EngineState], clock: SimulatedClock, last: int) -> None:
    """Go on to event `last`: opening cash, then one trade a second."""
    while store.seq < last:
        clock.set(second(store.seq + 1))
        await store.append(trade(store.seq) if store.seq else FullState(cash=10_000.0))


async def recorded(path: Path, last: int = 200, **options: Any) -> Path:
    clock = SimulatedClock(BEGAN)
    async with EventStore.open(path, REGISTRY, clock=clock, **{**OPTIONS, **options}) as store:
        await record(store, clock, last)
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(recorded(tmp_path_factory.mktemp("original") / "live"))


@pytest.fixture
def live(original: Path, tmp_path: Path) -> Path:
    """200 events, one a second, over archives, snapshots and log."""
    return Path(shutil.copytree(original, tmp_path / "live"))


def written(path: Path) -> dict[Path, int]:
    """When each file was last written."""
    return {file: file.stat().st_mtime_ns for file in path.rglob("*")}


async def seqs(store: EventStore[Any], *bounds: Any, **choice: Any) -> list[int]:
    return [event.seq async for event in store.events(*bounds, **choice)]


class TestWhereABranchBegins:
    @pytest.mark.parametrize("at", [0, 1, 2, 39, 40, 41, 117, 200])
    async def test_at_a_sequence_number(self, live: Path, at: int) -> None:
        async with branch(live, REGISTRY, at=at) as store:
            assert store.seq == at
            assert state_digest(store.state) == state_digest(state_at(live, REGISTRY, at))

    async def test_at_a_time_it_is_before_the_first_later_event(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=second(117)) as store:
            assert store.seq == 117
        async with branch(live, REGISTRY, at=second(117) + timedelta(milliseconds=1)) as store:
            assert store.seq == 117
        async with branch(live, REGISTRY, at=second(0)) as store:
            assert store.seq == 0

    async def test_without_a_moment_it_is_after_the_last_event(self, live: Path) -> None:
        async with branch(live, REGISTRY) as store:
            assert store.seq == 200

    @pytest.mark.parametrize("at", [201, -1])
    async def test_an_event_that_is_not_there_is_refused(self, live: Path, at: int) -> None:
        with pytest.raises(HistoryUnavailableError, match=r"the last is event|no event has"):
            await branch(live, REGISTRY, at=at)

    async def test_a_moment_that_was_discarded_is_refused(self, tmp_path: Path) -> None:
        live = await recorded(tmp_path / "live", history="discard", backup_count=2)
        with pytest.raises(HistoryUnavailableError):
            await branch(live, REGISTRY, at=20)
        async with branch(live, REGISTRY, at=190) as store:
            assert state_digest(store.state) == state_digest(state_at(live, REGISTRY, 190))

    async def test_no_store_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFoundError):
            await branch(tmp_path / "nowhere", REGISTRY)

    async def test_beside_the_writer_without_its_lock(self, tmp_path: Path) -> None:
        clock = SimulatedClock(BEGAN)
        async with EventStore.open(tmp_path / "live", REGISTRY, clock=clock, **OPTIONS) as store:
            await record(store, clock, 90)
            async with branch(tmp_path / "live", REGISTRY, at=50) as what_if:
                await record(store, clock, 190)
                await what_if.append(trade(1))
                assert (store.seq, what_if.seq) == (190, 51)
                assert await seqs(what_if) == list(range(1, 52))
                await record(store, clock, 200)
            assert await seqs(store, 195) == list(range(195, 201))


class TestInMemory:
    async def test_numbers_go_on(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as store:
            receipt = await store.append(trade(1), trade(2))
            assert (receipt.first_seq, receipt.seq, store.seq) == (151, 152, 152)

    async def test_nothing_of_the_live_store_changes(self, live: Path) -> None:
        before = written(live)
        async with branch(live, REGISTRY, at=150) as store:
            await store.append(trade(1))
            await seqs(store)
        assert written(live) == before

    @pytest.mark.parametrize(
        ("bounds", "expected"),
        [
            ((), range(1, 171)),
            ((140,), range(140, 171)),
            ((140, 155), range(140, 155)),
            ((150, 151), range(150, 151)),
            ((151,), range(151, 171)),
            ((160, 165), range(160, 165)),
            ((1, 30), range(1, 30)),
            ((171,), range(0)),
            ((second(148), second(153)), range(148, 153)),
            ((second(151), None), range(151, 171)),
            ((second(165), 168), range(165, 168)),
            ((second(900),), range(0)),
            ((3, second(7)), range(3, 7)),
        ],
    )
    async def test_shared_and_own_events_are_one_history(
        self, live: Path, bounds: tuple[Any, ...], expected: range
    ) -> None:
        clock = SimulatedClock(BEGAN)
        async with branch(live, REGISTRY, at=150, clock=clock) as store:
            await record(store, clock, 170)
            assert await seqs(store, *bounds) == list(expected)

    async def test_only_chosen_operations(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as store:
            await store.append(UpdatePosition(symbol="X", shares=1.0, price=2.0))
            await store.append(trade(1))
            assert await seqs(store, operations={"full_state", "update_position"}) == [1, 151]

    async def test_a_subscription_reaches_into_the_shared_part(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as store:
            await store.append(trade(1))
            async with store.subscribe(after=148) as events:
                assert [(await anext(events)).seq for _ in range(3)] == [149, 150, 151]

    async def test_time_stands_where_the_branch_begins(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as store:
            receipt = await store.append(trade(1))
        assert receipt.time == int(second(150).timestamp()) * 10**9

    async def test_or_it_is_another_clock_s(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150, clock=SystemClock()) as store:
            receipt = await store.append(trade(1))
        assert receipt.time > int(BEGAN.timestamp()) * 10**9

    async def test_a_large_append_at_the_branch_is_cut_in_the_middle(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "live", REGISTRY) as store:
            await store.append(*map(trade, range(10)))
        async with branch(tmp_path / "live", REGISTRY, at=4) as what_if:
            await what_if.append(trade(77))
            keys = [event.data.trade_id async for event in what_if.events()]
        assert keys == ["t-0", "t-1", "t-2", "t-3", "t-77"]

    async def test_a_shared_part_that_was_discarded_meanwhile_is_said_so(
        self, tmp_path: Path
    ) -> None:
        clock = SimulatedClock(BEGAN)
        options = {**OPTIONS, "history": "discard", "backup_count": 2}
        async with EventStore.open(tmp_path / "live", REGISTRY, clock=clock, **options) as store:
            await record(store, clock, 30)
            async with branch(tmp_path / "live", REGISTRY, at=25) as what_if:
                for _ in range(4):  # each snapshot discards what no kept one needs
                    await record(store, clock, 100)
                    await store.snapshot()
                with pytest.raises(HistoryUnavailableError):
                    await seqs(what_if)
                await what_if.append(trade(1))
                assert await seqs(what_if, 26) == [26]

    async def test_from_another_disk_which_stays_open(self) -> None:
        disk, clock = SimulatedDisk(), SimulatedClock(BEGAN)
        async with EventStore.open("", REGISTRY, clock=clock, disk=disk, **OPTIONS) as store:
            await record(store, clock, 60)
            for _ in range(2):
                async with branch("", REGISTRY, at=55, disk=disk) as what_if:
                    await what_if.append(trade(1))
                    assert await seqs(what_if) == list(range(1, 57))

    async def test_once_closed_it_says_so(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as store:
            reading = store.events()
            assert (await anext(reading)).seq == 1
        with pytest.raises(StoreClosedError):
            async for _ in reading:
                pass
        with pytest.raises(StoreClosedError):
            await store.append(trade(1))

    async def test_one_left_open_warns(self, live: Path) -> None:
        opened = [await branch(live, REGISTRY, at=150)]
        with pytest.warns(ResourceWarning, match="live@150"):
            opened.clear()
        gc.collect()

    async def test_a_hundred_branches_share_one_history(self, live: Path) -> None:
        stores = [await branch(live, REGISTRY, at=at) for at in range(100, 200)]
        for number, store in enumerate(stores):
            await store.append(trade(number))
        assert [store.seq for store in stores] == list(range(101, 201))
        for store in stores:
            await store.close()


class TestOnDisk:
    async def test_it_is_a_store_of_its_own(self, live: Path, tmp_path: Path) -> None:
        async with branch(live, REGISTRY, at=150, to=tmp_path / "what-if") as store:
            assert store.seq == 150
            await store.append(trade(1))
            state = store.state
        shutil.rmtree(live)
        async with EventStore.open(tmp_path / "what-if", REGISTRY) as store:
            assert (store.seq, store.state) == (151, state)
            assert await seqs(store, 151) == [151]
            assert store.recovery.clean
            assert store.recovery.unknown_files == ()

    async def test_earlier_events_are_said_to_be_elsewhere(
        self, live: Path, tmp_path: Path
    ) -> None:
        async with branch(live, REGISTRY, at=150, to=tmp_path / "what-if") as store:
            with pytest.raises(HistoryUnavailableError) as refused:
                await seqs(store, 150)
        assert refused.value.first_available == 151
        assert f"it is in {live}" in str(refused.value)
        assert str(load_manifest(LocalDisk(live, read_only=True)).store) in str(refused.value)

    async def test_it_has_a_manifest_of_its_own(self, live: Path, tmp_path: Path) -> None:
        await (await branch(live, REGISTRY, at=150, to=tmp_path / "what-if")).close()
        mine = load_manifest(LocalDisk(tmp_path / "what-if", read_only=True))
        theirs = load_manifest(LocalDisk(live, read_only=True))
        assert mine.store != theirs.store
        assert (mine.log_start, mine.history_start) == (151, 151)

    async def test_it_lives_on_through_snapshots_and_compaction(
        self, live: Path, tmp_path: Path
    ) -> None:
        path, clock = tmp_path / "what-if", SimulatedClock(BEGAN)
        await (await branch(live, REGISTRY, at=150, to=path)).close()
        async with EventStore.open(path, REGISTRY, clock=clock, **OPTIONS) as store:
            await record(store, clock, 700)
            assert await seqs(store, 151) == list(range(151, 701))
            digest = state_digest(store.state)
        assert list(path.glob("archive/*"))
        async with EventStore.open(path, REGISTRY, read_only=True) as store:
            assert state_digest(store.state) == digest

    async def test_from_the_very_beginning(self, live: Path, tmp_path: Path) -> None:
        async with branch(live, REGISTRY, at=0, to=tmp_path / "what-if") as store:
            await store.append(trade(1))
            assert await seqs(store) == [1]

    async def test_a_branch_of_a_branch(self, live: Path, tmp_path: Path) -> None:
        async with branch(live, REGISTRY, at=150, to=tmp_path / "one") as one:
            await one.append(trade(1))
            async with branch(tmp_path / "one", REGISTRY, to=tmp_path / "two") as two:
                assert (two.seq, two.state) == (151, one.state)

    @pytest.mark.parametrize("taken", ["live", "file"])
    async def test_a_directory_with_something_in_it_is_refused(
        self, live: Path, tmp_path: Path, taken: str
    ) -> None:
        if taken == "file":
            (tmp_path / "file").mkdir()
            (tmp_path / "file" / "notes.txt").write_text("mine", encoding="utf-8")
        before = sorted((tmp_path / taken).rglob("*"))
        with pytest.raises(ConfigError, match="is not empty"):
            await branch(live, REGISTRY, at=150, to=tmp_path / taken)
        assert sorted((tmp_path / taken).rglob("*")) == before

    async def test_the_directory_of_the_parent_may_have_any_name(self, tmp_path: Path) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/B\xf6rse")
        async with EventStore.open(path, REGISTRY) as store:
            await store.append(trade(1))
        async with branch(path, REGISTRY, to=tmp_path / "what-if") as store:
            assert store.seq == 1
            with pytest.raises(HistoryUnavailableError) as refused:
                await seqs(store, 1)
            assert "/B\\xf6rse" in str(refused.value)

    async def test_a_branch_that_was_not_finished_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / "what-if").mkdir(0o700)
        (tmp_path / "what-if" / "branch.tmp").touch()
        with pytest.raises(CorruptStoreError, match="make the branch again"):
            await EventStore.open(tmp_path / "what-if", REGISTRY)
        with pytest.raises(StoreNotFoundError):
            await EventStore.open(tmp_path / "what-if", REGISTRY, read_only=True)
        assert {path.name for path in (tmp_path / "what-if").iterdir()} == {"branch.tmp"}


class TestMaking:
    """A branch on disk after a crash or an error at any call: none, or a whole one."""

    POINT = BranchPoint(path="parent", store=uuid.UUID(int=1), seq=7)
    AT: StateAt[EngineState] = StateAt(EngineState.from_dict({"cash": 7}), 7, 70)

    def make(self, disk: SimulatedDisk) -> None:
        disk.lock()
        timelines = first_timeline(self.POINT.store)
        create_branch(disk, REGISTRY, self.AT, self.POINT, 100, timelines, 0xC0FFEE)
        disk.close()

    async def check(self, image: SimulatedDisk, where: str) -> None:
        """Check that `image` holds a whole branch, or none and can be made again."""
        if "store.json" not in image.files():
            if set(image.files()) - {"writer.pid"}:
                with pytest.raises(CorruptStoreError, match="not finished"):
                    await EventStore.open("", REGISTRY, disk=image.clone())
            self.make(image)
        async with EventStore.open("", REGISTRY, disk=image.reopen()) as store:
            assert (store.seq, store.state) == (7, self.AT.state), where
            assert store.recovery.unknown_files == (), where
            assert "branch.tmp" not in image.files(), where

    async def test_a_crash_at_any_call(self) -> None:
        points: list[tuple[Call, SimulatedDisk]] = []
        disk = SimulatedDisk(unnamed=True)
        disk.add_rule(lambda call: points.append((call, disk.clone())))
        self.make(disk)
        assert len(points) > 30
        for call, point in points:
            await self.check(point.after_kill(), f"a kill before {call}")
            for number, image in enumerate(point.images(12)):
                await self.check(image, f"image {number} of a power cut before {call}")
        for image in disk.images():
            assert "store.json" in image.files()
            await self.check(image, "after all of it")

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    @pytest.mark.parametrize("effect", ["none", "whole"])
    async def test_an_error_of_any_call(self, code: int, effect: Effect) -> None:
        whole = SimulatedDisk()
        self.make(whole)
        for number, call in enumerate(whole.calls, 1):
            if call.kind == "close_disk":
                continue
            disk = SimulatedDisk()
            disk.fail(number, errno=code, effect=effect)
            with contextlib.suppress(OSError):  # removing what is not there may fail as well
                self.make(disk)
            disk.close()
            await self.check(disk.after_kill(), f"{call} failed")

    async def test_what_is_somebody_elses_stays(self) -> None:
        disk = SimulatedDisk()
        disk.write_file("branch.tmp", b"")
        disk.write_file("log/notes", b"mine")
        self.make(disk)
        assert disk.read_file("log/notes") == b"mine"
        for name in ("notes", "log/notes"):
            disk = SimulatedDisk()
            disk.write_file(name, b"mine")
            with pytest.raises(ConfigError, match="is not empty"):
                self.make(disk)
            assert disk.read_file(name) == b"mine"


@handler
def record_trade_at_half_the_fee(state: EngineState, event: Event[RecordTrade]) -> EngineState:
    fee: Any = event.data.fee
    half, paid = Decimal(str(fee)) / 2, (event.data.symbol, "USD")
    booked = record_trade(state, event)
    return booked.replace(
        balances=added(booked.balances, "USD", half), fee_sums=added(booked.fee_sums, paid, -half)
    )


HALF_FEES: HandlerRegistry[EngineState] = HandlerRegistry(
    record_trade_at_half_the_fee,
    *(item for item in REGISTRY.items if item.__name__ in ("full_state", "update_position")),
)


class TestCompare:
    async def test_branches_that_did_nothing_are_the_same(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as one, branch(live, REGISTRY, at=150) as other:
            found = await compare(one, other)
        assert found.same
        assert (found.differs_from, found.differences) == (None, ())

    async def test_the_first_event_that_makes_a_difference(self, live: Path) -> None:
        clock, also = SimulatedClock(BEGAN), SimulatedClock(BEGAN)
        async with (
            branch(live, REGISTRY, at=150, clock=clock) as one,
            branch(live, REGISTRY, at=150, clock=also) as other,
        ):
            await record(one, clock, 160)
            await record(other, also, 160)
            await one.append(trade(9, trade_id="own"))
            await other.append(trade(9, trade_id="own", price=200.0))
            found = await compare(one, other)
        assert found.differs_from == 161
        assert (found.one_seq, found.other_seq) == (161, 161)
        rows = {row.path: (row.one, row.other) for row in found.differences}
        told = "('fill', '', 'main', 'MSFT', 'own', 'buy')"
        assert set(rows) == {
            "balances['USD']",
            "positions['MSFT'].cost",
            f"memory.recent[{told}].price",
        }
        assert rows["balances['USD']"] == (one.state.cash, other.state.cash)

    async def test_entries_that_only_one_has(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as one, branch(live, REGISTRY, at=150) as other:
            await other.append(UpdatePosition(symbol="TSLA", shares=3.0, price=240.0))
            found = await compare(one, other)
        (row,) = found.differences
        assert (row.path, row.one) == ("positions['TSLA']", ABSENT)
        assert row.other.shares == 3
        assert str(row).startswith("positions['TSLA']: absent and Position(")

    async def test_events_that_differ_and_come_to_the_same(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as one, branch(live, REGISTRY, at=150) as other:
            await one.append(trade(1), key="mine")
            await other.append(trade(1), key="yours")
            found = await compare(one, other)
        assert found.same

    async def test_histories_that_part_and_meet_again(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as one, branch(live, REGISTRY, at=150) as other:
            await one.append(UpdatePosition(symbol="TSLA", shares=3.0, price=240.0))
            for store in (one, other):
                await store.append(FullState(cash=1.0, rest={"memory": {}}))
            found = await compare(one, other)
        assert (found.differs_from, found.differences, found.same) == (151, (), False)

    async def test_branches_that_left_at_different_moments(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=120) as one, branch(live, REGISTRY, at=150) as other:
            found = await compare(one, other)
            assert found.differs_from == 121
            assert (await compare(other, one)).differs_from == 121

    async def test_with_the_live_store(self, live: Path) -> None:
        clock = SimulatedClock(BEGAN)
        async with (
            EventStore.open(live, REGISTRY, read_only=True) as store,
            branch(live, REGISTRY, at=150, clock=clock) as what_if,
        ):
            await record(what_if, clock, 180)
            await what_if.append(trade(181, trade_id="own", fee=0.0))
            found = await compare(store, what_if)
        assert found.differs_from == 181
        assert any(row.path.startswith("fee_sums") for row in found.differences)

    async def test_a_durable_branch(self, live: Path, tmp_path: Path) -> None:
        clock = SimulatedClock(BEGAN)
        async with (
            branch(live, REGISTRY, at=150, to=tmp_path / "what-if", clock=clock) as durable,
            branch(live, REGISTRY, at=160) as memory,
            EventStore.open(live, REGISTRY, read_only=True) as store,
        ):
            await record(durable, clock, 155)
            await durable.append(trade(1, trade_id="own", shares=99.0))
            assert (await compare(durable, memory)).differs_from == 156
            assert (await compare(memory, durable)).differs_from == 156
            assert (await compare(durable, store)).differs_from == 156

    async def test_where_a_durable_branch_lacks_the_events_it_says_so(
        self, live: Path, tmp_path: Path
    ) -> None:
        async with (
            branch(live, REGISTRY, at=150, to=tmp_path / "what-if") as durable,
            branch(live, REGISTRY, at=120) as memory,
        ):
            with pytest.raises(HistoryUnavailableError, match="it is in"):
                await compare(durable, memory)

    @pytest.mark.parametrize("meet_again", [False, True])
    async def test_two_generations_apart_what_is_unknown_is_not_taken_for_the_same(
        self, live: Path, tmp_path: Path, meet_again: bool
    ) -> None:
        """The grandchild has no event before its own, and its parent went another way."""
        clock = SimulatedClock(BEGAN)
        child, grandchild = tmp_path / "child", tmp_path / "grandchild"
        async with branch(live, REGISTRY, at=100, to=child, clock=clock) as store:
            await store.append(trade(1, trade_id="other", shares=7.0))
            await record(store, clock, 150)
            if meet_again:
                async with branch(live, REGISTRY, at=151) as again:
                    there = again.state
                await store.append(FullState.from_mapping(there.to_dict()))
                assert store.state == there
        async with (
            branch(child, REGISTRY, at=150 + meet_again, to=grandchild, clock=clock) as late,
            EventStore.open(live, REGISTRY, read_only=True) as store,
            EventStore.open(child, REGISTRY, read_only=True) as between,
        ):
            for pair in ((late, store), (store, late)):
                with pytest.raises(HistoryUnavailableError, match="cannot be told"):
                    await compare(*pair)
            assert (await compare(late, between)).same

    async def test_strangers_without_their_beginnings_are_unknown_too(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"history": "discard", "backup_count": 1}
        one = await recorded(tmp_path / "one", **options)
        other = await recorded(tmp_path / "other", **options)
        async with (
            EventStore.open(one, REGISTRY, read_only=True) as first,
            EventStore.open(other, REGISTRY, read_only=True) as second,
        ):
            with pytest.raises(HistoryUnavailableError, match="cannot be told"):
                await compare(first, second)

    async def test_a_copy_that_went_another_way_is_found_out(
        self, live: Path, tmp_path: Path
    ) -> None:
        """Both directories say that they are the same store."""
        other = Path(shutil.copytree(live, tmp_path / "copy"))
        for path, shares in ((live, 1.0), (other, 2.0)):
            clock = SimulatedClock(second(201))
            async with EventStore.open(path, REGISTRY, clock=clock, **OPTIONS) as store:
                await store.append(trade(1, trade_id="own", shares=shares))
                await record(store, clock, 210)
        async with (
            EventStore.open(live, REGISTRY, read_only=True) as one,
            EventStore.open(other, REGISTRY, read_only=True) as two,
        ):
            assert (await compare(one, two)).differs_from == 201

    async def test_other_handlers_that_differ_before_what_is_left_are_unknown(
        self, live: Path, tmp_path: Path
    ) -> None:
        async with (
            branch(live, HALF_FEES, at=150, to=tmp_path / "b") as durable,
            EventStore.open(live, REGISTRY, read_only=True) as store,
        ):
            with pytest.raises(HistoryUnavailableError, match="cannot be told"):
                await compare(store, durable)

    async def test_other_handlers_are_folded_from_the_first_event(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as one, branch(live, HALF_FEES, at=150) as other:
            found = await compare(one, other)
        assert found.differs_from == 2  # the first trade
        assert {row.path for row in found.differences} == {
            "balances['USD']",
            "fee_sums[('AAPL', 'USD')]",
            "fee_sums[('MSFT', 'USD')]",
        }

    async def test_stores_that_share_nothing(self) -> None:
        async with (
            EventStore.in_memory(REGISTRY, clock=SimulatedClock(BEGAN)) as one,
            EventStore.in_memory(REGISTRY, clock=SimulatedClock(BEGAN)) as other,
        ):
            for store in (one, other):
                await store.append(trade(1))
            assert (await compare(one, other)).same
            await other.append(trade(2))
            assert (await compare(one, other)).differs_from == 2

    async def test_states_that_differ_from_the_beginning(self) -> None:
        async with (
            EventStore.in_memory(REGISTRY, state=EngineState.from_dict({"cash": 1})) as one,
            EventStore.in_memory(REGISTRY) as other,
        ):
            found = await compare(one, other)
        assert found.differs_from == 0
        assert [str(row) for row in found.differences] == [
            "balances['USD']: Decimal('1') and absent"
        ]

    async def test_the_stores_are_left_as_they_were(self, live: Path) -> None:
        async with branch(live, REGISTRY, at=150) as one, branch(live, HALF_FEES, at=120) as other:
            before = [(store.seq, state_digest(store.state)) for store in (one, other)]
            await compare(one, other)
            assert [(store.seq, state_digest(store.state)) for store in (one, other)] == before


class TestDifferences:
    async def test_inside_lists_tuples_and_plain_values(self) -> None:
        assert [str(row) for row in differences([1, (2, 3)], [1, (2, 4), 5])] == [
            "state[1][1]: 3 and 4",
            "state[2]: absent and 5",
        ]
        assert [str(row) for row in differences(1.0, 2.0)] == ["state: 1.0 and 2.0"]

    async def test_exactness_is_to_the_last_bit(self) -> None:
        one, other = EngineState(extra=Map(x=0.0)), EngineState(extra=Map(x=-0.0))
        assert list(differences(one, other)) == []
        assert [row.path for row in differences(one, other, exact=True)] == ["extra['x']"]
        assert list(differences({"a": 1}, {"a": 1.0})) == []
        assert [row.path for row in differences({"a": 1}, {"a": 1.0}, exact=True)] == ["state['a']"]


class TestTheLiveStoreByTime:
    async def test_events_from_and_to_a_time(self, live: Path) -> None:
        async with EventStore.open(live, REGISTRY, read_only=True) as store:
            assert await seqs(store, second(50), second(53)) == [50, 51, 52]
            assert await seqs(store, int(second(199).timestamp()) * 10**9) == [199, 200]
            assert await seqs(store, 198, second(200)) == [198, 199]
            assert await seqs(store, second(0), 3) == [1, 2]
            assert await seqs(store, second(500)) == []

    async def test_in_memory(self) -> None:
        clock = SimulatedClock(BEGAN)
        async with EventStore.in_memory(REGISTRY, clock=clock) as store:
            await record(store, clock, 2500)
            assert await seqs(store, second(1023), second(1027)) == [1023, 1024, 1025, 1026]
            assert await seqs(store, 1020, 1030) == list(range(1020, 1030))
            assert await seqs(store) == list(range(1, 2501))

    async def test_a_time_in_the_discarded_part_is_never_skipped_in_silence(
        self, tmp_path: Path
    ) -> None:
        live = await recorded(tmp_path / "live", 400, history="discard", backup_count=2)
        async with EventStore.open(live, REGISTRY, read_only=True) as store:
            with pytest.raises(HistoryUnavailableError) as refused:
                await seqs(store, second(5))
            first = refused.value.first_available
            assert first > 1
            assert (await seqs(store, second(first + 1)))[0] == first + 1
            assert (await seqs(store, second(390)))[0] == 390
            with pytest.raises(HistoryUnavailableError):
                await seqs(store, second(first - 1))


async def test_a_branch_can_be_cancelled_while_it_is_made(live: Path) -> None:
    made = asyncio.ensure_future(_made(live))
    await asyncio.sleep(0)
    made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await made


async def _made(live: Path) -> EventStore[EngineState]:
    return await branch(live, REGISTRY, at=150)
