"""Reading history without opening the store: replay, read_events, state_at."""

from __future__ import annotations

import asyncio
import collections
import gc
import os
import sys
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from immutables import Map

from eventstore import (
    ConfigError,
    Durability,
    Event,
    EventStore,
    HandlerRegistry,
    HistoryUnavailableError,
    Operation,
    ReplayError,
    SimulatedClock,
    StoreNotFoundError,
    UnknownOperationError,
    handler,
    read_events,
    replay,
    state_at,
)
from eventstore.disk.manifest import load_manifest
from eventstore.snapshot.format import SnapshotHeader
from eventstore.testing import Call, SimulatedDisk
from tests.support.bank import (
    Bank,
    Deposit,
    Withdraw,
    bank_after,
    bank_registry,
    deposit,
    pay,
    withdraw,
)

NEVER: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}
SMALL: dict[str, Any] = {**NEVER, "segment_size": 4096}
OPENING = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ACCOUNT = "a" * 200


def minute(number: int) -> datetime:
    """When event `number` was recorded."""
    return OPENING + timedelta(minutes=number)


async def recorded(
    disk: SimulatedDisk,
    events: int,
    *,
    snapshots: tuple[int, ...] = (),
    times: Callable[[int], datetime] = minute,
    **options: Any,
) -> SimulatedDisk:
    """Return a closed store of deposits of 1, 2, 3, ..., one a minute, and withdrawals."""
    clock = SimulatedClock()
    async with EventStore.open(
        "", bank_registry(), disk=disk, clock=clock, **{**SMALL, **options}
    ) as store:
        for number in range(1, events + 1):
            clock.set(times(number))
            if number % 5:
                await store.append(pay(number, ACCOUNT))
            else:
                await store.append(Withdraw(account=ACCOUNT, amount=1))
            if number in snapshots:
                await store.snapshot()
    return disk.reopen()


def balance(upto: int) -> int:
    return sum(number if number % 5 else -1 for number in range(1, upto + 1))


def state_of(upto: int) -> Bank:
    return Bank(Map({ACCOUNT: balance(upto)}), upto) if upto else Bank()


@pytest_asyncio.fixture(params=["log", "snapshots", "archive"])
async def disk(request: pytest.FixtureRequest) -> AsyncIterator[SimulatedDisk]:
    """120 events: in the log alone, with snapshots, and for the most part in the archive."""
    kinds: dict[str, dict[str, Any]] = {
        "log": {"history": "keep"},
        "snapshots": {"history": "keep", "snapshots": (30, 60, 90)},
        "archive": {"backup_count": 2, "snapshots": (30, 60, 90, 110)},
    }
    made = await recorded(SimulatedDisk(), 120, **kinds[request.param])
    archived = [name for name in made.files() if name.startswith("archive/")]
    assert bool(archived) == (request.param == "archive")
    before = made.contents()
    yield made
    assert made.contents() == before, "reading changes nothing"


