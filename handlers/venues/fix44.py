"""FIX 4.4: execution reports (35=8).

Format: FIX 4.4, volume 4, "Execution Report". The frame is checked by `fix_message`.

- `ExecType` (150) decides. `F` is a fill. `G` corrects and `H` takes back the fill of
  `ExecRefID` (19). The other types tell the state of an order. `1` and `2`, and
  `ExecTransType` (20), are of FIX 4.2 and are refused.
- 32 and 31 are of the fill, 14 and 6 are sums of the order.
- A price is one of a unit. Any other `PriceType` (423), such as per cent of par, is refused. So are
  accrued interest (159), and a settlement (120) in another currency than that of the price (15).
- The identity is `ExecID` (17), the same in a resend. An `ExecID` need be unique
  within a day and a session only, so `venue` has to name the session, and `dated_ids` puts the
  trade date (75) before the id.
- The fee is `Commission` (12) by its type (13: 1 per unit, 2 per cent of the value, 3 absolute),
  with the miscellaneous fees (136 to 139, 891). FIX writes five per cent as .05, so one and more is
  refused. Fees in more than one currency are refused.
- A leg of a combination (442=2) and the combination itself (442=3) tell the same fill, so
  `multileg` has to say the one to book.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from eventstore import Operation
from handlers.bust_trade import BustTrade
from handlers.correct_trade import CorrectTrade
from handlers.errors import VenueMessageError
from handlers.order_closed import OrderClosed
from handlers.order_updated import OrderUpdated
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import VenueAdapter, added, check_choice, multiplied
from handlers.venues.fix_message import EXECUTION_REPORT_TAGS, parse
from handlers.venues.reading import Fields, Side
from handlers.venues.times import fix_timestamp

__all__ = ["Fix44"]

Multileg = Literal["refuse", "legs", "whole"]
Separator = Literal["\x01", "|"]
Fees = list[tuple[str | None, Decimal]]

_SIDES: dict[str, Side] = {"1": "buy", "2": "sell", "5": "sell", "6": "sell"}
_LIQUIDITY: dict[str, Literal["maker", "taker"] | None] = {"1": "maker", "2": "taker", "3": None}
_FILL, _CORRECT, _BUST = "F", "G", "H"
_STATES = dict.fromkeys("03456789ABCDEI", "state")
_EXECUTES = {**_STATES, _FILL: _FILL, _CORRECT: _CORRECT, _BUST: _BUST}
_OPEN = dict.fromkeys("01679ADE", "")
_CLOSED = {"2": "filled", "4": "canceled", "8": "rejected", "C": "expired", "3": "done for day"}
_QUIET = frozenset("0 1 2 3 4 5 9 A j".split())
"""Types of messages without a booking: of the session, and rejects of requests."""

_PER_UNIT, _PER_CENT, _ABSOLUTE = "unit", "per cent", "absolute"
_COMMISSION_TYPE = {"1": _PER_UNIT, "2": _PER_CENT, "3": _ABSOLUTE}
_FEE_BASIS = {"0": _ABSOLUTE, "1": _PER_UNIT, "2": _PER_CENT}
_PRICE_OF_A_UNIT = "2"
_MISC_FEE = frozenset({137, 138, 139, 891})
_DERIVATIVE = ("200", "201", "202", "205", "541")
"""Tags of maturity, put or call, and strike: then 55 alone does not name the contract."""

_ONCE = frozenset(
    "1 11 12 13 15 17 19 20 31 32 37 38 39 43 44 48 54 55 60 75 120 136 150 159 200 201 202 205 "
    "231 423 442 479 541 851".split()
)
"""Tags that are read, and belong to no group."""


@dataclass(frozen=True, kw_only=True)
class Fix44(VenueAdapter):
    """The adapter of one session of FIX 4.4.

    Attributes:
        account: The account of a report without `Account` (1).
        symbols: The user's symbol by `Symbol` (55), or by `SecurityID` (48). Futures and options
            need the latter.
        separator: SOH, or `|` of a message from a printed log.
        dated_ids: Whether an `ExecID` is unique within a day only. Then an amendment has to
            have the trade date of the fill.
        multileg: The reports of combinations to book: of the `legs`, or of the `whole`.
        encoding: The encoding of text. Length and checksum are of bytes.

    >>> Fix44(venue="broker-1", separator="|").operations("8=FIX.4.4|9=5|35=0|10=163|")
    []
    """

    venue: str = "fix44"
    separator: Separator = "\x01"
    dated_ids: bool = False
    multileg: Multileg = "refuse"
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("separator", self.separator, Separator)
        check_choice("multileg", self.multileg, Multileg)

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of one message, a text or bytes.

        Raises `VenueMessageError` for a broken frame, an unknown type of message or of execution,
        an unknown tag or an unknown form.
        """
        report, misc_fees = self._report(message)
        if report is None:
            return []
        kind = report.choice("150", _EXECUTES)
        if kind not in (_FILL, _CORRECT, _BUST):
            return []
        if "442" in report:
            multileg = report.choice("442", {"1": "single", "2": "legs", "3": "whole"})
            if multileg != "single" and self.multileg == "refuse":
                raise report.refusal("is of a combination; multileg says what is booked", "442")
            if multileg not in ("single", self.multileg):
                return []
        if kind == _BUST:
            return [
                BustTrade(
                    trade_id=self._trade_id(report, "19"),
                    symbol=self._symbol(report),
                    side=report.choice("54", _SIDES),
                    reference=self._trade_id(report, "17"),
                    venue=self.venue,
                    account=self._account(report),
                    time=_time(report),
                )
            ]
        _refuse_other_money(report)
        fee, currency = _fee(report, misc_fees)
        if kind == _CORRECT:
            return [
                CorrectTrade(
                    trade_id=self._trade_id(report, "19"),
                    new_trade_id=self._trade_id(report, "17"),
                    symbol=self._symbol(report),
                    side=report.choice("54", _SIDES),
                    shares=report.positive("32"),
                    price=report.number("31"),
                    fee=fee,
                    fee_currency=currency,
                    venue=self.venue,
                    account=self._account(report),
                    time=_time(report),
                )
            ]
        return [
            RecordTrade(
                trade_id=self._trade_id(report, "17"),
                symbol=self._symbol(report),
                side=report.choice("54", _SIDES),
                shares=report.positive("32"),
                price=report.number("31"),
                fee=fee,
                fee_currency=currency,
                venue=self.venue,
                account=self._account(report),
                order_id=report.text("37"),
                client_order_id=report.optional_text("11"),
                liquidity=report.choice("851", _LIQUIDITY) if "851" in report else None,
                time=_time(report),
            )
        ]

    def orders(self, message: object) -> list[Operation]:
        """Return the order behind a report: `order_updated` or `order_closed`.

        Other messages have no orders. Raises `VenueMessageError` as `operations` does.
        """
        report, _ = self._report(message)
        if report is None:
            return []
        report.choice("150", _EXECUTES)
        state = report.choice("39", {**_OPEN, **_CLOSED})
        if state:
            return [
                OrderClosed(
                    order_id=report.text("37"),
                    client_order_id=report.optional_text("11"),
                    reason=state,
                    venue=self.venue,
                    account=self._account(report),
                    time=_time(report),
                )
            ]
        return [
            OrderUpdated(
                order_id=report.text("37"),
                symbol=self._symbol(report),
                side=report.choice("54", _SIDES),
                shares=report.positive("38"),
                price=report.optional_number("44"),
                client_order_id=report.optional_text("11"),
                venue=self.venue,
                account=self._account(report),
                time=_time(report),
            )
        ]

    def _report(self, message: object) -> tuple[Fields | None, list[Fields]]:
        """Return an execution report and its miscellaneous fees, and `None` of another message."""
        try:
            fields = [
                (tag, value.decode(self.encoding)) for tag, value in parse(self._bytes(message))
            ]
        except ValueError as error:
            raise VenueMessageError(f"the message {error}", message) from error
        kind = fields[2][1]
        if kind in _QUIET:
            return None, []
        if kind != "8":
            raise VenueMessageError(f"the message is of an unknown type: 35={kind[:80]}", message)
        values: dict[str, str] = {}
        for tag, value in fields:
            if str(tag) in values and str(tag) in _ONCE:
                raise VenueMessageError(f"the message has {tag} twice", message)
            values.setdefault(str(tag), value)
        if "20" in values:
            raise VenueMessageError("the message has 20, so it is of an earlier FIX", message)
        report = Fields(values, self.unknown_fields, path="$", message=message)
        return report.only(EXECUTION_REPORT_TAGS), _misc_fees(fields, report)

    def _bytes(self, message: object) -> bytes:
        """Return the bytes of a message. Raises `ValueError` for another type."""
        if isinstance(message, str):
            message = message.encode(self.encoding)
        if not isinstance(message, bytes):
            raise ValueError("is neither text nor bytes")
        return message if self.separator != "|" else message.replace(b"|", b"\x01")

    def _trade_id(self, report: Fields, tag: str) -> str:
        if not self.dated_ids:
            return report.text(tag)
        return f"{report.text('75')}/{report.text(tag)}"

    def _account(self, report: Fields) -> str:
        return report.optional_text("1") or self.account

    def _symbol(self, report: Fields) -> str:
        security = report.optional_text("48")
        if security in self.symbols:
            return self.symbols[security]
        if any(tag in report for tag in _DERIVATIVE):
            raise report.refusal("does not name the contract; symbols has to have 48", "55")
        return self.symbol(report.text("55"))


