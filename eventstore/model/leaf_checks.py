"""Checks of values without parts: is a value exactly what a snapshot gives back?

`state_checks.py` says what a check is for, and makes the checks of values with parts.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from eventstore.model.conversion import decode_hook, encode_hook
from eventstore.model.differences import Steps, path_of
from eventstore.model.type_tree import Leaf

__all__ = [
    "EXACT",
    "Check",
    "RefusedValueError",
    "bounds_of",
    "check_text",
    "class_name",
    "leaf_check",
    "refuse_type",
    "survival_check",
    "type_check",
]

_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
"""The bounds of an integer in MessagePack."""

EXACT = frozenset({bool, bytes, type(None), msgspec.UnsetType, decimal.Decimal})
"""Classes of which every instance survives a snapshot, unless the type has limits.

A decimal is carried as text. The text keeps every digit, the exponent, and each kind of NaN.
"""

Check = Callable[[Any, Any], None]
"""Takes a value and the value before, or `ABSENT`. Raises `RefusedValueError`."""


class RefusedValueError(ValueError):
    """A part of a value that its type refuses, or that a decoder would change.

    `reason` says why, in words that follow the path. `steps` lead to the part, the last step first.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[Any] = []

    @property
    def path(self) -> str:
        """The path of the part, from `$`, the whole value."""
        steps: Steps = tuple(reversed(self.steps))
        return f"${path_of(steps)}"


def refuse_type(value: Any, expected: str) -> NoReturn:
    shown = f"{value!r}, " if type(value) in (bool, int, float, type(None)) else ""
    raise RefusedValueError(
        f"is {shown}of type {class_name(type(value))}, and not of type {expected}"
    )


def class_name(kind: type[Any]) -> str:
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def leaf_check(node: Leaf) -> Check:
    bounds = bounds_of(node)
    if bounds is not None:
        return _number_check(node, *bounds)
    if node.kind is str and node.constraints.keys() <= {"min_length", "max_length"}:
        return _text(node) if node.constraints else check_text
    if node.kind in EXACT and not node.constraints:
        return type_check(node.kind)
    return survival_check(node.annotation, node.kind)


def type_check(kind: type[Any]) -> Check:
    def check(value: Any, before: Any) -> None:
        if type(value) is not kind:
            refuse_type(value, class_name(kind))

    return check


def bounds_of(node: Leaf) -> tuple[float, float] | None:
    """Return the least and the greatest value of a number's type.

    Returns `None` for any other type, and for a number with other limits than bounds.
    """
    limits = node.constraints
    if node.kind not in (int, float) or not limits.keys() <= {"ge", "gt", "le", "lt"}:
        return None
    if node.kind is int:
        low = max(limits.get("ge", _LEAST), limits.get("gt", _LEAST - 1) + 1, _LEAST)
        return low, min(limits.get("le", _MOST), limits.get("lt", _MOST + 1) - 1, _MOST)
    above = math.nextafter(limits["gt"], math.inf) if "gt" in limits else -math.inf
    below = math.nextafter(limits["lt"], -math.inf) if "lt" in limits else math.inf
    return max(limits.get("ge", -math.inf), above), min(limits.get("le", math.inf), below)


def _number_check(node: Leaf, low: float, high: float) -> Check:
    """Make the check of a number within bounds. The bounds of a float may be infinite."""
    kind = node.kind
    if (low, high) == (-math.inf, math.inf):
        return type_check(kind)
    explain = survival_check(node.annotation, kind)

    def check(value: Any, before: Any) -> None:
        if type(value) is not kind or not low <= value <= high:
            explain(value, before)

    return check


def _text(node: Leaf) -> Check:
    explain = survival_check(node.annotation, str)
    least = node.constraints.get("min_length", 0)
    most = node.constraints.get("max_length", math.inf)

    def check(value: Any, before: Any) -> None:
        if type(value) is not str or not value.isascii() or not least <= len(value) <= most:
            explain(value, before)

    return check


def check_text(value: Any, before: Any) -> None:
    if type(value) is not str:
        refuse_type(value, "str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RefusedValueError(f"is no text that can be encoded: {error}") from error


def survival_check(annotation: Any, kind: type[Any] | None = None) -> Check:
    """The check of a rare type: the value is encoded, decoded and compared."""
    encode = msgspec.msgpack.Encoder(enc_hook=encode_hook).encode
    decode = msgspec.msgpack.Decoder(annotation, dec_hook=decode_hook).decode

    def check(value: Any, before: Any) -> None:
        if kind is not None and type(value) is not kind:
            refuse_type(value, class_name(kind))
        try:
            again = decode(encode(value))
        except OverflowError as error:
            raise RefusedValueError("is beyond the 64 bits of an integer") from error
        except (ValueError, TypeError, RuntimeError, msgspec.MsgspecError) as error:
            reason, _, _ = str(error).partition(" - at `")
            raise RefusedValueError(f"is refused by its type: {reason}") from error
        by_value = isinstance(value, str | bytes | memoryview | msgspec.Raw | msgspec.msgpack.Ext)
        same = again == value if by_value else repr(again) == repr(value)
        if type(again) is not type(value) or not same:
            raise RefusedValueError(f"is {value!r}, and a snapshot gives {again!r} back")

    return check
