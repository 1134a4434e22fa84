"""Compaction: sealed segments into archives, and one history over both."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import pytest

from eventstore.config import History
from eventstore.disk.base import give_way
from eventstore.disk.layout import archive_name, segment_name
from eventstore.disk.manifest import load_manifest
from eventstore.errors import (
    CorruptLogError,
    CorruptStoreError,
    EventStoreError,
    HistoryUnavailableError,
)
from eventstore.event_log import EventLog
from eventstore.log import archive, repacking, tail_verdict
from eventstore.log.archive import compact, read_archive
from eventstore.log.archive_format import encode_index, read_index
from eventstore.log.format import HEADER_SIZE, SealKind, SegmentHeader
from eventstore.log.tail_verdict import Clean, classify_tail
from eventstore.os_errors import SyncFailedError
from eventstore.testing import Call, SimulatedCrash, SimulatedDisk
from tests.log.samples import (
    commit,
    flipped,
    new_log,
    open_on,
    several_segments,
    values_on,
    writer_after,
    writer_on,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SEGMENTS = [segment_name(seq) for seq in (1, 3, 5, 7)]
ARCHIVES = [archive_name(seq) for seq in (1, 3, 5)]


def compacted(horizon: int, history: History) -> tuple[SimulatedDisk, list[object]]:
    disk, values = several_segments()
    compact(disk, load_manifest(disk), horizon, history)
    return disk, values


def of_history(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.files() if name.startswith(("log/", "archive/"))]


def of_size(data: bytes, size: int) -> bytes:
    """Replace the size in the header of a segment."""
    header = msgspec.structs.replace(SegmentHeader.decode(data), size=size)
    return header.encode() + data[HEADER_SIZE:]


def of_changed(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return what compresses a changed segment, given the frame of the segment."""
    return lambda frame: zstd.compress(change(zstd.decompress(frame)))


def calls_of_compaction(start: SimulatedDisk) -> list[Call]:
    disk = start.clone()
    compact(disk, load_manifest(disk), 6, "archive")
    return list(disk.calls)


class TestHorizon:
    @pytest.mark.parametrize(
        ("horizon", "archived"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (6, 3), (8, 3), (999, 3)]
    )
    def test_only_whole_segments_up_to_it_and_never_the_last(
        self, horizon: int, archived: int
    ) -> None:
        disk, values = compacted(horizon, "archive")
        assert of_history(disk) == ARCHIVES[:archived] + SEGMENTS[archived:]
        manifest = load_manifest(disk)
        assert manifest.log_start == 1 + 2 * archived
        assert manifest.history_start == 1
        spans = [(first, last) for first, last, *_ in manifest.archived]
        assert spans == [(seq, seq + 1) for seq in range(1, 1 + 2 * archived, 2)]
        assert values_on(disk) == values
        assert open_on(disk).next_seq == 9

    def test_to_keep_is_to_do_nothing(self) -> None:
        before, _ = several_segments()
        disk, values = compacted(999, "keep")
        assert disk.contents() == before.contents()
        assert values_on(disk) == values

    def test_to_discard_leaves_no_archive(self) -> None:
        disk, values = compacted(4, "discard")
        assert of_history(disk) == SEGMENTS[2:]
        manifest = load_manifest(disk)
        assert (manifest.log_start, manifest.history_start, manifest.archived) == (5, 5, ())
        assert values_on(disk, start=5) == values[4:]
        assert open_on(disk).next_seq == 9

    def test_to_discard_later_discards_the_archives_too(self) -> None:
        disk, values = compacted(4, "archive")
        compact(disk, load_manifest(disk), 6, "discard")
        assert of_history(disk) == SEGMENTS[3:]
        assert values_on(disk, start=7) == values[6:]

    def test_a_second_time_goes_on_where_the_first_ended(self) -> None:
        disk, values = compacted(2, "archive")
        compact(disk, load_manifest(disk), 6, "archive")
        assert of_history(disk) == ARCHIVES + SEGMENTS[3:]
        assert values_on(disk) == values


