"""Invented cases of each account rule, against the ledger of fractions, in turn and in any order.

The account cases in files have their books worked out by hand. These have none: the ledger folds
what was told from nothing, so each case can be told twice, and in as many orders as there are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from eventstore import HandlerRegistry
from handlers import ConflictError, EngineState, outcome_of
from tests.handlers.books import differences
from tests.handlers.fraction_ledger import Ledger
from tests.handlers.message_operations import books_of, define, operation_for
from tests.handlers.messages import Instrument, Message, Order, identity, read_message

INSTRUMENTS = [
    Instrument(symbol="BTC-EUR", kind="spot", base="BTC", quote="EUR", settle="EUR"),
    Instrument(symbol="SHARE", kind="security", quote="USD", settle="USD"),
    Instrument(symbol="OIL", kind="linear", quote="USD", settle="USD", multiplier=Decimal(1000)),
    Instrument(
        symbol="XBT", kind="inverse", base="BTC", quote="USD", settle="BTC", multiplier=Decimal(10)
    ),
]
ORDERS = 4
"""Shuffled orders of each case."""

Plain = dict[str, Any]


def at(symbol: str, **more: Any) -> Plain:
    return {"venue": "v", "account": "main", "symbol": symbol, **more}


def fill(name: str, symbol: str, side: str, quantity: str, price: str, **more: Any) -> Plain:
    told = {"trade_id": name, "side": side, "quantity": quantity, "price": price}
    return at(symbol, kind="fill", **(told | {"fee": "0", "fee_currency": "USD"} | more))


def fee(name: str, symbol: str, side: str, amount: str, currency: str, **more: Any) -> Plain:
    told = {"ref_trade_id": name, "id": f"fee of {name}", "fee": amount, "fee_currency": currency}
    return at(symbol, kind="fill_fee", side=side, **told, **more)


def bust(name: str, symbol: str, side: str, **more: Any) -> Plain:
    return at(symbol, kind="bust", side=side, ref_trade_id=name, id=f"bust of {name}", **more)


def correct(
    old: str, new: str, symbol: str, side: str, quantity: str, price: str, **more: Any
) -> Plain:
    told = {"ref_trade_id": old, "trade_id": new, "id": new, "quantity": quantity, "price": price}
    return at(symbol, kind="correct", side=side, **told, **more)


def cash(type_: str, name: str, amount: str, currency: str, **more: Any) -> Plain:
    told = {"venue": "v", "account": "main", "type": type_, "id": name, "currency": currency}
    return {"kind": "cash", **told, "amount": amount, **more}


def transfer(name: str, amount: str, currency: str, account: str, to_account: str) -> Plain:
    told = {"venue": "v", "account": account, "to_account": to_account, "id": name}
    return {"kind": "transfer", **told, "currency": currency, "amount": amount}


def split(name: str, numerator: int, denominator: int, **more: Any) -> Plain:
    return at("SHARE", kind="split", id=name, numerator=numerator, denominator=denominator, **more)


def settled(name: str, symbol: str, price: str, **more: Any) -> Plain:
    return at(symbol, kind="settlement", id=name, price=price, **more)


IN_COINS: Plain = {"fee_currency": "BTC"}
UNKNOWN: Plain = {"fee": None, "fee_currency": None}
LONG, SHORT, OTHER = {"position_side": "long"}, {"position_side": "short"}, {"account": "sub"}

CASES: dict[str, list[Plain]] = {
    "inverse: two entries, a partial close, past zero, and the rest": [
        fill("1", "XBT", "buy", "10", "10000", fee="0.0001", fee_currency="BTC"),
        fill("2", "XBT", "buy", "10", "15000", fee="-0.00002", fee_currency="BTC"),
        fill("3", "XBT", "sell", "5", "12000"),
        fill("4", "XBT", "sell", "40", "11000.5", fee="1.5", fee_currency="USD"),
        correct("3", "3b", "XBT", "sell", "7", "12500"),
        fill("5", "XBT", "buy", "23", "9000"),
    ],
    "hedge mode: both sides of one symbol, and a trade with oneself from one to the other": [
        fill("1", "OIL", "buy", "3", "70.1", **LONG),
        fill("2", "OIL", "sell", "2", "71", **SHORT),
        fill("3", "OIL", "sell", "1", "72", **LONG),
        fill("3", "OIL", "buy", "1", "72", **SHORT),
        bust("3", "OIL", "buy"),
        fill("4", "OIL", "sell", "2", "69", **LONG),
        fill("5", "OIL", "buy", "2", "75.5", **SHORT),
    ],
    "a fee in coins that takes the position past zero, and a rebate in coins": [
        fill("1", "BTC-EUR", "buy", "1", "100", fee="0.001", **IN_COINS),
        fill("2", "BTC-EUR", "sell", "1.5", "120", fee="0.0015", **IN_COINS),
        fill("3", "BTC-EUR", "buy", "2", "90", fee="-0.002", **IN_COINS),
        fill("4", "BTC-EUR", "sell", "0.5", "95", fee="-0.0005", **IN_COINS),
    ],
    "a fee in coins that is told later": [
        fill("1", "BTC-EUR", "buy", "1", "100", **UNKNOWN),
        fill("2", "BTC-EUR", "buy", "3", "101", **UNKNOWN),
        fee("1", "BTC-EUR", "buy", "0.001", "BTC"),
        fee("2", "BTC-EUR", "buy", "0.3", "EUR"),
        fill("3", "BTC-EUR", "sell", "3.999", "110", fee_currency="EUR", fee="1"),
    ],
    "busts: in the middle, of the first, of a correction, and of what was never told": [
        fill("1", "SHARE", "buy", "10", "100", fee="1"),
        fill("2", "SHARE", "buy", "20", "110", fee="1"),
        fill("3", "SHARE", "sell", "7", "120", fee="1"),
        bust("2", "SHARE", "buy"),
        correct("1", "1b", "SHARE", "buy", "11", "99"),
        bust("1b", "SHARE", "buy"),
        bust("unknown", "SHARE", "sell"),
        fill("4", "SHARE", "buy", "7", "121.01", **UNKNOWN),
    ],
    "a bust of a fill from before a split, and a correction of one": [
        fill("1", "SHARE", "buy", "3", "100"),
        fill("2", "SHARE", "buy", "4", "110"),
        fill("3", "SHARE", "buy", "5", "120"),
        split("s1", 2, 1),
        split("s1", 2, 1),
        bust("2", "SHARE", "buy"),
        correct("3", "3b", "SHARE", "buy", "6", "119"),
        fill("4", "SHARE", "sell", "18", "60"),
    ],
    "a reverse split of a short position": [
        fill("1", "SHARE", "sell", "10", "30", fee="0.1"),
        split("s1", 1, 4),
        fill("2", "SHARE", "buy", "2.4", "130.03", fee="0.1"),
    ],
    "corrections of price, quantity and fee, of each other, and without a fee": [
        fill("1", "OIL", "sell", "2", "-37.63", fee="2.5"),
        correct("1", "1b", "OIL", "sell", "2", "-36"),
        correct("1b", "1c", "OIL", "sell", "3", "-36", fee="0", fee_currency="USD"),
        correct("1c", "1d", "OIL", "sell", "1", "10", fee="1", fee_currency="EUR"),
        fee("1d", "OIL", "sell", "1", "EUR"),
        fill("2", "OIL", "buy", "1", "9.99"),
    ],
    "cash of every type, in any currency, one id for two types": [
        cash("deposit", "7", "1000.1", "EUR"),
        cash("withdrawal", "7", "-0.1", "EUR"),
        cash("funding", "7", "-0.000000000000000001", "BNB", symbol="OIL"),
        cash("funding", "8", "0.25", "USD", symbol="OIL"),
        cash("tax", "7", "-3", "USD", symbol="SHARE"),
        cash("dividend", "7", "20", "USD", symbol="SHARE"),
        cash("fee", "7", "-1", "USD"),
        cash("rebate", "7", "0.5", "USD", symbol="SHARE"),
        cash("deposit", "7", "1000.1", "EUR", **OTHER),
    ],
    "transfers between accounts, and back": [
        cash("deposit", "1", "5", "BTC"),
        transfer("1", "3", "BTC", "main", "sub"),
        transfer("2", "3", "BTC", "sub", "main"),
        transfer("1", "4", "EUR", "sub", "main"),
        transfer("3", "-0.5", "BTC", "main", "sub"),
    ],
    "eighteen decimals, and a rest of one of them": [
        fill("1", "BTC-EUR", "buy", "0.333333333333333333", "27000.01", fee="1e-18", **IN_COINS),
        fill("2", "BTC-EUR", "buy", "1000000.000000000000000001", "27000.02", fee_currency="EUR"),
        fill("3", "BTC-EUR", "sell", "1000000.333333333333333332", "27100", fee_currency="EUR"),
        fill("4", "BTC-EUR", "sell", "0.000000000000000001", "1", fee_currency="EUR"),
    ],
    "one symbol in two accounts, settled each day and at last": [
        fill("1", "OIL", "buy", "2", "70"),
        fill("1", "OIL", "buy", "5", "71", **OTHER),
        settled("d1", "OIL", "72"),
        fill("2", "OIL", "sell", "1", "73"),
        settled("d1", "OIL", "72", **OTHER),
        bust("1", "OIL", "buy", **OTHER),
        settled("last", "OIL", "74.5", final=True),
    ],
}  # fmt: skip


class Told:
    """A state, and a ledger that is told the same."""

    def __init__(self, registry: HandlerRegistry[EngineState]) -> None:
        self.registry = registry
        self.ledger = Ledger(INSTRUMENTS)
        self.state = registry.initial()
        self.numbers: Iterator[int] = count(1)
        for instrument in INSTRUMENTS:
            self.fold(define(instrument))

    def fold(self, operation: Any) -> None:
        number = next(self.numbers)
        (event,), _ = self.registry.record(number, number, [operation], None, None)
        self.state = self.registry.apply(self.state, event)

    def tell(self, message: Message) -> str:
        operation = operation_for(message)
        told, outcome = self.ledger.tell(message), outcome_of(self.state, operation)
        assert told.agrees_with(outcome), f"{message}: {told.outcome}, and not {outcome}"
        if outcome == "conflict":
            with pytest.raises(ConflictError):
                self.fold(operation)
        else:
            self.fold(operation)
        got = books_of(self.state)
        assert differences(self.ledger.books, got, self.ledger.allowed) == [], message
        return outcome


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
class TestInvented:
    def test_told_in_turn_and_told_again(
        self, registry: HandlerRegistry[EngineState], case: list[Plain]
    ) -> None:
        told = Told(registry)
        messages = list(map(read_message, case))
        for message in messages:
            told.tell(message)
        for message in messages:
            assert told.tell(message) == "duplicate"

    def test_told_in_any_order(
        self, registry: HandlerRegistry[EngineState], case: list[Plain]
    ) -> None:
        for seed in range(ORDERS):
            told, messages = Told(registry), list(map(read_message, case)) * 2
            random.Random(seed).shuffle(messages)
            for message in messages:
                told.tell(message)


def test_the_life_of_an_order_in_any_order(registry: HandlerRegistry[EngineState]) -> None:
    """The states of an order move nothing, and the fills count, whichever came first."""
    order: dict[str, Any] = {
        "venue": "v",
        "account": "main",
        "order_id": "o",
        "symbol": "SHARE",
        "side": "buy",
    }
    states = [
        Order(**order, quantity=Decimal(10), status="open", time="2026-06-01T10:00:01Z"),
        Order(**order, quantity=Decimal(8), status="open", time="2026-06-01T10:00:02Z"),
    ]
    fills = [
        read_message(fill(str(name), "SHARE", "buy", "2", "5", order_id="o")) for name in range(3)
    ]
    busted = read_message(bust("1", "SHARE", "buy"))
    for seed in range(20):
        messages: list[Message] = [*states, *fills, busted]
        random.Random(seed).shuffle(messages)
        told = Told(registry)
        for message in messages:
            told.fold(operation_for(message))
        (known,) = told.state.orders.values()
        assert (known.shares, known.filled) == (Decimal(8), Decimal(4))
        assert all(identity(state) is None for state in states)
