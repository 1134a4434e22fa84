"""The fold of everything that was told: balances, positions, profit, fees and flows in fractions.

How much a ledger in decimals may differ
----------------------------------------
A ledger in decimals has to round the cost of a part of a position, and the value of an inverse
contract. `Fold.allowed` says by how much each figure may differ in consequence, and is zero for
every figure that no rounding has reached:

- the cost of a part is rounded once, and the remaining cost carries that difference until the
  position is flat;
- realised profit carries the differences of the open positions, and loses those when they close;
- the value of an inverse contract and the cost of a fee in kind are rounded for good;
- balances move with realised profit for linear and inverse contracts, and with nothing rounded for
  anything else.

A rounding to 34 digits is within `ROUNDING` of the number that is rounded.

Where the rules are silent
--------------------------
The rules do not say at which cost a fee in kind leaves a position that is smaller than the fee, or
at which cost a fee told by a `cash` message leaves where nothing is held. Symbols for which that
happened are `unclear`: their split between cost and realised profit is not compared. Nor do the
rules say what a split does to the last price, so unrealised profit is not compared from a split to
the next mark.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from tests.handlers.books import Books, Figure, Holding, PositionKey, finite
from tests.handlers.messages import (
    Cash,
    Fill,
    Instrument,
    Mark,
    Message,
    Order,
    Settlement,
    Split,
    Transfer,
)
from tests.handlers.resolved_fills import resolved_fills

__all__ = ["Fold"]

T = TypeVar("T")

ZERO = Fraction(0)
DIGITS = 34
ROUNDING = Fraction(1, 10**31)


@dataclass
class _Open:
    """An open position. `rounded` is how far a ledger in decimals may be from the cost."""

    quantity: Fraction = ZERO
    cost: Fraction = ZERO
    rounded: Fraction = ZERO


def _error(number: Fraction) -> Fraction:
    """Return how far a rounding to `DIGITS` may be from the number."""
    return ZERO if finite(number, DIGITS) else abs(number) * ROUNDING


def _by_currency() -> defaultdict[str, Fraction]:
    return defaultdict(Fraction)


@dataclass
class Fold:
    instrument: Callable[[str], Instrument]
    balances: defaultdict[str, defaultdict[str, Fraction]] = field(
        default_factory=lambda: defaultdict(_by_currency)
    )
    positions: defaultdict[PositionKey, _Open] = field(default_factory=lambda: defaultdict(_Open))
    realised: defaultdict[str, Fraction] = field(default_factory=_by_currency)
    rounded_for_good: defaultdict[str, Fraction] = field(default_factory=_by_currency)
    fees: defaultdict[str, defaultdict[str, Fraction]] = field(
        default_factory=lambda: defaultdict(_by_currency)
    )
    flows: defaultdict[tuple[str, str], defaultdict[str, Fraction]] = field(
        default_factory=lambda: defaultdict(_by_currency)
    )
    marks: dict[str, Fraction] = field(default_factory=dict)
    orders: dict[tuple[str, str, str], Order] = field(default_factory=dict)
    filled: defaultdict[tuple[str, str, str], Fraction] = field(
        default_factory=lambda: defaultdict(Fraction)
    )
    unclear: set[str] = field(default_factory=set)
    marked_before_split: set[str] = field(default_factory=set)

    def run(self, messages: list[Message]) -> None:
        fills = {fill.versions[0].key: fill for fill in resolved_fills(messages)}
        for message in messages:
            match message:
                case Fill():
                    fill = fills.pop(message.key, None)  # the second time: told with its fee
                    if fill is not None and not fill.busted:
                        self.fill(fill.last)
                case Cash():
                    self.cash(message)
                case Transfer():
                    amount = Fraction(message.amount)
                    self.balances[message.account][message.currency] -= amount
                    self.balances[message.to_account][message.currency] += amount
                case Split():
                    for open_position in self.sides(message.account, message.symbol).values():
                        open_position.quantity *= Fraction(message.numerator, message.denominator)
                    if message.symbol in self.marks:
                        self.marked_before_split.add(message.symbol)
                case Settlement():
                    self.settle(message)
                case Mark():
                    self.marks[message.symbol] = Fraction(message.price)
                    self.marked_before_split.discard(message.symbol)
                case Order():
                    self.orders[message.venue, message.account, message.order_id] = message
                case _:
                    pass
        self.books = self.close()

    def sides(self, account: str, symbol: str) -> dict[PositionKey, _Open]:
        return {key: held for key, held in self.positions.items() if key[:2] == (account, symbol)}

    def value(self, symbol: str, quantity: Fraction, price: Fraction) -> Fraction:
        instrument = self.instrument(symbol)
        size = quantity * Fraction(instrument.multiplier)
        return size / price if instrument.kind == "inverse" else size * price

    def fill(self, fill: Fill) -> None:
        instrument = self.instrument(fill.symbol)
        quantity, price = Fraction(fill.quantity), Fraction(fill.price)
        signed = quantity if fill.side == "buy" else -quantity
        balance = self.balances[fill.account]
        if instrument.kind == "spot":
            assert instrument.base is not None
            balance[instrument.base] += signed
            balance[instrument.quote] -= signed * price
        elif instrument.kind == "security":
            balance[instrument.settle] -= self.value(fill.symbol, signed, price)
        key = (fill.account, fill.symbol, fill.position_side or "net")
        if fill.order_id:
            self.filled[fill.venue, fill.account, fill.order_id] += quantity
        fee = Fraction(fill.fee or 0)
        in_kind = instrument.kind == "spot" and fill.fee_currency == instrument.base
        self.trade(key, signed - fee if in_kind and fill.side == "buy" else signed, price)
        if fee:
            assert fill.fee_currency is not None
            balance[fill.fee_currency] -= fee
            self.fees[fill.symbol][fill.fee_currency] += fee
            if in_kind and fill.side == "sell":
                self.leave_in_kind(key, fee, price)

    def trade(self, key: PositionKey, quantity: Fraction, price: Fraction) -> None:
        """Close what the quantity closes, and open or add the rest."""
        held = self.positions[key]
        closing = ZERO
        if held.quantity * quantity < 0:
            closing = (
                max(quantity, -held.quantity) if quantity < 0 else min(quantity, -held.quantity)
            )
            self.close_part(key, closing, price)
        opening = quantity - closing
        if opening:
            value = self.value(key[1], opening, price)
            held.quantity += opening
            held.cost += value
            self.count_rounding(key[1], held, value)

    def close_part(self, key: PositionKey, closing: Fraction, price: Fraction) -> None:
        held = self.positions[key]
        symbol = key[1]
        part = held.cost * -closing / held.quantity
        value = self.value(symbol, closing, price)
        self.realise(key, part + value if self.is_inverse(symbol) else -value - part)
        held.quantity += closing
        held.cost -= part
        held.rounded += _error(part)
        if not held.quantity:
            held.rounded = ZERO
        self.count_rounding(symbol, None, value)

    def is_inverse(self, symbol: str) -> bool:
        return self.instrument(symbol).kind == "inverse"

    def count_rounding(self, symbol: str, held: _Open | None, value: Fraction) -> None:
        if self.is_inverse(symbol):
            self.rounded_for_good[symbol] += _error(value)
            if held is not None:
                held.rounded += _error(value)

    def realise(self, key: PositionKey, amount: Fraction) -> None:
        account, symbol, _ = key
        self.realised[symbol] += amount
        instrument = self.instrument(symbol)
        if instrument.kind in ("linear", "inverse"):
            self.balances[account][instrument.settle] += amount

    def leave_in_kind(self, key: PositionKey, fee: Fraction, price: Fraction) -> None:
        """Take coins out of a position after a sale; a rebate brings coins in."""
        held = self.positions[key]
        if held.quantity <= 0:
            held.quantity -= fee
            held.cost -= fee * price  # nothing is realised, also where a short shrinks
            if held.quantity >= 0 > held.quantity + fee:
                self.unclear.add(key[1])
            return
        within = min(fee, held.quantity)
        self.move_at_average(key, -within)
        if fee > within:
            self.unclear.add(key[1])
            self.trade(key, within - fee, price)

    def move_at_average(self, key: PositionKey, quantity: Fraction) -> None:
        """Add coins at the average cost, or remove coins: nothing is realised."""
        held = self.positions[key]
        part = held.cost * quantity / held.quantity
        self.rounded_for_good[key[1]] += _error(part) + held.rounded * abs(quantity / held.quantity)
        held.rounded += _error(part) + held.rounded * abs(quantity / held.quantity)
        held.quantity += quantity
        held.cost += part
        if not held.quantity:
            held.rounded = ZERO

    def cash(self, message: Cash) -> None:
        amount = Fraction(message.amount)
        self.balances[message.account][message.currency] += amount
        self.flows["", message.type][message.currency] += amount
        if message.type not in ("fee", "rebate"):
            if message.symbol is not None:
                self.flows[message.symbol, message.type][message.currency] += amount
            return
        self.fees[message.symbol or ""][message.currency] -= amount
        if message.symbol is None:
            return
        instrument = self.instrument(message.symbol)
        if instrument.kind != "spot" or message.currency != instrument.base:
            return
        key = (message.account, message.symbol, "net")
        held = self.positions[key]
        if held.quantity * (held.quantity + amount) > 0:
            self.move_at_average(key, amount)
            return
        if held.quantity + amount:
            self.unclear.add(message.symbol)
        held.quantity += amount
        if not held.quantity:
            self.rounded_for_good[message.symbol] += held.rounded
            held.cost = held.rounded = ZERO

    def settle(self, message: Settlement) -> None:
        for key, held in self.sides(message.account, message.symbol).items():
            if not held.quantity:
                continue
            quantity, price = held.quantity, Fraction(message.price)
            self.close_part(key, -quantity, price)
            if not message.final:
                self.trade(key, quantity, price)

    def close(self) -> Books:
        by_currency: defaultdict[str, Fraction] = _by_currency()
        for fees in self.fees.values():
            for currency, amount in fees.items():
                by_currency[currency] += amount
        positions = {
            key: Holding(held.quantity, held.cost, self.average(key))
            for key, held in sorted(self.positions.items())
            if held.quantity
        }
        symbols = sorted({symbol for symbol, _ in self.flows if symbol})
        return Books(
            balances=_without_zeros(
                {account: _nonzero(amounts) for account, amounts in self.balances.items()}
            ),
            positions=positions,
            realised=_without_zeros(
                {
                    symbol: _nonzero({self.instrument(symbol).settle: amount})
                    for symbol, amount in self.realised.items()
                }
            ),
            fees=_nonzero(by_currency),
            fees_by_symbol=_without_zeros(
                {symbol: _nonzero(fees) for symbol, fees in self.fees.items() if symbol}
            ),
            flows=self.flows_of(""),
            flows_by_symbol=_without_zeros({symbol: self.flows_of(symbol) for symbol in symbols}),
            unrealised=_without_zeros(
                {
                    symbol: _nonzero({self.instrument(symbol).settle: self.gain(symbol)})
                    for symbol in self.marks
                }
            ),
            open_orders={
                order.order_id: {"quantity": Fraction(order.quantity), "filled": self.filled[key]}
                for key, order in self.orders.items()
                if order.is_open
            },
        )

    def flows_of(self, symbol: str) -> dict[str, dict[str, Fraction]]:
        return _without_zeros(
            {kind: _nonzero(flows) for (of, kind), flows in self.flows.items() if of == symbol}
        )

    def average(self, key: PositionKey) -> Fraction:
        held = self.positions[key]
        size = held.quantity * Fraction(self.instrument(key[1]).multiplier)
        return size / held.cost if self.is_inverse(key[1]) else held.cost / size

    def gain(self, symbol: str) -> Fraction:
        gain = ZERO
        for key, held in self.positions.items():
            if key[1] == symbol and held.quantity:
                value = self.value(symbol, held.quantity, self.marks[symbol])
                gain += held.cost - value if self.is_inverse(symbol) else value - held.cost
        return gain

    def allowed(self, figure: Figure, expected: Fraction) -> Fraction | None:
        match figure:
            case ("positions", account, symbol, side, "cost" | "average_price" as name):
                if symbol in self.unclear:
                    return None
                rounded = self.positions[account, symbol, side].rounded
                if name == "cost":
                    return rounded
                return self.allowed_average((account, symbol, side), expected, rounded)
            case ("realised", symbol, _):
                return None if symbol in self.unclear else self.rounded(symbol)
            case ("unrealised", symbol, _):
                if symbol in self.unclear | self.marked_before_split:
                    return None
                return self.rounded_gain(symbol)
            case ("balances", _, currency):
                return sum(
                    (
                        self.rounded(symbol)
                        for symbol in self.realised.keys() | self.rounded_for_good.keys()
                        if self.instrument(symbol).kind in ("linear", "inverse")
                        and self.instrument(symbol).settle == currency
                    ),
                    ZERO,
                )
            case _:
                return ZERO

    def allowed_average(self, key: PositionKey, expected: Fraction, rounded: Fraction) -> Fraction:
        held = self.positions[key]
        if not held.quantity:
            return ZERO
        relative = ZERO if finite(expected, DIGITS) else ROUNDING
        if self.is_inverse(key[1]):
            return abs(expected) * (relative + 2 * rounded / abs(held.cost))
        multiplier = Fraction(self.instrument(key[1]).multiplier)
        return abs(expected) * relative + rounded / abs(held.quantity * multiplier)

    def rounded(self, symbol: str) -> Fraction:
        return self.rounded_for_good[symbol] + self.rounded_costs(symbol)

    def rounded_costs(self, symbol: str) -> Fraction:
        return sum((held.rounded for key, held in self.positions.items() if key[1] == symbol), ZERO)

    def rounded_gain(self, symbol: str) -> Fraction:
        rounded = self.rounded_costs(symbol)
        if self.is_inverse(symbol) and symbol in self.marks:
            for key, held in self.positions.items():
                if key[1] == symbol:
                    rounded += _error(self.value(symbol, held.quantity, self.marks[symbol]))
        return rounded


def _nonzero(amounts: dict[str, Fraction]) -> dict[str, Fraction]:
    return {name: amount for name, amount in sorted(amounts.items()) if amount}


def _without_zeros(entries: dict[str, dict[str, T]]) -> dict[str, dict[str, T]]:
    return {name: entry for name, entry in sorted(entries.items()) if entry}
