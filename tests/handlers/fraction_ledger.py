"""An account ledger in fractions, that forgets nothing and keeps no state but what was told.

Theory of operation
-------------------
The ledger holds the accepted messages in the order of telling. The books are folded from all of
those messages, from nothing, each time. Before the fold, each fill is resolved: a fill takes the
content of its last correction and the fee that any message told, and a busted fill is passed over.
So a bust, a correction, a fee known later and an amendment that came before its fill are right by
construction, the split between cost and realised profit included. A resolved fill stands where the
fill itself was told.

Arithmetic is in `Fraction`. Nothing is rounded, so nothing can go wrong but the rules themselves.

How far a ledger in decimals may be from that, and where the rules are silent: `ledger_fold`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Literal, NamedTuple

from tests.handlers.books import Books, Figure
from tests.handlers.ledger_fold import Fold
from tests.handlers.messages import Bust, Correct, Fill, FillFee, Instrument, Message, identity
from tests.handlers.resolved_fills import Resolved, resolved_fills

__all__ = ["Ledger", "Outcome", "Told"]

Outcome = Literal["booked", "duplicate", "completed", "waiting", "conflict"]


class Told(NamedTuple):
    """What became of a message, and which other outcome the rules would allow as well."""

    outcome: Outcome
    also: frozenset[Outcome] = frozenset()

    def agrees_with(self, outcome: str) -> bool:
        return outcome == self.outcome or outcome in self.also


class Ledger:
    """Everything that was told, the books that follow, and the outcome of each message.

    A symbol without an instrument is a share that is paid in the base currency.
    """

    def __init__(self, instruments: Iterable[Instrument] = (), base_currency: str = "USD") -> None:
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._base_currency = base_currency
        self._messages: list[Message] = []
        self._fold: Fold | None = None

    def instrument(self, symbol: str) -> Instrument:
        known = self._instruments.get(symbol)
        if known is None:
            known = Instrument(
                symbol=symbol,
                kind="security",
                quote=self._base_currency,
                settle=self._base_currency,
            )
        return known

    def tell(self, message: Message) -> Told:
        """Take a message in, unless nothing is new in the message or it is refused."""
        told = self._judge(message)
        if told.outcome in ("booked", "completed", "waiting"):
            self._messages.append(message)
            self._fold = None
        return told

    @property
    def messages(self) -> tuple[Message, ...]:
        """The accepted messages."""
        return tuple(self._messages)

    @property
    def books(self) -> Books:
        return self._folded().books

    @property
    def unclear(self) -> frozenset[str]:
        return frozenset(self._folded().unclear)

    @property
    def inverse(self) -> frozenset[str]:
        """The symbols of inverse contracts."""
        return frozenset(
            symbol for symbol, known in self._instruments.items() if known.kind == "inverse"
        )

    def holding(self, account: str, symbol: str, side: str = "net") -> Fraction:
        """Return the quantity held."""
        holding = self.books.positions.get((account, symbol, side))
        return Fraction(0) if holding is None else holding.quantity

    def allowed(self, figure: Figure, expected: Fraction) -> Fraction | None:
        """Return by how much a figure of a ledger in decimals may differ. `None`: not defined."""
        return self._folded().allowed(figure, expected)

    def fills(self) -> Iterator[Resolved]:
        """Yield each fill as it is now, in the order of telling."""
        return resolved_fills(self._messages)

    def _folded(self) -> Fold:
        if self._fold is None:
            self._fold = Fold(self.instrument)
            self._fold.run(self._messages)
        return self._fold

    def _judge(self, message: Message) -> Told:
        if isinstance(message, Fill):
            return self._judge_fill(message)
        name = identity(message)
        if name is None:
            return Told("booked")
        for known in self._messages:
            if identity(known) == name:
                return Told("duplicate" if known == message else "conflict")
        if not isinstance(message, FillFee | Bust | Correct):
            return Told("booked")
        if isinstance(message, Correct) and self._contradicts(message):
            return Told("conflict")
        for fill in self.fills():
            if (version := fill.version(message.ref)) is None:
                continue
            if isinstance(message, FillFee) and version.fee is not None:
                if (version.fee, version.fee_currency) != (message.fee, message.fee_currency):
                    return Told("conflict")
                return Told("duplicate", frozenset({"booked"}))
            if fill.busted or version is not fill.last:
                return Told("booked", frozenset({"duplicate"}))  # the valid version has its own fee
            return Told("booked")
        return Told("waiting")

    def _contradicts(self, correction: Correct) -> bool:
        """Tell whether the fill that replaces another one was told already, and otherwise."""
        known = next(filter(None, (fill.version(correction.key) for fill in self.fills())), None)
        if known is None:
            return False
        fees = (known.fee, known.fee_currency), (correction.fee, correction.fee_currency)
        return (known.quantity, known.price) != (correction.quantity, correction.price) or (
            None not in (known.fee, correction.fee) and fees[0] != fees[1]
        )

    def _judge_fill(self, message: Fill) -> Told:
        for fill in self.fills():
            version = fill.version(message.key)
            if version is None:
                continue
            if message.fee is None or version.fee is None:
                if _without_fee(message) != _without_fee(version):
                    return Told("conflict")
                if message.fee is None:
                    return Told("duplicate")
                if fill.busted or version is not fill.last:
                    return Told("completed", frozenset({"duplicate"}))
                return Told("completed")
            return Told("duplicate" if message == version else "conflict")
        return Told("booked")


def _without_fee(fill: Fill) -> Fill:
    return replace(fill, fee=None, fee_currency=None)
