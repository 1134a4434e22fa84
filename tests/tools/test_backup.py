"""Backups beside a writer: every copy of a long run is restored, and its digest compared."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import (
    CorruptStoreError,
    Event,
    EventLog,
    EventStore,
    ForeignCursorError,
    HandlerRegistry,
    HistoryForkedError,
    HistoryUnavailableError,
    Operation,
    ReadFailedError,
    SimulatedClock,
    StoreExistsError,
    StoreNotFoundError,
    handler,
    read_events,
    state_at,
    state_digest,
)
from eventstore.disk.local import LocalDisk
from eventstore.history import branch
from eventstore.log.frontier_file import Frontier, WriterState
from eventstore.moment import AtTime
from eventstore.tools import verify
from eventstore.tools.backup import source
from eventstore.tools.backup.catalog import load_catalog
from eventstore.tools.backup.copying import Copy, backup, newest_catalog
from eventstore.tools.backup.places import DirectoryPlace, Place
from eventstore.tools.backup.restore import Restored, RestorePlan, plan_restore, restore
from tests.support.bank import Bank, bank_after, bank_registry, pay

UNFINISHED = shutil.ignore_patterns("*.tmp", "spare")
SMALL: dict[str, Any] = {"segment_size": 4096, "wal_max_entries": 40, "backup_count": 2}


def copy(store: Path, place: Place, **given: Any) -> Copy:
    disk = LocalDisk(store, read_only=True)
    try:
        return backup(disk, place, bank_registry(), **given)
    finally:
        disk.close()


def restored(place: Place, new: Path, at: Any = None) -> Restored:
    return restore(plan_restore(place, at, bank_registry()), new, bank_registry())


async def fill(store: Path, *amounts: int, **options: Any) -> None:
    async with EventStore.open(store, bank_registry(), **{**SMALL, **options}) as opened:
        for amount in amounts:
            await opened.append(pay(amount))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Fill(Operation, key="fill_id"):
    fill_id: str


@handler
def told(state: int, event: Event[Fill]) -> int:
    return state + 1


@pytest.fixture
def place(tmp_path: Path) -> DirectoryPlace:
    return DirectoryPlace(tmp_path / "backup")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


class TestALongRun:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("history", ["archive", "discard"])
    async def test_every_copy_is_restored(
        self, tmp_path: Path, store: Path, place: DirectoryPlace, history: str
    ) -> None:
        """Appends, snapshots, archives, discards and kills, with a copy at odd moments."""
        draw, amounts, made = random.Random(4), list[int](), list[Copy]()
        for life in range(3):
            opened = await EventStore.open(store, bank_registry(), history=history, **SMALL)
            for _ in range(5):
                for _ in range(draw.randrange(1, 30)):
                    amounts.append(draw.randrange(1, 99))
                    await opened.append(pay(amounts[-1]))
                if not draw.randrange(3):
                    await opened.snapshot()
                made.append(await asyncio.to_thread(copy, store, place))
                assert made[-1].catalog.last == len(amounts)
            if life % 2:
                await opened.close()
            else:  # a kill: the files stay as they are while the writer goes away
                image = tmp_path / "image"
                shutil.copytree(store, image, ignore=UNFINISHED)
                await opened.close()
                shutil.rmtree(store)
                image.rename(store)
        for number, one in enumerate(made):
            last = one.catalog.last
            plan = RestorePlan(
                place=place,
                catalog=load_catalog(place, one.catalog.number),
                last=last,
                left_out=None,
                timeline=2,
                digest=one.catalog.digest,
            )
            new = tmp_path / f"new-{number}"
            restore(plan, new, bank_registry())
            state = state_at(new, bank_registry())
            assert state == bank_after(*amounts[:last])
            assert state_digest(state) == one.catalog.digest
            if number % 3:
                continue
            found = verify(new, bank_registry())
            assert found.passed, found
            async with EventStore.open(new, bank_registry(), create=False) as again:
                assert again.recovery.clean
                assert (await again.append(pay(1))).seq == last + 1

    @pytest.mark.asyncio
    async def test_any_moment_is_restored(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        clock = SimulatedClock(10**18)
        async with EventStore.open(store, bank_registry(), clock=clock, **SMALL) as opened:
            for _ in range(150):
                clock.advance(1)
                await opened.append(pay(1), pay(2))
        assert list((store / "archive").iterdir())
        await asyncio.to_thread(copy, store, place)
        for last in [0, 1, 2, 7, 79, 80, 81, 160, 233, 299, 300]:
            new = tmp_path / f"new-{last}"
            found = restored(place, new, last)
            assert found.plan.left_out == ((last + 1, 300) if last < 300 else None)
            whole = [1, 2] * 150
            assert state_at(new, bank_registry()) == bank_after(*whole[:last])
            assert [event.seq for event in read_events(new)] == list(range(1, last + 1))
            assert verify(new, bank_registry()).passed
            async with EventStore.open(new, bank_registry()) as again:
                assert (await again.append(pay(5))).seq == last + 1
        for time, last in [(0, 0), (10, 20), (150, 300), (151, 300)]:
            at = AtTime(10**18 + time * 10**9, 10**18 + time * 10**9)
            assert plan_restore(place, at, bank_registry()).last == last

    @pytest.mark.asyncio
    async def test_a_copy_is_made_of_new_bytes_alone(
        self, store: Path, place: DirectoryPlace
    ) -> None:
        opened = await EventStore.open(store, bank_registry(), segment_size=1 << 20)
        for _ in range(200):
            await opened.append(pay(1))
        first = await asyncio.to_thread(copy, store, place)
        await opened.append(pay(1))
        second = await asyncio.to_thread(copy, store, place)
        third = await asyncio.to_thread(copy, store, place)
        await opened.close()
        assert second.written == 1
        assert second.written_bytes < 300 < first.written_bytes
        assert not third.new
        assert third.catalog.number == 2

    @pytest.mark.asyncio
    async def test_a_file_of_many_parts_is_copied_anew(
        self, store: Path, place: DirectoryPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("eventstore.tools.backup.copying.MOST_PARTS", 3)
        opened = await EventStore.open(store, bank_registry(), segment_size=1 << 20)
        counts = []
        for _ in range(6):
            await opened.append(pay(1))
            made = await asyncio.to_thread(copy, store, place)
            [(_, log)] = [item for item in made.catalog.files.items() if item[0][:3] == "log"]
            counts.append(len(log.parts))
        await opened.close()
        assert counts == [1, 2, 3, 1, 2, 3]

    @pytest.mark.asyncio
    async def test_a_segment_that_a_repair_wrote_anew_is_copied_anew(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        """The segment has the same name and the same events, and another salt."""
        async with EventStore.open(store, bank_registry(), segment_size=1 << 20) as opened:
            await opened.append(pay(1))
            await asyncio.to_thread(copy, store, place)
            shutil.copytree(store, tmp_path / "killed", ignore=UNFINISHED)
        shutil.rmtree(store)
        (tmp_path / "killed").rename(store)
        [log] = (store / "log").glob("0*.log")
        data = bytearray(log.read_bytes())
        data[len(data.rstrip(b"\0")) + 64] = 1
        log.write_bytes(data)
        await fill(store, 2, segment_size=1 << 20)
        await asyncio.to_thread(copy, store, place)
        restored(place, tmp_path / "new")
        assert state_at(tmp_path / "new", bank_registry()) == bank_after(1, 2)


class TestWhatIsCopied:
    @pytest.mark.asyncio
    async def test_events_that_are_not_durable_wait(
        self,
        tmp_path: Path,
        store: Path,
        place: DirectoryPlace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The frontier of a writer at work stands behind the last whole record."""
        monkeypatch.setattr("eventstore.tools.backup.source._WAIT", 0)
        busy = tmp_path / "busy"
        async with EventStore.open(busy, bank_registry()) as opened:
            await opened.append(pay(1))
            await opened.append(pay(2))
            shutil.copytree(busy, store, ignore=UNFINISHED)
        frontier = Frontier.decode((store / "frontier").read_bytes())
        behind = frontier._replace(seq=1, state=WriterState.OPEN)
        (store / "frontier").write_bytes(behind.encode())
        made = await asyncio.to_thread(copy, store, place)
        assert (made.catalog.last, made.not_durable) == (1, 1)
        os.remove(store / "writer.pid")  # no writer any more
        made = await asyncio.to_thread(copy, store, place)
        assert (made.catalog.last, made.not_durable) == (2, 0)

    @pytest.mark.asyncio
    async def test_a_store_without_events(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store)
        await asyncio.to_thread(copy, store, place)
        restored(place, tmp_path / "new")
        async with EventStore.open(tmp_path / "new", bank_registry()) as opened:
            assert (await opened.append(pay(1))).seq == 1

    @pytest.mark.asyncio
    async def test_a_store_of_snapshots_only(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store, 1, 2, 3, use_wal=False)
        made = await asyncio.to_thread(copy, store, place)
        assert made.catalog.digest == state_digest(bank_after(1, 2, 3))
        restored(place, tmp_path / "new")
        assert state_at(tmp_path / "new", bank_registry()) == bank_after(1, 2, 3)

    @pytest.mark.asyncio
    async def test_an_event_log(self, tmp_path: Path, store: Path, place: DirectoryPlace) -> None:
        async with EventLog.open(store) as log:
            await log.append({"a": 1})
        made = await asyncio.to_thread(copy, store, place)
        assert made.not_folded == "an EventLog has no state"
        restored(place, tmp_path / "new")
        async with EventLog.open(tmp_path / "new") as log:
            assert log.seq == 1

    @pytest.mark.asyncio
    async def test_a_file_that_goes_away_while_it_is_copied(
        self, store: Path, place: DirectoryPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await fill(store, 1)
        gone = [FileNotFoundError("archived")]

        def collect(disk: Any) -> Any:
            if gone:
                raise gone.pop()
            return source.collect(disk)

        monkeypatch.setattr("eventstore.tools.backup.copying.collect", collect)
        assert (await asyncio.to_thread(copy, store, place)).new
        gone += [FileNotFoundError("archived")] * 5
        with pytest.raises(ReadFailedError, match="changes faster than it is copied"):
            await asyncio.to_thread(copy, store, place)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("later", [(), (5, 6)])
    async def test_a_branch(
        self, tmp_path: Path, store: Path, place: DirectoryPlace, later: tuple[int, ...]
    ) -> None:
        """The events before the branch are in the parent. A snapshot stands in for them."""
        await fill(tmp_path / "parent", 1, 2, 3, 4)
        async with branch(tmp_path / "parent", bank_registry(), 3, to=store) as opened:
            for amount in later:
                await opened.append(pay(amount))
        await asyncio.to_thread(copy, store, place)
        restored(place, tmp_path / "new")
        async with EventStore.open(tmp_path / "new", bank_registry()) as opened:
            assert opened.state.balances == bank_after(1, 2, 3, *later).balances
            assert (await opened.append(pay(1))).seq == 4 + len(later)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("history", ["archive", "discard"])
    async def test_keys_are_known_up_to_the_moment(
        self, tmp_path: Path, store: Path, place: DirectoryPlace, history: str
    ) -> None:
        """A fill that is told again is a duplicate, also if its event was discarded."""
        registry = HandlerRegistry[int](told, initial=int)
        async with EventStore.open(store, registry, history=history, **SMALL) as opened:
            for number in range(1, 301):
                await opened.append(Fill(fill_id=f"f{number}"))
                if not number % 100:
                    await opened.snapshot()
        disk = LocalDisk(store, read_only=True)
        made = backup(disk, place, registry)
        disk.close()
        assert any(name.startswith("keys/") for name in made.catalog.files)
        for last in (300, 299 if history == "discard" else 250):
            new = tmp_path / f"new-{last}"
            restore(plan_restore(place, last, registry), new, registry)
            async with EventStore.open(new, registry) as opened:
                for number in (1, 100, 199, last):
                    assert (await opened.append(Fill(fill_id=f"f{number}"))).duplicate
                assert (await opened.append(Fill(fill_id=f"f{last + 1}"))).seq == last + 1

    @pytest.mark.asyncio
    async def test_named_cursors_come_along(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        async with EventStore.open(store, bank_registry()) as opened:
            await opened.append(pay(1))
            await opened.append(pay(2))
            async with opened.subscribe(cursor="risk") as events:
                async for event in events:
                    await events.save()
                    if event.seq == 1:
                        break
        await asyncio.to_thread(copy, store, place)
        restored(place, tmp_path / "new")
        async with (
            EventStore.open(tmp_path / "new", bank_registry()) as opened,
            opened.subscribe(cursor="risk") as events,
        ):
            assert (await anext(events)).seq == 2

    @pytest.mark.asyncio
    async def test_handlers_of_another_state_cost_the_comparison_only(
        self, store: Path, place: DirectoryPlace
    ) -> None:
        from handlers import trading_registry

        await fill(store, 1)
        disk = LocalDisk(store, read_only=True)
        made = backup(disk, place, trading_registry())
        assert made.catalog.digest is None
        assert made.not_folded is not None

    @pytest.mark.asyncio
    async def test_damage_in_the_store_makes_no_copy(
        self, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store, *[1] * 5)
        [segment] = (store / "log").glob("0*.log")
        content = bytearray(segment.read_bytes())
        content[700] ^= 1
        segment.write_bytes(content)
        with pytest.raises(CorruptStoreError):
            await asyncio.to_thread(copy, store, place)
        assert newest_catalog(place) is None


class TestWhoMayGoOn:
    @pytest.mark.asyncio
    async def test_two_copies_of_a_directory(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store, 1, 2)
        zombie = tmp_path / "zombie"
        shutil.copytree(store, zombie)
        await fill(store, 3)
        await fill(zombie, 4, 5)
        await asyncio.to_thread(copy, store, place)
        before = files(tmp_path / "backup")
        with pytest.raises(HistoryForkedError, match="does not go on from there"):
            await asyncio.to_thread(copy, zombie, place)
        assert files(tmp_path / "backup") == before

    @pytest.mark.asyncio
    async def test_an_older_copy_of_the_directory(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store, 1, 2)
        zombie = tmp_path / "zombie"
        shutil.copytree(store, zombie)
        await fill(store, 3)
        await asyncio.to_thread(copy, store, place)
        with pytest.raises(HistoryForkedError):
            await asyncio.to_thread(copy, zombie, place)

    @pytest.mark.asyncio
    async def test_a_restored_store_goes_on_and_the_writer_left_behind_does_not(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store, 1, 2, 3, 4)
        await asyncio.to_thread(copy, store, place)
        new = tmp_path / "new"
        restored(place, new, 2)
        made = await asyncio.to_thread(copy, new, place)
        assert (made.catalog.timeline, made.catalog.last) == (2, 2)
        await fill(store, 5)
        with pytest.raises(HistoryForkedError):
            await asyncio.to_thread(copy, store, place)
        await fill(new, 7)
        await asyncio.to_thread(copy, new, place)
        restored(place, tmp_path / "third")
        assert state_at(tmp_path / "third", bank_registry()) == bank_after(1, 2, 7)

    @pytest.mark.asyncio
    async def test_another_store(self, tmp_path: Path, store: Path, place: DirectoryPlace) -> None:
        await fill(store, 1)
        await fill(tmp_path / "other", 1)
        await asyncio.to_thread(copy, store, place)
        with pytest.raises(ForeignCursorError):
            await asyncio.to_thread(copy, tmp_path / "other", place)

    @pytest.mark.asyncio
    async def test_a_number_that_another_writer_took(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        """Both looked at the same newest copy. The second one looks again, and is refused."""
        await fill(store, 1)
        await asyncio.to_thread(copy, store, place)
        zombie = tmp_path / "zombie"
        shutil.copytree(store, zombie)
        await fill(store, 2)
        await fill(zombie, 3)
        raced = Racing(tmp_path / "backup", lambda: copy(zombie, place))
        with pytest.raises(HistoryForkedError):
            await asyncio.to_thread(copy, store, raced)
        catalog = newest_catalog(place)
        assert catalog is not None
        assert (catalog.number, catalog.last) == (2, 2)
        restored(place, tmp_path / "new")
        assert state_at(tmp_path / "new", bank_registry()) == bank_after(1, 3)


class Racing(DirectoryPlace):
    """A place where somebody else is faster with the next catalog, once."""

    def __init__(self, path: Path, other: Callable[[], object]) -> None:
        super().__init__(path)
        self._other: Callable[[], object] | None = other

    def put_new(self, name: str, data: bytes) -> bool:
        if name.startswith("catalogs/") and self._other is not None:
            other, self._other = self._other, None
            other()
        return super().put_new(name, data)


class TestRetention:
    @pytest.mark.asyncio
    async def test_the_newest_copies_stay_whole(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        amounts: list[int] = []
        for round_ in range(1, 8):
            new = [round_] * 25
            await fill(store, *new)
            amounts += new
            made = await asyncio.to_thread(copy, store, place, keep=2)
            assert made.removed == (1 if round_ > 2 else 0)
        assert len(list((tmp_path / "backup" / "catalogs").iterdir())) == 2
        needed = {name for number in (6, 7) for name in load_catalog(place, number).parts}
        assert set(place.list("data/")) == needed
        restored(place, tmp_path / "new", 150)
        assert state_at(tmp_path / "new", bank_registry()) == bank_after(*amounts[:150])


class TestRefusedRestores:
    @pytest.mark.asyncio
    async def test_damaged_and_missing_objects(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store, *[1] * 60)
        made = await asyncio.to_thread(copy, store, place)
        name = next(name for name in made.catalog.parts if "/log/" in name)
        object_ = tmp_path / "backup" / name
        content = object_.read_bytes()
        object_.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(CorruptStoreError, match="is damaged"):
            restored(place, tmp_path / "new")
        object_.unlink()
        plan = plan_restore(place, None, bank_registry())
        assert plan.missing == (name,)
        with pytest.raises(CorruptStoreError, match="is not complete"):
            restore(plan, tmp_path / "new")
        assert [name for name in os.listdir(tmp_path) if "new" in name] == []

    @pytest.mark.asyncio
    async def test_handlers_on_one_side_alone_say_nothing_of_the_state(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        """The plan has a digest, or the restored store has one: there is nothing to compare."""
        await fill(store, 1, 2)
        copy(store, place)
        for number, pair in enumerate(((None, bank_registry()), (bank_registry(), None))):
            planned, given = pair
            new = tmp_path / f"new-{number}"
            restore(plan_restore(place, None, planned), new, given)
            assert state_at(new, bank_registry()) == bank_after(1, 2)

    @pytest.mark.asyncio
    async def test_a_damaged_catalog(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        await fill(store, 1)
        await asyncio.to_thread(copy, store, place)
        catalog = tmp_path / "backup" / "catalogs" / "0000000001.json"
        catalog.write_bytes(catalog.read_bytes().replace(b'"last": 1', b'"last": 2'))
        with pytest.raises(CorruptStoreError, match="its digest does not match"):
            plan_restore(place)

    @pytest.mark.asyncio
    async def test_what_is_not_there(
        self, tmp_path: Path, store: Path, place: DirectoryPlace
    ) -> None:
        with pytest.raises(StoreNotFoundError):
            plan_restore(place)
        await fill(store, 1)
        await asyncio.to_thread(copy, store, place)
        with pytest.raises(HistoryUnavailableError):
            plan_restore(place, 2)
        with pytest.raises(StoreExistsError):
            restored(place, store)


def test_a_copy_of_a_running_process_that_is_killed(tmp_path: Path, store: Path) -> None:
    """Copies beside a process that appends without a pause, and after the process was killed."""
    place = DirectoryPlace(tmp_path / "backup")
    command = [sys.executable, "-m", "tests.support.busy_bank", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        made = []
        for _ in range(6):
            while int(process.stdout.readline()) % 100:
                pass
            made.append(copy(store, place))
        os.kill(process.pid, signal.SIGKILL)
    made.append(copy(store, place))
    *lasts, last = [one.catalog.last for one in made]
    assert lasts == sorted(set(lasts))
    assert last >= lasts[-1]  # equal where the process was killed before the next event
    for number, one in enumerate(made, 1):
        new = tmp_path / f"new-{number}"
        plan = plan_restore(place, one.catalog.last, bank_registry())
        restore(plan, new, bank_registry())
        state = state_at(new, bank_registry())
        assert state == bank_after(*range(1, one.catalog.last + 1))
        assert state_digest(state) == one.catalog.digest


def test_a_state_is_what_the_catalog_says(tmp_path: Path, store: Path) -> None:
    asyncio.run(fill(store, 1, 2))
    place = DirectoryPlace(tmp_path / "backup")
    made = copy(store, place)
    assert isinstance(made.state, Bank)
    assert made.catalog == load_catalog(place, 1)
    assert msgspec.json.decode(made.catalog.manifest)["store"] == str(made.catalog.store)