class TestReadEvents:
    def test_everything_in_order(self, disk: SimulatedDisk) -> None:
        events = list(read_events("", bank_registry(), disk=disk))
        assert [event.seq for event in events] == list(range(1, 121))
        assert [event.datetime for event in events] == [minute(n) for n in range(1, 121)]
        assert events[4].data == Withdraw(account=ACCOUNT, amount=1)
        assert events[5].data == Deposit(account=ACCOUNT, amount=6)

    @pytest.mark.parametrize(
        ("start", "stop", "first", "last"),
        [
            (1, 2, 1, 1),
            (50, 80, 50, 79),
            (119, None, 119, 120),
            (120, 10_000, 120, 120),
            (0, 3, 1, 2),
            (-5, 3, 1, 2),
            (minute(50), minute(80), 50, 79),
            (minute(50) - timedelta(seconds=1), minute(50) + timedelta(seconds=1), 50, 50),
            (minute(-5), minute(3), 1, 2),
            (100, minute(110), 100, 109),
            (minute(100), 110, 100, 109),
        ],
    )
    def test_from_here_to_there(
        self, disk: SimulatedDisk, start: Any, stop: Any, first: int, last: int
    ) -> None:
        for registry in (bank_registry(), None):
            events = list(read_events("", registry, start=start, stop=stop, disk=disk))
            assert [event.seq for event in events] == list(range(first, last + 1))
        pairs = list(replay("", bank_registry(), start=start, stop=stop, disk=disk))
        assert [event.seq for event, _ in pairs] == list(range(first, last + 1))
        assert all(state == state_of(event.seq) for event, state in pairs)

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(5, 5), (5, 4), (121, None), (500, 600), (minute(121), None), (1, minute(0))],
    )
    def test_nothing(self, disk: SimulatedDisk, start: Any, stop: Any) -> None:
        assert list(read_events("", bank_registry(), start=start, stop=stop, disk=disk)) == []
        assert list(read_events("", start=start, stop=stop, disk=disk)) == []
        assert list(replay("", bank_registry(), start=start, stop=stop, disk=disk)) == []

    def test_some_operations_only(self, disk: SimulatedDisk) -> None:
        for registry in (bank_registry(), None):
            found = read_events("", registry, operations={"withdraw"}, start=8, disk=disk)
            assert [event.seq for event in found] == list(range(10, 121, 5))
        assert list(read_events("", operations=set(), disk=disk)) == []
        assert list(read_events("", operations={"unheard_of"}, disk=disk)) == []
        found = read_events("", bank_registry(), operations="withdraw", disk=disk)
        assert [event.seq for event in found] == list(range(5, 121, 5))

    def test_a_name_that_no_handler_has_is_refused(self, disk: SimulatedDisk) -> None:
        for asked in ({"deposit", "withdrawl"}, "withdrawl"):
            for reading in (read_events, replay):
                with pytest.raises(UnknownOperationError, match="deposit, withdraw") as caught:
                    list(reading("", bank_registry(), operations=asked, disk=disk))
                assert (caught.value.operation, caught.value.seq) == ("withdrawl", None)

    def test_without_a_registry_payloads_are_plain(self, disk: SimulatedDisk) -> None:
        event = next(read_events("", start=6, disk=disk))
        assert event.data == {"op": "deposit", "account": ACCOUNT, "amount": 6}
        assert (event.seq, event.datetime) == (6, minute(6))

    def test_what_else_is_beside_the_snapshots_tells_no_time(self, disk: SimulatedDisk) -> None:
        """The search for a time begins at a snapshot, and only at snapshots of this store."""
        disk = disk.clone()
        for name, store in (
            (f"{100:020d}.snap", uuid.uuid4()),  # another store's
            ("kept.snap", load_manifest(disk).store),  # this one's, under no name of its own
        ):
            header = SnapshotHeader(store=store, seq=100, created=0, latest=0)
            disk.write_file(f"snapshots/{name}", header.encode())
        times = [minute(100), minute(101)]
        for start in (minute(50), minute(100)):
            events = list(read_events("", start=start, disk=disk))
            assert [event.datetime for event in events if event.datetime in times] == times

    def test_a_naive_time_is_refused(self, disk: SimulatedDisk) -> None:
        with pytest.raises(ConfigError, match="time zone"):
            list(read_events("", start=datetime(2026, 3, 2), disk=disk))

    @pytest.mark.parametrize("moment", ["2026-03-02", 1.5e18, (1,)])
    def test_what_is_no_moment_is_refused(self, disk: SimulatedDisk, moment: Any) -> None:
        for reading in (read_events, replay):
            with pytest.raises(ConfigError, match="is no moment"):
                list(reading("", bank_registry(), start=moment, disk=disk))
            with pytest.raises(ConfigError, match="is no moment"):
                list(reading("", bank_registry(), stop=moment, disk=disk))
        with pytest.raises(ConfigError, match="is no moment"):
            state_at("", bank_registry(), moment, disk=disk)


