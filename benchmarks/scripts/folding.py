"""The cost of a pure handler, by the type of its state: python benchmarks/scripts/folding.py

One rule, the average price and cash of `record_trade` without rarer branches, folds the same
trades into states of different types. All ways must end with the same numbers. Every round times
every way once, in turn. A figure is the median over the rounds. A ratio is the median of the ratios
within a round, to the way of `handlers/`.

The last way is no pure handler. The last way changes one dictionary in place, to show the cost of
purity. Such a handler could neither publish a state while the next is made, nor take back a refused
event.
"""

from __future__ import annotations

import dataclasses
import gc
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import click
import msgspec
from immutables import Map
from rich.console import Console
from rich.table import Table


class Trade(NamedTuple):
    """One fill: signed shares of a symbol."""

    symbol: str
    shares: float
    price: float
    time: int


# ---- the states ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class DataPosition:
    symbol: str
    shares: float
    price: float
    updated: int


@dataclasses.dataclass(frozen=True)
class DataState:
    cash: float
    positions: Any  # a dict or a Map
    count: int


class TrackedPosition(msgspec.Struct, frozen=True):
    symbol: str
    shares: float
    price: float
    updated: int


class TrackedState(msgspec.Struct, frozen=True):
    cash: float
    positions: Map[str, TrackedPosition]
    count: int


class Position(msgspec.Struct, frozen=True, gc=False):
    symbol: str
    shares: float
    price: float
    updated: int


class State(msgspec.Struct, frozen=True, gc=False):
    cash: float
    positions: Map[str, Position]
    count: int


# ---- the ways ------------------------------------------------------------------------------


def dataclass_and_dict(state: DataState, trade: Trade) -> DataState:
    positions = dict(state.positions)
    held = positions.get(trade.symbol)
    if held is None:
        positions[trade.symbol] = DataPosition(*trade)
    else:
        shares = held.shares + trade.shares
        price = (held.shares * held.price + trade.shares * trade.price) / shares
        positions[trade.symbol] = dataclasses.replace(
            held, shares=shares, price=price, updated=trade.time
        )
    return dataclasses.replace(
        state,
        cash=state.cash - trade.shares * trade.price,
        positions=positions,
        count=state.count + 1,
    )


def dataclass_and_map(state: DataState, trade: Trade) -> DataState:
    held = state.positions.get(trade.symbol)
    if held is None:
        new = DataPosition(*trade)
    else:
        shares = held.shares + trade.shares
        price = (held.shares * held.price + trade.shares * trade.price) / shares
        new = dataclasses.replace(held, shares=shares, price=price, updated=trade.time)
    return dataclasses.replace(
        state,
        cash=state.cash - trade.shares * trade.price,
        positions=state.positions.set(trade.symbol, new),
        count=state.count + 1,
    )


def struct_replaced(state: TrackedState, trade: Trade) -> TrackedState:
    held = state.positions.get(trade.symbol)
    if held is None:
        new = TrackedPosition(*trade)
    else:
        shares = held.shares + trade.shares
        price = (held.shares * held.price + trade.shares * trade.price) / shares
        new = msgspec.structs.replace(held, shares=shares, price=price, updated=trade.time)
    return msgspec.structs.replace(
        state,
        cash=state.cash - trade.shares * trade.price,
        positions=state.positions.set(trade.symbol, new),
        count=state.count + 1,
    )


def _struct_built(position: Callable[..., Any], whole: Callable[..., Any]) -> Callable[..., Any]:
    def fold(state: Any, trade: Trade) -> Any:
        symbol, bought, paid, at = trade
        positions = state.positions
        held = positions.get(symbol)
        if held is None:
            new = position(symbol, bought, paid, at)
        else:
            before = held.shares
            shares = before + bought
            new = position(symbol, shares, (before * held.price + bought * paid) / shares, at)
        return whole(state.cash - bought * paid, positions.set(symbol, new), state.count + 1)

    return fold


def in_place(state: dict[str, Any], trade: Trade) -> dict[str, Any]:
    symbol, bought, paid, at = trade
    held = state["positions"].get(symbol)
    if held is None:
        state["positions"][symbol] = {"shares": bought, "price": paid, "updated": at}
    else:
        before = held["shares"]
        shares = held["shares"] = before + bought
        held["price"] = (before * held["price"] + bought * paid) / shares
        held["updated"] = at
    state["cash"] -= bought * paid
    state["count"] += 1
    return state


class Way(NamedTuple):
    name: str
    start: Callable[[], Any]
    fold: Callable[[Any, Trade], Any]


OURS = "Struct with gc=False, built by position"
WAYS = (
    Way("dataclass, dict copied", lambda: DataState(0.0, {}, 0), dataclass_and_dict),
    Way("dataclass, persistent map", lambda: DataState(0.0, Map(), 0), dataclass_and_map),
    Way("Struct, msgspec's replace", lambda: TrackedState(0.0, Map(), 0), struct_replaced),
    Way(
        "Struct, built by position",
        lambda: TrackedState(0.0, Map(), 0),
        _struct_built(TrackedPosition, TrackedState),
    ),
    Way(OURS, lambda: State(0.0, Map(), 0), _struct_built(Position, State)),
    Way(
        "dict changed in place (not pure)",
        lambda: {"cash": 0.0, "positions": {}, "count": 0},
        in_place,
    ),
)


# ---- measuring -----------------------------------------------------------------------------


def trades(count: int, symbols: int) -> list[Trade]:
    """Return fills at random prices, of amounts that never bring a position back to zero."""
    chance = random.Random(7)
    return [
        Trade(f"S{chance.randrange(symbols)}", float(chance.randint(1, 9)), chance.random(), number)
        for number in range(count)
    ]


def timed(way: Way, run: list[Trade]) -> tuple[float, tuple[Any, ...]]:
    """Return nanoseconds per event, and the result of the fold."""
    state, fold = way.start(), way.fold
    gc.collect()
    began = time.perf_counter_ns()
    for trade in run:
        state = fold(state, trade)
    took = time.perf_counter_ns() - began
    return took / len(run), (
        field(state, "cash"),
        field(state, "count"),
        sorted(
            (symbol, field(held, "shares"), field(held, "price"))
            for symbol, held in field(state, "positions").items()
        ),
    )


def field(value: Any, name: str) -> Any:
    """Return a part of a state, for a state of any type."""
    return value[name] if isinstance(value, dict) else getattr(value, name)


def measure(events: int, symbols: int, rounds: int) -> dict[str, list[float]]:
    """Nanoseconds per event of every way, a figure for each round."""
    run = trades(events, symbols)
    found: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for _ in range(rounds):
        results = set()
        for way in WAYS:
            took, result = timed(way, run)
            found[way.name].append(took)
            results.add(repr(result))
        assert len(results) == 1, "every way comes to the same"
    return found


@click.command()
@click.option("--events", default=50_000, show_default=True)
@click.option("--rounds", default=9, show_default=True)
def main(events: int, rounds: int) -> None:
    """Compare ways to build the state of a pure handler."""
    console = Console()
    for symbols in (10, 1000):
        found = measure(events, symbols, rounds)
        table = Table("way", "ns per event", "ratio", title=f"{events:,} trades, {symbols} symbols")
        for name, figures in found.items():
            ratio = statistics.median(
                one / other for one, other in zip(figures, found[OURS], strict=True)
            )
            table.add_row(name, f"{statistics.median(figures):,.0f}", f"{ratio:.2f}")
        console.print(table)


if __name__ == "__main__":
    main()
