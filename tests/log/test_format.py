"""The bytes of a segment: written as specified, and never believed when damaged."""

from __future__ import annotations

import struct
import tracemalloc
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from eventstore.disk.manifest import load_manifest
from eventstore.errors import StoreFormatError
from eventstore.log import format as log_format
from eventstore.log.format import (
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
    closing_seal,
    encode_record,
    encode_seal,
    read_record,
    read_seal,
    read_synced_end,
    record_size,
)
from eventstore.log.tail_verdict import Clean, Corrupt, classify_tail
from eventstore.testing import SimulatedDisk
from tests.golden.make import dump, golden, make, undump
from tests.log.samples import FOREIGN, SALT, STORE, SegmentBytes, body, flipped, values_on

HEADER = SegmentHeader(
    store=STORE,
    size=8192,
    first_seq=7,
    salt=SALT,
    previous_first=3,
    previous_end=1234 * 8,
    previous_crc=0xDEADBEEF,
)


def outcome(data: bytes) -> tuple[list[Record], bool] | None:
    """Read a segment: records, and whether a seal ends the segment. `None` for a refusal."""
    try:
        header = SegmentHeader.decode(data)
    except InvalidBytesError:
        return None
    tail = classify_tail(data, header)
    if isinstance(tail, Corrupt):
        return None
    return tail.records, isinstance(tail, Clean) and tail.sealed is not None


def forged(offset: int, **fields: int) -> bytes:
    """Make a record with the given fields and valid checksums."""
    content = body(1, b"x")
    padded = content + bytes(-len(content) % 8)
    values = {
        "first_seq": 1,
        "count": 1,
        "body_length": len(content),
        "synced_end": offset,
        "body_crc": zlib.crc32(padded),
    } | fields
    checked = SALT + struct.pack("<QIIQI", *values.values())
    return checked + struct.pack("<I", zlib.crc32(checked, offset)) + padded


class TestSizes:
    def test_the_structs_are_as_long_as_the_diagrams_say(self) -> None:
        assert struct.calcsize("<8sHHI16sQQ8sQQI") == 76
        assert struct.calcsize("<8sQIIQII") == RECORD_HEADER_SIZE == 40
        assert struct.calcsize("<II") + RECORD_HEADER_SIZE == SEAL_SIZE == 48
        assert len(HEADER.encode()) == HEADER_SIZE == 512

    @pytest.mark.parametrize("length", range(1, 40))
    def test_a_record_takes_a_multiple_of_eight_bytes(self, length: int) -> None:
        data = encode_record(SALT, 512, 1, 1, bytes(length), 512)
        assert len(data) == record_size(length)
        assert len(data) % 8 == 0
        assert 0 <= len(data) - RECORD_HEADER_SIZE - length < 8


class TestGoldenFiles:
    """The released format. A change of a golden file is a change of the format's version."""

    @pytest.mark.parametrize("name", sorted(make()))
    def test_the_encoder_still_writes_them(self, name: str) -> None:
        assert make()[name] == golden(name)

    def test_they_read_as_the_diagrams_say_without_our_code(self) -> None:
        data = golden("segment-continued.hex")
        magic, version, checksum, zero, store, size, first, salt, *previous = struct.unpack_from(
            "<8sHHI16sQQ8sQQI", data
        )
        assert (magic, version, checksum, zero) == (b"EVSTLOG\n", 1, 1, 0)
        assert uuid.UUID(bytes=store) == uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
        assert (size, first, previous) == (4096, 1, [0, 0, 0])
        assert not any(data[76:508])
        assert struct.unpack_from("<I", data, 508) == (zlib.crc32(data[:508]),)
        offset, seq, seals = 512, 1, []
        events: list[Any] = []
        while offset < len(data):
            assert offset % 8 == 0
            found, first, count, length, synced, body_crc, header_crc = struct.unpack_from(
                "<8sQIIQII", data, offset
            )
            assert (found, first, synced) == (salt, seq, offset)
            assert header_crc == zlib.crc32(data[offset : offset + 36], offset)
            start, end = offset + 40, offset + 40 + length + -length % 8
            assert body_crc == zlib.crc32(data[start:end])
            if count:
                array = b"\xdd" + struct.pack(">I", count) + data[start : start + length]
                events += msgspec.msgpack.decode(array)
            else:
                kind, crc = struct.unpack_from("<II", data, start)
                seals.append(kind)
                assert crc == zlib.crc32(data[:offset])
            seq += count
            offset = end
        time = 1_705_311_000_000_000_000
        assert seals == [1, 3]
        assert events == [
            [1, time, b"one", None, None],
            [2, time + 1, {"op": "pay_dividend", "symbol": "AAPL", "amount": 12.5}, "k", None],
            [3, time + 2, [1, 2, 3], None, None],
            [4, time + 2, None, None, {"source": "tape"}],
        ]

    def test_a_successor_says_where_its_predecessor_ends(self) -> None:
        before, after = golden("segment-continued.hex"), golden("segment-closed.hex")
        header = SegmentHeader.decode(after)
        assert (header.previous_first, header.previous_end) == (1, len(before) - SEAL_SIZE)
        assert header.previous_crc == zlib.crc32(before[: header.previous_end])

    def test_they_are_read_as_a_store(self) -> None:
        disk = SimulatedDisk()
        disk.write_file("store.json", golden("store.json"))
        disk.write_file("log/00000000000000000001.log", golden("segment-continued.hex"))
        disk.write_file("log/00000000000000000005.log", golden("segment-closed.hex"))
        assert load_manifest(disk).created == 1_705_311_000_000_000_000
        assert values_on(disk)[::2] == [b"one", [1, 2, 3], "the last"]

    def test_a_hex_dump_can_be_read_back(self) -> None:
        for data in (b"", b"\0", bytes(100), b"x" * 33, bytes(64) + b"x" + bytes(64)):
            assert undump(dump(data)) == data


