"""Checks of values without parts: is a value exactly what a snapshot gives back?

`type_checks.py` says what a check is for, and makes the checks of values with parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from eventstore.model.conversion import decode_hook, encode_hook
from eventstore.model.differences import Steps, path_of
from eventstore.model.type_tree import Leaf

__all__ = [
    "Check",
    "RefusedValueError",
    "check_text",
    "class_name",
    "integer_check",
    "leaf_check",
    "refuse_type",
    "survival_check",
    "type_check",
]

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
    bounds_only = node.constraints.keys() <= {"ge", "gt", "le", "lt"}
    if node.kind is float and bounds_only:
        return _float_check(node)
    if node.kind is int and bounds_only:
        return integer_check(node)
    if node.kind is str and node.constraints.keys() <= {"min_length", "max_length"}:
        return _text(node) if node.constraints else check_text
    if node.kind in (bool, bytes, type(None), msgspec.UnsetType) and not node.constraints:
        return type_check(node.kind)
    return survival_check(node.annotation, node.kind)


def type_check(kind: type[Any]) -> Check:
    def check(value: Any, before: Any) -> None:
        if type(value) is not kind:
            refuse_type(value, class_name(kind))

    return check


def _float_check(node: Leaf) -> Check:
    limits = node.constraints
    if not limits:
        return type_check(float)
    explain = survival_check(node.annotation, float)
    low = limits.get("ge", -math.inf)
    high = limits.get("le", math.inf)
    if "gt" in limits:
        low = max(low, math.nextafter(limits["gt"], math.inf))
    if "lt" in limits:
        high = min(high, math.nextafter(limits["lt"], -math.inf))

    def check(value: Any, before: Any) -> None:
        if type(value) is not float or not low <= value <= high:
            explain(value, before)

    return check


def integer_check(node: Leaf) -> Check:
    explain = survival_check(node.annotation, int)
    limits = node.constraints
    low = max(limits.get("ge", -(1 << 63)), limits.get("gt", -(1 << 64)) + 1, -(1 << 63))
    high = min(limits.get("le", (1 << 64) - 1), limits.get("lt", 1 << 65) - 1, (1 << 64) - 1)

    def check(value: Any, before: Any) -> None:
        if type(value) is not int or not low <= value <= high:
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
        except (ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
            reason, _, _ = str(error).partition(" - at `")
            raise RefusedValueError(f"is refused by its type: {reason}") from error
        same = again == value if isinstance(value, str | bytes) else repr(again) == repr(value)
        if type(again) is not type(value) or not same:
            raise RefusedValueError(f"is {value!r}, and a snapshot gives {again!r} back")

    return check
