"""Conversion of plain data to typed values, in which nothing may be lost.

Theory of operation
-------------------
msgspec converts by the types of a class, and is lenient in three ways. A number becomes a float
though the float cannot hold the number. A text with nanoseconds becomes a time of microseconds. A
key without a field is dropped. The first two lose digits in silence. The third loses a whole value,
such as a misspelt stop price.

`convert_exactly` therefore walks the given data beside the made value, and refuses what would be
lost, at any depth. The walk compares the types of both sides and not the values. A class may
normalise its own fields in `__post_init__`, and a typed payload of the class would store the same.

Fields go by the names in the encoding. These are the names in the log, and the names that msgspec
converts by. They differ from the names in Python where a class says `rename=` or `field(name=)`.

The hooks for `immutables.Map` are here as well, because every conversion needs them.
"""

from __future__ import annotations

import datetime
import functools
import math
import operator
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import immutables
import msgspec

from eventstore.arguments import describe
from eventstore.foreign_values import cure_for, plain_scalar

__all__ = [
    "are_unchanged",
    "convert_exactly",
    "decode_hook",
    "encode_hook",
    "event_hook",
    "first_change",
    "foreign_cure",
    "freeze",
    "refuse_unknown_fields",
]

ATOMS = frozenset((bytes, str, int, float, bool, type(None)))
"""Types of values that MessagePack gives back as the same type."""

_TIMES = (datetime.datetime, datetime.time, datetime.timedelta)
_NANOSECONDS = re.compile(r"[.,]\d{6}\d*[1-9]")
"""A fraction of a second that microseconds cannot hold."""


def encode_hook(value: Any) -> Any:
    """Turn a persistent map, which msgspec does not know, into a plain map.

    Raises `NotImplementedError` for any other object, with the cure where there is one.
    """
    if isinstance(value, immutables.Map):
        return dict(value)
    cure = cure_for(value)
    raise NotImplementedError(
        f"{describe(value)} cannot be recorded" + (f"; pass {cure}" if cure else "")
    )


def event_hook(value: Any) -> Any:
    """Turn a persistent map, or a scalar of numpy or pandas, into the plain value to record.

    Raises `NotImplementedError` as `encode_hook` does, also for a scalar without an equal plain
    value. A state takes no such scalar: it would change at the next opening.
    """
    plain = value if isinstance(value, immutables.Map) else plain_scalar(value)
    return encode_hook(value) if plain is value else plain


