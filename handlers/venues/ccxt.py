"""ccxt: unified trades, from `watch_my_trades` and `fetch_my_trades`.

Format: the manual of ccxt, "Trade structure", and "Personal trades".

- The identity is the exchange, the symbol, `id` and the side, so `venue` has to be the exchange. A
  trade without an id cannot be told from a second one like it, and is refused.
- `price`, `amount` and `cost` are doubles, or texts with `exchange.number = str`. A double is read
  as the shortest decimal. `amount` of a swap is in contracts.
- `fee`, or a list `fees`, is positive where paid. A trade of a stream may have neither: the fee is
  not known yet, and the fetched trade completes the fill.
- A unified trade does not tell the side of a position. In hedge mode, `info` does: `positionSide`,
  `ps` and `posSide` of Binance and OKX. Without these, a trade is of the net position.
- An order has most fields of a trade, and `filled` or `remaining` beside them. It is refused.
- `info` is the venue's own entry. Some venues put cash, conversions or adjusted fills into the
  shape of a trade: Bybit's `execType`, Coinbase's `trade_type` and OKX's `subType` in `info` tell,
  and such entries are refused. So is a trade of Kraken on margin, which moves no coins.
- The trade id of a liquidation of OKX identifies nothing. `billId` in `info` does, where told.
- ccxt passes on OKX's fees of the stream with OKX's sign, negative where paid. So they are read
  from `fillFee` in `info`. It leaves out the `extraFees` of Bybit, and of several fees of Kraken's
  stream all but the first. Trades with such fees are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from eventstore import Operation
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import VenueAdapter, negated, with_fees
from handlers.venues.okx_messages import FILLED, identifies
from handlers.venues.reading import BUY_SELL, Fields, PositionSide, names
from handlers.venues.times import milliseconds, rfc3339

__all__ = ["Ccxt"]

_TRADE = names(
    "info timestamp datetime symbol id order type side takerOrMaker price amount cost fee fees"
)
_FEE = names("cost currency rate")
_OF_ORDERS = ("filled", "remaining")
_NAMES_OF_POSITION_SIDES = ("positionSide", "ps", "posSide")
_POSITION_SIDES: Mapping[str, PositionSide] = {"long": "long", "short": "short"}
_TRADES_OF_VENUES = {
    # Of Bybit; then of OKX, where execType is the liquidity; then of entries without a type.
    "execType": frozenset(
        ["Trade", "AdlTrade", "BustTrade", "Delivery", "Settle", "BlockTrade", "T", "M", "", None]
    ),
    "trade_type": frozenset(["FILL", "", None]),
    "subType": FILLED | {"", None},
}
_LIQUIDITY: Mapping[str, Literal["maker", "taker"]] = {"maker": "maker", "taker": "taker"}


@dataclass(frozen=True, kw_only=True)
class Ccxt(VenueAdapter):
    """The adapter of unified trades of ccxt.

    Attributes:
        venue: The name of the exchange, such as `exchange.id`, since it is part of identities.

    >>> Ccxt(venue="kraken").operations([])
    []
    """

    venue: str = "ccxt"

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of one trade, or of a list of trades.

        Raises `VenueMessageError` for a trade without an id, for an entry that is no trade, and for
        an unknown field or form.
        """
        return [
            operation
            for trade in Fields.listed(message, self.unknown_fields)
            for operation in self._trade(trade)
        ]

    def _trade(self, trade: Fields) -> list[Operation]:
        for name in _OF_ORDERS:
            if name in trade:
                raise trade.refusal("is of an order, and no trade has it", name)
        trade.only(_TRADE)
        position_side: PositionSide = "net"
        trade_id, fees = trade.identifier("id"), _fees(trade)
        if isinstance(trade.optional_raw("info"), Mapping):
            info = trade.fields("info")
            _check_venue(info)
            position_side = _position_side(info)
            if "instId" in info and not info.absent("fillFee"):  # of the stream of OKX
                fees = [(currency, negated(info.number("fillFee"))) for currency, _ in fees]
            if "instId" in info and not identifies(trade_id):  # of OKX
                trade_id = info.text("billId")
        fill = RecordTrade(
            trade_id=trade_id,
            symbol=self.symbol(trade.text("symbol")),
            side=trade.choice("side", BUY_SELL),
            shares=trade.positive("amount"),
            price=trade.number("price"),
            venue=self.venue,
            account=self.account,
            position_side=position_side,
            order_id=trade.optional_identifier("order"),
            liquidity=(
                None if trade.absent("takerOrMaker") else trade.choice("takerOrMaker", _LIQUIDITY)
            ),
            time=_time(trade),
        )
        base, _, _ = trade.text("symbol").partition("/")
        return with_fees(fill, fees, base)


def _time(trade: Fields) -> int | None:
    if not trade.absent("timestamp"):
        return trade.time("timestamp", milliseconds)
    return None if trade.absent("datetime") else trade.time("datetime", rfc3339)


def _check_venue(info: Fields) -> None:
    for name, trades in _TRADES_OF_VENUES.items():
        kind = info.optional_raw(name)
        if not isinstance(kind, str | None) or kind not in trades:
            raise info.refusal(f"tells that the entry is no trade: {kind!r:.80}", name)
    left_out = info.optional_raw("extraFees") if "execId" in info else None  # of Bybit
    if "exec_id" in info and isinstance(several := info.optional_raw("fees"), list):  # of Kraken
        left_out = several[1:]
    if left_out:
        raise info.refusal(
            "tells fees that the trade leaves out. The adapter of the venue itself reads them"
        )
    # Of Kraken: a request has the amount of the margin, the stream says whether there is any.
    fetched = "ordertxid" in info and bool(info.optional_number("margin"))
    streamed = info.optional_raw("margin") or info.optional_raw("margin_borrow")
    if fetched or ("exec_id" in info and streamed):
        raise info.refusal("tells a trade on margin", "margin")


def _position_side(info: Fields) -> PositionSide:
    for name in _NAMES_OF_POSITION_SIDES:
        if (side := str(info.optional_raw(name)).lower()) in _POSITION_SIDES:
            return _POSITION_SIDES[side]
    return "net"


def _fees(trade: Fields) -> list[tuple[str | None, Decimal]]:
    """Return the fees by currency, and none where no fee is known, or not every one."""
    told: list[Fields] = []
    if trade.optional_raw("fees") is not None:
        told = trade.entries("fees")
    if not told and trade.optional_raw("fee") is not None:
        told = [trade.fields("fee")]
    fees: list[tuple[str | None, Decimal]] = []
    for fee in told:
        cost = fee.only(_FEE).optional_number("cost")
        if cost is None:
            return []
        fees.append((fee.text("currency") if cost else None, cost))
    return fees