class TestArchive:
    def test_it_is_a_sealed_segment_of_fewer_and_larger_records(self) -> None:
        disk, _ = compacted(6, "archive")
        data = read_archive(disk, ARCHIVES[1])
        header = SegmentHeader.decode(data)
        tail = classify_tail(data, header)
        assert isinstance(tail, Clean)
        assert (tail.sealed, len(tail.records), tail.next_seq) == (SealKind.CLOSED, 1, 5)
        assert (header.first_seq, header.previous_first) == (3, 1)

    def test_it_is_verified_and_synced_before_the_segment_goes(self) -> None:
        disk, _ = several_segments()
        since = len(disk.calls)
        compact(disk, load_manifest(disk), 2, "archive")
        made = [str(call) for call in disk.calls[since:]]
        steps = [
            "sync archive/new.tmp",
            f"rename archive/new.tmp {ARCHIVES[0]}",
            "sync_folder archive",
            f"open {ARCHIVES[0]}",
            "rename store.json.tmp store.json",
            "sync_folder .",
            f"remove {SEGMENTS[0]}",
            "sync_folder log",
        ]
        positions = [len(made) - 1 - made[::-1].index(step) for step in steps]
        assert positions == sorted(positions)

    @pytest.mark.parametrize("bit", [8 * 30 + 1, 8 * 70 + 3, 8 * 120 + 5])
    def test_a_segment_whose_archive_reads_back_otherwise_stays(self, bit: int) -> None:
        class Lying(SimulatedDisk):
            """A disk that flips a bit of a file when the file is renamed into the archive."""

            def rename(self, old: str, new: str) -> None:
                super().rename(old, new)
                if new == ARCHIVES[0]:
                    self.flip_bit(new, bit)

        disk = Lying()
        honest, values = several_segments()
        for name, content in honest.contents().items():
            disk.write_file(name, content)
        with pytest.raises(CorruptLogError):
            compact(disk, load_manifest(disk), 2, "archive")
        assert SEGMENTS[0] in disk.files()
        assert load_manifest(disk).archived == ()
        assert values_on(disk) == values

    def test_nor_one_whose_archive_is_sound_and_holds_something_else(self) -> None:
        other = new_log(seed=9)
        writer = writer_on(other)
        for value in ("other", "values"):
            commit(writer, value)
        writer.close()
        commit(writer_after(other), "and a successor")
        compact(other, load_manifest(other), 2, "archive")
        foreign = other.read_file(ARCHIVES[0])

        class Mistaken(SimulatedDisk):
            """A disk that puts another archive in the place of the renamed archive."""

            def rename(self, old: str, new: str) -> None:
                super().rename(old, new)
                if new == ARCHIVES[0]:
                    self.write_file(new, foreign)

        disk = Mistaken()
        for name, content in several_segments()[0].contents().items():
            disk.write_file(name, content)
        with pytest.raises(CorruptLogError, match="does not hold what was written"):
            compact(disk, load_manifest(disk), 2, "archive")
        assert (SEGMENTS[0] in disk.files(), ARCHIVES[0] in disk.files()) == (True, False)

    @pytest.mark.parametrize("history", ["archive", "discard"])
    @pytest.mark.parametrize("lost", [0, 1, 2])
    def test_a_hole_ends_it_and_is_found_by_the_next_opening(
        self, lost: int, history: History
    ) -> None:
        """Neither an archive nor `store.json` may hide the missing events."""
        disk, _ = several_segments()
        disk.remove_file(SEGMENTS[lost])
        for _ in range(2):
            with pytest.raises(CorruptLogError, match="is missing") as raised:
                compact(disk, load_manifest(disk), 6, history)
            assert raised.value.path == f"simulated/{SEGMENTS[lost]}"
            assert raised.value.expected_seq == 1 + 2 * lost
        manifest = load_manifest(disk)
        assert manifest.log_start <= 1 + 2 * lost
        assert set(SEGMENTS[lost + 1 :]) <= set(of_history(disk))
        with pytest.raises(CorruptLogError):
            open_on(disk)

    @pytest.mark.parametrize("history", ["archive", "discard"])
    def test_a_damaged_segment_is_not_archived(self, history: History) -> None:
        disk, _ = several_segments()
        disk.flip_bit(SEGMENTS[1], 8 * (HEADER_SIZE + 45))
        before = disk.read_file(SEGMENTS[1])
        if history == "discard":
            compact(
                disk, load_manifest(disk), 6, history
            )  # a discarded segment is never read again
            assert of_history(disk) == SEGMENTS[3:]
            return
        with pytest.raises(CorruptLogError) as raised:
            compact(disk, load_manifest(disk), 6, history)
        assert raised.value.path.endswith(SEGMENTS[1])
        assert disk.read_file(SEGMENTS[1]) == before
        assert [first for first, *_ in load_manifest(disk).archived] == [1]


