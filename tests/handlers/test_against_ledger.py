"""The trading handlers against the ledger of fractions, after every event of random tapes.

A tape tells fills, fees, busts, corrections, cash, transfers, splits, settlements, marks and
orders: on spot pairs, shares, linear and inverse contracts, on several accounts and venues, twice,
otherwise, late, and amended before and after. Numbers come as `int`, `float` and `Decimal`.

The comparison is exact, but for what a ledger in decimals has to round: see `fraction_ledger`.
"""

from __future__ import annotations

import asyncio
from functools import cache

import pytest
from hypothesis import given, note

from eventstore import EventStore, HandlerRegistry, Operation
from handlers import ConflictError, EngineState, outcome_of, trading_registry
from tests.handlers.books import differences
from tests.handlers.fraction_ledger import Ledger, Told
from tests.handlers.message_operations import (
    as_decimal,
    as_float,
    as_int_or_float,
    books_of,
    define,
    operation_for,
)
from tests.handlers.tape_steps import INSTRUMENTS, Tape, tapes
from tests.handlers.teller import Spoken, Teller
from tests.stateful.profile import examples

FORMS = (as_decimal, as_float, as_int_or_float)


@cache
def registry() -> HandlerRegistry[EngineState]:
    return trading_registry()


@cache
def begun() -> EngineState:
    """Return the state in which the instruments are defined."""
    state = registry().initial()
    for seq, instrument in enumerate(INSTRUMENTS, 1):
        state = folded(state, define(instrument), seq)
    return state


def folded(state: EngineState, operation: Operation, seq: int) -> EngineState:
    """Fold an operation as a store does: encoded, decoded and checked, but not written."""
    (event,), _ = registry().record(seq, seq, [operation], None, None)
    return registry().apply(state, event)


def operation_of(spoken: Spoken) -> Operation:
    return operation_for(spoken.message, FORMS[spoken.form])


def compare(ledger: Ledger, told: Told, state: EngineState, outcome: str) -> None:
    assert told.agrees_with(outcome), f"expected {told.outcome}, got {outcome}"
    assert differences(ledger.books, books_of(state), ledger.allowed) == []


@pytest.mark.slow
@examples(250)
@given(tapes())
def test_every_event_of_a_tape(tape: Tape) -> None:
    ledger = Ledger(INSTRUMENTS)
    state = begun()
    for seq, spoken in enumerate(Teller(ledger, tape.symbols).tell(tape), len(INSTRUMENTS) + 1):
        operation = operation_of(spoken)
        note(f"{operation!r}")
        told = ledger.tell(spoken.message)
        outcome = outcome_of(state, operation)
        if outcome == "conflict":
            with pytest.raises(ConflictError):
                folded(state, operation, seq)
        else:
            state = folded(state, operation, seq)
        compare(ledger, told, state, outcome)


@examples(10)
@given(tapes())
def test_a_tape_through_a_store(tape: Tape) -> None:
    asyncio.run(through_a_store(tape))


async def through_a_store(tape: Tape) -> None:
    ledger = Ledger(INSTRUMENTS)
    async with EventStore.in_memory(registry()) as store:
        await store.append(*map(define, INSTRUMENTS))
        for spoken in Teller(ledger, tape.symbols).tell(tape):
            operation = operation_of(spoken)
            note(f"{operation!r}")
            told = ledger.tell(spoken.message)
            outcome = outcome_of(store.state, operation)
            if outcome == "conflict":
                with pytest.raises(ConflictError):
                    await store.append(operation)
            else:
                await store.append(operation)
            compare(ledger, told, store.state, outcome)


@pytest.mark.slow
@examples(40)
@given(tapes(60))
def test_the_end_of_a_long_tape(tape: Tape) -> None:
    """Only the end is compared: the ledger folds everything anew for each comparison."""
    ledger = Ledger(INSTRUMENTS)
    state = begun()
    for seq, spoken in enumerate(Teller(ledger, tape.symbols).tell(tape), len(INSTRUMENTS) + 1):
        operation = operation_of(spoken)
        note(f"{operation!r}")
        told = ledger.tell(spoken.message)
        outcome = outcome_of(state, operation)
        assert told.agrees_with(outcome), f"expected {told.outcome}, got {outcome}"
        if outcome != "conflict":
            state = folded(state, operation, seq)
    assert differences(ledger.books, books_of(state), ledger.allowed) == []
