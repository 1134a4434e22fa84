"""Coinbase Advanced Trade: the user channel, and `GET /api/v3/brokerage/orders/historical/fills`.

Format: Coinbase's pages "User Channel" and "List Fills".

- The stream tells sums of orders and no fills. A message of the user channel is a reason to ask for
  fills, and books nothing.
- The identity is `entry_id`. Adjusted fills carry the `trade_id` of the fill that they adjust.
- Only the trade type `FILL` is booked. How side and size of `REVERSAL`, `CORRECTION` and
  `SYNTHETIC` are to be read is not documented, so these are refused.
- A commission is in the quote currency and positive where paid.
- A fill of a combination, told by its legs, is refused.
- With `size_in_quote` the size is in the quote currency, and the quantity is size / price. A
  quantity that has no finite decimal is rounded down to the quantity step of the instrument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact
from typing import Literal

from eventstore import Operation
from handlers.amounts import exact
from handlers.define_instrument import DefineInstrument
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import VenueAdapter, with_fees
from handlers.venues.reading import Fields, Side, names
from handlers.venues.times import rfc3339

__all__ = ["Coinbase"]

_SIDES: dict[str, Side] = {"BUY": "buy", "SELL": "sell"}
_LIQUIDITY: dict[str, Literal["maker", "taker"] | None] = {
    "MAKER": "maker",
    "TAKER": "taker",
    "UNKNOWN_LIQUIDITY_INDICATOR": None,
}
_QUIET = frozenset({"user", "heartbeats", "subscriptions", "futures_balance_summary"})
_FILL = names(
    "entry_id trade_id order_id trade_time trade_type price size commission product_id "
    "sequence_timestamp liquidity_indicator size_in_quote user_id side retail_portfolio_id "
    "fillSource fill_source commission_detail_total order_data_source product_type realized_pl "
    "future_legs option_legs"
)
_LEGS = ("future_legs", "option_legs")
_EXACT = Context(prec=200, traps=[Inexact])
_WHOLE = Context(prec=2_000)


@dataclass(frozen=True, kw_only=True)
class Coinbase(VenueAdapter):
    """The adapter of Coinbase Advanced Trade.

    Attributes:
        instruments: Definitions by product, such as BTC-USD. The settlement currency, or else the
            quote, is the currency of commissions, and the quantity step is the base increment.

    >>> btc_usd = DefineInstrument(symbol="BTC-USD", kind="spot", base="BTC", quote="USD")
    >>> adapter = Coinbase(instruments={"BTC-USD": btc_usd})
    >>> adapter.operations({"channel": "user", "events": []})
    []
    """

    venue: str = "coinbase-advanced"
    instruments: Mapping[str, DefineInstrument] = field(default_factory=dict)

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of a message of the stream, or of the body of an answer.

        Raises `VenueMessageError` for an unknown channel, field or form, for a product without a
        definition, and for adjusted fills.
        """
        fields = Fields(message, self.unknown_fields)
        if "channel" in fields:
            channel = fields.text("channel")
            if channel not in _QUIET:
                raise fields.refusal(f"is an unknown channel: {channel[:80]!r}", "channel")
            return []
        if "fills" not in fields:
            raise fields.refusal("is neither a message of a channel nor a list of fills")
        operations: list[Operation] = []
        for fill in fields.only({"fills", "cursor", "proof_token_required"}).entries("fills"):
            operations += self._fill(fill.only(_FILL))
        return operations

    def _fill(self, fill: Fields) -> list[Operation]:
        if (kind := fill.text("trade_type")) != "FILL":
            raise fill.refusal(
                f"is an adjusted fill, which is not understood: {kind!r}", "trade_type"
            )
        for name in _LEGS:
            if fill.optional_raw(name) not in (None, []):
                raise fill.refusal("are the legs of a combination, which is not understood", name)
        product = fill.text("product_id")
        instrument = self.instruments.get(product)
        currency = None if instrument is None else instrument.settlement or instrument.quote
        if instrument is None or currency is None:
            raise fill.refusal(
                f"is a product whose quote is not known: {product[:80]!r}. instruments has to have "
                "it",
                "product_id",
            )
        booked = RecordTrade(
            trade_id=fill.text("entry_id"),
            symbol=instrument.symbol,
            side=fill.choice("side", _SIDES),
            shares=self._quantity(fill, instrument),
            price=fill.positive("price"),
            venue=self.venue,
            account=self.account,
            order_id=fill.text("order_id"),
            liquidity=fill.choice("liquidity_indicator", _LIQUIDITY),
            time=fill.time("trade_time", rfc3339),
        )
        return with_fees(booked, [(currency, fill.number("commission"))])

    def _quantity(self, fill: Fields, instrument: DefineInstrument) -> Decimal:
        size = fill.positive("size")
        if not fill.flag("size_in_quote"):
            return size
        price = fill.positive("price")
        try:
            return _EXACT.divide(size, price)
        except Inexact:
            pass
        if instrument.quantity_step is None:
            raise fill.refusal(
                "is in the quote currency and has no finite quantity; the instrument has to have a "
                "quantity step",
                "size",
            )
        step = exact(instrument.quantity_step, "define_instrument", "quantity_step")
        # Exact: a whole number of steps, with the quotient of the floor division below 10**2000.
        steps = _WHOLE.divide_int(size, _WHOLE.multiply(price, step))
        quantity = _WHOLE.multiply(steps, step)
        if not quantity:
            raise fill.refusal("is less than one quantity step of the instrument", "size")
        return quantity
