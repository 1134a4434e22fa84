"""Interactive Brokers: `execDetails` and `commissionReport`, joined.

Format: the pages "Execution", "CommissionReport" and "Contract" of the TWS API. A message is a
callback as a dictionary: `{"callback": "execDetails", "reqId": ..., "contract": {...},
"execution": {...}}` or `{"callback": "commissionReport", "commissionReport": {...}}`. Later
versions of the API say `commissionAndFeesReport` and `commissionAndFees`.

Theory of operation
-------------------
An execution and its commission come apart, in either order, and again after `reqExecutions`. Both
have the same `execId`. A commission report has neither symbol nor side. Such a report waits in the
adapter until the execution comes. Of a known execution, it becomes `trade_fee` at once.

Of a later version of an execution, `execution_versions` makes a correction.

Told again, an execution gives the same operation again, and the fold drops the operation as known.
The memory is bounded: the oldest executions are forgotten, and a waiting message never is. When too
many commission reports wait, the next one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from sys import float_info
from typing import Literal

from eventstore import Operation
from handlers.record_trade import RecordTrade
from handlers.trade_fee import TradeFee
from handlers.venues.adapter import check_choice
from handlers.venues.execution_versions import version_told
from handlers.venues.reading import Fields, Side, UnknownFields, names
from handlers.venues.times import broker_time

__all__ = ["InteractiveBrokers"]

_SIDES: dict[str, Side] = {"BOT": "buy", "SLD": "sell"}
_BOOKED = frozenset("STK OPT FUT FOP CASH CFD CRYPTO WAR CMDTY FUND".split())
_COMBINATION = "BAG"
_LIQUIDITY: Mapping[object, Literal["maker", "taker"] | None] = {
    0: None,
    1: "maker",
    2: "taker",
    3: None,
}
_QUIET = frozenset(
    "execDetailsEnd orderStatus openOrder openOrderEnd completedOrder completedOrdersEnd position "
    "positionEnd updateAccountValue updatePortfolio updateAccountTime accountDownloadEnd".split()
)
_UNSET_DECIMAL = float(2**127 - 1)
_EXEC_ID = re.compile(r".+\.(?P<version>\d{1,9})", re.ASCII)

_EXEC_DETAILS = names("callback reqId contract execution")
_CONTRACT = names(
    "conId symbol secType lastTradeDateOrContractMonth lastTradeDate strike right multiplier "
    "exchange primaryExchange currency localSymbol tradingClass includeExpired secIdType secId "
    "description issuerId comboLegsDescrip comboLegs deltaNeutralContract"
)
_EXECUTION = names(
    "execId time acctNumber exchange side shares price permId clientId orderId liquidation cumQty "
    "avgPrice orderRef evRule evMultiplier modelCode lastLiquidity pendingPriceRevision submitter "
    "optExerciseOrLapseType"
)
_REPORT = names("execId currency realizedPNL yield_ yieldRedemptionDate")
_COMMISSION = {"commissionReport": "commission", "commissionAndFeesReport": "commissionAndFees"}
"""The field of the amount, by the name of the callback in earlier and in later versions."""


class InteractiveBrokers:
    """The adapter of Interactive Brokers. One object serves one connection after another.

    Arguments:
        accounts: The user's name by account number. Another account keeps the number.
        venue: The name of the venue in operations.
        symbols: The user's symbol by `conId`. Another contract has the `localSymbol`.
        gateway_zone: The time zone of times without a zone, such as `Europe/Berlin`. With `None`,
            such times are left out.
        unknown_fields: `refuse` or `ignore`.
        remembered: How many executions are remembered.
        waiting_limit: How many commission reports may wait.

    >>> adapter = InteractiveBrokers(accounts={"DU1234567": "paper"}, gateway_zone="UTC")
    >>> report = {"execId": "0000e215.5f7e7752.01.01", "commission": 0.35, "currency": "USD"}
    >>> adapter.operations({"callback": "commissionReport", "commissionReport": report})
    []
    >>> len(adapter.waiting)
    1
    """

    def __init__(
        self,
        *,
        accounts: Mapping[str, str] | None = None,
        venue: str = "interactive-brokers",
        symbols: Mapping[int, str] | None = None,
        gateway_zone: str | None = None,
        unknown_fields: UnknownFields = "refuse",
        remembered: int = 100_000,
        waiting_limit: int = 10_000,
    ) -> None:
        if not venue:
            raise ValueError("venue is part of identities, and must not be empty")
        check_choice("unknown_fields", unknown_fields, UnknownFields)
        self._accounts = dict(accounts or {})
        self._venue = venue
        self._symbols = dict(symbols or {})
        if gateway_zone is not None:
            broker_time("20260302  00:00:00", gateway_zone)  # raises for an unknown zone
        self._time = partial(broker_time, gateway_zone=gateway_zone)
        self._unknown_fields = unknown_fields
        self._remembered = remembered
        self._waiting_limit = waiting_limit
        self._executions: dict[str, RecordTrade | None] = {}
        self._waiting_fees: dict[str, tuple[Decimal, str, object]] = {}

    @property
    def waiting(self) -> tuple[object, ...]:
        """The commission reports that wait for an execution."""
        return tuple(message for _, _, message in self._waiting_fees.values())

    def operations(self, message: object) -> list[Operation]:
        """Return the operations of a callback, and of the messages that waited for the callback.

        Raises `VenueMessageError` for an unknown callback, kind of security, field or form. Nothing
        is remembered of a refused message.
        """
        fields = Fields(message, self._unknown_fields)
        callback = fields.text("callback")
        if callback == "execDetails":
            return self._execution(fields.only(_EXEC_DETAILS))
        if callback in _COMMISSION:
            amount = _COMMISSION[callback]
            report = fields.only({"callback", callback}).fields(callback)
            return self._commission(report.only(_REPORT | {amount}), amount)
        if callback not in _QUIET:
            raise fields.refusal(f"is an unknown callback: {callback[:80]!r}", "callback")
        return []

    def _execution(self, details: Fields) -> list[Operation]:
        contract = details.fields("contract").only(_CONTRACT)
        execution = details.fields("execution").only(_EXECUTION)
        trade_id, version = _identity(execution)
        kind = contract.text("secType")
        if kind == _COMBINATION:  # the legs have executions and commissions
            self._remember(trade_id, None)
            self._waiting_fees.pop(trade_id, None)
            return []
        if kind not in _BOOKED:
            raise contract.refusal(f"is not understood: {kind[:80]!r}", "secType")
        fill = self._fill(contract, execution)
        self._remember(trade_id, fill)
        operations = [version_told(version, fill)]
        waiting = self._waiting_fees.pop(trade_id, None)
        if waiting is not None:
            fee, currency, _ = waiting
            operations.append(_trade_fee(fill, fee, currency))
        return operations

    def _fill(self, contract: Fields, execution: Fields) -> RecordTrade:
        shares = execution.positive("shares")
        if _is_double(shares, _UNSET_DECIMAL):
            raise execution.refusal("is unset", "shares")
        contract_id = contract.raw("conId")
        symbol = self._symbols.get(contract_id) if isinstance(contract_id, int) else None
        account = execution.text("acctNumber")
        liquidity = execution.optional_raw("lastLiquidity")
        if isinstance(liquidity, bool) or liquidity not in (None, *_LIQUIDITY):
            raise execution.refusal(f"is unknown: {str(liquidity)[:80]}", "lastLiquidity")
        order = execution.identifier("permId")
        return RecordTrade(
            trade_id=execution.text("execId"),
            symbol=symbol or contract.text("localSymbol"),
            side=execution.choice("side", _SIDES),
            shares=shares,
            price=execution.number("price"),
            venue=self._venue,
            account=self._accounts.get(account, account),
            order_id="" if order == "0" else order,
            client_order_id=execution.optional_text("orderRef"),
            liquidity=_LIQUIDITY.get(liquidity),
            time=execution.time("time", self._time),
        )

    def _commission(self, report: Fields, amount: str) -> list[Operation]:
        trade_id, _ = _identity(report)
        if _is_double(report.raw(amount), float_info.max):
            return []
        fee = report.number(amount)
        currency = report.text("currency")
        if trade_id in self._executions:
            fill = self._executions[trade_id]
            return [] if fill is None else [_trade_fee(fill, fee, currency)]
        full = len(self._waiting_fees) >= self._waiting_limit
        if full and trade_id not in self._waiting_fees:
            raise report.refusal(
                f"would wait for its execution, as {self._waiting_limit} others do. "
                "reqExecutions tells the executions again"
            )
        self._waiting_fees[trade_id] = (fee, currency, report.message)
        return []

    def _remember(self, trade_id: str, fill: RecordTrade | None) -> None:
        self._executions.setdefault(trade_id, fill)
        if len(self._executions) > self._remembered:
            del self._executions[next(iter(self._executions))]


def _trade_fee(fill: RecordTrade, fee: Decimal, currency: str) -> TradeFee:
    return TradeFee(
        trade_id=fill.trade_id,
        symbol=fill.symbol,
        side=fill.side,
        fee=fee,
        fee_currency=currency,
        venue=fill.venue,
        account=fill.account,
    )


def _is_double(value: object, double: float) -> bool:
    """Whether a number, or its text, is nearest to a double: the mark of a number that is unset."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return False
    try:
        return float(value) == double
    except (ValueError, OverflowError):
        return False


def _identity(fields: Fields) -> tuple[str, int]:
    """Return an `execId`, and the version behind its last period."""
    exec_id = fields.text("execId")
    found = _EXEC_ID.fullmatch(exec_id)
    if found is None or int(found["version"]) < 1:
        raise fields.refusal("has no version behind its last period", "execId")
    return exec_id, int(found["version"])
