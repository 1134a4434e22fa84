"""Named cursors: each event at least once, over every end of the consumer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    CorruptStoreError,
    Cursor,
    CursorAheadError,
    CursorNotSavedError,
    EventStore,
    HistoryForkedError,
    StoreClosedError,
    follow,
    follow_sync,
)
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.history import branch
from eventstore.named_cursors import list_cursors, load_cursor, save_cursor
from eventstore.testing import SimulatedDisk
from eventstore.testing.power_cut import extremes
from eventstore.timelines import Lineage, first_timeline
from eventstore.tools import verify
from eventstore.tools.file_survey import overview
from tests.support.bank import bank_registry, pay
from tests.support.gates import PATIENCE
from tests.test_timelines import STORE

pytestmark = pytest.mark.asyncio

NEVER: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}
FILE = "cursors/risk.json"
LINEAGE = Lineage("here", STORE, first_timeline(STORE))


def cursor(seq: int) -> Cursor:
    return LINEAGE.cursor(seq, seq * 7)


def opened(disk: Disk, **options: Any) -> Any:
    return EventStore.open("", bank_registry(), disk=disk, **{**NEVER, **options})


async def take(events: Any, count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE):
        return [(await anext(events)).seq for _ in range(count)]


class TestFiles:
    async def test_it_is_read_back_and_replaced(self) -> None:
        disk = SimulatedDisk()
        assert load_cursor(disk, "risk") is None
        for seq in (1, 5, 3):
            save_cursor(disk, "risk", cursor(seq))
            assert load_cursor(disk, "risk") == cursor(seq)
        save_cursor(disk, "risk.copy", cursor(9))
        assert list_cursors(disk) == [("risk", cursor(3)), ("risk.copy", cursor(9))]
        assert disk.list("cursors") == ["risk.copy.json", "risk.json"]

    @pytest.mark.parametrize(
        "name", ["", ".", "..", ".risk", "-risk", "a/b", "a\0b", "a b", "é", "x" * 65, 5, b"risk"]
    )
    async def test_what_is_no_name_is_refused_at_once(self, name: Any, tmp_path: Path) -> None:
        async with EventStore.in_memory(bank_registry()) as store:
            for call in (
                lambda: store.subscribe(cursor=name),
                lambda: follow(tmp_path, cursor=name),
                lambda: follow_sync(tmp_path, cursor=name),
            ):
                with pytest.raises(ConfigError, match="expected a name") as caught:
                    call()
                assert caught.value.key == "cursor"

    async def test_any_changed_byte_is_refused(self) -> None:
        """A consumer that began anew in silence would do all of its work twice."""
        disk = SimulatedDisk()
        save_cursor(disk, "risk", cursor(7))
        whole, refused = disk.read_file(FILE), 0
        for index in range(len(whole)):
            for changed in (
                whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :],
                whole[:index],
            ):
                disk.write_file(FILE, changed)
                found = None
                with contextlib.suppress(CorruptStoreError):
                    found = load_cursor(disk, "risk")
                assert found in (None, cursor(7)), "a space, or the end of the line"
                refused += found is None
        assert refused > 1.5 * len(whole)
        disk.write_file("cursors/other.json", whole)
        with pytest.raises(CorruptStoreError, match=r"renamed.*remove it") as caught:
            load_cursor(disk, "other")
        assert caught.value.path.endswith("cursors/other.json")

    @pytest.mark.parametrize("before", [None, cursor(1)])
    async def test_a_crash_at_any_call_leaves_the_old_one_or_the_new_one(
        self, before: Cursor | None
    ) -> None:
        disk = SimulatedDisk()
        if before is not None:
            save_cursor(disk, "risk", before)
        points: list[SimulatedDisk] = []
        disk.add_rule(lambda call: points.append(disk.clone()))
        save_cursor(disk, "risk", cursor(2))
        assert len(points) > 5
        for point in points:
            for image in (point, *(point.after_cut(cut) for cut in extremes(0, 0))):
                assert load_cursor(image, "risk") in (before, cursor(2))
                assert not [base for base in image.list("cursors") if base.endswith(".tmp")]
        for cut in extremes(0, 0):
            assert load_cursor(disk.after_cut(cut), "risk") == cursor(2), "it was saved"

    async def test_a_leftover_is_removed_by_the_consumer_of_the_name_alone(self) -> None:
        disk = SimulatedDisk()
        save_cursor(disk, "risk", cursor(1))
        for base in ("risk.0badcafe.tmp", "risk.x.0badcafe.tmp", "notes.txt"):
            disk.write_file(f"cursors/{base}", b"")
        assert load_cursor(disk, "risk") == cursor(1)
        assert disk.list("cursors") == ["notes.txt", "risk.json", "risk.x.0badcafe.tmp"]

    async def test_two_consumers_of_one_name(self) -> None:
        """One begins while the other saves, and takes the temporary file for a leftover."""
        disk = SimulatedDisk()
        save_cursor(disk, "risk", cursor(1))
        other, begun = disk.reopen(), 0

        def begin(call: Any) -> None:
            nonlocal begun
            if call.kind == "rename" and begun < 3:
                begun += 1
                assert load_cursor(other, "risk") == cursor(1)

        disk.add_rule(begin)
        save_cursor(disk, "risk", cursor(2))
        assert begun == 3
        assert load_cursor(disk, "risk") == cursor(2)
        assert disk.list("cursors") == ["risk.json"]

    @pytest.mark.parametrize(
        ("number", "cure"),
        [
            (errno.ENOSPC, "free some space"),
            (errno.EACCES, "check its permissions"),
            (errno.EIO, "check the device"),
        ],
    )
    async def test_a_save_that_fails_keeps_the_earlier_one(self, number: int, cure: str) -> None:
        disk = SimulatedDisk()
        save_cursor(disk, "risk", cursor(1))
        disk.fail(kind="create", errno=number)
        with pytest.raises(CursorNotSavedError, match=cure) as caught:
            save_cursor(disk, "risk", cursor(2))
        assert (caught.value.name, caught.value.errno) == ("risk", number)
        assert load_cursor(disk, "risk") == cursor(1)
        save_cursor(disk, "risk", cursor(3))
        assert load_cursor(disk, "risk") == cursor(3)


class TestInside:
    """`subscribe(cursor=...)`, in the writer's process."""

    async def test_a_consumer_goes_on_where_it_saved(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(*[pay()] * 5)
            async with store.subscribe(cursor="risk") as events:
                assert await take(events, 2) == [1, 2], "a new name begins at the first event"
                assert await events.save() == events.cursor
                assert await take(events, 1) == [3]
        async with (
            opened(disk.reopen()) as store,
            store.subscribe(cursor="risk", after=4) as events,
        ):
            assert await take(events, 3) == [3, 4, 5], "the one that was not saved comes again"
            await store.append(pay())
            assert await take(events, 1) == [6]
            await events.save()
            assert events.cursor == store.cursor

    async def test_a_new_name_begins_where_it_is_told(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(*[pay()] * 5)
            async with store.subscribe(cursor="risk", after=3) as events:
                await events.save()
                assert await take(events, 2) == [4, 5]
            async with store.subscribe(cursor="risk") as events:
                assert await take(events, 2) == [4, 5], "it was saved before anything came"

    async def test_saves_at_once_are_saved_in_order(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(*[pay()] * 5)
            async with store.subscribe(cursor="risk") as events:
                saves = []
                for seq in range(1, 6):
                    assert await take(events, 1) == [seq]
                    saves.append(asyncio.ensure_future(events.save()))
                    await asyncio.sleep(0)
                assert [saved.seq for saved in await asyncio.gather(*saves)] == [1, 2, 3, 4, 5]
            found = load_cursor(disk, "risk")
            assert found is not None
            assert found.seq == 5

    async def test_without_a_name_there_is_nothing_to_save(self) -> None:
        async with opened(SimulatedDisk()) as store, store.subscribe() as events:
            with pytest.raises(ConfigError, match="cursor='name'"):
                await events.save()

    async def test_a_closed_store_saves_nothing(self) -> None:
        store = await opened(SimulatedDisk())
        await store.append(pay())
        events = store.subscribe(cursor="risk")
        assert await take(events, 1) == [1]
        await store.close()
        with pytest.raises(StoreClosedError):
            await events.save()
        await events.close()

    @pytest.mark.parametrize("kind", ["memory", "branch", "without a log"])
    async def test_in_memory_names_live_as_long_as_the_store(
        self, kind: str, tmp_path: Path
    ) -> None:
        async with EventStore.open(tmp_path, bank_registry(), **NEVER) as parent:
            await parent.append(pay())
        openings: dict[str, Any] = {
            "memory": EventStore.in_memory(bank_registry()),
            "branch": branch(tmp_path, bank_registry(), at=1),
            "without a log": opened(SimulatedDisk(), use_wal=False),
        }
        async with openings[kind] as store:
            place = store.seq
            async with store.subscribe(cursor="risk", after=place) as events:
                await store.append(pay(), pay())
                assert await take(events, 1) == [place + 1]
                await events.save()
            async with store.subscribe(cursor="risk") as events:
                await store.append(pay())
                if kind != "without a log":
                    assert await take(events, 2) == [place + 2, place + 3]
        assert not (tmp_path / "cursors").exists()

    async def test_an_older_copy_is_noticed(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(pay())
        older = disk.clone()
        async with opened(disk.reopen()) as store:
            await store.append(pay(), pay())
            async with store.subscribe(cursor="risk") as events:
                assert await take(events, 3) == [1, 2, 3]
                saved = await events.save()
        save_cursor(older, "risk", saved)
        async with opened(older) as store:
            for kind, amounts in ((CursorAheadError, ()), (HistoryForkedError, (5, 6, 7))):
                for amount in amounts:
                    await store.append(pay(amount))
                async with store.subscribe(cursor="risk") as events:
                    with pytest.raises(kind):
                        await take(events, 1)
                    with contextlib.suppress(HistoryForkedError):
                        await events.save()
        assert load_cursor(older.reopen(), "risk") == saved, "it was not lost by that"


class TestElsewhere:
    """`follow(path, cursor=...)`, in any process, and a read-only store."""

    @pytest.mark.parametrize("way", ["follow", "follow_sync", "read-only"])
    async def test_a_consumer_goes_on_where_it_saved(self, way: str, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry(), **NEVER) as store:
            await store.append(*[pay()] * 5)

            async def consume(count: int, save: int) -> list[int]:
                """Take events, and save behind one of them."""
                found = []
                if way == "follow_sync":
                    with follow_sync(tmp_path, cursor="risk") as events:
                        for event in events:
                            found.append(event.seq)
                            if len(found) == save:
                                assert events.save() == events.cursor
                            if len(found) == count:
                                return found
                opening = EventStore.open(tmp_path, bank_registry(), read_only=True)
                other: Any = follow(tmp_path, cursor="risk")
                async with opening as reader, asyncio.timeout(PATIENCE):
                    if way == "read-only":
                        other = reader.subscribe(cursor="risk")
                    async with other:
                        async for event in other:
                            found.append(event.seq)
                            if len(found) == save:
                                assert await other.save() == other.cursor
                            if len(found) == count:
                                return found
                raise AssertionError

            assert await consume(3, 2) == [1, 2, 3]
            assert await consume(3, 3) == [3, 4, 5]
            await store.append(pay())
            assert await consume(1, 1) == [6]
            (only,) = overview(tmp_path).cursors
            assert only == ("risk", store.cursor)

    async def test_without_a_name_there_is_nothing_to_save(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry(), **NEVER) as store:
            await store.append(pay())
            async with follow(tmp_path) as events:
                with pytest.raises(ConfigError, match="cursor='name'"):
                    await events.save()
            with follow_sync(tmp_path) as others, pytest.raises(ConfigError, match="cursor="):
                others.save()


class TestFolder:
    """What the writer and the tools make of the folder."""

    async def test_the_writer_leaves_it_alone(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry(), **NEVER) as store:
            await store.append(pay())
            saved = store.cursor
        disk = LocalDisk(tmp_path)
        save_cursor(disk, "risk", saved)
        (tmp_path / "cursors" / "risk.0badcafe.tmp").touch()
        async with EventStore.open(tmp_path, bank_registry(), **NEVER) as store:
            assert store.recovery.unknown_files == ()
            await store.append(pay())
        assert load_cursor(disk, "risk") == saved
        disk.close()
        assert (tmp_path / "cursors").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600

    async def test_damage_is_a_finding(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry(), **NEVER) as store:
            await store.append(pay())
            async with store.subscribe(cursor="risk") as events:
                assert await take(events, 1) == [1]
                await events.save()
        registry = bank_registry()
        assert verify(tmp_path, registry).passed
        (tmp_path / FILE).write_text("{}")
        assert [damage.name for damage in verify(tmp_path, registry).damage] == [FILE]
        assert [damage.name for damage in overview(tmp_path).faults] == [FILE]
        async with (
            EventStore.open(tmp_path, registry, **NEVER) as store,
            store.subscribe(cursor="risk") as events,
        ):
            with pytest.raises(CorruptStoreError, match="remove it"):
                await take(events, 1)