class TestCrashes:
    @pytest.mark.parametrize("history", ["archive", "discard"])
    def test_at_every_call_of_a_compaction(self, history: History) -> None:
        """After a kill or a power cut at each call, the store opens with its whole history."""
        start, values = several_segments()
        counted = start.clone()
        compact(counted, load_manifest(counted), 6, history)
        for number in range(1, len(counted.calls) + 1):
            disk = start.clone()
            disk.crash_at(number)
            with pytest.raises(SimulatedCrash):
                compact(disk, load_manifest(disk), 6, history)
            for after in (disk.after_kill(), *disk.images(limit=12)):
                manifest = load_manifest(after)
                first = manifest.history_start
                assert values_on(after, start=first) == values[first - 1 :]
                assert open_on(after).next_seq == 9
                compact(after, manifest, 6, history)
                assert load_manifest(after).log_start == 7
                assert SEGMENTS[0] not in after.files()

    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
    def test_at_every_call_that_fails(self, code: int) -> None:
        """The next compaction finishes the work, also that of a closing after a failed sync."""
        start, values = several_segments()
        for number, call in enumerate(calls_of_compaction(start), 1):
            disk = start.clone()
            disk.fail(number, errno=code)
            if call.kind in ("sync", "sync_folder"):
                with pytest.raises(SyncFailedError):
                    compact(disk, load_manifest(disk), 6, "archive")
                disk.heal()
                compact(disk, load_manifest(disk), 6, "archive")
                for image in range(8):
                    assert values_on(disk.after_power_cut(image)) == values, call
                continue
            with contextlib.suppress(OSError, EventStoreError):
                compact(disk, load_manifest(disk), 6, "archive")
            disk.heal()
            assert values_on(disk) == values
            compact(disk, load_manifest(disk), 6, "archive")
            assert of_history(disk) == ARCHIVES + SEGMENTS[3:]
            assert values_on(disk.after_power_cut(number)) == values

    @pytest.mark.asyncio
    async def test_a_failed_sync_is_not_believed_by_the_next_opening(self) -> None:
        """The next process sees the unsynced files, although the files are not durable."""
        start, values = several_segments()
        for number, call in enumerate(calls_of_compaction(start), 1):
            if call.kind not in ("sync", "sync_folder"):
                continue
            disk = start.clone()
            disk.fail(number)
            with pytest.raises(SyncFailedError):
                compact(disk, load_manifest(disk), 6, "archive")
            after = disk.after_kill()
            async with EventLog.open(disk=after) as log:
                assert [event.data async for event in log.read()] == values
            for image in after.images(limit=12):
                assert values_on(image) == values, call
                assert open_on(image).next_seq == 9, call

    @pytest.mark.asyncio
    async def test_leftovers_are_removed_when_the_store_is_opened(self) -> None:
        disk, values = several_segments()
        segment = disk.read_file(SEGMENTS[0])
        compact(disk, load_manifest(disk), 2, "archive")
        disk.write_file(SEGMENTS[0], segment)  # archived and not yet removed
        disk.write_file("archive/new.tmp", b"half")  # not finished
        disk.write_file(archive_name(3), b"half")  # not in store.json, so made again
        async with EventLog.open(disk=disk) as log:
            assert [event.data async for event in log.read()] == values
            assert log.recovery.unknown_files == ()
        disk = disk.reopen()
        assert SEGMENTS[0] not in disk.files()
        assert "archive/new.tmp" not in disk.files()
        compact(disk, load_manifest(disk), 4, "archive")
        assert values_on(disk) == values


