"""`examples/backtest`: the shipped tape's live history, two branches of it, and the picture."""

from __future__ import annotations

import asyncio
import importlib.util
import struct
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eventstore import read_events, state_at
from eventstore.demo.tape_reader import shipped_tape
from handlers import trading_registry

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "backtest" / "backtest.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("backtest_example", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backtest") / "live"


@pytest.fixture(scope="module")
def backtest(example: ModuleType, live: Path) -> Any:
    return asyncio.run(example.run(live, shipped_tape()))


def test_the_live_curve_ends_where_the_live_state_is(backtest: Any, live: Path) -> None:
    state = state_at(live, trading_registry())
    worth = state.cash + sum(held.shares * backtest.prices[-1] for held in state.positions.values())
    assert backtest.curves[0].equity[-1] == worth
    last_mark = state.marks["BTCUSDT"].price
    assert state.equity() == worth + (last_mark - backtest.prices[-1]) * sum(
        held.shares for held in state.positions.values()
    )
    assert backtest.curves[0].trades == state.trade_count


def test_a_branch_at_a_time_shares_the_curve_up_to_there(
    example: ModuleType, backtest: Any
) -> None:
    live, cheaper, _ = backtest.curves
    shared = [time <= example.FORK for time in live.times]
    assert any(shared)
    for number, is_shared in enumerate(shared):
        if is_shared:
            assert live.equity[number] == cheaper.equity[number]
    assert live.equity[-1] < cheaper.equity[-1]
    assert live.trades == cheaper.trades


def test_only_fees_and_what_they_were_paid_from_differ(
    example: ModuleType, backtest: Any, live: Path
) -> None:
    found = backtest.comparisons[0]
    saved = {
        row.path: row.other - row.one
        for row in found.differences
        if not row.path.startswith("memory")
    }
    assert saved.keys() == {"balances['USD']", "fee_sums[('BTCUSDT', 'USD')]"}
    told = [row.path for row in found.differences if row.path.startswith("memory")]
    assert all(path.endswith("].fee") for path in told)
    later = example.FORK + timedelta(microseconds=1)
    first = next(read_events(live, start=later, operations={"record_trade"}))
    assert found.differs_from == first.seq
    cash, fees = saved.values()
    assert cash == -fees > 0
    assert backtest.curves[1].equity[-1] - backtest.curves[0].equity[-1] == cash


def test_another_strategy_differs_from_its_first_trade_on(backtest: Any) -> None:
    found = backtest.comparisons[1]
    assert found.differs_from == 2
    assert backtest.curves[2].trades < backtest.curves[0].trades
    assert backtest.curves[2].equity[0] == backtest.curves[0].equity[0] == 100_000


def test_running_it_again_changes_nothing(example: ModuleType, live: Path, backtest: Any) -> None:
    again = asyncio.run(example.run(live, shipped_tape()))
    assert again == backtest


def test_the_report_tells_it_in_words(example: ModuleType, backtest: Any) -> None:
    text = "\n".join(example.report(backtest))
    assert "patient strategy, 4 bp fee differs from live from event 2 on:" in text
    assert "    fee_sums[('BTCUSDT', 'USD')]: " in text
    assert "memory" not in text


def test_the_picture_is_drawn(example: ModuleType, backtest: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [plot]: pip install matplotlib")
    example.draw(backtest, tmp_path / "equity.png")
    data = (tmp_path / "equity.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (1200, 780)
    assert len(data) > 20_000  # not an empty sheet


def test_it_runs_as_a_program(
    example: ModuleType,
    live: Path,
    backtest: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [plot]: pip install matplotlib")
    picture = tmp_path / "curve.png"
    monkeypatch.setattr(
        sys, "argv", ["backtest.py", "--store", str(live), "--output", str(picture)]
    )
    example.main()
    assert picture.exists()
    assert f"drawn: {picture}" in capsys.readouterr().out
