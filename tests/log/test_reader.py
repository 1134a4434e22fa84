"""The log reader: from any event on, beside a writer, during compaction, and on a bad disk."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from eventstore.disk.base import Disk
from eventstore.disk.layout import segment_name
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptLogError, HistoryUnavailableError, ReadFailedError
from eventstore.event_log import EventLog
from eventstore.log import runs
from eventstore.log.archive import compact
from eventstore.log.base import Chunk
from eventstore.log.format import HEADER_SIZE, SEAL_SIZE, SealKind, encode_record
from eventstore.log.reader import LogReader
from eventstore.log.recovery import examine_log
from eventstore.log.runs import CHUNK_BYTES, CHUNK_EVENTS, chunks_of
from eventstore.model.codec import EventCodec
from eventstore.testing import Call, Fault, SimulatedDisk
from tests.log.samples import (
    STORE,
    SegmentBytes,
    body,
    commit,
    new_log,
    open_on,
    several_segments,
    values_on,
    writer_after,
    writer_on,
)

FIRST, SECOND = segment_name(1), segment_name(3)
ROOT = Path(__file__).resolve().parent.parent.parent


def chunks(disk: Disk, start: int = 1, stop: int | None = None) -> list[Chunk]:
    return list(LogReader(disk, load_manifest(disk).store).chunks(start, stop))


def values_in(chunk: Chunk) -> list[object]:
    return [event.data for event in EventCodec().decode(chunk.array, chunk.events, chunk.first_seq)]


class TestRange:
    def grouped(self) -> tuple[SimulatedDisk, list[object]]:
        """Records of one to five events, over several segments, the last one unsealed."""
        disk = new_log()
        writer = writer_on(disk)
        values: list[object] = []
        for size in (1, 5, 2, 4, 3) * 4:
            group = [f"{len(values) + index}" + "x" * 90 for index in range(size)]
            commit(writer, *group)
            values += group
        assert len([name for name in disk.files() if name.startswith("log/")]) > 1
        return disk, values

    def test_every_start_in_the_middle_of_records_too(self) -> None:
        disk, values = self.grouped()
        for start in range(1, len(values) + 1):
            assert values_on(disk, start) == values[start - 1 :]

    def test_every_stop(self) -> None:
        disk, values = self.grouped()
        for start in (1, 3, 30):
            for stop in range(start, len(values) + 2):
                assert values_on(disk, start, stop) == values[start - 1 : stop - 1]

    def test_nothing_before_the_first_record_wanted_is_handed_over(self) -> None:
        disk, _ = self.grouped()
        for start in range(1, 60, 7):
            (first, *_) = chunks(disk, start)
            assert first.first_seq <= start < first.first_seq + first.events

    @pytest.mark.parametrize(("events", "size"), [(3, CHUNK_BYTES), (CHUNK_EVENTS, 300)])
    def test_a_segment_in_memory_gives_the_same(
        self, events: int, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`chunks_of` gives the same chunks from the verified bytes of an opened segment."""
        monkeypatch.setattr(runs, "CHUNK_EVENTS", events)
        disk, values = self.grouped()
        last = examine_log(disk, STORE, Listing.read(disk), log_start=1, verify_from=1).last
        assert last.first_seq > 1
        for start in range(last.first_seq, len(values) + 2):
            found = list(chunks_of(last.data, last.records, start, size))
            read = LogReader(disk, STORE, size).chunks(start) if start <= len(values) else []
            assert found == list(read)
        assert len(list(chunks_of(last.data, last.records, last.first_seq, size))) > 1

    @pytest.mark.parametrize("start", [61, 1000])
    def test_a_start_behind_the_end_finds_nothing(self, start: int) -> None:
        disk, values = self.grouped()
        assert len(values) == 60
        assert chunks(disk, start) == []

    @pytest.mark.parametrize("start", [0, -5])
    def test_a_start_before_the_beginning_is_the_beginning(self, start: int) -> None:
        disk, values = self.grouped()
        assert chunks(disk, start) == chunks(disk, 1)
        assert sum(chunk.events for chunk in chunks(disk)) == len(values)

    def test_records_are_joined_so_that_one_call_decodes_them_all(self) -> None:
        disk = new_log()
        writer = writer_on(disk, segment_size=1 << 20)
        for number in range(2000):
            writer.commit(writer.next_seq, 1, run_of(number + 1, 1), sync=False)
        assert [chunk.events for chunk in chunks(disk)] == [2000]

    def test_chunks_are_bounded(self) -> None:
        disk = new_log()
        writer = writer_on(disk, segment_size=8 << 20)
        seq = 1
        for _ in range(30):
            writer.commit(writer.next_seq, 500, run_of(seq, 500), sync=False)
            seq += 500
        for chunk in chunks(disk):
            assert chunk.events < CHUNK_EVENTS + 500
            assert len(chunk.array) < CHUNK_BYTES + 50_000
        assert sum(chunk.events for chunk in chunks(disk)) == 15_000

    @pytest.mark.parametrize("size", [1, 2000])
    def test_those_of_a_sealed_segment_too(self, size: int) -> None:
        disk = new_log()
        writer = writer_on(disk, segment_size=8 << 20)
        for number in range(30):
            run = body(1 + 500 * number, *["x" * size] * 500)
            writer.commit(writer.next_seq, 500, run, sync=False)
        writer.close()
        found = chunks(disk)
        assert [chunk.first_seq for chunk in found] == [
            1 + sum(chunk.events for chunk in found[:number]) for number in range(len(found))
        ]
        assert sum(chunk.events for chunk in found) == 15_000
        for chunk in found:
            assert chunk.events < CHUNK_EVENTS + 500
            assert len(chunk.array) < CHUNK_BYTES + 500 * (size + 100)
        assert values_on(disk, start=14_000) == ["x" * size] * 1001


