"""More messages of each venue: the forms that the first recordings do not have.

Other types of orders, rebates, fees in other coins, absent fields, numbers as texts, liquidations,
settlements, funding, transfers, states of orders, answers to subscriptions, and messages that have
to be refused. The forms are those of the venues' public pages, and the values are invented.

The books are held against the ledger of fractions, which reads the meanings and no operations.
"""

from __future__ import annotations

import dataclasses
import random
from fractions import Fraction
from typing import Any

import pytest

from eventstore import Event, Operation
from handlers import EngineState, outcome_of, trading_registry
from handlers.errors import VenueMessageError
from tests.handlers.books import Figure, differences
from tests.handlers.fraction_ledger import Ledger
from tests.handlers.message_operations import books_of
from tests.handlers.messages import Fill, Instrument, Message, read_message
from tests.handlers.venues.cases import FURTHER, Adapter, Case, comparable, load_cases, meant

CASES = load_cases(FURTHER)
JOINED = "interactive-brokers"
"""Its adapter remembers, so one adapter reads all messages in turn."""

each_venue = pytest.mark.parametrize("case", CASES, ids=lambda case: case.venue)


def operations(adapter: Adapter, raw: Any, means: Any) -> list[Operation]:
    """Return what a message gives, and check that a refusal keeps the message."""
    if means is not None:
        return adapter.operations(raw)
    with pytest.raises(VenueMessageError) as refused:
        adapter.operations(raw)
    assert refused.value.message is raw
    return []


@each_venue
def test_each_message_means_what_its_file_says(case: Case) -> None:
    adapter = case.adapter()
    for message in case.messages:
        given = operations(adapter, message.raw, message.means)
        expected = [comparable(meant(one)) for one in message.means or ()]
        assert list(map(comparable, given)) == expected, message.name
        if case.venue != JOINED:
            adapter = case.adapter()


@each_venue
def test_there_are_enough_of_them(case: Case) -> None:
    assert sum(message.means is None for message in case.messages) >= 3
    assert sum(message.means is not None for message in case.messages) >= 8


class Books:
    """A state, and the ledger of fractions that is told the same."""

    def __init__(self, case: Case) -> None:
        self.registry = trading_registry()
        self.ledger = Ledger(map(instrument, case.definitions))
        self.state: EngineState = self.registry.initial()
        self.seq = 0
        for definition in case.definitions:
            self.fold(definition)

    def fold(self, operation: Operation) -> None:
        self.seq += 1
        event: Event[Any]
        (event,), _ = self.registry.record(self.seq, self.seq, [operation], None, None)
        self.state = self.registry.apply(self.state, event)

    def tell(self, means: list[dict[str, Any]], given: list[Operation]) -> None:
        for one, operation in zip(means, given, strict=True):
            told = self.ledger.tell(self.message(one))
            outcome = outcome_of(self.state, operation)
            assert told.agrees_with(outcome), f"{operation!r}: {told.outcome}, and not {outcome}"
            self.fold(operation)

    def check(self) -> None:
        got = books_of(self.state)
        assert differences(self.ledger.books, got, self.ledger.allowed) == []

    def message(self, means: dict[str, Any]) -> Message:
        """Read a meaning. A fee without a currency is in that of the settlement."""
        message = read_message(means)
        if isinstance(message, Fill) and message.fee is not None and message.fee_currency is None:
            settle = self.ledger.instrument(message.symbol).settle
            message = dataclasses.replace(message, fee_currency=settle)
        return message


def instrument(definition: Any) -> Instrument:
    return Instrument(
        symbol=definition.symbol,
        kind=definition.kind,
        base=definition.base,
        quote=definition.quote,
        settle=definition.settlement,
        multiplier=definition.multiplier,
    )


@each_venue
def test_the_books_agree_with_the_ledger_when_all_is_told_twice(case: Case) -> None:
    books = Books(case)
    for _ in range(2):
        adapter = case.adapter()
        for message in case.messages:
            books.tell(message.means or [], operations(adapter, message.raw, message.means))
            books.check()


@each_venue
@pytest.mark.parametrize("seed", range(2))
def test_the_books_do_not_depend_on_the_order_of_the_messages(case: Case, seed: int) -> None:
    expected = Books(case)
    adapter = case.adapter()
    for message in case.messages:
        expected.tell(message.means or [], operations(adapter, message.raw, message.means))
    told = Books(case)
    adapter = case.adapter()
    messages = case.messages * 2
    random.Random(seed).shuffle(messages)
    for message in messages:
        for operation in operations(adapter, message.raw, message.means):
            told.fold(operation)

    def but_for_the_split(figure: Figure, amount: Fraction) -> Fraction | None:
        if figure[0] == "realised" or figure[-1] in ("cost", "average_price"):
            return None
        return expected.ledger.allowed(figure, amount)

    assert differences(expected.ledger.books, books_of(told.state), but_for_the_split) == []
