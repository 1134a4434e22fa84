"""Alpaca: the stream `trade_updates`, and `GET /v2/account/activities`.

Format: Alpaca's pages "Websocket Streaming" and "Account Activities", and the enumerations of
alpaca-py. A message of the stream has its envelope, `{"stream": "trade_updates", "data": {...}}`.

- Only the events `fill` and `partial_fill` execute. An `execution_id` is in other events too. An
  event outside the library's list, such as a bust, is refused.
- `data.qty` and `data.price` are of this fill, `order.filled_qty` is the order's sum.
- No id is known to be the same in the stream and the activities. The identity is the order and its
  filled quantity so far.
- A fill of shares has no fee: regulatory fees are activities of their own. The fee of a fill of
  crypto is not known. It is told at the end of the day as `CFEE`, in kind, without an order.
- An activity names a crypto pair without its slash, and does not tell crypto from shares. So
  `instruments` has to have the pairs, and the shares unless `unlisted_are_shares`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from eventstore import Operation
from handlers.define_instrument import DefineInstrument
from handlers.order_closed import OrderClosed
from handlers.order_updated import OrderUpdated
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import CashKind, VenueAdapter, with_fees
from handlers.venues.reading import Fields, Side, names, plain
from handlers.venues.times import date, rfc3339

__all__ = ["ACTIVITIES", "Alpaca"]

ACTIVITIES: Mapping[str, CashKind] = {
    "CSD": "deposit",
    "CSW": "withdrawal",
    "JNLC": "in_or_out",
    "DIV": "dividend",
    "DIVCGL": "dividend",
    "DIVCGS": "dividend",
    "DIVROC": "dividend",
    "DIVTXEX": "dividend",
    "DIVFEE": "fee",
    "DIVFT": "tax",
    "DIVNRA": "tax",
    "DIVTW": "tax",
    "FEE": "fee",
    "PTC": "fee",
    "INT": "interest",
    "INTNRA": "tax",
    "INTTW": "tax",
}
"""The booking of each type of an activity. Any other type is refused."""

_SIDES: dict[str, Side] = {
    "buy": "buy",
    "sell": "sell",
    "sell_short": "sell",
    "sell_short_exempt": "sell",
}
_EXECUTES = {
    "fill": True,
    "partial_fill": True,
    "accepted": False,
    "canceled": False,
    "expired": False,
    "new": False,
    "pending_cancel": False,
    "pending_new": False,
    "pending_replace": False,
    "rejected": False,
    "replaced": False,
    "restated": False,
    "done_for_day": False,
    "stopped": False,
    "suspended": False,
    "calculated": False,
    "held": False,
    "order_replace_rejected": False,
    "order_cancel_rejected": False,
}
_CRYPTO = {"us_equity": False, "us_option": False, "crypto": True}
_QUIET_STREAMS = frozenset({"authorization", "listening"})
_OPEN = frozenset(
    "new partially_filled accepted pending_new accepted_for_bidding pending_cancel pending_replace "
    "stopped suspended held".split()
)
_CLOSED = frozenset("filled canceled expired replaced rejected".split())

_UPDATE = names("event timestamp at event_id order execution_id price qty position_qty")
_ORDER = names(
    "id client_order_id created_at updated_at submitted_at filled_at expired_at expires_at "
    "canceled_at failed_at replaced_at replaced_by replaces asset_id symbol asset_class notional "
    "qty filled_qty filled_avg_price order_class order_type type side position_intent "
    "time_in_force limit_price stop_price status extended_hours legs trail_percent trail_price hwm "
    "subtag source ratio_qty"
)
_FILL = names(
    "id account_id activity_type transaction_time type price qty side symbol leaves_qty order_id "
    "cum_qty order_status"
)
_ACTIVITY = names(
    "id account_id activity_type activity_sub_type date net_amount description symbol qty price "
    "per_share_amount status created_at group_id cusip currency"
)


@dataclass(frozen=True, kw_only=True)
class Alpaca(VenueAdapter):
    """The adapter of Alpaca.

    Attributes:
        instruments: Definitions by Alpaca's symbol. A definition of kind `spot` is crypto.
        unlisted_are_shares: Whether a symbol without a definition is a share. Otherwise a fill of
            the activities whose symbol has no definition is refused.
        currency: The currency of the account.
        cash_kinds: The booking of further types of activities, beside `ACTIVITIES`.

    >>> eth = DefineInstrument(symbol="ETH/USD", kind="spot", base="ETH", quote="USD")
    >>> adapter = Alpaca(instruments={"ETH/USD": eth}, unlisted_are_shares=True)
    >>> adapter.operations({"stream": "listening", "data": {"streams": ["trade_updates"]}})
    []
    """

    venue: str = "alpaca"
    instruments: Mapping[str, DefineInstrument] = field(default_factory=dict)
    unlisted_are_shares: bool = False
    currency: str = "USD"
    cash_kinds: Mapping[str, CashKind] = field(default_factory=dict)

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of a message of the stream, or of a list of activities.

        Raises `VenueMessageError` for an unknown event, activity, field or form.
        """
        if isinstance(message, list | tuple):
            return [
                operation
                for entry in Fields.listed(message, self.unknown_fields)
                for operation in self._activity(entry)
            ]
        update = self._update(message)
        return [] if update is None or not update.choice("event", _EXECUTES) else self._fill(update)

    def orders(self, message: object) -> list[Operation]:
        """Return the order that an update leaves: `order_updated` or `order_closed`.

        Activities have no orders. Raises `VenueMessageError` as `operations` does.
        """
        update = None if isinstance(message, list | tuple) else self._update(message)
        if update is None:
            return []
        update.choice("event", _EXECUTES)
        order = update.fields("order").only(_ORDER)
        state = order.text("status")
        time = update.time("timestamp", rfc3339)
        if state in _CLOSED:
            return [
                OrderClosed(
                    order_id=order.text("id"),
                    client_order_id=order.optional_text("client_order_id"),
                    reason=state,
                    venue=self.venue,
                    account=self.account,
                    time=time,
                )
            ]
        if state not in _OPEN:
            raise order.refusal(f"is an unknown state of an order: {state[:80]!r}", "status")
        if order.absent("qty"):
            raise order.refusal("is missing: the order is for an amount of money", "qty")
        return [
            OrderUpdated(
                order_id=order.text("id"),
                symbol=self._symbol(order.text("symbol")),
                side=order.choice("side", _SIDES),
                shares=order.positive("qty"),
                price=order.optional_number("limit_price"),
                client_order_id=order.optional_text("client_order_id"),
                venue=self.venue,
                account=self.account,
                time=time,
            )
        ]

    def _update(self, message: object) -> Fields | None:
        """Return a trade update, and `None` of a message of the connection itself."""
        fields = Fields(message, self.unknown_fields).only({"stream", "data"})
        stream = fields.text("stream")
        if stream in _QUIET_STREAMS:
            return None
        if stream != "trade_updates":
            raise fields.refusal(f"is an unknown stream: {stream[:80]!r}", "stream")
        return fields.fields("data").only(_UPDATE)

    def _fill(self, update: Fields) -> list[Operation]:
        order = update.fields("order").only(_ORDER)
        if order.optional_raw("order_class") == "mleg":
            raise order.refusal("tells an order of several legs", "order_class")
        symbol = order.text("symbol")
        order_id = order.text("id")
        fill = RecordTrade(
            trade_id=f"{order_id}/{plain(order.positive('filled_qty'))}",
            symbol=self._symbol(symbol),
            side=order.choice("side", _SIDES),
            shares=update.positive("qty"),
            price=update.positive("price"),
            venue=self.venue,
            account=self.account,
            order_id=order_id,
            client_order_id=order.optional_text("client_order_id"),
            time=update.time("timestamp", rfc3339),
        )
        return self._with_fee(fill, symbol, crypto=order.choice("asset_class", _CRYPTO))

    def _activity(self, entry: Fields) -> list[Operation]:
        kind = entry.text("activity_type")
        if kind == "FILL":
            return self._filled(entry.only(_FILL))
        entry.only(_ACTIVITY)
        if not entry.absent("status") and entry.text("status") != "executed":
            raise entry.refusal("is not that of an executed activity", "status")
        if kind == "CFEE":
            return self._crypto_fee(entry)
        booked = entry.choice("activity_type", {**ACTIVITIES, **self.cash_kinds})
        amount = entry.number("net_amount")
        if not amount and booked != "told_elsewhere":
            raise entry.refusal("moves no cash, and so something else", "net_amount")
        return self.cash(
            booked,
            amount=amount,
            reference=entry.text("id"),
            currency=entry.optional_text("currency") or self.currency,
            symbol=None if entry.absent("symbol") else self._symbol(entry.text("symbol")),
            time=entry.time("date", date),
        )

    def _filled(self, entry: Fields) -> list[Operation]:
        entry.choice("type", {"fill": True, "partial_fill": True})
        symbol = entry.text("symbol")
        instrument = self._instrument(symbol)
        if instrument is None and not self.unlisted_are_shares:
            raise entry.refusal(
                f"is a share or crypto, which an activity does not tell: {symbol[:80]!r}. "
                "instruments has to have it",
                "symbol",
            )
        order_id = entry.text("order_id")
        fill = RecordTrade(
            trade_id=f"{order_id}/{plain(entry.positive('cum_qty'))}",
            symbol=self._symbol(symbol),
            side=entry.choice("side", _SIDES),
            shares=entry.positive("qty"),
            price=entry.positive("price"),
            venue=self.venue,
            account=self.account,
            order_id=order_id,
            time=entry.time("transaction_time", rfc3339),
        )
        crypto = instrument is not None and instrument.kind == "spot"
        return self._with_fee(fill, symbol, crypto=crypto)

    def _with_fee(self, fill: RecordTrade, symbol: str, *, crypto: bool) -> list[Operation]:
        if crypto:
            return [fill]
        instrument = self._instrument(symbol)
        told = None if instrument is None else instrument.settlement or instrument.quote
        return with_fees(fill, [(told or self.currency, Decimal(0))])

    def _crypto_fee(self, entry: Fields) -> list[Operation]:
        name = entry.text("symbol")
        instrument = self._instrument(name)
        if instrument is None or instrument.base is None:
            raise entry.refusal(
                f"is a pair whose base is not known: {name[:80]!r}. instruments has to have it",
                "symbol",
            )
        in_kind = Decimal(0) if entry.absent("qty") else entry.number("qty")
        in_cash = entry.number("net_amount")
        if bool(in_kind) is bool(in_cash):
            raise entry.refusal("is a fee both in kind and in cash, or in neither")
        return self.cash(
            "fee",
            amount=in_kind or in_cash,
            reference=entry.text("id"),
            currency=instrument.base if in_kind else self.currency,
            symbol=instrument.symbol,
            time=entry.time("date", date),
        )

    def _instrument(self, name: str) -> DefineInstrument | None:
        """Return the definition of a symbol, of a crypto pair also without its slash."""
        if name in self.instruments:
            return self.instruments[name]
        for listed, instrument in self.instruments.items():
            if instrument.kind == "spot" and listed.replace("/", "") == name:
                return instrument
        return None

    def _symbol(self, name: str) -> str:
        instrument = self._instrument(name)
        return self.symbol(name) if instrument is None else instrument.symbol
