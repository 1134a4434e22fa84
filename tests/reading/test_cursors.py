"""Cursors against real histories: the next event, or the fork; never another history's event."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    Cursor,
    CursorAheadError,
    Event,
    EventStore,
    ForeignCursorError,
    HistoryForkedError,
    HistoryUnavailableError,
    read_events,
    replay,
    state_at,
)
from eventstore.disk.manifest import load_manifest
from eventstore.history import branch
from eventstore.log.format import HEADER_SIZE
from eventstore.testing import SimulatedDisk
from eventstore.testing.power_cut import extremes
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio

NEVER: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}
REGISTRY = bank_registry()


def simulated(disk: SimulatedDisk, **options: Any) -> Any:
    return EventStore.open("", REGISTRY, disk=disk, **{**NEVER, "idle_seal": 3600.0, **options})


async def cursors_of(store: EventStore[Any], *amounts: int) -> list[Cursor]:
    """Append one deposit after the other. The cursors behind them."""
    found = []
    for amount in amounts:
        await store.append(pay(amount))
        found.append(store.cursor)
    return found


async def recorded(disk: SimulatedDisk, *amounts: int, **options: Any) -> list[Cursor]:
    """Append deposits to the store on `disk`, in a life of its own."""
    async with simulated(disk, **options) as store:
        return await cursors_of(store, *amounts)


def seqs(events: Any) -> list[int]:
    return [event.seq for event in events]


async def live_seqs(events: Any) -> list[int]:
    return [event.seq async for event in events]


class TestGoingOn:
    async def test_the_next_event_from_every_place(self) -> None:
        disk = SimulatedDisk()
        first = await recorded(disk, 1, 2, 3)
        disk = disk.reopen()
        async with simulated(disk) as store:
            assert store.cursor == first[-1], "the same place before and after a restart"
            cursors = first + await cursors_of(store, 4, 5)
            for seq, cursor in enumerate(cursors, 1):
                rest = list(range(seq + 1, 6))
                assert cursor.seq == seq
                assert await live_seqs(store.events(cursor)) == rest
                assert await live_seqs(store.events(1, cursor)) == list(range(1, seq + 1))
        for cursor in cursors:
            assert seqs(read_events("", start=cursor, disk=disk.reopen())) == list(
                range(cursor.seq + 1, 6)
            )
            assert seqs(read_events("", stop=cursor, disk=disk.reopen())) == list(
                range(1, cursor.seq + 1)
            )
            assert state_at("", REGISTRY, cursor, disk=disk.reopen()) == state_at(
                "", REGISTRY, cursor.seq, disk=disk.reopen()
            )
            pairs = replay("", REGISTRY, start=cursor, disk=disk.reopen())
            assert [event.seq for event, _ in pairs] == list(range(cursor.seq + 1, 6))

    async def test_the_place_before_the_first_event(self) -> None:
        disk = SimulatedDisk()
        async with simulated(disk) as store:
            begin = store.cursor
            assert (begin.seq, begin.checksum) == (0, None)
            await cursors_of(store, 1, 2)
            assert await live_seqs(store.events(begin)) == [1, 2]
        assert seqs(read_events("", start=Cursor.parse(str(begin)), disk=disk.reopen())) == [1, 2]

    async def test_inside_a_group(self) -> None:
        """Each event has a checksum of its own, also where one record holds several."""
        disk = SimulatedDisk()
        async with simulated(disk) as store:
            await store.append(pay(1), pay(2), pay(3))
            behind = store.cursor
            for seq in (1, 2):
                inside = store.log.lineage.cursor(seq, behind.checksum)
                with pytest.raises(HistoryForkedError):
                    await live_seqs(store.events(inside))
            assert await live_seqs(store.events(behind)) == []

    async def test_in_the_archive(self) -> None:
        """The archive repacks records, and keeps the bytes of every event."""
        disk = SimulatedDisk()
        cursors = await recorded(disk, *range(1, 200), segment_size=4096)
        disk = disk.reopen()
        async with simulated(disk, segment_size=4096, history="archive", backup_count=1) as store:
            await store.append(pay())
            await store.snapshot()
            assert store.stats().segments_archived
        for cursor in cursors[::20]:
            assert seqs(read_events("", start=cursor, disk=disk.reopen()))[:1] == [cursor.seq + 1]

    async def test_in_memory(self) -> None:
        async with EventStore.in_memory(REGISTRY) as store:
            cursors = await cursors_of(store, 1, 2, 3)
            for cursor in cursors:
                assert await live_seqs(store.events(cursor)) == list(range(cursor.seq + 1, 4))
        async with EventStore.in_memory(REGISTRY) as other:
            with pytest.raises(ForeignCursorError):
                await live_seqs(other.events(cursors[0]))

    async def test_behind_a_segment_without_an_event(self) -> None:
        """The writer died after it began a segment: the last event is in the one before."""
        disk = SimulatedDisk()
        cursors = await recorded(disk, *range(1, 100), segment_size=4096)
        *_, last = sorted(name for name in disk.files() if name.endswith(".log"))
        first_of_last = int(last[4:24])
        whole = disk.read_file(last)
        disk.write_file(last, whole[:HEADER_SIZE].ljust(4096, b"\0"))
        async with simulated(disk.reopen(), segment_size=4096) as store:
            assert store.seq == first_of_last - 1
            assert store.cursor == cursors[store.seq - 1]


class TestForks:
    async def test_a_directory_that_was_copied_and_written_in_two_places(self) -> None:
        disk = SimulatedDisk()
        shared = await recorded(disk, 1, 2, 3)
        other = disk.clone()
        mine = await recorded(disk.reopen(), 4, 5)
        await recorded(other.reopen(), 40, 50, 60)
        for cursor in shared:
            assert seqs(read_events("", start=cursor, disk=other.reopen()))[:1] == [cursor.seq + 1]
        for cursor in mine:
            await refused(other, cursor, HistoryForkedError, 0)

    async def test_an_older_copy_that_was_restored(self) -> None:
        disk = SimulatedDisk()
        await recorded(disk, 1, 2, 3)
        older = disk.clone()
        ahead = (await recorded(disk.reopen(), 4, 5))[-1]
        await refused(older, ahead, CursorAheadError, 0)
        with pytest.raises(CursorAheadError, match="an older copy") as caught:
            list(read_events("", start=ahead, disk=older.reopen()))
        assert caught.value.last == 3
        await recorded(older.reopen(), 40, 50, 60)
        await refused(older, ahead, HistoryForkedError, 0)

    async def test_another_store(self) -> None:
        disk, other = SimulatedDisk(seed=1), SimulatedDisk(seed=2)
        cursor = (await recorded(disk, 1))[-1]
        await recorded(other, 1, 2)
        await refused(other, cursor, ForeignCursorError)

    @pytest.mark.parametrize("durable", [True, False])
    async def test_a_branch(self, durable: bool, tmp_path: Path) -> None:
        parent, to = tmp_path / "parent", tmp_path / "branch" if durable else None
        async with EventStore.open(parent, REGISTRY, **NEVER) as store:
            cursors = await cursors_of(store, 1, 2, 3, 4)
        async with branch(parent, REGISTRY, at=cursors[1], to=to) as other:
            assert (other.seq, other.cursor.checksum) == (2, cursors[1].checksum)
            own = await cursors_of(other, 30, 40)
            assert await live_seqs(other.events(cursors[1])) == [3, 4]
            assert await live_seqs(other.events(own[0])) == [4]
            for cursor in cursors[2:]:
                with pytest.raises(HistoryForkedError) as caught:
                    await live_seqs(other.events(cursor))
                assert caught.value.last_shared == 2
        for cursor in own:
            with pytest.raises(ForeignCursorError):
                list(read_events(parent, start=cursor))

    async def test_a_branch_compares_the_event_before_its_first_one(self, tmp_path: Path) -> None:
        parent, to = tmp_path / "parent", tmp_path / "branch"
        async with EventStore.open(parent, REGISTRY, **NEVER) as store:
            cursors = await cursors_of(store, 1, 2, 3)
        async with branch(parent, REGISTRY, at=2, to=to) as other:
            await other.append(pay())
        assert seqs(read_events(to, start=cursors[1])) == [3]
        with pytest.raises(HistoryForkedError, match="another one here"):
            list(read_events(to, start=forged(cursors[1])))
        with pytest.raises(HistoryUnavailableError):
            list(read_events(to, start=cursors[0]))


def forged(cursor: Cursor) -> Cursor:
    """The same place with another event."""
    assert cursor.checksum is not None
    return cursor._replace(checksum=cursor.checksum ^ 1)


async def refused(
    disk: SimulatedDisk, cursor: Cursor, kind: type[Exception], last_shared: int | None = None
) -> None:
    """Check that no way of reading takes a cursor."""
    ways: list[Callable[[], Any]] = [
        lambda: list(read_events("", start=cursor, disk=disk.reopen())),
        lambda: list(read_events("", stop=cursor, disk=disk.reopen())),
        lambda: list(replay("", REGISTRY, start=cursor, disk=disk.reopen())),
        lambda: list(replay("", REGISTRY, stop=cursor, disk=disk.reopen())),
        lambda: state_at("", REGISTRY, cursor, disk=disk.reopen()),
    ]
    for way in ways:
        with pytest.raises(kind) as caught:
            way()
        if isinstance(caught.value, HistoryForkedError):
            assert caught.value.last_shared == last_shared
        assert getattr(caught.value, "cursor", "") == str(cursor)
    async with simulated(disk.clone().reopen()) as store:
        before = store.seq
        with pytest.raises(kind):
            await live_seqs(store.events(cursor))
        with pytest.raises(kind):
            await live_seqs(store.events(1, cursor))
        assert store.seq == before
    with pytest.raises(kind):
        await branch("", REGISTRY, at=cursor, disk=disk.reopen())


class TestDiscarded:
    async def test_the_place_right_behind_what_was_discarded(self) -> None:
        disk = SimulatedDisk()
        cursors = await recorded(disk, *range(1, 200), segment_size=4096)
        disk = disk.reopen()
        options = {"segment_size": 4096, "history": "discard", "backup_count": 1}
        async with simulated(disk, **options) as store:
            await store.append(pay())
            await store.snapshot()
        start = load_manifest(disk.reopen()).history_start
        assert start > 1
        before, behind = cursors[start - 3], cursors[start - 2]
        assert behind.seq == start - 1
        assert seqs(read_events("", start=behind, disk=disk.reopen())) == list(range(start, 201))
        with pytest.raises(HistoryForkedError):
            list(read_events("", start=forged(behind), disk=disk.reopen()))
        with pytest.raises(HistoryUnavailableError):
            list(read_events("", start=before, disk=disk.reopen()))
        with pytest.raises(HistoryUnavailableError, match="cannot be compared"):
            state_at("", REGISTRY, cursors[0], disk=disk.reopen())
        with pytest.raises(HistoryUnavailableError, match="cannot be compared"):
            await branch("", REGISTRY, at=cursors[0], disk=disk.reopen())


class TestCrashes:
    """What a crash may take of acknowledged events, a cursor tells."""

    @pytest.mark.parametrize("durability", ["interval", "none"])
    async def test_the_loss_that_a_weak_durability_permits(self, durability: str) -> None:
        disk = SimulatedDisk()
        store = await simulated(disk, durability=durability, sync_interval=1000)
        cursors = await cursors_of(store, 1, 2)
        await store.flush()
        cursors += await cursors_of(store, 3, 4)
        assert store.cursor.seq == 4
        image = disk.after_cut(next(extremes(0, 0)))  # all that was not synced is gone
        async with simulated(image, durability=durability) as again:
            assert again.seq == 2
            assert again.cursor == cursors[1]
            later = await cursors_of(again, 30, 40, 50)
            assert {cursor.timeline for cursor in later} == {2}
            assert await live_seqs(again.events(cursors[1])) == [3, 4, 5]
            for cursor in cursors[2:]:
                with pytest.raises(HistoryForkedError) as caught:
                    await live_seqs(again.events(cursor))
                assert caught.value.last_shared == 2, "the exact number, and not only a bound"
        await store.close()

    async def test_a_crash_that_can_take_nothing_begins_no_timeline(self) -> None:
        disk = SimulatedDisk()
        store = await simulated(disk)
        cursors = await cursors_of(store, 1, 2)
        async with simulated(disk.after_kill()) as again:
            assert again.cursor == cursors[-1]
            assert [cursor.timeline for cursor in await cursors_of(again, 3)] == [1]
        await store.close()

    async def test_without_a_log_a_cursor_is_good_for_one_life(self) -> None:
        """A crash takes events without a trace, and others get the same numbers."""
        disk = SimulatedDisk()
        store = await simulated(disk, use_wal=False)
        cursors = await cursors_of(store, 1, 2)
        await store.snapshot()
        cursors += await cursors_of(store, 3, 4)
        for options in ({"use_wal": False}, {}):
            image = disk.after_kill()
            async with simulated(image, **options) as again:
                assert again.seq == 2
                await cursors_of(again, 30, 40)
                for cursor in cursors:
                    with pytest.raises(HistoryForkedError) as caught:
                        await live_seqs(again.events(cursor))
                    assert caught.value.last_shared == 0
        first = cursors[1]._replace(timeline=1, timeline_id=cursors[1].store.hex[:8])
        with pytest.raises(HistoryUnavailableError, match="has no log"):
            state_at("", REGISTRY, first, disk=disk.after_kill())
        await store.close()


async def test_the_events_of_a_cursor_are_typed() -> None:
    disk = SimulatedDisk()
    cursors = await recorded(disk, 1, 2)
    (event,) = read_events("", REGISTRY, start=cursors[0], disk=disk.reopen())
    assert event == Event(2, event.time, pay(2))
