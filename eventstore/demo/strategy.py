"""A small strategy that is honest about its knowledge at each time, and about its costs.

Per symbol, the strategy keeps an exponential average of the prints. When the last print is
`entry_bps` below the average, the target is a long position of `limit` (in money). When the print
is as far above, the target is a short position of the same size. When the price is back at the
average, the target is no position. The rules are:

* **No look-ahead.** A target is set when all prints of a moment are known. Orders for it are filled
  in the *following* moments only.
* **No fantasy fills.** An order fills where somebody else's order did: at the price of a print
  whose taker was on the same side (so the spread is paid), and for no more than that print's amount
  (rounding aside).
* **Costs.** Every fill pays the taker's fee, `fee_bps` of its value.
* **Limits.** The position never exceeds `limit` in money, at the price when the target was set.
* **Ruin.** Once the account is worth less than twice the `limit`, the strategy only closes open
  positions.

The strategy is deterministic: fills are a function of the prints. So a restarted process can find
its place again. The strategy loses money, because the fee is several times the gain per trade. The
demonstration is about a store, and an account that only ever grows would have been a lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from eventstore.demo.tape import Print

__all__ = ["DEFAULT_RULES", "Fill", "Rules", "Strategy"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The parameters of the strategy. Money is in the tape's quote currency."""

    capital: float = 100_000.0
    limit: float = 20_000.0
    span: int = 20
    entry_bps: float = 0.5
    fee_bps: float = 4.0


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Fill:
    """The venue's report of one fill. `time` is the time of receipt, in ns."""

    number: int
    time: int
    symbol: str
    side: str
    shares: float
    price: float
    fee: float

    @property
    def trade_id(self) -> str:
        return f"fill-{self.number}"


class Strategy:
    """A function of moments (prints of one timestamp) to fills."""

    def __init__(self, rules: Rules = DEFAULT_RULES) -> None:
        self._rules = rules
        self._books: dict[str, _Book] = {}
        self._fills = 0
        self._cash = rules.capital
        self._ruined = False

    def trade(self, moment: Iterable[Print]) -> list[Fill]:
        """Return the fills of one moment, from orders sent before it, then set new targets."""
        rules = self._rules
        fills: list[Fill] = []
        touched: dict[str, _Book] = {}
        for one in moment:
            book = self._books.get(one.symbol)
            if book is None:
                book = self._books[one.symbol] = _Book(one.price, rules)
            touched[one.symbol] = book
            shares = book.fill(one)
            if shares:
                self._fills += 1
                fee = shares * one.price * (rules.fee_bps / 10_000.0)
                self._cash -= (shares if one.side == "buy" else -shares) * one.price + fee
                fills.append(
                    Fill(self._fills, one.received, one.symbol, one.side, shares, one.price, fee)
                )
            book.see(one.price)
        if fills and not self._ruined:
            equity = self._cash + sum(book.value for book in self._books.values())
            self._ruined = equity < 2.0 * rules.limit
        for book in touched.values():
            book.decide(self._ruined)
        return fills

    def run(self, moments: Iterable[Iterable[Print]]) -> Iterator[Fill]:
        """Yield all fills of a tape."""
        for moment in moments:
            yield from self.trade(moment)


class _Book:
    """The average, position and target of one symbol."""

    __slots__ = ("_average", "_last", "_lot", "_rules", "_shares", "_target", "_weight_of_newest")

    def __init__(self, price: float, rules: Rules) -> None:
        self._rules = rules
        self._weight_of_newest = 2.0 / (rules.span + 1)
        self._average = self._last = price
        self._shares = 0.0
        self._target = 0.0
        # orders are in whole lots: a power of ten of shares worth at most a thousandth of the limit
        self._lot = float(f"1e{math.floor(math.log10(rules.limit / 1000.0 / price))}")

    def see(self, price: float) -> None:
        self._last = price
        self._average += (price - self._average) * self._weight_of_newest

    @property
    def value(self) -> float:
        return self._shares * self._last

    def decide(self, ruined: bool) -> None:
        ahead = (self._last / self._average - 1.0) * 10_000.0
        if ruined:
            self._target = 0.0
        elif abs(ahead) >= self._rules.entry_bps:
            if ahead * self._target >= 0.0:  # not on that side yet: a held target is not resized
                lots = math.floor(self._rules.limit / self._last / self._lot)
                self._target = lots * self._lot * (-1.0 if ahead > 0.0 else 1.0)
        elif ahead * self._shares >= 0.0:
            self._target = 0.0

    def fill(self, one: Print) -> float:
        """Return how many shares of the order a print fills, 0.0 for none.

        Less than half a lot counts as nothing. A fill that would leave so little of the order fills
        all of the order. A fill that would leave so little of the position closes it. So positions
        close at exactly zero, although sums of decimal amounts are not exact in binary.
        """
        wanted = self._target - self._shares
        nothing = self._lot / 2.0
        if abs(wanted) < nothing or one.side != ("buy" if wanted > 0.0 else "sell"):
            return 0.0
        shares = one.amount if abs(wanted) - one.amount >= nothing else abs(wanted)
        if (
            self._shares
            and abs(abs(self._shares) - shares) < nothing
            and wanted * self._shares < 0.0
        ):
            shares = abs(self._shares)
        self._shares += shares if wanted > 0.0 else -shares
        return shares
