"""One store folded in every possible way. Other interpreters run this file as a program.

`python tests/support/folding.py STORE` prints, as JSON, the digest of the state by each way.
"""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from pathlib import Path

from eventstore import (
    EventStore,
    HandlerRegistry,
    Operation,
    SimulatedClock,
    read_events,
    replay,
    state_at,
    state_digest,
)
from handlers import (
    AdjustCash,
    BustTrade,
    DefineInstrument,
    EngineState,
    FullState,
    Mark,
    RecordTrade,
    Split,
    UpdatePosition,
    trading_registry,
)

START = 1_700_000_000 * 10**9
EVENTS = 500
MOMENTS = (1, 37, 100, 101, 333, 499)

REGISTRY: HandlerRegistry[EngineState] = trading_registry()


def operations() -> list[Operation]:
    """Return operations with quotients that no decimal holds, symbols of many alphabets, several
    currencies, amended fills and extras.
    """
    made: list[Operation] = [
        FullState.from_mapping(
            {
                "cash": 1e6 / 3,
                "positions": {"ÅÄÖ": {"shares": 0.1, "price": 7.7, "note": {"b": [1], "a": 2}}},
                "limits": {name: {"max": len(name) / 7, "on": True} for name in ("z", "yy", "xxx")},
                "modes": ["fast", None, -0.0, 2**53 + 1],
            }
        ),
        DefineInstrument(symbol="b", kind="spot", base="b", quote="EUR"),
        DefineInstrument(symbol="a", kind="inverse", base="a", multiplier=100),
        DefineInstrument(symbol="0", kind="linear", multiplier=Decimal("0.001")),
    ]
    symbols = ("AAPL", "MSFT", "株式", "b", "a", "0", "ÅÄÖ")
    for number in range(len(made), EVENTS):
        symbol = symbols[number * 7919 % len(symbols)]
        if number % 13 == 0:
            made.append(
                AdjustCash(
                    type="funding", amount=number / 7, reference=f"c-{number}", currency=symbol
                )
            )
        elif number % 17 == 0:
            made.append(Mark(symbol=symbol, price=Decimal(number) / 8, time=number))
        elif number % 61 == 0:
            made.append(Split(symbol=symbol, numerator=3, denominator=7, reference=f"s-{number}"))
        elif number % 19 == 0:
            before = next(told for told in made[-9:] if isinstance(told, RecordTrade))
            made.append(BustTrade(trade_id=before.trade_id, symbol=before.symbol, side=before.side))
        elif number % 11 == 0:
            made.append(
                UpdatePosition(symbol=symbol, shares=number / 7, price=number / 13, weight=0.1)
            )
        else:
            made.append(
                RecordTrade(
                    trade_id=f"t-{number}",
                    symbol=symbol,
                    side="sell" if number % 3 else "buy",
                    shares=0.1 * (1 + number % 17),
                    price=100.0 + number % 29 / 3,
                    fee=number / 997,
                )
            )
    return made


async def write(path: Path) -> EngineState:
    """Record the operations in groups, over archives, snapshots and log. Returns the live state."""
    clock = SimulatedClock(START)
    async with EventStore.open(
        path, REGISTRY, clock=clock, segment_size=8192, wal_max_entries=90, backup_count=2
    ) as store:
        rest = operations()
        while rest:
            clock.advance(0.1)
            group, rest = rest[:3], rest[3:]
            await store.append(*group)
        return store.state


async def recovered(path: Path) -> EngineState:
    async with EventStore.open(path, REGISTRY, read_only=True) as store:
        return store.state


def folded(path: Path) -> dict[str, str]:
    """Return the digest of the state by each way, and of states on the way."""
    state = REGISTRY.initial()
    for event in read_events(path, REGISTRY):
        state = REGISTRY.fold(state, (event,))
    last = REGISTRY.initial()
    seen: dict[int, EngineState] = {}
    for event, last in replay(path, REGISTRY):
        seen[event.seq] = last
    found = {
        "fold": state,
        "recovery": asyncio.run(recovered(path)),
        "replay": last,
        "state_at": state_at(path, REGISTRY),
    }
    digests = {name: state_digest(state) for name, state in found.items()}
    digests["plain"] = repr(state.to_dict())  # beside the digest, for comparison by a person
    for seq in MOMENTS:
        digests[f"replay {seq}"] = state_digest(seen[seq])
        digests[f"state_at {seq}"] = state_digest(state_at(path, REGISTRY, seq))
    return digests


if __name__ == "__main__":
    json.dump(folded(Path(sys.argv[1])), sys.stdout)
