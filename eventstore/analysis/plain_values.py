"""Plain values for the cells of a table: exact text, and JSON that is the same in every run."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventstore.model.conversion import encode_hook

__all__ = [
    "json_hook",
    "json_text",
    "number_text",
    "parts_of_record",
    "recorded_json",
    "tag_text",
    "within_json",
]


def json_hook(value: Any) -> Any:
    """Return a value that JSON can hold: the `repr` for a type unknown to JSON."""
    try:
        return encode_hook(value)
    except NotImplementedError:  # the answer of `encode_hook` for an unknown type
        return repr(value)


_sorted = msgspec.json.Encoder(enc_hook=json_hook, order="deterministic").encode
_as_is = msgspec.json.Encoder(enc_hook=json_hook).encode


def json_text(value: Any) -> str:
    """Return JSON in one line. Maps and sets are sorted, decimals are text, bytes are base64.

    Keys other than text, and integers beyond 64 bits, are text.
    """
    return _encoded(_sorted, value).decode()


def recorded_json(value: Any) -> msgspec.Raw:
    """Return plain data as JSON with the members in the order of the data."""
    return msgspec.Raw(_encoded(_as_is, value))


def _encoded(encode: Callable[[Any], bytes], value: Any) -> bytes:
    try:
        return encode(value)
    except (TypeError, ValueError, OverflowError):  # keys or numbers that JSON cannot hold
        return encode(within_json(value))


def within_json(value: Any) -> Any:
    """Return a value with keys that are text, and without numbers beyond 64 bits.

    Bytes of a file's name that are no UTF-8 become escapes.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, msgspec.Struct):
        names = value.__struct_encode_fields__
        value = dict(zip(names, msgspec.structs.astuple(value), strict=True))
    if isinstance(value, Mapping):
        return {
            within_json(key if isinstance(key, str) else repr(key)): within_json(part)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [within_json(part) for part in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value


def number_text(value: Any) -> str:
    """Return a number as the shortest exact text. A float stands for the shortest such decimal.

    >>> number_text(0.1), number_text(5)
    ('0.1', '5')
    """
    return repr(value) if isinstance(value, float) else str(value)


def tag_text(value: Any) -> str:
    """Return the text of a tag, of a literal, or of a member of an enumeration."""
    return str(value.value if isinstance(value, enum.Enum) else value)


def parts_of_record(value: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the parts of a record, in the order of `names`. A part that is absent is `None`."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.astuple(value)
    if isinstance(value, Mapping):
        return tuple([value.get(name) for name in names])
    return value if isinstance(value, tuple) else tuple([getattr(value, one) for one in names])
