"""Binance spot: the user data stream, `GET /api/v3/myTrades`, deposits and withdrawals.

Format: binance-spot-api-docs, "User Data Streams", "REST API" and "SOR FAQ". Deposits are told by
`GET /sapi/v1/capital/deposit/hisrec`, withdrawals by `GET /sapi/v1/capital/withdraw/history`.

- Only the execution type `TRADE` executes. `l`, `L` and `n` are of this fill, `z` and `Z` are sums
  of the order. A prevented trade did not happen. But of two orders with the mode `TRANSFER`, in two
  accounts of one trade group, the amounts move without a trade: refused.
- A trade id is unique for a symbol only. A trade with oneself has one id for both sides, so the
  side is part of the identity.
- A commission is in any asset and positive where paid.
- Times are milliseconds, or microseconds where the connection asked for them.
- `outboundAccountPosition` tells balances as they are, and `balanceUpdate` a change without reason
  or id. Neither is booked: reconcile with the first, and book deposits from the history.
- A fill by smart order routing from another book is an allocation, with an id of another kind and
  no trade id. `GET /api/v3/myAllocations` tells allocations again. They are booked on request.
- No page says whether the fee of a withdrawal is in the amount, so `withdrawal_fee` has to say.
- The histories also have entries of the funding wallet, which are not of this account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from eventstore import Operation
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import (
    MAKER_TAKER,
    CashKind,
    VenueAdapter,
    added,
    check_choice,
    negated,
    with_fees,
)
from handlers.venues.binance_messages import (
    SIDES,
    acknowledges,
    commission,
    order_told,
    unwrapped,
)
from handlers.venues.reading import Fields, names
from handlers.venues.times import milliseconds_or_microseconds, utc_text

__all__ = ["BinanceSpot"]

WithdrawalFee = Literal["refuse", "beside", "within"]

_EXECUTION_REPORT = names(
    "e E s c S o f q p P F g C x X r i l z L n N T t I w m M O Z Y Q W V "
    "d D j J v A B u U Cs pl pL pY b a k uS gP gOT gOV gp eR"
)
_ALLOCATED = "ONE_PARTY_TRADE_REPORT"
_FLOORS = {"EXCHANGE": True, "SOR": True}
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
_ALLOCATION = names(
    "symbol allocationId allocationType orderId orderListId price qty quoteQty commission "
    "commissionAsset time isBuyer isMaker isAllocator"
)
_DEPOSIT = names(
    "id amount coin network status address addressTag txId insertTime completeTime transferType "
    "confirmTimes unlockConfirm walletType travelRuleStatus sourceAddress"
)
_CREDITED = {1: True, 6: True, 0: False, 2: False, 7: False, 8: False}
"""Statuses of deposits: 1 success and 6 credited (not yet withdrawable) are in the balance."""

_WITHDRAWAL = names(
    "id amount transactionFee coin status address addressTag txId applyTime network transferType "
    "withdrawOrderId info confirmNo walletType txKey completeTime"
)
_SENT = {6: True, 0: False, 1: False, 2: False, 3: False, 4: False, 5: False}
"""Statuses of withdrawals: the coins have left with 6."""

_NO_TRADE_GROUP = -1

_SPOT_WALLET = {0: True, 1: False}

_OPEN = frozenset({"NEW", "PARTIALLY_FILLED", "PENDING_NEW"})
_CLOSED = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH"})


@dataclass(frozen=True, kw_only=True)
class BinanceSpot(VenueAdapter):
    """The adapter of Binance spot.

    Attributes:
        allocations: Whether allocations of smart order routing are booked. Otherwise they are
            refused.
        withdrawal_fee: Whether the fee of a withdrawal is taken `beside` its amount, or is `within`
            the amount. With `refuse`, withdrawals are refused.

    >>> adapter = BinanceSpot(account="main")
    >>> adapter.operations({"e": "balanceUpdate", "E": 1, "a": "USDT", "d": "1000.0", "T": 1})
    []
    """

    venue: str = "binance-spot"
    allocations: bool = False
    withdrawal_fee: WithdrawalFee = "refuse"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("withdrawal_fee", self.withdrawal_fee, WithdrawalFee)

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
        if event.choice("x", _EXECUTES):
            return self._fill(event)
        if event.text("x") == "TRADE_PREVENTION":
            _refuse_transfer(event)
        return []

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
        return order_told(
            self,
            event,
            opened=_OPEN,
            closed=_CLOSED,
            client_order_id=_client_order_id(event),
            time=event.time("T", milliseconds_or_microseconds),
        )

    def _fill(self, event: Fields) -> list[Operation]:
        if "k" in event:
            event.choice("k", _FLOORS)
        allocated = "a" in event or "b" in event
        fill = RecordTrade(
            trade_id=self._allocation(event) if allocated else event.identifier("t"),
            symbol=self.symbol(event.text("s")),
            side=event.choice("S", SIDES),
            shares=event.positive("l"),
            price=event.positive("L"),
            venue=self.venue,
            account=self.account,
            order_id=event.identifier("i"),
            client_order_id=_client_order_id(event),
            liquidity=MAKER_TAKER[event.flag("m")],
            time=event.time("T", milliseconds_or_microseconds),
        )
        return with_fees(fill, commission(event, "n", "N"))

    def _allocation(self, event: Fields) -> str:
        """Return the identity of an execution that is an allocation, and no trade."""
        if not self.allocations:
            raise event.refusal("tells an allocation of smart order routing", "a")
        event.choice("b", {_ALLOCATED: True})
        if event.raw("t") != -1:
            raise event.refusal("is the id of a trade, and the event tells an allocation", "t")
        return _allocation_id(event.identifier("a"))

    def _listed(self, entry: Fields) -> list[Operation]:
        if "allocationId" in entry:
            return self._my_allocation(entry.only(_ALLOCATION))
        if "isBuyer" in entry:
            return self._my_trade(entry.only(_MY_TRADE), entry.identifier("id"))
        if "coin" in entry and "insertTime" in entry:
            return self._deposit(entry.only(_DEPOSIT))
        if "coin" in entry and "applyTime" in entry:
            return self._withdrawal(entry.only(_WITHDRAWAL))
        raise entry.refusal("is no entry of a list that is read here")

    def _my_allocation(self, entry: Fields) -> list[Operation]:
        if not self.allocations:
            raise entry.refusal("tells an allocation of smart order routing", "allocationId")
        entry.choice("allocationType", {"SOR": True})
        if entry.flag("isAllocator"):
            raise entry.refusal("is not false, and is not explained", "isAllocator")
        return self._my_trade(entry, _allocation_id(entry.identifier("allocationId")))

    def _my_trade(self, entry: Fields, trade_id: str) -> list[Operation]:
        fill = RecordTrade(
            trade_id=trade_id,
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
        if not _is(entry, "status", _CREDITED) or not _is_of_spot_wallet(entry):
            return []
        return self.cash(
            "deposit",
            amount=entry.positive("amount"),
            reference=entry.identifier("id"),
            currency=entry.text("coin"),
            time=entry.time("insertTime", milliseconds_or_microseconds),
        )

    def _withdrawal(self, entry: Fields) -> list[Operation]:
        if not _is(entry, "status", _SENT) or not _is_of_spot_wallet(entry):
            return []
        if self.withdrawal_fee == "refuse":
            raise entry.refusal(
                "may have the fee in it, or not: withdrawal_fee has to say which", "amount"
            )
        sent, fee = entry.positive("amount"), entry.number("transactionFee")
        if fee < 0:
            raise entry.refusal("is below zero", "transactionFee")
        if self.withdrawal_fee == "within":
            sent = added(sent, negated(fee))
            if sent <= 0:
                raise entry.refusal("is not above the fee", "amount")
        reference, currency = entry.identifier("id"), entry.text("coin")
        time = entry.time("applyTime" if entry.absent("completeTime") else "completeTime", utc_text)
        moved: list[tuple[CashKind, Decimal]] = [("withdrawal", sent), ("fee", fee)]
        return [
            operation
            for kind, amount in moved
            for operation in self.cash(
                kind, amount=negated(amount), reference=reference, currency=currency, time=time
            )
        ]


def _client_order_id(event: Fields) -> str:
    """Return the engine's id of an order. A cancellation has the id of its own in `c`."""
    original = event.optional_text("C")
    return original if original not in ("", "null") else event.optional_text("c")


