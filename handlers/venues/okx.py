"""OKX v5: the orders channel, `GET /api/v5/trade/fills`, and `GET /api/v5/account/bills`.

Format: OKX's v5 pages "Order channel", "Get transaction details" and "Get bills details".

- An entry of the orders channel has one fill at most, where `tradeId` is not empty. `fillSz` and
  `fillFee` are of this fill, `accFillSz` and `fee` of the order. In the fills of a request `fee` is
  of the fill.
- A negative fee is paid, a positive one is a rebate.
- The identity is instrument, trade id and side. The trade id of a liquidation or an
  auto-deleveraging is negative or zero and identifies nothing. Such a fill is refused in the
  stream, and has its bill's id in the fills of a request.
- The fills of a request and the bills of the trading account are told by `billId` and `subType`. An
  order of a request has neither, and the bills of the funding account have types of another table:
  both are refused.
- `subType` of a fill tells trades, liquidations, deliveries and blocks from transfers, conversions
  and positions that were moved. The latter are refused.
- Sizes of derivatives are contracts. The multiplier of the instrument is the contract value.
- Funding is booked from bills of type 8. Bills of type 2 repeat the trades.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from eventstore import Operation
from handlers.order_closed import OrderClosed
from handlers.order_updated import OrderUpdated
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import CashKind, VenueAdapter, negated, with_fees
from handlers.venues.okx_messages import FILLED, identifies
from handlers.venues.reading import BUY_SELL, Fields, PositionSide, names
from handlers.venues.times import milliseconds

__all__ = ["BILLS", "Okx"]

BILLS: Mapping[str, CashKind] = {
    "1": "in_or_out",
    "2": "told_elsewhere",
    "7": "interest",
    "8": "funding",
}
"""The booking of each type of a bill. Any other type is refused."""

_FUNDING = "8"
_LIQUIDITY: dict[str, Literal["maker", "taker"] | None] = {"M": "maker", "T": "taker", "": None}
_POSITION_SIDES: dict[str, PositionSide] = {
    "": "net",
    "net": "net",
    "long": "long",
    "short": "short",
}
_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION"})
_QUIET_CHANNELS = frozenset(
    "account positions balance_and_position orders-algo algo-advance liquidation-warning "
    "account-greeks".split()
)
_QUIET_EVENTS = frozenset(
    "login subscribe unsubscribe channel-conn-count channel-conn-count-error notice".split()
)
_OPEN = frozenset({"live", "partially_filled"})
_CLOSED = frozenset({"filled", "canceled", "mmp_canceled"})

_ORDER = names(
    "instType instId ccy ordId clOrdId tag px pxUsd pxVol pxType sz notionalUsd ordType side "
    "posSide tdMode tgtCcy fillPx tradeId fillSz fillPnl fillTime fillFee fillFeeCcy fillPxVol "
    "fillPxUsd fillMarkVol fillFwdPx fillMarkPx fillIdxPx execType accFillSz fillNotionalUsd avgPx "
    "state lever feeCcy fee rebateCcy rebate pnl source cancelSource cancelSourceReason "
    "amendSource category "
    "reduceOnly quickMgnType algoClOrdId algoId attachAlgoClOrdId attachAlgoOrds linkedAlgoOrd "
    "isTpLimit stpId stpMode slOrdPx slTriggerPx slTriggerPxType tpOrdPx tpTriggerPx "
    "tpTriggerPxType lastPx cTime uTime reqId amendResult code msg tradeQuoteCcy outcome"
)
_FILL = names(
    "instType instId tradeId ordId clOrdId billId subType tag fillPx fillSz fillIdxPx fillPnl "
    "fillPxVol fillPxUsd fillMarkVol fillFwdPx fillMarkPx side posSide execType feeCcy fee ts "
    "fillTime feeRate tradeQuoteCcy"
)
_BILL = names(
    "bal balChg billId ccy clOrdId execType fee from instId instType interest mgnMode notes ordId "
    "pnl posBal posBalChg px subType sz tag to tradeId ts type fillTime fillIdxPx fillMarkPx "
    "fillMarkVol fillPxVol fillPxUsd fillFwdPx earnAmt earnApr tradeQuoteCcy"
)


@dataclass(frozen=True, kw_only=True)
class Okx(VenueAdapter):
    """The adapter of OKX v5.

    Attributes:
        cash_kinds: The booking of further types of bills, beside `BILLS`.

    >>> Okx(account="book").operations({"event": "subscribe", "arg": {"channel": "orders"}})
    []
    """

    venue: str = "okx"
    cash_kinds: Mapping[str, CashKind] = field(default_factory=dict)

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of a message of the stream, or of the body of an answer.

        Raises `VenueMessageError` for an unknown channel, type, field or form, and for an answer
        with an error.
        """
        operations: list[Operation] = []
        fields = Fields(message, self.unknown_fields)
        for order in self._orders(fields):
            operations += self._order_fill(order)
        if "code" in fields and "data" in fields:
            operations += self._answer(fields.only({"code", "msg", "data"}))
        return operations

    def orders(self, message: object) -> list[Operation]:
        """Return the orders of the orders channel: `order_updated` or `order_closed` of each.

        Other messages have no orders. Raises `VenueMessageError` as `operations` does.
        """
        return [
            self._order_state(order) for order in self._orders(Fields(message, self.unknown_fields))
        ]

    def _orders(self, message: Fields) -> list[Fields]:
        """Return the entries of the orders channel, and none of a message without any."""
        if "event" in message:
            event = message.text("event")
            if event not in _QUIET_EVENTS:
                raise message.refusal(f"is an error or unknown: {event[:80]!r}", "event")
            return []
        if "arg" in message:
            channel = message.fields("arg").text("channel")
            if channel in _QUIET_CHANNELS:
                return []
            if channel != "orders":
                raise message.refusal(f"is an unknown channel: {channel[:80]!r}", "arg.channel")
            entries = message.only({"arg", "data"}).entries("data")
            return [entry.only(_ORDER) for entry in entries]
        if "code" not in message or "data" not in message:
            raise message.refusal("is neither a message of a channel nor an answer")
        return []

    def _order_fill(self, order: Fields) -> list[Operation]:
        if order.text("instType") not in _TYPES:
            raise order.refusal("is unknown", "instType")
        if not isinstance(order.raw("tradeId"), str) or order.absent("tradeId"):
            if order.raw("tradeId") != "":
                raise order.refusal("is no text", "tradeId")
            return []
        trade_id = _trade_id(order)
        if trade_id is None:
            raise order.refusal(
                "identifies nothing, as of a liquidation. The fills of a request have the bill of "
                "this fill",
                "tradeId",
            )
        fill = RecordTrade(
            trade_id=trade_id,
            symbol=self.symbol(order.text("instId")),
            side=order.choice("side", BUY_SELL),
            shares=order.positive("fillSz"),
            price=_price(order),
            venue=self.venue,
            account=self.account,
            position_side=order.choice("posSide", _POSITION_SIDES),
            order_id=order.text("ordId"),
            client_order_id=order.optional_text("clOrdId"),
            liquidity=order.choice("execType", _LIQUIDITY),
            time=order.time("fillTime", milliseconds),
        )
        if order.absent("fillFee"):
            return [fill]
        return with_fees(fill, _fee(order, "fillFee", "fillFeeCcy"))

    def _answer(self, answer: Fields) -> list[Operation]:
        if answer.raw("code") != "0":
            raise answer.refusal("tells an error", "code")
        operations: list[Operation] = []
        for entry in answer.entries("data"):
            if "billId" in entry and "fillPx" in entry and "balChg" not in entry:
                operations += self._fill(entry.only(_FILL))
            elif "balChg" in entry and "subType" in entry:
                operations += self._bill(entry.only(_BILL))
            else:
                raise entry.refusal("is neither a fill nor a bill of the trading account")
        return operations

    def _fill(self, entry: Fields) -> list[Operation]:
        if entry.text("instType") not in _TYPES:
            raise entry.refusal("is unknown", "instType")
        if not entry.absent("subType") and (kind := entry.text("subType")) not in FILLED:
            raise entry.refusal(f"is no trade, or unknown: {kind[:80]!r}", "subType")
        fill = RecordTrade(
            trade_id=_trade_id(entry) or entry.text("billId"),
            symbol=self.symbol(entry.text("instId")),
            side=entry.choice("side", BUY_SELL),
            shares=entry.positive("fillSz"),
            price=_price(entry),
            venue=self.venue,
            account=self.account,
            position_side=entry.choice("posSide", _POSITION_SIDES),
            order_id=entry.optional_text("ordId"),  # a block has none
            client_order_id=entry.optional_text("clOrdId"),
            liquidity=entry.choice("execType", _LIQUIDITY),
            time=entry.time("fillTime", milliseconds),
        )
        return with_fees(fill, _fee(entry, "fee", "feeCcy"))

    def _bill(self, bill: Fields) -> list[Operation]:
        amount = bill.number("balChg")
        if bill.optional_raw("type") == _FUNDING and amount != bill.number("pnl"):
            raise bill.refusal("is not the funding, as of an isolated position", "balChg")
        return self.cash(
            bill.choice("type", {**BILLS, **self.cash_kinds}),
            amount=amount,
            reference=bill.text("billId"),
            currency=bill.text("ccy"),
            symbol=self.symbol(symbol) if (symbol := bill.optional_text("instId")) else None,
            time=bill.time("ts", milliseconds),
        )

    def _order_state(self, order: Fields) -> Operation:
        state = order.text("state")
        time = order.time("uTime", milliseconds)
        if state in _CLOSED:
            return OrderClosed(
                order_id=order.text("ordId"),
                client_order_id=order.optional_text("clOrdId"),
                reason=state,
                venue=self.venue,
                account=self.account,
                time=time,
            )
        if state not in _OPEN:
            raise order.refusal(f"is an unknown state of an order: {state[:80]!r}", "state")
        if order.optional_text("tgtCcy") == "quote_ccy":
            raise order.refusal("says that the size is no quantity of the base", "tgtCcy")
        return OrderUpdated(
            order_id=order.text("ordId"),
            symbol=self.symbol(order.text("instId")),
            side=order.choice("side", BUY_SELL),
            shares=order.positive("sz"),
            price=order.optional_number("px"),
            client_order_id=order.optional_text("clOrdId"),
            position_side=order.choice("posSide", _POSITION_SIDES),
            venue=self.venue,
            account=self.account,
            time=time,
        )


def _trade_id(entry: Fields) -> str | None:
    """Return a trade id, and `None` for one that identifies nothing."""
    if entry.raw("tradeId") == "":
        return None
    trade_id = entry.text("tradeId")
    return trade_id if identifies(trade_id) else None


def _price(entry: Fields) -> Decimal:
    price = entry.number("fillPx")
    if price < 0:
        raise entry.refusal("is below zero", "fillPx")
    return price


def _fee(entry: Fields, amount: str, currency: str) -> list[tuple[str | None, Decimal]]:
    fee = negated(entry.number(amount))
    return [(entry.text(currency) if fee else None, fee)]
