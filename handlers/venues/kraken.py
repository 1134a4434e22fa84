"""Kraken spot: the executions channel of websocket 2, TradesHistory and Ledgers.

Format: Kraken's pages "Executions" of websocket 2, "Get Trades History" and "Get Ledgers Info".

- Only `exec_type` `trade` executes. `filled` is a state of an order. The snapshot repeats the last
  fills, and the sequence begins anew with each connection.
- The identity is `exec_id`, which is the key of the entry in TradesHistory. `postxid` is the id of
  a position.
- A request for TradesHistory has to say `consolidate_taker=false`. By default, several fills of a
  taker are told as one, under one id: the stream tells each of them.
- The stream has numbers, so its doubles are read as the shortest decimal. A request has texts.
- Assets and pairs have several names. The stream says BTC/USD, a request XXBTZUSD or XBTUSD. All
  are names of the definition in `instruments` with this base and quote, and so have one symbol.
- `.F` behind an asset is what Kraken Rewards pays for. It trades as the asset itself.
- `fee` of TradesHistory is the value of the fee in the quote currency, also where the fee was taken
  in another one. The stream says what was taken.
- Ledger entries of type `trade` repeat the trades, rounded, and are not booked.
- A master account may follow its subaccounts. Then each execution names its user, and `users` has
  to have the account.
- Trades on margin are refused, because they move balances in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from eventstore import Operation
from handlers.define_instrument import DefineInstrument
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import MAKER_TAKER, CashKind, VenueAdapter, negated, with_fees
from handlers.venues.reading import BUY_SELL, Fields, names
from handlers.venues.times import rfc3339, seconds

__all__ = ["ASSETS", "LEDGER", "Kraken"]

ASSETS: Mapping[str, str] = {
    "XXBT": "BTC", "XBT": "BTC", "XETH": "ETH", "XETC": "ETC", "XLTC": "LTC", "XXRP": "XRP",
    "XXLM": "XLM", "XXMR": "XMR", "XZEC": "ZEC", "XREP": "REP", "XMLN": "MLN", "XXDG": "DOGE",
    "XDG": "DOGE", "ZUSD": "USD", "ZEUR": "EUR", "ZGBP": "GBP", "ZCAD": "CAD", "ZJPY": "JPY",
    "ZAUD": "AUD",
}  # fmt: skip
"""The name in the stream by the older name of an asset."""

LEDGER: Mapping[str, CashKind] = {
    "trade": "told_elsewhere",
    "deposit": "deposit",
    "withdrawal": "withdrawal",
}
"""The booking of each type of a ledger entry. Any other type is refused."""

_EXECUTES = {
    "trade": True,
    "pending_new": False,
    "new": False,
    "filled": False,
    "iceberg_refill": False,
    "canceled": False,
    "expired": False,
    "amended": False,
    "restated": False,
    "status": False,
}
_REWARDED = ".F"
_LIQUIDITY = {"m": True, "t": False}
_QUIET = frozenset({"heartbeat", "status", "balances", "pong"})

_MESSAGE = names("channel type data sequence")
_EXECUTION = names(
    "amended avg_price cancel_reason cash_order_qty cl_ord_id contingent cost cum_cost cum_qty "
    "display_qty display_qty_remain effective_time exec_id exec_type expire_time ext_exec_id "
    "ext_ord_id fee_ccy_pref fee_usd_equiv fees last_price last_qty limit_price limit_price_type "
    "liquidated liquidity_ind margin margin_borrow no_mpp ord_ref_id order_id order_qty "
    "order_status order_type order_userref position_status post_only reason reduce_only "
    "sender_sub_id side stop_price symbol time_in_force timestamp trade_id trigger triggers user"
)
_TRADE = names(
    "ordertxid postxid pair aclass time type ordertype price cost fee vol margin leverage misc "
    "trade_id maker ledgers posstatus cprice ccost cfee cvol cmargin net trades"
)
_ENTRY = names("refid time type subtype aclass asset amount fee balance wallet")


@dataclass(frozen=True, kw_only=True)
class Kraken(VenueAdapter):
    """The adapter of Kraken spot.

    Attributes:
        instruments: Definitions by any name of the pair, such as XXBTZUSD. The symbol of a
            definition is the user's, and its quote is the currency of fees.
        assets: The user's name by Kraken's name of an asset. Another asset keeps its name.
        cash_kinds: The booking of further types of ledger entries, beside `LEDGER`.
        users: The user's account by the id of a user, of a stream with subaccounts.
        fees_in_quote: Whether every fee is paid in the quote currency. Otherwise a fill of
            TradesHistory has no fee, and the stream, or `trade_fee`, adds the fee.

    >>> btc_usd = DefineInstrument(symbol="BTC/USD", kind="spot", base="BTC", quote="USD")
    >>> adapter = Kraken(instruments={"XXBTZUSD": btc_usd})
    >>> adapter.operations({"channel": "heartbeat"})
    []
    """

    venue: str = "kraken-spot"
    instruments: Mapping[str, DefineInstrument] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=lambda: ASSETS)
    cash_kinds: Mapping[str, CashKind] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    fees_in_quote: bool = True

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of a message of the stream, or of the body of an answer.

        Raises `VenueMessageError` for an unknown channel, field or form, and for an answer with an
        error.
        """
        fields = Fields(message, self.unknown_fields)
        if "channel" in fields:
            return self._channel(fields)
        if "method" in fields:
            if fields.text("method") != "pong" and not fields.flag("success"):
                raise fields.refusal("is a request that failed")
            return []
        if "result" in fields:
            return self._answer(fields.only({"error", "result"}))
        raise fields.refusal("is neither a message of a channel nor an answer")

    def _channel(self, message: Fields) -> list[Operation]:
        channel = message.text("channel")
        if channel in _QUIET:
            return []
        if channel != "executions":
            raise message.refusal(f"is an unknown channel: {channel[:80]!r}", "channel")
        message.only(_MESSAGE).choice("type", {"snapshot": True, "update": True})
        operations: list[Operation] = []
        for execution in message.entries("data"):
            if execution.only(_EXECUTION).choice("exec_type", _EXECUTES):
                operations += self._execution(execution)
        return operations

    def _execution(self, execution: Fields) -> list[Operation]:
        for name in ("margin", "margin_borrow"):
            if name in execution and execution.flag(name):
                raise execution.refusal("tells a trade on margin", name)
        fill = RecordTrade(
            trade_id=execution.text("exec_id"),
            symbol=self._symbol(execution.text("symbol")),
            side=execution.choice("side", BUY_SELL),
            shares=execution.positive("last_qty"),
            price=execution.positive("last_price"),
            venue=self.venue,
            account=(
                self.account if execution.absent("user") else execution.choice("user", self.users)
            ),
            order_id=execution.text("order_id"),
            client_order_id=execution.optional_text("cl_ord_id"),
            liquidity=MAKER_TAKER[execution.choice("liquidity_ind", _LIQUIDITY)],
            time=execution.time("timestamp", rfc3339),
        )
        if execution.absent("fees"):
            return [fill]
        fees: list[tuple[str | None, Decimal]] = [
            (self._asset(fee.text("asset")), fee.number("qty"))
            for fee in (one.only({"asset", "qty"}) for one in execution.entries("fees"))
        ]
        base, _, _ = execution.text("symbol").partition("/")
        return with_fees(fill, fees or [(None, Decimal(0))], self._asset(base))

    def _answer(self, answer: Fields) -> list[Operation]:
        if answer.raw("error") != []:
            raise answer.refusal("tells an error", "error")
        result = answer.fields("result")
        operations: list[Operation] = []
        if "trades" in result:
            trades = result.only({"trades", "count"}).fields("trades")
            for exec_id in trades:
                operations += self._trade(exec_id, trades.fields(exec_id).only(_TRADE))
        elif "ledger" in result:
            entries = result.only({"ledger", "count"}).fields("ledger")
            for entry_id in entries:
                operations += self._ledger_entry(entry_id, entries.fields(entry_id).only(_ENTRY))
        else:
            raise result.refusal("is neither of TradesHistory nor of Ledgers")
        return operations

    def _trade(self, exec_id: str, trade: Fields) -> list[Operation]:
        if trade.number("margin") or not trade.absent("posstatus"):
            raise trade.refusal("is a trade on margin")
        pair = trade.text("pair")
        instrument = self._pair(pair)
        if instrument is None or instrument.quote is None:
            raise trade.refusal(
                f"is a pair whose name and quote are not known: {pair[:80]!r}. instruments has to "
                "have it",
                "pair",
            )
        fill = RecordTrade(
            trade_id=exec_id,
            symbol=instrument.symbol,
            side=trade.choice("type", BUY_SELL),
            shares=trade.positive("vol"),
            price=trade.positive("price"),
            venue=self.venue,
            account=self.account,
            order_id=trade.text("ordertxid"),
            liquidity=None if trade.absent("maker") else MAKER_TAKER[trade.flag("maker")],
            time=trade.time("time", seconds),
        )
        fee = trade.number("fee")
        return with_fees(fill, [(instrument.quote, fee)]) if self.fees_in_quote else [fill]

    def _ledger_entry(self, entry_id: str, entry: Fields) -> list[Operation]:
        kind = entry.choice("type", {**LEDGER, **self.cash_kinds})
        if kind == "told_elsewhere":
            return []
        currency = self._asset(entry.text("asset"))
        time = entry.time("time", seconds)
        fee = entry.number("fee")
        moved = self.cash(
            kind,
            amount=entry.number("amount"),
            reference=entry_id,
            currency=currency,
            time=time,
        )
        return moved + self.cash(
            "fee", amount=negated(fee), reference=entry_id, currency=currency, time=time
        )

    def _symbol(self, name: str) -> str:
        instrument = self._pair(name)
        return self.symbol(name) if instrument is None else instrument.symbol

    def _pair(self, name: str) -> DefineInstrument | None:
        """Return the definition of a pair under any name. A name of two definitions is no name."""
        if name in self.instruments:
            return self.instruments[name]
        named = self._named.get(name, [])
        return named[0] if len(named) == 1 else None

    @cached_property
    def _named(self) -> dict[str, list[DefineInstrument]]:
        """The definitions by every name that Kraken may give their pairs."""
        names_of: dict[str, list[str]] = {}
        for name, own in self.assets.items():
            names_of.setdefault(own, [own]).append(name)
        named: dict[str, list[DefineInstrument]] = {}
        for instrument in {one.symbol: one for one in self.instruments.values()}.values():
            base, quote = instrument.base or "", instrument.quote or ""
            for first in names_of.get(base, [base]):
                for second in names_of.get(quote, [quote]):
                    named.setdefault(f"{first}/{second}", []).append(instrument)
                    named.setdefault(f"{first}{second}", []).append(instrument)
        return named

    def _asset(self, name: str) -> str:
        name = name if name in self.assets else name.removesuffix(_REWARDED)
        return self.assets.get(name, name)
