"""A stream and a re-poll, fed twice and in any order: one state.

The recorded messages of each venue go through adapters into a store. At the end stand the books of
the recording, and no order of telling changes anything but the split between cost and profit.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from eventstore import EventStore
from handlers import EngineState, VenueMessageError, trading_registry
from tests.handlers.books import Books, Figure, differences, finite, read_books
from tests.handlers.message_operations import books_of
from tests.handlers.venues.cases import Adapter, Case, Message, load_cases

pytestmark = pytest.mark.asyncio

CASES = load_cases()
ORDERS = 6
"""Shuffled orders of each recording."""


def books_at_the_end(case: Case) -> Books:
    plain = dict(case.end)
    plain["positions"] = [tuple(position.values()) for position in plain["positions"]]
    return read_books(plain)


def rounded(figure: Figure, expected: Fraction) -> Fraction:
    """Allow a rounding where no decimal of 34 digits holds the number."""
    return Fraction(0) if finite(expected) else abs(expected) / 10**30


def but_for_cost(figure: Figure, expected: Fraction) -> Fraction | None:
    """Compare no cost, no average price and no realised profit.

    A fee in coins is told apart at some venues. Such a fee leaves at average cost, and so the order
    of fee and fill counts.
    """
    if figure[0] == "realised" or figure[-1] in ("cost", "average_price"):
        return None
    return rounded(figure, expected)


async def books_after(case: Case, messages: Iterable[tuple[Adapter, Message]]) -> EngineState:
    """Return the state of a store after messages, each appended as one group."""
    async with EventStore.in_memory(trading_registry()) as store:
        await store.append(*case.definitions)
        for adapter, message in messages:
            try:
                operations = adapter.operations(message.raw)
            except VenueMessageError:
                assert message.means is None, message.name
                continue
            if operations:
                await store.append(*operations)
        return store.state


def money_moved(state: EngineState) -> dict[str, Any]:
    """Everything but the memory, where the order of telling is remembered, and times."""
    plain = state.to_dict()
    plain.pop("memory")
    for position in plain["positions"].values():
        position.pop("updated")
    return plain


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.venue)
class TestRecording:
    async def test_the_books_at_the_end(self, case: Case) -> None:
        adapter = case.adapter()
        state = await books_after(case, [(adapter, message) for message in case.messages])
        assert differences(books_at_the_end(case), books_of(state), rounded) == []

    async def test_told_twice_by_one_adapter(self, case: Case) -> None:
        adapter = case.adapter()
        once = [(adapter, message) for message in case.messages]
        state = await books_after(case, [*once, *once])
        assert differences(books_at_the_end(case), books_of(state), rounded) == []

    async def test_told_again_after_a_restart_of_the_program(self, case: Case) -> None:
        first, second = case.adapter(), case.adapter()
        messages = [(adapter, one) for adapter in (first, second) for one in case.messages]
        state = await books_after(case, messages)
        assert differences(books_at_the_end(case), books_of(state), rounded) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(ORDERS))
    async def test_told_in_any_order(self, case: Case, seed: int) -> None:
        adapter = case.adapter()
        messages = [(adapter, message) for message in case.messages] * 2
        random.Random(seed).shuffle(messages)
        books = books_of(await books_after(case, messages))
        expected = books_at_the_end(case)
        allowed = rounded if case.any_order == "same" else but_for_cost
        assert differences(expected, books, allowed) == []


async def test_the_second_telling_changes_no_figure_at_all() -> None:
    for case in CASES:
        adapter = case.adapter()
        once = [(adapter, message) for message in case.messages]
        before = await books_after(case, once)
        after = await books_after(case, [*once, *once])
        assert money_moved(after) == money_moved(before), case.venue
        assert all(isinstance(amount, Decimal) for amount in after.balances.values())
