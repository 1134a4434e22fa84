"""The independent account: the trading rules written down a second time, from nothing but fills.

The ledger shares no code with the handlers and never reads a store, so the two can agree only if
both are right. With `float` the ledger repeats the documented order of operations and must agree to
the last bit. With `Decimal` (sixty digits) the ledger gives the result of exact arithmetic, and so
the drift of the floats.

The rules are for a fill of `q` shares at `p` with `fee`, of a position of `s` shares (negative:
short) at the average price `a`:

* Cash falls by `q * p` for a buy, rises by `q * p` for a sale, and then falls by `fee`.
* Opening a position makes the average `p`. Adding to a position makes the average
  `(|s| * a + q * p) / (|s| + q)`.
* A fill against the position closes `c = min(q, |s|)` shares and leaves the average unchanged. The
  gain is `(p - a) * c`, and the negative of this product when short.
* Shares traded beyond zero open a position at `p`. Exactly zero shares is no position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Any, Generic, Protocol, TypeVar

from eventstore.demo.strategy import Fill

__all__ = ["Holding", "Ledger", "TradingState", "differences", "drift", "exact_ledger"]

Number = TypeVar("Number", float, Decimal)
_EXACT = Context(prec=60)


class TradingState(Protocol):
    """The part of the store's state that the demonstration reads, in a type of any origin."""

    @property
    def cash(self) -> float: ...
    @property
    def realized_pnl(self) -> float: ...
    @property
    def fees(self) -> float: ...
    @property
    def trade_count(self) -> int: ...
    @property
    def positions(self) -> Mapping[str, Any]:
        """Objects with `shares` and `price`, by symbol."""


@dataclass(frozen=True, slots=True)
class Holding(Generic[Number]):
    """One position: shares, negative when short, and their average price."""

    shares: Number
    price: Number


class Ledger(Generic[Number]):
    """An account that folds fills by the rules above, in the arithmetic of `number`."""

    def __init__(self, number: Callable[[float], Number], capital: float) -> None:
        self._number: Callable[[float], Number] = number
        self.cash: Number = number(capital)
        self.realized_pnl: Number = number(0.0)
        self.fees: Number = number(0.0)
        self.trade_count: int = 0
        self.positions: dict[str, Holding[Number]] = {}

    def record(self, fill: Fill) -> None:
        """Account for one fill."""
        shares, price = self._number(fill.shares), self._number(fill.price)
        fee, nothing = self._number(fill.fee), self._number(0.0)
        signed = shares if fill.side == "buy" else -shares
        self.cash = self.cash - signed * price - fee
        self.fees = self.fees + fee
        self.trade_count += 1
        held = self.positions.get(fill.symbol, Holding(nothing, nothing))
        after = held.shares + signed
        if not held.shares:
            average = price
        elif (held.shares > 0) == (signed > 0):
            had = abs(held.shares)
            average = (had * held.price + shares * price) / (had + shares)
        else:
            closed = min(shares, abs(held.shares))
            gain = price - held.price if held.shares > 0 else held.price - price
            self.realized_pnl = self.realized_pnl + gain * closed
            average = held.price if shares <= abs(held.shares) else price
        if after:
            self.positions[fill.symbol] = Holding(after, average)
        else:
            self.positions.pop(fill.symbol, None)

    def equity(self, last_prices: Mapping[str, Number]) -> Number:
        """Return cash plus every position at its last price."""
        total = self.cash
        for symbol in sorted(self.positions):
            total = total + self.positions[symbol].shares * last_prices[symbol]
        return total


def exact_ledger(fills: list[Fill], capital: float) -> Ledger[Decimal]:
    """Return the ledger of `fills` in sixty digits. An input is the decimal of its `repr`."""
    with localcontext(_EXACT):
        ledger: Ledger[Decimal] = Ledger(lambda value: Decimal(repr(value)), capital)
        for fill in fills:
            ledger.record(fill)
    return ledger


def differences(ledger: Ledger[float], state: TradingState) -> list[str]:
    """Return where `state` differs from the ledger, bit for bit. Empty if both agree."""
    found: list[str] = []
    for name in ("cash", "realized_pnl", "fees"):
        _compare(found, name, getattr(ledger, name), getattr(state, name))
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
        _compare(found, f"price of {symbol}", expected.price, actual.price)
    return found


def _compare(found: list[str], name: str, expected: float, actual: float) -> None:
    if expected.hex() != float(actual).hex():
        found.append(
            f"{name}: {expected!r} ({expected.hex()}) expected, "
            f"{actual!r} ({float(actual).hex()}) found"
        )


def drift(ledger: Ledger[float], exact: Ledger[Decimal]) -> dict[str, Decimal]:
    """Return by how much each amount of money in floats differs from exact arithmetic."""
    with localcontext(_EXACT):
        return {
            name: Decimal(getattr(ledger, name)) - getattr(exact, name)
            for name in ("cash", "realized_pnl", "fees")
        }
