"""The frontier: its bytes, and the moments at which a writer tells how far the log is durable."""

from __future__ import annotations

import errno
import logging
import struct
import uuid
import zlib
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventLog, EventStore, StoreFailedError, StoreFullError
from eventstore.disk.layout import FRONTIER, segment_name
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader, read_record
from eventstore.log.frontier_file import FRONTIER_SIZE, Frontier, WriterState
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.support.bank import bank_registry, pay

STORE = uuid.UUID("00010203-0405-4607-8809-0a0b0c0d0e0f")
QUIET: dict[str, Any] = {"auto_save_interval": None, "wal_max_entries": None, "idle_seal": 3600.0}
EXAMPLE = Frontier(STORE, 3, b"opening!", 41, 17, 4096, WriterState.OPEN, 0xC0FFEE)


def frontier(disk: SimulatedDisk) -> Frontier:
    return Frontier.decode(disk.read_file(FRONTIER))


def opened(disk: SimulatedDisk, **options: Any) -> Any:
    return EventStore.open("", bank_registry(), QUIET | options, disk=disk)


def end_of_event(disk: SimulatedDisk, segment: int, seq: int) -> int:
    """Return the offset behind the record of event `seq`."""
    data = disk.read_file(segment_name(segment))
    salt = SegmentHeader.decode(data[:HEADER_SIZE]).salt
    record = read_record(data, HEADER_SIZE, salt)
    while record.first_seq + record.events <= seq:
        record = read_record(data, record.end, salt)
    return record.end


class TestBytes:
    def test_the_bytes_are_those_of_the_format(self) -> None:
        checked = b"EVSTFRN\n" + struct.pack("<HHI", 1, 1, 3) + STORE.bytes + b"opening!"
        checked += struct.pack("<QQQII", 41, 17, 4096, 1, 0xC0FFEE)
        assert EXAMPLE.encode() == checked + struct.pack("<I", zlib.crc32(checked))
        assert len(EXAMPLE.encode()) == FRONTIER_SIZE

    def test_what_is_written_is_read_again(self) -> None:
        assert Frontier.decode(EXAMPLE.encode()) == EXAMPLE
        assert Frontier.decode(EXAMPLE.encode() + b"surplus") == EXAMPLE

    def test_every_flipped_bit_is_noticed(self) -> None:
        for bit in range(8 * FRONTIER_SIZE):
            data = bytearray(EXAMPLE.encode())
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises(InvalidBytesError):
                Frontier.decode(bytes(data))

    def test_torn_bytes_are_noticed(self) -> None:
        old, new = EXAMPLE.encode(), EXAMPLE._replace(seq=99, end=8192).encode()
        for at in range(1, FRONTIER_SIZE):
            for torn in (old[:at] + new[at:], new[:at] + old[at:]):
                if torn not in (old, new):
                    with pytest.raises(InvalidBytesError):
                        Frontier.decode(torn)
            with pytest.raises(InvalidBytesError, match="cut short"):
                Frontier.decode(old[:at])

    @pytest.mark.parametrize(("at", "value"), [(0, 0), (8, 2), (10, 2), (64, 0), (64, 3)])
    def test_another_format_is_refused(self, at: int, value: int) -> None:
        data = bytearray(EXAMPLE.encode())
        data[at] = value
        data[-4:] = struct.pack("<I", zlib.crc32(data[:-4]))
        with pytest.raises(InvalidBytesError, match=r"format|state"):
            Frontier.decode(bytes(data))


