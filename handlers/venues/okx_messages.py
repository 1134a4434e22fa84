"""Facts about the messages of OKX that hold in its own messages and in those of ccxt."""

from __future__ import annotations

import re

__all__ = ["FILLED", "identifies"]

FILLED = frozenset(
    str(number)
    for first, last in ((1, 6), (100, 107), (112, 113), (125, 128), (204, 209), (270, 275))
    for number in range(first, last + 1)
)
"""Subtypes of fills: trades, liquidations, deliveries, auto-deleveragings, blocks, and spreads."""


def identifies(trade_id: str) -> bool:
    """Return whether a trade id identifies a fill. That of a liquidation is negative or zero."""
    return not re.fullmatch(r"-.*|0+", trade_id)