def freeze(value: Any) -> Any:
    """Copy plain data deeply into immutable values: maps for mappings, tuples for lists.

    >>> freeze({"a": [1, 2]})
    immutables.Map({'a': (1, 2)})
    """
    if isinstance(value, Mapping):
        return immutables.Map({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value


def decode_hook(kind: Any, value: Any) -> Any:
    """Turn a plain map into a persistent one, with the types of keys and values checked.

    Raises `ValueError` for a key or value of another type, and `NotImplementedError` for any other
    type than a persistent map.
    """
    if (typing.get_origin(kind) or kind) is immutables.Map:
        key_type, value_type = typing.get_args(kind) or (Any, Any)
        if value_type is Any:
            value = {key: freeze(item) for key, item in value.items()}
        else:
            wanted: Any = dict[key_type, value_type]  # type: ignore[valid-type]  # at run time
            try:
                value = msgspec.convert(value, wanted, dec_hook=decode_hook)
            except msgspec.ValidationError as error:  # msgspec adds the map's path to a ValueError
                reason, _, path = str(error).partition(" - at `$")
                raise ValueError(f"{reason} in {path.rstrip('`') or 'it'}") from error
        return immutables.Map(value)
    raise NotImplementedError(f"objects of type {kind} cannot be recorded")


def convert_exactly(data: Any, kind: type[Any]) -> Any:
    """Convert plain data to the class `kind`, with strict types, and refuse every loss.

    Raises `msgspec.ValidationError` with the path of the value, and what `__post_init__` of a class
    raises.
    """
    made = msgspec.convert(data, kind, dec_hook=decode_hook)
    _refuse_losses(data, made, "$")
    return made


def refuse_unknown_fields(data: Iterable[Any], kind: type[Any], path: str = "$") -> None:
    """Raise `msgspec.ValidationError` for the first key in `data` that no field of `kind` has."""
    names = _encoded_names(kind) or {}
    tag = _tag_field(kind) if path != "$" else None
    for key in data:
        if key in names or key == tag:
            continue
        text = f"Object contains unknown field `{key}`"
        for encoded, name in names.items():
            if name == key:
                text += f", which is recorded as `{encoded}`: use that name"
        raise msgspec.ValidationError(text + ("" if path == "$" else f" - at `{path}`"))


def foreign_cure(data: Any) -> str:
    """Return the cure for the first value in plain data that is of another library, or a text.

    Data that cannot be looked through, such as a list within itself, has no cure.
    """
    try:
        if isinstance(data, Mapping):
            found = (foreign_cure(part) for item in data.items() for part in item)
        elif isinstance(data, list | tuple | set | frozenset):
            found = (foreign_cure(part) for part in data)
        else:
            return cure_for(data)
        return next(filter(None, found), "")
    except Exception:  # noqa: BLE001  the data's own code, or the depth of the data
        return ""


def are_unchanged(given: Sequence[Any], read: Sequence[Any]) -> bool:
    """Whether values come back from the log as they were given, by a short look at all of them.

    `False` says nothing: `first_change` takes the long way. The parts of all values are compared
    together, level by level, because each append to an `EventLog` asks.
    """
    kinds = list(map(type, given))
    if kinds != list(map(type, read)):
        return False
    found = set(kinds)
    try:
        if found <= ATOMS:
            return list(given) == list(read)
        if not found.isdisjoint(_WITHOUT_ORDER):
            return False
        for kind in found:
            one, other = given, read
            if len(found) > 1:
                one = [value for value, own in zip(given, kinds, strict=True) if own is kind]
                other = [value for value, own in zip(read, kinds, strict=True) if own is kind]
            parts_of = _parts_of(kind)
            if parts_of is None:
                same = list(one) == list(other)
            else:
                same = are_unchanged(parts_of(one), parts_of(other))
            if not same:
                return False
    except Exception:  # noqa: BLE001  an unset field, or a value's own code
        return False
    return True


_Values = Sequence[Any]
_WITHOUT_ORDER = (immutables.Map, set, frozenset)


@functools.lru_cache(maxsize=256)
def _parts_of(kind: type[Any]) -> Callable[[_Values], _Values] | None:
    """Return a function for the parts of many values of a class, `None` for a class without."""
    if kind is list or kind is tuple:
        return lambda values: [*map(len, values), *chain.from_iterable(values)]
    if kind is dict:
        return lambda values: [
            *map(len, values),
            *chain.from_iterable(values),
            *chain.from_iterable(map(dict.values, values)),
        ]
    if issubclass(kind, msgspec.Struct):
        return lambda values: list(chain.from_iterable(map(msgspec.structs.astuple, values)))
    names = [*(_encoded_names(kind) or {}).values()]
    if not names:
        return None
    fields = operator.attrgetter(names[0], *names)  # of one name alone it gives no tuple
    return lambda values: list(chain.from_iterable(map(fields, values)))


def first_change(given: Any, read: Any, path: str) -> str | None:
    """Say how the first part of a value changes on its way through a log, `None` for no change.

    The types of both sides are compared as well as the values. A log without a `value_type` gives
    plain data back. There an object of a class with fields may be read as a map of the fields, and
    a persistent map as a plain one.
    """
    given, read = _in_one_order(given, read)
    kind = type(given)
    names = _encoded_names(kind)
    if names is not None and type(read) is dict:
        omitted = getattr(getattr(given, "__struct_config__", None), "omit_defaults", False)
        parts = [
            (f"{path}.{name}", getattr(given, attribute, None), read.get(name))
            for name, attribute in names.items()
            if name in read or not omitted
        ]
    elif kind is not type(read):
        plain = plain_scalar(given)
        return _changed(given, read, path) if plain is given else first_change(plain, read, path)
    elif names is not None:
        parts = [
            (f"{path}.{name}", getattr(given, name, None), getattr(read, name, None))
            for name in names.values()
        ]
    elif kind is dict and len(given) == len(read):
        pairs = list(zip(given.items(), read.items(), strict=True))
        parts = [(f"{path} (a key)", one[0], other[0]) for one, other in pairs]
        parts += [(f"{path}[{one[0]!r}]", one[1], other[1]) for one, other in pairs]
    elif kind in (list, tuple) and len(given) == len(read):
        items = enumerate(zip(given, read, strict=True))
        parts = [(f"{path}[{index}]", one, other) for index, (one, other) in items]
    else:
        return None if _is_equal(given, read) else _changed(given, read, path)
    changes = (first_change(one, other, where) for where, one, other in parts)
    return next((change for change in changes if change is not None), None)


def _in_one_order(given: Any, read: Any) -> tuple[Any, Any]:
    """Return plain values in one order for two persistent maps or sets, other values as they are.

    A persistent map may be read as a plain one.
    """
    kind = type(given)
    alike = (kind, dict) if kind is immutables.Map else (kind,)
    if kind not in _WITHOUT_ORDER or type(read) not in alike or len(given) != len(read):
        return given, read
    own = {member: member for member in given}
    if not all(member in own for member in read):
        return given, read
    if kind is immutables.Map:
        return {own[key]: given[key] for key in read}, dict(read)
    return [own[member] for member in read], list(read)


def _changed(given: Any, read: Any, path: str) -> str:
    cure = "record plain data, or open the log with value_type="
    return f"{describe(given)} would be read as {describe(read)}; {cure} - at `{path}`"


def _is_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  an equality of the user's may raise anything, as of sNaN
        return False


def _refuse_losses(given: Any, made: Any, path: str) -> None:
    if given is made:
        return
    if isinstance(given, Mapping):
        _refuse_losses_in_mapping(given, made, path)
    elif isinstance(given, list | tuple | set | frozenset):
        _refuse_losses_in_items(given, made, path)
    elif not _survives(given, made):
        raise msgspec.ValidationError(
            f"{describe(given)} does not survive as a {type(made).__name__}, which it would become "
            f"- at `{path}`"
        )


def _refuse_losses_in_mapping(given: Mapping[Any, Any], made: Any, path: str) -> None:
    names = _encoded_names(type(made))
    if names is not None:
        refuse_unknown_fields(given, type(made), path)
        for key, part in given.items():
            if key in names:
                _refuse_losses(part, getattr(made, names[key]), f"{path}.{key}")
        return
    if not isinstance(made, Mapping):
        raise _unlike(given, made, path)
    if len(made) < len(given):  # a typed dictionary without the key, or two keys that became one
        lost = next((key for key in given if key not in made), None)
        raise msgspec.ValidationError(f"Object contains unknown field `{lost}` - at `{path}`")
    for key, part in given.items():
        where = f"{path}[{key!r}]"
        if key in made:
            _refuse_losses(part, made[key], where)
        else:  # the key was converted, as a text to a date
            _refuse_unless_some((key, part), made.items(), where)


def _refuse_losses_in_items(given: Any, made: Any, path: str) -> None:
    names = _encoded_names(type(made))
    if names is not None:  # a class that is recorded as an array
        tagged = isinstance(made, msgspec.Struct) and made.__struct_config__.tag is not None
        parts = [made.__struct_config__.tag] if tagged else []
        made = [*parts, *(getattr(made, name) for name in names.values())]
        if len(given) > len(made):
            raise msgspec.ValidationError(
                f"Array of length {len(given)}, and only {len(made)} are known - at `{path}`"
            )
    if isinstance(made, list | tuple) and isinstance(given, list | tuple):
        for index, (part, became) in enumerate(zip(given, made, strict=False)):
            _refuse_losses(part, became, f"{path}[{index}]")
        given = given[len(made) :] if names is None else ()
    elif not isinstance(made, list | tuple | set | frozenset):
        raise _unlike(given, made, path)
    for index, part in enumerate(given):
        _refuse_unless_some(part, made, f"{path}[{index}]")


def _refuse_unless_some(given: Any, candidates: Iterable[Any], path: str) -> None:
    """Refuse `given` where none of `candidates` can be what became of it."""
    refusal: Exception | None = None
    for became in candidates:
        try:
            _refuse_losses(given, became, path)
        except msgspec.ValidationError as error:
            refusal = refusal or error
        else:
            return
    raise refusal or _unlike(given, None, path)


def _unlike(given: Any, made: Any, path: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(
        f"a {type(given).__name__} becomes a {type(made).__name__}, in which parts may be lost: "
        f"pass a payload object - at `{path}`"
    )


def _survives(given: Any, made: Any) -> bool:
    """Whether the type of `made` can hold a single value."""
    if type(given) is type(made):
        return True
    if isinstance(made, float):
        return not isinstance(given, int | Decimal) or _equals_a_float(given)
    if isinstance(made, Decimal) and isinstance(given, float):
        return bool(Decimal(given) == Decimal(repr(given))) or math.isnan(given)
    if isinstance(made, _TIMES) and isinstance(given, str):
        return _NANOSECONDS.search(given) is None
    return True


def _equals_a_float(number: int | Decimal) -> bool:
    try:
        return math.isnan(number) or bool(float(number) == number)
    except (OverflowError, ValueError):
        return False


def _encoded_names(kind: type[Any]) -> dict[str, str] | None:
    """The names of a class's fields in the encoding, each with the name in Python."""
    if issubclass(kind, msgspec.Struct):
        return dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    for attribute in ("__dataclass_fields__", "__attrs_attrs__", "_fields"):
        fields = getattr(kind, attribute, None)
        if fields is not None:
            names = (getattr(field, "name", field) for field in fields)
            return {name: name for name in names}
    return None


def _tag_field(kind: type[Any]) -> str | None:
    return kind.__struct_config__.tag_field if issubclass(kind, msgspec.Struct) else None