def run_of(first_seq: int, count: int) -> bytes:
    return body(first_seq, *["value"] * count)


class TestBesideTheWriter:
    def test_it_sees_what_is_written_while_it_reads(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        reader = LogReader(disk, STORE).chunks()
        found = values_in(next(reader))
        for value in ("second", "x" * 3000, "x" * 3001, "last"):
            commit(writer, value)
        assert found == ["first"]
        assert len(values_on(disk)) == 5
        rest = [value for chunk in reader for value in values_in(chunk)]
        assert rest in ([], values_on(disk, start=2))

    def test_it_follows_a_writer_call_by_call(self) -> None:
        """A read before any call of the writer sees a prefix that holds every durable event."""
        disk = new_log()
        writer = writer_on(disk)
        durable: list[object] = []
        seen: list[int] = []
        looking = False

        def look(call: Call) -> Fault | None:
            nonlocal looking
            if not looking and call.kind in ("write", "sync", "rename", "truncate", "create"):
                looking = True
                found = values_on(disk) if FIRST in disk.files() else []
                assert found[: len(durable)] == durable
                assert len(found) <= len(durable) + 1
                seen.append(len(found))
                looking = False
            return None

        disk.add_rule(look)
        for number in range(12):
            value = f"{number}" + "x" * 900
            commit(writer, value)
            durable.append(value)
            if number % 5 == 0:
                writer.seal_idle()
                writer.prepare_spare()
        writer.close()
        assert seen == sorted(seen)
        assert len(set(seen)) > 10

    def test_a_mended_segment_is_read_on_from_the_same_event(self) -> None:
        """The next writer rewrites a segment with a new salt while a reader is in the middle."""
        disk = new_log()
        writer = writer_on(disk, segment_size=1 << 20)
        values: list[object] = [f"{number}" for number in range(20)]
        writer.commit(writer.next_seq, 5000, run_of(1, 5000), sync=True)
        for value in values:
            commit(writer, value)
        survivor = disk.after_kill()
        reader = LogReader(survivor, STORE).chunks()
        first = next(reader)
        assert first.events == 5000
        open_on(survivor)
        writer = writer_after(survivor)
        commit(writer, "later")
        rest = [value for chunk in reader for value in values_in(chunk)]
        assert rest[:20] == values
        assert values_on(survivor, start=5021) == ["later"]

    @pytest.mark.parametrize("lost", [False, True])
    def test_the_writer_goes_on_to_the_next_segment_behind_the_reader_s_back(
        self, lost: bool
    ) -> None:
        """At the end of its data the reader reads again, and finds a segment with a successor."""
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        looks = 0

        def rule(call: Call) -> Fault | None:
            nonlocal looks
            if (call.kind, call.name) == ("open", FIRST):
                looks += 1
                if looks == 2:
                    commit(writer, "x" * 4000)
                    if lost:
                        disk.remove_file(segment_name(2))
            return None

        disk.add_rule(rule)
        if lost:
            with pytest.raises(CorruptLogError, match="says that there is one after it") as raised:
                values_on(disk)
            assert raised.value.path == f"simulated/{segment_name(2)}"
            assert raised.value.expected_seq == 2
        else:
            assert values_on(disk) == ["first", "x" * 4000]

    def test_a_torn_end_is_the_end(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        disk.fail(kind="write", errno=errno.EIO, effect="partial")
        with pytest.raises(Exception, match="EIO"):
            commit(writer, "x" * 1000)
        assert values_on(disk) == ["first"]

    @pytest.mark.asyncio
    async def test_a_read_only_log_beside_the_writer_in_one_process(self, tmp_path: Path) -> None:
        async with EventLog.open(tmp_path / "s") as log:
            for number in range(5):
                await log.append(number)
                async with EventLog.open(tmp_path / "s", read_only=True) as other:
                    assert [event.data async for event in other.read()] == list(range(number + 1))
            assert [event.data async for event in log.read()] == list(range(5))

    @pytest.mark.asyncio
    async def test_a_second_process_reads_while_the_first_writes(self, tmp_path: Path) -> None:
        script = (
            "import sys; from eventstore import read_events; "
            "print(*[event.data for event in read_events(sys.argv[1])])"
        )
        async with EventLog.open(tmp_path / "s", segment_size=4096) as log:
            for number in range(100):
                await log.append(number)
            run = subprocess.run(  # noqa: ASYNC221  the loop has nothing else to do
                [sys.executable, "-c", script, str(tmp_path / "s")],
                capture_output=True,
                check=True,
                text=True,
                cwd=ROOT,
            )
            await log.append("after")
        assert run.stdout.split() == [str(number) for number in range(100)]


class TestCompaction:
    @pytest.mark.parametrize("read_before", range(4))
    def test_segments_move_to_the_archive_while_they_are_read(self, read_before: int) -> None:
        disk, values = several_segments()
        reader = LogReader(disk, STORE).chunks()
        found = [value for _ in range(read_before) for value in values_in(next(reader))]
        compact(disk, load_manifest(disk), 6, "archive")
        found += [value for chunk in reader for value in values_in(chunk)]
        assert found == values

    def test_at_every_call_of_the_reader(self) -> None:
        start, values = several_segments()
        counted = start.clone()
        values_on(counted)
        for number in range(1, len(counted.calls) + 1):
            disk = start.clone()
            made = 0

            def rule(call: Call) -> Fault | None:
                nonlocal made
                made += 1
                if made == number:  # noqa: B023  called within this turn only
                    compact(disk, load_manifest(disk), 6, "archive")  # noqa: B023  the same
                return None

            disk.add_rule(rule)
            assert values_on(disk) == values, number

    @pytest.mark.parametrize("read_before", [0, 1, 2])
    def test_what_is_discarded_meanwhile_is_an_error_and_no_end(self, read_before: int) -> None:
        disk, values = several_segments()
        reader = LogReader(disk, STORE).chunks()
        found = [value for _ in range(read_before) for value in values_in(next(reader))]
        compact(disk, load_manifest(disk), 6, "discard")
        with pytest.raises(HistoryUnavailableError) as raised:
            list(reader)
        assert found == values[: 2 * read_before]
        assert raised.value.requested == 2 * read_before + 1
        assert raised.value.first_available == 7


class TestFailures:
    @pytest.mark.parametrize("name", [FIRST, SECOND])
    @pytest.mark.parametrize("kind", ["open", "read", "size"])
    def test_an_unreadable_file_is_named_and_never_the_end(self, name: str, kind: str) -> None:
        disk, _ = several_segments()
        disk.fail(kind=kind, name=name, errno=errno.EIO, forever=True)
        with pytest.raises(ReadFailedError, match=r"cannot be read.*EIO") as raised:
            values_on(disk)
        assert raised.value.path == f"simulated/{name}"
        assert raised.value.offset == 0
        assert raised.value.errno == errno.EIO
        disk.heal()
        assert len(values_on(disk)) == 8

    def test_an_unreadable_folder_too(self) -> None:
        disk, _ = several_segments()
        disk.fail(kind="list", errno=errno.EIO)
        with pytest.raises(ReadFailedError):
            chunks(disk)

    def test_a_file_that_disappears_whenever_it_is_read(self) -> None:
        disk, _ = several_segments()
        disk.fail(kind="open", name=FIRST, errno=errno.ENOENT, forever=True)
        with pytest.raises(ReadFailedError, match="disappears"):
            chunks(disk)

    def test_damage_that_stays_is_corruption_also_in_the_segment_being_written(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        for value in ("first", "second", "third"):
            commit(writer, value)
        disk.flip_bit(FIRST, 8 * (HEADER_SIZE + 45))
        with pytest.raises(CorruptLogError) as raised:
            chunks(disk)
        assert (raised.value.offset, raised.value.expected_seq) == (HEADER_SIZE, 1)

    @pytest.mark.parametrize(
        "last", [True, False], ids=["in the last segment", "in an earlier one"]
    )
    def test_what_stands_before_the_damage_can_be_had(self, last: bool) -> None:
        segment = SegmentBytes().record(b"1").record(b"2")
        offset = segment.end
        segment.record(b"3").record(b"4")
        disk = new_log()
        disk.write_file(FIRST, segment.filled())
        disk.flip_bit(FIRST, 8 * (offset + 45))
        if not last:
            disk.write_file(segment_name(5), SegmentBytes(first_seq=5).record().filled())
        found = LogReader(disk, STORE).chunks()
        assert values_in(next(found)) == [b"1", b"2"]
        with pytest.raises(CorruptLogError) as raised:
            next(found)
        assert (raised.value.offset, raised.value.expected_seq) == (offset, 3)

    def test_damage_that_a_second_look_does_not_see_is_none(self) -> None:
        """A read beside a write may see a later page before an earlier page."""

        class Glimpsing(SimulatedDisk):
            glimpses = 3

        disk = Glimpsing()
        source, values = several_segments(segments=1, close=False)
        for name, content in source.contents().items():
            disk.write_file(name, content)
        whole = disk.read_file(FIRST)
        broken = bytearray(whole)
        broken[HEADER_SIZE + 45] ^= 1

        def rule(call: Call) -> Fault | None:
            if (call.kind, call.name) == ("open", FIRST):
                disk.glimpses -= 1
                disk.write_file(FIRST, broken if disk.glimpses >= 0 else whole)
            return None

        disk.add_rule(rule)
        assert values_on(disk) == values

    def test_a_segment_that_does_not_say_that_others_follow(self) -> None:
        """The last segment but one may lack the seal. No earlier segment lacks the seal."""
        disk, _ = several_segments()
        data = disk.read_file(SECOND)
        disk.write_file(SECOND, data[:-SEAL_SIZE])
        with pytest.raises(CorruptLogError, match="seal is missing") as raised:
            values_on(disk)
        assert (raised.value.path, raised.value.expected_seq) == (f"simulated/{SECOND}", 5)
        assert raised.value.offset == len(data) - SEAL_SIZE
        disk, values = several_segments(segments=3)
        disk.write_file(SECOND, disk.read_file(SECOND)[:-SEAL_SIZE])
        assert values_on(disk) == values

    @pytest.mark.parametrize("name", [FIRST, SECOND])
    def test_a_damaged_header(self, name: str) -> None:
        disk, _ = several_segments()
        disk.flip_bit(name, 8 * 20)
        with pytest.raises(CorruptLogError, match="header") as raised:
            values_on(disk)
        assert (raised.value.path, raised.value.offset) == (f"simulated/{name}", 0)
        assert raised.value.expected_seq == (1 if name == FIRST else 3)

    @pytest.mark.parametrize("sealed", [False, True])
    def test_a_record_of_another_number_is_never_handed_over(self, sealed: bool) -> None:
        """All checksums are valid, so only a programming mistake could have written the record."""
        segment = SegmentBytes().record(b"1")
        offset = segment.end
        segment.record(b"5", seq=5)
        disk = new_log()
        disk.write_file(FIRST, segment.seal(SealKind.CLOSED).data if sealed else segment.filled())
        with pytest.raises(CorruptLogError, match="record of event 5 stands here") as raised:
            values_on(disk)
        assert (raised.value.offset, raised.value.expected_seq) == (offset, 2)

    def test_a_record_that_cannot_hold_as_many_events_as_it_says(self) -> None:
        """The record is refused before anybody allocates memory for the events."""
        segment = SegmentBytes().record(b"1")
        offset = segment.end
        segment.data += encode_record(segment.header.salt, offset, 2, 2**31, b"\x90" * 8, offset)
        segment.next_seq += 2**31
        disk = new_log()
        disk.write_file(FIRST, segment.seal(SealKind.CLOSED).data)
        with pytest.raises(CorruptLogError, match="cannot hold 2147483648 events") as raised:
            list(LogReader(disk, STORE).chunks())
        assert (raised.value.offset, raised.value.expected_seq) == (offset, 2)

    @pytest.mark.parametrize("last", [True, False])
    def test_a_seal_of_an_unknown_kind_is_damage(self, last: bool) -> None:
        """The record is valid, so only a later release or a mistake could have written the seal."""
        segment = SegmentBytes().record(b"1")
        offset = segment.end
        seal = struct.pack("<II", 77, zlib.crc32(segment.data))
        segment.data += encode_record(segment.header.salt, offset, 2, 0, seal, offset)
        disk = new_log()
        disk.write_file(FIRST, segment.filled())
        if not last:
            disk.write_file(segment_name(3), SegmentBytes(first_seq=3).record().filled())
        with pytest.raises(CorruptLogError, match="a seal of kind 77 is not known") as raised:
            chunks(disk)
        assert (raised.value.offset, raised.value.expected_seq) == (offset, 2)

    def test_a_segment_that_ends_before_its_successor_begins(self) -> None:
        disk, _ = several_segments()
        disk.write_file(SECOND, several_segments(segments=1)[0].read_file(FIRST))
        with pytest.raises(CorruptLogError, match="the segment of event 1, renamed"):
            chunks(disk)

    def test_a_missing_segment_is_no_end_and_no_gap(self) -> None:
        for seq in (1, 3, 5):
            disk, _ = several_segments()
            disk.remove_file(segment_name(seq))
            with pytest.raises(CorruptLogError):
                chunks(disk)

    @pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
    def test_no_segment_of_one_window_stays_open_between_chunks(self, tmp_path: Path) -> None:
        source, _ = several_segments(segments=8)
        for name, content in source.contents().items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        disk = LocalDisk(tmp_path)
        reader = LogReader(disk, STORE).chunks()
        next(reader)
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in reader:
            assert len(os.listdir("/proc/self/fd")) == descriptors
        disk.close()
