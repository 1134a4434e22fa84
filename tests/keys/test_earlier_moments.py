"""With `keys: remember`, each moment that a store goes back to has the keys of that time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    Cursor,
    Event,
    EventStore,
    HandlerRegistry,
    Operation,
    SimulatedClock,
    handler,
)
from eventstore.history import branch
from eventstore.keys.format import FOR_EVER, Remember, joined
from eventstore.keys.run import Run
from eventstore.testing import SimulatedDisk
from eventstore.tools import make_backup, open_place, plan_restore, restore

BEGIN = 10**18
HOUR = 3600 * 10**9
LAST = 40


class Fill(Operation, key="fill_id"):
    fill_id: str


class Note(Operation):
    text: str = ""


@handler
def fill(state: int, event: Event[Fill]) -> int:
    return state + 1


@handler
def note(state: int, event: Event[Note]) -> int:
    return state


REGISTRY = HandlerRegistry[int](fill, note, initial=int)
RULES = [{"events": 6}, {"age": "6h"}, {"events": 6, "age": "9h"}]
Options = dict[str, Any]


def options(rule: Options, **more: Any) -> Options:
    """Settings of a store with small segments, whose runs are merged all the time."""
    return {
        "keys": {"remember": rule},
        "wal_max_entries": None,
        "auto_save_interval": None,
        "segment_size": 4096,
        **more,
    }


async def lived(where: dict[str, Any], settings: Options, clock: SimulatedClock) -> None:
    """Record fill 1 as event 1 and so on, an hour apart, with a snapshot after every five."""
    async with EventStore.open(registry=REGISTRY, clock=clock, **where, **settings) as store:
        for number in range(store.seq + 1, LAST + 1):
            clock.set(BEGIN + number * HOUR)
            await store.append(Fill(fill_id=str(number)), Note(text="x" * 200), key=None)
            if number % 5 == 0:
                await store.snapshot()


def seq_of(number: int) -> int:
    """The event of a fill: a note follows each."""
    return 2 * number - 1


def counting(rule: Options, moment: int) -> list[int]:
    """Return the fills whose keys count for the event behind `moment`."""
    latest = (moment + 1) // 2
    return [
        number
        for number in range(1, latest + 1)
        if moment + 1 - seq_of(number) <= rule.get("events", LAST * 2)
        and latest - number <= int(rule.get("age", f"{LAST}h")[:-1])
    ]


async def lacking(store: EventStore[int], numbers: list[int]) -> list[int]:
    return [number for number in numbers if await store.find(str(number), Fill) is None]


async def ahead(store: EventStore[int], moment: int) -> list[int]:
    """Return the fills behind `moment` that a store knows all the same."""
    later = range((moment + 1) // 2 + 1, LAST + 1)
    return [number for number in later if await store.find(str(number), Fill) is not None]


@pytest.mark.asyncio
class TestABranch:
    @pytest.mark.parametrize("rule", RULES, ids=str)
    @pytest.mark.parametrize("history", ["archive", "keep"])
    async def test_knows_what_its_parent_knew(self, rule: Options, history: str) -> None:
        disk = SimulatedDisk()
        settings = options(rule, history=history, backup_count=2)
        await lived({"path": "", "disk": disk}, settings, SimulatedClock(BEGIN))
        disk = disk.reopen()
        assert len([name for name in disk.files() if name.startswith("keys/")]) < 4
        for moment in range(1, 2 * LAST + 1, 3):
            async with branch("", REGISTRY, moment, disk=disk) as store:
                assert await lacking(store, counting(rule, moment)) == [], moment
                assert await ahead(store, moment) == [], moment

    @pytest.mark.parametrize("rule", RULES, ids=str)
    async def test_on_disk_goes_on_so(self, rule: Options, tmp_path: Path) -> None:
        clock = SimulatedClock(BEGIN)
        await lived({"path": tmp_path / "a"}, options(rule), clock)
        async with branch(tmp_path / "a", REGISTRY, 31, to=tmp_path / "b") as store:
            known = counting(rule, 31)
            assert await lacking(store, known) == []
            assert (await store.append(Fill(fill_id=str(known[0])))).duplicate
            await store.snapshot()
        async with EventStore.open(tmp_path / "b", REGISTRY, clock=clock) as store:
            assert await lacking(store, known) == []

    async def test_where_another_rule_was_in_force(self) -> None:
        """Nobody knows how far back keys counted, so all of them come from the log."""
        disk, clock = SimulatedDisk(), SimulatedClock(BEGIN)
        where = {"path": "", "disk": disk}
        async with EventStore.open("", REGISTRY, disk=disk, clock=clock) as store:
            for number in range(1, 9):
                clock.set(BEGIN + number * HOUR)
                await store.append(Fill(fill_id=str(number)), Note())
            await store.snapshot()
        where["disk"] = disk = disk.reopen()
        await lived(where, options({"events": 2}), clock)
        async with branch("", REGISTRY, 16, disk=disk.reopen()) as store:
            assert await lacking(store, list(range(1, 9))) == []


@pytest.mark.asyncio
class TestAKeyTakenTwice:
    async def test_is_the_first_one_before_the_second(self) -> None:
        disk = SimulatedDisk()
        settings = options({"events": 4})
        async with EventStore.open("", REGISTRY, disk=disk, **settings) as store:
            for number in (1, 2, 3, 4, 5, 6, 1, 7, 8, 9):
                assert not (await store.append(Fill(fill_id=str(number)))).duplicate
            await store.snapshot()
        disk = disk.reopen()
        for moment, seq in ((3, 1), (6, 0), (7, 7)):
            async with branch("", REGISTRY, moment, disk=disk) as store:
                found = await store.find("1", Fill)
                assert found is None or found.seq == (seq or 1)
                assert found is not None or not seq


@pytest.mark.asyncio
class TestARestore:
    @pytest.mark.parametrize("rule", RULES, ids=str)
    async def test_knows_what_was_known_then(self, rule: Options, tmp_path: Path) -> None:
        clock = SimulatedClock(BEGIN)
        await lived({"path": tmp_path / "store"}, options(rule), clock)
        make_backup(tmp_path / "store", tmp_path / "copies", REGISTRY)
        place = open_place(tmp_path / "copies")
        for moment in (3, 44, 71, 77):
            path = tmp_path / f"restored-{moment}"
            restore(plan_restore(place, moment, REGISTRY), path, REGISTRY)
            clock.set(BEGIN + (moment + 1) // 2 * HOUR)
            known = counting(rule, moment)
            async with EventStore.open(path, REGISTRY, read_only=True, **options(rule)) as store:
                assert await lacking(store, known) == [], moment
            for _ in range(2):  # the first opening writes the keys down
                async with EventStore.open(path, REGISTRY, clock=clock, **options(rule)) as store:
                    assert await lacking(store, known) == [], moment
                    assert await ahead(store, moment) == [], moment
            shutil.rmtree(path)

    async def test_of_a_store_that_discards_its_history(self, tmp_path: Path) -> None:
        """The log has no event of the time, so no merge has dropped a key that counts there."""
        rule = {"events": 30}
        settings = options(rule, history="discard", backup_count=3)
        await lived({"path": tmp_path / "store"}, settings, SimulatedClock(BEGIN))
        make_backup(tmp_path / "store", tmp_path / "copies", REGISTRY)
        place = open_place(tmp_path / "copies")
        restore(plan_restore(place, 75, REGISTRY), tmp_path / "new", REGISTRY)
        async with EventStore.open(tmp_path / "new", REGISTRY, **settings) as store:
            assert await lacking(store, counting(rule, 75)) == []
            assert store.stats().keys < LAST, "and others were dropped"


@pytest.mark.asyncio
async def test_a_store_without_a_log_that_lost_its_newest_snapshot() -> None:
    disk = SimulatedDisk()
    rule = {"events": 12}
    settings = options(rule, use_wal=False, backup_count=3)
    await lived({"path": "", "disk": disk}, settings, SimulatedClock(BEGIN))
    disk = disk.reopen()
    names = sorted(name for name in disk.files() if name.startswith("snapshots/"))
    for name in names[1:]:
        disk.remove_file(name)
    async with EventStore.open("", REGISTRY, disk=disk, **settings) as store:
        assert 0 < store.seq < 2 * LAST
        assert await lacking(store, counting(rule, store.seq)) == []


@pytest.mark.asyncio
async def test_every_event_counts_for_the_age_of_keys() -> None:
    """Else a restart would forget a key that counted a moment before."""
    clock, disk = SimulatedClock(BEGIN), SimulatedDisk()
    settings = options({"age": "2h"})
    found = []
    for _ in range(2):
        async with EventStore.open("", REGISTRY, disk=disk, clock=clock, **settings) as store:
            if not store.seq:
                await store.append(Fill(fill_id="1"))
                clock.advance(3 * 3600)
                await store.append(Note())
            found.append((await store.find("1"), store.stats().keys_since_time))
        disk = disk.reopen()
    assert found == [(None, BEGIN + HOUR)] * 2


def test_a_header_says_the_rule_and_its_time() -> None:
    assert joined([FOR_EVER, FOR_EVER]) == FOR_EVER
    rule = Remember(events=6, age=HOUR)
    assert joined([rule, rule]) == rule
    other = joined([rule, FOR_EVER])
    assert other != FOR_EVER
    assert other.events is not None
    assert other.events > 1 << 60


@pytest.mark.asyncio
async def test_the_headers_of_a_store() -> None:
    disk = SimulatedDisk()
    await lived({"path": "", "disk": disk}, options({"age": "6h"}), SimulatedClock(BEGIN))
    names = [name for name in disk.files() if name.startswith("keys/")]
    headers = [Run.open(disk.reopen(), name).header for name in names]
    assert {header.remember for header in headers} == {Remember(age=6 * HOUR)}
    assert max(header.latest for header in headers) == BEGIN + LAST * HOUR


@pytest.mark.asyncio
async def test_a_cursor_names_the_moment_too() -> None:
    disk = SimulatedDisk()
    await lived({"path": "", "disk": disk}, options({"events": 6}), SimulatedClock(BEGIN))
    async with EventStore.open("", REGISTRY, disk=disk.reopen()) as store:
        place: Cursor | None = None
        async with store.subscribe(after=0) as events:
            for _ in range(30):
                await anext(events)
            place = events.cursor
    async with branch("", REGISTRY, place, disk=disk.reopen()) as other:
        assert await lacking(other, counting({"events": 6}, 30)) == []
