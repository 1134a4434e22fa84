"""Settings of every adapter, and operations of fees and cash.

A message tells neither the user's name of the account nor how the user names symbols and cash. An
adapter is configured with the names once. An adapter holds no state but for the one of Interactive
Brokers, so one adapter may serve any number of connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any, Literal, get_args

import msgspec

from eventstore import Operation
from handlers.adjust_cash import AdjustCash
from handlers.record_trade import RecordTrade
from handlers.venues.reading import UnknownFields

__all__ = [
    "MAKER_TAKER",
    "CashKind",
    "VenueAdapter",
    "added",
    "check_choice",
    "multiplied",
    "negated",
    "with_fees",
]

CashKind = Literal[
    "deposit",
    "withdrawal",
    "funding",
    "interest",
    "dividend",
    "tax",
    "fee",
    "rebate",
    "settlement",
    "in_or_out",
    "told_elsewhere",
]
"""The ways to book a venue's kind of cash movement.

Most are types of `adjust_cash`. `in_or_out` is a deposit or a withdrawal, by the sign.
`told_elsewhere` is no operation, because other messages tell the same movement.
"""

MAKER_TAKER: Mapping[bool, Literal["maker", "taker"]] = {True: "maker", False: "taker"}
"""Liquidity by a flag that is true for the maker."""

_EXACT = Context(prec=2_000, traps=[Inexact, InvalidOperation, Overflow])


def added(first: Decimal, second: Decimal) -> Decimal:
    """Return an exact sum, whatever the decimal context of the caller."""
    return _EXACT.add(first, second)


def multiplied(first: Decimal, second: Decimal) -> Decimal:
    """Return an exact product, whatever the decimal context of the caller."""
    return _EXACT.multiply(first, second)


def negated(number: Decimal) -> Decimal:
    """Return a number with the other sign, exactly. Zero keeps no sign."""
    return number.copy_negate() if number else Decimal(0)


@dataclass(frozen=True, kw_only=True)
class VenueAdapter:
    """The settings of an adapter.

    Attributes:
        account: The user's name of the account of the messages.
        venue: The name of the venue in operations, and so in the identity of every fill.
        symbols: The user's name by the venue's name of a symbol. Another symbol keeps its name.
        unknown_fields: `refuse` raises `VenueMessageError` for a field that the venue does not
            document. `ignore` takes the message without the field.
    """

    account: str = "main"
    venue: str = ""
    symbols: Mapping[str, str] = field(default_factory=dict)
    unknown_fields: UnknownFields = "refuse"

    def __post_init__(self) -> None:
        if not self.account or not self.venue:
            raise ValueError("account and venue are part of identities, and must not be empty")
        check_choice("unknown_fields", self.unknown_fields, UnknownFields)

    def symbol(self, name: str) -> str:
        """Return the user's name of a symbol."""
        return self.symbols.get(name, name)

    def cash(
        self,
        kind: CashKind,
        *,
        amount: Decimal,
        reference: str,
        currency: str,
        time: int | None,
        symbol: str | None = None,
    ) -> list[Operation]:
        """Return the operation of a cash movement, and none where nothing moves here.

        `amount` is signed: the change of the balance.
        """
        if kind == "told_elsewhere" or not amount:
            return []
        if kind == "in_or_out":
            kind = "deposit" if amount > 0 else "withdrawal"
        return [
            AdjustCash(
                type=kind,
                amount=amount,
                reference=reference,
                currency=currency,
                symbol=symbol,
                venue=self.venue,
                account=self.account,
                time=time,
            )
        ]


def check_choice(name: str, chosen: object, choices: Any) -> None:  # of a `Literal`
    """Raise `ValueError` for a setting that is none of the choices."""
    if chosen not in get_args(choices):
        words = ", ".join(map(repr, get_args(choices)))
        raise ValueError(f"{name} is one of {words}, and not {chosen!r}")


def with_fees(
    fill: RecordTrade, fees: Iterable[tuple[str | None, Decimal]], base: str | None = None
) -> list[Operation]:
    """Return a fill with its fees by currency, positive where paid.

    A fill holds the fee of one currency: of `base`, the traded coin, since such a fee changes what
    the fill adds to the position, else the first by name, since a venue may list them in another
    order the next time. The fee of each further currency is an `adjust_cash` of type `fee`, with
    the symbol, whose reference is the fill and the currency.
    """
    sums: dict[str | None, Decimal] = {}
    for currency, fee in fees:
        sums[currency] = added(sums[currency], fee) if currency in sums else fee
    if not sums:
        return [fill]
    # A fee of zero, whose currency is often not told, is told only where there is no other.
    told = [one for one in sums.items() if one[1]] or list(sums.items())[:1]
    (currency, fee), *others = sorted(told, key=lambda one: (one[0] != base, one[0] or ""))
    operations: list[Operation] = [
        msgspec.structs.replace(fill, fee=fee, fee_currency=currency),
    ]
    operations += [
        AdjustCash(
            type="fee",
            amount=negated(fee),
            reference=f"{fill.symbol}/{fill.trade_id}/{fill.side}/{currency}",
            currency=currency,
            symbol=fill.symbol,
            venue=fill.venue,
            account=fill.account,
            time=fill.time,
        )
        for currency, fee in others
    ]
    return operations
