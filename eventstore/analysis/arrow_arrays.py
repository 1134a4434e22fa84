"""Arrow arrays of shapes, built a column at a time from lists of values.

Theory of operation
-------------------
A call from Python for each value would take longer than decoding the event. So every step is one
call for a whole column: Arrow parses texts to decimals, and makes the dictionaries of tags.
Records, lists and maps are taken apart into the columns of their parts, as Arrow keeps them.

Nothing is rounded. Where Arrow refuses a column, the values are tried one by one, and the error
names the first one.

The arrays of a batch depend on no other batch. `arrow_tables.py` joins the dictionaries of batches.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import immutables
import pyarrow as pa

from eventstore.analysis.arrow_decimals import PRECISION, decimal_array
from eventstore.analysis.plain_values import json_text, number_text, parts_of_record, tag_text
from eventstore.analysis.shapes import Shape

__all__ = ["UNFIT", "ArrowColumns", "arrow_type"]

UNFIT = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError)
"""What a value raises that does not fit the type of its column."""

_FIRST = pa.scalar(0, pa.int32())

_TYPES: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "unsigned": pa.uint64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "tag": pa.dictionary(pa.int32(), pa.string()),
    "bytes": pa.binary(),
    "instant": pa.timestamp("us", tz="UTC"),
    "nanoseconds": pa.timestamp("ns", tz="UTC"),
    "local": pa.timestamp("us"),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "span": pa.duration("us"),
    "json": pa.string(),
}


def arrow_type(shape: Shape, decimals: str) -> pa.DataType:
    """Return the Arrow type of a shape. `decimals` is `decimal128`, `string` or `float`."""
    if shape.kind == "decimal":
        kinds = {"string": pa.string(), "float": pa.float64()}
        return kinds.get(decimals) or pa.decimal128(PRECISION, shape.scale)
    if shape.kind == "list":
        return pa.list_(_field("item", shape.parts[0], decimals))
    if shape.kind == "map":
        key, value = shape.parts
        return pa.map_(arrow_type(key, decimals), _field("value", value, decimals))
    if shape.kind == "record":
        named = zip(shape.names, shape.parts, strict=True)
        return pa.struct([_field(name, part, decimals) for name, part in named])
    return _TYPES[shape.kind]


def _field(name: str, shape: Shape, decimals: str) -> pa.Field:
    return pa.field(name, arrow_type(shape, decimals), nullable=shape.nullable)


class ArrowColumns:
    """Builds columns, with decimals as asked for."""

    def __init__(self, decimals: str) -> None:
        self._decimals = decimals
        self._plain: dict[str, Callable[[Sequence[Any]], Any]] = {
            "float": _floats,
            "bytes": lambda values: [None if one is None else bytes(one) for one in values],
            "json": lambda values: [None if one is None else json_text(one) for one in values],
            "instant": _instants,
        }

    def array(self, shape: Shape, values: Sequence[Any]) -> pa.Array:
        """Build a column. Raises one of `UNFIT` for an unfit value."""
        kind = shape.kind
        if kind in ("text", "tag") and _is_one_text(values):
            return self.array(shape, values[:1]).take(pa.repeat(_FIRST, len(values)))
        if kind == "decimal":
            return self._decimal(shape, values)
        if kind in ("record", "list", "map"):
            absent = [one is None for one in values] if shape.nullable else []
            mask = pa.array(absent, pa.bool_()) if any(absent) else None
            make_nested = self._records if kind == "record" else self._collections
            return make_nested(shape, values, mask)
        if kind in ("text", "tag"):
            return _texts(values, _TYPES[kind])
        if kind == "nanoseconds":
            return pa.array(values, pa.int64()).view(_TYPES[kind])
        make = self._plain.get(kind)
        return pa.array(values if make is None else make(values), _TYPES[kind])

    def _decimal(self, shape: Shape, values: Sequence[Any]) -> pa.Array:
        if self._decimals == "float":
            return pa.array([None if one is None else float(one) for one in values], pa.float64())
        if self._decimals == "string":
            return _texts(
                [None if one is None else number_text(one) for one in values], pa.string()
            )
        return decimal_array(values, shape.scale)

    def _records(self, shape: Shape, values: Sequence[Any], mask: pa.Array | None) -> pa.Array:
        filler = tuple(map(_filler, shape.parts)) if mask is not None else ()
        rows = [filler if one is None else parts_of_record(one, shape.names) for one in values]
        columns = list(zip(*rows, strict=True)) or [()] * len(shape.names)
        parts = [
            self.array(part, column) for part, column in zip(shape.parts, columns, strict=True)
        ]
        wanted = arrow_type(shape, self._decimals)
        fields = [wanted.field(place) for place in range(wanted.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=fields, mask=mask)

    def _collections(self, shape: Shape, values: Sequence[Any], mask: pa.Array | None) -> pa.Array:
        wanted = arrow_type(shape, self._decimals)
        sizes = [0 if one is None else len(one) for one in values]
        offsets = pa.array([0, *itertools.accumulate(sizes)], pa.int32())
        found = [one for one in values if one is not None]
        if shape.kind == "list":
            items = list(itertools.chain.from_iterable(map(_ordered, found)))
            inner = self.array(shape.parts[0], items)
            return pa.ListArray.from_arrays(offsets, inner, type=wanted, mask=mask)
        pairs = list(itertools.chain.from_iterable(map(_pairs, found)))
        keys, entries = zip(*pairs, strict=True) if pairs else ((), ())
        return pa.MapArray.from_arrays(
            offsets,
            self.array(shape.parts[0], keys),
            self.array(shape.parts[1], entries),
            type=wanted,
            mask=mask,
        )


_FILLERS: dict[str, Any] = {
    "int": 0,
    "unsigned": 0,
    "float": 0.0,
    "bool": False,
    "text": "",
    "tag": "",
    "bytes": b"",
    "decimal": 0,
    "instant": datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
    "local": datetime.datetime(1970, 1, 1),
    "date": datetime.date(1970, 1, 1),
    "time": datetime.time(),
    "span": datetime.timedelta(),
    "list": (),
    "map": {},
    "json": "",
}


def _filler(shape: Shape) -> Any:
    """Return a value for a part of an absent record, where the part may not be null in Parquet."""
    if shape.nullable:
        return None
    return tuple(map(_filler, shape.parts)) if shape.kind == "record" else _FILLERS[shape.kind]


def _is_one_text(values: Sequence[Any]) -> bool:
    """Whether all of several values are the same. Most columns of other values are told at once."""
    return len(values) > 1 and values[0] == values[-1] and values.count(values[0]) == len(values)


def _texts(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except pa.ArrowTypeError:  # a UUID, or a member of an enumeration
        return pa.array([None if one is None else tag_text(one) for one in values], kind)


def _floats(values: Sequence[Any]) -> Sequence[Any]:
    """Return floats. Raises `OverflowError` for an integer that no float equals."""
    if int not in set(map(type, values)):
        return values
    found = [None if one is None else float(one) for one in values]
    if found != list(values):
        raise OverflowError("the integer is equal to no float")
    return found


def _instants(values: Sequence[Any]) -> Sequence[Any]:
    """Return times with a zone. Raises `ValueError` for a time without."""
    if any(one is not None and one.tzinfo is None for one in values):
        raise ValueError("the time has no zone: say Meta(tz=False) of the field")
    return values


def _ordered(items: Any) -> Any:
    """Return items in an order that does not depend on the run."""
    return sorted(items, key=json_text) if isinstance(items, set | frozenset) else items


def _pairs(mapping: Mapping[Any, Any]) -> Any:
    """Return the pairs of a map, in an order that does not depend on the run."""
    if isinstance(mapping, immutables.Map):
        return sorted(mapping.items(), key=lambda pair: json_text(pair[0]))
    return mapping.items()
