"""Binance spot: the user data stream, `GET /api/v3/myTrades`, and the deposit history.

Format: binance-spot-api-docs, "User Data Streams" and "REST API". The deposit history is
`GET /sapi/v1/capital/deposit/hisrec`.

- Only the execution type `TRADE` executes. `l`, `L` and `n` are of this fill, `z` and `Z` are sums
  of the order. A prevented trade did not happen.
- A trade id is unique for a symbol only. A trade with oneself has one id for both sides, so the
  side is part of the identity.
- A commission is in any asset and positive where paid.
- Times are milliseconds, or microseconds where the connection asked for them.
- `outboundAccountPosition` tells balances as they are, and `balanceUpdate` a change without reason
  or id. Neither is booked: reconcile with the first, and book deposits from the history.
- Allocations of smart order routing have separate ids, and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from eventstore import Operation
from handlers.order_closed import OrderClosed
from handlers.order_updated import OrderUpdated
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import MAKER_TAKER, VenueAdapter, with_fees
from handlers.venues.reading import Fields, Side, names
from handlers.venues.times import milliseconds_or_microseconds

__all__ = ["BinanceSpot"]

_SIDES: dict[str, Side] = {"BUY": "buy", "SELL": "sell"}

_EXECUTION_REPORT = names(
    "e E s c S o f q p P F g C x X r i l z L n N T t I w m M O Z Y Q W V "
    "d D j J v A B u U Cs pl pL pY b a k uS gP gOT gOV gp eR"
)
_ALLOCATION = ("a", "b", "k")
_BALANCES = {
    "outboundAccountPosition": names("e E u B"),
    "balanceUpdate": names("e E a d T"),
    "listStatus": names("e E s g c l L r C T O"),
    "listenKeyExpired": names("e E listenKey"),
    "eventStreamTerminated": names("e E"),
    "serverShutdown": names("e E"),
    "externalLockUpdate": names("e E a d T"),
}
"""Events without a booking."""

_EXECUTES = {
    "TRADE": True,
    "NEW": False,
    "CANCELED": False,
    "REPLACED": False,
    "REJECTED": False,
    "EXPIRED": False,
    "TRADE_PREVENTION": False,
}
_MY_TRADE = names(
    "symbol id orderId orderListId price qty quoteQty commission commissionAsset time isBuyer "
    "isMaker isBestMatch"
)
_DEPOSIT = names(
    "id amount coin network status address addressTag txId insertTime completeTime transferType "
    "confirmTimes unlockConfirm walletType travelRuleStatus sourceAddress"
)
_CREDITED = {1: True, 6: True, 0: False, 2: False, 7: False, 8: False}
"""Statuses of deposits: 1 success and 6 credited (not yet withdrawable) are in the balance."""

_OPEN = frozenset({"NEW", "PARTIALLY_FILLED", "PENDING_NEW"})
_CLOSED = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH"})


@dataclass(frozen=True, kw_only=True)
class BinanceSpot(VenueAdapter):
    """The adapter of Binance spot.

    >>> adapter = BinanceSpot(account="main")
    >>> adapter.operations({"e": "balanceUpdate", "E": 1, "a": "USDT", "d": "1000.0", "T": 1})
    []
    """

    venue: str = "binance-spot"

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
        event = _event(fields)
        kind = event.text("e")
        if kind in _BALANCES:
            event.only(_BALANCES[kind])
            return []
        if kind != "executionReport":
            raise event.refusal(f"is an unknown event: {kind[:80]!r}", "e")
        event.only(_EXECUTION_REPORT)
        return self._fill(event) if event.choice("x", _EXECUTES) else []

    def orders(self, message: object) -> list[Operation]:
        """Return the order behind an execution report: `order_updated` or `order_closed`.

        Other events and lists have no orders. Raises `VenueMessageError` as `operations` does.
        """
        if isinstance(message, list | tuple):
            return []
        fields = Fields(message, self.unknown_fields)
        if acknowledges(fields):
            return []
        event = _event(fields)
        if event.text("e") != "executionReport":
            return []
        event.only(_EXECUTION_REPORT)
        state = event.text("X")
        client_order_id = event.optional_text("C") or event.optional_text("c")
        time = event.time("T", milliseconds_or_microseconds)
        if state in _CLOSED:
            return [
                OrderClosed(
                    order_id=event.identifier("i"),
                    client_order_id=client_order_id,
                    reason=state.lower(),
                    venue=self.venue,
                    account=self.account,
                    time=time,
                )
            ]
        if state not in _OPEN:
            raise event.refusal(f"is an unknown state of an order: {state[:80]!r}", "X")
        return [
            OrderUpdated(
                order_id=event.identifier("i"),
                symbol=self.symbol(event.text("s")),
                side=event.choice("S", _SIDES),
                shares=event.positive("q"),
                price=event.number("p") or None,
                client_order_id=client_order_id,
                venue=self.venue,
                account=self.account,
                time=time,
            )
        ]

    def _fill(self, event: Fields) -> list[Operation]:
        for name in _ALLOCATION:
            if name in event:
                raise event.refusal("tells an allocation of smart order routing", name)
        fill = RecordTrade(
            trade_id=event.identifier("t"),
            symbol=self.symbol(event.text("s")),
            side=event.choice("S", _SIDES),
            shares=event.positive("l"),
            price=event.positive("L"),
            venue=self.venue,
            account=self.account,
            order_id=event.identifier("i"),
            client_order_id=event.optional_text("C") or event.optional_text("c"),
            liquidity=MAKER_TAKER[event.flag("m")],
            time=event.time("T", milliseconds_or_microseconds),
        )
        return with_fees(fill, commission(event, "n", "N"))

    def _listed(self, entry: Fields) -> list[Operation]:
        if "isBuyer" in entry:
            return self._my_trade(entry.only(_MY_TRADE))
        if "coin" in entry and "insertTime" in entry:
            return self._deposit(entry.only(_DEPOSIT))
        raise entry.refusal("is neither an entry of myTrades nor of the deposit history")

    def _my_trade(self, entry: Fields) -> list[Operation]:
        fill = RecordTrade(
            trade_id=entry.identifier("id"),
            symbol=self.symbol(entry.text("symbol")),
            side="buy" if entry.flag("isBuyer") else "sell",
            shares=entry.positive("qty"),
            price=entry.positive("price"),
            venue=self.venue,
            account=self.account,
            order_id=entry.identifier("orderId"),
            liquidity=MAKER_TAKER[entry.flag("isMaker")],
            time=entry.time("time", milliseconds_or_microseconds),
        )
        return with_fees(fill, commission(entry, "commission", "commissionAsset"))

    def _deposit(self, entry: Fields) -> list[Operation]:
        status = entry.raw("status")
        if isinstance(status, bool) or not isinstance(status, int) or status not in _CREDITED:
            raise entry.refusal(f"is unknown: {str(status)[:80]}", "status")
        if not _CREDITED[status]:
            return []
        return self.cash(
            "deposit",
            amount=entry.positive("amount"),
            reference=entry.identifier("id"),
            currency=entry.text("coin"),
            time=entry.time("insertTime", milliseconds_or_microseconds),
        )


def acknowledges(message: Fields) -> bool:
    """Return whether a message is the answer to a subscription or a logon, and tells nothing else.

    `{"result": null, "id": 1}` answers a subscription to streams. The other interface answers with
    the number of the subscription, or with the key that logged on.
    """
    if "id" not in message or "result" not in message or "e" in message:
        return False
    result = message.raw("result")
    return result is None or (
        isinstance(result, Mapping) and ("subscriptionId" in result or "apiKey" in result)
    )


def _event(message: Fields) -> Fields:
    """Return the event without the envelope of newer and of combined connections."""
    if "event" in message and "e" not in message:
        return message.only({"subscriptionId", "event"}).fields("event")
    return unwrapped(message)


def unwrapped(message: Fields) -> Fields:
    """Return the event of a combined stream, `{"stream": ..., "data": {...}}`, or the event."""
    if "data" in message and "stream" in message:
        return message.only({"stream", "data"}).fields("data")
    return message


def commission(event: Fields, amount: str, asset: str) -> list[tuple[str | None, Decimal]]:
    """Return a commission and its asset.

    A commission of zero has no asset, since the stream and the list differ in the asset.
    """
    fee = event.number(amount)
    return [(event.text(asset) if fee else None, fee)]
