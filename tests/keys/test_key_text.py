"""The text of a key, its hash, and the digest of the payload under it."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import InvalidPayloadError
from eventstore.keys.hashing import KeyHasher
from eventstore.keys.key_text import key_text

parts = st.one_of(st.text(min_size=1), st.integers())


EAST = dt.timezone(dt.timedelta(hours=1))


class Venue(enum.Enum):
    ONE = "one"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("t-1", "t-1"),
        ("a:b", "a:b"),
        (("a:b", "c"), "a\\:b:c"),
        (("a", "b", "c"), "a:b:c"),
        (("only:one",), "only:one"),
        (7, "7"),
        (-7, "-7"),
        (Decimal("1.50"), "1.5"),
        (Decimal("1E+2"), "100"),
        (Decimal("-0.00"), "0"),
        (Decimal("1" * 40), "1" * 40),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2026, 3, 2), "2026-03-02"),
        (dt.datetime(2026, 3, 2, 1, tzinfo=EAST), "2026-03-02T00:00:00+00:00"),
        (dt.datetime(2026, 3, 2, 0, tzinfo=dt.UTC), "2026-03-02T00:00:00+00:00"),
        (2**63, "9223372036854775808"),
        ((Venue.ONE, 7), "one:7"),
        (None, None),
    ],
)  # fmt: skip
def test_the_text_of_a_value(value: Any, text: str | None) -> None:
    assert key_text(value, "fill") == text


@pytest.mark.parametrize(
    "value",
    ["", ("a", ""), (), ("a", None), True, 1.5, ("a", ["b"]), Decimal("NaN"), Decimal("1E999"),
     10**101, dt.timedelta(1), b"a", dt.datetime.min.replace(tzinfo=EAST)],
)  # fmt: skip
def test_what_identifies_nothing_is_refused(value: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="fill: its key"):
        key_text(value, "fill")


@given(st.lists(parts, min_size=2, max_size=3), st.lists(parts, min_size=2, max_size=3))
def test_two_tuples_never_have_one_text(one: list[Any], other: list[Any]) -> None:
    same = list(map(str, one)) == list(map(str, other))
    assert (key_text(one, "fill") == key_text(other, "fill")) is same


def test_operation_text_and_seed_make_the_hash() -> None:
    hasher = KeyHasher(bytes(16))
    assert hasher.hash("fill", "7") == KeyHasher(bytes(16)).hash("fill", "7")
    hashes = {
        hasher.hash("fill", "7"),
        hasher.hash("bust", "7"),
        hasher.hash("fill", "8"),
        KeyHasher(bytes(15) + b"1").hash("fill", "7"),
        hasher.hash("fill\0", "7"),
        hasher.hash("fill", "\ud800"),
    }
    assert len(hashes) == 6


def test_the_digest_knows_where_a_payload_ends() -> None:
    hasher = KeyHasher(bytes(16))
    assert hasher.digest("k", [b"ab", b"c"]) != hasher.digest("k", [b"a", b"bc"])
    assert hasher.digest("k", [b"ab"]) != hasher.digest("kk", [b"ab"])
    assert hasher.digest("k", [b"ab"]) == hasher.digest("k", iter([b"ab"]))


def test_the_cure_of_a_foreign_value() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(InvalidPayloadError, match=r"pass value.tolist\(\)"):
        key_text(numpy.array([7]), "fill")
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InvalidPayloadError, match="no moment"):
        key_text(pandas.NaT, "fill")
