"""The events that the trading loop records: a function of the tape, event by event.

The first event sets the opening capital. After it, every fill begins with its order (`order_sent`),
which is recorded before the order is sent. The fill follows as one group of three operations, all
or nothing. The first operation is the fill (`record_trade`). The second closes the order
(`order_closed`). The third is the last price of the symbol (`mark`), from which the state knows
unrealised profit and the worth of the account. The orders of a moment come before its fills.

All of this follows from the tape, so event number `n` is the same in every run. A process with `n`
events in its store therefore knows where to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from eventstore.demo.second_account import Ledger
from eventstore.demo.strategy import DEFAULT_RULES, Fill, Rules, Strategy
from eventstore.demo.tape_reader import Print

__all__ = ["Group", "Journal"]


@dataclass(frozen=True, slots=True)
class Group:
    """Events `first_seq` to `last_seq`, appended together, received at `time` (ns).

    `is_order` says whether the group is an order about to be sent.
    """

    first_seq: int
    last_seq: int
    time: int
    key: str
    operations: tuple[tuple[str, dict[str, Any]], ...]
    is_order: bool = False


class Journal:
    """The strategy, run over moments, and the events to record.

    `ledger` accounts for every group handed out so far, and for nothing else. `open_orders` are the
    ids of the orders handed out without their fills, oldest first.
    """

    def __init__(self, rules: Rules = DEFAULT_RULES) -> None:
        self._rules = rules
        self._strategy = Strategy(rules)
        self._last: dict[str, Decimal] = {}
        self._seq = 0
        self.ledger = Ledger(rules.capital)
        self.open_orders: list[str] = []

    @property
    def seq(self) -> int:
        """The number of the last event handed out."""
        return self._seq

    def moment(self, prints: tuple[Print, ...]) -> Iterator[Group]:
        """Yield the groups of one moment. The ledger keeps step with each group."""
        if not self._seq:
            opening = {"cash": self._rules.capital, "positions": {}}
            yield self._group(prints[0].received, "opening", ("full_state", opening))
        for one in prints:
            self._last[one.symbol] = one.price
        fills = self._strategy.trade(prints)
        for fill in fills:
            self.open_orders.append(fill.order_id)
            yield self._group(fill.time, fill.order_id, _order(fill), is_order=True)
        for fill in fills:
            price = self._last[fill.symbol]
            self.ledger.record(fill)
            self.ledger.mark(fill.symbol, price)
            self.open_orders.remove(fill.order_id)
            closed = ("order_closed", {"order_id": fill.order_id, "reason": "filled"})
            mark = ("mark", {"symbol": fill.symbol, "price": price})
            yield self._group(fill.time, fill.trade_id, _trade(fill), closed, mark)

    def _group(
        self, time: int, key: str, *operations: tuple[str, dict[str, Any]], is_order: bool = False
    ) -> Group:
        first = self._seq + 1
        self._seq += len(operations)
        return Group(first, self._seq, time, key, operations, is_order)


def _order(fill: Fill) -> tuple[str, dict[str, Any]]:
    return (
        "order_sent",
        {
            "client_order_id": fill.order_id,
            "symbol": fill.symbol,
            "side": fill.side,
            "shares": fill.shares,
        },
    )


def _trade(fill: Fill) -> tuple[str, dict[str, Any]]:
    return (
        "record_trade",
        {
            "trade_id": fill.trade_id,
            "client_order_id": fill.order_id,
            "symbol": fill.symbol,
            "side": fill.side,
            "shares": fill.shares,
            "price": fill.price,
            "fee": fill.fee,
        },
    )
