"""The description of a type: generic classes, recursion, wrappers, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pytest
from immutables import Map
from msgspec import Meta

from eventstore.model.fingerprint import type_fingerprint
from eventstore.model.type_tree import (
    AnyNode,
    FixedNode,
    ItemsNode,
    Leaf,
    MappingNode,
    Node,
    ObjectNode,
    UnionNode,
    type_tree,
)

T = TypeVar("T")
BoundT = TypeVar("BoundT", bound=int)


class Book(msgspec.Struct, Generic[T]):
    rows: dict[str, T]
    next: Book[T] | None = None


class IntBook(Book[int], Generic[T]):
    """The same variable stands for something else than in the base."""

    other: T | None = None


@dataclasses.dataclass
class Base(Generic[T]):
    rows: list[T]


@dataclasses.dataclass
class Derived(Base[int], Generic[T]):
    other: T | None = None


class Point(NamedTuple, Generic[T]):
    x: T
    y: int = 0


class Table(TypedDict, Generic[T]):
    rows: T
    name: NotRequired[Annotated[str, Meta(max_length=5)]]


@dataclasses.dataclass
class Hidden:
    calls: int = dataclasses.field(default=0, init=False)


class Opaque:
    pass


Bounded = NewType("Bounded", Annotated[int, Meta(ge=3)])


def parts(kind: Any) -> dict[str, Node]:
    node = type_tree(kind)
    assert isinstance(node, ObjectNode)
    return {field.name: field.node for field in node.fields}


def kinds(kind: Any, name: str) -> list[type[Any]]:
    """The classes of the leaves of a field."""
    rest, found = [parts(kind)[name]], []
    for node in rest:
        if isinstance(node, UnionNode):
            rest += node.options
        elif isinstance(node, ItemsNode):
            rest.append(node.item)
        elif isinstance(node, MappingNode):
            rest.append(node.value)
        elif isinstance(node, Leaf):
            found.append(node.kind)
    return found


class TestGenericClasses:
    @pytest.mark.parametrize(
        ("kind", "name", "expected"),
        [
            (Book[str], "rows", [str]),
            (IntBook[str], "rows", [int]),
            (IntBook[str], "other", [str, type(None)]),
            (Derived[str], "rows", [int]),
            (Derived[str], "other", [str, type(None)]),
            (Point[str], "x", [str]),
            (Point[str], "y", [int]),
            (Table[int], "rows", [int]),
            (Table[int], "name", [str]),
        ],
    )
    def test_type_variables_are_filled(self, kind: Any, name: str, expected: Any) -> None:
        assert kinds(kind, name) == expected

    def test_one_without_arguments_holds_anything(self) -> None:
        assert isinstance(parts(Point)["x"], AnyNode)

    def test_a_bound_stands_for_the_variable(self) -> None:
        node = type_tree(list[BoundT])  # type: ignore[valid-type]  # a type at run time
        assert isinstance(node, ItemsNode)
        assert isinstance(node.item, Leaf)

    def test_a_class_within_itself_is_one_node(self) -> None:
        node = type_tree(Book[str])
        within = parts(Book[str])["next"]
        assert isinstance(within, UnionNode)
        assert isinstance(node, ObjectNode)
        (option,) = [part for part in within.options if isinstance(part, ObjectNode)]
        assert [field.name for field in option.fields] == ["rows", "next"]


class TestWrappers:
    def test_constraints_of_all_layers_are_met(self) -> None:
        node = type_tree(Annotated[Bounded, Meta(le=9)])
        assert isinstance(node, Leaf)
        assert node.constraints == {"ge": 3, "le": 9}

    @pytest.mark.parametrize(
        ("kind", "made"),
        [
            (Sequence[int], list),
            (list, list),
            (tuple, tuple),
            (tuple[int, ...], tuple),
            (frozenset[int], frozenset),
            (Mapping[str, int], dict),
            (Map[str, int], Map),
            (Map, Map),
        ],
    )
    def test_a_node_is_of_what_decoding_makes(self, kind: Any, made: type[Any]) -> None:
        node = type_tree(kind)
        assert isinstance(node, ItemsNode | MappingNode)
        assert node.made is made

    def test_an_empty_tuple_is_no_tuple_of_any_length(self) -> None:
        node = type_tree(tuple[()])
        assert isinstance(node, FixedNode)
        assert node.items == ()

    def test_values_of_any_type_are_frozen_within_a_persistent_map_only(self) -> None:
        for kind, frozen in ((Map[str, Any], True), (dict[str, Any], False)):
            node = type_tree(kind)
            assert isinstance(node, MappingNode)
            assert isinstance(node.value, AnyNode)
            assert node.value.frozen == frozen


class TestRefusals:
    @pytest.mark.parametrize(
        ("kind", "says"),
        [
            (complex, r"`\$` is of type complex"),
            (dict[str, list[Opaque]], r"`\$\[\.\.\.\]\[\.\.\.\]` is of type Opaque"),
            (Book[complex], r"`\$\.rows\[\.\.\.\]` is of type complex"),
            (Hidden, r"`\$\.calls` is a field with init=False"),
        ],
    )
    def test_a_part_that_cannot_be_carried_is_named(self, kind: Any, says: str) -> None:
        with pytest.raises(TypeError, match=says):
            type_tree(kind)


class TestFingerprint:
    def test_it_does_not_follow_the_order_of_the_walk(self) -> None:
        inner = msgspec.defstruct("Inner", [("a", int)])
        one: Any = msgspec.defstruct("One", [("a", inner)], tag="one")
        two: Any = msgspec.defstruct("Two", [("a", inner)], tag="two")
        assert type_fingerprint(one | two) == type_fingerprint(two | one)
        assert type_fingerprint(one | two) != type_fingerprint(one)

    def test_a_class_within_itself_has_one(self) -> None:
        assert type_fingerprint(Book[int]) == type_fingerprint(Book[int])
        assert type_fingerprint(Book[int]) != type_fingerprint(Book[str])

    def test_a_default_that_is_made_counts_by_its_value(self) -> None:
        def kind(make: Any) -> Any:
            return msgspec.defstruct("K", [("a", list[int], msgspec.field(default_factory=make))])

        assert type_fingerprint(kind(lambda: [1])) != type_fingerprint(kind(lambda: [2]))
        assert type_fingerprint(kind(lambda: [1])) == type_fingerprint(kind(lambda: [1]))
        fresh = iter(range(100))
        changing = kind(lambda: [next(fresh)])
        assert type_fingerprint(changing) == type_fingerprint(changing)

    def test_it_is_written_down(self) -> None:
        """It must be the same on every Python and with every msgspec that is allowed."""
        assert type_fingerprint(Table[dict[str, Point[float]]]) == "e187bd5508edc22a"
