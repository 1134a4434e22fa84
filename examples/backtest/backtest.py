"""A backtest on the history of a live engine: what if fees had been lower, or the strategy another?

The live engine here is the demonstration's trading loop, which trades a tape of real prints and
records every trade. Then the store is used like any engine's store, which may be running meanwhile:

* `replay` gives the states of the past, and with the tape's prices the equity curve.
* `branch` at a time gives a store that goes on from there, in memory. The same trades are made
  again, with another fee.
* `branch` after the first event gives a store with nothing but the opening capital. Another
  strategy trades the same tape on this store.
* `compare` says from which event on a branch and the live store differ, and in which fields.

Run with `python examples/backtest/backtest.py`. The script draws `equity.png`, which needs
matplotlib: `pip install 'asyncio-eventstore[plot]'`.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from eventstore import EventStore, HandlerRegistry, SimulatedClock, read_events, replay
from eventstore.demo.events_to_record import Journal
from eventstore.demo.strategy import DEFAULT_RULES, Rules
from eventstore.demo.tape_reader import Print, read_moments, shipped_tape
from eventstore.history import Comparison, branch, compare
from handlers import EngineState, trading_registry

FORK = datetime(2020, 2, 22, 1, 0, tzinfo=UTC)
"""Time from which on the first branch pays lower fees."""

LOWER_FEE_BPS = Decimal(1)
PATIENT = replace(DEFAULT_RULES, span=400, entry_bps=6.0)
"""Another strategy: a slower average, and entries only where the price is far from the average."""

Moments = list[tuple[Print, ...]]


@dataclass(frozen=True)
class Curve:
    """An account's worth over time: cash, and the holdings at the last price, in USDT."""

    name: str
    times: list[datetime]
    equity: list[Decimal]
    trades: int


@dataclass(frozen=True)
class Backtest:
    """The live engine's curve, those of the branches, and the differences of each branch."""

    curves: list[Curve]
    comparisons: list[Comparison]
    prices: list[Decimal]


async def trade_live(path: Path, moments: Moments) -> None:
    """Trade the tape like the live engine, and record every trade."""
    clock = SimulatedClock(moments[0][0].received)
    async with EventStore.open(path, trading_registry(), clock=clock) as store:
        await trade(store, clock, moments, DEFAULT_RULES)


async def trade(
    store: EventStore[EngineState], clock: SimulatedClock, moments: Moments, rules: Rules
) -> None:
    """Trade the tape by `rules`, on a store of any kind."""
    journal = Journal(rules)
    for prints in moments:
        for group in journal.moment(prints):
            if group.last_seq > store.seq:  # the opening event may be there already
                clock.set(group.time)
                await store.append(*group.operations, key=group.key)


async def with_lower_fees(
    path: Path, registry: HandlerRegistry[EngineState], prices: Prices
) -> tuple[Curve, Comparison]:
    """Make the trades after `FORK` again, with a lower fee."""
    clock = SimulatedClock(FORK)
    async with (
        branch(path, registry, at=FORK, clock=clock) as what_if,
        EventStore.open(path, registry, read_only=True) as live,
    ):
        for event in read_events(path, registry, start=what_if.seq + 1):
            clock.set(event.time)
            operation: Any = event.data
            if event.operation == "record_trade":
                fee = operation.shares * operation.price * LOWER_FEE_BPS
                operation = msgspec.structs.replace(operation, fee=fee.scaleb(-4))
            await what_if.append(operation, key=event.key)
        name = f"same trades, {LOWER_FEE_BPS:g} bp fee from {FORK:%H:%M}"
        states = [pair async for pair in history(what_if, registry)]
        return prices.curve(name, states), await compare(live, what_if)


async def with_patience(
    path: Path, registry: HandlerRegistry[EngineState], prices: Prices, moments: Moments
) -> tuple[Curve, Comparison]:
    """Trade the same tape by another strategy, from the opening capital on."""
    clock = SimulatedClock(moments[0][0].received)
    async with (
        branch(path, registry, at=1, clock=clock) as what_if,
        EventStore.open(path, registry, read_only=True) as live,
    ):
        await trade(what_if, clock, moments, PATIENT)
        name = f"patient strategy, {PATIENT.fee_bps:g} bp fee"
        states = [pair async for pair in history(what_if, registry)]
        return prices.curve(name, states), await compare(live, what_if)


async def history(
    store: EventStore[EngineState], registry: HandlerRegistry[EngineState]
) -> AsyncIterator[tuple[int, EngineState]]:
    """Return every state of a branch with its time, the states shared with the live store first."""
    state = registry.initial()
    async for event in store.events():
        state = registry.fold(state, [event])
        yield event.time, state


