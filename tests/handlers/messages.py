"""What a venue means, in the same words for every venue. The account cases are told in these words.

Equality of two messages is equality of content: numbers are compared as numbers, and times and
liquidity take no part. `identity` names the event that a message is about, so a second message
with a known identity is either the same once more or a contradiction.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin, get_type_hints

__all__ = [
    "Bust",
    "Cash",
    "Correct",
    "Fill",
    "FillFee",
    "FillKey",
    "Instrument",
    "Mark",
    "Message",
    "Order",
    "PositionSide",
    "Settlement",
    "Split",
    "Transfer",
    "identity",
    "read_instrument",
    "read_message",
]

Kind = Literal["spot", "security", "linear", "inverse"]
Side = Literal["buy", "sell"]
PositionSide = Literal["net", "long", "short"]
FillKey = tuple[str, str, str, str, str]
"""Venue, account, symbol, side and trade id."""


@dataclass(frozen=True, kw_only=True)
class Instrument:
    symbol: str
    kind: Kind
    quote: str
    settle: str
    base: str | None = None
    multiplier: Decimal = Decimal(1)
    price_step: Decimal | None = None
    quantity_step: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class _Told:
    venue: str
    account: str
    time: str | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Fill(_Told):
    symbol: str
    trade_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal | None = None
    fee_currency: str | None = None
    order_id: str = ""
    position_side: PositionSide | None = None
    liquidity: Literal["maker", "taker"] | None = field(default=None, compare=False)

    @property
    def key(self) -> FillKey:
        return (self.venue, self.account, self.symbol, self.side, self.trade_id)


@dataclass(frozen=True, kw_only=True)
class _Amendment(_Told):
    """About the fill `ref_trade_id`."""

    symbol: str
    side: Side
    ref_trade_id: str
    id: str

    @property
    def ref(self) -> FillKey:
        return (self.venue, self.account, self.symbol, self.side, self.ref_trade_id)


@dataclass(frozen=True, kw_only=True)
class FillFee(_Amendment):
    fee: Decimal
    fee_currency: str


@dataclass(frozen=True, kw_only=True)
class Bust(_Amendment):
    pass


@dataclass(frozen=True, kw_only=True)
class Correct(_Amendment):
    trade_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None = None
    fee_currency: str | None = None

    @property
    def key(self) -> FillKey:
        return (self.venue, self.account, self.symbol, self.side, self.trade_id)


@dataclass(frozen=True, kw_only=True)
class Cash(_Told):
    type: Literal[
        "deposit", "withdrawal", "funding", "interest", "dividend", "tax", "fee", "rebate"
    ]
    id: str
    currency: str
    amount: Decimal
    symbol: str | None = None


@dataclass(frozen=True, kw_only=True)
class Transfer(_Told):
    id: str
    to_account: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class Split(_Told):
    id: str
    symbol: str
    numerator: int
    denominator: int


@dataclass(frozen=True, kw_only=True)
class Settlement(_Told):
    id: str
    symbol: str
    price: Decimal
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark(_Told):
    symbol: str
    price: Decimal


@dataclass(frozen=True, kw_only=True)
class Order(_Told):
    order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    status: str
    price: Decimal | None = None

    @property
    def is_open(self) -> bool:
        return self.status in ("open", "partially_filled")


Message = Fill | FillFee | Bust | Correct | Cash | Transfer | Split | Settlement | Mark | Order

_KINDS: dict[str, type[Message]] = {
    "fill": Fill,
    "fill_fee": FillFee,
    "bust": Bust,
    "correct": Correct,
    "cash": Cash,
    "transfer": Transfer,
    "split": Split,
    "settlement": Settlement,
    "mark": Mark,
    "order": Order,
}


def identity(message: Message) -> tuple[str, ...] | None:
    """Return what a message is known by, or `None` where every message is a new one."""
    match message:
        case Fill():
            return ("fill", *message.key)
        case Cash():
            return ("cash", message.venue, message.account, message.type, message.id)
        case Mark() | Order():
            return None
        case _:
            return (type(message).__name__, message.venue, message.account, message.id)


def read_message(plain: Mapping[str, Any]) -> Message:
    """Read a message from the plain form, in which numbers are text."""
    kind = _KINDS[plain["kind"]]
    return kind(**_fields(kind, {key: plain[key] for key in plain if key != "kind"}))


def read_instrument(plain: Mapping[str, Any]) -> Instrument:
    """Read an instrument from the plain form, in which numbers are text."""
    return Instrument(**_fields(Instrument, plain))


def _fields(kind: type[Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    known = {item.name for item in dataclasses.fields(kind)}
    assert known.issuperset(plain), sorted(set(plain) - known)
    return {
        name: Decimal(value) if isinstance(value, str) and _is_number(hints[name]) else value
        for name, value in plain.items()
    }


def _is_number(hint: Any) -> bool:
    options = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    return Decimal in options
