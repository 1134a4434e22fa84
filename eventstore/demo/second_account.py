"""The independent account: the trading rules written down a second time, from nothing but fills.

The ledger shares no code with the handlers and never reads a store, so the two can agree only if
both are right. The handlers compute with decimals, the ledger with fractions. Both are exact, so
the comparison is for equality, without a tolerance.

The rules are for a fill of `q` shares (negative: sold) at `p` with `fee`, of a position of `s`
shares (negative: short) that cost `k` (with the sign of the shares):

* Cash falls by `q * p + fee`.
* Opening a position, and adding to it, adds `q * p` to the cost.
* A fill against the position takes the part `k * q / s` out of the cost. The profit is what came in
  less this part. A quotient is the one number that is rounded: to 34 digits, half to even. Where
  the part has more digits and less stays than leaves, the cost of what stays is the rounded one.
* A fill of exactly the position takes the whole cost. Zero shares are no position.
* A fill beyond zero closes the position, and opens another one at `p` with the shares left over.

At the last price `m`, the position has an unrealised profit of `s * m - k`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Protocol

from eventstore.demo.strategy import Fill

__all__ = ["Holding", "Ledger", "TradingState", "differences"]

DIGITS = 34
"""Digits of a quotient."""


class TradingState(Protocol):
    """The part of the store's state that the demonstration reads, in a type of any origin."""

    @property
    def cash(self) -> Decimal: ...
    @property
    def realized_pnl(self) -> Mapping[str, Decimal]: ...
    @property
    def fees(self) -> Mapping[str, Decimal]: ...
    @property
    def trade_count(self) -> int: ...
    @property
    def positions(self) -> Mapping[Any, Any]:
        """Objects with `shares` and `cost`, by symbol."""

    @property
    def marks(self) -> Mapping[str, Any]:
        """Objects with `price`, by symbol."""

    def equity(self) -> Decimal: ...
    def unrealized_by_symbol(self) -> Mapping[str, Mapping[str, Decimal]]: ...


@dataclass(frozen=True, slots=True)
class Holding:
    """One position: shares, negative when short, and their cost."""

    shares: Fraction
    cost: Fraction


class Ledger:
    """An account that folds fills by the rules above. Amounts of money are in one currency."""

    def __init__(self, capital: Decimal) -> None:
        self.cash = Fraction(capital)
        self.realized_pnl = Fraction(0)
        self.fees = Fraction(0)
        self.trade_count = 0
        self.positions: dict[str, Holding] = {}
        self.marks: dict[str, Fraction] = {}

    def record(self, fill: Fill) -> None:
        """Account for one fill."""
        price, fee = Fraction(fill.price), Fraction(fill.fee)
        shares = Fraction(fill.shares) if fill.side == "buy" else -Fraction(fill.shares)
        self.cash -= shares * price + fee
        self.fees += fee
        self.trade_count += 1
        held = self.positions.pop(fill.symbol, Holding(Fraction(0), Fraction(0)))
        after = held.shares + shares
        if held.shares * shares >= 0:
            cost = held.cost + shares * price
        elif held.shares * after > 0:
            exact = held.cost * shares / held.shares
            part = _to_digits(exact)
            less_stays = (after + shares < 0) != (held.shares < 0)
            if part != exact and less_stays:
                part = _to_digits(held.cost * after / held.shares) - held.cost
            self.realized_pnl += part - shares * price
            cost = held.cost + part
        else:
            self.realized_pnl += held.shares * price - held.cost
            cost = after * price
        if after:
            self.positions[fill.symbol] = Holding(after, cost)

    def mark(self, symbol: str, price: Decimal) -> None:
        """Take note of the last price of a symbol."""
        self.marks[symbol] = Fraction(price)

    @property
    def unrealized_pnl(self) -> Fraction:
        """The profit that closing every position at its last price would realise."""
        return sum(self.unrealized_by_symbol().values(), Fraction(0))

    @property
    def equity(self) -> Fraction:
        """Cash, and every position at its last price."""
        held = self.positions.items()
        return self.cash + sum(
            (holding.shares * self.marks[symbol] for symbol, holding in held), Fraction(0)
        )

    def unrealized_by_symbol(self) -> dict[str, Fraction]:
        """Return the unrealised profit of every position."""
        return {
            symbol: holding.shares * self.marks[symbol] - holding.cost
            for symbol, holding in self.positions.items()
        }


def _to_digits(exact: Fraction) -> Fraction:
    """Return the nearest number of `DIGITS` digits, the even one of two."""
    if not exact:
        return exact
    exponent = len(str(abs(exact.numerator))) - len(str(exact.denominator)) - DIGITS
    while abs(exact) >= Fraction(10) ** (exponent + DIGITS):
        exponent += 1
    unit = Fraction(10) ** exponent
    return round(exact / unit) * unit


def differences(ledger: Ledger, state: TradingState, *, marked: bool = True) -> list[str]:
    """Return where `state` differs from the ledger. Empty if both agree.

    Without `marked`, last prices and all that is computed from them are not compared.
    """
    found: list[str] = []
    _compare(found, "cash", ledger.cash, state.cash)
    _compare(found, "realized_pnl", ledger.realized_pnl, _in_one(state.realized_pnl))
    _compare(found, "fees", ledger.fees, _in_one(state.fees))
    if ledger.trade_count != state.trade_count:
        found.append(f"trade_count: {ledger.trade_count} expected, {state.trade_count} found")
    for symbol in sorted(ledger.positions.keys() | set(state.positions)):
        expected, actual = ledger.positions.get(symbol), state.positions.get(symbol)
        if expected is None or actual is None:
            found.append(
                f"position {symbol}: {expected or 'none'} expected, {actual or 'none'} found"
            )
            continue
        _compare(found, f"shares of {symbol}", expected.shares, actual.shares)
        _compare(found, f"cost of {symbol}", expected.cost, actual.cost)
    if found or not marked:
        return found
    for symbol, price in sorted(ledger.marks.items()):
        mark = state.marks.get(symbol)
        _compare(found, f"last price of {symbol}", price, None if mark is None else mark.price)
    if not found:
        profits = state.unrealized_by_symbol()
        for symbol, profit in sorted(ledger.unrealized_by_symbol().items()):
            _compare(found, f"unrealised profit of {symbol}", profit, _in_one(profits.get(symbol)))
        _compare(found, "equity", ledger.equity, state.equity())
    return found


def _in_one(sums: Mapping[str, Decimal] | None) -> Decimal | None:
    """The amount in the only currency, zero without one. `None` for several currencies."""
    amounts = list((sums or {}).values()) or [Decimal(0)]
    return amounts[0] if len(amounts) == 1 else None


def _compare(found: list[str], name: str, expected: Fraction, actual: Decimal | None) -> None:
    if actual is None or Fraction(actual) != expected:
        found.append(f"{name}: {_plain(expected)} expected, {actual} found")


def _plain(exact: Fraction) -> Decimal:
    return Context(prec=60).divide(Decimal(exact.numerator), Decimal(exact.denominator))