def _refuse_other_money(report: Fields) -> None:
    """Refuse a fill that moves another amount than the quantity times the price."""
    if report.optional_text("423") not in ("", _PRICE_OF_A_UNIT):
        raise report.refusal("says that the price is not that of a unit", "423")
    if report.optional_number("159"):
        raise report.refusal("is accrued interest, which is paid beside the price", "159")
    priced, settled = report.optional_text("15"), report.optional_text("120")
    if priced and settled not in ("", priced):
        raise report.refusal("is another currency than that of the price (15)", "120")


def _time(report: Fields) -> int | None:
    return report.time("60", fix_timestamp) if "60" in report else None


def _misc_fees(fields: list[tuple[int, str]], report: Fields) -> list[Fields]:
    """Return the entries of the group of miscellaneous fees. The group begins with 136."""
    tags = [tag for tag, _ in fields]
    entries: list[dict[str, str]] = []
    if 136 in tags:
        for tag, value in fields[tags.index(136) + 1 :]:
            if tag not in _MISC_FEE:
                break
            if tag == 137:
                entries.append({})
            if not entries or str(tag) in entries[-1]:
                raise report.refusal("is a group that does not begin with 137", "136")
            entries[-1][str(tag)] = value
    if sum(tag in _MISC_FEE for tag in tags) != sum(map(len, entries)) or (
        136 in tags and report.number("136") != len(entries)
    ):
        raise report.refusal("is not the number of the miscellaneous fees", "136")
    return [Fields(entry, "refuse", path="$.136", message=report.message) for entry in entries]


