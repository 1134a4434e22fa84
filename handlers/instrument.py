"""Instruments: the meaning of a symbol, and so the effect of a fill.

A fill of `q` (signed) at `p`, with the multiplier `m`:

| kind | moves | cost | profit of closing |
|---|---|---|---|
| `security` | `-q*p*m` of the settlement currency | `q*p*m` | proceeds less cost |
| `spot` | `+q` of base, `-q*p` of quote | `q*p` | proceeds less cost, in quote |
| `linear` | nothing | `q*p*m` | `q*m*(exit - entry)`, paid when realised |
| `inverse` | nothing | `q*m/p`, in base | cost less `q*m/exit`, paid when realised |

A `security` is a share, or an option paid in full. `linear` and `inverse` are futures,
perpetuals and other contracts without an exchange of assets. A symbol without an instrument is a
share priced in the base currency of the state.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from handlers.amounts import ONE, divide

__all__ = [
    "Account",
    "Currency",
    "Identifier",
    "Instrument",
    "InstrumentKind",
    "LastPrice",
    "Side",
    "Symbol",
    "is_older",
    "share_in",
]

Symbol = Annotated[str, Meta(min_length=1)]
Currency = Annotated[str, Meta(min_length=1)]
Account = Annotated[str, Meta(min_length=1)]
Identifier = Annotated[str, Meta(min_length=1)]
"""The venue's name of a trade, a transfer or an amendment. An empty text identifies nothing."""

InstrumentKind = Literal["security", "spot", "linear", "inverse"]
Side = Literal["net", "long", "short"]
"""The side of a position: `net`, or `long` and `short` in hedge mode."""


class Instrument(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The meaning of a symbol.

    Attributes:
        kind: The row of the table in the module's docstring.
        quote: The currency of the price.
        settlement: The currency of cost and profit.
        base: The traded asset, `None` for a security.
        multiplier: Units of the underlying in a quantity of one.
        price_step: The smallest step of prices, `None` where unknown.
        quantity_step: The smallest step of quantities, `None` where unknown.
    """

    kind: InstrumentKind
    quote: str
    settlement: str
    base: str | None = None
    multiplier: Decimal = ONE
    price_step: Decimal | None = None
    quantity_step: Decimal | None = None

    def value(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return the cost of opening `quantity` (signed) at `price`, in the settlement currency.

        The product is rounded by the decimal context of the caller, and the context of the handlers
        is exact. The quotient of an inverse contract has 34 digits.
        """
        if self.kind == "inverse":
            return divide(quantity * self.multiplier, price)
        return quantity * price * self.multiplier

    def profit(self, cost: Decimal, value: Decimal) -> Decimal:
        """Return the profit of closing what cost `cost` at a time when opening it costs `value`.

        Both are signed as the closed quantity is.
        """
        return cost - value if self.kind == "inverse" else value - cost


class LastPrice(msgspec.Struct, frozen=True, gc=False):
    """The last price of a symbol, and the venue's time of the price."""

    price: Decimal
    time: int | None = None


@functools.lru_cache(maxsize=64)
def share_in(currency: str) -> Instrument:
    """Return the instrument of an undefined symbol: a share priced in `currency`."""
    return Instrument("security", currency, currency)


def is_older(time: int | None, known: int | None) -> bool:
    """Whether a venue time is before the known one. An unknown time is not."""
    return time is not None and known is not None and time < known
