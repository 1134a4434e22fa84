"""Which values a state may hold: exactly those that a snapshot gives back."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import uuid
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec import Meta

from eventstore.model.inline_checks import inline_condition
from eventstore.model.leaf_checks import RefusedValueError
from eventstore.model.map_changes import ABSENT
from eventstore.model.state_codec import StateCodec, state_digest
from eventstore.model.state_slices import SLICE
from eventstore.model.type_tree import type_tree
from eventstore.testing.differences import difference

UTC = datetime.UTC
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Side(enum.Enum):
    BUY = "buy"


class Size(enum.IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


class Position(msgspec.Struct, frozen=True):
    shares: int = 0
    price: float = 0.0


class Option(Position, frozen=True):
    strike: float = 0.0


class Cash(msgspec.Struct, frozen=True, tag="cash"):
    amount: int = 0


class Bond(msgspec.Struct, frozen=True, tag="bond"):
    price: float = 0.0


class Tree(msgspec.Struct, frozen=True):
    left: Tree | None = None
    weight: Annotated[int, Meta(ge=0)] = 0


class Maybe(msgspec.Struct, frozen=True):
    value: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass(frozen=True)
class Plain:
    lines: list[str]
    number: int = 0


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Table(TypedDict):
    rows: list[int]
    name: NotRequired[str]


FITTING: list[tuple[Any, Any]] = [
    (int, 2**64 - 1),
    (int, -(2**63)),
    (float, -math.inf),
    (str, "株式"),
    (bytes, b"\xff"),
    (bool, True),
    (None, None),
    (datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    (datetime.datetime, datetime.datetime(2026, 1, 2)),
    (datetime.date, datetime.date(1, 1, 1)),
    (datetime.timedelta, datetime.timedelta(microseconds=1)),
    (decimal.Decimal, decimal.Decimal("1.00")),
    (decimal.Decimal | None, None),
    (Map[str, decimal.Decimal], Map(a=decimal.Decimal("-0E+3"))),
    (Map[int, str | None], Map({1: "é", 2: None})),
    (uuid.UUID, uuid.UUID(int=1)),
    (bytearray, bytearray(b"x")),
    (Side, Side.BUY),
    (Literal["a", 1], 1),
    (Annotated[float, Meta(gt=0, lt=1)], 0.5),
    (Annotated[str, Meta(pattern="^a")], "ab"),
    (int | float, 1.0),
    (int | float, 1),
    (Position | None, None),
    (Cash | Bond, Bond(1.0)),
    (list[int], [1]),
    (Sequence[int], [1]),
    (tuple[int, ...], (1,)),
    (tuple[int, str], (1, "a")),
    (set[int], {1}),
    (frozenset[str], frozenset("a")),
    (dict[str, int], {"a": 1}),
    (Mapping[tuple[str, int], Point], {("a", 1): Point(1, 2.0)}),
    (Map[str, tuple[Position, ...]], Map(a=(Position(1, 2.0),))),
    (Map[str, Any], Map(a=(1, Map(b=None)), c="x")),
    (Any, {"a": [1, {"b": None}], 1: b"x", (1, 2): datetime.datetime.now(UTC)}),
    (dict, {"a": [1]}),
    (Tree, Tree(Tree(None, 1), 2)),
    (Maybe, Maybe()),
    (Maybe, Maybe(3)),
    (Plain, Plain(["a"], 1)),
    (Table, {"rows": [1]}),
    (Table, {"rows": [], "name": "n"}),
]

REFUSED: list[tuple[Any, Any, str, str]] = [
    (int, 1.0, "$", "of type float, and not of type int"),
    (int, True, "$", "of type bool"),
    (int, 2**64, "$", "64 bits"),
    (int, -(2**63) - 1, "$", "64 bits"),
    (float, 0, "$", "is 0, of type int"),
    (float, decimal.Decimal(1), "$", "decimal.Decimal"),
    (decimal.Decimal, 1, "$", "of type int, and not of type decimal.Decimal"),
    (Map[str, decimal.Decimal], Map(a=1.5), "$['a']", "of type float"),
    (Map[str, Annotated[int, Meta(ge=0)]], Map(a=-1), "$['a']", ">= 0"),
    (Map[str, float | None], Map(a=1), "$['a']", "not of type NoneType or float"),
    (Map[Annotated[str, Meta(min_length=1)], int], Map({"": 1}), "$['']", "length >= 1"),
    (Map[str, str], Map(a="\ud800"), "$['a']", "no text that can be encoded"),
    (str, Name("a"), "$", "Name"),
    (str, "\ud800", "$", "no text that can be encoded"),
    (bytes, bytearray(b"x"), "$", "bytearray"),
    (Side, "buy", "$", "a snapshot gives <Side.BUY"),
    (int, Size.ONE, "$", "Size"),
    (Literal["a"], "b", "$", "Invalid enum value"),
    (Literal["a"], Name("a"), "$", "(Name) cannot be recorded"),
    (Annotated[int, Meta(ge=0)], -1, "$", "Expected `int` >= 0"),
    (Annotated[int, Meta(gt=0, lt=9)], 9, "$", "Expected `int` <= 8"),
    (Annotated[float, Meta(gt=0)], 0.0, "$", "Expected `float` > 0"),
    (Annotated[float, Meta(lt=1)], 1.0, "$", "Expected `float` < 1"),
    (Annotated[float, Meta(ge=0)], math.nan, "$", "Expected `float` >= 0"),
    (Annotated[str, Meta(pattern="^a")], "b", "$", "matching regex"),
    (Annotated[list[int], Meta(max_length=2)], [1, 2, 3], "$", "allows 0 to 2"),
    (Annotated[dict[str, int], Meta(min_length=1)], {}, "$", "allows 1 to"),
    (
        datetime.datetime,
        datetime.datetime(2026, 7, 2, tzinfo=BERLIN),
        "$",
        "a snapshot gives datetime",
    ),
    (int | None, "a", "$", "not of type NoneType or int"),
    (Cash | Bond, Position(), "$", "Bond or Cash"),
    (list[int], (1,), "$", "of type tuple"),
    (tuple[int, ...], [1], "$", "of type list"),
    (Sequence[int], (1,), "$", "of type tuple"),
    (tuple[int, str], (1,), "$", "has 1 items, and its type 2"),
    (tuple[int, str], (1, 2), "$[1]", "of type int"),
    (set[int], frozenset({1}), "$", "frozenset"),
    (frozenset[int], frozenset({1.0}), "$[1.0]", "of type float"),
    (dict[str, int], collections.OrderedDict(a=1), "$", "collections.OrderedDict"),
    (dict[str, int], {1: 1}, "$[1]", "of type int"),
    (dict[str, int], Map(a=1), "$", "immutables"),
    (Map[str, int], {"a": 1}, "$", "of type dict"),
    (Map[str, list[int]], Map(a=[1, "b"]), "$['a'][1]", "of type str"),
    (Map[str, Any], Map(a=[1]), "$['a']", "of type list"),
    (Any, {"a": (1,)}, "$['a']", "of type tuple"),
    (Any, {"a": Side.BUY}, "$['a']", "Side"),
    (Any, {"a": {"b": 2**70}}, "$['a']['b']", "64 bits"),
    (Any, {"a": datetime.date(2026, 1, 1)}, "$['a']", "date"),
    (Any, {(1, (2, 3j)): 1}, "$[(1, (2, 3j))][1][1]", "complex"),
    (dict, {frozenset(): 1}, "$[frozenset()]", "frozenset"),
    (Position, Option(1, 2.0, 3.0), "$", "Option, and not of type"),
    (Position, Position(1, 2), "$.price", "is 2, of type int"),
    (Tree, Tree(Tree(Tree(weight=-1))), "$.left.left.weight", ">= 0"),
    (Maybe, Maybe(None), "$.value", "NoneType"),  # type: ignore[arg-type]  # what is tested
    (Plain, Plain(["a", 1]), "$.lines[1]", "of type int"),  # type: ignore[list-item]  # what is tested
    (list[Point], [(1, 2.0)], "$[0]", "of type tuple"),
    (Table, {}, "$", "lacks the key 'rows'"),
    (Table, {"rows": [], "more": 1}, "$", "unknown key 'more'"),
    (Table, {"rows": [""]}, "$['rows'][0]", "of type str"),
    (Table, collections.OrderedDict(rows=[]), "$", "OrderedDict"),
]


class TestTheWholeState:
    @pytest.mark.parametrize(("kind", "value"), FITTING)
    def test_one_that_fits_comes_back_exactly(self, kind: Any, value: Any) -> None:
        codec = StateCodec[Any](kind)
        codec.check(value, ABSENT)
        again = codec.load(codec.slices(value))
        assert difference(value, again) is None
        assert repr(again) == repr(value)

    @pytest.mark.parametrize(("kind", "value", "path", "says"), REFUSED)
    def test_one_that_does_not_fit_is_refused(
        self, kind: Any, value: Any, path: str, says: str
    ) -> None:
        with pytest.raises(RefusedValueError) as caught:
            StateCodec[Any](kind).check(value, ABSENT)
        assert caught.value.path == path
        assert says in caught.value.reason

    @pytest.mark.parametrize(("kind", "value", "path", "says"), REFUSED)
    def test_nor_is_it_let_through_by_the_code_of_an_object(
        self, kind: Any, value: Any, path: str, says: str
    ) -> None:
        """The generated code of a class has conditions of its own, which save calls."""
        holder = msgspec.defstruct("Holder", [("part", kind)], frozen=True)
        with pytest.raises(RefusedValueError) as caught:
            StateCodec[Any](holder).check(holder(value), ABSENT)
        assert caught.value.path == f"$.part{path[1:]}"
        assert says in caught.value.reason

    @pytest.mark.parametrize(("kind", "value"), FITTING)
    def test_and_one_that_fits_is(self, kind: Any, value: Any) -> None:
        holder = msgspec.defstruct("Holder", [("part", kind)], frozen=True)
        StateCodec[Any](holder).check(holder(value), ABSENT)

    def test_the_code_of_an_object_makes_no_call_for_a_simple_value(self) -> None:
        names: dict[str, Any] = {}
        conditions = [
            inline_condition(type_tree(kind), "now", names)
            for kind in (Literal["buy", "sell"], Position | None, tuple[Tree, ...])
        ]
        cases: list[tuple[list[Any], list[bool]]] = [
            (["buy", None, ()], [False, False, False]),
            (["hold", Position(), (Tree(),)], [True, True, True]),
            ([Name("buy"), Maybe(), []], [True, True, True]),
        ]
        for values, needed in cases:
            found = [
                bool(eval(condition, {**names, "now": now}))
                for condition, now in zip(conditions, values, strict=True)
            ]
            assert found == needed

    def test_an_extension_is_compared_by_its_value(self) -> None:
        codec = StateCodec[Any](msgspec.msgpack.Ext)
        value = msgspec.msgpack.Ext(1, b"x")
        codec.check(value, ABSENT)
        assert codec.load(codec.slices(value)) == value

    @pytest.mark.parametrize(
        "text", ["-0", "0E+10", "1E-999999", "1E+999999", "9" * 99, "Infinity", "NaN12", "-sNaN3"]
    )
    def test_every_decimal_comes_back_exactly(self, text: str) -> None:
        codec, value = StateCodec[Any](decimal.Decimal), decimal.Decimal(text)
        codec.check(value, ABSENT)
        assert repr(codec.load(codec.slices(value))) == repr(value)

    def test_an_object_that_lacks_a_field(self) -> None:
        with pytest.raises(RefusedValueError, match="lacks a field"):
            StateCodec[Any](Plain).check(Plain.__new__(Plain), ABSENT)

    def test_numbers_of_numpy_are_refused_by_their_name(self) -> None:
        numpy = pytest.importorskip("numpy")
        for kind, value in ((int, numpy.int64(1)), (float, numpy.float64(1))):
            with pytest.raises(RefusedValueError, match=f"numpy.{type(value).__name__}"):
                StateCodec[Any](kind).check(value, ABSENT)


class Book(msgspec.Struct, frozen=True):
    orders: Map[str, Position] = Map()
    queue: tuple[int, ...] = ()
    lines: list[str] = []
    limits: dict[str, float] = {}
    tags: frozenset[str] = frozenset()
    pair: tuple[int, str] = (0, "")
    note: Any = None
    best: Position | None = None


BOOK = Book(
    Map({f"o{number}": Position(number) for number in range(200)}),
    tuple(range(1000, 1100)),
    ["a", "b"],
    {"a": 1.0},
    frozenset("ab"),
    (1, "a"),
    {"a": {"b": [1, 2]}},
    Position(1),
)


class TestWhatChanged:
    @pytest.mark.parametrize(
        ("changes", "path"),
        [
            ({"orders": BOOK.orders.set("o7", Position(1, 2))}, "$.orders['o7'].price"),
            ({"orders": BOOK.orders.set("new", Position("1"))}, "$.orders['new'].shares"),  # type: ignore[arg-type]  # what is tested
            ({"orders": BOOK.orders.set(7, Position())}, "$.orders[7]"),  # type: ignore[arg-type]  # what is tested
            ({"queue": (*BOOK.queue[1:], 1.5)}, "$.queue[99]"),
            ({"queue": (0.5, *BOOK.queue)}, "$.queue[0]"),
            ({"queue": (*BOOK.queue[:50], None, *BOOK.queue[51:])}, "$.queue[50]"),
            ({"lines": ["a", b"b"]}, "$.lines[1]"),
            ({"limits": {**BOOK.limits, "b": 1}}, "$.limits['b']"),
            ({"limits": {**BOOK.limits, "a": 1}}, "$.limits['a']"),
            ({"tags": BOOK.tags | {1}}, "$.tags[1]"),
            ({"pair": (1, None)}, "$.pair[1]"),
            ({"note": {"a": {"b": [1, 2, 3j]}}}, "$.note['a']['b'][2]"),
            ({"note": (1,)}, "$.note"),
            ({"best": Position(1, 1)}, "$.best.price"),
        ],
    )
    def test_a_part_that_does_not_fit_is_found(self, changes: dict[str, Any], path: str) -> None:
        codec = StateCodec[Book](Book)
        codec.check(BOOK, ABSENT)
        with pytest.raises(RefusedValueError) as caught:
            codec.check(msgspec.structs.replace(BOOK, **changes), BOOK)
        assert caught.value.path == path

    @pytest.mark.parametrize(
        "changes",
        [
            {"orders": BOOK.orders.set("o7", Position(1)).delete("o8")},
            {"queue": BOOK.queue[5:]},
            {"queue": (5, *BOOK.queue[:50], 7, *BOOK.queue[50:])},
            {"lines": []},
            {"limits": {}},
            {"tags": frozenset()},
            {"best": None, "note": [1]},
        ],
    )
    def test_what_fits_passes(self, changes: dict[str, Any]) -> None:
        StateCodec[Book](Book).check(msgspec.structs.replace(BOOK, **changes), BOOK)

    def test_the_time_does_not_follow_the_size_of_a_map(self) -> None:
        """Counted by the values that are looked at, not by the clock."""
        seen: list[Any] = []

        class Watched(msgspec.Struct, frozen=True):
            value: int = 0

            def __getattribute__(self, name: str) -> Any:
                seen.append(name)
                return super().__getattribute__(name)

        codec = StateCodec[Any](Map[str, Watched])
        before: Map[str, Any] = Map({f"k{number}": Watched(number) for number in range(5000)})
        seen.clear()
        codec.check(before.set("k7", Watched(1)), before)
        assert 0 < seen.count("value") <= 4

    def test_a_state_of_another_type_before_is_no_help(self) -> None:
        codec = StateCodec[Any](dict[str, int] | None)
        codec.check({"a": 1}, None)
        with pytest.raises(RefusedValueError):
            codec.check({"a": ""}, None)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


class TestEveryPlainValue:
    @settings(deadline=None)
    @given(PLAIN, st.integers(0, 2 * SLICE))
    def test_it_comes_back_exactly_however_large_it_is(self, value: Any, copies: int) -> None:
        state = {"value": value, "many": [value] * copies, "text": "é" * copies * 100}
        codec = StateCodec[Any](dict[str, Any])
        codec.check(state, ABSENT)
        slices = codec.slices(state)
        written = list(slices)
        again = codec.load(written)
        assert difference(state, again) is None
        assert list(again) == list(state)
        assert slices.digest == codec.digest_as_read(written) == state_digest(again)


class Books(msgspec.Struct, frozen=True):
    sizes: Map[str, int] = Map()
    prices: Map[str, float] = Map()
    older: Map[str, int] = Map()


class TestAMapThatMovesToAnotherField:
    def test_is_checked_there_if_the_field_is_of_another_type(self) -> None:
        check = StateCodec[Books](Books).check
        before = Books(sizes=Map({"A": 1}))
        check(before, ABSENT)
        check(Books(older=before.sizes), before)
        moved: Any = before.sizes
        with pytest.raises(RefusedValueError, match="of type int, and not of type float"):
            check(Books(prices=moved), before)

    def test_is_checked_there_if_it_was_not_in_the_state_before(self) -> None:
        check = StateCodec[Books](Books).check
        wrong: Any = Map({"A": "one"})
        with pytest.raises(RefusedValueError):
            check(Books(sizes=wrong, older=wrong), Books())
