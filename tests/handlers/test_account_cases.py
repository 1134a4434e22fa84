"""Every account case through a store: all numbers, and the outcome of every message.

A finite decimal is meant exactly. A number without a finite decimal may differ by 1e-30 of it. A
flat position leaves no such number. Each case runs in a store in memory, and in a store on disk
that is closed and opened again in the middle, from a snapshot and from the log alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import localcontext
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

from eventstore import EventStore, HandlerRegistry
from handlers import ConflictError, EngineState, outcome_of, trading_registry
from tests.handlers.account_case_files import AccountCase, Step, account_cases
from tests.handlers.books import Figure, differences, finite, without_split
from tests.handlers.message_operations import (
    as_decimal,
    as_float,
    as_int_or_float,
    books_of,
    define,
    operation_for,
)
from tests.handlers.messages import identity

pytestmark = pytest.mark.asyncio

CASES = [pytest.param(case, id=case.name) for case in account_cases()]


def rounded(figure: Figure, expected: Fraction) -> Fraction:
    return Fraction(0) if finite(expected) else abs(expected) / 10**30


def check(case: AccountCase, step: Step, state: EngineState) -> None:
    expected, got = step.books, books_of(state)
    if step.any_split:
        inverse = frozenset(known.symbol for known in case.instruments if known.kind == "inverse")
        expected, got = without_split(expected, inverse), without_split(got, inverse)
    assert differences(expected, got, rounded) == [], step.note


async def tell(store: EventStore[EngineState], case: AccountCase, step: Step) -> None:
    operation = operation_for(step.message)
    before = store.state
    assert outcome_of(before, operation) == step.outcome, step.note
    if step.outcome == "conflict":
        seq = store.seq
        with pytest.raises(ConflictError):
            await store.append(operation)
        assert store.seq == seq
        assert store.state is before
    else:
        await store.append(operation)
    check(case, step, store.state)


@cache
def registry() -> HandlerRegistry[EngineState]:
    return trading_registry()


@asynccontextmanager
async def begun(case: AccountCase) -> AsyncIterator[EventStore[EngineState]]:
    async with EventStore.in_memory(registry()) as store:
        for instrument in case.instruments:
            await store.append(define(instrument))
        yield store


@pytest.mark.parametrize("case", CASES)
async def test_in_memory(case: AccountCase) -> None:
    async with begun(case) as store:
        for step in case.steps:
            await tell(store, case, step)


@pytest.mark.parametrize("snapshot", [True, False], ids=["from a snapshot", "from the log"])
@pytest.mark.parametrize("case", CASES)
async def test_opened_again_in_the_middle(
    case: AccountCase, snapshot: bool, tmp_path: Path
) -> None:
    middle = len(case.steps) // 2
    async with EventStore.open(tmp_path / "store", registry()) as store:
        for instrument in case.instruments:
            await store.append(define(instrument))
        for step in case.steps[:middle]:
            await tell(store, case, step)
        if snapshot:
            await store.snapshot()
        written = store.state
    async with EventStore.open(tmp_path / "store", registry()) as store:
        assert store.state == written
        for step in case.steps[middle:]:
            await tell(store, case, step)


@pytest.mark.parametrize("number", [as_decimal, as_float, as_int_or_float])
@pytest.mark.parametrize("case", CASES)
async def test_numbers_in_every_form_and_any_decimal_context(
    case: AccountCase, number: Callable[..., int | float]
) -> None:
    """A caller's context of four digits rounds nothing, and a float is its shortest decimal."""
    async with begun(case) as store:
        for step in case.steps:
            operation = operation_for(step.message, number)
            with localcontext(prec=4):
                assert outcome_of(store.state, operation) == step.outcome
                if step.outcome != "conflict":
                    await store.append(operation)
                state = store.state
            check(case, step, state)


@pytest.mark.parametrize("case", CASES)
async def test_told_twice_over(case: AccountCase) -> None:
    """A poll that tells everything again, from the beginning, changes nothing."""
    async with begun(case) as store:
        accepted = []
        for step in case.steps:
            operation = operation_for(step.message)
            if step.outcome != "conflict":
                await store.append(operation)
                accepted.append((step, operation))
        final = books_of(store.state)
        for step, operation in accepted:
            if identity(step.message) is not None:
                assert outcome_of(store.state, operation) == "duplicate"
                await store.append(operation)
        assert differences(final, books_of(store.state)) == []
