"""A state of any type as plain data, its leaves with their paths, and two states compared.

A state with a method `to_dict()` says itself how it is shown. Any other state is walked: fields,
entries of maps, members of lists. A list of many members is one leaf, which tells the number.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from typing import Any, NamedTuple

import msgspec

__all__ = ["ABSENT", "Leaf", "PlainDifference", "leaves", "plain_differences", "plain_state"]

_EXACT = Context(prec=200)
LONG = 20
"""Members from which on a list is one leaf."""


class _Absent:
    def __str__(self) -> str:
        return "absent"


ABSENT = _Absent()
"""Stands for a value that only the other state has."""


class Leaf(NamedTuple):
    """A value in a state, and its path, such as `positions['AAPL'].shares`."""

    path: str
    value: Any


class PlainDifference(NamedTuple):
    """A place where two states differ. `change` is the second less the first, for numbers."""

    path: str
    one: Any
    other: Any
    change: Decimal | None


def plain_state(state: Any) -> Any:
    """Return a state as dictionaries, lists, numbers and text."""
    to_dict = getattr(state, "to_dict", None)
    return _plain(to_dict() if callable(to_dict) else state)


def leaves(value: Any, path: str = "") -> Iterator[Leaf]:
    """Yield all values of a plain state, in order."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, _inside(path, name))
    elif isinstance(value, list) and 0 < len(value) <= LONG:
        for index, part in enumerate(value):
            yield from leaves(part, f"{path}[{index}]")
    else:
        yield Leaf(path or "state", _told(value))


def plain_differences(one: Any, other: Any, path: str = "") -> Iterator[PlainDifference]:
    """Yield the places in which two plain states differ, in the order of the first one."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            left, right = one.get(name, ABSENT), other.get(name, ABSENT)
            yield from plain_differences(left, right, _inside(path, name))
    elif isinstance(one, list) and isinstance(other, list) and max(len(one), len(other)) <= LONG:
        for index in range(max(len(one), len(other))):
            left = one[index] if index < len(one) else ABSENT
            right = other[index] if index < len(other) else ABSENT
            yield from plain_differences(left, right, f"{path}[{index}]")
    elif one is ABSENT and isinstance(other, dict) and other:
        for leaf in leaves(other, path):
            yield PlainDifference(leaf.path, ABSENT, leaf.value, None)
    elif other is ABSENT and isinstance(one, dict) and one:
        for leaf in leaves(one, path):
            yield PlainDifference(leaf.path, leaf.value, ABSENT, None)
    elif one != other:
        left, right = _number(one), _number(other)
        change = None if left is None or right is None else _EXACT.subtract(right, left)
        yield PlainDifference(path or "state", _told(one), _told(other), change)


def _inside(path: str, name: Any) -> str:
    """Return the path of an entry. A name like a field's is written as a field."""
    text = str(name)
    if not path:
        return text if text.isidentifier() else f"[{text!r}]"
    return f"{path}.{text}" if text.isidentifier() and text.islower() else f"{path}[{text!r}]"


def _told(value: Any) -> Any:
    if isinstance(value, list) and value:
        return f"{len(value):,} items"
    return value


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() else None


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | float | str | Decimal):
        return value
    fields = _fields(value)
    if fields is not None:
        return {name: _plain(getattr(value, name, None)) for name in fields}
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else _key(key): _plain(part) for key, part in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return repr(value)


def _key(key: Any) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _fields(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return getattr(value, "_fields", None) if isinstance(value, tuple) else None
