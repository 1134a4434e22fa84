"""The description of a type: one tree, the source of everything about a state's type.

Theory of operation
-------------------
`type_tree` walks a type once, by the rules of msgspec, and returns a tree of nodes. New names,
qualifiers and aliases are resolved on the way. Type variables are replaced by the arguments. Four
things are made from the tree, so no two of them can differ:

* the fingerprint of the type (`fingerprint.py`),
* the check of values (`state_checks.py`),
* the decoders for the parts of a large value (`state_assembly.py`),
* the refusal of a type that a snapshot cannot carry.

A node describes the *decoded* values. `Sequence[str]` decodes to a list, so the node of
`Sequence[str]` is the node of `list[str]`. Msgspec's own description (`msgspec.inspect`) lost: the
description differs between versions of msgspec and stops at a persistent map.

A class that contains the class itself is one node with two ways to it. The walk ends there.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import typing
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import immutables
import msgspec

from eventstore.model.value_types import UNIONS, struct_fields

__all__ = [
    "REQUIRED",
    "AnyNode",
    "Choice",
    "Constraints",
    "EnumNode",
    "FixedNode",
    "ItemsNode",
    "Leaf",
    "MappingNode",
    "Node",
    "ObjectField",
    "ObjectNode",
    "UnionNode",
    "is_untyped",
    "type_tree",
]

Constraints = Mapping[str, Any]
"""The limits of a `msgspec.Meta`, by name, without the unset ones."""

REQUIRED = msgspec.NODEFAULT
"""The default of a field without a default."""

_CONSTRAINTS = (
    "gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz",
)  # fmt: skip
_QUALIFIERS = (typing.Required, typing.NotRequired, typing.Final)
_LEAVES = frozenset(
    {
        type(None), bool, int, float, str, bytes, bytearray, memoryview, datetime.datetime,
        datetime.date, datetime.time, datetime.timedelta, uuid.UUID, decimal.Decimal, msgspec.Raw,
        msgspec.msgpack.Ext, msgspec.UnsetType,
    }
)  # fmt: skip
_ITEMS: dict[Any, type[Any]] = {
    list: list, set: set, frozenset: frozenset,
    collections.abc.Collection: list, collections.abc.Sequence: list,
    collections.abc.MutableSequence: list, collections.abc.Set: set,
    collections.abc.MutableSet: set,
}  # fmt: skip
_MAPPINGS: dict[Any, type[Any]] = {
    dict: dict, collections.abc.Mapping: dict, collections.abc.MutableMapping: dict,
    immutables.Map: immutables.Map,
}  # fmt: skip


class Node(msgspec.Struct, eq=False):
    """A type, or a part of one. `annotation` is the type as a decoder takes it."""

    annotation: Any


class Leaf(Node):
    """A value without parts, an instance of exactly `kind`."""

    kind: type[Any]
    constraints: Constraints


class EnumNode(Node):
    """A member of the enumeration `kind`."""

    kind: type[enum.Enum]


class Choice(Node):
    """One of the values of a `Literal`."""

    values: tuple[Any, ...]


class AnyNode(Node):
    """Any plain value. `frozen`: within a persistent map, where maps and tuples come back."""

    frozen: bool


class MappingNode(Node):
    """A mapping, an instance of exactly `made`."""

    made: type[Any]
    key: Node
    value: Node
    constraints: Constraints


class ItemsNode(Node):
    """A list, tuple, set or frozenset of any length, an instance of exactly `made`."""

    made: type[Any]
    item: Node
    constraints: Constraints


class FixedNode(Node):
    """A tuple with a type for each item."""

    items: tuple[Node, ...]


class UnionNode(Node):
    """A value of one of several types. Msgspec can tell the types apart."""

    options: tuple[Node, ...]


class ObjectField(msgspec.Struct, eq=False):
    """A field of a class. `encoded` is the name in MessagePack, `default` may be `REQUIRED`."""

    name: str
    encoded: str
    node: Node
    default: Any = REQUIRED
    factory: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether the field has neither a default nor a function for one."""
        return self.default is REQUIRED and self.factory is REQUIRED


class ObjectNode(Node):
    """A class with fields: `form` is "struct", "dataclass", "namedtuple" or "typeddict".

    `array` tells fields written as an array, by place.
    """

    kind: type[Any]
    form: str
    fields: list[ObjectField] = msgspec.field(default_factory=list)
    array: bool = False
    tag_field: str | None = None
    tag: Any = None
    forbids_unknown: bool = False


