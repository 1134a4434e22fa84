"""The types of payloads and states: can MessagePack carry the values, and can the values change?

Theory of operation
-------------------
Three questions are asked of a user's type, once, when a registry is made or a store is opened:

* Can the log or a snapshot carry the values? (`unsupported_part`)
* Can a holder of a value change the value in place? (`is_immutable`)
* If so, which function makes a copy that shares no changeable part? (`copier`)

The last two answers protect a published state. A store hands out an immutable state itself, and a
copy of any other state. While a store runs, a value is asked only where the type does not tell:
`Any`, a union, or an abstract type.

Two conventions keep the answers simple. A persistent map without a type for its values, or with
`Any`, holds no changeable value, because the codec makes such maps of immutable values. A key, or
a member of a set, is hashable and is taken not to change.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import types
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import immutables
import msgspec

from eventstore.errors import InvalidPayloadError

__all__ = [
    "UNIONS",
    "copier",
    "copy_value",
    "fields_of",
    "is_immutable",
    "plain_type",
    "struct_fields",
    "unsupported_part",
]

Copier = Callable[[Any], Any]
ValueT = TypeVar("ValueT")

_ATOMS = (
    str, int, float, complex, bytes, frozenset, range, type(None), enum.Enum, uuid.UUID,
    decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo,
)  # fmt: skip
_QUALIFIERS = (typing.Required, typing.NotRequired, typing.Final)

UNIONS = (typing.Union, types.UnionType)
"""The origins of unions, written in either way."""


def plain_type(kind: Any) -> Any:
    """Return a type without annotations, qualifiers and new names.

    >>> plain_type(Annotated[int, msgspec.Meta(ge=0)])
    <class 'int'>
    """
    while True:
        if typing.get_origin(kind) is Annotated:
            kind = kind.__origin__
        elif typing.get_origin(kind) in _QUALIFIERS:
            kind = typing.get_args(kind)[0]
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":  # `type X = ...`, from Python 3.12 on
            kind = kind.__value__
        else:
            return kind


def fields_of(kind: Any) -> dict[str, Any] | None:
    """Return names and types of the fields of a Struct, dataclass, named tuple or typed dictionary.

    Returns `None` for any other type. Raises `NameError` for an annotation that cannot be resolved.
    """
    kind = typing.get_origin(kind) or kind
    fields = _fields_of_class(kind) if isinstance(kind, type) else None
    return None if fields is None else fields.copy()


def struct_fields(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a Struct. Raises `NameError` as `fields_of` does.

    msgspec resolves the annotations at each call, which takes a tenth of a millisecond.
    """
    return _struct_fields(kind) if isinstance(kind, type) else msgspec.structs.fields(kind)


_struct_fields = functools.lru_cache(maxsize=1024)(msgspec.structs.fields)


