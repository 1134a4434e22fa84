"""The day store: 5,000 events of a trading day, small segments, two snapshots, an archive.

Everything but the store's UUID and its salts is the same each time. `hurt` flips the bit that the
documentation's examples flip.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

from eventstore import EventStore, SimulatedClock
from eventstore.disk.layout import segment_name
from handlers import FullState, RecordTrade, trading_registry

__all__ = ["day", "flip", "hurt"]


async def day(path: Path, events: int = 5000) -> None:
    """Make the day store at `path`, or its first `events` events."""
    rnd = random.Random(7)
    clock = SimulatedClock(datetime(2026, 3, 2, 14, 30, tzinfo=UTC))
    price = {"BTC-USDT": 64000.0, "ETH-USDT": 3100.0, "SOL-USDT": 142.0}
    async with EventStore.open(
        path,
        trading_registry(),
        clock=clock,
        segment_size=65536,
        wal_max_entries=1000,
        backup_count=2,
        auto_save_interval=None,
    ) as store:
        await store.append(FullState(cash=1_000_000.0))
        for i in range(1, events):
            clock.advance(4.0)
            symbol = rnd.choice(list(price))
            price[symbol] *= 1 + rnd.gauss(0, 0.0004)
            trade = RecordTrade(
                trade_id=f"T{i:05}",
                symbol=symbol,
                side=rnd.choice(["buy", "sell"]),
                shares=round(rnd.uniform(0.01, 0.5), 3),
                price=round(price[symbol], 2),
                fee=0.02,
            )
            store.submit(trade, key=f"binance:{i}")
            if i % 5 == 0:
                await store.flush()
            if i % 1000 == 0:  # else a busy machine takes the snapshot of a later event
                while store.stats().snapshot_seq < i:  # noqa: ASYNC110  the store has no such event
                    await asyncio.sleep(0)


def flip(file: Path, at: int) -> None:
    """Flip bit 0 of byte `at` of a file."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def hurt(path: Path, first_seq: int = 4232, at: int = 20_000) -> None:
    """Flip a bit of the segment that begins with event `first_seq`."""
    flip(path / segment_name(first_seq), at)
