"""`eventstore migrate` through the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventstore.command_line.all_commands import commands
from tests.support.plan_0d import PlanFiles


def eventstore(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """The folder of the documentation: a save, and two entries behind the saved state."""
    files = PlanFiles(tmp_path / "legacy", lambda: datetime(2024, 1, 15, 9, 30, tzinfo=UTC))
    older = {"cash": 40000.0, "positions": {}}
    state = {"cash": 50000.0, "positions": {"AAPL": {"shares": 100.0, "price": 150.0}}}
    files.save(older)
    files.log("full_state", state)
    files.save(state, checkpoint=False)
    files.log("update_position", {"symbol": "AAPL", "shares": 60, "price": 150.0})
    files.log("update_position", {"symbol": "MSFT", "shares": 5, "price": 300.0})
    return tmp_path / "legacy"


def test_the_plans_folder(legacy: Path, tmp_path: Path) -> None:
    result = eventstore("migrate", legacy, tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "source\tfound\tuse",
        "engine_state.json\tchecksum right, saved 2024-01-15T09:30:00Z, wal up to 1\tused",
        "engine_state.bak1\tchecksum right, saved 2024-01-15T09:30:00Z, older\tset aside",
        "engine_state.wal\t2 entries after the state, 1 in the state already, 0 bad\tused",
        f"wrote\t{tmp_path / 'new'}\tevents 1 … 3 (1 full_state, 2 update_position)"
        "\tcash 50,000.0, AAPL 60, MSFT 5",
    ]
    assert eventstore("verify", tmp_path / "new").exit_code == 0


def test_a_bad_line_is_a_finding(legacy: Path, tmp_path: Path) -> None:
    with (legacy / "engine_state.wal").open("a") as file:
        file.write('{"torn\x1b')
    result = eventstore("migrate", legacy, tmp_path / "new", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["schema"] == "eventstore.migrate/1"
    assert found["last"] == 3
    assert found["sources"][-1]["place"] == "engine_state.wal, line 4"
    assert "\x1b" not in result.output


def test_a_damaged_state_says_what_is_lacking(legacy: Path, tmp_path: Path) -> None:
    (legacy / "engine_state.json").write_text("{")
    wal = legacy / "engine_state.wal"
    wal.write_text("".join(wal.read_text().splitlines(keepends=True)[1:]))
    result = eventstore("migrate", legacy, tmp_path / "new")
    assert result.exit_code == 1
    assert "engine_state.bak1\tchecksum right, saved 2024-01-15T09:30:00Z\tused" in result.stdout
    assert "LACKING: the save in engine_state.json cleared the log" in result.stderr


def test_a_file_of_events(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(
        'operation = "update_position"\ntime = "at"\n'
        '[fields.update_position]\nsymbol = "symbol"\nshares = "shares"\nprice = "price"\n'
    )
    file = tmp_path / "positions.csv"
    file.write_text("at,symbol,shares,price\n2026-03-02T19:21:20Z,AAPL,1.5,100\nnow,A,1,1\n")
    arguments: list[str | Path] = [
        "--events",
        file,
        "--map",
        tmp_path / "map.toml",
        tmp_path / "new",
    ]
    result = eventstore("migrate", *arguments)
    assert result.exit_code == 1
    assert "positions.csv\t2 lines, 1 bad\tused" in result.stdout
    assert "cash 0, AAPL 1.5" in result.stdout


def test_statuses(legacy: Path, tmp_path: Path) -> None:
    assert eventstore("migrate", legacy).exit_code == 2
    assert eventstore("migrate", legacy, tmp_path / "n", "--map", "m").exit_code == 2
    existing = eventstore("migrate", legacy, legacy)
    assert existing.exit_code == 2
    assert f"{legacy} exists; choose another path, or move it away first" in existing.stderr
    assert eventstore("migrate", tmp_path, tmp_path / "new").exit_code == 4
    assert not (tmp_path / "new").exists()