class TestReplay:
    def test_every_state_on_the_way(self, disk: SimulatedDisk) -> None:
        pairs = list(replay("", bank_registry(), disk=disk))
        assert [event.seq for event, _ in pairs] == list(range(1, 121))
        assert [state for _, state in pairs] == [state_of(n) for n in range(1, 121)]

    def test_operations_choose_what_is_handed_over_not_what_is_folded(
        self, disk: SimulatedDisk
    ) -> None:
        pairs = list(replay("", bank_registry(), start=61, operations={"withdraw"}, disk=disk))
        assert [event.seq for event, _ in pairs] == list(range(65, 121, 5))
        assert all(state == state_of(event.seq) for event, state in pairs)

    def test_it_is_lazy(self, disk: SimulatedDisk) -> None:
        pairs = replay("", bank_registry(), disk=disk)
        assert next(pairs)[1] == state_of(1)
        assert next(pairs)[1] == state_of(2)

    def test_a_handler_that_raises_is_named_with_the_event(self, disk: SimulatedDisk) -> None:
        @handler
        def refuse(state: Bank, event: Event[Withdraw]) -> Bank:
            raise ArithmeticError("no")

        pairs = replay("", HandlerRegistry(deposit, refuse), disk=disk)
        assert [next(pairs)[0].seq for _ in range(4)] == [1, 2, 3, 4]
        with pytest.raises(ReplayError, match="event 5") as caught:
            next(pairs)
        assert (caught.value.seq, caught.value.operation) == (5, "withdraw")
        assert isinstance(caught.value.__cause__, ArithmeticError)

    def test_a_missing_handler_is_named(self, disk: SimulatedDisk) -> None:
        with pytest.raises(UnknownOperationError) as caught:
            list(replay("", HandlerRegistry(deposit), disk=disk))
        assert (caught.value.operation, caught.value.seq) == ("withdraw", 5)


class TestStateAt:
    @pytest.mark.parametrize("seq", [0, 1, 29, 30, 31, 60, 61, 89, 90, 110, 111, 119, 120])
    def test_after_an_event(self, disk: SimulatedDisk, seq: int) -> None:
        assert state_at("", bank_registry(), seq, disk=disk) == state_of(seq)

    @pytest.mark.parametrize("seq", [0, 1, 30, 31, 60, 90, 91, 120])
    def test_at_a_moment(self, disk: SimulatedDisk, seq: int) -> None:
        registry = bank_registry()
        assert state_at("", registry, minute(seq), disk=disk) == state_of(seq)
        later = minute(seq) + timedelta(seconds=59)
        assert state_at("", registry, later, disk=disk) == state_of(seq)

    def test_now(self, disk: SimulatedDisk) -> None:
        assert state_at("", bank_registry(), disk=disk) == state_of(120)
        assert state_at("", bank_registry(), minute(10_000), disk=disk) == state_of(120)

    def test_before_there_was_anything(self, disk: SimulatedDisk) -> None:
        assert state_at("", bank_registry(), datetime(1969, 1, 1, tzinfo=UTC), disk=disk) == Bank()


