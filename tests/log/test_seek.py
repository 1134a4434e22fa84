"""A few events of a segment: found by search, verified, and whatever is odd is read through."""

from __future__ import annotations

import random

import pytest

from eventstore.disk.layout import segment_name
from eventstore.errors import CorruptLogError
from eventstore.log import seek
from eventstore.log.format import HEADER_SIZE, SealKind
from eventstore.testing import SimulatedDisk
from tests.log.samples import SegmentBytes, flipped, new_log, values_on

FIRST = segment_name(1)


def of(*lengths: int, sealed: bool, size: int = 0) -> tuple[SimulatedDisk, list[object]]:
    """Make a segment of one record for each length, with idle seals and zeros behind."""
    segment = SegmentBytes(size=size or 4096)
    values: list[object] = []
    for number, length in enumerate(lengths):
        value = bytes([number % 250 + 1]) * length
        values.append(value)
        segment = segment.record(value)
        if number % 7 == 6:
            segment = segment.seal(SealKind.IDLE)
    data = segment.seal(SealKind.CLOSED).data if sealed else segment.data
    disk = new_log()
    disk.write_file(FIRST, data.ljust(size, b"\0"))
    return disk, values


def lengths(kind: str) -> list[int]:
    draw = random.Random(kind)
    return {
        "even": [200] * 300,
        "uneven": [draw.choice((1, 30, 900, 5000)) for _ in range(120)],
        "growing": [1 + number * number // 10 for number in range(200)],
        "one large": [50] * 60 + [200_000] + [50] * 60,
        "large at first": [100_000, *[20] * 100],
        "zeros": [20] * 100,
    }[kind]


class TestTheSame:
    @pytest.mark.parametrize("sealed", [False, True])
    @pytest.mark.parametrize(
        "kind", ["even", "uneven", "growing", "one large", "large at first", "zeros"]
    )
    def test_any_event_of_any_segment(self, kind: str, sealed: bool) -> None:
        disk, values = of(*lengths(kind), sealed=sealed, size=0 if sealed else 1 << 20)
        last = len(values)
        for seq in range(1, last + 1):
            assert values_on(disk, seq, seq + 1) == [values[seq - 1]], seq
        for seq in range(1, last + 1, 9):
            for stop in (seq + 3, seq + 50, last + 1):
                assert values_on(disk, seq, stop) == values[seq - 1 : stop - 1], (seq, stop)

    def test_a_body_full_of_zeros_hides_nothing(self) -> None:
        """A place without any record looks like the end of the log."""
        segment, values = SegmentBytes(), list[object]()
        for number in range(30):
            value = bytes(9000) + bytes([number])
            values.append(value)
            segment = segment.record(value)
        disk = new_log()
        disk.write_file(FIRST, segment.data.ljust(1 << 20, b"\0"))
        for seq in range(1, 31):
            assert values_on(disk, seq, seq + 1) == [values[seq - 1]]

    def test_a_salt_in_a_body_is_no_record(self) -> None:
        segment = SegmentBytes()
        body = segment.header.salt * 2000
        values = [body, b"after", body, b"last"]
        for value in values:
            segment = segment.record(value)
        disk = new_log()
        disk.write_file(FIRST, segment.seal(SealKind.CLOSED).data)
        for seq in range(1, 5):
            assert values_on(disk, seq, seq + 1) == [values[seq - 1]]


class TestCosts:
    @pytest.mark.parametrize(("length", "records", "most"), [(200, 3000, 6), (6000, 150, 8)])
    def test_few_looks_find_an_event(self, length: int, records: int, most: int) -> None:
        disk, values = of(*[length] * records, sealed=False, size=1 << 20)
        for seq in range(1, len(values) + 1, records // 50):
            since = len(disk.calls)
            assert values_on(disk, seq, seq + 1) == [values[seq - 1]]
            reads = [
                int(call.args[1])
                for call in disk.calls[since:]
                if (call.kind, call.name) == ("read", FIRST)
            ]
            assert len(reads) <= most
            assert sum(reads) <= 48 << 10

    def test_sizes_that_mislead_cost_no_more_than_bisection_and_some(self) -> None:
        disk, values = of(*lengths("growing"), *[2] * 5000, sealed=False, size=1 << 20)
        for seq in range(1, len(values) + 1, 177):
            since = len(disk.calls)
            assert values_on(disk, seq, seq + 1) == [values[seq - 1]]
            reads = [
                call for call in disk.calls[since:] if (call.kind, call.name) == ("read", FIRST)
            ]
            assert len(reads) <= 40


class TestDamage:
    def test_a_whole_record_behind_torn_bytes_is_no_event(self) -> None:
        """A power cut took the record before, so history ends there."""
        segment = SegmentBytes(size=1 << 16).record(b"first")
        end = segment.end
        segment = segment.record(b"lost", synced_end=end).record(b"behind", synced_end=end)
        disk = new_log()
        disk.write_file(FIRST, flipped(segment.filled(), 8 * (end + 45)))
        assert values_on(disk) == [b"first"]
        for seq in (2, 3):
            assert values_on(disk, seq, seq + 1) == []

    def test_a_flipped_bit_is_never_given_as_an_event(self) -> None:
        disk, values = of(*[40] * 30, sealed=True)
        data = disk.read_file(FIRST)
        for bit in range(8 * HEADER_SIZE, 8 * len(data), 3):
            disk.write_file(FIRST, flipped(data, bit))
            for seq in (1, 15, 30):
                try:
                    found = values_on(disk, seq, seq + 1)
                except CorruptLogError:
                    continue
                assert found == [values[seq - 1]], (bit, seq)

    def test_damage_elsewhere_does_not_hide_an_event(self) -> None:
        disk, values = of(*[400] * 60, sealed=True)
        data = disk.read_file(FIRST)
        disk.write_file(FIRST, flipped(data, 8 * (HEADER_SIZE + 700)))
        assert values_on(disk, 50, 51) == [values[49]]
        with pytest.raises(CorruptLogError):
            values_on(disk, 2, 3)

    def test_a_long_range_is_read_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So the seal is believed once, and each record costs less."""
        disk, values = of(*[40] * 30, sealed=True)
        monkeypatch.setattr(seek, "read_short", None)
        assert values_on(disk) == values
