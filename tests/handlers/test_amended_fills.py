"""Fills that are amended late, early, twice and in part: short tapes, told to ledger and handlers.

Each tape is the shortest of its kind, and has a reason. `CHANGES` names the outcome of the last
message; the books are those of the ledger of fractions after every message.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import permutations
from typing import Any

import pytest

from eventstore import HandlerRegistry
from handlers import ConflictError, EngineState, outcome_of, trading_registry
from tests.handlers.books import differences
from tests.handlers.fraction_ledger import Ledger
from tests.handlers.message_operations import books_of, define, operation_for
from tests.handlers.messages import (
    Bust,
    Cash,
    Correct,
    Fill,
    FillFee,
    Instrument,
    Mark,
    Message,
    Split,
)

PAIR = Instrument(symbol="BTC/USD", kind="spot", base="BTC", quote="USD", settle="USD")


def fill(trade_id: str, quantity: int = 1, fee: int | None = 0, **changes: Any) -> Fill:
    told = Fill(
        venue="x",
        account="main",
        symbol="BTC/USD",
        trade_id=trade_id,
        side="buy",
        quantity=Decimal(quantity),
        price=Decimal(10),
    )
    return replace(told, **paid(fee), **changes)


def paid(fee: int | None) -> dict[str, Any]:
    if fee is None:
        return {"fee": None, "fee_currency": None}
    return {"fee": Decimal(fee), "fee_currency": "USD"}


def about(trade_id: str, name: str) -> dict[str, Any]:
    return {
        "venue": "x",
        "account": "main",
        "symbol": "BTC/USD",
        "side": "buy",
        "ref_trade_id": trade_id,
        "id": name,
    }


def fee_of(trade_id: str, fee: int) -> FillFee:
    return FillFee(**about(trade_id, f"fee of {trade_id}"), **paid(fee))


def bust(trade_id: str) -> Bust:
    return Bust(**about(trade_id, f"bust of {trade_id}"))


def correct(trade_id: str, becomes: str, quantity: int = 1, fee: int | None = 0) -> Correct:
    return Correct(
        **about(trade_id, becomes),
        trade_id=becomes,
        quantity=Decimal(quantity),
        price=Decimal(10),
        **paid(fee),
    )


def in_kind(amount: str) -> Cash:
    kind: Any = "fee" if amount.startswith("-") else "rebate"
    return Cash(
        venue="x",
        account="main",
        type=kind,
        id="1",
        currency="BTC",
        amount=Decimal(amount),
        symbol="BTC/USD",
    )


TAPES: dict[str, tuple[str, tuple[Message, ...]]] = {
    "a correction of a correction comes first": (
        "booked",
        (fill("1"), correct("2", "3", 3), correct("1", "2", 2)),
    ),
    "a correction of a correction comes first, and nothing but the id is new": (
        "booked",
        (fill("1"), correct("2", "3"), correct("1", "2")),
    ),
    "everything comes before the fill": (
        "booked",
        (bust("3"), correct("2", "3", 3), correct("1", "2", 2), fill("1")),
    ),
    "a poll tells the version between the first and the last": (
        "duplicate",
        (fill("1"), correct("1", "2", 2), correct("2", "3", 3), fill("2", 2)),
    ),
    "a poll tells the version in between, and the fees differ": (
        "duplicate",
        (fill("1"), correct("1", "2", fee=1), correct("2", "3", fee=2), fill("2", fee=1)),
    ),
    "a poll tells the version in between otherwise": (
        "conflict",
        (fill("1"), correct("1", "2", 2), correct("2", "3", 3), fill("2", 4)),
    ),
    "a replaced fill is told otherwise": (
        "conflict",
        (fill("1"), correct("1", "2", 2), fill("1", 4)),
    ),
    "the fee of a replaced fill is told twice and differs": (
        "conflict",
        (fill("1", fee=None), correct("1", "2", fee=None), fill("1", fee=1), fill("1", fee=2)),
    ),
    "the fee of a replaced fill comes after a correction that had a fee": (
        "booked",
        (fill("1", fee=None), correct("1", "2", fee=1), fee_of("1", 5)),
    ),
    "the fee of a replaced fill comes after a correction that had none": (
        "booked",
        (fill("1", fee=None), correct("1", "2", fee=None), fee_of("1", 5)),
    ),
    "a correction with a fee, then the fee of the replaced fill, then that fill": (
        "booked",
        (correct("1", "2", fee=1), fee_of("1", 5), fill("1", fee=None)),
    ),
    "the fee of the replaced fill, then a correction with a fee, then that fill": (
        "booked",
        (fee_of("1", 5), correct("1", "2", fee=1), fill("1", fee=None)),
    ),
    "the correction of a fill that was told as it is now": (
        "booked",
        (fill("2", 2), fill("1"), correct("1", "2", 2)),
    ),
    "the correction of a fill that was told as it is now, before the fill that it replaces": (
        "booked",
        (correct("1", "2", 2), fill("2", 2), fill("1")),
    ),
    "a bust of the replaced fill, and the correction of a fill that was told as it is now": (
        "booked",
        (bust("1"), fill("2", 2), fill("1"), correct("1", "2", 2)),
    ),
    "a fill told as it is after its first correction, and corrected again, then the first one": (
        "booked",
        (
            fill("1", fee=None),
            fill("2", 2, fee=1),
            correct("2", "3", 3, fee=None),
            correct("1", "2", 2, fee=None),
        ),
    ),
    "a fill told as it is now without its fee, which the replaced fill had": (
        "booked",
        (fill("2", 2, fee=None), fill("1", fee=1), correct("1", "2", 2, fee=None)),
    ),
    "a correction that contradicts the fill under its new id": (
        "conflict",
        (fill("2", 5), fill("1"), correct("1", "2", 2)),
    ),
    "a busted correction is told again as a fill": (
        "duplicate",
        (fill("1"), correct("1", "2", 2), bust("2"), fill("2", 2)),
    ),
    "a fee in coins at an average cost without a finite decimal, from a long position": (
        "booked",
        (fill("1", 2), fill("2", 4, price=Decimal(3)), in_kind("-0.006")),
    ),
    "a fee in coins at an average cost without a finite decimal, from a short position": (
        "booked",
        (
            fill("1", 2, side="sell", price=Decimal(2)),
            fill("2", 4, side="sell", price=Decimal(3)),
            in_kind("-0.006"),
        ),
    ),
    "a rebate in coins at an average cost without a finite decimal, to a short position": (
        "booked",
        (
            fill("1", 2, side="sell", price=Decimal(2)),
            fill("2", 4, side="sell", price=Decimal(3)),
            in_kind("0.006"),
        ),
    ),
    "a rebate in coins at an average cost without a finite decimal, to a long position": (
        "booked",
        (fill("1", 2), fill("2", 4, price=Decimal(3)), in_kind("0.006")),
    ),
}


@cache
def trading_operations() -> HandlerRegistry[EngineState]:
    return trading_registry()


class Told:
    """A state, and one event after another."""

    def __init__(self) -> None:
        self.registry = trading_operations()
        self.state = self.registry.initial()
        self.seq = 0
        self.fold(define(PAIR))

    def fold(self, operation: Any) -> None:
        self.seq += 1
        (event,), _ = self.registry.record(self.seq, self.seq, [operation], None, None)
        self.state = self.registry.apply(self.state, event)

    def tell(self, message: Message) -> str:
        operation = operation_for(message)
        outcome = outcome_of(self.state, operation)
        if outcome == "conflict":
            with pytest.raises(ConflictError):
                self.fold(operation)
        else:
            self.fold(operation)
        return outcome


@pytest.mark.parametrize("name", TAPES)
def test_a_tape(name: str) -> None:
    outcome, messages = TAPES[name]
    ledger, told = Ledger([PAIR]), Told()
    for message in messages:
        expected = ledger.tell(message)
        got = told.tell(message)
        assert expected.agrees_with(got), f"{message}: expected {expected.outcome}, got {got}"
        assert differences(ledger.books, books_of(told.state), ledger.allowed) == []
    assert expected.outcome == outcome


def test_a_fill_and_its_versions_in_any_order() -> None:
    """A poll tells a version by itself, before or after the correction and the bust."""
    messages = (fill("1"), correct("1", "2", 2), fill("2", 2), correct("2", "3", 3))
    for busts in ((), (bust("1"),), (bust("2"),)):
        for order in permutations((*messages, *busts)):
            ledger, told = Ledger([PAIR]), Told()
            for message in order:
                expected = ledger.tell(message)
                assert expected.agrees_with(told.tell(message)), order
            assert differences(ledger.books, books_of(told.state), ledger.allowed) == [], order
            assert all(told.tell(message) == "duplicate" for message in order), order


def test_a_copy_on_the_other_side_of_the_position_is_a_conflict() -> None:
    told = Told()
    for message in (fill("1", position_side="long"), fill("2", position_side="short")):
        told.tell(message)
    with pytest.raises(ConflictError, match="position side short and long"):
        told.fold(operation_for(correct("1", "2")))


def test_a_split_told_for_two_accounts_moves_the_last_price_as_for_one() -> None:
    """A split is one event of the symbol, and each account hears of it by a message of its own."""

    def unrealised(*accounts: str) -> object:
        told = Told()
        for name in accounts:
            told.tell(fill(name, 4 // len(accounts), symbol="MSFT", account=name))
        told.tell(Mark(venue="x", account="main", symbol="MSFT", price=Decimal(12)))
        for name in accounts:
            told.tell(
                Split(venue="x", account=name, symbol="MSFT", id="s", numerator=2, denominator=1)
            )
        return books_of(told.state).unrealised

    assert unrealised("main", "sub") == unrealised("main")
