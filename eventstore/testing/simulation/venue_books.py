"""The venue's own books, in exact decimals."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from eventstore.testing.simulation.orders import Fill

__all__ = ["Books", "Ledger"]

_EXACT = decimal.Context(prec=60, traps=[decimal.Inexact, decimal.InvalidOperation])


@dataclass(frozen=True)
class Books:
    """Positions by symbol, cash and fees, as one side has them. `None` is not compared.

    `positions` may have entries of 0. `fees` is the sum of the paid fees, and positive.
    """

    positions: Mapping[str, Decimal | float] | None = None
    cash: Decimal | float | None = None
    fees: Decimal | float | None = None


@dataclass
class Ledger:
    """Positions, cash and fees after every fill. Sums are exact, and rounding would raise."""

    cash: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    positions: dict[str, Decimal] = field(default_factory=dict)

    def book(self, fill: Fill, earlier: Fill | None = None) -> None:
        """Book a fill, in the place of an `earlier` revision if there was one."""
        if earlier is not None:
            self._add(earlier, Decimal(-1))
        self._add(fill, Decimal(1))

    def _add(self, fill: Fill, sign: Decimal) -> None:
        exact = _EXACT
        qty, fee = exact.multiply(sign, fill.qty), exact.multiply(sign, fill.fee)
        old = self.positions.get(fill.symbol, Decimal(0))
        self.positions[fill.symbol] = exact.add(old, qty)
        paid = exact.add(exact.multiply(qty, fill.price), fee)
        self.cash = exact.subtract(self.cash, paid)
        self.fees = exact.add(self.fees, fee)

    @property
    def books(self) -> Books:
        """The books at this moment."""
        return Books(dict(self.positions), self.cash, self.fees)
