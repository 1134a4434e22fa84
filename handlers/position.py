"""One position, and what fills, fees in kind, splits and settlements do to the position.

A position keeps quantity and cost, both exact. The average price is derived. Every function here is
pure, takes a position or `None` (flat), and returns the next position or `None`.

- *Adding* adds the cost of the fill. *Reducing* takes `cost * closed / quantity` out of the cost.
  Where this quotient has no 34 digits, it is rounded: the cost of what leaves or of what stays,
  whichever is smaller, and the other one is the difference. So the average price keeps its digits,
  however little stays. Closing the whole position takes the whole cost, without a quotient, so a
  closed position leaves no dust.
- A fill past zero is two fills: one closes the position, the other opens a new position at the
  price of the fill. The new position has no weight, since the weight was the old position's.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from handlers.amounts import ONE, ZERO, divide, exactly, ratio
from handlers.instrument import Account, Instrument, Side, Symbol

__all__ = [
    "MAIN",
    "NET",
    "SIDES",
    "Position",
    "PositionKey",
    "cost_at",
    "place_of",
    "position_key",
    "position_label",
    "settled",
    "split",
    "take_in_kind",
    "trade",
]

MAIN = "main"
"""The account of whoever has one account."""
NET: Side = "net"
SIDES: tuple[Side, ...] = ("net", "long", "short")

PositionKey = str | tuple[str, str, Side]
"""The symbol for the net position of the main account, else `(account, symbol, side)`."""


class Position(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The holding of one symbol, in one account and on one side. Negative `shares` are short.

    Attributes:
        symbol: Name of the instrument.
        shares: Quantity in the units that the venue trades: shares, coins or contracts.
        cost: What opening the position cost, in the settlement currency, with the sign of `shares`.
        account: The account that holds the position.
        side: `net`, or `long` or `short` in hedge mode.
        multiplier: Units of the underlying in a quantity of one.
        inverse: Whether the contract is settled in its base currency, at `1 / price`.
        weight: Share of the portfolio, `None` where the strategy gave none.
        updated: Time of the event that last changed the position, in nanoseconds since the epoch. 0
            where unknown.
    """

    symbol: Symbol
    shares: Decimal
    cost: Decimal
    account: Account = MAIN
    side: Side = NET
    multiplier: Decimal = ONE
    inverse: bool = False
    weight: Decimal | None = None
    updated: int = 0

    @property
    def average_price(self) -> Decimal:
        """The average price of what is held, to 34 digits. Of an inverse contract the harmonic one.

        Zero for an inverse contract without cost, which no price gives.
        """
        units: Decimal = exactly(_product, self.shares, self.multiplier)
        if self.inverse:
            return divide(units, self.cost) if self.cost else ZERO
        return divide(self.cost, units)

    @property
    def key(self) -> PositionKey:
        """The key of the position in `EngineState.positions`."""
        return position_key(self.symbol, self.account, self.side)

    def replace(self, **changes: Any) -> Position:  # any of the fields, with their own types
        """Return a copy with some fields changed."""
        return replace(self, **changes)


def position_key(symbol: str, account: str = MAIN, side: Side = NET) -> PositionKey:
    """Return the key of a position in `EngineState.positions`.

    >>> position_key("AAPL"), position_key("BTCUSDT", side="long")
    ('AAPL', ('main', 'BTCUSDT', 'long'))
    """
    return symbol if account == MAIN and side == NET else (account, symbol, side)


def place_of(key: PositionKey) -> tuple[str, Side]:
    """Return account and side of a key."""
    return (MAIN, NET) if isinstance(key, str) else (key[0], key[2])


def position_label(key: PositionKey) -> str:
    """Return the text for a key in plain dictionaries: the symbol, or the key as a JSON array.

    A symbol that looks like such an array is written as one, so no two keys share a text.
    """
    if isinstance(key, str):
        if not key.startswith("["):
            return key
        key = (MAIN, key, NET)
    return json.dumps(key, ensure_ascii=False)


