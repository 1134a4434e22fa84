"""A till and its handlers, one in versions that `verify` has to suspect."""

from __future__ import annotations

import time

import msgspec
from immutables import Map

from eventstore import Event, Operation, handler


class Account(msgspec.Struct, frozen=True):
    cash: float = 0.0
    fees: float = 0.0
    by_name: Map[str, float] = Map()


class Pay(Operation):
    name: str
    amount: float


class Sell(Operation):
    name: str
    amount: float


@handler
def pay(state: Account, event: Event[Pay]) -> Account:
    return msgspec.structs.replace(state, cash=state.cash + event.data.amount)


@handler
def sell(state: Account, event: Event[Sell]) -> Account:
    name, amount = event.data.name, event.data.amount
    total = state.by_name.get(name, 0.0) + amount
    return Account(state.cash + amount, state.fees, state.by_name.set(name, total))


@handler
def sell_with_fee(state: Account, event: Event[Sell]) -> Account:
    """The handler above, changed (from the fifth on) and given no new version."""
    sold = sell(state, event)
    if event.data.amount < 5.0:
        return sold
    return Account(sold.cash - 0.25, sold.fees + 0.25, sold.by_name)


@handler
def forgetful_sell(state: Account, event: Event[Sell]) -> Account:
    """Leave out the change that `sell` made to the map."""
    return msgspec.structs.replace(state, cash=state.cash + event.data.amount)


@handler
def sell_by_the_clock(state: Account, event: Event[Sell]) -> Account:
    sold = sell(state, event)
    if event.data.name != "timed":
        return sold
    return msgspec.structs.replace(sold, fees=float(time.perf_counter_ns()))


@handler(version=2)
def sell_anew(state: Account, event: Event[Sell]) -> Account:
    return sell_with_fee(state, event)