def _fee(report: Fields, misc_fees: list[Fields]) -> tuple[Decimal | None, str | None]:
    """Return the fee and its currency, and `None` where no fee is told."""
    deal_currency = report.optional_text("15")
    fees: Fees = []
    if "12" in report:
        kind = report.choice("13", _COMMISSION_TYPE)
        fees.append(
            (
                report.optional_text("479") or deal_currency or None,
                _amount(report, "12", kind, report),
            )
        )
    for entry in misc_fees:
        kind = entry.choice("891", _FEE_BASIS) if "891" in entry else _ABSOLUTE
        fees.append(
            (
                entry.optional_text("138") or deal_currency or None,
                _amount(entry, "137", kind, report),
            )
        )
    if not fees:
        return None, None
    currencies = dict.fromkeys(currency for currency, _ in fees)
    if len(currencies) > 1:
        raise report.refusal("and 138 tell fees in several currencies", "479")
    total = Decimal(0)
    for _, fee in fees:
        total = added(total, fee)
    return total, fees[0][0]


def _amount(entry: Fields, tag: str, kind: str, report: Fields) -> Decimal:
    fee = entry.number(tag)
    if kind == _ABSOLUTE:
        return fee
    quantity = report.positive("32")
    if kind == _PER_UNIT:
        return multiplied(fee, quantity)
    if "231" in report:
        quantity = multiplied(quantity, report.positive("231"))
    elif any(name in report for name in _DERIVATIVE):
        raise entry.refusal("is per cent of a value, and the multiplier (231) is missing", tag)
    if not -1 < fee < 1:
        raise entry.refusal("is a hundred per cent or more: FIX writes 5 per cent as .05", tag)
    return multiplied(multiplied(fee, quantity), report.number("31"))