def is_untyped(node: Node) -> bool:
    """Whether a value may be any plain one, or an item in it, as a decoder gives lists there."""
    if isinstance(node, ItemsNode):
        return is_untyped(node.item)
    if isinstance(node, FixedNode):
        return any(map(is_untyped, node.items))
    if isinstance(node, UnionNode):
        return any(map(is_untyped, node.options))
    return isinstance(node, AnyNode)


def type_tree(kind: Any) -> Node:
    """Describe the type `kind`.

    Raises `TypeError` with the path of a part that MessagePack cannot carry, and `NameError` for an
    annotation that cannot be resolved.
    """
    return _Walk().node(kind, "$")


class _Walk:
    def __init__(self) -> None:
        self._objects: dict[Any, ObjectNode] = {}

    def node(self, annotation: Any, path: str, *, frozen: bool = False) -> Node:
        while typing.get_origin(annotation) in _QUALIFIERS:
            annotation = typing.get_args(annotation)[0]
        kind, constraints = _resolved(annotation)
        origin = typing.get_origin(kind) or kind
        arguments = typing.get_args(kind)
        if isinstance(kind, typing.TypeVar):
            bound = kind.__bound__
            return AnyNode(Any, frozen) if bound is None else self.node(bound, path, frozen=frozen)
        if kind is Any:
            return AnyNode(Any, frozen)
        if kind is None:
            return Leaf(annotation, type(None), constraints)
        if origin in UNIONS:
            return UnionNode(annotation, tuple(self.node(part, path) for part in arguments))
        if origin is typing.Literal:
            return Choice(annotation, arguments)
        if origin in _LEAVES:
            return Leaf(annotation, origin, constraints)
        if origin is tuple:
            return self._tuple(annotation, kind, constraints, path)
        if origin in _ITEMS:
            item = self.node(arguments[0] if arguments else Any, f"{path}[...]")
            return ItemsNode(annotation, _ITEMS[origin], item, constraints)
        if origin in _MAPPINGS:
            key, value = arguments or (Any, Any)
            made = _MAPPINGS[origin]
            return MappingNode(
                annotation,
                made,
                self.node(key, f"{path}[...]"),
                self.node(value, f"{path}[...]", frozen=made is immutables.Map),
                constraints,
            )
        if isinstance(origin, type) and issubclass(origin, enum.Enum):
            return EnumNode(annotation, origin)
        return self._object(annotation, kind, origin, path)

    def _tuple(self, annotation: Any, kind: Any, constraints: Constraints, path: str) -> Node:
        arguments = typing.get_args(kind)
        if not arguments and kind != tuple[()]:
            return ItemsNode(annotation, tuple, AnyNode(Any, frozen=False), constraints)
        if len(arguments) == 2 and arguments[1] is ...:
            item = self.node(arguments[0], f"{path}[...]")
            return ItemsNode(annotation, tuple, item, constraints)
        return FixedNode(annotation, tuple(self.node(part, f"{path}[...]") for part in arguments))

    def _object(self, annotation: Any, kind: Any, origin: Any, path: str) -> Node:
        found = self._objects.get(kind)
        if found is not None:
            return found
        node, fields = _declared(annotation, kind, origin, path)
        self._objects[kind] = node
        for name, encoded, hint, default, factory in fields:
            part = self.node(hint, f"{path}.{name}")
            node.fields.append(ObjectField(name, encoded, part, default, factory))
        return node


class _Field(NamedTuple):
    """A field as a class declares it. `default` and `factory` may be `REQUIRED`."""

    name: str
    encoded: str
    hint: Any
    default: Any = REQUIRED
    factory: Any = REQUIRED


def _declared(
    annotation: Any, kind: Any, origin: Any, path: str
) -> tuple[ObjectNode, list[_Field]]:
    """Return the node of a class without fields, and the fields. `kind` may have type arguments."""
    if not isinstance(origin, type):
        raise _unsupported_error(path, origin)
    if issubclass(origin, msgspec.Struct):
        config = origin.__struct_config__
        node = ObjectNode(
            annotation, origin, "struct", array=config.array_like, tag_field=config.tag_field,
            tag=config.tag, forbids_unknown=config.forbid_unknown_fields,
        )  # fmt: skip
        return node, _struct_fields(kind)
    if dataclasses.is_dataclass(origin):
        return ObjectNode(annotation, origin, "dataclass"), _dataclass_fields(kind, origin, path)
    if issubclass(origin, tuple) and hasattr(origin, "_fields"):
        node = ObjectNode(annotation, origin, "namedtuple", array=True)
        return node, _namedtuple_fields(kind, origin)
    if typing.is_typeddict(origin):
        return ObjectNode(annotation, origin, "typeddict"), _typeddict_fields(kind, origin)
    raise _unsupported_error(path, origin)


