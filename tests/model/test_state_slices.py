"""Slices: cut at any depth by the value, put together by the type, and refused where they lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Generic, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pytest
from immutables import Map
from msgspec import Meta

from eventstore.model.state_codec import StateCodec, state_digest
from eventstore.model.state_slices import BYTES, ENTRIES, ITEMS, SLICE, TEXT, VALUE, StateSlices
from eventstore.testing.differences import difference
from handlers import Position

T = TypeVar("T")


def numbered(count: int) -> dict[str, int]:
    return {f"k{number}": number for number in range(count)}


def positions(count: int) -> dict[str, Position]:
    return {f"S{number}": Position(f"S{number}", Decimal(1), Decimal(2)) for number in range(count)}


class Cash(msgspec.Struct, frozen=True, tag="cash"):
    by_name: dict[str, int] = {}


class Bond(msgspec.Struct, frozen=True, tag="bond", rename="camel"):
    by_number: dict[int, str] = {}
    last_price: float = 0.0


class Row(msgspec.Struct, frozen=True, array_like=True, tag="row"):
    number: int
    names: dict[str, int]


class Column(msgspec.Struct, frozen=True, array_like=True, tag="column"):
    names: tuple[str, ...]


class Point(NamedTuple):
    x: int
    tags: list[int]


class Table(TypedDict):
    rows: dict[str, Position]
    name: NotRequired[str]


class Book(msgspec.Struct, Generic[T], frozen=True):
    rows: dict[str, T]
    next: Book[T] | None = None


class Short(msgspec.Struct, frozen=True, omit_defaults=True):
    number: int = 7
    names: dict[str, int] = {}
    more: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass(frozen=True)
class Plain:
    rows: Map[str, Position]
    number: int = 0


Limits = NewType("Limits", dict[str, int])

STATES: list[tuple[Any, Any]] = [
    (dict[str, int] | None, numbered(1000)),
    (Map[str, int] | None, Map(numbered(1000))),
    (Annotated[dict[str, int], Meta(max_length=5000)], numbered(1000)),
    (Limits, numbered(1000)),
    (Any, {"a": numbered(1000), "b": [list(range(999)), "x" * 50_000, b"y" * 50_000], "c": 1}),
    (list[Any], [1, numbered(SLICE + 1), [numbered(SLICE + 1)]]),
    (Map[str, Any], Map(a=tuple(range(600)), b=Map(c=Map(numbered(600))), c="x" * 40_000)),
    (Map, Map(numbered(700))),
    (Cash | Bond, Cash(numbered(500))),
    (Cash | Bond, Bond(dict.fromkeys(range(500), "x"), 2.5)),
    (dict[str, Cash | Bond], {"a": Cash(), "b": Bond(dict.fromkeys(range(500), "x"))}),
    (list[Row | Column], [Row(1, {}), Row(2, numbered(500)), Column(("é" * 9,) * 400)]),
    (Point, Point(1, list(range(500)))),
    (dict[str, Point], {str(number): Point(number, []) for number in range(500)}),
    (tuple[int, dict[str, int], str], (1, numbered(500), "a")),
    (Table, {"rows": positions(600)}),
    (Table, {"rows": positions(600), "name": "n"}),
    (Book[Position], Book(positions(300), Book(positions(300)))),
    (Short, Short(7, numbered(500))),
    (Plain, Plain(Map(positions(300)))),
    (set[int], set(range(1000))),
    (frozenset[tuple[int, ...]], frozenset({(1,), tuple(range(900))})),
    (dict[tuple[str, int], list[int]], {("a", 1): [1], ("b", 2): list(range(900))}),
    (dict[Any, int], {(1, (2, 3)): 1, **numbered(500)}),
    (str, "é" * 100_000),
    (bytes, b"\xff" * 100_000),
    (bytearray, bytearray(b"\xff" * 100_000)),
    (tuple[str, ...], ("a", "b" * 20_000, "c")),
]


@pytest.mark.parametrize(("kind", "state"), STATES)
class TestEveryShape:
    def test_it_comes_back_exactly(self, kind: Any, state: Any) -> None:
        codec = StateCodec[Any](kind)
        again = codec.load(codec.slices(state))
        assert difference(state, again) is None
        assert type(again) is type(state)

    def test_its_digest_is_the_same_before_and_after(self, kind: Any, state: Any) -> None:
        codec = StateCodec[Any](kind)
        slices = codec.slices(state)
        written = list(slices)
        again, digest = codec.load_with_digest(written)
        digests = {slices.digest, codec.digest_as_read(written), state_digest(state), digest}
        assert digests == {state_digest(again)}

    def test_no_slice_is_large(self, kind: Any, state: Any) -> None:
        for piece in StateCodec[Any](kind).slices(state):
            path, form, content = msgspec.msgpack.decode(piece, strict=False)
            assert isinstance(path, list)
            assert form in (VALUE, ENTRIES, ITEMS, TEXT, BYTES)
            assert form not in (ENTRIES, ITEMS) or len(content) <= SLICE
            assert len(piece) <= 34_000


class TestTheOrder:
    def test_of_mappings_is_kept_at_every_depth(self) -> None:
        inner = {"z": 1, "a": 2, "m": 3}
        large = {f"{number * 7919 % 1000}": number for number in range(1000)}
        state = {"z": inner, "large": large, "a": {"deep": inner}, "b": {}}
        codec = StateCodec[Any](dict[str, dict[str, Any]])
        again = codec.load(codec.slices(state))
        assert list(again) == list(state)
        assert list(again["large"]) == list(large)
        assert list(again["z"]) == list(again["a"]["deep"]) == list(inner)
        assert state_digest(again) == state_digest(dict(reversed(state.items())))


class Counted(msgspec.Struct, frozen=True):
    """A class that makes another object of its own fields."""

    rows: dict[str, int] = {}
    made: int = 0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "made", self.made + 1)


class Choosy(msgspec.Struct, frozen=True):
    rows: dict[str, int] = {}

    def __post_init__(self) -> None:
        assert len(self.rows) < 3


class TestClassesThatAreMadeAgain:
    def test_one_that_changes_its_fields_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Counted changes its field 'made'"):
            list(StateSlices(Counted(numbered(500))))

    def test_one_that_refuses_its_own_fields_is_refused(self) -> None:
        state = Choosy()
        msgspec.structs.force_setattr(state, "rows", numbered(500))
        with pytest.raises(AssertionError):
            list(StateSlices(state))


def slice_of(path: list[Any], kind: int, content: Any) -> bytes:
    return msgspec.msgpack.encode([path, kind, content])


WRONG: dict[str, tuple[Any, list[bytes]]] = {
    "none": (int, []),
    "a whole value within": (dict[str, int], [slice_of(["a"], VALUE, 1)]),
    "a whole value and more": (int, [slice_of([], VALUE, 1), slice_of([], VALUE, 1)]),
    "a part before the whole": (dict[str, list[int]], [slice_of(["a"], ITEMS, [1])]),
    "two levels at once": (
        Any, [slice_of([], ENTRIES, []), slice_of(["a", "b"], ENTRIES, [])],
    ),
    "a part of a text": (str, [slice_of([], TEXT, "a"), slice_of([0], TEXT, "b")]),
    "bytes in a text": (str, [slice_of([], TEXT, b"a")]),
    "another kind of value": (dict[str, int], [slice_of([], ITEMS, [1])]),
    "another kind in the same place": (
        dict[str, int], [slice_of([], ENTRIES, [["a", 1]]), slice_of([], ITEMS, [1])],
    ),
    "no such kind": (Any, [slice_of([], 9, 1)]),
    "a key twice": (dict[str, int], [slice_of([], ENTRIES, [["a", 1], ["a", 2]])]),
    "a key twice in a map": (Map[str, int], [slice_of([], ENTRIES, [["a", 1], ["a", 2]])]),
    "an item out of order": (
        list[list[int]], [slice_of([], ITEMS, []), slice_of([1], ITEMS, [])],
    ),
    "an unknown field": (Plain, [slice_of([], ENTRIES, [["no", 1]])]),
    "an unknown field with parts": (
        Plain, [slice_of([], ENTRIES, []), slice_of(["no"], ENTRIES, [])],
    ),
    "a field is missing": (Plain, [slice_of([], ENTRIES, [["number", 1]])]),
    "a key is missing": (Table, [slice_of([], ENTRIES, [["name", "n"]])]),
    "too many items": (tuple[int, str], [slice_of([], ITEMS, [1, "a", 2])]),
    "too few items": (tuple[int, str], [slice_of([], ITEMS, [1])]),
    "a tag that is none": (Cash | Bond, [slice_of([], ENTRIES, [["type", "share"]])]),
    "no tag": (Cash | Bond, [slice_of([], ENTRIES, [])]),
    "no tag in an array": (Row | Column, [slice_of([], ITEMS, [])]),
    "a list in a set": (set[Any], [slice_of([], ITEMS, [[1]])]),
    "an item twice in a set": (set[int], [slice_of([], ITEMS, [1, 1])]),
    "a class that makes another object": (Counted, [slice_of([], ENTRIES, [["made", 1]])]),
    "no slice": (int, [b"\x01"]),
    "no MessagePack": (int, [b"\xc1"]),
}  # fmt: skip


class TestSlicesThatLie:
    @pytest.mark.parametrize("name", WRONG)
    def test_they_are_refused(self, name: str) -> None:
        kind, slices = WRONG[name]
        with pytest.raises((msgspec.DecodeError, ValueError, TypeError)):
            StateCodec[Any](kind).load(slices)

    @pytest.mark.parametrize("change", [lambda s: s[1:], lambda s: s[:1] + s[2:]])
    def test_a_slice_that_is_gone_is_noticed(
        self, change: Callable[[list[bytes]], list[bytes]]
    ) -> None:
        state = {"a": numbered(600), "b": {}}
        codec = StateCodec[Any](dict[str, dict[str, int]])
        slices = codec.slices(state)
        changed = change(list(slices))
        try:
            found = codec.digest_as_read(changed)
        except (msgspec.DecodeError, ValueError):
            return
        assert found != slices.digest
