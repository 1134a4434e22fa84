"""The `repr` of every public object of the model is one short line that says the facts."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import Event, HandlerRegistry, Operation, Receipt, handler, upcaster
from eventstore.testing import check_handler
from tests.support.bank import Bank, Deposit, bank_registry, deposit


class Moved(Operation, tag="moved", version=2):
    cents: int
    note: str = ""


class Old(Operation, tag="moved"):
    cents: int


@handler(version=3)
def moved(state: Bank, event: Event[Moved]) -> Bank:
    return state


@upcaster
def renew(old: Old) -> Moved:
    return Moved(cents=old.cents)


def failed(receipt: Receipt) -> Receipt:
    receipt.resolve(OSError("no"))
    return receipt


def kept(receipt: Receipt) -> Receipt:
    receipt.resolve()
    return receipt


MODULE = __name__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (deposit, "<handler tests.support.bank.deposit>"),
        (moved, f"<handler {MODULE}.moved version 3>"),
        (renew, f"<upcaster {MODULE}.renew>"),
        (bank_registry(), "<HandlerRegistry of Bank: deposit, withdraw>"),
        (HandlerRegistry[Bank](moved, renew), "<HandlerRegistry of Bank: moved>"),
        (
            HandlerRegistry[Any](state_type=dict[str, int]),
            "<HandlerRegistry of dict[str, int]: no operations>",
        ),
        (Moved(cents=1), "Moved(cents=1)"),
        (
            Event(7, 9, Deposit(account="a", amount=1)),
            "Event(seq=7, time=9, data=Deposit(account='a', amount=1))",
        ),
        (
            Event(7, 9, Moved(cents=1), "k", {"source": "x"}),
            "Event(seq=7, time=9, data=Moved(cents=1), key='k', metadata={'source': 'x'})",
        ),
        (Receipt(5, 5, 0), "<Receipt seq=5 pending>"),
        (kept(Receipt(3, 5, 0)), "<Receipt seq=3..5 acknowledged>"),
        (failed(Receipt(5, 5, 0)), "<Receipt seq=5 failed: OSError>"),
        (
            check_handler(deposit, examples=1, hash_seeds=()),
            "HandlerReport(folded={'deposit': 1}, refused={}, hash_seeds=())",
        ),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_value_says_what_it_is(value: Any, expected: str) -> None:
    assert repr(value) == expected


def test_a_registry_of_many_operations_counts_them() -> None:
    def handle(name: str) -> Any:
        made: Any = type(name, (Operation,), {"__annotations__": {}, "__module__": MODULE})

        def one(state: Bank, event: Any) -> Bank:
            return state

        one.__annotations__ = {"state": Bank, "event": Event[made], "return": Bank}
        return handler(one)

    registry = HandlerRegistry[Bank](*[handle(f"Step{number}") for number in range(5)])
    assert repr(registry) == "<HandlerRegistry of Bank: 5 operations>"
