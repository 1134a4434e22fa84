"""`eventstore export`: what is written, what is said, and the exit statuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eventstore import HandlerRegistry, RegistrationError, read_events
from tests.support.desk import BEGIN, desk
from tests.tools.command import eventstore, in_terminal, rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


def numbers(file: Path) -> list[int]:
    found: list[int] = pq.read_table(file).column("seq").to_pylist()
    return found


def test_the_transcript(day_store: Path, tmp_path: Path) -> None:
    result = eventstore("export", day_store, tmp_path / "out")
    assert result.exit_code == 0
    assert [row[:2] for row in rows(result)] == [
        ["full_state.parquet", "1"],
        ["record_trade.parquet", "4999"],
    ]
    assert rows(result)[1][3].startswith("seq time key trade_id symbol side shares price fee ")
    store = json.loads((day_store / "store.json").read_text())["store"]
    assert result.stderr == f"_export.json: events 1 … 5,000 of {store}, timeline 1\n"
    assert numbers(tmp_path / "out" / "record_trade.parquet") == list(range(2, 5001))


def test_the_page_shows_the_command_as_it_is(day_store: Path, tmp_path: Path) -> None:
    shown = PAGE.read_text().partition("$ eventstore export engine-state out\n")[2].splitlines()
    told = eventstore("export", day_store, tmp_path / "out").stdout.splitlines()
    for line, said in zip(shown[:3], told, strict=False):
        one, other = line.split("\t"), said.split("\t")
        assert (one[0], one[1]) == (other[0], other[1])
        assert other[3].startswith(one[3].removesuffix("…"))


@pytest.mark.parametrize(
    ("arguments", "first", "last"),
    [
        (["--from", 4371, "--to", 4373], 4371, 4373),
        (["--start", 4371, "--stop", 4373], 4371, 4372),
        (["--from", "-8s"], 4998, 5000),
        (["--from", "2026-03-02T19:21:20Z", "--to", "2026-03-02T19:21:24Z"], 4371, 4372),
        (["--key", "binance:4371"], 4372, 4372),
        (["--where", "trade_id=T04371"], 4372, 4372),
    ],
)
def test_places(
    day_store: Path, tmp_path: Path, arguments: list[str | int], first: int, last: int
) -> None:
    result = eventstore("export", day_store, tmp_path / "f", "--op", "record_trade", *arguments)
    assert result.exit_code == 0, result.output
    assert numbers(tmp_path / "f") == list(range(first, last + 1))


def test_json(day_store: Path, tmp_path: Path) -> None:
    result = eventstore("export", day_store, tmp_path / "out", "--json", "--format", "csv")
    told = json.loads(result.stdout)
    assert told["schema"] == "eventstore.export/1"
    assert (told["first"], told["last"], told["gaps"]) == (1, 5000, [])
    (trades,) = [one for one in told["tables"] if one["name"] == "record_trade"]
    (file,) = trades["files"]
    assert file == {
        "name": "record_trade.csv",
        "bytes": (tmp_path / "out" / "record_trade.csv").stat().st_size,
    }
    documented = PAGE.with_name("command-json.md").read_text()
    section = documented.partition("## eventstore.export/1\n")[2].partition("\n## ")[0]
    members = [name for name in told if name != "schema"]
    assert [name for name in members if f"`{name}`" not in section] == []


def test_append(day_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    some = ("--append", "--to", 4000, "--op", "all", "--format", "jsonl")
    assert eventstore("export", day_store, out, *some).exit_code == 0
    for _ in range(2):
        result = eventstore("export", day_store, out, "--append")
        assert result.exit_code == 0, result.output
        assert sorted(one.name for one in out.iterdir()) == [
            "_export.json",
            "events.4001.jsonl",
            "events.jsonl",
        ]
    lines = (out / "events.jsonl").read_text() + (out / "events.4001.jsonl").read_text()
    assert [json.loads(line)["seq"] for line in lines.splitlines()] == list(range(1, 5001))
    refused = eventstore("export", day_store, out, "--append", "--format", "csv")
    assert (refused.exit_code, "as it began" in refused.output) == (2, True)
    assert eventstore("export", day_store, out, "--append", "--from", 1).exit_code == 2


def test_exit_statuses(day_store: Path, hurt_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert eventstore("export", tmp_path / "none", out).exit_code == 4
    unknown = eventstore("export", day_store, out, "--op", "nope", "--json")
    assert unknown.exit_code == 4
    assert json.loads(unknown.stdout)["error"] == "UnknownOperationError"
    assert eventstore("export", day_store, out, "--op", "nope").exit_code == 4
    assert eventstore("export", hurt_store, out).exit_code == 1
    assert not out.exists()
    passed = eventstore("export", hurt_store, out, "--skip-damage")
    assert passed.exit_code == 1
    first, last = map(int, re.findall(r"^events (\d+) … (\d+) cannot", passed.stderr, re.M)[0])
    there = numbers(out / "record_trade.parquet")
    assert there == [*range(2, first), *range(last + 1, 5001)]
    assert eventstore("export", day_store, out).exit_code == 2


def test_plugins_that_make_no_registry(
    day_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def discover(*_: object) -> None:
        raise RegistrationError("two states")

    monkeypatch.setattr(HandlerRegistry, "discover", discover)
    result = eventstore("export", day_store, tmp_path / "out")
    assert result.exit_code == 0
    assert "columns are found from the data: two states" in result.stderr
    schema = pq.read_schema(tmp_path / "out" / "record_trade.parquet")
    assert str(schema.field("price").type) == "double"


@pytest.mark.asyncio
async def test_a_registry(tmp_path: Path) -> None:
    await desk(tmp_path / "store", 3)
    named = ("--registry", "tests.support.desk:NEW", "--op", "quote")
    result = eventstore("export", tmp_path / "store", tmp_path / "out", *named)
    assert result.exit_code == 0, result.output
    assert str(pq.read_schema(tmp_path / "out").field("price").type) == "decimal128(38, 2)"
    assert next(iter(read_events(tmp_path / "store"))).time == BEGIN


def test_on_a_terminal(day_store: Path, tmp_path: Path) -> None:
    status, output = in_terminal("export", day_store, tmp_path / "out", width=200)
    assert status == 0
    assert "4,999" in output
    assert " kB" in output


def test_text_formats_need_no_pyarrow(day_store: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from eventstore.cli import main\n"
        f"sys.argv = ['eventstore', 'export', {str(day_store)!r}, {str(tmp_path)!r} + '/out']\n"
    )
    for arguments, status in (([], 2), (["--format", "csv"], 0)):
        found = subprocess.run(
            [sys.executable, "-c", f"{code}sys.argv += {arguments!r}\nmain()"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == status, found.stderr
        named = "pip install 'asyncio-eventstore[analysis]'" in found.stderr
        assert named is bool(status)
