"""The bytes of a snapshot: written bytes are read again, and incomplete bytes are refused.

The first checksum finds a flipped bit. The checks after the checksum are for a program's mistakes.
Those bytes are forged here: every checksum is right except the one under test.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib

import pytest

from eventstore.errors import StoreFormatError
from eventstore.snapshot.format import (
    About,
    InvalidSnapshotError,
    SnapshotBuilder,
    SnapshotHeader,
    parse,
)

HEADER = SnapshotHeader(
    store=uuid.UUID("6f1d3a52-8c0e-4b7a-9d4e-2b5c7a90e1f3"), seq=7, created=-1, latest=1 << 60
)
ABOUT = About(fingerprint={"deposit": "1", "withdraw": "2"}, state="Bank")
DIGEST = "5a" * 32
SLICES = [b"first", b"", b"third" * 100]


def built() -> bytes:
    builder = SnapshotBuilder()
    parts = [builder.begin(HEADER, ABOUT), *map(builder.slice, SLICES), builder.end(DIGEST)]
    return b"".join(parts)


def forged(content: bytes, slices: int) -> bytes:
    """Return `content` with a footer for whole content and `slices` slices."""
    whole = hashlib.blake2b(content, digest_size=32).digest()
    footer = struct.pack("<8sI4x32s32s12x", b"EVSTSEND", slices, bytes.fromhex(DIGEST), whole)
    return content + footer + zlib.crc32(footer).to_bytes(4, "little")


def a_slice(number: int, content: bytes, **wrong: int) -> bytes:
    """Return a slice. `wrong` replaces the length or the checksum."""
    length = wrong.get("length", len(content))
    crc = wrong.get("crc", zlib.crc32(content, number))
    return struct.pack("<II", length, crc) + content


def altered_header(offset: int, value: int) -> bytes:
    """Return the header with byte `offset` changed to `value`, and the checksum to match."""
    data = bytearray(HEADER.encode()[:-4])
    data[offset] = value
    return bytes(data) + zlib.crc32(data).to_bytes(4, "little")


def test_what_is_written_is_read() -> None:
    header, about, digest, slices = parse(built())
    assert (header, about, digest) == (HEADER, ABOUT, DIGEST)
    assert list(slices) == SLICES


def test_the_forger_knows_the_format() -> None:
    """If the forger did not know the format, the tests below would prove nothing."""
    content = built()[:-96]
    assert forged(content, 4) == built()
    assert altered_header(28, 7) == HEADER.encode()
    about = content[64 : -sum(8 + len(part) for part in SLICES)]
    assert a_slice(0, about[8:]) == about


@pytest.mark.parametrize("length", [0, 7, 63])
def test_a_header_that_is_cut_short(length: int) -> None:
    with pytest.raises(InvalidSnapshotError, match="does not begin like a snapshot"):
        SnapshotHeader.decode(HEADER.encode()[:length])


@pytest.mark.parametrize("bit", range(8 * 8, 8 * 64, 7))
def test_a_damaged_header(bit: int) -> None:
    data = bytearray(HEADER.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidSnapshotError, match="header's checksum does not match"):
        SnapshotHeader.decode(bytes(data))


@pytest.mark.parametrize(("offset", "value"), [(8, 4), (9, 1), (10, 2), (11, 1)])
def test_a_later_format_is_named_as_one(offset: int, value: int) -> None:
    kind: type[Exception] = StoreFormatError if offset < 10 else InvalidSnapshotError
    with pytest.raises(kind, match=r"not known to this release|install a newer release"):
        SnapshotHeader.decode(altered_header(offset, value))


def test_every_shorter_one_is_refused() -> None:
    """The lengths include the bare header, which is valid as a header and no snapshot."""
    data = built()
    for length in range(len(data)):
        with pytest.raises(InvalidSnapshotError):
            parse(data[:length])
    with pytest.raises(InvalidSnapshotError, match="it is cut short"):
        parse(HEADER.encode() + bytes(103))
    with pytest.raises(InvalidSnapshotError, match="no valid footer"):
        parse(HEADER.encode() + bytes(104))


def test_a_byte_changed_under_an_old_digest() -> None:
    data = built()
    with pytest.raises(InvalidSnapshotError, match="digest does not match"):
        parse(data[:100] + bytes([data[100] ^ 1]) + data[101:])


@pytest.mark.parametrize(
    ("slices", "count", "reason"),
    [
        pytest.param([b"\xc1 no MessagePack"], 1, "what it is about", id="no MessagePack"),
        pytest.param([b"\x80"], 1, "what it is about", id="nothing in it"),
    ],
)
def test_without_an_about(slices: list[bytes], count: int, reason: str) -> None:
    content = HEADER.encode() + b"".join(map(a_slice, range(9), slices))
    with pytest.raises(InvalidSnapshotError, match=reason):
        parse(forged(content, count))


@pytest.mark.parametrize(
    ("tail", "slices", "reason"),
    [
        pytest.param(b"", 5, "slice 4 is missing", id="one missing"),
        pytest.param(b"1234567", 5, "slice 4 is missing", id="half of its head"),
        pytest.param(a_slice(4, b"x", length=2), 5, "slice 4 does not fit", id="longer than there"),
        pytest.param(a_slice(4, b"", length=2**32 - 1), 5, "slice 4 does not fit", id="huge"),
        pytest.param(a_slice(4, b"x", crc=0), 5, "slice 4's checksum", id="another checksum"),
        pytest.param(a_slice(3, b"x"), 5, "slice 4's checksum", id="the checksum of another place"),
        pytest.param(a_slice(4, b"x"), 4, "more than the slices it counts", id="one too many"),
        pytest.param(b"!", 4, "more than the slices it counts", id="a byte too many"),
    ],
)
def test_slices_that_are_not_what_the_footer_counts(tail: bytes, slices: int, reason: str) -> None:
    """Slices are read one by one, so the iterator raises the error and not `parse`."""
    _, about, _, found = parse(forged(built()[:-96] + tail, slices))
    assert about == ABOUT
    assert [next(found) for _ in SLICES] == SLICES
    with pytest.raises(InvalidSnapshotError, match=reason):
        list(found)