class Prices:
    """The last price of each symbol at every moment of the tape."""

    def __init__(self, moments: Moments) -> None:
        self.times: list[int] = []
        self._last: list[dict[str, Decimal]] = []
        last: dict[str, Decimal] = {}
        for prints in moments:
            last = last | {one.symbol: one.price for one in prints}
            self.times.append(max(one.received for one in prints))
            self._last.append(last)

    def of(self, symbol: str) -> list[Decimal]:
        """Return one symbol's price at every moment."""
        return [last[symbol] for last in self._last]

    def curve(self, name: str, states: Iterable[tuple[int, EngineState]]) -> Curve:
        """Return the equity at every moment, of an account that went through `states`."""
        equity: list[Decimal] = []
        rest = iter(states)
        state, following = EngineState(), next(rest, None)
        for time, last in zip(self.times, self._last, strict=True):
            while following is not None and following[0] <= time:
                state, following = following[1], next(rest, None)
            held = state.positions.values()
            equity.append(state.cash + sum(one.shares * last[one.symbol] for one in held))
        times = [datetime.fromtimestamp(time / 1e9, UTC) for time in self.times]
        return Curve(name, times, equity, state.trade_count)


def live_states(
    path: Path, registry: HandlerRegistry[EngineState]
) -> Iterator[tuple[int, EngineState]]:
    """Return the states of the live engine, with their times."""
    return ((event.time, state) for event, state in replay(path, registry))


async def run(path: Path, tape: Path) -> Backtest:
    """Record the live engine's history at `path` if missing, and run both backtests."""
    moments = list(read_moments(tape))
    if not (path / "store.json").exists():
        await trade_live(path, moments)
    registry, prices = trading_registry(), Prices(moments)
    live = prices.curve(f"live, {DEFAULT_RULES.fee_bps:g} bp fee", live_states(path, registry))
    cheaper, cheaper_found = await with_lower_fees(path, registry, prices)
    patient, patient_found = await with_patience(path, registry, prices, moments)
    return Backtest(
        [live, cheaper, patient],
        [cheaper_found, patient_found],
        prices.of(moments[0][0].symbol),
    )


COLOURS = ("#222222", "#0072b2", "#d55e00")


def draw(backtest: Backtest, to: Path) -> None:
    """Draw the equity curves over the price, as a PNG."""
    from matplotlib.dates import DateFormatter, MinuteLocator
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), dpi=120, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for number, (curve, colour) in enumerate(zip(backtest.curves, COLOURS, strict=True)):
        change = f"{curve.equity[-1] - curve.equity[0]:+,.0f}".replace("-", "\N{MINUS SIGN}")
        top.plot(
            curve.times,
            curve.equity,
            color=colour,
            linewidth=1.3,
            zorder=4 - number,  # where a branch shares the live history, the live curve is seen
            label=f"{curve.name}: {change} USDT, {curve.trades:,} fills",
        )
    top.axvline(FORK, color="#888888", linewidth=0.9, linestyle="--")
    top.annotate(
        f"branch at {FORK:%H:%M}",
        (FORK, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(5, -14),
        textcoords="offset points",
        color="#555555",
        fontsize=9,
    )
    top.set_title("What if? Two backtests on branches of one live history", loc="left")
    top.set_ylabel("equity (USDT)")
    top.yaxis.set_major_formatter("{x:,.0f}")
    top.legend(loc="lower left", framealpha=1.0, edgecolor="none")
    bottom.plot(backtest.curves[0].times, backtest.prices, color="#777777", linewidth=0.8)
    bottom.set_ylabel("BTCUSDT (USDT)")
    bottom.yaxis.set_major_formatter("{x:,.0f}")
    bottom.set_xlabel("time on 22 February 2020 (UTC)")
    bottom.xaxis.set_major_locator(MinuteLocator(byminute=(0, 30)))
    bottom.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))
    for axes in (top, bottom):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    figure.savefig(to)


def report(backtest: Backtest) -> Iterator[str]:
    """Return the results, in words."""
    for curve in backtest.curves:
        yield f"{curve.name}: {curve.equity[-1]:,.2f} USDT after {curve.trades:,} fills"
    for curve, found in zip(backtest.curves[1:], backtest.comparisons, strict=True):
        yield f"{curve.name} differs from live from event {found.differs_from} on:"
        for row in found.differences:
            if not row.path.startswith("memory"):  # each fill is remembered, with its fee
                yield f"    {row}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Backtests on branches of a live history.")
    parser.add_argument("--store", type=Path, help="the live store (default: a temporary one)")
    parser.add_argument("--output", type=Path, default=Path("equity.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.store or Path(folder) / "live"
        backtest = asyncio.run(run(path, shipped_tape()))
    for line in report(backtest):
        print(line)
    draw(backtest, options.output)
    print(f"drawn: {options.output}")


if __name__ == "__main__":
    main()
