"""Case 13: a `record_trade` fold with exact decimals, against the float fold of before.

The lower bound beside them is the code of the float fold over decimals: numbers that are decimals
already, rounded sums, no duplicates noticed, no profit by symbol.

All fold the same trades, by turns of 200 events in one process. A figure is processor time, the
sum of the fastest turns of several passes, per event: whatever else runs disturbs a turn. One tape
is in 20 symbols at few prices. The other is in 100 symbols at random prices, in which most numbers
come once. Each pass begins without the remembered decimals of recent floats.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

import msgspec
from msgspec.structs import replace

from benchmarks import float_fold
from benchmarks.cases.base import Case, Cell, Profile, Task
from benchmarks.contenders import Contender
from benchmarks.workload import EMPTY, FUNCTIONS, events, payloads
from eventstore import Event, Operation
from handlers import RecordTrade
from handlers.amounts import RECENT

__all__ = ["TradingFold"]

_TURN = 200
_PASSES = 9
_NOTHING = replace(float_fold.FloatState(), cash=Decimal(), realized_pnl=Decimal(), fees=Decimal())


class TradingFold(Case):
    """The price of exact amounts, and of knowing what was told before."""

    name = "trading fold"
    title = "13. A record_trade fold, exact, against the float fold of before"
    headline = "exact"
    figures: ClassVar = {"exact": "ns", "decimal": "ns", "float": "ns"}

    COUNT: ClassVar = {"tiny": 1000, "quick": 10_000, "full": 20_000}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for contender in self.only(contenders, ("EventStore",)):
            for tape in ("few prices", "random prices"):
                options: dict[str, int | float | str] = {"count": self.COUNT[profile]}
                yield Cell(self.name, tape, contender.name, options | {"tape": tape})

    async def run(self, task: Task) -> dict[str, float]:
        count = task.count("count")
        tape = _few_prices(count) if task.options["tape"] == "few prices" else _random(count)
        decode = msgspec.msgpack.Decoder(list[Event[RecordTrade]]).decode
        recorded = decode(msgspec.msgpack.encode(events(tape)))  # as a log gives them
        ways = {
            "float": _Way(float_fold.record_trade, float_fold.FloatState(), recorded),
            "decimal": _Way(float_fold.record_trade, _NOTHING, list(map(_in_decimals, recorded))),
            "exact": _Way(FUNCTIONS[RecordTrade], EMPTY, recorded),
        }
        found = _fastest_turns(ways, count)
        return {name: sum(turns) / count for name, turns in found.items()}


class _Way(NamedTuple):
    """A way to fold: the function, the first state, and the events."""

    function: Callable[[Any, Any], Any]
    first: Any
    events: list[Event[RecordTrade]]


def _in_decimals(event: Event[RecordTrade]) -> Event[RecordTrade]:
    trade = event.data
    numbers = {name: Decimal(repr(getattr(trade, name))) for name in ("shares", "price", "fee")}
    return replace(event, data=replace(trade, **numbers))


def _fastest_turns(ways: dict[str, _Way], count: int) -> dict[str, list[float]]:
    starts = range(0, count, _TURN)
    fastest: dict[str, list[float]] = {name: [float("inf")] * len(starts) for name in ways}
    for _ in range(_PASSES):
        states = {name: way.first for name, way in ways.items()}
        RECENT.clear()
        gc.collect()
        for number, start in enumerate(starts):
            for name, way in ways.items():
                function, turn, state = (
                    way.function,
                    way.events[start : start + _TURN],
                    states[name],
                )
                began = time.thread_time()
                for event in turn:
                    state = function(state, event)
                took = time.thread_time() - began
                states[name] = state
                fastest[name][number] = min(fastest[name][number], took)
    return fastest


def _few_prices(count: int) -> list[Operation]:
    trades = (one for one in payloads(2 * count) if isinstance(one, RecordTrade))
    return [trade for trade, _ in zip(trades, range(count), strict=False)]


def _random(count: int) -> list[Operation]:
    chance = random.Random(5)
    return [
        RecordTrade(
            trade_id=f"t-{number}",
            symbol=f"S{chance.randrange(100)}",
            side=chance.choice(("buy", "sell")),
            shares=round(chance.uniform(1.0, 100.0), 2),
            price=round(chance.uniform(10.0, 500.0), 2),
            fee=round(chance.uniform(0.0, 2.0), 2),
        )
        for number in range(count)
    ]
