"""The trading operations against an independent ledger, over thousands of generated sequences.

The ledger here works otherwise than the handlers do. The ledger keeps no average and never asks
whether a fill adds, reduces or flips. The ledger keeps the open lots of a symbol and reduces every
lot in proportion. Realised profit follows from double entry: receipts equal profit plus the cost of
the open shares. The arithmetic is `Decimal`, from the decimal figures of `repr`: to 60 digits, or
trapping any rounding at all.

The tests demand:

- Inputs on a binary grid, which doubles hold exactly: cash, fees, shares and counts are equal, to
  the last bit. Average price and profit involve quotients such as 1/3, and agree within rounding.
- Sequences that only double, halve, close and turn positions: *everything* is equal to the last
  bit. The ledger traps `decimal.Inexact`, so that the ledger's figures are exact for certain.
- Inputs in decimal steps (0.1, 0.01), which doubles cannot hold: everything agrees with decimal
  bookkeeping within rounding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any

import pytest

from eventstore import HandlerRegistry, Operation
from handlers import EngineState, FullState, RecordTrade, UpdatePosition

SYMBOLS = ("AAPL", "MSFT", "TSLA")
EXACT = Context(prec=400, traps=[Inexact])
ROUNDED = Context(prec=60)
ZERO = Decimal(0)


def exact(number: float) -> Decimal:
    return Decimal(repr(number))


class Ledger:
    """Lots and flows, exactly."""

    def __init__(self) -> None:
        self.cash = ZERO
        self.fees = ZERO
        self.trades = 0
        self.earned_before = ZERO
        self.flows: dict[str, Decimal] = {}
        self.shares: dict[str, Decimal] = {}
        self.lots: dict[str, list[tuple[Decimal, Decimal]]] = {}

    def book(self, operation: Operation) -> None:
        match operation:
            case RecordTrade():
                self.fill(operation)
            case UpdatePosition():
                self.place(operation.symbol, operation.shares, operation.price)
            case FullState():
                self.__init__()  # type: ignore[misc]  # begins anew, which is what full_state means
                self.cash = exact(operation.cash)
                self.fees = exact(operation.fees)
                self.trades = operation.trade_count
                self.earned_before = exact(operation.realized_pnl)
                for position in operation.positions.values():
                    self.place(position.symbol, position.shares, position.price)

    def place(self, symbol: str, shares: float, price: float) -> None:
        """Change shares without any cash. The profit so far must not change."""
        earned = self.earned(symbol)
        self.shares[symbol] = exact(shares)
        self.lots[symbol] = [(exact(shares), exact(price))] if shares else []
        self.flows[symbol] = earned - self.cost(symbol)

    def fill(self, fill: RecordTrade) -> None:
        price = exact(fill.price)
        shares = exact(fill.shares).copy_sign(1 if fill.side == "buy" else -1)
        paid = shares * price
        self.flows[fill.symbol] = self.flows.get(fill.symbol, ZERO) - paid
        self.cash -= paid + exact(fill.fee)
        self.fees += exact(fill.fee)
        self.trades += 1
        before = self.shares.get(fill.symbol, ZERO)
        self.shares[fill.symbol] = before + shares
        lots = self.lots.setdefault(fill.symbol, [])
        offset = min(abs(before), abs(shares)) if before * shares < 0 else ZERO
        if offset:
            left = abs(before) - offset
            lots[:] = [(size * left / abs(before), at) for size, at in lots] if left else []
        opened = shares - offset.copy_sign(shares)
        if opened:
            lots.append((opened, price))

    def cost(self, symbol: str) -> Decimal:
        return sum((size * at for size, at in self.lots.get(symbol, ())), ZERO)

    def earned(self, symbol: str) -> Decimal:
        return self.flows.get(symbol, ZERO) + self.cost(symbol)

    def realized_pnl(self) -> Decimal:
        return self.earned_before + sum(map(self.earned, self.flows), ZERO)

    def holdings(self) -> dict[str, Decimal]:
        return {symbol: shares for symbol, shares in self.shares.items() if shares}


def replay(registry: HandlerRegistry[EngineState], operations: Sequence[Operation]) -> EngineState:
    state = registry.initial()
    for seq, operation in enumerate(operations, 1):
        (event,), _ = registry.record(seq, seq, [operation], None, None)
        state = registry.apply(state, event)
    return state


def booked(operations: Sequence[Operation]) -> Ledger:
    ledger = Ledger()
    for operation in operations:
        ledger.book(operation)
    return ledger


def on_binary_grid(rng: random.Random) -> Callable[[], tuple[float, float, float]]:
    """Shares in eighths, prices in 64ths, fees in 1024ths: sums and products are exact doubles."""
    return lambda: (
        rng.randint(1, 64) / 8,
        rng.randint(1, 64_000) / 64,
        rng.randint(-64, 1024) / 1024,
    )


def on_decimal_grid(rng: random.Random) -> Callable[[], tuple[float, float, float]]:
    """Draw quantities as on an exchange: tenths of a share, cents."""
    return lambda: (
        rng.randint(1, 50) / 10,
        rng.randint(1, 100_000) / 100,
        rng.randint(-10, 500) / 100,
    )


def sequence(
    rng: random.Random, quote: Callable[[], tuple[float, float, float]]
) -> list[Operation]:
    """Mostly trades, few enough symbols and sizes that every kind of crossing happens."""
    operations: list[Operation] = []
    for number in range(rng.randint(1, 40)):
        shares, price, fee = quote()
        symbol = rng.choice(SYMBOLS)
        kind = rng.random()
        if kind < 0.9:
            operations.append(
                RecordTrade(
                    trade_id=f"t-{number}",
                    symbol=symbol,
                    side=rng.choice(("buy", "sell")),
                    shares=shares,
                    price=price,
                    fee=fee,
                )
            )
        elif kind < 0.98:
            signed = rng.choice((shares, -shares, 0.0))
            operations.append(UpdatePosition(symbol=symbol, shares=signed, price=price))
        else:
            positions = {symbol: {"shares": shares, "price": price}}
            operations.append(
                FullState.from_mapping(
                    {"cash": price * 8, "positions": positions, "realized_pnl": fee, "note": "x"}
                )
            )
    return operations


@pytest.mark.parametrize("seed", range(4))
def test_on_a_binary_grid(registry: HandlerRegistry[EngineState], seed: int) -> None:
    rng = random.Random(seed)
    quote = on_binary_grid(rng)
    for _ in range(1000):
        operations = sequence(rng, quote)
        state = replay(registry, operations)
        with localcontext(ROUNDED):
            ledger = booked(operations)
            assert state.trade_count == ledger.trades
            assert exact(state.cash) == ledger.cash
            assert exact(state.fees) == ledger.fees
            assert state.realized_pnl == pytest.approx(float(ledger.realized_pnl()), abs=1e-7)
            assert {s: exact(p.shares) for s, p in state.positions.items()} == ledger.holdings()
            for symbol, position in state.positions.items():
                average = ledger.cost(symbol) / ledger.shares[symbol]
                assert position.price == pytest.approx(float(average), rel=1e-10)


@pytest.mark.parametrize("seed", range(4, 7))
def test_on_a_decimal_grid(registry: HandlerRegistry[EngineState], seed: int) -> None:
    rng = random.Random(seed)
    quote = on_decimal_grid(rng)
    for _ in range(1000):
        operations = sequence(rng, quote)
        state = replay(registry, operations)
        with localcontext(ROUNDED):
            ledger = booked(operations)
            assert state.trade_count == ledger.trades
            assert state.cash == pytest.approx(float(ledger.cash), abs=1e-8)
            assert state.fees == pytest.approx(float(ledger.fees), abs=1e-8)
            assert state.realized_pnl == pytest.approx(float(ledger.realized_pnl()), abs=1e-8)
            for symbol in SYMBOLS:
                position = state.positions.get(symbol)
                shares = 0.0 if position is None else position.shares
                if abs(shares) > 0.05:  # more than residue of rounding
                    assert position is not None
                    average = ledger.cost(symbol) / ledger.shares[symbol]
                    assert position.price == pytest.approx(float(average), rel=1e-10)
                assert shares == pytest.approx(float(ledger.shares.get(symbol, ZERO)), abs=1e-12)


def doubling(rng: random.Random) -> list[Operation]:
    """One symbol whose position is opened, doubled, halved, closed and turned, on a binary grid."""
    operations: list[Operation] = []
    shares = 0.0
    for number in range(rng.randint(1, 16)):
        size = abs(shares)
        if not shares:
            change = rng.choice((1.0, -1.0)) * 2.0 ** rng.randint(-3, 6)
        else:
            towards = rng.choice((shares, -shares / 2, -shares, -2 * shares, -3 * shares))
            change = towards if size < 1024 else -shares
        shares += change
        operations.append(
            RecordTrade(
                trade_id=f"t-{number}",
                symbol="AAPL",
                side="buy" if change > 0 else "sell",
                shares=abs(change),
                price=rng.randint(1, 6_400) / 64,
                fee=rng.randint(0, 64) / 64,
            )
        )
    return operations


def test_to_the_last_bit(registry: HandlerRegistry[EngineState]) -> None:
    rng = random.Random(7)
    for _ in range(3000):
        operations = doubling(rng)
        state = replay(registry, operations)
        with localcontext(EXACT):
            ledger = booked(operations)
            assert exact(state.cash) == ledger.cash
            assert exact(state.fees) == ledger.fees
            assert Decimal(state.realized_pnl) == ledger.realized_pnl()
            assert {s: exact(p.shares) for s, p in state.positions.items()} == ledger.holdings()
            for symbol, position in state.positions.items():
                assert Decimal(position.price) * ledger.shares[symbol] == ledger.cost(symbol)


def test_a_trade_past_zero_equals_a_close_and_an_opening(
    registry: HandlerRegistry[EngineState],
) -> None:
    rng = random.Random(8)
    quote = on_binary_grid(rng)
    for _ in range(500):
        held, bought, _ = quote()
        shares, price, _ = quote()
        sign = rng.choice((1.0, -1.0))
        start = registry.initial()
        placed = UpdatePosition(symbol="AAPL", shares=sign * held, price=bought, weight=0.5)

        def trade(size: float, sign: float = sign, price: float = price) -> RecordTrade:
            side: Any = "sell" if sign > 0 else "buy"
            return RecordTrade(trade_id="t", symbol="AAPL", side=side, shares=size, price=price)

        at_once = replay(registry, [placed, trade(held + shares)])
        in_two = replay(registry, [placed, trade(held), trade(shares)])
        assert at_once != start
        updated = at_once.positions["AAPL"].replace(updated=3)
        assert in_two == at_once.replace(
            trade_count=2, positions=at_once.positions.set("AAPL", updated)
        )


def test_every_state_on_the_way_stays_as_it_was(registry: HandlerRegistry[EngineState]) -> None:
    rng = random.Random(9)
    quote = on_binary_grid(rng)
    for _ in range(100):
        operations = sequence(rng, quote)
        state = registry.initial()
        seen = []
        for seq, operation in enumerate(operations, 1):
            (event,), _ = registry.record(seq, seq, [operation], None, None)
            state = registry.apply(state, event)
            seen.append((state, state.to_dict()))
            assert EngineState.from_dict(state.to_dict()) == state
        assert all(state.to_dict() == written for state, written in seen)
