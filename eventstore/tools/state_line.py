"""A state in one line: cash and positions, where the state's type has these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["headline"]

_MOST = 6


def headline(state: Any) -> str:
    """Return cash and positions of a state, such as `cash 50,000, AAPL 60`.

    A state of a type without both gives an empty text.

    >>> headline(object())
    ''
    """
    cash, positions = getattr(state, "cash", None), getattr(state, "positions", None)
    if not isinstance(positions, Mapping) or not hasattr(cash, "__format__") or cash is None:
        return ""
    parts = [f"cash {_number(cash)}"]
    held = sorted((str(key), getattr(one, "shares", None)) for key, one in positions.items())
    parts += [f"{key} {_number(shares)}" for key, shares in held[:_MOST] if shares is not None]
    if len(held) > _MOST:
        parts.append(f"and {len(held) - _MOST:,} more")
    return ", ".join(parts)


def _number(value: Any) -> str:
    try:
        return f"{value:,f}"
    except (TypeError, ValueError):
        return str(value)