class TestReading:
    def test_archive_and_log_are_one_history(self) -> None:
        disk, values = compacted(4, "archive")
        for start in range(1, 10):
            assert values_on(disk, start) == values[start - 1 :]
            for stop in range(start, 10):
                assert values_on(disk, start, stop) == values[start - 1 : stop - 1]

    def test_discarded_history_says_what_is_left(self) -> None:
        disk, _ = compacted(4, "discard")
        for start in (1, 4):
            with pytest.raises(HistoryUnavailableError, match=r"event 5|before 5") as raised:
                values_on(disk, start)
            assert (raised.value.requested, raised.value.first_available) == (start, 5)

    def test_a_damaged_archive_is_never_believed(self) -> None:
        disk, _ = compacted(2, "archive")
        data = disk.read_file(ARCHIVES[0])
        for bit in range(8 * len(data)):
            disk.write_file(ARCHIVES[0], flipped(data, bit))
            with pytest.raises(CorruptLogError) as raised:
                values_on(disk, stop=3)
            assert raised.value.path == f"simulated/{ARCHIVES[0]}"

    def test_a_shortened_archive_is_never_believed(self) -> None:
        disk, _ = compacted(2, "archive")
        data = disk.read_file(ARCHIVES[0])
        for length in range(len(data)):
            disk.write_file(ARCHIVES[0], data[:length])
            with pytest.raises(CorruptLogError):
                values_on(disk, stop=3)

    def test_neither_is_a_lengthened_one(self) -> None:
        disk, _ = compacted(2, "archive")
        disk.write_file(ARCHIVES[0], disk.read_file(ARCHIVES[0]) * 2)
        with pytest.raises(CorruptLogError, match="corrupt"):
            values_on(disk, stop=3)

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            pytest.param(lambda frame: b"no frame" * 9, "corrupt", id="no frame at all"),
            pytest.param(lambda frame: flipped(frame, 200), "corrupt", id="a frame damaged"),
            pytest.param(lambda frame: frame[:-9], "corrupt", id="half a one"),
            pytest.param(lambda frame: frame * 2, "not one whole Zstandard frame", id="two"),
            pytest.param(
                lambda frame: frame + b"!", "not one whole Zstandard frame", id="and more"
            ),
            pytest.param(of_changed(lambda data: data + bytes(8)), "not of the", id="more"),
            pytest.param(of_changed(lambda data: data[:-8]), "not of the", id="less"),
            pytest.param(of_changed(lambda data: b""), "not of the", id="nothing"),
            pytest.param(
                of_changed(lambda data: of_size(data, 1 << 40)), "not of the", id="another size"
            ),
            pytest.param(
                of_changed(lambda data: flipped(data, 100)), "header's checksum", id="no header"
            ),
        ],
    )
    def test_a_checksum_that_fits_makes_no_archive_of_it(
        self, spoil: Callable[[bytes], bytes], reason: str
    ) -> None:
        """A valid checksum proves that nothing changed later, and proves nothing else."""
        disk, values = compacted(2, "archive")
        whole = disk.read_file(ARCHIVES[0])
        index = read_index(whole, len(whole))
        frame = spoil(whole[: index.frames[-1]])
        told = index._replace(checksums=(zlib.crc32(frame),), frames=(0, len(frame)))
        disk.write_file(ARCHIVES[0], frame + encode_index(told))
        with pytest.raises(CorruptLogError, match=reason) as raised:
            values_on(disk, stop=3)
        assert (raised.value.path, raised.value.expected_seq) == (f"simulated/{ARCHIVES[0]}", 1)
        disk.write_file(ARCHIVES[0], whole)
        assert values_on(disk) == values

    def test_the_first_block_of_a_frame(self) -> None:
        disk, _ = compacted(2, "archive")
        data = read_archive(disk, ARCHIVES[0])
        compressor = zstd.ZstdCompressor()
        compressor.set_pledged_input_size(len(data))
        frame = compressor.compress(data[: HEADER_SIZE + 100], zstd.ZstdCompressor.FLUSH_BLOCK)
        whole = disk.read_file(ARCHIVES[0])
        told = read_index(whole, len(whole))._replace(
            checksums=(zlib.crc32(frame),), frames=(0, len(frame))
        )
        disk.write_file(ARCHIVES[0], frame + encode_index(told))
        with pytest.raises(CorruptLogError, match=f"not of the {len(data)} bytes"):
            values_on(disk, stop=3)

    def test_archives_under_each_others_names(self) -> None:
        disk, _ = compacted(4, "archive")
        contents = disk.contents()
        disk.write_file(ARCHIVES[0], contents[ARCHIVES[1]])
        disk.write_file(ARCHIVES[1], contents[ARCHIVES[0]])
        with pytest.raises(CorruptLogError, match="another segment's"):
            values_on(disk)

    def test_the_last_archive_is_not_the_end_where_the_log_is_missing(self) -> None:
        disk, _ = compacted(4, "archive")
        for name in SEGMENTS[2:]:
            disk.remove_file(name)
        with pytest.raises(CorruptLogError, match="the segment is missing") as raised:
            values_on(disk)
        assert (raised.value.path, raised.value.expected_seq) == (f"simulated/{SEGMENTS[2]}", 5)

    @pytest.mark.parametrize("name", ARCHIVES[:2])
    def test_a_missing_archive_is_not_the_end_of_history(self, name: str) -> None:
        disk, _ = compacted(4, "archive")
        disk.remove_file(name)
        with pytest.raises(CorruptStoreError):
            values_on(disk)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ARCHIVES[:2])
    @pytest.mark.parametrize("read_only", [False, True])
    async def test_a_missing_archive_is_told_when_the_store_is_opened(
        self, name: str, read_only: bool
    ) -> None:
        disk, _ = compacted(4, "archive")
        disk.remove_file(name)
        with pytest.raises(CorruptLogError, match="missing") as raised:
            await EventLog.open(disk=disk, read_only=read_only)
        assert raised.value.path == f"simulated/{name}"


