"""The end of a segment, as tables: the bytes on the left, the verdict on the right."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from eventstore.log import format as log_format
from eventstore.log.format import (
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    SealKind,
    SegmentHeader,
    read_record,
)
from eventstore.log.tail_verdict import (
    Clean,
    Corrupt,
    TornTail,
    classify_tail,
    end_of_data,
    proof_of_durability,
)
from tests.log.samples import SALT, SIZE, STORE, SegmentBytes, body, flipped

IDLE, CLOSED, CONTINUED = SealKind.IDLE, SealKind.CLOSED, SealKind.CONTINUED


def begun() -> SegmentBytes:
    """Begin a segment with two records, the prefix of every case."""
    return SegmentBytes().record(b"first").record(b"second")


def broken(data: bytes, offset: int) -> bytes:
    """Flip a bit in the body of the record at `offset`."""
    return flipped(data, 8 * (offset + 44))


class CleanCase(NamedTuple):
    bytes_: Callable[[], bytes]
    records: int
    sealed: SealKind | None


CLEAN = {
    "a header and zeros": CleanCase(lambda: SegmentBytes().filled(), 0, None),
    "records and zeros": CleanCase(lambda: begun().filled(), 2, None),
    "full to the last byte that records may use": CleanCase(
        lambda: (
            SegmentBytes(size=begun().end + 3 * SEAL_SIZE)
            .record(b"first")
            .record(b"second")
            .filled()
        ),
        2,
        None,
    ),
    "an idle seal": CleanCase(lambda: begun().seal(IDLE).filled(), 2, IDLE),
    "two idle seals": CleanCase(lambda: begun().seal(IDLE).seal(IDLE).filled(), 2, IDLE),
    "records after an idle seal": CleanCase(
        lambda: begun().seal(IDLE).record(b"third").filled(), 3, None
    ),
    "closed and cut": CleanCase(lambda: begun().seal(CLOSED).data, 2, CLOSED),
    "closed, the cut not durable": CleanCase(lambda: begun().seal(CLOSED).filled(), 2, CLOSED),
    "idle, then closed": CleanCase(lambda: begun().seal(IDLE).seal(CLOSED).data, 2, CLOSED),
    "continued": CleanCase(lambda: begun().seal(CONTINUED).data, 2, CONTINUED),
    "closed, later continued": CleanCase(
        lambda: begun().seal(CLOSED).seal(CONTINUED).data, 2, CONTINUED
    ),
    "empty and closed": CleanCase(lambda: SegmentBytes().seal(CLOSED).data, 0, CLOSED),
}


@pytest.mark.parametrize("case", CLEAN.values(), ids=CLEAN.keys())
def test_clean(case: CleanCase) -> None:
    data = case.bytes_()
    tail = classify_tail(data, SegmentHeader.decode(data))
    assert isinstance(tail, Clean)
    assert (len(tail.records), tail.sealed) == (case.records, case.sealed)
    assert tail.next_seq == 1 + case.records


def test_the_data_end_is_after_idle_seals_and_before_the_closing_one() -> None:
    segment = begun().seal(IDLE)
    end = segment.end
    tail = classify_tail(segment.seal(CLOSED).data, segment.header)
    assert isinstance(tail, Clean)
    assert tail.end == end


Torn = Callable[[int], bytes]
"""A function from an offset behind two records to the bytes at that offset."""


def third(offset: int, value: bytes = b"third", synced_end: int | None = None) -> bytes:
    """Make the bytes of a third record."""
    segment = begun()
    assert segment.end == offset
    return segment.record(value, synced_end=synced_end).data[offset:]


def unsynced_pair(offset: int) -> bytes:
    """Make two more records as the weaker modes write records: neither attests the other."""
    segment = begun()
    segment.record(b"hole", synced_end=HEADER_SIZE).record(b"beyond", synced_end=HEADER_SIZE)
    return segment.data[offset:]


def hole(offset: int) -> bytes:
    """Make a pair whose second record reached the disk, while the first record did not."""
    pair = unsynced_pair(offset)
    length = len(begun().record(b"hole").data) - offset
    return bytes(length) + pair[length:]


TORN: dict[str, Torn] = {
    "a byte": lambda at: b"\x01",
    "a part of the record's header": lambda at: third(at)[:20],
    "the header without the body": lambda at: third(at)[:40],
    "a part of the body": lambda at: third(at)[:50],
    "the body without the header": lambda at: bytes(40) + third(at)[40:],
    "the body torn in the middle": lambda at: flipped(third(at), 8 * 44),
    "a hole between unsynced records": hole,
    "a copy of an earlier record": lambda at: begun().data[HEADER_SIZE:at],
    "a torn seal": lambda at: begun().seal(CLOSED).data[at:][:44],
    "the salt alone": lambda at: SALT,
    "the salt again and again": lambda at: SALT * 20,
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
@pytest.mark.parametrize("zeros", ["no zeros between", "zeros between"])
def test_torn(torn: Torn, zeros: str) -> None:
    segment = begun()
    bytes_ = torn(segment.end)
    if zeros == "zeros between":
        bytes_ = bytes(512) + bytes_
    data = (segment.data + bytes_).ljust(SIZE, b"\0")
    tail = classify_tail(data, segment.header)
    assert isinstance(tail, TornTail)
    assert (len(tail.records), tail.end, tail.next_seq) == (2, segment.end, 3)
    assert tail.torn_end == segment.end + len(bytes_.rstrip(b"\0"))


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
def test_torn_behind_an_idle_seal(torn: Torn) -> None:
    """The same bytes are no record behind a seal either. All bytes before the seal stay."""
    segment = begun()
    bytes_ = torn(segment.end)
    segment.seal(IDLE)
    tail = classify_tail((segment.data + bytes_).ljust(SIZE, b"\0"), segment.header)
    assert isinstance(tail, TornTail)
    assert (len(tail.records), tail.end, tail.next_seq) == (2, segment.end, 3)


class CorruptCase(NamedTuple):
    bytes_: Callable[[], bytes]
    offset: Callable[[], int]
    expected_seq: int
    reason: str


def second_at() -> int:
    return SegmentBytes().record(b"first").end


def damaged_second(build: Callable[[SegmentBytes], bytes]) -> Callable[[], bytes]:
    return lambda: broken(build(begun()), second_at())


def resealed() -> bytes:
    """Make a valid seal record with a wrong checksum of the segment."""
    segment = begun()
    damaged = SegmentBytes().record(b"FIRST").record(b"second")
    return segment.data + damaged.seal(CLOSED).data[segment.end :]


def unknown_seal() -> bytes:
    segment = begun()
    content = struct.pack("<II", 77, zlib.crc32(segment.data))
    checked = SALT + struct.pack("<QIIQI", 3, 0, 8, segment.end, zlib.crc32(content))
    seal = checked + struct.pack("<I", zlib.crc32(checked, segment.end)) + content
    return (segment.data + seal).ljust(SIZE, b"\0")


CORRUPT = {
    "a later record is the witness": CorruptCase(
        damaged_second(lambda segment: segment.record(b"third").filled()), second_at, 2, "proves"
    ),
    "an idle seal is the witness": CorruptCase(
        damaged_second(lambda segment: segment.seal(IDLE).filled()), second_at, 2, "proves"
    ),
    "a closing seal is the witness": CorruptCase(
        damaged_second(lambda segment: segment.seal(CLOSED).data), second_at, 2, "proves"
    ),
    "a witness behind a second damage": CorruptCase(
        lambda: broken(
            broken(begun().record(b"third").record(b"fourth").filled(), second_at()), begun().end
        ),
        second_at,
        2,
        "proves",
    ),
    "a record wiped out before a witness": CorruptCase(
        lambda: (
            begun().data[: second_at()]
            + bytes(begun().end - second_at())
            + begun().record(b"third").filled()[begun().end :]
        ),
        second_at,
        2,
        "proves",
    ),
    "a record that attests the hole before it": CorruptCase(
        lambda: broken(
            begun()
            .record(b"hole", synced_end=HEADER_SIZE)
            .record(b"beyond", synced_end=begun().end + 8)
            .filled(),
            begun().end,
        ),
        lambda: begun().end,
        3,
        "proves",
    ),
    "a sequence number that is left out": CorruptCase(
        lambda: begun().record(seq=4).filled(), lambda: begun().end, 3, "event 4 stands here"
    ),
    "a sequence number that was there before": CorruptCase(
        lambda: begun().record(seq=2).filled(), lambda: begun().end, 3, "event 2 stands here"
    ),
    "a seal that attests other bytes": CorruptCase(
        resealed, lambda: begun().end, 3, "seal's checksum"
    ),
    "a seal of an unknown kind": CorruptCase(unknown_seal, lambda: begun().end, 3, "kind 77"),
    "cut in the zero fill": CorruptCase(
        lambda: begun().filled()[:-1], lambda: begun().end, 3, "neither its full"
    ),
    "cut after a record": CorruptCase(
        lambda: begun().data, lambda: begun().end, 3, "neither its full"
    ),
    "cut in a record": CorruptCase(lambda: begun().data[:-9], second_at, 2, "neither its full"),
    "cut after an idle seal that more records followed": CorruptCase(
        lambda: begun().seal(IDLE).data, lambda: begun().end + SEAL_SIZE, 3, "neither its full"
    ),
    "longer than it was made": CorruptCase(
        lambda: begun().filled() + b"\0", lambda: begun().end, 3, "neither its full"
    ),
    "longer than its closing seal": CorruptCase(
        lambda: begun().seal(CLOSED).data + b"x",
        lambda: begun().end + SEAL_SIZE,
        3,
        "neither its full",
    ),
    "the only seal of a segment made as a whole": CorruptCase(
        lambda: broken(
            SegmentBytes(size=begun().end + SEAL_SIZE)
            .record(b"first")
            .record(b"second")
            .seal(CLOSED)
            .data,
            begun().end,
        ),
        lambda: begun().end,
        3,
        "only a seal",
    ),
}


@pytest.mark.parametrize("case", CORRUPT.values(), ids=CORRUPT.keys())
def test_corrupt(case: CorruptCase) -> None:
    data = case.bytes_()
    tail = classify_tail(data, SegmentHeader.decode(data))
    assert isinstance(tail, Corrupt)
    assert (tail.offset, tail.expected_seq) == (case.offset(), case.expected_seq)
    assert case.reason in tail.reason


class TestSaltsInPayloads:
    """A payload may hold any bytes, even bytes of the same log."""

    def test_a_whole_record_in_a_torn_payload_is_no_witness(self) -> None:
        segment = begun()
        stolen = begun().record(b"third").record(b"fourth").data[HEADER_SIZE:]
        offset = segment.end
        data = broken(segment.record(stolen * 3).filled(), offset)
        tail = classify_tail(data, segment.header)
        assert isinstance(tail, TornTail)
        assert (tail.end, tail.next_seq) == (offset, 3)

    @pytest.mark.parametrize("shift", range(9))
    def test_at_any_alignment(self, shift: int) -> None:
        segment = begun()
        offset = segment.end
        data = broken(segment.record(b"\xee" * shift + begun().data).filled(), offset)
        assert isinstance(classify_tail(data, segment.header), TornTail)

    def test_a_real_witness_behind_such_a_payload_is_still_found(self) -> None:
        segment = begun()
        offset = segment.end
        segment.record(begun().data * 2)
        witness = segment.end
        data = broken(segment.record(b"after").filled(), offset)
        tail = classify_tail(data, segment.header)
        assert isinstance(tail, Corrupt)
        assert proof_of_durability(data, segment.header, offset) == witness

    def test_one_whose_body_is_damaged_too_is_a_witness(self) -> None:
        """The writer wrote `synced_end` into the header, so a damaged body does not matter."""
        segment = begun()
        offset = segment.end
        segment.record(b"third")
        witness = segment.end
        damaged = broken(segment.record(b"fourth").filled(), offset)
        data = flipped(damaged, 8 * (witness + RECORD_HEADER_SIZE + 3))
        assert isinstance(classify_tail(data, segment.header), Corrupt)
        assert proof_of_durability(data, segment.header, offset) == witness
        headless = flipped(damaged, 8 * (witness + 20))
        assert proof_of_durability(headless, segment.header, offset) is None

    def test_looking_for_one_takes_linear_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time does not depend on the lengths in headers."""
        size, step = 1 << 16, RECORD_HEADER_SIZE
        segment = SegmentBytes(size=size)
        data = bytearray(segment.filled())
        for offset in range(segment.end + step, size - step, step):
            length = size - offset - step
            header = struct.pack("<8sQIIQI", SALT, 9, 1, length, offset, 0)
            data[offset : offset + step] = header + struct.pack("<I", zlib.crc32(header, offset))
        data[segment.end] = 1
        summed = 0

        class Counting:
            @staticmethod
            def crc32(part: bytes, start: int = 0) -> int:
                nonlocal summed
                summed += len(part)
                return zlib.crc32(part, start)

        monkeypatch.setattr(log_format, "zlib", Counting)
        assert proof_of_durability(bytes(data), segment.header, segment.end) == segment.end + step
        for position in range(segment.end + step, size - step, step):  # no header proves anything
            ignorant = data[position : position + step - 4]
            ignorant[24:32] = struct.pack("<Q", segment.end)
            checksum = struct.pack("<I", zlib.crc32(ignorant, position))
            data[position : position + step] = ignorant + checksum
        summed = 0
        assert proof_of_durability(bytes(data), segment.header, segment.end) is None
        assert step * 1000 < summed <= size

    def test_a_valid_one_is_read_like_any_other(self) -> None:
        segment = begun().record(begun().data)
        tail = classify_tail(segment.filled(), segment.header)
        assert isinstance(tail, Clean)
        assert len(tail.records) == 3


def test_the_answer_names_every_record_and_its_body() -> None:
    data = begun().filled()
    tail = classify_tail(data, SegmentHeader.decode(data))
    assert isinstance(tail, Clean)
    assert [data[record.body] for record in tail.records] == [body(1, b"first"), body(2, b"second")]
    assert tail.records[1] == read_record(data, second_at(), SALT)


def test_a_segment_that_begins_later_counts_from_there() -> None:
    segment = SegmentBytes(first_seq=1_000_000).record().record()
    tail = classify_tail(segment.filled(), segment.header)
    assert isinstance(tail, Clean)
    assert tail.next_seq == 1_000_002
    assert segment.header.store == STORE


@pytest.mark.parametrize("length", [0, 1, 7, 65535, 65536, 65537, 131072, 200_001])
@pytest.mark.parametrize("zeros", [0, 1, 65535, 65536, 65537, 131072])
def test_the_end_of_data_is_behind_its_last_byte(length: int, zeros: int) -> None:
    data = b"\0" * (length - 1) + b"x" if length else b""
    assert end_of_data(data + bytes(zeros)) == length
    assert end_of_data(b"x" * length + bytes(zeros)) == length
