"""Binance USD-M futures: the user data stream, `GET /fapi/v1/userTrades`, and the income history.

Format: the pages "Event Order Update", "Event Trade Lite", "Event Balance and Position Update",
"Account Trade List" and "Get Income History" of the USD-M documentation.

- Only the execution type `TRADE` of `ORDER_TRADE_UPDATE` executes. `n` and `N` are absent where
  there was no commission. `CALCULATED`, an execution of a liquidation, is refused, because the
  fields are not documented.
- `ps` is the side of the position: `BOTH` is net, `LONG` and `SHORT` are of the hedge mode.
- `TRADE_LITE` tells the same trade sooner, without position side and commission. It is booked only
  where the account is told to be in one-way mode.
- `ACCOUNT_UPDATE` tells balances and positions as they are, for reconciling.
- Funding and transfers are booked from the income history. A `tranId` is unique within one
  `incomeType`, and larger than 2**53. Commissions and realised profit are in the trades already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from eventstore import Operation
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import (
    MAKER_TAKER,
    CashKind,
    VenueAdapter,
    with_fees,
)
from handlers.venues.binance_messages import (
    SIDES,
    acknowledges,
    commission,
    order_told,
    unwrapped,
)
from handlers.venues.reading import Fields, PositionSide, names
from handlers.venues.times import milliseconds

__all__ = ["INCOME", "BinanceUsdm"]

INCOME: Mapping[str, CashKind] = {
    "TRANSFER": "in_or_out",
    "FUNDING_FEE": "funding",
    "COMMISSION": "told_elsewhere",
    "REALIZED_PNL": "told_elsewhere",
    "INTERNAL_TRANSFER": "in_or_out",
    "CROSS_COLLATERAL_TRANSFER": "in_or_out",
    "COIN_SWAP_DEPOSIT": "deposit",
    "COIN_SWAP_WITHDRAW": "withdrawal",
    "STRATEGY_UMFUTURES_TRANSFER": "in_or_out",
    "INSURANCE_CLEAR": "fee",
    "POSITION_LIMIT_INCREASE_FEE": "fee",
    "COMMISSION_REBATE": "rebate",
    "API_REBATE": "rebate",
    "REFERRAL_KICKBACK": "rebate",
    "FEE_RETURN": "rebate",
}
"""The booking of each income type. Any other type is refused."""

_BARE_REFERENCE = frozenset({"TRANSFER", "FUNDING_FEE"})
"""Income types with the bare `tranId` as reference. Two other types may share one type of cash
movement, so each of the other references begins with the income type."""

_POSITION_SIDES: dict[str, PositionSide] = {"BOTH": "net", "LONG": "long", "SHORT": "short"}

_UPDATE = names("e E T o fs i")
_ORDER = names(
    "s c S o f q p ap sp x X i l z L N n T t b a m R wt ot ps cp AP cr pP si ss rp V pm gtd er ia"
)
_TRADE_LITE = names("e E T s q p m c S L l t i")
_QUIET = frozenset(
    "ACCOUNT_UPDATE ACCOUNT_CONFIG_UPDATE MARGIN_CALL STRATEGY_UPDATE GRID_UPDATE ALGO_UPDATE "
    "CONDITIONAL_ORDER_TRIGGER_REJECT listenKeyExpired".split()
)
"""Events without a booking."""

_EXECUTES = {"TRADE": True, "NEW": False, "CANCELED": False, "EXPIRED": False, "AMENDMENT": False}
_OPEN = frozenset({"NEW", "PARTIALLY_FILLED"})
_CLOSED = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"})

_USER_TRADE = names(
    "symbol id orderId side price qty realizedPnl marginAsset quoteQty commission commissionAsset "
    "time positionSide buyer maker"
)
_INCOME = names("symbol incomeType income asset time info tranId tradeId")


@dataclass(frozen=True, kw_only=True)
class BinanceUsdm(VenueAdapter):
    """The adapter of Binance USD-M futures.

    Attributes:
        one_way: Whether the account is known to be in one-way mode. Then `TRADE_LITE` is booked,
            with an unknown fee.
        cash_kinds: The booking of further income types, beside `INCOME`.

    >>> BinanceUsdm(one_way=True).operations({"e": "MARGIN_CALL", "E": 1, "p": []})
    []
    """

    venue: str = "binance-usdm"
    one_way: bool = False
    cash_kinds: Mapping[str, CashKind] = field(default_factory=dict)

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of an event of the stream, or of a requested list.

        Raises `VenueMessageError` for an unknown event, field or form.
        """
        if isinstance(message, list | tuple):
            return [
                operation
                for entry in Fields.listed(message, self.unknown_fields)
                for operation in self._listed(entry)
            ]
        fields = Fields(message, self.unknown_fields)
        if acknowledges(fields):
            return []
        event = unwrapped(fields)
        kind = event.text("e")
        if kind in _QUIET:
            return []
        if kind == "TRADE_LITE":
            return self._trade_lite(event.only(_TRADE_LITE))
        if kind != "ORDER_TRADE_UPDATE":
            raise event.refusal(f"is an unknown event: {kind[:80]!r}", "e")
        order = _order(event)
        return self._fill(order) if order.choice("x", _EXECUTES) else []

    def orders(self, message: object) -> list[Operation]:
        """Return the order behind `ORDER_TRADE_UPDATE`: `order_updated` or `order_closed`.

        Other events and lists have no orders. Raises `VenueMessageError` as `operations` does.
        """
        if isinstance(message, list | tuple):
            return []
        fields = Fields(message, self.unknown_fields)
        if acknowledges(fields):
            return []
        event = unwrapped(fields)
        if event.text("e") != "ORDER_TRADE_UPDATE":
            return []
        order = _order(event)
        return order_told(
            self,
            order,
            opened=_OPEN,
            closed=_CLOSED,
            client_order_id=order.optional_text("c"),
            time=order.time("T", milliseconds),
            position_sides=_POSITION_SIDES,
        )

    def _fill(self, order: Fields) -> list[Operation]:
        fill = RecordTrade(
            trade_id=order.identifier("t"),
            symbol=self.symbol(order.text("s")),
            side=order.choice("S", SIDES),
            shares=order.positive("l"),
            price=order.positive("L"),
            venue=self.venue,
            account=self.account,
            position_side=order.choice("ps", _POSITION_SIDES),
            order_id=order.identifier("i"),
            client_order_id=order.optional_text("c"),
            liquidity=MAKER_TAKER[order.flag("m")],
            time=order.time("T", milliseconds),
        )
        if "n" in order or "N" in order:
            return with_fees(fill, commission(order, "n", "N"))
        return with_fees(fill, [(None, Decimal(0))])

    def _trade_lite(self, event: Fields) -> list[Operation]:
        if not self.one_way:
            return []
        return [
            RecordTrade(
                trade_id=event.identifier("t"),
                symbol=self.symbol(event.text("s")),
                side=event.choice("S", SIDES),
                shares=event.positive("l"),
                price=event.positive("L"),
                venue=self.venue,
                account=self.account,
                order_id=event.identifier("i"),
                client_order_id=event.optional_text("c"),
                liquidity=MAKER_TAKER[event.flag("m")],
                time=event.time("T", milliseconds),
            )
        ]

    def _listed(self, entry: Fields) -> list[Operation]:
        if "incomeType" in entry:
            return self._income(entry.only(_INCOME))
        if "orderId" in entry:
            return self._user_trade(entry.only(_USER_TRADE))
        raise entry.refusal("is neither an entry of userTrades nor of the income history")

    def _user_trade(self, entry: Fields) -> list[Operation]:
        fill = RecordTrade(
            trade_id=entry.identifier("id"),
            symbol=self.symbol(entry.text("symbol")),
            side=entry.choice("side", SIDES),
            shares=entry.positive("qty"),
            price=entry.positive("price"),
            venue=self.venue,
            account=self.account,
            position_side=entry.choice("positionSide", _POSITION_SIDES),
            order_id=entry.identifier("orderId"),
            liquidity=MAKER_TAKER[entry.flag("maker")],
            time=entry.time("time", milliseconds),
        )
        return with_fees(fill, commission(entry, "commission", "commissionAsset"))

    def _income(self, entry: Fields) -> list[Operation]:
        income_type = entry.text("incomeType")
        transaction = entry.identifier("tranId")
        return self.cash(
            entry.choice("incomeType", {**INCOME, **self.cash_kinds}),
            amount=entry.number("income"),
            reference=(
                transaction if income_type in _BARE_REFERENCE else f"{income_type}:{transaction}"
            ),
            currency=entry.text("asset"),
            symbol=self.symbol(symbol) if (symbol := entry.optional_text("symbol")) else None,
            time=entry.time("time", milliseconds),
        )


def _order(event: Fields) -> Fields:
    """Return the order of `ORDER_TRADE_UPDATE`, which portfolio margin sends for COIN-M too."""
    if event.only(_UPDATE).optional_raw("fs") not in (None, "UM"):
        raise event.refusal("is not USD-M", "fs")
    return event.fields("o").only(_ORDER)