class TestGivingWay:
    """Archiving runs beside an event loop, which waits for the interpreter's lock."""

    def test_never_more_than_a_few_records_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = new_log()
        writer = writer_on(disk, segment_size=1 << 20)
        for number in range(1000):
            commit(writer, str(number))
        writer.close()
        commit(writer_after(disk), "next")
        monkeypatch.setattr(disk, "blocking", True)
        since = dict.fromkeys(("read_record", "latest_time", "decompress_block"), 0)
        most: dict[str, int] = {}

        def counted(module: ModuleType, name: str) -> None:
            call = getattr(module, name)

            def counting(*args: Any, **kwargs: Any) -> Any:
                since[name] += 1
                most[name] = max(most.get(name, 0), since[name])
                return call(*args, **kwargs)

            monkeypatch.setattr(module, name, counting)

        def rest(seconds: float) -> None:
            assert seconds > 0.0, "a sleep of no length is over before another thread is awake"
            since.update(dict.fromkeys(since, 0))

        counted(tail_verdict, "read_record")
        counted(repacking, "latest_time")
        counted(archive, "decompress_block")
        monkeypatch.setattr(time, "sleep", rest)
        manifest = compact(disk, load_manifest(disk), 1000, "archive", lambda: give_way(disk))
        assert manifest.log_start == 1001
        assert 1 <= most["read_record"] <= 400
        assert most["latest_time"] == 1
        assert most["decompress_block"] == 1