class TestTelling:
    @pytest.mark.asyncio
    async def test_it_tells_the_end_of_each_durable_event(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            assert frontier(disk)[3:] == (0, 0, 0, WriterState.OPEN, 0)
            for seq in range(1, 4):
                await store.append(pay())
                told = frontier(disk)
                end = end_of_event(disk, 1, seq)
                crc = zlib.crc32(disk.read_file(segment_name(1))[:end])
                assert told[3:] == (seq, 1, end, WriterState.OPEN, crc)
            manifest_store = uuid.UUID(str(told.store))
        again = frontier(disk)
        assert again == told._replace(state=WriterState.CLOSED)
        assert again.store == manifest_store

    @pytest.mark.asyncio
    async def test_every_opening_tells_anew(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(pay(), pay())
            first = frontier(disk)
        disk = disk.reopen()
        async with opened(disk) as store:
            second = frontier(disk)
            assert second.opening != first.opening
            assert second._replace(opening=first.opening) == first
            await store.append(pay())
            assert frontier(disk)[3:6] == (3, 3, end_of_event(disk, 3, 3))

    @pytest.mark.asyncio
    async def test_an_opening_tells_what_recovery_found(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(pay())
            old = disk.read_file(FRONTIER)
            await store.append(pay())
            killed = disk.after_kill()
        killed.write_file(FRONTIER, old)  # the writer was killed before it told of event 2
        async with opened(killed):
            assert frontier(killed)[3:6] == (2, 1, end_of_event(killed, 1, 2))

    @pytest.mark.asyncio
    async def test_it_goes_from_segment_to_segment(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, segment_size=4096) as store:
            for seq in range(1, 60):
                await store.append(pay(account="x" * 100))
                told = frontier(disk)
                assert told.seq == seq
                assert told.end == end_of_event(disk, told.segment, seq)
            assert told.segment > 20

    @pytest.mark.asyncio
    async def test_a_log_tells_too(self) -> None:
        disk = SimulatedDisk()
        async with EventLog.open(disk=disk, config=QUIET) as log:
            await log.append(b"one", b"two")
            assert frontier(disk).seq == 2

    @pytest.mark.asyncio
    async def test_a_store_without_a_log_has_none(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), use_wal=False, disk=disk) as store:
            await store.append(pay())
        assert FRONTIER not in disk.files()

    @pytest.mark.asyncio
    async def test_a_reader_changes_nothing(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(pay())
        before = disk.read_file(FRONTIER)
        async with EventStore.open("", bank_registry(), disk=disk.reopen(), read_only=True):
            assert disk.read_file(FRONTIER) == before

    def test_only_what_is_synced_is_told_in_interval_mode(self) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            async with opened(disk, durability="interval", sync_interval=60.0) as store:
                await store.append(pay())
                assert frontier(disk).seq == 0
                await store.flush()
                assert frontier(disk).seq == 1

        run_in_virtual_time(program())

    @pytest.mark.asyncio
    async def test_what_is_written_is_told_in_mode_none(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk, durability="none") as store:
            await store.append(pay())
            assert frontier(disk)[3:6] == (1, 1, end_of_event(disk, 1, 1))


class TestFailures:
    @pytest.mark.asyncio
    async def test_a_refused_commit_is_not_told(self) -> None:
        disk = SimulatedDisk()
        async with opened(disk) as store:
            await store.append(pay())
            before = frontier(disk)
            disk.fail(kind="write", errno=errno.ENOSPC)
            with pytest.raises(StoreFullError):
                await store.append(pay())
            assert frontier(disk) == before
            await store.append(pay())
            assert frontier(disk).seq == 2

    @pytest.mark.asyncio
    async def test_nor_is_one_whose_sync_failed(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await store.append(pay())
        before = frontier(disk)
        disk.fail(kind="sync")
        with pytest.raises(StoreFailedError):
            await store.append(pay())
        await store.close()
        assert frontier(disk) == before, "not even that it was closed"

    @pytest.mark.asyncio
    async def test_nor_is_one_of_a_directory_that_was_taken_away(self) -> None:
        disk = SimulatedDisk()
        store = await opened(disk)
        await store.append(pay())
        before = frontier(disk)
        disk.move_away()
        with pytest.raises(StoreFailedError):
            await until_refused(store)
        await store.close()
        after = frontier(disk)
        assert after.state is WriterState.OPEN
        assert after._replace(seq=1, end=before.end, data_crc=before.data_crc) == before

    @pytest.mark.asyncio
    async def test_a_frontier_that_cannot_be_written_is_a_warning_and_no_more(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / FRONTIER).mkdir()
        with caplog.at_level(logging.WARNING):
            async with EventStore.open(tmp_path, bank_registry(), QUIET) as store:
                await store.append(pay())
                await store.append(pay())
                await store.close()
        (warning,) = [r.getMessage() for r in caplog.records if FRONTIER in r.getMessage()]
        assert "the log is not affected" in warning

    @pytest.mark.asyncio
    async def test_a_copy_of_hard_links_is_not_written_to(self, tmp_path: Path) -> None:
        store, copy = tmp_path / "store", tmp_path / "copy"
        async with EventStore.open(store, bank_registry(), QUIET) as opened_store:
            await opened_store.append(pay())
        copy.hardlink_to(store / FRONTIER)
        before = copy.read_bytes()
        async with EventStore.open(store, bank_registry(), QUIET) as opened_store:
            await opened_store.append(pay())
        assert copy.read_bytes() == before
        assert Frontier.decode((store / FRONTIER).read_bytes()).seq == 2


async def until_refused(store: EventStore[Any]) -> None:
    while True:
        await store.append(pay())


class TestPowerCuts:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("durability", ["commit", "interval"])
    async def test_it_is_never_ahead_of_what_recovery_finds(self, durability: str) -> None:
        disk = SimulatedDisk(seed=5)
        async with opened(disk, durability=durability, segment_size=4096) as store:
            for number in range(1, 25):
                await store.append(pay(account="x" * 200))
                if number % 5 == 0:
                    await store.flush()
                for seed in range(6):
                    cut = disk.after_power_cut(seed)
                    told = frontier_or_none(cut)
                    async with opened(cut, segment_size=4096) as recovered:
                        assert told is None or told.seq <= recovered.seq

    def test_it_may_be_missing_old_or_torn(self) -> None:
        disk = SimulatedDisk(seed=1)
        for content in (b"a" * 72, b"b" * 72, b"c" * 72):
            disk.overwrite(FRONTIER, content)
        cuts = [disk.after_power_cut(seed) for seed in range(200)]
        left = {cut.contents().get(FRONTIER) for cut in cuts}
        assert {None, b"a" * 72, b"b" * 72, b"c" * 72} < left
        assert any(content is not None and len({*content}) > 1 for content in left)


def frontier_or_none(disk: SimulatedDisk) -> Frontier | None:
    try:
        return frontier(disk)
    except (FileNotFoundError, InvalidBytesError):
        return None
