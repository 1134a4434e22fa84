"""States written as plain dictionaries, and the shape of a plain dictionary.

`read_plain.py` reads the same shape.

| key | value |
|---|---|
| `cash` | the balance of the base currency in the main account |
| `base_currency` | text, `USD` where left out |
| `balances` | `{account: {currency: amount}}`: every other balance |
| `positions` | `{label: {"shares": ..., "price": ..., ...}}`, where the label is the symbol |
| `realized_pnl`, `fees` | `{symbol: {currency: amount}}`, or one number |
| `flows` | `{type: {symbol: {currency: amount}}}` |
| `trade_count`, `strict` | as in the state |
| `instruments`, `marks` | `{symbol: {...}}`, fields as in the state |
| `orders` | a list of orders, fields as in the state |
| `memory` | what was told before, as lists |

The label of a position in another account or on another side is the key as a JSON array, and
`account`, `side` and `symbol` are inside. `price` of a position is the average price. `cost` is
written beside the price where the price times the shares does not give the cost back. `multiplier`
and `inverse` are those of the instrument and may be left out. `symbol` repeats the label and may be
left out. `updated` may be given as nanoseconds or as ISO 8601 text
with an offset, and is written as nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from immutables import Map

from handlers.amounts import ONE, exactly
from handlers.frozen import thaw
from handlers.message_memory import Identity, Memory, Told
from handlers.position import MAIN, Position, cost_at, position_label
from handlers.sums import nested

__all__ = ["KNOWN_KEYS", "POSITION_KEYS", "check_extra", "write_plain"]

KNOWN_KEYS = frozenset(
    (
        "cash", "base_currency", "balances", "positions", "realized_pnl", "fees", "flows",
        "trade_count", "strict", "instruments", "marks", "orders", "memory",
    )
)  # fmt: skip
POSITION_KEYS = frozenset((*Position.__struct_fields__, "price"))


def check_extra(extra: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the unknown keys of positions in `extra`, by label.

    Raises `ValueError` where `extra` uses the name of a field for something else.
    """
    notes: Any = extra.get("positions", Map())
    taken = sorted(key for key in KNOWN_KEYS if key != "positions" and key in extra)
    if not isinstance(notes, Mapping):
        taken.append("positions")
    else:
        for label, rest in notes.items():
            if not isinstance(rest, Mapping) or not POSITION_KEYS.isdisjoint(rest):
                taken.append(f"positions.{label}")
    if taken:
        raise ValueError(f"extra may not use the names of fields: {', '.join(taken)}")
    checked: Mapping[str, Mapping[str, Any]] = notes
    return checked


def write_plain(state: Any) -> dict[str, Any]:  # a state: its module imports this one
    """Return a state as a plain dictionary. Raises `ValueError` as `check_extra` does."""
    notes = check_extra(state.extra)
    plain: dict[str, Any] = {"cash": state.balance(state.base_currency), "positions": {}}
    for key in sorted(state.positions, key=position_label):
        label = position_label(key)
        position = state.positions[key]
        if position.key != key:
            raise ValueError(f"the position of {position.key!r} is filed under {key!r}")
        plain["positions"][label] = _plain_position(label, position) | thaw(notes.get(label, Map()))
    balances = state.balances_by_account()
    balances.get(MAIN, {}).pop(state.base_currency, None)
    flows: dict[str, dict[str, dict[str, Decimal]]] = {}
    for type_, symbol, currency in sorted(state.flow_sums):
        amount = state.flow_sums[type_, symbol, currency]
        flows.setdefault(type_, {}).setdefault(symbol, {})[currency] = amount
    others = {
        "base_currency": "" if state.base_currency == "USD" else state.base_currency,
        "balances": {account: sums for account, sums in balances.items() if sums},
        "realized_pnl": nested(state.profit_sums),
        "fees": nested(state.fee_sums),
        "flows": flows,
        "trade_count": state.trade_count,
        "strict": state.strict,
        "instruments": _plain_structs(state.instruments),
        "marks": _plain_structs(state.marks),
        "orders": [_plain_struct(state.orders[key]) for key in sorted(state.orders)],
        "memory": {} if state.memory == Memory() else _plain_memory(state.memory),
    }
    plain.update({key: value for key, value in others.items() if value})
    for key in sorted(state.extra):
        if key != "positions":
            plain[key] = thaw(state.extra[key])
    return plain


def _plain_position(label: str, position: Position) -> dict[str, Any]:
    plain: dict[str, Any] = {"shares": position.shares, "price": position.average_price}
    if exactly(cost_at, position, position.average_price) != position.cost:
        plain["cost"] = position.cost
    if position.symbol != label:
        plain |= {"symbol": position.symbol, "account": position.account, "side": position.side}
    for name, default in (
        ("multiplier", ONE),
        ("inverse", False),
        ("weight", None),
        ("updated", 0),
    ):
        value = getattr(position, name)
        if value != default:
            plain[name] = value
    return plain


def _plain_struct(value: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(Decimal,))
    return {key: item for key, item in plain.items() if item is not None}


def _plain_structs(values: Mapping[str, msgspec.Struct]) -> dict[str, Any]:
    return {key: _plain_struct(values[key]) for key in sorted(values)}


def _plain_memory(memory: Memory) -> dict[str, Any]:
    return {
        "limit": memory.limit,
        "since": memory.since,
        "count": memory.count,
        "recent": _plain_told(memory.recent),
        "older": _plain_told(memory.older),
        "forgotten": [[list(feed), memory.forgotten[feed]] for feed in sorted(memory.forgotten)],
        "waiting": [
            [list(fill), msgspec.to_builtins(memory.waiting[fill], builtin_types=(Decimal,))]
            for fill in sorted(memory.waiting)
        ],
    }


def _plain_told(told: Mapping[Identity, Told]) -> list[Any]:
    return [
        [list(identity), msgspec.to_builtins(told[identity], builtin_types=(Decimal,))]
        for identity in sorted(told, key=lambda identity: (told[identity].number, identity))
    ]