def _struct_fields(kind: Any) -> list[_Field]:
    return [
        _Field(field.name, field.encode_name, field.type, field.default, field.default_factory)
        for field in struct_fields(kind)
    ]


def _dataclass_fields(kind: Any, origin: Any, path: str) -> list[_Field]:
    hints, found = _hints(kind), []
    for field in dataclasses.fields(origin):
        if not field.init:
            raise TypeError(
                f"`{path}.{field.name}` is a field with init=False, which a decoder does "
                "not give back for certain: let the constructor take it"
            )
        default, factory = (
            REQUIRED if given is dataclasses.MISSING else given
            for given in (field.default, field.default_factory)
        )
        found.append(_Field(field.name, field.name, hints[field.name], default, factory))
    return found


def _namedtuple_fields(kind: Any, origin: Any) -> list[_Field]:
    hints, defaults = _hints(kind), getattr(origin, "_field_defaults", {})
    return [
        _Field(name, name, hints.get(name, Any), defaults.get(name, REQUIRED))
        for name in origin._fields
    ]


def _typeddict_fields(kind: Any, origin: Any) -> list[_Field]:
    information: Any = msgspec.inspect.type_info(origin)
    needed = {field.name for field in information.fields if field.required}
    return [
        _Field(name, name, hint, REQUIRED if name in needed else msgspec.UNSET)
        for name, hint in sorted(_hints(kind).items())
    ]


def _unsupported_error(path: str, kind: Any) -> TypeError:
    name = getattr(kind, "__qualname__", kind)
    return TypeError(f"`{path}` is of type {name}, which MessagePack cannot carry")


def _resolved(kind: Any) -> tuple[Any, Constraints]:
    """Take off annotations, qualifiers and new names. Returns the rest and the constraints met."""
    constraints: dict[str, Any] = {}
    while True:
        origin = typing.get_origin(kind)
        if origin is Annotated:
            for meta in kind.__metadata__:
                if isinstance(meta, msgspec.Meta):
                    values = {name: getattr(meta, name) for name in _CONSTRAINTS}
                    constraints |= {name: v for name, v in values.items() if v is not None}
            kind = kind.__origin__
        elif origin in _QUALIFIERS:
            kind = typing.get_args(kind)[0]
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":  # `type X = ...`, from Python 3.12 on
            kind = kind.__value__
        elif type(origin).__name__ == "TypeAliasType":  # `X[int]` of `type X[T] = ...`
            kind = origin.__value__[typing.get_args(kind)]
        else:
            return kind, constraints


# ---- the fields of generic classes -----------------------------------------------------------


def _hints(kind: Any) -> dict[str, Any]:
    """The types of a class's fields, with the type variables of the class and its bases filled."""
    origin = typing.get_origin(kind) or kind
    filled: dict[type[Any], dict[Any, Any]] = {}
    _fill(origin, typing.get_args(kind), filled)
    hints = typing.get_type_hints(origin, include_extras=True)
    defining = {
        name: owner
        for owner in reversed(origin.__mro__)
        if owner is not object
        for name in inspect.get_annotations(owner)
    }
    return {name: _put_in(hint, filled.get(defining[name], {})) for name, hint in hints.items()}


def _fill(origin: Any, arguments: tuple[Any, ...], filled: dict[type[Any], dict[Any, Any]]) -> None:
    """Note the arguments for the type variables of a class and of each base."""
    variables = getattr(origin, "__parameters__", ())
    filled[origin] = dict(zip(variables, arguments, strict=False))
    for base in getattr(origin, "__orig_bases__", origin.__bases__):
        owner = typing.get_origin(base) or base
        if owner in (typing.Generic, typing.Protocol) or not isinstance(owner, type):
            continue
        if owner is not object and owner not in filled:
            parts = tuple(_put_in(part, filled[origin]) for part in typing.get_args(base))
            _fill(owner, parts, filled)


def _put_in(hint: Any, variables: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, hint)
    open_variables = getattr(hint, "__parameters__", ())
    if not open_variables or isinstance(hint, type) or not variables:
        return hint
    return hint[tuple(variables.get(variable, variable) for variable in open_variables)]
