"""A follower's place in the log: each durable event once, across every change of the files."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from eventstore import (
    CorruptLogError,
    CursorAheadError,
    EventStore,
    ForeignCursorError,
    HistoryForkedError,
    HistoryUnavailableError,
    ReadFailedError,
    StoreNotFoundError,
)
from eventstore.cursor import Cursor
from eventstore.disk.layout import FRONTIER, segment_name
from eventstore.following.log_follower import LogFollower
from eventstore.following.segment_tail import SegmentTail
from eventstore.log.format import HEADER_SIZE, InvalidBytesError
from eventstore.log.frontier_file import Frontier
from eventstore.log.runs import CHUNK_EVENTS
from eventstore.log.segment import WINDOW
from eventstore.model.codec import EventCodec
from eventstore.testing import SimulatedDisk
from tests.support.bank import bank_registry, pay

SMALL: dict[str, Any] = {
    "segment_size": 4096,
    "auto_save_interval": None,
    "wal_max_entries": None,
    "idle_seal": 3600.0,
    "backup_count": 1,
}


class Place:
    """A follower on another handle of the disk, and the amounts that it has seen."""

    def __init__(self, disk: SimulatedDisk, after: int | Cursor | None = 0) -> None:
        self.disk = disk
        self.amounts: list[int] = []
        self.seqs: list[int] = []
        self.follower = LogFollower(lambda: self.disk.reopen())
        self.follower.begin(after)

    def chunk(self, *, idle: bool = False) -> int:
        """Take one chunk, and return the number of events."""
        found = self.follower.next_chunk(idle=idle)
        if found is None:
            return 0
        chunk = found.chunk
        events = EventCodec().decode(chunk.array, chunk.events, chunk.first_seq)
        wanted = events[found.start - chunk.first_seq : found.stop - chunk.first_seq]
        self.seqs += [event.seq for event in wanted]
        self.amounts += [event.data["amount"] for event in wanted]
        self.follower.advance(found)
        return len(wanted)

    def all(self, *, idle: bool = False) -> list[int]:
        """Take what there is, and return all numbers so far."""
        while self.chunk(idle=idle):
            pass
        return self.seqs

    def all_looking(self) -> list[int]:
        """Take what there is, as after some idleness: first the files are looked at."""
        self.chunk(idle=True)
        return self.all(idle=True)


def opened(disk: SimulatedDisk, **options: Any) -> Any:
    return EventStore.open("", bank_registry(), SMALL | options, disk=disk)


async def append(store: EventStore[Any], *amounts: int, account: str = "a" * 100) -> None:
    for amount in amounts:
        await store.append(pay(amount, account=account))


def upto(last: int) -> list[int]:
    return list(range(1, last + 1))


class TestLive:
    @pytest.mark.asyncio
    async def test_each_event_comes_once_it_is_durable(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            place = Place(disk)
            for seq in range(1, 80):
                assert place.chunk() == 0
                await append(store, seq)
                assert place.chunk() == 1
            assert place.seqs == place.amounts == upto(79)

    @pytest.mark.asyncio
    async def test_nothing_behind_the_frontier_is_looked_at(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, 1, 2)
            two = disk.read_file(FRONTIER)
            await append(store, 3)
            disk.overwrite(FRONTIER, two)
            place = Place(disk)
            assert place.all() == [1, 2]

    @pytest.mark.asyncio
    async def test_unsynced_events_do_not_come(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, durability="interval", sync_interval=3600.0) as store:
            place = Place(disk)
            await append(store, 1, 2, 3)
            assert place.all() == []
            await store.flush()
            assert place.all() == [1, 2, 3]

    @pytest.mark.asyncio
    async def test_an_event_costs_two_reads(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, segment_size=1 << 20) as store:
            await append(store, 1)
            place = Place(disk)
            place.all()
            before = len(disk.calls)
            await append(store, 2)
            place.chunk()
            reads = [call for call in disk.calls[before:] if call.kind not in ("write", "sync")]
            assert [(call.kind, call.name) for call in reads] == [
                ("read", FRONTIER),
                ("read", segment_name(1)),
            ]
            _, length = reads[-1].args
            assert int(length) < 400

    @pytest.mark.asyncio
    async def test_groups_and_large_records(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, segment_size=1 << 20) as store:
            place = Place(disk)
            await store.append(*(pay(n) for n in range(1, 11)))
            assert place.all() == upto(10)
            await append(store, 11, account="x" * (WINDOW + 5))
            await append(store, 12, account="x" * (3 * WINDOW))
            await append(store, 13)
            assert place.all() == upto(13)
            assert Place(disk, 5).all() == list(range(6, 14))

    @pytest.mark.asyncio
    async def test_a_chunk_is_bounded(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, segment_size=1 << 20) as store:
            number = CHUNK_EVENTS + 10
            for start in range(1, number + 1, 50):
                await store.append(*(pay(n, account="") for n in range(start, start + 50)))
            place = Place(disk)
            assert place.chunk() < number
            assert len(place.all()) == store.seq

    @pytest.mark.asyncio
    async def test_it_goes_on_behind_any_event(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, *upto(40))
            for after in range(41):
                assert Place(disk, after).all() == upto(40)[after:]
            place = Place(disk, None)
            assert place.all() == []
            await append(store, 41)
            assert place.all() == [41]
            assert Place(disk, 50).all() == []


class TestChangesOfFiles:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("step", [1, 3, 7, 60])
    async def test_segments_come_and_go(self, step: int) -> None:
        """The place is `step` events behind at most, so in any of the last segments."""
        disk = SimulatedDisk()
        async with opened(disk) as store:
            place = Place(disk)
            for start in range(1, 121, step):
                await append(store, *range(start, start + step))
                if step == 60 or start // step % 3 == 2:
                    await store.snapshot()
                place.chunk()
            assert place.all() == upto(store.seq)
            assert any(name.startswith("archive/") for name in disk.files())

    @pytest.mark.asyncio
    async def test_an_open_segment_stays_readable_when_it_is_archived(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            place = Place(disk)
            await append(store, 1, 2)
            assert place.all() == [1, 2]
            await append(store, *range(3, 60))
            await store.snapshot()
            assert segment_name(1) not in disk.files()
            assert place.chunk() > 0
            assert place.all() == upto(59)

    @pytest.mark.asyncio
    async def test_discarded_history_is_said_to_be_gone(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, history="discard") as store:
            await append(store, *upto(60))
            await store.snapshot()
            place = Place(disk, 1)
            for _ in range(2):
                with pytest.raises(HistoryUnavailableError) as raised:
                    place.all()
            assert Place(disk, raised.value.first_available - 1).all()[-1] == 60

    @pytest.mark.asyncio
    async def test_an_empty_segment_makes_room_for_a_larger_one(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, 1)
            place = Place(disk)
            place.all()
            disk.fail(kind="write", name=segment_name(2), errno=errno.ENOSPC)
            with pytest.raises(Exception, match="no space"):
                await append(store, 2, account="x" * 3500)
            assert place.all() == [1]
            await append(store, 2, account="x" * 9000)
            await append(store, 3)
            assert place.all() == [1, 2, 3]


class TestOpenings:
    @pytest.mark.asyncio
    async def test_restarts_make_no_difference(self) -> None:
        disk, seq = SimulatedDisk(), 0
        place: Place | None = None
        for life in range(6):
            async with opened(disk.reopen()) as store:
                place = place or Place(disk)
                place.all()
                for _ in range(life):
                    seq += 1
                    await append(store, seq)
                    if life % 2:
                        place.chunk()
            assert place.follower.closed is False
            assert place.all() == upto(seq)
            assert place.follower.closed is True

    @pytest.mark.asyncio
    async def test_a_killed_writer_is_waited_for(self) -> None:
        disk = SimulatedDisk()
        place = None
        async with opened(disk) as store:
            await append(store, 1, 2, 3)
            place = Place(disk)
            assert place.chunk() == 3
            await append(store, 4)
            killed = disk.after_kill()
        disk.move_away()
        place.disk = killed
        assert place.all() == upto(4), "the other directory is not looked for while events come"
        async with opened(killed) as store:
            await append(store, 5)
            assert place.all() == upto(4)
            assert place.all(idle=True) == upto(5)
            assert place.follower.closed is False

    @pytest.mark.asyncio
    async def test_an_event_that_only_recovery_found_comes(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, 1)
            place = Place(disk)
            told = disk.read_file(FRONTIER)
            await append(store, 2)
            disk.overwrite(FRONTIER, told)  # killed before it told
            assert place.all() == [1]
            killed = disk.after_kill()
        other = Place(killed)
        assert other.all() == [1]
        async with opened(killed.reopen()):
            assert other.all() == [1, 2]

    @pytest.mark.asyncio
    async def test_a_store_that_is_moved_away_is_waited_for(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, 1)
            place = Place(disk)
            place.all()
            copy = disk.after_kill()
        disk.move_away()
        place.follower._make_disk = missing
        assert place.chunk(idle=True) == 0
        place.follower._make_disk = copy.reopen
        async with opened(copy) as store:
            await append(store, 2)
            assert place.all(idle=True) == [1, 2]


def missing() -> Any:
    raise StoreNotFoundError("there is no store", path="simulated")


async def cut_back(kept: int, number: int) -> tuple[SimulatedDisk, Place]:
    """Return a store of `number` events after a power cut that left `kept`, and a follower of all.

    The durability is `none`, so the follower was told of all events.
    """
    disk = SimulatedDisk()
    async with opened(disk) as store:
        await append(store, *upto(kept))
    disk = disk.reopen()
    copy = disk.clone()
    async with opened(disk, durability="none") as store:
        place = Place(disk)
        await append(store, *range(kept + 1, number + 1))
        assert place.all() == upto(number)
    place.disk = copy
    disk.move_away()
    return copy, place


def refused(place: Place, idle: bool) -> None:
    place.all(idle=idle)
    place.all()


class TestForks:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("again", [0, 1, 3, 5])
    async def test_no_event_of_another_history_comes(self, again: int) -> None:
        copy, place = await cut_back(4, 7)
        async with opened(copy) as store:
            await append(store, *range(100, 100 + again))
            for idle in (True, False, False):
                with pytest.raises(HistoryForkedError) as raised:
                    refused(place, idle)
            assert raised.value.last_shared <= 4
            assert place.seqs == upto(7)
            assert isinstance(raised.value, CursorAheadError) is (again < 3)

    @pytest.mark.asyncio
    async def test_a_place_that_both_share_goes_on(self) -> None:
        copy, place = await cut_back(4, 4)
        async with opened(copy) as store:
            await append(store, 100)
            assert place.all(idle=True) == upto(5)
            assert place.amounts[-1] == 100

    @pytest.mark.asyncio
    async def test_a_cursor_of_another_history_is_refused(self) -> None:
        copy, place = await cut_back(4, 7)
        cursor = place.follower.cursor_behind(7, place.follower._last)
        with pytest.raises(CursorAheadError):
            Place(copy, cursor)
        async with opened(copy) as store:
            await append(store, *range(100, 110))
        with pytest.raises(HistoryForkedError):
            Place(copy, cursor)
        shared = Place(copy, 3)
        shared.chunk()
        good = shared.follower.cursor_behind(4, shared.follower._last)
        assert Place(copy, good).all()[0] == 5

    @pytest.mark.asyncio
    async def test_another_store_in_the_place_is_refused(self) -> None:
        disk, other = SimulatedDisk(), SimulatedDisk(seed=9)
        async with opened(disk) as store:
            await append(store, 1)
            place = Place(disk)
            place.all()
        async with opened(other) as store:
            await append(store, 1, 2)
        disk.move_away()
        place.disk = other
        with pytest.raises(ForeignCursorError):
            refused(place, True)


class TestFrontierInDoubt:
    @pytest.mark.asyncio
    async def test_a_torn_frontier_is_not_believed(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, 1)
            place = Place(disk)
            old = disk.read_file(FRONTIER)
            await append(store, 2)
            new = disk.read_file(FRONTIER)
            for at in range(1, len(new)):
                torn = old[:at] + new[at:]
                if torn not in (old, new):
                    disk.overwrite(FRONTIER, torn)
                    assert place.all() == []
            disk.overwrite(FRONTIER, new)
            assert place.all() == [1, 2]

    @pytest.mark.asyncio
    async def test_a_frontier_ahead_of_the_log_is_a_reason_to_wait(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = SimulatedDisk()
        async with opened(disk.reopen()) as store:
            await append(store, 1, 2)
        ahead = Frontier.decode(disk.read_file(FRONTIER))._replace(seq=9, end=2000)
        disk.overwrite(FRONTIER, ahead.encode())
        place = Place(disk)
        with caplog.at_level(logging.WARNING, "eventstore.following"):
            assert place.all() == [1, 2]
            assert place.all(idle=True) == [1, 2]
        assert [record.getMessage() for record in caplog.records] == [
            "simulated: the frontier tells of event 9, and event 3 is not in the log: waiting for "
            "the next opening of the store"
        ]
        async with opened(disk.reopen()) as store:
            await append(store, 3)
            assert place.all() == [1, 2, 3]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("closed", [False, True])
    async def test_without_a_frontier_the_log_says_what_is_durable(self, closed: bool) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, *upto(30))
            disk = disk if closed else disk.after_kill()
        disk.remove_file(FRONTIER)
        place = Place(disk)
        assert place.all_looking() == upto(30 if closed else 29)
        assert place.follower.closed is closed
        disk = disk.reopen()
        async with opened(disk) as store:
            assert place.all() == upto(30)
            await append(store, 31)
            assert place.all() == upto(31)

    @pytest.mark.asyncio
    async def test_a_frontier_that_vanishes_is_no_fork(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, *upto(30))
            place = Place(disk)
            assert place.all() == upto(30)
            disk.remove_file(FRONTIER)
            assert place.all_looking() == upto(30), "the log proves 29 of them"
            await append(store, 31)
            assert place.all_looking() == upto(31)

    @pytest.mark.asyncio
    async def test_a_frontier_of_another_store_is_none(self) -> None:
        disk, other = SimulatedDisk(), SimulatedDisk(seed=9)
        async with opened(disk.reopen()) as store:
            await append(store, 1, 2)
        async with opened(other) as store:
            await append(store, *upto(5))
        disk.overwrite(FRONTIER, other.read_file(FRONTIER))
        place = Place(disk)
        assert place.all_looking() == [1, 2]
        assert place.follower.durable_seq == 2

    @pytest.mark.asyncio
    async def test_a_store_of_snapshots_only_has_no_events(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), use_wal=False, disk=disk) as store:
            await store.append(pay())
        with pytest.raises(HistoryUnavailableError, match="use_wal"):
            Place(disk)

    @pytest.mark.asyncio
    async def test_an_empty_store_is_waited_for(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            place = Place(disk)
            assert place.all() == []
            await append(store, 1)
            assert place.all() == [1]


class TestDamage:
    @pytest.mark.asyncio
    async def test_a_flipped_bit_is_never_delivered(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, segment_size=1 << 16) as store:
            await append(store, *upto(20))
        data = disk.read_file(segment_name(1))
        for bit in range(8 * HEADER_SIZE, 8 * len(data), 1001):
            damaged = disk.clone()
            damaged.flip_bit(segment_name(1), bit)
            place = Place(damaged)
            for _ in range(2):
                with pytest.raises(CorruptLogError):
                    place.all()
            assert place.seqs == place.amounts == upto(len(place.seqs))

    @pytest.mark.asyncio
    async def test_a_damaged_header_is_refused(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, 1)
        disk.flip_bit(segment_name(1), 300)
        with pytest.raises(CorruptLogError):
            Place(disk).all()

    @pytest.mark.asyncio
    async def test_a_device_that_fails_is_tried_again_at_the_same_place(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await append(store, 1)
            place = Place(disk)
            place.all()
            await append(store, 2)
            for name in (FRONTIER, segment_name(1)):
                disk.fail(kind="read", name=name)
                with pytest.raises(ReadFailedError):
                    place.all()
            assert place.all() == [1, 2]

    @pytest.mark.asyncio
    async def test_events_that_could_not_be_used_come_again(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            place = Place(disk)
            for last in (5, 60):
                await append(store, *range(store.seq + 1, last + 1))
                found = place.follower.next_chunk()
                assert found is not None
                place.follower.read_again()
                assert place.all() == upto(last)


class TestTail:
    @pytest.mark.asyncio
    async def test_a_segment_that_does_not_fit_is_refused_and_closed(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk.reopen()) as store:
            await append(store, 1)
        store_id = Frontier.decode(disk.read_file(FRONTIER)).store
        other = msgspec.json.decode(disk.read_file("store.json"))
        assert other["store"] == str(store_id)
        disk.write_file(segment_name(2), disk.read_file(segment_name(1)))
        with pytest.raises(InvalidBytesError, match="renamed"):
            SegmentTail(disk, store_id, 2)
        assert disk.calls[-1].kind == "close"

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda data: data[: HEADER_SIZE + 20], "cut short"),
            (lambda data: data[: HEADER_SIZE + 60], "cut short"),
            (lambda data: data[:HEADER_SIZE] + bytes(512), "no record"),
        ],
    )
    @pytest.mark.asyncio
    async def test_no_record_at_the_place(
        self, spoil: Callable[[bytes], bytes], reason: str
    ) -> None:
        disk = SimulatedDisk()
        async with opened(disk.reopen()) as store:
            await append(store, 1)
        told = Frontier.decode(disk.read_file(FRONTIER))
        disk.write_file(segment_name(1), spoil(disk.read_file(segment_name(1))))
        tail = SegmentTail(disk, told.store, 1)
        with pytest.raises(InvalidBytesError, match=reason):
            tail.read(1, 1, told.end, 1000)
        tail.close()

    @pytest.mark.asyncio
    async def test_a_length_of_gigabytes_is_not_asked_for(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk.reopen()) as store:
            await append(store, 1)
        told = Frontier.decode(disk.read_file(FRONTIER))
        data = bytearray(disk.read_file(segment_name(1)))
        data[HEADER_SIZE + 20 : HEADER_SIZE + 24] = b"\xff\xff\xff\xff"
        disk.write_file(segment_name(1), bytes(data))
        tail = SegmentTail(disk, told.store, 1)
        with pytest.raises(InvalidBytesError, match="does not fit"):
            tail.read(1, 1, told.end, 1000)
