"""Messages of a failed check: the first difference of two values, and an object in both.

Values are compared exactly (`model/differences.py`). NaN counts as a difference even from itself:
NaN equals nothing, and the bits of a NaN depend on the machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from eventstore.model.differences import (
    ABSENT,
    Field,
    Steps,
    parts_of,
    path_of,
    value_at,
    walk_differences,
)

__all__ = ["difference", "shared_part", "shorten"]


def shorten(value: Any, limit: int = 300) -> str:
    """Return `repr` of a value, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def difference(one: Any, other: Any) -> str | None:
    """Say where two values are not exactly the same. Returns `None` where no place is found.

    >>> difference([[1, 2]], [[1, 2.0]])
    '`$[0][1]` is 2 in one and 2.0 in the other'
    """
    for steps, left, right in walk_differences(one, other, exact=True):
        return _in_words(one, other, steps, left, right)
    return next((f"`{path}` is NaN" for part, path in _all_parts(one) if _is_nan(part)), None)


def _in_words(one: Any, other: Any, steps: Steps, left: Any, right: Any) -> str:
    path = f"${path_of(steps)}"
    if _is_nan(left) or _is_nan(right):
        return f"`{path}` is NaN"
    if steps and (left is ABSENT or right is ABSENT) and not isinstance(steps[-1], Field):
        path = f"${path_of(steps[:-1])}"
        outer, inner = value_at(one, steps[:-1]), value_at(other, steps[:-1])
        if isinstance(outer, list | tuple):
            return f"`{path}` has {len(outer)} items in one and {len(inner)} in the other"
        return f"`{path}` has {steps[-1]!r} in {'the other' if left is ABSENT else 'one'} only"
    return f"`{path}` is {shorten(left, 80)} in one and {shorten(right, 80)} in the other"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _all_parts(value: Any, path: str = "$") -> Iterator[tuple[Any, str]]:
    """The value and every part of every part, each with its path."""
    yield value, path
    for step, part in parts_of(value):
        yield from _all_parts(part, path + path_of((step,)))


def shared_part(one: Any, other: Any) -> tuple[str, str] | None:
    """Find an object in both values that can be changed in place. Returns both of its paths."""
    paths = {id(part): path for part, path in _all_parts(one) if _can_change(part)}
    for part, path in _all_parts(other):
        if id(part) in paths and _can_change(part):
            return paths[id(part)], path
    return None


def _can_change(value: Any) -> bool:
    if isinstance(value, msgspec.Struct):
        return not value.__struct_config__.frozen
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parameters: Any = getattr(value, "__dataclass_params__")  # noqa: B009  mypy knows no such name
        return not parameters.frozen
    return isinstance(value, list | dict | bytearray | set)
