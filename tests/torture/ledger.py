"""A small state to test stores with: accounts, and a checksum chained over all events.

Every event carries a number of its own. `chain` depends on all numbers and on their order. So a
state with a missing, doubled or misplaced event never equals the right state. `mean` is a quotient
of as many digits as the decimal context has. So a state folded in a caller's context does not
either.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from immutables import Map

from eventstore import Event, HandlerRegistry, IntentSettled, Operation, handler

__all__ = [
    "Deposit",
    "Fill",
    "Ledger",
    "Order",
    "Transfer",
    "ledger_after",
    "ledger_registry",
    "number_of",
]

_MODULUS = (1 << 61) - 1
_FOLD = decimal.Context(prec=34, rounding=decimal.ROUND_HALF_EVEN)
"""The context that every fold is promised, whoever asks for the fold."""


class Deposit(Operation):
    """Put an amount on an account. The handler refuses a negative amount."""

    number: int
    account: str
    amount: int
    memo: str = ""


class Transfer(Operation):
    """Move an amount between accounts."""

    number: int
    source: str
    target: str
    amount: int


class Order(Operation, intent="name"):
    """Intend to put an amount on an account of that name."""

    number: int
    name: str = ""
    amount: int


class Fill(Operation, settles="name"):
    """Say that an order was filled."""

    number: int
    name: str
    amount: int


class Ledger(msgspec.Struct, frozen=True):
    """The count of events, the chain over all, each account's balance, and the mean amount."""

    count: int = 0
    chain: int = 0
    balances: Map[str, int] = Map()
    mean: Decimal = Decimal(0)


def number_of(payload: Any) -> int:
    """Return the number that the program gave an event. A settlement has its own as the note."""
    return int(payload.note or 0) if isinstance(payload, IntentSettled) else int(payload.number)


def ledger_after(state: Ledger, payload: Any) -> Ledger:
    """Return the state after one more event, in whatever decimal context the caller is."""
    with decimal.localcontext(_FOLD):
        return _folded(state, payload)


def _folded(state: Ledger, payload: Any) -> Ledger:
    balances = state.balances
    moves: tuple[tuple[str, int], ...]
    if isinstance(payload, Deposit):
        moves = ((payload.account, payload.amount),)
    elif isinstance(payload, Transfer):
        moves = ((payload.source, -payload.amount), (payload.target, payload.amount))
    elif isinstance(payload, IntentSettled):
        intended = payload.intended
        moves = (("settled", intended.amount if isinstance(intended, Order) else -1),)
    else:
        moves = (("orders", payload.amount),)
    for account, amount in moves:
        balances = balances.set(account, balances.get(account, 0) + amount)
    count = state.count + 1
    chain = (state.chain * 1_000_003 + number_of(payload)) % _MODULUS
    return Ledger(count, chain, balances, state.mean + (moves[-1][1] - state.mean) / count)


def ledger_registry(
    observe: Callable[[Event[Any]], None] | None = None,
) -> HandlerRegistry[Ledger]:
    """Return the handlers of all operations. `observe` gets every event at the fold.

    >>> registry = ledger_registry()
    >>> registry.apply(registry.initial(), Event(1, 0, Deposit(number=1, account="a", amount=5)))
    Ledger(count=1, chain=1, balances=immutables.Map({'a': 5}), mean=Decimal('5'))
    """

    @handler
    def deposit(state: Ledger, event: Event[Deposit]) -> Ledger:
        if event.data.amount < 0:
            raise ValueError("a deposit is not negative")
        if observe is not None:
            observe(event)
        return _folded(state, event.data)

    @handler
    def transfer(state: Ledger, event: Event[Transfer]) -> Ledger:
        if observe is not None:
            observe(event)
        return _folded(state, event.data)

    @handler
    def order(state: Ledger, event: Event[Order]) -> Ledger:
        if observe is not None:
            observe(event)
        return _folded(state, event.data)

    @handler
    def fill(state: Ledger, event: Event[Fill]) -> Ledger:
        if observe is not None:
            observe(event)
        return _folded(state, event.data)

    @handler
    def intent_settled(state: Ledger, event: Event[IntentSettled]) -> Ledger:
        if observe is not None:
            observe(event)
        return _folded(state, event.data)

    return HandlerRegistry(deposit, transfer, order, fill, intent_settled)
