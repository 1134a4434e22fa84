"""States over time where history is not plain: upcast, discarded, damaged, or being written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    CorruptLogError,
    Event,
    EventStore,
    HandlerRegistry,
    HistoryUnavailableError,
    Operation,
    SimulatedClock,
    handler,
    upcaster,
)
from eventstore.analysis import ABSENT, bisect, blame, first, sample
from tests.support.bank import Bank, Deposit, Withdraw, bank_registry, deposit, pay, withdraw

START = 1_700_000_000 * 10**9
REGISTRY: HandlerRegistry[Bank] = bank_registry()


def made(path: Path, operations: list[Operation], **options: Any) -> Path:
    async def fill() -> None:
        clock = SimulatedClock(START)
        options.setdefault("wal_max_entries", 10)
        async with EventStore.open(
            path, REGISTRY, clock=clock, segment_size=4096, auto_save_interval=None, **options
        ) as store:
            for operation in operations:
                clock.advance(1.0)
                await store.append(operation)

    asyncio.run(fill())
    return path


class TestUpcastEvents:
    """An old operation becomes two events of one number, or none."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return made(tmp_path / "s", [pay(1), Withdraw(account="a", amount=1), pay(7), pay(2)])

    @pytest.fixture
    def registry(self) -> HandlerRegistry[Bank]:
        return HandlerRegistry(deposit, move, as_moves)

    def test_count_once_with_the_state_after_all_parts(
        self, path: Path, registry: HandlerRegistry[Bank]
    ) -> None:
        found = blame(path, registry, "balances.a", n=9)
        assert [(one.event.seq, one.before, one.after) for one in found.changes] == [
            (4, 8, 10),
            (3, 1, 8),
            (1, ABSENT, 1),
        ]
        (change,) = blame(path, registry, "balances.b").changes
        assert (change.event.seq, change.before, change.after) == (2, ABSENT, -1)
        assert blame(path, registry, "balances.c").changes == ()  # touched and left between parts
        assert first(path, registry, "balances.c=5") is None
        rows = sample(path, registry, 2, ["balances.b", "balances.c"]).rows
        assert [row[1:] for row in rows] == [(2, -1, None), (4, -1, None)]

    def test_the_columns_of_two_versions_part_at_the_event(
        self, path: Path, registry: HandlerRegistry[Bank]
    ) -> None:
        found = sample(path, REGISTRY, 1, ["balances.a", "last"], compare=registry)
        assert found.columns == (
            "time",
            "seq",
            "balances.a",
            "last",
            "balances.a_other",
            "last_other",
        )
        assert found.parted == 2
        assert [row[2:] for row in found.rows] == [
            (1, 1, 1, 1),
            (0, 2, 1, 2),
            (7, 3, 8, 3),
            (9, 4, 10, 4),
        ]


class Move(Operation):
    account: str
    amount: int


@handler
def move(state: Bank, event: Event[Move]) -> Bank:
    name = event.data.account
    balances = state.balances.set(name, state.balances.get(name, 0) + event.data.amount)
    return Bank(balances.delete(name) if not balances[name] else balances, event.seq)


@upcaster
def as_moves(old: Withdraw) -> tuple[Move, Move, Move]:
    amount = old.amount
    return (
        Move(account="c", amount=5),
        Move(account="b", amount=-amount),
        Move(account="c", amount=-5),
    )


def test_a_discarded_beginning_is_told(tmp_path: Path) -> None:
    path = made(tmp_path / "s", [pay(1)] * 95, history="discard", backup_count=2)
    found = blame(path, REGISTRY, "balances.a", n=100)
    begin = found.searched_from
    assert begin == min(int(file.stem) for file in (path / "snapshots").glob("*.snap")) > 1
    assert [change.event.seq for change in found.changes] == list(range(95, begin, -1))
    hit = first(path, REGISTRY, "balances.a > 3", jobs=1)
    assert hit is not None
    assert hit.seq == begin + 1  # the first event behind a known state
    with pytest.raises(HistoryUnavailableError):
        blame(path, REGISTRY, "balances.a", at=1)


def test_snapshots_by_other_handlers_are_no_bases(tmp_path: Path) -> None:
    @handler(version=2)
    def twice(state: Bank, event: Event[Deposit]) -> Bank:
        return deposit(deposit(state, event), event)

    path = made(tmp_path / "s", [pay(1)] * 35)
    registry: HandlerRegistry[Bank] = HandlerRegistry(twice, withdraw)
    found = first(path, registry, "balances.a = 40")
    assert found is not None
    assert found.seq == 20
    assert blame(path, registry, "balances.a").changes[0].after == 70
    assert bisect(path, registry, "balances.a >= 40") == found


def test_bisect_refuses_what_it_sees_turn_back(tmp_path: Path) -> None:
    operations = [pay(5), Withdraw(account="a", amount=5), pay(5)]
    path = made(tmp_path / "s", operations)
    with pytest.raises(ConfigError, match="holds after event 1, and not after event 2"):
        bisect(path, REGISTRY, "balances.a > 0")
    assert bisect(path, REGISTRY, "balances.a > 9") is None