class TestDamage:
    """Every flipped bit and every truncation of a small segment."""

    def test_no_flipped_bit_of_a_closed_segment_goes_unnoticed(self) -> None:
        data = golden("segment-closed.hex")
        assert outcome(data) is not None
        assert [
            bit for bit in range(8 * len(data)) if outcome(flipped(data, bit)) is not None
        ] == []

    def test_no_flipped_bit_of_a_continued_segment_goes_unnoticed(self) -> None:
        data = golden("segment-continued.hex")
        noticed = [outcome(flipped(data, bit)) is None for bit in range(8 * len(data))]
        assert all(noticed)

    def test_in_an_unsealed_segment_only_its_last_record_can_be_taken_for_torn(self) -> None:
        segment = SegmentBytes(size=1024).record(b"first").record(b"second")
        last = segment.end
        data = segment.record(b"third").filled()
        whole = outcome(data)
        assert whole is not None
        for bit in range(8 * len(data)):
            found = outcome(flipped(data, bit))
            if bit < 8 * last:
                assert found is None, bit
            elif bit < 8 * segment.end:
                assert found == (whole[0][:2], False), bit
            else:  # in the zero fill: set aside, and no event is lost
                assert found == (whole[0], False), bit

    def test_after_an_idle_seal_the_last_record_cannot_be_taken_for_torn(self) -> None:
        segment = SegmentBytes(size=1024).record(b"first").record(b"second")
        data = segment.seal(SealKind.IDLE).filled()
        sealed = segment.end - SEAL_SIZE
        for bit in range(8 * sealed):
            assert outcome(flipped(data, bit)) is None, bit

    @pytest.mark.parametrize(
        "name", ["segment-open.hex", "segment-closed.hex", "segment-continued.hex"]
    )
    def test_every_truncation_is_refused(self, name: str) -> None:
        data = golden(name)
        taken = [length for length in range(len(data)) if outcome(data[:length]) is not None]
        assert taken == []

    def test_a_record_is_valid_at_its_own_offset_only(self) -> None:
        segment = SegmentBytes().record(b"first").record(b"second")
        copy = segment.data[512 : read_record(segment.data, 512, SALT).end]
        with pytest.raises(InvalidBytesError, match="header's checksum"):
            read_record(segment.data + copy, segment.end, SALT)

    def test_a_record_of_another_salt_is_none_of_this_segment(self) -> None:
        data = SegmentBytes().record().data
        with pytest.raises(InvalidBytesError, match="no record of this segment"):
            read_record(data, 512, b"another!")


class TestLengths:
    def test_a_length_of_zero_is_never_valid(self) -> None:
        data = bytes(512) + forged(512, count=0, body_length=0, body_crc=zlib.crc32(b""))
        with pytest.raises(InvalidBytesError, match="body of 0 bytes"):
            read_record(data, 512, SALT)

    def test_zero_fill_is_no_record(self) -> None:
        with pytest.raises(InvalidBytesError, match="no record"):
            read_record(bytes(4096), 512, SALT)

    @pytest.mark.parametrize("length", [57, 4096, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF])
    def test_a_huge_length_is_bounded_before_anything_is_allocated(self, length: int) -> None:
        data = (bytes(512) + forged(512, body_length=length)).ljust(600, b"\0")
        tracemalloc.start()
        try:
            with pytest.raises(InvalidBytesError, match=f"body of {length} bytes does not fit"):
                read_record(data, 512, SALT)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 100_000

    @pytest.mark.parametrize("length", [0, 1, 39])
    def test_a_header_that_is_cut_short_is_no_record(self, length: int) -> None:
        data = SegmentBytes().record().data[: 512 + length]
        with pytest.raises(InvalidBytesError, match="cut short"):
            read_record(data, 512, SALT)

    def test_a_record_cannot_attest_what_comes_after_it(self) -> None:
        data = bytes(512) + forged(512, synced_end=520)
        with pytest.raises(InvalidBytesError, match="impossible"):
            read_record(data, 512, SALT)

    def test_a_record_without_events_is_a_seal_or_nothing(self) -> None:
        data = bytes(512) + forged(512, count=0)
        with pytest.raises(InvalidBytesError, match="impossible"):
            read_record(data, 512, SALT)

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda data: data, None),
            (lambda data: data[:551], "cut short"),
            (lambda data: data.replace(SALT, b"another!"), "no record of this segment"),
            (lambda data: data[:530] + b"!" + data[531:], "checksum"),
            (lambda data: data[:-1] + b"!", None),
        ],
        ids=["whole", "cut", "another salt", "its header", "its body"],
    )
    def test_a_header_alone_says_what_was_durable(
        self, damage: Callable[[bytes], bytes], reason: str | None
    ) -> None:
        data = damage(bytes(512) + forged(512, synced_end=504))
        if reason is None:
            assert read_synced_end(data, 512, SALT) == 504
        else:
            with pytest.raises(InvalidBytesError, match=reason):
                read_synced_end(data, 512, SALT)

    def test_offsets_beyond_four_gibibytes_are_sealed_into_the_checksum_modulo_that(self) -> None:
        assert encode_record(SALT, (1 << 32) + 512, 1, 1, b"x", 0) == encode_record(
            SALT, 512, 1, 1, b"x", 0
        )


