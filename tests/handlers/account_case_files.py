"""The account cases: what is told, and all of the books after each message, in exact decimals.

A file holds the steps of one case. `changes` has the sections of the books that a message changed,
each section in full; every other section stays. A position is written as account, symbol, side,
quantity, cost and average price. A number without a finite decimal is written as a fraction.
`split` is `any` where another split between cost and realised profit is right, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.handlers.books import Books, read_books
from tests.handlers.messages import Instrument, Message, read_instrument, read_message

__all__ = ["AccountCase", "Step", "account_cases"]

_FOLDER = Path(__file__).with_name("account_cases")


class Step(NamedTuple):
    message: Message
    outcome: str
    books: Books
    any_split: bool
    note: str


class AccountCase(NamedTuple):
    name: str
    instruments: Sequence[Instrument]
    steps: Sequence[Step]
    base_currency: str = "USD"


@cache
def account_cases() -> tuple[AccountCase, ...]:
    """Return every case, by name."""
    return tuple(_read(path) for path in sorted(_FOLDER.glob("*.json")))


def _read(path: Path) -> AccountCase:
    plain = json.loads(path.read_text(encoding="utf-8"))
    books: dict[str, Any] = {}
    steps = []
    for step in plain["steps"]:
        books = books | step.get("changes", {})
        steps.append(
            Step(
                read_message(step["told"]),
                step["outcome"],
                read_books(books),
                step.get("split") == "any",
                step.get("note", ""),
            )
        )
    return AccountCase(
        path.stem,
        [read_instrument(instrument) for instrument in plain["instruments"]],
        steps,
        plain.get("base_currency", "USD"),
    )