class TestClocksThatGoBackwards:
    """Order is the sequence number. A time means the first event, in order, to reach the time."""

    MINUTES = (10, 5, 6, 20, 1, 30)

    async def make(self, snapshots: tuple[int, ...]) -> SimulatedDisk:
        return await recorded(
            SimulatedDisk(),
            6,
            snapshots=snapshots,
            history="keep",
            times=lambda number: minute(self.MINUTES[number - 1]),
        )

    @pytest.mark.asyncio
    @pytest.mark.parametrize("snapshots", [(), (1,), (2,), (3, 5), (6,)])
    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [
            (minute(6), None, [1, 2, 3, 4, 5, 6]),
            (minute(10), None, [1, 2, 3, 4, 5, 6]),
            (minute(11), None, [4, 5, 6]),
            (minute(20), None, [4, 5, 6]),
            (minute(20), minute(25), [4, 5]),
            (minute(25), None, [6]),
            (1, minute(8), []),
            (2, minute(8), [2, 3]),
            (2, minute(21), [2, 3, 4, 5]),
            (5, minute(8), [5]),
        ],
    )
    async def test_reading_and_replaying_agree_wherever_snapshots_are(
        self, snapshots: tuple[int, ...], start: Any, stop: Any, expected: list[int]
    ) -> None:
        disk = await self.make(snapshots)
        events = read_events("", bank_registry(), start=start, stop=stop, disk=disk)
        assert [event.seq for event in events] == expected
        pairs = list(replay("", bank_registry(), start=start, stop=stop, disk=disk))
        assert [event.seq for event, _ in pairs] == expected
        assert all(state == state_of(event.seq) for event, state in pairs)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("snapshots", [(), (1,), (2,), (3, 5), (6,)])
    @pytest.mark.parametrize(
        ("at", "seq"), [(0, 0), (5, 0), (9, 0), (10, 3), (19, 3), (20, 5), (29, 5), (30, 6)]
    )
    async def test_the_state_is_that_before_the_first_later_event(
        self, snapshots: tuple[int, ...], at: int, seq: int
    ) -> None:
        disk = await self.make(snapshots)
        assert state_at("", bank_registry(), minute(at), disk=disk) == state_of(seq)


class TestBesideAWriter:
    @pytest.mark.asyncio
    async def test_no_lock_is_taken_and_what_is_there_is_read(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry(), **SMALL) as store:
            for expected in range(1, 100):
                await store.append(pay(expected))
                if expected % 20 == 0:
                    await store.snapshot()
                if expected % 7 == 0:
                    assert state_at(tmp_path, bank_registry()) == store.state
                    events = list(read_events(tmp_path, bank_registry()))
                    assert [event.seq for event in events] == list(range(1, expected + 1))
                    assert [event async for event in store.events()] == events

    @pytest.mark.asyncio
    async def test_a_reader_goes_on_while_segments_are_archived(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry(), backup_count=1, **SMALL) as store:
            for number in range(1, 101):
                await store.append(pay(number, ACCOUNT))
            pairs = replay(tmp_path, bank_registry())
            seen = [next(pairs)[0].seq for _ in range(3)]
            await store.snapshot()
            assert store.stats().segments_archived > 0
            seen += [event.seq for event, _ in pairs]
            assert seen == list(range(1, 101))

    @pytest.mark.asyncio
    async def test_a_snapshot_that_is_removed_meanwhile_is_no_error(self) -> None:
        disk = await recorded(SimulatedDisk(), 40, snapshots=(20, 30), history="keep")
        name = f"snapshots/{30:020d}.snap"

        def remove(call: Call) -> None:
            if call.kind == "open" and call.name == name and name in disk.files():
                disk.remove_file(name)

        disk.add_rule(remove)
        assert state_at("", bank_registry(), disk=disk) == state_of(40)

    @pytest.mark.asyncio
    async def test_nothing_is_left_open(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry()) as store:
            await store.append(pay(), pay())
        folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
        before = len(os.listdir(folder))
        for _ in range(5):
            next(replay(tmp_path, bank_registry()))
            list(read_events(tmp_path))
            state_at(tmp_path, bank_registry(), 1)
        assert len(os.listdir(folder)) == before


