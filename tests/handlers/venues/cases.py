"""Recorded messages of venues, and their meaning, in the words of one small vocabulary.

Each file in `data` is a venue: `instruments` as its adapter is told of them, `messages` in the
order in which they came, and `end`, the books after all of them. A message has `raw`, the message
itself, and `means`: its fills, cash movements and amendments in its own order, an empty list where
nothing moves, or null where the message has to be refused. `outcomes` says of each what the books
make of it when the messages are told in order. The values are invented. Numbers are exact texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from eventstore import Operation
from handlers.adjust_cash import AdjustCash
from handlers.bust_trade import BustTrade
from handlers.correct_trade import CorrectTrade
from handlers.define_instrument import DefineInstrument
from handlers.record_trade import RecordTrade
from handlers.trade_fee import TradeFee
from handlers.venues.alpaca import Alpaca
from handlers.venues.binance_spot import BinanceSpot
from handlers.venues.binance_usdm import BinanceUsdm
from handlers.venues.bybit import Bybit
from handlers.venues.ccxt import Ccxt
from handlers.venues.coinbase import Coinbase
from handlers.venues.fix44 import Fix44
from handlers.venues.interactive_brokers import InteractiveBrokers
from handlers.venues.kraken import Kraken
from handlers.venues.okx import Okx
from handlers.venues.reading import UnknownFields

DATA = Path(__file__).with_name("data")
FURTHER = Path(__file__).with_name("data_further")
"""More messages of the same venues. The books after them are those of the ledger of fractions."""


class Adapter(Protocol):
    """What every adapter is."""

    def operations(self, message: object) -> list[Operation]: ...


@dataclass(frozen=True)
class Message:
    """One recorded message.

    Attributes:
        name: Its venue and place, for test ids.
        raw: The message, as it came.
        means: Its meaning, and `None` where it has to be refused.
    """

    name: str
    raw: Any  # what json.loads gives
    means: list[dict[str, Any]] | None


@dataclass(frozen=True)
class Case:
    """One venue: its messages and the books after all of them.

    Attributes:
        definitions: The instruments, as operations for a store.
        any_order: What of the books is the same when the messages are told in any order.
    """

    venue: str
    definitions: list[DefineInstrument]
    messages: list[Message]
    end: dict[str, Any]
    any_order: str

    def adapter(self, unknown_fields: UnknownFields = "refuse") -> Adapter:
        """Return a new adapter, configured for these messages."""
        by_symbol = {one.symbol: one for one in self.definitions}
        spot = {
            one.symbol.removesuffix(".spot").replace("/", ""): one
            for one in self.definitions
            if one.kind == "spot"
        }
        adapters: dict[str, Callable[..., Adapter]] = {
            "alpaca": partial(Alpaca, instruments=by_symbol),
            "binance-spot": BinanceSpot,
            "binance-usdm": BinanceUsdm,
            "bybit": partial(Bybit, spot=spot),
            "ccxt": Ccxt,
            "coinbase-advanced": partial(Coinbase, instruments=by_symbol),
            "fix44": partial(Fix44, separator="|"),
            "interactive-brokers": partial(InteractiveBrokers, gateway_zone="UTC"),
            "kraken-spot": partial(Kraken, instruments=by_symbol),
            "okx": Okx,
        }
        return adapters[self.venue](unknown_fields=unknown_fields)


def load_cases(folder: Path = DATA) -> list[Case]:
    """Return the cases of all venues."""
    return [_case(json.loads(path.read_text("utf-8"))) for path in sorted(folder.glob("*.json"))]


def recorded() -> Iterator[tuple[Case, Message]]:
    """Yield every message with its case."""
    for case in load_cases():
        for message in case.messages:
            yield case, message


def meant(means: Mapping[str, Any]) -> Operation:
    """Return the operation that one meaning is."""
    words = dict(means)
    kind = words.pop("kind")
    return _OPERATIONS[kind](words)


def comparable(operation: Operation) -> dict[str, Any]:
    """Return an operation as a dictionary, with what the vocabulary does not have left out.

    The client's order id is in no meaning. An amendment without a reference has its own identity.
    The time of a fee that was told apart is not in the message.
    """
    fields = {"operation": type(operation).__name__, **msgspec.structs.asdict(operation)}
    fields.pop("client_order_id", None)
    if isinstance(operation, TradeFee):
        fields["reference"] = operation.reference or operation.trade_id
        del fields["time"]
    if isinstance(operation, CorrectTrade):
        fields["reference"] = operation.reference or operation.new_trade_id
    return fields


def nanoseconds(text: str) -> int:
    """Return a time of a meaning, with up to nine digits of a second."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _case(data: dict[str, Any]) -> Case:
    return Case(
        venue=data["venue"],
        definitions=[
            DefineInstrument(
                symbol=one["symbol"],
                kind=one["kind"],
                base=one["base"],
                quote=one["quote"],
                settlement=one["settle"],
                multiplier=Decimal(one["multiplier"]),
                quantity_step=_decimal(one.get("quantity_step")),
            )
            for one in data["instruments"]
        ],
        messages=[
            Message(f"{data['venue']}-{index}", one["raw"], one["means"])
            for index, one in enumerate(data["messages"])
        ],
        end=data.get("end", {}),
        any_order=data.get("any_order", ""),
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _fill(words: dict[str, Any]) -> Operation:
    return RecordTrade(
        trade_id=words["trade_id"],
        symbol=words["symbol"],
        side=words["side"],
        shares=Decimal(words["quantity"]),
        price=Decimal(words["price"]),
        fee=_decimal(words["fee"]),
        fee_currency=words["fee_currency"],
        venue=words["venue"],
        account=words["account"],
        position_side=words["position_side"] or "net",
        order_id=words["order_id"],
        liquidity=words["liquidity"],
        time=None if words["time"] is None else nanoseconds(words["time"]),
    )


def _fill_fee(words: dict[str, Any]) -> Operation:
    return TradeFee(
        trade_id=words["ref_trade_id"],
        symbol=words["symbol"],
        side=words["side"],
        fee=Decimal(words["fee"]),
        fee_currency=words["fee_currency"],
        reference=words["id"],
        venue=words["venue"],
        account=words["account"],
    )


def _bust(words: dict[str, Any]) -> Operation:
    return BustTrade(
        trade_id=words["ref_trade_id"],
        symbol=words["symbol"],
        side=words["side"],
        reference=words["id"],
        venue=words["venue"],
        account=words["account"],
        time=nanoseconds(words["time"]),
    )


def _correct(words: dict[str, Any]) -> Operation:
    return CorrectTrade(
        trade_id=words["ref_trade_id"],
        new_trade_id=words["trade_id"],
        symbol=words["symbol"],
        side=words["side"],
        shares=Decimal(words["quantity"]),
        price=Decimal(words["price"]),
        fee=_decimal(words.get("fee")),
        fee_currency=words.get("fee_currency"),
        reference=words["id"],
        venue=words["venue"],
        account=words["account"],
        time=nanoseconds(words["time"]),
    )


def _cash(words: dict[str, Any]) -> Operation:
    return AdjustCash(
        type=words["type"],
        amount=Decimal(words["amount"]),
        reference=words["id"],
        currency=words["currency"],
        symbol=words.get("symbol"),
        venue=words["venue"],
        account=words["account"],
        time=nanoseconds(words["time"]),
    )


_OPERATIONS = {
    "fill": _fill,
    "fill_fee": _fill_fee,
    "bust": _bust,
    "correct": _correct,
    "cash": _cash,
}
