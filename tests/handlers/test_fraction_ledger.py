"""The ledger of fractions gives the account cases, and keeps its own laws on random tapes."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.handlers.account_case_files import AccountCase, account_cases
from tests.handlers.books import Books, differences, without_split
from tests.handlers.fraction_ledger import Ledger
from tests.handlers.messages import Cash, Fill, Mark, Message, Order, Settlement, Split
from tests.handlers.tape_steps import INSTRUMENTS, Tape, tapes
from tests.handlers.teller import Teller
from tests.stateful.profile import examples
from tests.support.share import SHARE


def told(tape: Tape) -> Ledger:
    ledger = Ledger(INSTRUMENTS)
    for spoken in Teller(ledger, tape.symbols).tell(tape):
        ledger.tell(spoken.message)
    return ledger


def retold(messages: Sequence[Message]) -> Ledger:
    ledger = Ledger(INSTRUMENTS)
    for message in messages:
        assert ledger.tell(message).outcome != "conflict"
    return ledger


def test_there_are_cases() -> None:
    assert len(account_cases()) == 23


@pytest.mark.parametrize("case", account_cases(), ids=lambda case: case.name)
def test_a_case_is_told_exactly(case: AccountCase) -> None:
    ledger = Ledger(case.instruments, case.base_currency)
    for step in case.steps:
        assert ledger.tell(step.message).outcome == step.outcome
        assert differences(step.books, ledger.books) == []
        assert ledger.unclear == frozenset()


@examples(60)
@given(tapes())
def test_what_is_told_again_changes_nothing(tape: Tape) -> None:
    ledger = told(tape)
    books = ledger.books
    for message in ledger.messages:
        if not isinstance(message, Mark | Order):
            assert ledger.tell(message).outcome == "duplicate"
    assert ledger.books == books


@examples(60)
@given(tapes(), st.integers(0, 2**32))
def test_the_order_of_telling_decides_the_split_only(tape: Tape, seed: int) -> None:
    """Ratios and settlements apply to what is held then, and fees in kind leave at the average."""
    messages = [
        message
        for message in told(tape).messages
        if not isinstance(message, Split | Settlement | Order | Mark)
        and getattr(message, "fee_currency", None) not in ("BTC", "ETH")
        and not (isinstance(message, Cash) and message.type in ("fee", "rebate"))
    ]
    shuffled = messages.copy()
    random.Random(seed).shuffle(shuffled)
    first, second = retold(messages), retold(shuffled)
    assert surplus_of(first) == surplus_of(second)


def surplus_of(ledger: Ledger) -> Books:
    """Return the books with profit that is still in a cost taken out of the balances."""
    books = without_split(ledger.books, ledger.inverse)
    for (account, symbol, _), holding in ledger.books.positions.items():
        instrument = ledger.instrument(symbol)
        if instrument.kind in ("linear", "inverse"):
            sign = 1 if instrument.kind == "inverse" else -1
            balance = books.balances.setdefault(account, {})
            balance[instrument.settle] = (
                balance.get(instrument.settle, Fraction(0)) + sign * holding.cost
            )
    return books


@examples(60)
@given(tapes())
def test_profit_fees_and_flows_explain_every_balance(tape: Tape) -> None:
    """Double entry, per currency. Fees in kind are left out: those leave at a cost of their own."""
    messages = [
        message
        for message in told(tape).messages
        if getattr(message, "fee_currency", None) not in ("BTC", "ETH")
        and not (isinstance(message, Cash) and message.type in ("fee", "rebate"))
    ]
    ledger = retold(messages)
    books = ledger.books
    explained: dict[str, Fraction] = defaultdict(Fraction)
    for amounts in (*books.flows.values(), *books.realised.values()):
        for currency, amount in amounts.items():
            explained[currency] += amount
    for currency, amount in books.fees.items():
        explained[currency] -= amount
    for (_, symbol, _), holding in books.positions.items():
        instrument = ledger.instrument(symbol)
        if instrument.kind == "spot":
            assert instrument.base is not None
            explained[instrument.base] += holding.quantity
        if instrument.kind in ("spot", "security"):
            explained[instrument.settle] -= holding.cost
    balances: dict[str, Fraction] = defaultdict(Fraction)
    for entries in books.balances.values():
        for currency, amount in entries.items():
            balances[currency] += amount
    for currency in balances.keys() | explained.keys():
        assert balances[currency] == explained[currency], currency


def test_tapes_reach_every_outcome_and_kind() -> None:
    """A generator that never makes a bust proves nothing about busts."""
    seen: set[str] = set()

    @examples(400 * SHARE)
    @given(tapes())
    def look(tape: Tape) -> None:
        ledger = Ledger(INSTRUMENTS)
        for spoken in Teller(ledger, tape.symbols).tell(tape):
            message = spoken.message
            seen.add(f"{type(message).__name__} {ledger.tell(message).outcome}")
            if isinstance(message, Fill):
                seen.add(ledger.instrument(message.symbol).kind)
                seen.add(message.position_side or "net")
                seen.add("own fee" if message.fee_currency == "BNB" else "fee")
        most = max((len(fill.versions) for fill in ledger.fills()), default=0)
        seen.add(f"{most} versions")
        seen.update(kind for kind in ("unclear",) if ledger.unclear)

    look()
    missing = {
        *("spot", "security", "linear", "inverse", "net", "long", "short"),
        *("Fill booked", "Fill duplicate", "Fill conflict", "Fill completed"),
        *("3 versions", "own fee", "unclear"),
        *("Bust booked", "Bust waiting", "Bust duplicate", "Bust conflict"),
        *("Correct booked", "Correct waiting", "Correct duplicate", "Correct conflict"),
        *("FillFee booked", "FillFee waiting", "Cash booked", "Cash duplicate", "Cash conflict"),
        *("Transfer booked", "Split booked", "Settlement booked", "Mark booked", "Order booked"),
    } - seen
    assert missing == set()
