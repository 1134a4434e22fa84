"""A small day of trading: archives, several segments and two snapshots."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

from eventstore import EventStore, SimulatedClock
from handlers import FullState, RecordTrade, trading_registry

START = 1_772_461_800 * 10**9
EVENTS = 300


async def fill(path: Path, events: int = EVENTS) -> None:
    draw, clock = random.Random(7), SimulatedClock(START)
    price = {"BTC-USDT": 64000.0, "ETH-USDT": 3100.0}
    async with EventStore.open(
        path,
        trading_registry(),
        clock=clock,
        segment_size=8192,
        wal_max_entries=None,
        backup_count=2,
        auto_save_interval=None,
    ) as store:
        await store.append(FullState(cash=1_000_000.0))
        for number in range(1, events):
            clock.advance(4.0)
            symbol = draw.choice(list(price))
            price[symbol] *= 1 + draw.gauss(0, 0.0004)
            store.submit(
                RecordTrade(
                    trade_id=f"T{number:05}",
                    symbol=symbol,
                    side=draw.choice(["buy", "sell"]),
                    shares=round(draw.uniform(0.01, 0.5), 3),
                    price=round(price[symbol], 2),
                    fee=0.02,
                ),
                key=f"binance:{number}",
            )
            if number % 5 == 0:
                await store.flush()
            if number + 1 in (60, 150, 225):
                await store.flush()
                await store.snapshot()


async def fill_and_die(path: Path, image: Path) -> None:
    """Fill a store, and copy the files as a killed writer would leave them."""
    async with EventStore.open(
        path, trading_registry(), clock=SimulatedClock(START), segment_size=8192
    ) as store:
        await store.append(FullState(cash=1_000_000.0))
        for number in range(1, 11):
            for part in range(4):
                store.submit(
                    RecordTrade(
                        trade_id=f"T{number}-{part}",
                        symbol="BTC-USDT",
                        side="buy",
                        shares=number,
                        price=100,
                    )
                )
            await store.flush()
        # What the store's threads prepare meanwhile comes and goes under these names.
        shutil.copytree(path, image, ignore=shutil.ignore_patterns("*.tmp", "spare"))


def make(path: Path) -> Path:
    asyncio.run(fill(path))
    return path


def copy_of(store: Path, to: Path) -> Path:
    shutil.copytree(store, to)
    return to


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def segments(store: Path) -> list[Path]:
    return sorted((store / "log").glob("0*.log"))


def archives(store: Path) -> list[Path]:
    return sorted((store / "archive").glob("0*.zst"))


def first_of(file: Path) -> int:
    return int(file.name.partition(".")[0])


def contents(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
