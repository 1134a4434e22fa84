"""One flipped bit is found by its checksum, and nothing else is taken for one."""

from __future__ import annotations

import random
import uuid
import zlib

import msgspec
import pytest

from eventstore.log.flipped_bits import (
    Flip,
    find_flip,
    find_two_flips,
    flipped,
    mend_record,
    mend_records,
    mend_segment_header,
)
from eventstore.log.format import SegmentHeader, encode_record

SALT = b"saltsalt"


def record(offset: int = 512, seq: int = 7, count: int = 3) -> bytes:
    body = b"".join(
        msgspec.msgpack.encode([number, 1000 + number, {"op": "x", "n": number}, None, None])
        for number in range(seq, seq + count)
    )
    return encode_record(SALT, offset, seq, count, body, 512)


def test_every_bit_of_some_bytes_is_found() -> None:
    data = random.Random(1).randbytes(100)
    right = zlib.crc32(data)
    for offset in range(len(data)):
        for bit in range(8):
            damaged = flipped(data, (Flip(offset, bit),))
            assert find_flip(len(data), zlib.crc32(damaged) ^ right) == (offset, bit)


def test_damage_of_more_bits_is_taken_for_no_single_bit() -> None:
    draw = random.Random(2)
    data = draw.randbytes(650)
    right = zlib.crc32(data)
    for bits in (2, 3, 4, 8) * 50:
        places = draw.sample(range(len(data) * 8), bits)
        damaged = flipped(data, tuple(Flip(place // 8, place % 8) for place in places))
        assert find_flip(len(data), zlib.crc32(damaged) ^ right) is None


def test_two_bits_are_among_the_pairs() -> None:
    data = random.Random(3).randbytes(120)
    wanted = (Flip(5, 1), Flip(90, 7))
    syndrome = zlib.crc32(data) ^ zlib.crc32(flipped(data, wanted))
    assert wanted in list(find_two_flips(len(data), syndrome))


def test_every_bit_of_a_record_is_mended() -> None:
    data = bytes(512) + record()
    assert mend_record(data, 512, SALT, 7) == ()
    for offset in range(512, len(data)):
        for bit in range(8):
            damaged = flipped(data, (Flip(offset, bit),))
            assert mend_record(damaged, 512, SALT, 7) == ((offset, bit),)


def test_a_bit_of_the_header_and_one_of_the_body_are_mended_together() -> None:
    data = bytes(512) + record()
    wanted = (Flip(514, 3), Flip(len(data) - 4, 2))
    assert mend_record(flipped(data, wanted), 512, SALT, 7) == wanted


def test_a_mended_record_must_have_the_number_of_its_place() -> None:
    data = flipped(bytes(512) + record(), (Flip(560, 1),))
    assert mend_record(data, 512, SALT, 8) is None
    assert mend_record(data, 512, b"saltsalu", 7) is None


def test_records_in_a_row_must_lead_to_the_next_number() -> None:
    one = record()
    data = bytes(512) + one + record(512 + len(one), seq=10, count=2)
    damaged = flipped(data, (Flip(530, 0), Flip(len(data) - 20, 4)))
    assert mend_records(damaged, 512, len(data), SALT, 7, 12) == ((530, 0), (len(data) - 20, 4))
    assert mend_records(damaged, 512, len(data), SALT, 7, 13) is None


@pytest.mark.parametrize("offset", [0, 20, 40, 75, 300, 508, 511])
def test_a_bit_of_a_segment_header_is_mended(offset: int) -> None:
    header = SegmentHeader(store=uuid.UUID(int=7), size=4096, first_seq=3, salt=SALT)
    data = header.encode()
    assert mend_segment_header(flipped(data, (Flip(offset, 5),))) == (offset, 5)
