"""Refusals of the trading model. Each names the message, and nothing is written.

A handler raises the errors, so `append` raises the errors unchanged. Every event in the log was
accepted, so recovery and replay meet no refusal.
"""

from __future__ import annotations

import reprlib
from typing import Any

from eventstore import EventStoreError, InvalidPayloadError

__all__ = [
    "AmountError",
    "ConflictError",
    "MissingPriceError",
    "TooLateError",
    "TradingError",
    "UnknownSymbolError",
    "VenueMessageError",
]


class TradingError(EventStoreError, ValueError):
    """The base of the refusals of the trading model."""


class AmountError(InvalidPayloadError):
    """A number is not finite, or is too large or too small for exact sums.

    `operation` and `field` name the place.
    """


class ConflictError(TradingError):
    """The identity is known with another content.

    Attributes:
        known: The fill or message as told first.
        told: The refused payload.
        difference: The fields that differ, as text.
    """

    def __init__(self, known: Any, told: Any, difference: str) -> None:
        super().__init__(
            f"told otherwise before: {difference}. Known is {known!r}, told is {told!r}; nothing "
            "was written. A trade that the venue changed is told as correct_trade or bust_trade"
        )
        self.known = known
        self.told = told
        self.difference = difference


class TooLateError(TradingError):
    """The state no longer remembers whether a message was told before.

    The identities of the time were forgotten, so a second telling would be booked twice. Whether
    the message is new must be decided elsewhere: reconcile with the venue.
    """


class UnknownSymbolError(TradingError, LookupError):
    """The symbol has no instrument, and the state takes defined instruments only."""


class MissingPriceError(TradingError, LookupError):
    """A total was asked for, and a rate of a currency or a mark of a symbol is missing.

    `missing` names the currencies and symbols.
    """

    def __init__(self, message: str, missing: tuple[str, ...]) -> None:
        super().__init__(message)
        self.missing = missing


class VenueMessageError(TradingError):
    """A message of a venue without a certain translation.

    `message` is the message as received.
    """

    def __init__(self, reason: str, message: Any) -> None:
        super().__init__(
            f"{reason}. Nothing of the message was booked: feed it again once the adapter can read "
            "it, or append its operations by hand. The error has the message: "
            f"{reprlib.repr(message)}"
        )
        self.message = message