@functools.lru_cache(maxsize=1024)
def _fields_of_class(kind: type) -> dict[str, Any] | None:
    if issubclass(kind, msgspec.Struct):
        return {field.name: field.type for field in struct_fields(kind)}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    if typing.is_typeddict(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        hints = typing.get_type_hints(kind, include_extras=True)
        names: Any = getattr(kind, "_fields", hints)
        return {name: hints.get(name, Any) for name in names}
    return None


# ---- can it be carried? --------------------------------------------------------------------


def unsupported_part(kind: Any, path: str = "$") -> str | None:
    """Name the first part of type `kind` that MessagePack cannot carry. Returns `None` without one.

    `path` names the whole in the answer. Raises `TypeError` where msgspec refuses the type as a
    whole (an ambiguous union), and `NameError` for an annotation that cannot be resolved.

    >>> unsupported_part(dict[str, list[int]])
    >>> unsupported_part(dict[str, complex])
    '`$[...]` is of type complex'
    """
    return _unsupported(kind, path, set())


def _unsupported(kind: Any, path: str, seen: set[Any]) -> str | None:
    """`seen` are the classes that were met before in this walk: each is judged once."""
    kind = plain_type(kind)
    origin = typing.get_origin(kind) or kind
    if kind is Any or isinstance(kind, typing.TypeVar) or origin is typing.Literal:
        return None
    fields = fields_of(kind)
    if origin is kind or fields is not None:
        if origin in seen:
            return None
        seen.add(origin)
    if fields is not None:
        for name, part in fields.items():
            found = _unsupported(part, f"{path}.{name}", seen)
            if found is not None:
                return found
        return None
    for part in typing.get_args(kind):
        within = path if origin in UNIONS else f"{path}[...]"
        found = None if part is ... else _unsupported(part, within, seen)
        if found is not None:
            return found
    if origin is immutables.Map:
        return None
    info = msgspec.inspect.type_info(kind)
    if isinstance(info, msgspec.inspect.CustomType):
        return f"`{path}` is of type {getattr(origin, '__qualname__', origin)}"
    return None


# ---- can it change? ------------------------------------------------------------------------


def is_immutable(kind: Any) -> bool:
    """Tell whether no holder can change a value of type `kind` in place.

    >>> is_immutable(tuple[int, str]), is_immutable(tuple[list[int], ...])
    (True, False)
    """
    return _class_is_immutable(kind) if isinstance(kind, type) else _is_immutable(kind, frozenset())


@functools.lru_cache(maxsize=1024)
def _class_is_immutable(kind: type) -> bool:
    return _is_immutable(kind, frozenset())


def _is_immutable(kind: Any, seen: frozenset[Any]) -> bool:
    kind = plain_type(kind)
    origin = typing.get_origin(kind) or kind
    arguments = typing.get_args(kind)
    if kind is None or origin is typing.Literal or origin in seen:
        return True  # a type inside itself is as immutable as the other parts
    if origin in UNIONS:
        return all(_is_immutable(part, seen) for part in arguments)
    if not isinstance(origin, type):
        return False
    if origin is immutables.Map:
        return not arguments or arguments[1] is Any or _is_immutable(arguments[1], seen)
    fields = fields_of(origin)
    if fields is not None:
        return _is_frozen(origin) and all(
            _is_immutable(part, seen | {origin}) for part in fields.values()
        )
    if origin is tuple:
        return bool(arguments) and all(
            part is ... or _is_immutable(part, seen) for part in arguments
        )
    return issubclass(origin, _ATOMS)


def _is_frozen(kind: type) -> bool:
    """Whether the fields of a class with fields cannot be set."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.frozen
    if dataclasses.is_dataclass(kind):
        parameters: Any = getattr(kind, "__dataclass_params__")  # noqa: B009  mypy knows no such name
        return bool(parameters.frozen)
    return issubclass(kind, tuple)


# ---- copies --------------------------------------------------------------------------------


def copy_value(value: ValueT) -> ValueT:
    """Return a copy of `value` without a shared changeable part, or an immutable `value` itself.

    >>> inner = [1]
    >>> copied = copy_value({"a": inner})
    >>> inner.append(2)
    >>> copied
    {'a': [1]}
    """
    kind: type = type(value)
    make = _copier_of_class(kind)
    if make is None:
        return value
    try:
        copied: ValueT = make(value)
    except RecursionError as error:  # where the stack has no room for this error, further out
        raise InvalidPayloadError(
            f"a value is nested too deeply to be copied from here: {error}; read it from fewer "
            "calls deep, or with read_events, which shares nothing and so copies nothing",
            operation="",
        ) from error
    return copied


def copier(kind: Any) -> Copier | None:
    """Return the function that copies values of type `kind`, `None` for an immutable type."""
    if is_immutable(kind):
        return None
    kind = plain_type(kind)
    origin = typing.get_origin(kind) or kind
    arguments = typing.get_args(kind)
    if kind is Any:
        return copy_value
    if origin is list:
        return _list_copier(copier(arguments[0])) if arguments else _list_copier(copy_value)
    if origin is dict:
        return _dict_copier(copier(arguments[1])) if arguments else _dict_copier(copy_value)
    if origin is immutables.Map:
        return _map_copier(copier(arguments[1]) or copy_value)
    if arguments and isinstance(origin, type) and fields_of(origin) is None:
        return copy_value  # an abstract or rare type: the class of the value decides
    return _copier_of_class(origin) if isinstance(origin, type) else copy_value


@functools.lru_cache(maxsize=1024)
def _copier_of_class(kind: type) -> Copier | None:
    """The function that copies the instances of a class, `None` for an immutable class."""
    if kind is immutables.Map or issubclass(kind, _ATOMS) or issubclass(kind, type):
        return None
    if kind in (set, bytearray):
        return kind
    if kind is list:
        return _list_copier(copy_value)
    if kind is dict or typing.is_typeddict(kind):
        return _dict_copier(copy_value)
    if kind is tuple:
        return _copy_tuple
    fields = fields_of(kind)
    if fields is None:
        return copy.deepcopy
    if _is_immutable(kind, frozenset()):
        return None
    if issubclass(kind, tuple):
        return lambda value: kind(*map(copy_value, value))
    changing = [name for name, part in fields.items() if not is_immutable(part)]
    return _fields_copier(changing, kind)


def _fields_copier(changing: list[str], kind: type) -> Copier:
    put: Any = (
        msgspec.structs.force_setattr if issubclass(kind, msgspec.Struct) else object.__setattr__
    )
    frozen = _is_frozen(kind)

    def copy_fields(value: Any) -> Any:
        parts = []
        for name in changing:
            before = getattr(value, name, None)
            after = copy_value(before)
            if after is not before:
                parts.append((name, after))
        if frozen and not parts:
            return value
        copied = copy.copy(value)
        for name, part in parts:
            put(copied, name, part)
        return copied

    return copy_fields


def _list_copier(item: Copier | None) -> Copier:
    if item is None:
        return list
    return lambda value: [item(part) for part in value]


def _dict_copier(item: Copier | None) -> Copier:
    if item is None:
        return dict
    return lambda value: {key: item(part) for key, part in value.items()}


def _map_copier(item: Copier) -> Copier:
    return lambda value: immutables.Map({key: item(part) for key, part in value.items()})


def _copy_tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(copy_value, value))