class TestHeader:
    def test_it_round_trips(self) -> None:
        assert SegmentHeader.decode(HEADER.encode()) == HEADER

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"first_seq": 0}, "impossible"),
            ({"salt": bytes(8)}, "impossible"),
            ({"size": 511}, "impossible"),
        ],
    )
    def test_impossible_values_are_refused(self, change: dict[str, Any], reason: str) -> None:
        with pytest.raises(InvalidBytesError, match=reason):
            SegmentHeader.decode(msgspec.structs.replace(HEADER, **change).encode())

    @pytest.mark.parametrize(
        ("offset", "kind", "what"),
        [
            (8, StoreFormatError, "is of format 2, and this release reads 1"),
            (10, InvalidBytesError, "checksum 2.*not known to this release"),
        ],
    )
    def test_a_later_format_is_named_as_one(
        self, offset: int, kind: type[Exception], what: str
    ) -> None:
        data = bytearray(HEADER.encode())
        struct.pack_into("<H", data, offset, 2)
        struct.pack_into("<I", data, 508, zlib.crc32(data[:508]))
        with pytest.raises(kind, match=what):
            SegmentHeader.decode(bytes(data))

    def test_any_flipped_bit_is_noticed(self) -> None:
        data = HEADER.encode()
        for bit in range(8 * len(data)):
            with pytest.raises(InvalidBytesError):
                SegmentHeader.decode(flipped(data, bit))

    @pytest.mark.parametrize("length", [0, 8, 76, 511])
    def test_a_short_one_is_refused(self, length: int) -> None:
        with pytest.raises(InvalidBytesError, match=f"cut short at {length}"):
            SegmentHeader.decode(HEADER.encode()[:length])

    def test_another_stores_header_is_told_from_ours(self) -> None:
        other = msgspec.structs.replace(HEADER, store=FOREIGN)
        assert SegmentHeader.decode(other.encode()).store == FOREIGN


class TestSeals:
    @pytest.mark.parametrize("kind", SealKind)
    def test_it_is_a_record_that_attests_everything_before_it(self, kind: SealKind) -> None:
        segment = SegmentBytes().record()
        offset, crc = segment.end, zlib.crc32(segment.data)
        record = read_record(segment.seal(kind).data, offset, SALT)
        assert (record.events, record.first_seq, record.synced_end) == (0, 2, offset)
        assert read_seal(segment.data, record) == (kind, crc)
        assert segment.end == offset + SEAL_SIZE

    def test_an_unknown_kind_is_refused(self) -> None:
        data = bytearray(bytes(512) + encode_seal(SALT, 512, 1, SealKind.CLOSED, 0))
        struct.pack_into("<I", data, 552, 9)
        with pytest.raises(InvalidBytesError, match="kind 9"):
            read_seal(bytes(data), Record(512, 1, 0, 8, 512, 560))

    def test_what_is_too_short_for_one_has_none(self) -> None:
        """A file with only a header has no seal, and neither has a shorter file."""
        sealed = SegmentBytes().seal(SealKind.CLOSED).data
        assert len(sealed) == HEADER_SIZE + SEAL_SIZE
        tail = sealed[-SEAL_SIZE:]
        told = SealKind.CLOSED, zlib.crc32(sealed[:HEADER_SIZE])
        assert closing_seal(tail, HEADER_SIZE, SALT) == told
        for offset in (-SEAL_SIZE, 0, HEADER_SIZE - 8):
            assert closing_seal(tail, offset, SALT) is None
        for length in range(SEAL_SIZE):
            assert closing_seal(tail[:length], HEADER_SIZE, SALT) is None
            assert closing_seal(tail[-length:] if length else b"", HEADER_SIZE, SALT) is None


def test_the_largest_body_fits_the_length_field() -> None:
    assert log_format.MAX_BODY < 1 << 32
