"""Stores for the tests of reports, and the figures inside a page."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from eventstore import EventStore, SimulatedClock
from handlers import (
    AdjustCash,
    DefineInstrument,
    FullState,
    Mark,
    OrderSent,
    RecordTrade,
    UpdatePosition,
    trading_registry,
)
from handlers.order import TradeSide
from tests.support.day import flip
from tests.tools.command import eventstore

__all__ = ["HOSTILE", "chart", "figures", "hostile", "table", "trading", "values", "with_repair"]

HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "$data ${policy} \u2028 \u202e &lt; \"'`",
    "]]></style><svg/onload=window.hacked=1>",
)


def figures(page: Path | bytes) -> dict[str, Any]:
    """Return the figures in a page, as the page's script reads them."""
    text = (page if isinstance(page, bytes) else page.read_bytes()).decode()
    (data,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', text)
    found: dict[str, Any] = msgspec.json.decode(data)
    return found


def chart(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a chart by its identity."""
    charts = [one for section in found["sections"] for one in section["charts"]]
    chosen: dict[str, Any]
    (chosen,) = [one for one in charts if one["id"] == name]
    return chosen


def values(found: dict[str, Any], name: str, line: int = 0) -> list[float]:
    """Return the values of a line of a chart."""
    drawn: list[float] = chart(found, name)["series"][line]["y"]
    return drawn


def table(found: dict[str, Any], title: str) -> list[dict[str, str]]:
    """Return the rows of a table."""
    tables = [one for section in found["sections"] for one in section["tables"]]
    (chosen,) = [one for one in tables if one["title"] == title]
    return [dict(zip(chosen["columns"], row, strict=True)) for row in chosen["rows"]]


async def trading(path: Path, rounds: int = 60) -> None:
    """Make a store with everything that a report shows of a trading engine."""
    clock = SimulatedClock(datetime(2026, 3, 2, 9, tzinfo=UTC))
    async with EventStore.open(
        path,
        trading_registry(),
        clock=clock,
        segment_size=16384,
        wal_max_entries=150,
        backup_count=3,
        auto_save_interval=None,
    ) as store:
        await store.append(FullState(cash=100_000))
        await store.append(
            DefineInstrument(symbol="ETH-PERP", kind="linear", base="ETH", quote="USD")
        )
        for number in range(rounds):
            price = Decimal(100 + (number * 7) % 23)
            side: TradeSide = "buy" if number % 3 else "sell"
            order = OrderSent(
                client_order_id=f"o{number}", symbol="AAPL", side=side, shares=5 + number % 4
            )
            store.submit(order)
            clock.advance(0.003)
            store.submit(
                RecordTrade(
                    trade_id=f"t{number}",
                    symbol="AAPL",
                    side=side,
                    shares=5 + number % 4,
                    price=price,
                    fee=Decimal("0.35"),
                )
            )
            clock.advance(0.002 * (number % 5))
            store.submit(Mark(symbol="AAPL", price=price + 1))
            if number % 4 == 0:
                store.submit(
                    RecordTrade(
                        trade_id=f"e{number}",
                        symbol="ETH-PERP",
                        side="sell" if number % 8 else "buy",
                        shares=2,
                        price=2000 + number,
                        fee=1,
                        account="futures",
                    ),
                    Mark(symbol="ETH-PERP", price=2000 + number),
                )
            if number == rounds // 2:
                store.submit(AdjustCash(type="withdrawal", amount=-30_000, reference="w1"))
            await store.flush()
            clock.advance(61.0)


async def hostile(path: Path) -> None:
    """Make a store whose texts would be HTML, scripts or parts of the template."""
    async with EventStore.open(path, trading_registry(), clock=SimulatedClock(10**18)) as store:
        await store.append(FullState(cash=1000, rest={"base_currency": HOSTILE[0]}))
        for number, symbol in enumerate(HOSTILE):
            trade = RecordTrade(
                trade_id=symbol, symbol=symbol, side="buy", shares=1, price=5, account=HOSTILE[1]
            )
            await store.append(trade, Mark(symbol=symbol, price=6 + number), key=symbol)
        await store.append(UpdatePosition(symbol="A", shares=1, price=2, account=HOSTILE[3]))


def with_repair(folder: Path) -> Path:
    """Make the trading store with a repaired gap: lost events, a note and a second timeline."""
    asyncio.run(trading(folder / "engine"))
    segment = max((folder / "engine" / "log").glob("0*.log"))
    flip(segment, 1200)
    flip(segment, 1300)
    repaired = folder / "engine-repaired"
    result = eventstore(
        "repair", folder / "engine", "--skip", "--apply", "--to", repaired, "--reason", "a bad disk"
    )
    assert result.exit_code == 0, result.output
    return repaired