class TestDamage:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = made(tmp_path / "s", [pay(1)] * 200, wal_max_entries=100, history="keep")
        segment = min((path / "log").glob("0*.log"))
        content = bytearray(segment.read_bytes())
        content[1200] ^= 1
        segment.write_bytes(content)
        return path

    def test_what_needs_no_damaged_event_is_answered(self, path: Path) -> None:
        assert blame(path, REGISTRY, "balances.a").changes[0].event.seq == 200
        assert bisect(path, REGISTRY, "balances.a >= 150", start=101) is not None

    def test_everything_else_is_a_typed_error(self, path: Path) -> None:
        for search in (
            lambda: blame(path, REGISTRY, "balances.b"),
            lambda: first(path, REGISTRY, "balances.a > 500", jobs=1),
            lambda: sample(path, REGISTRY, "1s", "last"),
        ):
            with pytest.raises(CorruptLogError):
                search()


def test_a_live_store_is_answered_up_to_an_event(tmp_path: Path) -> None:
    async def beside() -> None:
        async with EventStore.open(
            tmp_path / "s", REGISTRY, segment_size=4096, wal_max_entries=20, backup_count=2
        ) as store:
            for number in range(1, 300):
                receipt = store.submit(pay(1))
                if number % 60 == 0:
                    for search in (self_check_blame, self_check_first, self_check_sample):
                        running = asyncio.create_task(asyncio.to_thread(search, tmp_path / "s"))
                        while not running.done():
                            await store.append(pay(1))
                        running.result()
                await receipt

    asyncio.run(beside())


def self_check_blame(path: Path) -> None:
    found = blame(path, REGISTRY, "balances.a", n=50)
    assert [one.after for one in found.changes] == [one.event.seq for one in found.changes]
    assert found.value == found.seq


def self_check_first(path: Path) -> None:
    found = first(path, REGISTRY, "balances.a >= 45", jobs=1)
    assert found is not None
    assert found.seq == 45
    assert bisect(path, REGISTRY, "balances.a >= 45") == found


def self_check_sample(path: Path) -> None:
    rows = sample(path, REGISTRY, 7, "balances.a").rows
    assert [row[1] for row in rows] == [row[2] for row in rows]


class TestArguments:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return made(tmp_path / "s", [pay(1)] * 3)

    @pytest.mark.parametrize("every", ["", "soon", "0s", 0, -1, True, 1.5, None])
    def test_every(self, path: Path, every: Any) -> None:
        with pytest.raises(ConfigError, match="every"):
            sample(path, REGISTRY, every, "last")

    @pytest.mark.parametrize("columns", [[], {}, {"a": 5}, ["last", "time"], ["lost"], [""]])
    def test_columns(self, path: Path, columns: Any) -> None:
        with pytest.raises(ConfigError, match="columns"):
            sample(path, REGISTRY, 1, columns)

    def test_too_many_rows(self, path: Path) -> None:
        with pytest.raises(ConfigError, match=r"more than 10,000,000 rows"):
            sample(path, REGISTRY, "0.00001ms", "last")

    def test_moments(self, path: Path) -> None:
        with pytest.raises(HistoryUnavailableError, match="event 4 is not recorded"):
            blame(path, REGISTRY, "last", at=4)
        assert first(path, REGISTRY, "last > 0", start=4) is None
        assert bisect(path, REGISTRY, "last > 0", start=3, stop=3) is None
        assert sample(path, REGISTRY, 1, "last", start=4).rows == []
        assert blame(path, REGISTRY, "last", at=START).value == 0
        assert blame(path, REGISTRY, "last", at="2023-11-14T22:13:21Z").value == 1
        (row,) = sample(path, REGISTRY, "1h", "last", start="2023-11-14T22:13:22Z").rows
        assert row[1:] == (3, 3)
        with pytest.raises(ConfigError, match="no offset"):
            first(path, REGISTRY, "last > 0", start="2023-11-14T22:13:21")

    def test_counts_and_jobs(self, path: Path) -> None:
        with pytest.raises(ConfigError, match="n = 0"):
            blame(path, REGISTRY, "last", n=0)
        with pytest.raises(ConfigError, match=r"jobs = 2 .*as text"):
            first(path, REGISTRY, lambda state: False, jobs=2)

    def test_a_store_without_a_log(self, tmp_path: Path) -> None:
        path = made(tmp_path / "t", [pay(1)], use_wal=False)
        with pytest.raises(HistoryUnavailableError, match="no log"):
            first(path, REGISTRY, "last > 0")

    def test_an_error_of_the_predicate_reaches_the_caller(self, path: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            first(path, REGISTRY, lambda state: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            sample(path, REGISTRY, 1, {"x": lambda state: 1 // 0})
