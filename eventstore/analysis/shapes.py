"""Shapes: the columns of a table, derived from the payload class of an operation.

Theory of operation
-------------------
A shape says how the values of a field are kept in a table. Shapes know neither Arrow nor files:
`arrow_arrays.py` makes Arrow arrays of them, and `table_files.py` text. A shape comes from a class
(`shape_of`), or from the data where no plugin knows the operation (`found_shapes.py`).

The column of a field has one type for all rows. So a field of several types has a shape only where
one type holds all values exactly: a number that may be a `Decimal` is a decimal, text and literals
are text. Every other union, and `Any`, is JSON text.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from eventstore.model.operation import Operation
from eventstore.model.type_tree import (
    Choice,
    EnumNode,
    FixedNode,
    ItemsNode,
    Leaf,
    MappingNode,
    Node,
    ObjectNode,
    UnionNode,
    type_tree,
)

__all__ = ["JSON", "SCALE", "Shape", "fields_of", "is_tag_name"]

SCALE: Final = 18
"""Digits behind the point of a decimal whose field does not say more."""

_TAGS = ("symbol", "side", "venue", "account", "currency")
_SIGNED_END = 1 << 63


class Shape(msgspec.Struct, frozen=True):
    """How the values of a field are kept.

    Attributes:
        kind: `int`, `unsigned`, `float`, `bool`, `text`, `tag` (text that comes again), `bytes`,
            `decimal`, `instant` (a time with a zone), `local` (a time without), `date`, `time`,
            `span`, `record`, `list`, `map` or `json`.
        nullable: Whether a value may be missing.
        scale: Digits behind the point of a decimal.
        names: The names of the parts of a record.
        parts: The shapes of the parts of a record, of the items of a list, of keys and values of
            a map.
        wide: Whether the type allows for integers from 2**63 on.
    """

    kind: str
    nullable: bool = False
    scale: int = SCALE
    names: tuple[str, ...] = ()
    parts: tuple[Shape, ...] = ()
    wide: bool = False

    def __str__(self) -> str:
        """Describe the shape, such as `list of decimal(18)?`. A `?` stands for nullable."""
        end = "?" if self.nullable else ""
        if self.kind == "decimal":
            return f"decimal({self.scale}){end}"
        if self.kind == "list":
            return f"list{end} of {self.parts[0]}"
        if self.kind == "map":
            return f"map{end} of {self.parts[0]} to {self.parts[1]}"
        if self.kind == "record":
            named = zip(self.names, self.parts, strict=True)
            return f"record{end} of ({', '.join(f'{name} {part}' for name, part in named)})"
        return f"{self.kind}{end}"


JSON: Final = Shape("json")

_KINDS: dict[type[Any], str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    Decimal: "decimal",
    uuid.UUID: "text",
    datetime.datetime: "instant",
    datetime.date: "date",
    datetime.time: "time",
    datetime.timedelta: "span",
}


def is_tag_name(name: str) -> bool:
    """Whether a field of this name holds the same few texts again and again.

    >>> is_tag_name("symbol"), is_tag_name("fee_currency"), is_tag_name("symbols")
    (True, True, False)
    """
    return name.endswith(_TAGS) and (name in _TAGS or name.rpartition("_")[2] in _TAGS)


def fields_of(kind: type[Operation]) -> dict[str, Shape]:
    """Return the shape of each field of a payload class, by the name in the log."""
    found: dict[str, Shape] = {}
    for field in msgspec.structs.fields(kind):
        try:
            node = type_tree(field.type)
        except TypeError:  # any operation, as inside of an `IntentSettled`
            found[field.encode_name] = _nullable(JSON)
        else:
            found[field.encode_name] = _field(field.encode_name, node, (kind,))
    return found


def _field(name: str, node: Node, inside: tuple[type[Any], ...]) -> Shape:
    shape = _shape(node, inside)
    marked = _extra(node.annotation).get("tag", is_tag_name(name))
    return msgspec.structs.replace(shape, kind="tag") if marked and shape.kind == "text" else shape


def _shape(node: Node, inside: tuple[type[Any], ...]) -> Shape:
    match node:
        case Leaf():
            return _leaf(node)
        case Choice():
            return Shape("tag", nullable=None in node.values)
        case EnumNode():
            return Shape("tag")
        case UnionNode():
            return _union(node, inside)
        case MappingNode():
            return Shape("map", parts=(_shape(node.key, inside), _shape(node.value, inside)))
        case ItemsNode():
            return Shape("list", parts=(_shape(node.item, inside),))
        case FixedNode():
            items = {_shape(item, inside) for item in node.items}
            return Shape("list", parts=(items.pop() if len(items) == 1 else JSON,))
        case ObjectNode() if node.kind not in inside and node.fields:
            below = (*inside, node.kind)
            named = {one.encoded: _field(one.encoded, one.node, below) for one in node.fields}
            if node.form == "typeddict":
                missing = {one.encoded for one in node.fields if not one.required}
                named = {
                    name: _nullable(shape) if name in missing else shape
                    for name, shape in named.items()
                }
            return Shape("record", names=tuple(named), parts=tuple(named.values()))
        case _:  # anything at all, or a class inside the same class
            return msgspec.structs.replace(JSON, nullable=not isinstance(node, ObjectNode))


def _leaf(node: Leaf) -> Shape:
    kind = _KINDS.get(node.kind)
    if kind == "instant" and node.constraints.get("tz") is False:
        kind = "local"
    if kind == "decimal":
        return Shape(kind, scale=_scale(node.annotation))
    return JSON if kind is None else Shape(kind, wide=kind == "int" and _is_wide(node.constraints))


def _is_wide(constraints: Mapping[str, Any]) -> bool:
    """Whether integers of these limits are above or equal to 0, and may need 64 bits for that."""
    least = constraints.get("ge", constraints.get("gt", -2) + 1)
    most = constraints.get("le", constraints.get("lt", 1 << 64))
    return bool(least >= 0 and most >= _SIGNED_END)


def _union(node: UnionNode, inside: tuple[type[Any], ...]) -> Shape:
    options = [
        one for one in node.options if not (isinstance(one, Leaf) and one.kind is type(None))
    ]
    nullable = len(options) < len(node.options)
    shapes = {_shape(option, inside) for option in options}
    kinds = {shape.kind for shape in shapes}
    scales = [_scale(one) for one in (node.annotation, *(part.annotation for part in options))]
    if len(shapes) == 1:
        found = shapes.pop()
    elif kinds <= {"int", "float", "decimal"}:
        found = Shape("decimal" if "decimal" in kinds else "float")
    elif kinds <= {"text", "tag"}:
        found = Shape("text")
    else:
        found = JSON
    scale = next((one for one in scales if one != SCALE), SCALE)
    if found.kind == "decimal" and scale != found.scale:
        found = msgspec.structs.replace(found, scale=scale)
    return _nullable(found) if nullable or found.nullable else found


def _nullable(shape: Shape) -> Shape:
    return msgspec.structs.replace(shape, nullable=True)


def _metas(annotation: Any) -> list[msgspec.Meta]:
    found = getattr(annotation, "__metadata__", ())
    return [meta for meta in found if isinstance(meta, msgspec.Meta)]


def _extra(annotation: Any) -> dict[str, Any]:
    extras = [meta.extra or {} for meta in _metas(annotation)]
    return {name: value for extra in extras for name, value in extra.items()}


def _scale(annotation: Any) -> int:
    """Return the digits behind the point that `multiple_of` asks for.

    Msgspec takes `multiple_of` for `int` and `float` only, so a `Decimal` says
    `Meta(extra={"multiple_of": "0.01"})`.
    """
    step = _extra(annotation).get("multiple_of")
    for meta in _metas(annotation):
        step = meta.multiple_of if step is None else step
    if step is None:
        return SCALE
    try:
        exponent = Decimal(str(step)).normalize().as_tuple().exponent
    except decimal.InvalidOperation:
        return SCALE
    return min(max(0, -exponent), 38) if isinstance(exponent, int) else SCALE