def cost_at(position: Position, price: Decimal) -> Decimal:
    """Return the cost of a position at an average price."""
    if position.inverse:
        return divide(position.shares * position.multiplier, price) if price else ZERO
    return position.shares * price * position.multiplier


def trade(
    held: Position | None,
    symbol: str,
    account: str,
    side: Side,
    time: int,
    quantity: Decimal,
    price: Decimal,
    instrument: Instrument,
) -> tuple[Position | None, Decimal, Decimal]:
    """Trade `quantity` (signed, not zero) at `price`.

    `symbol`, `account` and `side` are those of the position, `time` is the time of the event.
    Returns the next position, and in the settlement currency the realised profit and the value of
    what was traded.
    """
    inverse = instrument.kind == "inverse"
    multiplier = instrument.multiplier
    value = instrument.value(quantity, price) if inverse else quantity * price * multiplier
    shares, cost, weight, profit = quantity, value, None, ZERO
    if held is not None:
        before = held.shares
        shares = before + quantity
        if not shares:
            return None, instrument.profit(held.cost, -value), value
        if before.is_signed() == quantity.is_signed():
            cost, weight = held.cost + value, held.weight
        elif before.is_signed() == shares.is_signed():
            part = _part(held, quantity, shares)  # what left, with the sign of the fill
            profit = value - part if inverse else part - value
            cost, weight = held.cost + part, held.weight
        else:
            profit = instrument.profit(held.cost, instrument.value(before, price))
            cost = instrument.value(shares, price)
    position = Position(symbol, shares, cost, account, side, multiplier, inverse, weight, time)
    return position, profit, value


def take_in_kind(
    held: Position | None,
    symbol: str,
    account: str,
    side: Side,
    time: int,
    quantity: Decimal,
    price: Decimal | None,
) -> Position | None:
    """Let `quantity` coins leave (a fee), or arrive where negative (a rebate), without a profit.

    Coins of a long position leave and arrive at the average cost. Coins beyond the position, and
    coins of a flat or short position, leave at `price`. Without a price every coin leaves at the
    average cost, and at no cost where the position is flat. The other arguments are those of
    `trade`.
    """
    if held is None:
        shares, cost, weight = -quantity, -quantity * price if price else ZERO, None
    else:
        shares, weight = held.shares - quantity, held.weight
        if shares.is_signed() != held.shares.is_signed():
            cost, weight = shares * (held.average_price if price is None else price), None
        elif price is None or not shares.is_signed():
            cost = held.cost + _part(held, -quantity, shares)
        else:
            cost = held.cost - quantity * price
    if not shares:
        return None
    return Position(symbol, shares, cost, account, side, weight=weight, updated=time)


def settled(
    held: Position, price: Decimal, instrument: Instrument, time: int, *, final: bool
) -> tuple[Position | None, Decimal]:
    """Realise the difference to `price`. The position goes on at this price, or is gone if final.

    Returns the next position and the realised profit in the settlement currency.
    """
    value = instrument.value(held.shares, price)
    profit = instrument.profit(held.cost, value)
    return (None if final else held.replace(cost=value, updated=time)), profit


def split(held: Position, numerator: int, denominator: int, time: int) -> Position:
    """Multiply the quantity by `numerator / denominator`. The cost stays.

    A quantity without a finite decimal is rounded to 34 digits.
    """
    return held.replace(shares=ratio(held.shares * numerator, Decimal(denominator)), updated=time)


def _part(held: Position, quantity: Decimal, rest: Decimal) -> Decimal:
    """Return the cost of a part of a position, of which `rest` stays."""
    whole = held.cost * quantity
    part = divide(whole, held.shares)
    less_stays = (rest + quantity).is_signed() != held.shares.is_signed()
    if less_stays and part * held.shares != whole:
        return divide(held.cost * rest, held.shares) - held.cost
    return part


def _product(left: Decimal, right: Decimal) -> Decimal:
    return left * right
