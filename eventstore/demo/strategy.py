"""A small strategy that is honest about its knowledge at each time, and about its costs.

Per symbol, the strategy keeps an exponential average of the prints. When the last print is
`entry_bps` below the average, the target is a long position of `limit` (in money). When the print
is as far above, the target is a short position of the same size. When the price is back at the
average, the target is no position. The rules are:

* **No look-ahead.** A target is set when all prints of a moment are known. Orders for it are filled
  in the *following* moments only.
* **No fantasy fills.** An order fills where somebody else's order did: at the price of a print
  whose taker was on the same side (so the spread is paid), for no more than the print's amount.
* **Costs.** Every fill pays the taker's fee, `fee_bps` of its value.
* **Limits.** The position never exceeds `limit` in money, at the price when the target was set.
* **Ruin.** Once the account is worth less than twice the `limit`, the strategy only closes open
  positions.

Amounts and prices are decimals, and exact. Only the average is a `float`, because the average is a
signal and no money.

The strategy is deterministic: fills are a function of the prints. So a restarted process can find
its place again. The strategy loses money, because the fee is several times the gain per trade. The
demonstration is about a store, and an account that only ever grows would have been a lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

from eventstore.demo.tape_reader import Print

__all__ = ["DEFAULT_RULES", "Fill", "Rules", "Strategy"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The parameters of the strategy. Money is in the tape's quote currency."""

    capital: Decimal = Decimal(100_000)
    limit: Decimal = Decimal(20_000)
    span: int = 20
    entry_bps: float = 0.5
    fee_bps: Decimal = Decimal(4)


DEFAULT_RULES = Rules()

_EXACT = Context(prec=1_000)


@dataclass(frozen=True, slots=True)
class Fill:
    """The venue's report of one fill. `time` is the time of receipt, in ns."""

    number: int
    time: int
    symbol: str
    side: str
    shares: Decimal
    price: Decimal
    fee: Decimal

    @property
    def trade_id(self) -> str:
        return f"fill-{self.number}"

    @property
    def order_id(self) -> str:
        return f"order-{self.number}"


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
        with localcontext(_EXACT):
            return self._trade(moment)

    def _trade(self, moment: Iterable[Print]) -> list[Fill]:
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
                fee = (shares * one.price * rules.fee_bps).scaleb(-4)
                self._cash -= (shares if one.side == "buy" else -shares) * one.price + fee
                fills.append(
                    Fill(self._fills, one.received, one.symbol, one.side, shares, one.price, fee)
                )
            book.see(one.price)
        if fills and not self._ruined:
            equity = self._cash + sum(book.value for book in self._books.values())
            self._ruined = equity < 2 * rules.limit
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

    def __init__(self, price: Decimal, rules: Rules) -> None:
        self._rules = rules
        self._weight_of_newest = 2.0 / (rules.span + 1)
        self._last = price
        self._average = float(price)
        self._shares = Decimal(0)
        self._target = Decimal(0)
        # orders are in whole lots: a power of ten of shares worth at most a thousandth of the limit
        self._lot = Decimal(f"1e{(rules.limit / 1000 / price).adjusted()}")

    def see(self, price: Decimal) -> None:
        self._last = price
        self._average += (float(price) - self._average) * self._weight_of_newest

    @property
    def value(self) -> Decimal:
        return self._shares * self._last

    def decide(self, ruined: bool) -> None:
        ahead = (float(self._last) / self._average - 1.0) * 10_000.0
        if ruined:
            self._target = Decimal(0)
        elif abs(ahead) >= self._rules.entry_bps:
            if ahead * float(self._target) >= 0.0:  # a target that is held is not resized
                size = self._rules.limit // (self._last * self._lot) * self._lot
                self._target = -size if ahead > 0.0 else size
        elif ahead * float(self._shares) >= 0.0:
            self._target = Decimal(0)

    def fill(self, one: Print) -> Decimal:
        """Return how many shares of the order a print fills, zero for none."""
        wanted = self._target - self._shares
        if one.side != ("buy" if wanted > 0 else "sell"):
            return Decimal(0)
        shares = min(one.amount, abs(wanted))
        self._shares += shares if wanted > 0 else -shares
        return shares
