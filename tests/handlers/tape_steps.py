"""The steps of random tapes: what could be told, drawn as a few digits each.

A tape is a list of *steps*: small plain values such as "a fill of AAPL" or "tell again what was
told three messages ago". `teller.Teller` turns each step into messages. Every list of steps makes
sense, also a shortened list, so a failing tape shrinks to few steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from hypothesis import strategies as st

from tests.handlers.messages import Instrument, Kind, Side

__all__ = [
    "ACCOUNTS",
    "INSTRUMENTS",
    "RATIOS",
    "SETTLED",
    "SPLITS",
    "SPLITTING",
    "SPOT",
    "VENUES",
    "AgainStep",
    "AmendStep",
    "CashStep",
    "CloseStep",
    "FeeOf",
    "FillStep",
    "InKindStep",
    "MarkStep",
    "OrderStep",
    "OtherwiseStep",
    "Place",
    "SettleStep",
    "SplitStep",
    "Step",
    "Tape",
    "TransferStep",
    "tapes",
]


def _instrument(
    symbol: str, kind: Kind, quote: str, base: str | None = None, multiplier: str = "1"
) -> Instrument:
    settle = base if kind == "inverse" and base is not None else quote
    return Instrument(
        symbol=symbol,
        kind=kind,
        quote=quote,
        settle=settle,
        base=base,
        multiplier=Decimal(multiplier),
    )


INSTRUMENTS = (
    _instrument("BTC/USDT", "spot", "USDT", "BTC"),
    _instrument("ETH/BTC", "spot", "BTC", "ETH"),
    _instrument("AAPL", "security", "USD"),
    _instrument("SAP C200", "security", "EUR", multiplier="100"),
    _instrument("BTC-USDT-SWAP", "linear", "USDT", "BTC", "0.01"),
    _instrument("ESH6", "linear", "USD", multiplier="50"),
    _instrument("BTCUSD_PERP", "inverse", "USD", "BTC", "100"),
)
SYMBOLS = (*(instrument.symbol for instrument in INSTRUMENTS), "MSFT")
"""Nobody defines MSFT: a share in the base currency."""

SPOT = SYMBOLS[:2]
SPLITTING = ("AAPL", "SAP C200", "ESH6", "MSFT")
SETTLED = ("BTC-USDT-SWAP", "ESH6", "BTCUSD_PERP")
RATIOS = ((2, 1), (7, 1), (3, 2), (1, 2), (1, 4), (1, 10))
SPLITS = 6  # in a tape: each may lengthen a quantity by two digits
ACCOUNTS = ("main", "sub")
VENUES = ("x", "y")
CURRENCIES = ("USD", "USDT", "BTC", "EUR")

IN_KIND = tuple(map(Decimal, ("-0.001", "0.0002", "-0.3")))

FeeIn = Literal["unknown", "none", "quote", "base", "third"]


class Place(NamedTuple):
    """Where a message comes from, and in what form its numbers are recorded."""

    venue: int
    account: int
    form: int
    held_back: int


class FeeOf(NamedTuple):
    currency: FeeIn
    amount: Decimal
    rate: Decimal


class FillStep(NamedTuple):
    place: Place
    symbol: int
    side: Side
    hedge: bool
    quantity: Decimal
    price: Decimal
    fee: FeeOf
    order: int


class CloseStep(NamedTuple):
    """Close one of the open positions, and perhaps turn it."""

    place: Place
    position: int
    price: Decimal
    beyond: Decimal
    fee: FeeOf


class AmendStep(NamedTuple):
    place: Place
    kind: Literal["bust", "correct", "fee", "complete"]
    fill: int
    version: int
    quantity: Decimal
    price: Decimal
    fee: FeeOf


class AgainStep(NamedTuple):
    """Tell again what was told: as it was, without its fee, or the corrected fill as a fill."""

    place: Place
    message: int
    form: Literal["same", "without fee", "corrected"]


class OtherwiseStep(NamedTuple):
    """Tell again what was told, with another content."""

    place: Place
    message: int
    amount: Decimal
    what: int


class CashStep(NamedTuple):
    place: Place
    type: Literal[
        "deposit", "withdrawal", "funding", "interest", "dividend", "tax", "fee", "rebate"
    ]
    currency: str
    amount: Decimal
    symbol: int | None


class InKindStep(NamedTuple):
    """A fee or a rebate of a pair, in coins, without a fill: at the end of the day."""

    place: Place
    symbol: int
    rate: Decimal


class TransferStep(NamedTuple):
    place: Place
    currency: str
    amount: Decimal


class SplitStep(NamedTuple):
    place: Place
    symbol: int
    ratio: int


class SettleStep(NamedTuple):
    place: Place
    symbol: int
    price: Decimal
    final: bool


class MarkStep(NamedTuple):
    place: Place
    symbol: int
    price: Decimal


class OrderStep(NamedTuple):
    place: Place
    symbol: int
    side: Side
    order: int
    quantity: Decimal
    status: Literal["open", "partially_filled", "filled", "canceled"]


Step = (
    FillStep
    | CloseStep
    | AmendStep
    | AgainStep
    | OtherwiseStep
    | CashStep
    | InKindStep
    | TransferStep
    | SplitStep
    | SettleStep
    | MarkStep
    | OrderStep
)


class Tape(NamedTuple):
    """Steps on a few symbols: on many symbols, hardly any position would see a second fill.

    A step is written as digits, and those that are left out at its end are zeros.
    """

    symbols: tuple[str, ...]
    codes: tuple[str, ...]

    @property
    def steps(self) -> Iterator[Step]:
        for code in self.codes:
            step = _step(bytes.fromhex(code.ljust(2 * CODE, "0")))
            if step is not None:
                yield step


CODE = 12
"""Bytes of a step. A step is drawn as one value, because a tape of small draws takes much longer
to draw than to check. A code of zeros is no step at all, and the tables below begin with what is
simplest, so a failing tape shrinks by fewer and simpler steps.
"""
KINDS: tuple[type[Step] | None, ...] = (
    None,
    *[FillStep] * 12,
    *[CloseStep] * 7,
    *[AmendStep] * 12,
    *[AgainStep] * 5,
    *[OtherwiseStep] * 4,
    *[CashStep] * 3,
    *[OrderStep] * 3,
    *[MarkStep] * 2,
    *[SplitStep] * 2,
    *[SettleStep] * 3,
    *[InKindStep] * 2,
    TransferStep,
)
HELD_BACK = (0, 0, 0, 0, 1, 2, 4, 7)
AMENDMENTS = ("correct", "bust", "fee", "complete", "correct", "fee")
FORMS = ("same", "without fee", "corrected")
CASH = ("deposit", "withdrawal", "funding", "interest", "dividend", "tax", "fee", "rebate")
STATUS = ("open", "partially_filled", "open", "filled", "canceled")
SIDES = ("buy", "sell")
SPECIAL = tuple(
    map(Decimal, ("1e-8", "1e-18", "1000000", "250000.5", "3", "7", "10.01", "60000.1"))
)
UNUSUAL = tuple(map(Decimal, ("0", "-3", "-37.63", "0.01")))
RATES = tuple(map(Decimal, ("0.001", "0.00075", "-0.0001", "0.03")))
FEES: tuple[FeeIn, ...] = ("none", "quote", "base", "third", "unknown", "unknown", "base", "quote")
FEE_AMOUNTS = tuple(map(Decimal, ("1", "0.1", "-0.25", "0.00012345", "2.5")))


@st.composite
def tapes(draw: st.DrawFn, most: int = 20) -> Tape:
    """Draw a tape of up to so many steps."""
    symbols = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=3, unique=True))
    code = st.binary(min_size=CODE, max_size=CODE)
    codes = draw(st.lists(code, min_size=most, max_size=most))
    return Tape(tuple(symbols), tuple(code.hex().rstrip("0") for code in codes if any(code)))


def _number(shape: int, value: int) -> Decimal:
    value += 1
    match shape % 8:
        case 0 | 1:
            return Decimal(value % 200 + 1)
        case 2 | 3:
            return Decimal(value).scaleb(-(shape % 3 + 1))
        case 4 | 5:
            return Decimal(value * 1_234_577).scaleb(-8)
        case 6:
            return Decimal(value * 1_234_567_890_123_457).scaleb(-18)
        case _:
            return SPECIAL[value % len(SPECIAL)]


def _step(code: bytes) -> Step | None:
    kind = KINDS[code[0] % len(KINDS)]
    where, which, what, order = code[1], code[2], code[10], code[11]
    place = Place(where & 1, where >> 1 & 1, (where >> 2) % 3, HELD_BACK[where >> 5])
    symbol, side = which % 3, SIDES[which >> 2 & 1]
    quantity = _number(code[3], code[4] << 8 | code[5])
    price = _number(code[6], code[7] << 8 | code[8])
    signed = quantity if which & 8 else -quantity
    fee = FeeOf(
        FEES[code[9] % len(FEES)],
        FEE_AMOUNTS[(code[9] >> 3) % len(FEE_AMOUNTS)],
        RATES[code[9] >> 6],
    )
    if kind in (FillStep, CloseStep) and code[6] >= 0xF8:
        price = UNUSUAL[what % len(UNUSUAL)]
    values: dict[type[Any] | None, tuple[Any, ...]] = {
        FillStep: (symbol, side, which >= 0xC0, quantity, price, fee, order % 4),
        CloseStep: (what, price, quantity if order % 3 == 1 else Decimal(0), fee),
        AmendStep: (AMENDMENTS[order % len(AMENDMENTS)], what, which, quantity, price, fee),
        AgainStep: (what, FORMS[order % len(FORMS)]),
        OtherwiseStep: (what, price, order % 4),
        CashStep: (
            CASH[what % len(CASH)],
            CURRENCIES[order % len(CURRENCIES)],
            signed,
            symbol if which & 16 else None,
        ),
        OrderStep: (symbol, side, order % 3 + 1, quantity, STATUS[what % len(STATUS)]),
        MarkStep: (symbol, price),
        SplitStep: (symbol, what % len(RATIOS)),
        SettleStep: (symbol, price, what % 4 == 3),
        InKindStep: (symbol, IN_KIND[what % len(IN_KIND)]),
        TransferStep: (CURRENCIES[what % len(CURRENCIES)], quantity),
    }
    return None if kind is None else kind(place, *values[kind])
