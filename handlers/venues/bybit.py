"""Bybit v5: the execution streams, `GET /v5/execution/list`, and the transaction log.

Format: Bybit's v5 pages "Execution", "Fast Execution", "Get Trade History", "Get Transaction Log",
"Enums" and "Spot Fee Currency Instruction".

- `execType` decides. A trade, a liquidation (`BustTrade`), an auto-deleveraging, a delivery, a
  settlement and a block trade move positions. `Funding` is cash, and its `execQty` is the size of
  the position. Other types are refused.
- A positive `execFee` is paid. Funding in the transaction log has the opposite sign and another id,
  so funding is booked from executions, and transfers from the log.
- Two types of the log are told by no execution, and are refused: the expiry of an option, and a
  settlement with a cash flow, which is the profit of a session of a USDC contract.
- The fast stream has no fee: the fee is not known yet, and the other stream completes the fill.
- One name may be a spot pair and a contract. `spot` has the spot pairs, `symbols` the others.
- Without `feeCurrency`, a fee of spot is in base or quote, by the side and the rate of the maker.
  The fee of a contract is in the settlement currency, which the name of a perpetual tells: BTCUSDT
  and BTCPERP are settled in USDT and USDC, BTCUSD in BTC.
- No message tells the side of a position. In hedge mode `closedSize` does: a fill either opens
  (nothing closed) or closes (all of the fill closed) one side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from eventstore import Operation
from handlers.define_instrument import DefineInstrument
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import MAKER_TAKER, CashKind, VenueAdapter, negated, with_fees
from handlers.venues.reading import Fields, PositionSide, Side, names
from handlers.venues.times import milliseconds

__all__ = ["TRANSACTIONS", "Bybit"]

TRANSACTIONS: Mapping[str, CashKind] = {
    "TRANSFER_IN": "deposit",
    "TRANSFER_OUT": "withdrawal",
    "TRADE": "told_elsewhere",
    "SETTLEMENT": "told_elsewhere",
    "LIQUIDATION": "told_elsewhere",
    "ADL": "told_elsewhere",
    "DELIVERY": "told_elsewhere",
    "INTEREST": "interest",
    "FEE_REFUND": "rebate",
}
"""The booking of each type of the transaction log. Any other type is refused."""

_SIDES: dict[str, Side] = {"Buy": "buy", "Sell": "sell"}
_TRADES = frozenset("Trade AdlTrade BustTrade Delivery Settle BlockTrade".split())
_WITHOUT_ORDER = frozenset({"BlockTrade", "Delivery", "Settle"})
_CATEGORIES = frozenset({"spot", "linear", "inverse", "option"})
_EXECUTION_TOPIC = re.compile(r"execution(\.(spot|linear|inverse|option))?")
_FAST_TOPIC = re.compile(r"execution\.fast(\.(spot|linear|inverse|option))?")
_QUIET_TOPIC = re.compile(r"(order|position|wallet|greeks|dcp)(\.[a-z]+)?")
_PERPETUALS = {
    "linear": re.compile(r"[A-Z0-9]+(?P<coin>USDT|PERP)"),
    "inverse": re.compile(r"(?P<coin>[A-Z0-9]+)USD"),
}
_QUIET_REQUESTS = frozenset({"auth", "subscribe", "unsubscribe", "ping", "pong"})

_FRAME = names("topic id creationTime data")
_ANSWER = names("retCode retMsg result retExtInfo time")
_EXECUTION = names(
    "category symbol closedSize execFee execFeeV2 execId execPrice execQty execType execValue "
    "feeRate tradeIv markIv blockTradeId markPrice indexPrice underlyingPrice leavesQty orderId "
    "orderLinkId orderPrice orderQty orderType stopOrderType side execTime isLeverage isMaker seq "
    "marketUnit execPnl createType extraFees feeCurrency"
)
_FAST = names(
    "category symbol execId execPrice execQty orderId isMaker orderLinkId side execTime seq"
)
_TRANSACTION = names(
    "id symbol category side transactionTime type transSubType qty size currency tradePrice "
    "funding fee cashFlow change cashBalance feeRate bonusChange tradeId orderId orderLinkId "
    "extraFees"
)
_EXTRA_FEE = names("feeCoin feeType subFeeType feeRate fee")


@dataclass(frozen=True, kw_only=True)
class Bybit(VenueAdapter):
    """The adapter of Bybit v5.

    Attributes:
        spot: Definitions of spot pairs by Bybit's symbol. A spot pair without one is refused.
        symbols: The user's name by Bybit's symbol, of every other category.
        hedge_mode: Whether the account holds long and short positions of one symbol. Then fills of
            the fast stream are refused, because they do not tell the side of the position.
        cash_kinds: The booking of further types of the transaction log, beside `TRANSACTIONS`.

    >>> eth = DefineInstrument(symbol="ETHUSDT.spot", kind="spot", base="ETH", quote="USDT")
    >>> adapter = Bybit(spot={"ETHUSDT": eth})
    >>> adapter.operations({"topic": "wallet", "data": []})
    []
    """

    venue: str = "bybit"
    spot: Mapping[str, DefineInstrument] = field(default_factory=dict)
    hedge_mode: bool = False
    cash_kinds: Mapping[str, CashKind] = field(default_factory=dict)

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of a message of the stream, or of the body of an answer.

        Raises `VenueMessageError` for an unknown topic, type, field or form, and for an answer with
        an error.
        """
        fields = Fields(message, self.unknown_fields)
        if "topic" in fields:
            return self._frame(fields)
        if "retCode" in fields and "result" in fields:
            return self._answer(fields.only(_ANSWER))
        if "op" in fields:
            request = fields.text("op")
            if request in _QUIET_REQUESTS and fields.optional_raw("success") is not False:
                return []
            raise fields.refusal(f"is an unknown or failed request: {request[:80]!r}", "op")
        raise fields.refusal("is neither a message of a topic nor an answer")

    def _frame(self, frame: Fields) -> list[Operation]:
        topic = frame.text("topic")
        if _QUIET_TOPIC.fullmatch(topic):
            return []
        operations: list[Operation] = []
        if _EXECUTION_TOPIC.fullmatch(topic):
            for entry in frame.only(_FRAME).entries("data"):
                operations += self._execution(entry.only(_EXECUTION), "")
        elif _FAST_TOPIC.fullmatch(topic):
            for entry in frame.only(_FRAME).entries("data"):
                operations.append(self._fill(entry.only(_FAST), entry.text("category")))
        else:
            raise frame.refusal(f"is an unknown topic: {topic[:80]!r}", "topic")
        return operations

    def _answer(self, answer: Fields) -> list[Operation]:
        if answer.raw("retCode") != 0:
            raise answer.refusal("tells an error", "retCode")
        result = answer.fields("result").only({"list", "nextPageCursor", "category"})
        operations: list[Operation] = []
        for entry in result.entries("list"):
            if "execId" in entry:
                operations += self._execution(
                    entry.only(_EXECUTION), result.optional_text("category")
                )
            elif "transactionTime" in entry:
                operations += self._transaction(entry.only(_TRANSACTION))
            else:
                raise entry.refusal("is neither an execution nor of the transaction log")
        return operations

    def _execution(self, entry: Fields, category: str) -> list[Operation]:
        category = self._category(entry, category)
        kind = entry.text("execType")
        if kind == "Funding":
            return self._funding(entry, category)
        if kind not in _TRADES:
            raise entry.refusal(f"is unknown: {kind[:80]!r}", "execType")
        fill = self._fill(entry, category)
        fees = [(self._fee_currency(entry, category), entry.number("execFee"))]
        if not entry.absent("extraFees"):
            for extra in entry.entries("extraFees"):
                extra.only(_EXTRA_FEE)
                fees.append((extra.text("feeCoin"), extra.number("fee")))
        return with_fees(fill, fees, self._pair(entry).base if category == "spot" else None)

    def _fill(self, entry: Fields, category: str) -> RecordTrade:
        price = entry.number("execPrice")
        if price < 0:
            raise entry.refusal("is below zero", "execPrice")
        return RecordTrade(
            trade_id=entry.text("execId"),
            symbol=self._symbol(entry, category),
            side=entry.choice("side", _SIDES),
            shares=entry.positive("execQty"),
            price=price,
            venue=self.venue,
            account=self.account,
            position_side=self._position_side(entry, category),
            order_id=_order(entry),
            client_order_id=entry.optional_text("orderLinkId"),
            liquidity=MAKER_TAKER[entry.flag("isMaker")],
            time=entry.time("execTime", milliseconds),
        )

    def _funding(self, entry: Fields, category: str) -> list[Operation]:
        return self.cash(
            "funding",
            amount=negated(entry.number("execFee")),
            reference=entry.text("execId"),
            currency=self._fee_currency(entry, category) or _settlement(entry, category),
            symbol=self._symbol(entry, category),
            time=entry.time("execTime", milliseconds),
        )

    def _transaction(self, entry: Fields) -> list[Operation]:
        kind = entry.choice("type", {**TRANSACTIONS, **self.cash_kinds})
        if kind == "told_elsewhere":
            if entry.text("type") == "DELIVERY" and entry.optional_text("category") == "option":
                raise entry.refusal(
                    "is the expiry of an option, which no execution tells. settle books it", "type"
                )
            if entry.text("type") == "SETTLEMENT" and entry.optional_number("cashFlow"):
                raise entry.refusal(
                    "is the profit of a session, which is not booked here. adjust_cash of type "
                    "settlement books it",
                    "cashFlow",
                )
            return []
        symbol = None
        if not entry.absent("symbol"):
            symbol = self._symbol(entry, self._category(entry, ""))
        return self.cash(
            kind,
            amount=entry.number("change"),
            reference=entry.text("id"),
            currency=entry.text("currency"),
            symbol=symbol,
            time=entry.time("transactionTime", milliseconds),
        )

    def _category(self, entry: Fields, of_answer: str) -> str:
        category = entry.optional_text("category") or of_answer
        if of_answer not in ("", category):
            raise entry.refusal("is another category than the answer's", "category")
        if category not in _CATEGORIES:
            raise entry.refusal(f"is unknown: {category[:80]!r}", "category")
        return category

    def _symbol(self, entry: Fields, category: str) -> str:
        if category == "spot":
            return self._pair(entry).symbol
        return self.symbol(entry.text("symbol"))

    def _pair(self, entry: Fields) -> DefineInstrument:
        symbol = entry.text("symbol")
        if symbol not in self.spot:
            raise entry.refusal(
                f"is a spot pair without a definition, and may be a contract too: {symbol[:80]!r}. "
                "spot has to have it",
                "symbol",
            )
        return self.spot[symbol]

    def _fee_currency(self, entry: Fields, category: str) -> str | None:
        """Return the currency of a fee, and `None` for the settlement currency of a contract."""
        if not entry.absent("feeCurrency"):
            return entry.text("feeCurrency")
        if category != "spot":
            return None
        pair = self._pair(entry)
        credited = entry.flag("isMaker") and entry.number("feeRate") < 0
        bought = entry.choice("side", _SIDES) == "buy"
        currency = pair.base if bought is not credited else pair.quote
        if currency is None:
            raise entry.refusal(
                "is missing, and the definition of the pair lacks it", "feeCurrency"
            )
        return currency

    def _position_side(self, entry: Fields, category: str) -> PositionSide:
        if not self.hedge_mode or category == "spot":
            return "net"
        closed = (
            Decimal(0) if entry.optional_raw("closedSize") == "" else entry.number("closedSize")
        )
        if closed and closed != entry.number("execQty"):
            raise entry.refusal("is neither nothing nor all of the fill", "closedSize")
        opens_long = entry.choice("side", _SIDES) == "buy"
        return "long" if opens_long is not bool(closed) else "short"


def _order(entry: Fields) -> str:
    """Return the order of a fill. Blocks, deliveries and settlements may have none."""
    without = "execType" in entry and entry.text("execType") in _WITHOUT_ORDER
    return entry.optional_text("orderId") if without else entry.text("orderId")


def _settlement(entry: Fields, category: str) -> str:
    """Return the settlement currency of a perpetual, by the names that Bybit gives perpetuals."""
    name = _PERPETUALS.get(category)
    found = None if name is None else name.fullmatch(entry.text("symbol"))
    if found is None:
        raise entry.refusal("is missing, and the symbol does not tell it", "feeCurrency")
    return "USDC" if found["coin"] == "PERP" else found["coin"]
