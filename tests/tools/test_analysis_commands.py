"""`eventstore blame`, `first`, `bisect` and `sample`, on the day store."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import replay
from eventstore.analysis import sample
from handlers import EngineState, trading_registry
from tests.tools.command import eventstore, in_terminal, rows

SOL = "positions['SOL-USDT'].shares"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-json.md"


@pytest.fixture(scope="module")
def states(day_store: Path) -> list[EngineState]:
    """The state after each event of the day, the one before the first event included."""
    return [EngineState(), *(state for _, state in replay(day_store, trading_registry()))]


def shares(state: EngineState, symbol: str = "SOL-USDT") -> Any:
    position = state.position(symbol)
    return 0 if position is None else position.shares


def changes(states: list[EngineState]) -> list[int]:
    """Return the events that changed the shares, newest first."""
    pairs = itertools.pairwise(states)
    found = [seq for seq, (one, other) in enumerate(pairs, 1) if shares(one) != shares(other)]
    return found[::-1]


class TestBlame:
    def test_in_a_pipe(self, day_store: Path, states: list[EngineState]) -> None:
        result = eventstore("blame", day_store, SOL, "--at", 4371, "-n", 3)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[0] == "value\tbefore\tseq\ttime\toperation\tkey\tdata"
        for seq, row in zip(changes(states[:4372]), rows(result), strict=False):
            assert row[:3] == [str(shares(states[seq])), str(shares(states[seq - 1])), str(seq)]
            assert row[4:6] == ["record_trade", f"binance:{seq - 1}"]
        assert len(rows(result)) == 3

    def test_on_a_terminal(self, day_store: Path, states: list[EngineState]) -> None:
        status, text = in_terminal("blame", day_store, "positions.SOL-USDT.shares", "--at", 4371)
        assert status == 0
        seq = changes(states[:4372])[0]
        flat = " ".join(text.split())
        assert f"{shares(states[4371])} since event {seq:,}, 2026-03-02 19:21:" in flat
        assert f"before: {shares(states[seq - 1])}" in flat
        assert f"--around {seq},2" in flat

    def test_json(self, day_store: Path) -> None:
        found = answer("blame", day_store, "cash", "--at", "2026-03-02T19:21:20Z")
        (change,) = found["changes"]
        assert (found["seq"], change["seq"]) == (4371, 4371)
        assert change["data"]["trade_id"] == "T04370"
        assert found["value"] == change["after"]
        assert set(found) == documented("eventstore.blame/1") - {"before", "after"}

    def test_a_value_that_never_changed(self, day_store: Path) -> None:
        result = eventstore("blame", day_store, "base_currency")
        assert result.exit_code == 4
        assert "base_currency is USD since the initial state" in result.stderr

    @pytest.mark.parametrize(
        "field", ["cahs", "positions['BTC-USDT'].share", "realized_pnl.BTC-USDT"]
    )
    def test_a_mistake(self, day_store: Path, field: str) -> None:
        result = eventstore("blame", day_store, field)
        assert result.exit_code == 2
        assert "known: " in result.stderr


class TestFirstAndBisect:
    def test_the_first_event(self, day_store: Path, states: list[EngineState]) -> None:
        condition = "abs(positions['BTC-USDT'].shares) > 9"
        wanted = next(seq for seq, state in enumerate(states) if abs(shares(state, "BTC-USDT")) > 9)
        facts = [
            dict(line.split("\t") for line in result.stdout.splitlines())
            for result in (
                eventstore("first", day_store, condition),
                eventstore("first", day_store, condition, "--jobs", 2),
            )
        ]
        assert facts[0] == facts[1]
        assert facts[0]["event"] == str(wanted)
        assert facts[0]["operation"] == "record_trade"
        value = shares(states[wanted], "BTC-USDT")
        assert facts[0]["positions['BTC-USDT'].shares"] == str(value)

    def test_within_a_part(self, day_store: Path) -> None:
        found = answer("first", day_store, "trade_count>=100", "--from", 200, "--to", 300)
        assert found["seq"] == 200
        result = eventstore("first", day_store, "trade_count>=100", "--to", 100)
        assert (result.exit_code, result.stdout) == (4, "")
        assert "after no event: trade_count>=100" in result.stderr

    @pytest.mark.parametrize("name", ["first", "bisect"])
    def test_json(self, day_store: Path, name: str) -> None:
        found = answer(name, day_store, "trade_count >= 3210", "cash > 0")
        assert (found["seq"], found["event"]["seq"]) == (3211, 3211)
        assert found["values"]["trade_count"] == 3210
        assert set(found) == documented("eventstore.first/1, eventstore.bisect/1")
        none = msgspec.json.decode(eventstore(name, day_store, "cash=1", "--json").stdout)
        assert (none["seq"], none["event"]) == (None, None)

    def test_bisect_says_when_it_is_right(self, day_store: Path) -> None:
        result = eventstore("bisect", day_store, "trade_count>=3210")
        assert result.exit_code == 0
        assert "only if the condition, once true, stays true" in result.stderr
        help_text = eventstore("bisect", "--help").output
        assert "Only right for conditions that, once true, stay true" in help_text

    def test_a_mistake(self, day_store: Path) -> None:
        result = eventstore("first", day_store, "cash")
        assert result.exit_code == 2
        assert "is no condition" in result.stderr


class TestSample:
    def test_in_a_pipe_and_as_csv(self, day_store: Path) -> None:
        arguments = ("--every", "1h", "--columns", f"cash,sol={SOL},{SOL}")
        found = sample(day_store, trading_registry(), "1h", {"cash": "cash", "sol": SOL, SOL: SOL})
        result = eventstore("sample", day_store, *arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[0] == f"time\tseq\tcash\tsol\t{SOL}"
        assert [row[2:] for row in rows(result)] == [
            [str(value) for value in row[2:]] for row in found.rows
        ]
        assert [row[0][11:] for row in rows(result)][:2] == ["15:00:00Z", "16:00:00Z"]
        text = eventstore("sample", day_store, *arguments, "--format", "csv").stdout
        assert [row[1:] for row in csv.reader(io.StringIO(text))][1:] == [
            row[1:] for row in rows(result)
        ]

    def test_json(self, day_store: Path) -> None:
        found = answer("sample", day_store, "--every", 1000, "--columns", "trade_count")
        assert [row[1:] for row in found["rows"]] == [[n, n - 1] for n in range(1000, 5001, 1000)]
        assert set(found) == documented("eventstore.sample/1")

    def test_before_the_first_event_nothing_is_there(self, day_store: Path) -> None:
        arguments = ("--every", "15m", "--columns", "cash", "--from", "2026-03-02T14:00:00Z")
        result = eventstore("sample", day_store, *arguments, "--stop", "2026-03-02T15:00:00Z")
        assert [row[1:] for row in rows(result)] == [
            ["", ""],
            ["", ""],
            ["1", "1000000.0"],
            ["226", rows(result)[3][2]],
        ]

    def test_to_parquet(self, day_store: Path, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        file = tmp_path / "curve.parquet"
        arguments = ("sample", day_store, "--every", "1h", "--columns", "cash,trade_count")
        assert eventstore(*arguments, "--out", file).exit_code == 0
        table = parquet.read_table(file)
        assert table.column_names == ["time", "seq", "cash", "trade_count"]
        assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
        assert table["trade_count"][-1].as_py() == 4999
        assert [one.name for one in tmp_path.iterdir()] == ["curve.parquet"]
        again = eventstore(*arguments, "--out", file)
        assert again.exit_code == 2
        assert "is there already" in again.stderr

    def test_two_versions(self, day_store: Path) -> None:
        columns = ("--columns", "cash", "--compare", "handlers:trading_registry")
        result = eventstore("sample", day_store, "--every", "2h", *columns)
        assert result.exit_code == 0, result.output
        assert all(row[2] == row[3] for row in rows(result))
        assert "the columns differ in no event" in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--every", "soon", "--columns", "cash"),
            ("--every", "1h", "--columns", ","),
            ("--every", "1h", "--columns", "cash", "--format", "parquet"),
            ("--every", "1h", "--columns", "cash", "--format", "csv", "--json"),
        ],
    )
    def test_a_mistake(self, day_store: Path, arguments: tuple[str, ...]) -> None:
        assert eventstore("sample", day_store, *arguments).exit_code == 2


def test_other_handlers_are_asked_for(tmp_path: Path, day_store: Path) -> None:
    name = "tests.support.bank:bank_registry"
    for arguments in (("blame", day_store, "last"), ("first", day_store, "last=1")):
        result = eventstore(*arguments, "--registry", name)
        assert result.exit_code in (1, 2), result.output
        assert "Error: " in result.stderr


def answer(*arguments: Any) -> Any:
    result = eventstore(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.stdout)
    assert found.pop("schema") == f"eventstore.{arguments[0]}/1"
    return found


def documented(heading: str) -> set[str]:
    """Return the first names in the rows of a section's table."""
    text = PAGE.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name.strip(" `") for cell in cells for name in cell.split(",")}
