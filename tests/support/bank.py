"""A bank: the smallest domain with order, refusal and atomicity."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from immutables import Map
from msgspec import Meta

from eventstore import Event, HandlerRegistry, Operation, handler


class Bank(msgspec.Struct, frozen=True):
    """`balances` by account, and the number of the last event with a change of any balance."""

    balances: Map[str, int] = Map()
    last: int = 0


class Deposit(Operation):
    account: str
    amount: Annotated[int, Meta(gt=0)]


class Withdraw(Operation):
    account: str
    amount: Annotated[int, Meta(gt=0)]


class InsufficientFundsError(Exception):
    """A withdrawal exceeds the balance."""


@handler
def deposit(state: Bank, event: Event[Deposit]) -> Bank:
    data = event.data
    balance = state.balances.get(data.account, 0) + data.amount
    return Bank(state.balances.set(data.account, balance), event.seq)


@handler
def withdraw(state: Bank, event: Event[Withdraw]) -> Bank:
    data = event.data
    balance = state.balances.get(data.account, 0) - data.amount
    if balance < 0:
        raise InsufficientFundsError(data.account, balance)
    return Bank(state.balances.set(data.account, balance), event.seq)


def bank_registry() -> HandlerRegistry[Bank]:
    return HandlerRegistry(deposit, withdraw)


def pay(amount: int = 1, account: str = "a") -> Deposit:
    """Return a deposit. The amount tells the n-th deposit of a store from the others."""
    return Deposit(account=account, amount=amount)


def bank_after(*amounts: int, account: str = "a") -> Bank:
    """Return the bank after deposits of these amounts, and nothing else."""
    if not amounts:
        return Bank()
    return Bank(Map({account: sum(amounts)}), len(amounts))


def seqs(events: list[Event[Any]]) -> list[int]:
    return [event.seq for event in events]
