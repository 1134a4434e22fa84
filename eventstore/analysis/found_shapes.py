"""Shapes found from data, for operations that no plugin knows.

A first pass over the events notes names and kinds, and keeps no value. Every payload of a column
is looked at in one call for each kind, and not value by value.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eventstore.analysis.shapes import JSON, Shape, is_tag_name
from eventstore.model.operation import OPERATION_FIELD

__all__ = ["FoundPayload"]

_NAMES = 64
"""Names in a mapping, above which the mapping is no record."""
_END = 1 << 63
_ATOMS: dict[type[Any], str] = {
    bool: "bool",
    float: "float",
    str: "text",
    bytes: "bytes",
}


class _FoundValues:
    """The kinds of the values at one place, without the values."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()
        self._nullable = False
        self._least = self._most = 0
        self._inexact = False  # an integer that no float equals
        self._items: _FoundValues | None = None
        self._keys: _FoundValues | None = None
        self._names: dict[str, _FoundValues] | None = {}  # None: no record
        self._records = 0
        self._present: dict[str, int] = {}

    def look(self, values: Sequence[Any]) -> None:
        """Note the kinds of some more values."""
        kinds = set(map(type, values))
        for kind in kinds:
            few = values if len(kinds) == 1 else [one for one in values if type(one) is kind]
            self._look(kind, few)

    def _look(self, kind: type[Any], values: Sequence[Any]) -> None:
        if kind is type(None):
            self._nullable = True
        elif kind is int:
            self._kinds.add("int")
            self._least = min(self._least, *values, 0)
            self._most = max(self._most, *values, 0)
            if self._most > 1 << 53 or self._least < -(1 << 53):
                self._inexact = self._inexact or any(float(one) != one for one in values)
        elif kind in _ATOMS:
            self._kinds.add(_ATOMS[kind])
        elif kind is datetime.datetime:
            self._kinds.update("local" if one.tzinfo is None else "instant" for one in values)
        elif kind is list:
            self._kinds.add("list")
            self._items = self._items or _FoundValues()
            self._items.look(list(itertools.chain.from_iterable(values)))
        elif kind is dict:
            self._kinds.add("map")
            self._look_into(values)
        else:
            self._kinds.add("json")

    def _look_into(self, mappings: Sequence[Mapping[Any, Any]]) -> None:
        self._items, self._keys = self._items or _FoundValues(), self._keys or _FoundValues()
        self._keys.look(list(itertools.chain.from_iterable(mappings)))
        self._items.look([part for one in mappings for part in one.values()])
        self._records += len(mappings)
        names = dict.fromkeys(itertools.chain.from_iterable(mappings))
        if self._names is None or len(self._names.keys() | names) > _NAMES:
            self._names = None
            return
        for name in names:
            found = [one[name] for one in mappings if name in one]
            self._names.setdefault(name, _FoundValues()).look(found)
            self._present[name] = self._present.get(name, 0) + len(found)

    def join(self, later: _FoundValues) -> None:
        """Add the findings of later values."""
        self._kinds |= later._kinds
        self._nullable |= later._nullable
        self._least, self._most = min(self._least, later._least), max(self._most, later._most)
        self._inexact |= later._inexact
        self._items = _joined(self._items, later._items)
        self._keys = _joined(self._keys, later._keys)
        self._records += later._records
        for name, found in (later._names or {}).items():
            if self._names is not None:
                self._names.setdefault(name, _FoundValues()).join(found)
        if later._names is None or len(self._names or ()) > _NAMES:
            self._names = None
        for name, count in later._present.items():
            self._present[name] = self._present.get(name, 0) + count

    def shape(self, name: str = "") -> Shape:
        """Return the shape that holds every value."""
        found = self._shape(name)
        absent = self._nullable or not self._kinds
        return msgspec.structs.replace(found, nullable=True) if absent else found

    def _shape(self, name: str) -> Shape:
        kinds = self._kinds
        if kinds == {"int"} and self._most >= _END:
            return JSON if self._least < 0 else Shape("unsigned")
        if kinds == {"int", "float"} and not self._inexact:
            return Shape("float")
        if len(kinds) != 1:
            return JSON
        (kind,) = kinds
        if kind == "text" and is_tag_name(name):
            return Shape("tag")
        if kind == "list":
            assert self._items is not None
            return Shape("list", parts=(self._items.shape(),))
        return self._mapping() if kind == "map" else Shape(kind)

    def _mapping(self) -> Shape:
        """Return a record where all mappings have the same names, and else a map."""
        assert self._items is not None
        assert self._keys is not None
        names, keys = self._names, self._keys.shape()
        if names and keys.kind == "text" and set(self._present.values()) == {self._records}:
            parts = tuple([found.shape(name) for name, found in names.items()])
            return Shape("record", names=tuple(names), parts=parts)
        if keys.nullable or keys.kind not in ("text", "int", "unsigned"):
            return JSON
        return Shape("map", parts=(keys, self._items.shape()))


def _joined(one: _FoundValues | None, later: _FoundValues | None) -> _FoundValues | None:
    if one is None or later is None:
        return later if one is None else one
    one.join(later)
    return one


class FoundPayload:
    """The fields of one operation's payloads, over all versions of the operation."""

    def __init__(self) -> None:
        self._fields: dict[str, _FoundValues] = {}
        self._names: dict[str, dict[str, None]] = {}
        self._count = 0

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags on disk, one for each version. The newest is last."""
        return tuple(sorted(self._names, key=version_of))

    def look(self, tag: str, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Note the fields of some more payloads, recorded under `tag`."""
        names = self._names.setdefault(tag, {})
        names.update(dict.fromkeys(itertools.chain.from_iterable(payloads)))
        for name in names:
            self._field(name)
        for name, field in self._fields.items():
            field.look([one.get(name) for one in payloads])
        self._count += len(payloads)

    def join(self, later: FoundPayload) -> None:
        """Add the findings of later payloads."""
        for tag, names in later._names.items():
            self._names.setdefault(tag, {}).update(names)
        for name in self._fields.keys() | later._fields:
            if name in later._fields:
                self._field(name).join(later._fields[name])
            elif later._count:
                self._field(name).look((None,))
        self._count += later._count

    def _field(self, name: str) -> _FoundValues:
        """Return the findings of a field. A new field is missing in all payloads before."""
        if name not in self._fields:
            self._fields[name] = _FoundValues()
            if self._count:
                self._fields[name].look((None,))
        return self._fields[name]

    def fields(self) -> dict[str, Shape]:
        """Return the shape of each field: the fields of the newest version, then of older ones."""
        ordered: dict[str, None] = {}
        for tag in reversed(self.tags):
            ordered.update(self._names[tag])
        ordered.pop(OPERATION_FIELD, None)
        return {name: self._fields[name].shape(name) for name in ordered}


def version_of(tag: str) -> int:
    """Return the version in a tag on disk, such as 2 of `pay_dividend@2`."""
    version = tag.partition("@")[2]
    return int(version) if version.isdecimal() else 1