class TestDiscardedHistory:
    @pytest.mark.asyncio
    async def test_what_is_gone_is_said_and_what_is_left_is_read(self) -> None:
        disk = await recorded(
            SimulatedDisk(), 200, snapshots=(60, 120, 180), backup_count=2, history="discard"
        )
        with pytest.raises(HistoryUnavailableError) as caught:
            list(read_events("", bank_registry(), disk=disk))
        assert caught.value.requested == 1
        first = caught.value.first_available
        assert 1 < first <= 121
        events = list(read_events("", bank_registry(), start=first, disk=disk))
        assert [event.seq for event in events] == list(range(first, 201))
        pairs = list(replay("", bank_registry(), start=150, disk=disk))
        assert [state for _, state in pairs] == [state_of(n) for n in range(150, 201)]
        for seq in (120, 121, 150, 200):
            assert state_at("", bank_registry(), seq, disk=disk) == state_of(seq)
        for seq in (1, 60, 119):
            with pytest.raises(HistoryUnavailableError):
                state_at("", bank_registry(), seq, disk=disk)
        with pytest.raises(HistoryUnavailableError):
            list(replay("", bank_registry(), disk=disk))
        assert state_at("", bank_registry(), minute(150), disk=disk) == state_of(150)
        with pytest.raises(HistoryUnavailableError):
            state_at("", bank_registry(), minute(50), disk=disk)

    @pytest.mark.asyncio
    async def test_an_open_store_says_the_same(self) -> None:
        disk = await recorded(
            SimulatedDisk(), 200, snapshots=(60, 120, 180), backup_count=2, history="discard"
        )
        async with EventStore.open("", bank_registry(), disk=disk, **SMALL) as store:
            with pytest.raises(HistoryUnavailableError) as caught:
                [event async for event in store.events()]
            first = caught.value.first_available
            seen = [event.seq async for event in store.events(first)]
            assert seen == list(range(first, 201))


