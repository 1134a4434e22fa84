"""Where two values part, and what they share: the words of a failed check.

Equality is too lenient here: ``1`` equals ``1.0`` and ``True``, yet their bytes, and so the digests
of states that hold them, differ. NaN equals nothing, and its bits are another machine's choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

__all__ = ["difference", "parts_that_change", "shared_part", "shorten"]


def shorten(value: Any, limit: int = 300) -> str:
    """``repr`` of a value, cut to what fits into a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def difference(one: Any, other: Any, path: str = "$") -> str | None:
    """Where two values are not exactly the same, in words, or ``None``.

    >>> difference([[1, 2]], [[1, 2.0]])
    '`$[0][1]` is 2 in one and 2.0 in the other'
    """
    if type(one) is not type(other):
        return _both(path, one, other)
    if isinstance(one, float):
        if math.isnan(one) or math.isnan(other):
            return f"`{path}` is NaN"
        return None if repr(one) == repr(other) else _both(path, one, other)
    if isinstance(one, Mapping):
        for key in one:
            if key not in other:
                return f"`{path}` has {key!r} in one only"
        for key in other:
            if key not in one:
                return f"`{path}` has {key!r} in the other only"
    elif isinstance(one, list | tuple) and len(one) != len(other):
        return f"`{path}` has {len(one)} items in one and {len(other)} in the other"
    inner, outer = dict(_parts(one)), dict(_parts(other))
    for name, part in inner.items():
        found = difference(part, outer[name], f"{path}{name}")
        if found is not None:
            return found
    return None if inner or one == other else _both(path, one, other)


def _both(path: str, one: Any, other: Any) -> str:
    return f"`{path}` is {shorten(one, 80)} in one and {shorten(other, 80)} in the other"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value is made of, each with its step of a path."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f".{name}", getattr(value, name)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield f"[{index}]", part


def parts_that_change(value: Any, path: str = "$") -> Iterator[tuple[int, str]]:
    """The identity and path of every part of a value that can be changed in place."""
    if _can_change(value):
        yield id(value), path
    for name, part in _parts(value):
        yield from parts_that_change(part, f"{path}{name}")


def _can_change(value: Any) -> bool:
    if isinstance(value, msgspec.Struct):
        return not value.__struct_config__.frozen
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parameters: Any = getattr(value, "__dataclass_params__")  # noqa: B009  mypy knows no such name
        return not parameters.frozen
    return isinstance(value, list | dict | bytearray | set) and not isinstance(value, frozenset)


def shared_part(one: Any, other: Any) -> tuple[str, str] | None:
    """The paths of an object in both values that either could change under the other."""
    paths = dict(parts_that_change(one))
    for identity, path in parts_that_change(other):
        if identity in paths:
            return paths[identity], path
    return None
