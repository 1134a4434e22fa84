"""A risk monitor: a process beside the trading process, which sees each event a moment later.

The monitor follows the store of an engine without a lock, folds the events with the engine's own
handlers, and prints the exposure. Nothing in the engine knows the monitor, and a monitor that hangs
holds nothing up. With `--place FILE`, the monitor keeps its place and reads on from there at the
next start.

Run the demonstration in one terminal, and the monitor in another:

    eventstore demo --store /tmp/desk --kills 20
    python examples/risk_monitor/risk_monitor.py /tmp/desk
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TextIO

from eventstore import (
    Cursor,
    EventStoreError,
    HistoryForkedError,
    follow_sync,
    state_at,
    state_digest,
)
from handlers import EngineState, trading_registry

REGISTRY = trading_registry()


class Exposure(NamedTuple):
    """Worth of the open positions at their last prices. Short positions count negative in `net`."""

    gross: Decimal
    net: Decimal
    equity: Decimal
    positions: int

    @classmethod
    def of(cls, state: EngineState) -> Exposure:
        worth = [
            position.shares * (state.marks[symbol].price if symbol in state.marks else 0)
            for symbol, position in state.positions.items()
        ]
        gross = sum(map(abs, worth), Decimal(0))
        return cls(gross, sum(worth, Decimal(0)), state.equity(), len(worth))

    def __str__(self) -> str:
        return (
            f"gross {self.gross:>12,.2f}  net {self.net:>+13,.2f}  equity {self.equity:>13,.2f}  "
            f"{self.positions} open"
        )


def monitor(store: Path, *, limit: Decimal, place: Path | None, out: TextIO) -> EngineState:
    """Follow until the engine closes the store, and return the last state.

    Prints a line a second at most, and at once where the gross exposure is above `limit`. Only the
    newest state is judged: a state in the past, or amid a group of events, is nobody's risk.
    """
    cursor = kept_place(place)
    state = REGISTRY.initial() if cursor is None else state_at(store, REGISTRY, cursor)
    printed = time.monotonic()
    above = False
    with follow_sync(store, REGISTRY, after=cursor or 0, until_closed=True) as events:
        for event in events:
            state = REGISTRY.fold(state, [event])
            if events.seq < events.durable_seq:
                continue
            exposure = Exposure.of(state)
            was_above, above = above, exposure.gross > limit
            if above and not was_above:
                print(f"event {event.seq:>9,}  ABOVE THE LIMIT  {exposure}", file=out, flush=True)
            if time.monotonic() - printed >= 1.0:
                printed = time.monotonic()
                print(f"event {event.seq:>9,}  {exposure}", file=out, flush=True)
                keep_place(place, events.cursor)
        keep_place(place, events.cursor)
        print(f"event {events.seq:>9,}  {Exposure.of(state)}", file=out)
        print(f"state {state_digest(state)}", file=out, flush=True)
    return state


def kept_place(place: Path | None) -> Cursor | None:
    """Read the place of an earlier run."""
    if place is None or not place.exists():
        return None
    return Cursor.parse(place.read_text())


def keep_place(place: Path | None, cursor: Cursor) -> None:
    """Write the place, whole or not at all."""
    if place is not None:
        aside = place.with_name(f"{place.name}.new")
        aside.write_text(f"{cursor}\n")
        os.replace(aside, place)


def wait_for_store(path: Path, seconds: float) -> None:
    """Wait until there is a store, for the case that the engine starts a moment later."""
    deadline = time.monotonic() + seconds
    while not (path / "store.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print the exposure of a running engine.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--limit", type=Decimal, default=Decimal(15_000), metavar="MONEY")
    parser.add_argument("--place", type=Path, metavar="FILE", help="go on from there next time")
    parser.add_argument("--wait", type=float, default=10.0, metavar="SECONDS", help="for a store")
    chosen = parser.parse_args(arguments)
    wait_for_store(chosen.store, chosen.wait)
    try:
        monitor(chosen.store, limit=chosen.limit, place=chosen.place, out=sys.stdout)
    except HistoryForkedError as error:
        print(f"{error}\nRemove {chosen.place} to begin anew.", file=sys.stderr)
        return 2
    except EventStoreError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