class TestEventsOfAnOpenStore:
    @pytest.mark.asyncio
    async def test_from_here_to_there(self) -> None:
        disk = await recorded(SimulatedDisk(), 60, snapshots=(30, 50), backup_count=1)
        async with EventStore.open("", bank_registry(), disk=disk, **SMALL) as store:
            await store.append(pay(61, ACCOUNT))

            async def read(*bounds: Any, **options: Any) -> list[int]:
                return [event.seq async for event in store.events(*bounds, **options)]

            assert await read() == list(range(1, 62))
            assert await read(60) == [60, 61]
            assert await read(10, 13) == [10, 11, 12]
            assert await read(-3, 3) == [1, 2]
            assert await read(61, 1000) == [61]
            assert await read(62) == []
            assert await read(5, 5) == []
            assert await read(operations={"withdraw"}, stop=21) == [5, 10, 15, 20]
            with pytest.raises(UnknownOperationError, match="withdrawl"):
                await read(operations={"withdrawl"})
            with pytest.raises(UnknownOperationError, match="withdrawl"):
                store.subscribe(operations={"withdrawl"})

    @pytest.mark.asyncio
    async def test_what_is_appended_meanwhile_is_not_part_of_it(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            await store.append(pay(), pay())
            seen = []
            async for event in store.events():
                seen.append(event.seq)
                await store.append(pay())
            assert seen == [1, 2]


class TestMemory:
    """The peak of allocated memory depends on the size of the segments, not on the number."""

    async def make(self, path: Path, groups: int) -> Path:
        options: dict[str, Any] = {"segment_size": 64 << 10, "durability": Durability.NONE}
        async with EventStore.open(
            path, bank_registry(), wal_max_entries=2000, backup_count=1, **options
        ) as store:
            for _ in range(groups):
                await store.append(*[pay(1, ACCOUNT) for _ in range(100)])
            for _ in range(2):  # the log goes up to the older one
                await store.snapshot()
                await store.append(pay(1, ACCOUNT))
        assert len(os.listdir(path / "archive")) > groups // 4
        return path

    @pytest.mark.asyncio
    async def test_it_is_flat_in_the_length_of_history(self, tmp_path: Path) -> None:
        short = await self.make(tmp_path / "short", 20)
        long = await self.make(tmp_path / "long", 160)

        async def every_event(path: Path) -> None:
            async with EventStore.open(path, bank_registry(), read_only=True) as store:
                async for _ in store.events():
                    pass

        # A store reads on a thread, up to 1 MiB in one visit, which is more than the short history.
        for read, chunk in (
            (lambda path: collections.deque(read_events(path), 0), 32 << 10),
            (lambda path: collections.deque(read_events(path, bank_registry()), 0), 32 << 10),
            (lambda path: collections.deque(replay(path, bank_registry()), 0), 32 << 10),
            (lambda path: state_at(path, bank_registry(), 1900), 32 << 10),
            (lambda path: asyncio.run(every_event(path)), 1280 << 10),
        ):
            peaks = [
                await asyncio.get_running_loop().run_in_executor(None, peak_of, read, path)
                for path in (short, short, long)  # the first call makes the things made once
            ]
            assert peaks[2] < 1.25 * peaks[1] + chunk  # eight times the history
            assert peaks[1] < 4 << 20


def peak_of(read: Callable[[Path], Any], path: Path) -> int:
    """Return the peak of allocated memory during `read`, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestNoStore:
    @pytest.mark.parametrize("name", ["", "gone"])
    def test_there_has_to_be_one(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        for read in (
            lambda: list(read_events(path)),
            lambda: list(replay(path, bank_registry())),
            lambda: state_at(path, bank_registry()),
        ):
            with pytest.raises(StoreNotFoundError):
                read()
        assert os.listdir(tmp_path) == []

    @pytest.mark.asyncio
    async def test_an_empty_one_is_one(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk):
            pass
        assert list(read_events("", disk=disk.reopen())) == []
        assert list(replay("", bank_registry(), disk=disk.reopen())) == []
        assert state_at("", bank_registry(), disk=disk.reopen()) == bank_after()


class TestOtherHandlers:
    @pytest.mark.asyncio
    async def test_a_snapshot_of_other_handlers_is_not_used(self) -> None:
        disk = await recorded(SimulatedDisk(), 40, snapshots=(20, 30), history="keep")
        doubled: HandlerRegistry[Bank] = HandlerRegistry(twice, withdraw)
        expected = sum(2 * n if n % 5 else -1 for n in range(1, 41))
        assert state_at("", doubled, disk=disk).balances[ACCOUNT] == expected
        *_, (_, state) = replay("", doubled, start=35, disk=disk)
        assert state.balances[ACCOUNT] == expected


@handler(version=2)
def twice(state: Bank, event: Event[Deposit]) -> Bank:
    data = event.data
    made = state.balances.get(data.account, 0) + 2 * data.amount
    return Bank(state.balances.set(data.account, made), event.seq)


@pytest.mark.asyncio
async def test_a_state_that_is_not_there_yet_is_not_made_up(tmp_path: Path) -> None:
    async with EventStore.open(tmp_path / "store", bank_registry()) as store:
        await store.append(pay(1), pay(2))
        with pytest.raises(HistoryUnavailableError, match="the last is event 2") as caught:
            state_at(tmp_path / "store", bank_registry(), 3)
    assert (caught.value.requested, caught.value.first_available) == (3, 1)


class Fills(Operation):
    order_id: str
    fills: list[int]


@handler
def fills(state: dict[str, Any], event: Event[Fills]) -> dict[str, Any]:
    """Put parts of the event into the state, as they are."""
    return {**state, event.data.order_id: [event.data.fills, event.metadata]}


@pytest.mark.asyncio
async def test_a_consumer_who_changes_what_it_was_given(tmp_path: Path) -> None:
    """Payload, metadata and state are the consumer's own: what is folded on is another object."""
    registry: HandlerRegistry[dict[str, Any]] = HandlerRegistry(fills, initial=dict)
    async with EventStore.open(tmp_path, registry) as store:
        for order in "abcdefghijkl":  # more than are folded ahead of the consumer
            await store.append(Fills(order_id=order, fills=[1, 2]), metadata={"tags": ["x"]})
    for event, state in replay(tmp_path, registry):
        event.data.fills.clear()
        assert event.metadata is not None
        event.metadata["tags"].clear()
        expected = state_at(tmp_path, registry, event.seq)
        assert state == expected
        state.clear()
