"""Types of values: support by MessagePack, mutability, and copies."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import msgspec
import pytest
from immutables import Map

from eventstore import InvalidPayloadError
from eventstore.model.value_types import (
    copier,
    copy_value,
    fields_of,
    is_immutable,
    plain_type,
    unsupported_part,
)
from handlers import EngineState, Position, RecordTrade, UpdatePosition


class Side(enum.Enum):
    BUY = "buy"


class Point(NamedTuple):
    x: int
    tags: list[str]


class Flat(NamedTuple):
    x: int
    y: int = 0


class Table(TypedDict):
    rows: list[int]
    name: NotRequired[str]


class Tree(msgspec.Struct, frozen=True):
    left: Tree | None = None
    right: Tree | None = None


class Branch(msgspec.Struct, frozen=True):
    children: list[Branch] = []


class Open(msgspec.Struct):
    value: int = 0


class Holder(msgspec.Struct, frozen=True):
    anything: Any = None
    fixed: int = 0


@dataclass(frozen=True, slots=True)
class Slotted:
    lines: list[str] = field(default_factory=list)
    number: int = 0


class Opaque:
    pass


Name = NewType("Name", str)


class TestImmutable:
    @pytest.mark.parametrize(
        "kind",
        [
            int, float, str, bytes, bool, None, type(None), complex, Side, Name,
            datetime.datetime, datetime.timedelta, decimal.Decimal, uuid.UUID,
            Literal["a", 1], int | None, Annotated[int, msgspec.Meta(ge=0)],
            tuple[int, str], tuple[float, ...], frozenset[str], Flat, Tree,
            Map, Map[str, int], Map[str, Any], Map[str, tuple[Tree, ...]],
            EngineState, Position, RecordTrade, UpdatePosition,
        ],
        ids=repr,
    )  # fmt: skip
    def test_types_that_cannot_change(self, kind: Any) -> None:
        assert is_immutable(kind)
        assert copier(kind) is None

    @pytest.mark.parametrize(
        "kind",
        [
            list, dict, set, bytearray, tuple, Any, list[int], dict[str, int], object,
            tuple[list[int], ...], int | list[int], Map[str, list[int]], Mapping[str, int],
            Sequence[int], Point, Table, Branch, Open, Holder, Slotted, Opaque,
        ],
        ids=repr,
    )  # fmt: skip
    def test_types_that_can(self, kind: Any) -> None:
        assert not is_immutable(kind)
        assert copier(kind) is not None


class TestCopies:
    @pytest.mark.parametrize(
        "value",
        [
            {"a": [1, {"b": 2}]},
            [1, [2]],
            {1, 2},
            bytearray(b"x"),
            (1, [2]),
            Point(1, ["a"]),
            Open(3),
            Branch([Branch()]),
            Slotted(["a"], 1),
            Holder([1]),
            Map(a=Open(1)),
            {"a": Map(b=(1, 2))},
            deque([1, 2]),
        ],
        ids=repr,
    )
    def test_a_copy_is_equal(self, value: Any) -> None:
        copied = copy_value(value)
        assert copied == value
        assert type(copied) is type(value)

    def test_nesting_without_end_is_said(self) -> None:
        nested: list[Any] = []
        for _ in range(100_000):
            nested = [nested]
        with pytest.raises(InvalidPayloadError, match="nested too deeply to be copied"):
            copy_value(nested)

    def test_what_can_change_is_not_shared(self) -> None:
        value = {"a": [Open(1)], "b": (Point(1, ["x"]),), "c": Slotted(["y"])}
        copied: Any = copy_value(value)
        copied["a"][0].value = 2
        copied["b"][0].tags.append("spoilt")
        copied["c"].lines.append("spoilt")
        copied["d"] = 1
        assert value == {"a": [Open(1)], "b": (Point(1, ["x"]),), "c": Slotted(["y"])}

    def test_what_cannot_is(self) -> None:
        tree = Tree(Tree())
        copied: Any = copy_value({"a": tree})
        assert copied["a"] is tree
        assert copy_value(tree) is tree

    def test_a_frozen_value_whose_parts_happen_not_to_change_is_itself(self) -> None:
        value = Holder(anything=("a", 1))
        assert copy_value(value).anything == ("a", 1)
        assert copy_value(Holder(anything="text")).anything == "text"
        same = Holder(anything="text")
        assert copy_value(same) is same

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (dict[str, int], {"a": 1}),
            (dict[str, list[int]], {"a": [1]}),
            (list[Tree], [Tree()]),
            (list[list[int]], [[1]]),
            (Map[str, list[int]], Map(a=[1])),
            (Sequence[int], [1]),
            (Mapping[str, list[int]], {"a": [1]}),
            (list[int] | None, [1]),
            (Any, [1]),
            (Open, Open(1)),
        ],
        ids=repr,
    )
    def test_the_copier_of_a_type_copies_its_values(self, kind: Any, value: Any) -> None:
        make = copier(kind)
        assert make is not None
        assert make(value) == value
        assert make(value) is not value


class TestUnsupported:
    @pytest.mark.parametrize(
        "kind",
        [
            EngineState,
            RecordTrade,
            Tree,
            Table,
            Point,
            dict,
            Any,
            Map[str, Any],
            Side,
            Name,
            Slotted,
        ],
        ids=repr,
    )
    def test_what_can_be_carried(self, kind: Any) -> None:
        assert unsupported_part(kind) is None

    @pytest.mark.parametrize(
        ("kind", "where"),
        [
            (Opaque, "`$` is of type Opaque"),
            (complex, "`$` is of type complex"),
            (list[Opaque], "`$[...]` is of type Opaque"),
            (Map[str, tuple[int, Opaque]], "`$[...][...]` is of type Opaque"),
            (Opaque | None, "`$` is of type Opaque"),
            (dict[str, deque[int]], "`$[...]` is of type deque"),
        ],
        ids=repr,
    )
    def test_what_cannot_is_named_with_its_place(self, kind: Any, where: str) -> None:
        assert unsupported_part(kind) == where


def test_fields_are_known_of_whatever_has_them() -> None:
    assert fields_of(Flat) == {"x": int, "y": int}
    assert fields_of(Slotted) == {"lines": list[str], "number": int}
    assert list(fields_of(Table) or {}) == ["rows", "name"]
    assert list(fields_of(Holder) or {}) == ["anything", "fixed"]
    assert fields_of(int) is fields_of(int | None) is None


def test_a_type_is_told_from_what_annotates_it() -> None:
    assert plain_type(Annotated[Name, "a name"]) is str
    assert plain_type(NotRequired[int]) is int
