"""The risk monitor of the examples, beside a writer and by itself."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, state_digest
from handlers import FullState, Mark, RecordTrade, trading_registry

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "risk_monitor" / "risk_monitor.py"


def monitor(store: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(store), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    out, complaint = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), complaint


async def buy(store: EventStore[Any], number: int, shares: int) -> None:
    await store.append(
        RecordTrade(
            trade_id=f"t-{number}", symbol="AAPL", side="buy", shares=shares, price=150, fee=1
        ),
        Mark(symbol="AAPL", price=150),
    )


async def trade(path: Path, *numbers: int) -> str:
    """Record fills of one share each, and return the digest of the state."""
    async with EventStore.open(path, trading_registry()) as store:
        if not store.seq:
            await store.append(FullState(cash=100_000))
        for number in numbers:
            await buy(store, number, 1)
        return state_digest(store.state)


@pytest.mark.asyncio
async def test_it_sees_what_happens_and_ends_with_the_engines_state(tmp_path: Path) -> None:
    path = tmp_path / "store"
    process = monitor(path, "--limit", "1000")
    assert process.stdout is not None
    async with EventStore.open(path, trading_registry()) as store:
        await store.append(FullState(cash=100_000))
        await buy(store, 1, 6)
        await buy(store, 2, 1)
        line = await asyncio.to_thread(process.stdout.readline)
        assert line.startswith("event         5  ABOVE THE LIMIT  gross     1,050.00  net")
        digest = state_digest(store.state)
    code, lines, complaint = await asyncio.to_thread(finished, process)
    assert (code, complaint) == (0, "")
    assert lines[-2].endswith("equity     99,998.00  1 open")
    assert lines[-1] == f"state {digest}"


def test_it_goes_on_at_its_place_and_refuses_another_history(tmp_path: Path) -> None:
    path, place = tmp_path / "store", tmp_path / "place"
    asyncio.run(trade(path, 1, 2))
    assert finished(monitor(path, "--place", str(place)))[0] == 0
    assert ".5." in place.read_text()
    shutil.copytree(path, tmp_path / "older")
    digest = asyncio.run(trade(path, 3))
    code, lines, _ = finished(monitor(path, "--place", str(place)))
    assert (code, lines[-1]) == (0, f"state {digest}")
    asyncio.run(trade(tmp_path / "older", 8, 9))
    code, _, complaint = finished(monitor(tmp_path / "older", "--place", str(place)))
    assert code == 2
    assert "does not go on from the cursor" in complaint
    assert f"Remove {place} to begin anew" in complaint


def test_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    code, lines, complaint = finished(monitor(tmp_path / "missing", "--wait", "0"))
    assert (code, lines) == (1, [])
    assert "there is no store" in complaint
