"""Plain data made immutable, and back: the values in `extra` of a state.

Handlers share parts of one state with the next, and readers keep old states, so nothing inside may
ever change. `freeze` turns dictionaries into persistent maps and lists into tuples, all the way
down. `thaw` returns dictionaries and lists of the caller's own. `thaw(freeze(data))` equals any
data that came from JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from immutables import Map

__all__ = ["freeze", "freeze_map", "thaw"]

_SCALARS = (str, int, float, bool, bytes, type(None))
_FROZEN = frozenset((*_SCALARS, Map, tuple))


def freeze(value: Any, path: str = "$") -> Any:  # any plain data
    """Return an immutable copy of plain data.

    `path` names the place in errors. Raises `msgspec.ValidationError` with the path of any
    value other than plain data.
    """
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Mapping):
        return freeze_map(value, path)
    if isinstance(value, list | tuple):
        return tuple(freeze(item, f"{path}[{index}]") for index, item in enumerate(value))
    raise msgspec.ValidationError(
        f"Expected plain data (mappings, lists, strings, numbers, bytes, None), got "
        f"`{type(value).__name__}` - at `{path}`"
    )


def freeze_map(value: Mapping[str, Any], path: str = "$") -> Map[str, Any]:
    """Return a persistent map of frozen values.

    Keys must be strings, as in JSON. Raises `msgspec.ValidationError` like `freeze`.
    """
    frozen = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise msgspec.ValidationError(
                f"Expected `str` keys, got `{type(key).__name__}` - at `{path}[{key!r}]`"
            )
        frozen[key] = freeze(item, f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]")
    return Map(frozen)


def thaw(value: Any) -> Any:  # any frozen data
    """Return new dictionaries and lists. Keys are sorted, so that hash seeds do not show."""
    if isinstance(value, Mapping):
        return {key: thaw(value[key]) for key in sorted(value)}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value