def _refuse_transfer(event: Fields) -> None:
    """Refuse a prevented trade whose amounts may have gone from one account to another."""
    if event.optional_raw("V") == "TRANSFER" and event.optional_raw("u") != _NO_TRADE_GROUP:
        raise event.refusal(
            "lets what was prevented move between two accounts of the trade group, which the event "
            "does not tell apart. Ask for the balances, and reconcile",
            "V",
        )


def _allocation_id(allocation: str) -> str:
    """Return the trade id of an allocation, which no trade has."""
    return f"allocation-{allocation}"


def _is(entry: Fields, name: str, meanings: Mapping[int, bool]) -> bool:
    """Return the meaning of a number. Raises `VenueMessageError` for a number without one."""
    value = entry.raw(name)
    if isinstance(value, bool) or not isinstance(value, int) or value not in meanings:
        raise entry.refusal(f"is unknown: {str(value)[:80]}", name)
    return meanings[value]


def _is_of_spot_wallet(entry: Fields) -> bool:
    return "walletType" not in entry or _is(entry, "walletType", _SPOT_WALLET)


def _event(message: Fields) -> Fields:
    """Return the event without the envelope of newer and of combined connections."""
    if "event" in message and "e" not in message:
        return message.only({"subscriptionId", "event"}).fields("event")
    return unwrapped(message)
