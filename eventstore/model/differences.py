"""Differences between two values: one walk, the source of paths, rows and messages.

Theory of operation
-------------------
`walk_differences` descends into two values side by side and yields each place in which the values
differ. A place is named by steps: a `Field` for a field of a class, else a key or an index. The
walk descends into two values of one class with fields, into two mappings, and into two lists or
tuples. All other values are compared as wholes.

Where two values differ and none of their parts does, the values themselves are the difference.
A list and a tuple of the same items are an example.

The walk compares by `==`, or exactly. Equality is too lenient for stored states: `1` equals `1.0`
and `True`, yet their bytes, and the digests of states that hold them, differ. The exact comparison
therefore tells types apart, and compares floats bit for bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from eventstore.arguments import describe
from eventstore.foreign_values import plain_scalar

__all__ = [
    "ABSENT",
    "Field",
    "Steps",
    "first_loss",
    "parts_of",
    "path_of",
    "value_at",
    "walk_differences",
]


class _Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()
"""Stands for an entry that only the other value has."""


class Field(NamedTuple):
    """A step into a field. Every other step is a key or an index."""

    name: str


Steps = tuple[Any, ...]

_ROOTS: dict[Steps, str] = {(Field("key"),): "$key", (Field("metadata"),): "$metadata"}


def walk_differences(
    one: Any, other: Any, *, exact: bool, steps: Steps = ()
) -> Iterator[tuple[Steps, Any, Any]]:
    """Yield the steps to each place in which two values differ, and both values there.

    A value that only one side has stands beside `ABSENT`. Fields come in the order of the class,
    entries of mappings in the order of their keys. `exact` tells `1` from `1.0`, `0.0` from `-0.0`
    and a list from a tuple. `steps` are prefixed to all steps.
    """
    if one is other:
        return
    inside = _steps_into(one, other)
    if inside is None:
        if not _is_same(one, other, exact):
            yield steps, one, other
        return
    found = False
    for step in inside:
        left, right = value_at(one, (step,)), value_at(other, (step,))
        for difference in walk_differences(left, right, exact=exact, steps=(*steps, step)):
            found = True
            yield difference
    if not found and (type(one) is not type(other) if exact else one != other):
        yield steps, one, other


def value_at(value: Any, steps: Steps) -> Any:
    """Return the part of `value` that `steps` lead to, `ABSENT` where there is no such part."""
    for step in steps:
        if isinstance(step, Field):
            value = getattr(value, step.name, ABSENT)
        else:
            try:
                value = value[step]
            except (LookupError, TypeError):
                return ABSENT
    return value


def path_of(steps: Steps) -> str:
    """Write steps as a path behind the name of a value.

    >>> path_of((Field("positions"), "AAPL", Field("shares")))
    ".positions['AAPL'].shares"
    """
    return "".join(f".{step.name}" if isinstance(step, Field) else f"[{step!r}]" for step in steps)


def first_loss(given: Any, read: Any) -> str | None:
    """Say how the first part of an event changes that is not equal when read back.

    `None` where nothing but scalars of numpy differ from the plain values that they stand for. A
    `datetime64` equals no aware `datetime`, though both name one moment.
    """
    found = False
    try:
        for steps, was, now in walk_differences(given, read, exact=False):
            plain = plain_scalar(was)
            found = True
            if plain is was or plain != now:
                one, other = describe(was), describe(now)
                change = "" if one == other else f": {one} is read back as {other}"
                if isinstance(plain, datetime) and plain.tzinfo is None:
                    change += ", because it has no time zone"
                elif isinstance(was, tuple) and isinstance(now, list):
                    change += ": pass a list"
                place = _ROOTS.get(steps[:1], "$") + path_of(steps[1:])
                return f"the value does not survive being recorded{change} - at `{place}`"
    except Exception:  # noqa: BLE001  a value's own code may raise anything
        return "the value does not survive being recorded - at `$`"
    return None if found else "the event does not survive being recorded"


def parts_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the step to each part of a value, and the part. Members of a set are counted."""
    names = _field_names(type(value))
    if names is not None:
        for name in names:
            yield Field(name), getattr(value, name, None)
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from enumerate(value)


def _steps_into(one: Any, other: Any) -> Iterable[Any] | None:
    """The steps into two values of a like structure, `None` where the wholes are compared."""
    names = _field_names(type(one)) if type(one) is type(other) else None
    if names is not None:
        return map(Field, names)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _in_order({*one, *other})
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return range(max(len(one), len(other)))
    return None


def _field_names(kind: type[Any]) -> tuple[str, ...] | None:
    """The names alone. The types may be annotations without a meaning here, and are not needed."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if issubclass(kind, tuple):
        return getattr(kind, "_fields", None)
    return None


def _is_same(one: Any, other: Any, exact: bool) -> bool:
    if exact and type(one) is not type(other):
        return False
    if exact and isinstance(one, float):
        return one.hex() == float(other).hex()
    return bool(one == other)


def _in_order(keys: Collection[Any]) -> list[Any]:
    try:
        return sorted(keys)
    except TypeError:  # keys of several types
        return sorted(keys, key=repr)
