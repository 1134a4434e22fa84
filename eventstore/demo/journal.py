"""The events that the trading loop records: a function of the tape, event by event.

The first event sets the opening capital. After it, every fill is one group of two operations, all
or nothing. The first operation is the fill (`record_trade`). The second is the last price of the
symbol (`mark`), from which the state knows unrealised profit and the worth of the account.

All of this follows from the tape, so event number `n` is the same in every run. A process with `n`
events in its store therefore knows where to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from eventstore.demo.ledger import Ledger
from eventstore.demo.strategy import DEFAULT_RULES, Fill, Rules, Strategy
from eventstore.demo.tape import Print

__all__ = ["Group", "Journal"]


@dataclass(frozen=True, slots=True)
class Group:
    """Events `first_seq` to `last_seq`, appended together, received at `time` (ns)."""

    first_seq: int
    last_seq: int
    time: int
    key: str
    operations: tuple[tuple[str, dict[str, Any]], ...]


class Journal:
    """The strategy, run over moments, and the events to record.

    `ledger` accounts for every group handed out so far, and for nothing else.
    """

    def __init__(self, rules: Rules = DEFAULT_RULES) -> None:
        self._rules = rules
        self._strategy = Strategy(rules)
        self._last: dict[str, Decimal] = {}
        self._seq = 0
        self.ledger = Ledger(rules.capital)

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
        for fill in self._strategy.trade(prints):
            price = self._last[fill.symbol]
            self.ledger.record(fill)
            self.ledger.mark(fill.symbol, price)
            mark = ("mark", {"symbol": fill.symbol, "price": price})
            yield self._group(fill.time, fill.trade_id, _trade(fill), mark)

    def _group(self, time: int, key: str, *operations: tuple[str, dict[str, Any]]) -> Group:
        first = self._seq + 1
        self._seq += len(operations)
        return Group(first, self._seq, time, key, operations)


def _trade(fill: Fill) -> tuple[str, dict[str, Any]]:
    return (
        "record_trade",
        {
            "trade_id": fill.trade_id,
            "symbol": fill.symbol,
            "side": fill.side,
            "shares": fill.shares,
            "price": fill.price,
            "fee": fill.fee,
        },
    )
