"""The books as a notebook shows them: an HTML table of positions, and one of balances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from html import escape
from typing import Any

from handlers.position import Position

__all__ = ["books_tables"]


def books_tables(
    positions: Iterable[Position], balances: Mapping[str, Mapping[str, Decimal]]
) -> str:
    """Return positions, and balances by account and currency, as HTML, with everything escaped."""
    held = sorted(
        (one.symbol, one.account, one.side, one.shares, one.average_price, one.cost)
        for one in positions
    )
    amounts = [
        (account, currency, amount)
        for account, found in balances.items()
        for currency, amount in found.items()
    ]
    names = ("symbol", "account", "side", "shares", "average price", "cost")
    return _table("Positions", names, held) + _table(
        "Balances", ("account", "currency", "amount"), amounts
    )


def _table(caption: str, names: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(value))}</td>' for value in row)}</tr>" for row in rows
    )
    return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"
