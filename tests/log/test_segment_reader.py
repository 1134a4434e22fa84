"""Files read in windows: any window size gives the same events, and changes are noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from eventstore.disk.layout import archive_name, segment_name
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptLogError
from eventstore.log import archive_format, repacking
from eventstore.log import segment_reader as source
from eventstore.log.archive import compact
from eventstore.log.format import HEADER_SIZE, RECORD_HEADER_SIZE, SealKind
from eventstore.log.reader import LogReader
from eventstore.testing import Call, SimulatedDisk
from tests.log.samples import (
    STORE,
    SegmentBytes,
    commit,
    flipped,
    new_log,
    several_segments,
    values_on,
    writer_after,
    writer_on,
)

FIRST = segment_name(1)
SMALLEST = HEADER_SIZE
WINDOWS = (SMALLEST, SMALLEST + 1, 600, 777, 1024, 3000)


def windows_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(source, "WINDOW", size)
    monkeypatch.setattr(repacking, "RECORD_BYTES", size // 3)
    monkeypatch.setattr(archive_format, "BLOCK_BYTES", size)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make windows so small that every segment has several."""
    windows_of(monkeypatch, 600)


def mixed() -> tuple[SimulatedDisk, list[object]]:
    """Make several closed segments with records of a few bytes and of thousands of bytes."""
    disk = new_log()
    writer = writer_on(disk)
    values: list[object] = []
    for number, size in enumerate((1, 500, 20, 3000, 7, 41, 42, 43, 44, 45, 46, 47, 900) * 2):
        group = [f"{number} {index} " + "x" * size for index in range(1 + number % 3)]
        commit(writer, *group)
        values += group
    writer.close()
    return disk, values


class TestTheSame:
    @pytest.mark.parametrize("size", WINDOWS)
    @pytest.mark.parametrize("archived", [False, True])
    def test_from_anywhere_to_anywhere(
        self, size: int, archived: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk, values = mixed()
        windows_of(monkeypatch, size)
        if archived:
            compact(disk, load_manifest(disk), len(values), "archive")
            assert any(name.startswith("archive/") for name in disk.files())
        assert values_on(disk) == values
        for start in range(1, len(values) + 1, 3):
            for stop in (start + 1, start + 5, len(values) + 1):
                assert values_on(disk, start, stop) == values[start - 1 : stop - 1]

    @pytest.mark.parametrize("size", WINDOWS)
    def test_whatever_the_length_of_a_record(
        self, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A window ends before, in and behind a record's header, body and padding."""
        windows_of(monkeypatch, size)
        for length in range(400, 700):
            segment = SegmentBytes().record(b"a" * length).record(b"b").record(b"c" * 700)
            disk = new_log()
            disk.write_file(FIRST, segment.seal(SealKind.CLOSED).data)
            assert values_on(disk) == [b"a" * length, b"b", b"c" * 700]

    def test_what_is_left_when_the_reading_is_dropped(self, small: None) -> None:
        disk, _ = several_segments()
        found = LogReader(disk, STORE).chunks()
        next(found)
        del found
        made = Counter(call.kind for call in disk.calls)
        assert made["open"] + made["create"] == made["close"]


def at_second_opening(disk: SimulatedDisk, change: Callable[[], object]) -> None:
    """Call `change` after the first segment was verified and before the second read begins."""
    openings = 0

    def rule(call: Call) -> None:
        nonlocal openings
        if call.kind == "open" and call.name == FIRST:
            openings += 1
            if openings == 2:
                change()

    disk.add_rule(rule)


@pytest.mark.usefixtures("small")
class TestBetweenSummingAndReading:
    def test_a_segment_that_goes_to_the_archive_is_found_there(self) -> None:
        disk, values = several_segments()
        at_second_opening(disk, lambda: compact(disk, load_manifest(disk), 6, "archive"))
        assert values_on(disk) == values
        assert disk.files().count(archive_name(1)) == 1

    @pytest.mark.parametrize("damaged", [False, True])
    def test_one_that_is_replaced_is_loaded_anew(self, damaged: bool) -> None:
        """The new segment is verified too: the first segment's checksum proves nothing about it."""
        disk, values = several_segments()
        other, _ = several_segments(new_log(seed=7))
        replaced = other.read_file(FIRST)
        assert replaced[:HEADER_SIZE] != disk.read_file(FIRST)[:HEADER_SIZE]
        if damaged:
            replaced = flipped(replaced, 8 * (HEADER_SIZE + RECORD_HEADER_SIZE + 20))
        at_second_opening(disk, lambda: disk.write_file(FIRST, replaced))
        if damaged:
            with pytest.raises(CorruptLogError):
                values_on(disk)
        else:
            assert values_on(disk) == values

    def test_one_that_is_cut_short_is_damaged(self) -> None:
        disk, _ = mixed()
        whole = disk.read_file(FIRST)
        at_second_opening(disk, lambda: disk.write_file(FIRST, whole[:1000]))
        with pytest.raises(CorruptLogError, match="cut short"):
            values_on(disk)

    def test_one_that_is_cut_short_while_it_is_summed(self) -> None:
        disk, _ = mixed()
        writer = disk.reopen().open(FIRST, writable=True)

        def rule(call: Call) -> None:
            if call.kind == "read" and call.name == FIRST and call.args[0] == 600:
                writer.truncate(1000)

        disk.add_rule(rule)
        with pytest.raises(CorruptLogError):
            values_on(disk)


@pytest.mark.usefixtures("small")
def test_a_record_that_says_it_is_longer_than_its_segment() -> None:
    """All checksums are valid, and only the length is wrong."""
    segment = SegmentBytes().record(b"x" * 400).record(b"y" * 100)
    data = bytearray(segment.data)
    length = HEADER_SIZE + 20
    data[length : length + 4] = (1 << 20).to_bytes(4, "little")
    segment.data = bytes(data)
    disk = new_log()
    disk.write_file(FIRST, segment.seal(SealKind.CLOSED).data)
    reason = f"a record of {(1 << 20) + RECORD_HEADER_SIZE} bytes does not fit"
    with pytest.raises(CorruptLogError, match=reason) as raised:
        values_on(disk)
    assert raised.value.offset == HEADER_SIZE


def test_a_writer_goes_on_in_a_log_that_was_read_in_windows(small: None) -> None:
    disk, values = several_segments(close=False)
    assert values_on(disk) == values
    writer = writer_after(disk)
    commit(writer, "and more")
    assert values_on(disk) == [*values, "and more"]
    writer.close()
    assert values_on(disk) == [*values, "and more"]
