"""The traits of an operation: the arguments of its class beside tag and version.

The traits are class arguments::

    class RecordFill(Operation, key=("symbol", "fill_id"), settles="client_order_id"): ...

A subclass inherits the traits of the base, and may give others. An operation without any trait is
*plain*, and costs the commit path nothing.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from eventstore.config import Durability
from eventstore.errors import RegistrationError

__all__ = ["OperationTraits", "TraitsByType", "declared_traits", "keep_traits", "traits_of"]

_ATTRIBUTE = "__operation_traits__"

_INSPECT = msgspec.inspect
_TEXTS = (_INSPECT.StrType, _INSPECT.LiteralType, _INSPECT.AnyType, _INSPECT.CustomType)
_KEYS = (
    *_TEXTS, _INSPECT.IntType, _INSPECT.DecimalType, _INSPECT.UUIDType, _INSPECT.DateTimeType,
    _INSPECT.DateType, _INSPECT.TimeType, _INSPECT.EnumType, _INSPECT.ListType,
    _INSPECT.TupleType, _INSPECT.VarTupleType,
)  # fmt: skip


class OperationTraits(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """The class arguments of an operation.

    Attributes:
        key: Fields that identify the operation, or a function from the payload to a text
            or a tuple. Several fields are one key together.
        on_conflict: Fate of another payload under a known key: `refuse` raises, `first` keeps the
            first payload.
        settles: Field with the identifier of the intent to settle.
        intent: Field with the identifier of the intent to open.
        durability: Moment when the operation is acknowledged. `None` leaves the choice to the
            store.
        essential: Whether the operation is taken while the disk is nearly full.
    """

    key: tuple[str, ...] | Callable[[Any], Any] | None = None
    on_conflict: str = "refuse"
    settles: str | None = None
    intent: str | None = None
    durability: Durability | None = None
    essential: bool = False


PLAIN = OperationTraits()


class TraitsByType(dict[type[Any], OperationTraits]):
    """The traits of some payload classes. A plain class has no entry.

    `keyed` are the classes with identity keys, and `leveled` the classes that say when an event is
    acknowledged: by a durability, or by an intent. The commit path compares the types of a group
    with these sets, because most groups concern neither.
    """

    keyed: frozenset[type[Any]] = frozenset()
    leveled: frozenset[type[Any]] = frozenset()

    def add(self, payload_type: type[Any]) -> None:
        """Add a payload class."""
        traits = traits_of(payload_type)
        if traits is None:
            return
        self[payload_type] = traits
        if traits.key is not None:
            self.keyed |= {payload_type}
        if traits.durability is not None or traits.intent is not None:
            self.leveled |= {payload_type}


def declared_traits(name: str, bases: tuple[type, ...], options: dict[str, Any]) -> OperationTraits:
    """Take the traits out of the class arguments `options` of operation class `name`.

    The rest is inherited from `bases`. Raises `RegistrationError` for an impossible value.
    """
    inherited = next((found for base in bases if (found := traits_of(base)) is not None), PLAIN)
    given = {
        field: options.pop(field) for field in OperationTraits.__struct_fields__ if field in options
    }
    if not given:
        return inherited
    key = given.get("key")
    if isinstance(key, str):
        given["key"] = key = (key,)
    elif isinstance(key, list):
        given["key"] = key = tuple(key)
    plain = callable(key) and not inspect.iscoroutinefunction(key)
    if not (key is None or plain or (key and _are_texts(key))):
        raise _refused(name, "key", key, "the name of a field, several, or a plain function")
    if given.get("on_conflict", "refuse") not in ("refuse", "first"):
        raise _refused(name, "on_conflict", given["on_conflict"], "'refuse' or 'first'")
    for field in ("settles", "intent"):
        if not isinstance(given.get(field, ""), str | None):
            raise _refused(name, field, given[field], "the name of a field")
    if isinstance(given.get("durability"), str):
        with contextlib.suppress(ValueError):  # refused below, with the others
            given["durability"] = Durability(given["durability"])
    if not isinstance(given.get("durability"), Durability | None):
        names = ", ".join(repr(member.value) for member in Durability)
        raise _refused(name, "durability", given["durability"], f"one of {names}")
    if not isinstance(given.get("essential", False), bool):
        raise _refused(name, "essential", given["essential"], "True or False")
    return msgspec.structs.replace(inherited, **given)


def keep_traits(payload_type: type[Any], traits: OperationTraits) -> None:
    """Attach `traits` to a class, and check the names of fields in `traits`.

    Raises `RegistrationError` for a name that is no field of the class.
    """
    named = [*(traits.key if isinstance(traits.key, tuple) else ()), traits.settles, traits.intent]
    for field in named:
        if field is not None and field not in payload_type.__struct_fields__:
            known = ", ".join(payload_type.__struct_fields__) or "none"
            raise RegistrationError(
                f"operation {payload_type.__name__}: {field!r} is none of its fields (known: "
                f"{known})"
            )
    type.__setattr__(payload_type, _ATTRIBUTE, traits)


def trait_fault(payload_type: type[Any]) -> str | None:
    """Say which field of a class cannot hold what the traits ask of it, `None` for none.

    The types of fields are resolved here, and not while the class is made.
    """
    traits = traits_of(payload_type)
    if traits is None:
        return None
    types = {field.name: field.type for field in msgspec.structs.fields(payload_type)}
    for argument, name in (("intent", traits.intent), ("settles", traits.settles)):
        if name is not None and not _may_be(types[name], _TEXTS):
            return (
                f"{argument}={name!r}, and the field cannot hold a text: a client order id is a "
                "text, so annotate the field as str"
            )
    for name in traits.key if isinstance(traits.key, tuple) else ():
        if not _may_be(types[name], _KEYS):
            return (
                f"key={name!r}, and the field can hold no part of a key: texts, whole numbers, "
                "decimals, UUIDs, dates, times and enumerations are such parts"
            )
    return None


def traits_of(payload_type: type[Any]) -> OperationTraits | None:
    """Return the traits of a payload class, `None` for a plain one."""
    traits: OperationTraits | None = getattr(payload_type, _ATTRIBUTE, None)
    return None if traits is None or traits == PLAIN else traits


def _may_be(kind: Any, wanted: tuple[type[Any], ...]) -> bool:
    """Tell whether a value of a type may be of one of the `wanted` kinds."""
    found = msgspec.inspect.type_info(kind)
    while isinstance(found, msgspec.inspect.Metadata):
        found = found.type
    options = found.types if isinstance(found, msgspec.inspect.UnionType) else (found,)
    return any(isinstance(option, wanted) for option in options)


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, str) for part in value)


def _refused(name: str, argument: str, value: Any, expected: str) -> RegistrationError:
    return RegistrationError(f"operation {name}: {argument}={value!r} is not {expected}")
