"""`eventstore events`: what is selected, how it is shown, and what is told of damage."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import Event, EventStore, read_events
from eventstore.cursor import Cursor
from eventstore.tools.selection import Condition
from handlers import UpdatePosition, trading_registry
from tests.support.day import flip
from tests.tools.command import eventstore, in_terminal, rows


def numbers(*arguments: str | int | Path) -> list[int]:
    result = eventstore("events", *arguments)
    assert result.exit_code == 0, result.output
    return [int(row[0]) for row in rows(result)]


class TestSelection:
    def test_the_transcript(self, day_store: Path) -> None:
        result = eventstore("events", day_store, "--around", "4372,1")
        header, *lines = result.stdout.splitlines()
        assert header.split("\t") == ["seq", "time", "operation", "key", "data"]
        assert [line.split("\t")[0] for line in lines] == ["4371", "4372", "4373"]
        assert lines[0].split("\t")[1:4] == [
            "2026-03-02T19:21:20Z",
            "record_trade",
            "binance:4370",
        ]
        assert (
            lines[0]
            .split("\t")[4]
            .startswith(
                "trade_id=T04370 symbol=SOL-USDT side=buy shares=0.458 price=144.33 fee=0.02"
            )
        )
        assert "trade_id=T04371 symbol=ETH-USDT side=buy shares=0.416 price=3107.94" in lines[1]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--from", 4371, "--to", 4373], [4371, 4372, 4373]),
            (["--start", 4371, "--stop", 4373], [4371, 4372]),
            (["--tail", 2], [4999, 5000]),
            (["--tail", 2, "--reverse"], [5000, 4999]),
            (["--reverse", "--limit", 3], [5000, 4999, 4998]),
            (["--limit", 2], [1, 2]),
            (["--from", "-8s"], [4998, 4999, 5000]),
            (["--to", "2026-03-02T14:30:04Z"], [1, 2]),
            (["--from", "2026-03-02T16:30:00.5+02:00", "--limit", 1], [2]),
            (["--from", "2026-03-02 19:21:20Z", "--to", "2026-03-02T19:21:24.000Z"], [4371, 4372]),
            (["--key", "binance:4371"], [4372]),
            (["--op", "full_state"], [1]),
            (["--op", "full_state", "--op", "record_trade", "--limit", 2], [1, 2]),
            (["--from", 5001], []),
            (["--around", 4999], [4994, 4995, 4996, 4997, 4998, 4999, 5000]),
            (["--around", "2026-03-02T19:21:24Z,0"], [4372]),
            (["--where", "trade_id=T04371"], [4372]),
            (["--open"], []),
        ],
    )
    def test_places(self, day_store: Path, arguments: list[Any], expected: list[int]) -> None:
        assert numbers(day_store, *arguments) == expected

    @pytest.mark.parametrize(
        "condition",
        [
            "symbol=ETH-USDT",
            "symbol!=ETH-USDT",
            "price>62000",
            "price<=144.09",
            "trade_id~T0012[0-5]$",
        ],
    )
    def test_conditions_agree_with_python(self, day_store: Path, condition: str) -> None:
        checks: dict[str, Callable[[Any], object]] = {
            "symbol=ETH-USDT": lambda data: data.get("symbol") == "ETH-USDT",
            "symbol!=ETH-USDT": lambda data: data.get("symbol") != "ETH-USDT",
            "price>62000": lambda data: data.get("price", 0) > 62000,
            "price<=144.09": lambda data: data.get("price", 10**6) <= 144.09,
            "trade_id~T0012[0-5]$": lambda data: re.search("T0012[0-5]$", data.get("trade_id", "")),
        }
        events: Iterator[Event[Any]] = read_events(day_store, stop=400)
        expected = [event.seq for event in events if checks[condition](event.data)]
        assert expected
        assert numbers(day_store, "--to", 399, "--where", condition) == expected
        backwards = numbers(day_store, "--to", 399, "--where", condition, "--reverse")
        assert backwards == expected[::-1]
        assert numbers(day_store, "--to", 399, "--where", condition, "--tail", 3) == expected[-3:]

    def test_cursors_stand_behind_their_event(self, day_store: Path) -> None:
        async def last() -> Cursor:
            registry = trading_registry()
            async with EventStore.open(day_store, registry, read_only=True) as store:
                return store.cursor

        cursor = asyncio.run(last())
        assert numbers(day_store, "--from", str(cursor)) == []
        assert numbers(day_store, "--to", str(cursor), "--tail", 1) == [5000]
        forged = cursor._replace(checksum=(cursor.checksum or 0) ^ 1)
        result = eventstore("events", day_store, "--from", str(forged))
        assert result.exit_code == 1
        assert "another one here" in result.output

    def test_a_key_that_is_not_there(self, day_store: Path) -> None:
        result = eventstore("events", day_store, "--key", "nope")
        assert result.exit_code == 4
        assert result.stdout == ""
        assert "there is no event with the key 'nope'" in result.stderr

    @pytest.mark.parametrize(
        "text", ["0", "x", "1.5", "²", "", "2026-03-02T19:21:20", "--5s", "-5y"]
    )
    def test_what_is_no_moment_is_wrong_usage(self, text: str, day_store: Path) -> None:
        result = eventstore("events", day_store, "--from", text)
        assert result.exit_code == 2
        assert "Invalid value for '--from'" in result.output
        if text.startswith("2026"):
            assert "has no offset" in result.output

    @pytest.mark.parametrize("text", ["symbol", "=", "a~[", "a b=c"])
    def test_what_is_no_condition_is_wrong_usage(self, text: str, day_store: Path) -> None:
        assert eventstore("events", day_store, "--where", text).exit_code == 2

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--to", "5", "--stop", "5"],
            ["--around", "5", "--from", "2"],
            ["--around", "5,x"],
            ["--follow", "--reverse"],
            ["--follow", "--to", "5"],
        ],
    )
    def test_what_excludes_each_other(self, arguments: list[str], day_store: Path) -> None:
        assert eventstore("events", day_store, *arguments).exit_code == 2

    def test_a_missing_field_fulfils_nothing_but_inequality(self) -> None:
        event = Event(seq=1, time=0, data={"op": "x", "a": {"b": True}}, key=None, metadata=None)
        assert Condition.parse("a.b=true").holds(event)
        assert not Condition.parse("a.c=true").holds(event)
        assert Condition.parse("a.c!=true").holds(event)
        assert not Condition.parse("a.c<5").holds(event)

    def test_dump_is_another_name(self, day_store: Path) -> None:
        shown = eventstore("events", day_store, "--tail", 3, "--json").output
        assert eventstore("dump", day_store, "--tail", 3, "--json").output == shown


class TestOutput:
    def test_json_has_one_object_a_line(self, day_store: Path) -> None:
        result = eventstore("events", day_store, "--json", "--tail", "1")
        event = msgspec.json.decode(result.stdout)
        assert event["seq"] == 5000
        assert event["time"] == 1772481796 * 10**9
        assert event["operation"] == "record_trade"
        assert event["key"] == "binance:4999"
        assert event["data"]["trade_id"] == "T04999"
        assert event["data"]["liquidity"] is None
        assert event["metadata"] is None
        assert event["schema"] == "eventstore.events/1"

    def test_on_a_terminal(self, day_store: Path) -> None:
        status, output = in_terminal("events", day_store, "--around", "4372,1")
        assert status == 0
        header, *lines = output.splitlines()
        assert re.search(r"seq.*time \(UTC\).*operation.*key", header)
        assert "\x1b[1m" in header
        assert lines[0].startswith(
            "4,371  2026-03-02 19:21:20  record_trade  binance:4370  trade_id="
        )

    def test_without_colour_on_a_terminal(self, day_store: Path) -> None:
        status, output = in_terminal("events", day_store, "--limit", "1", "--color", "never")
        assert status == 0
        assert "\x1b" not in output

    def test_a_reader_that_stops_early_ends_quietly(self, day_store: Path) -> None:
        shell = '"$0" -m eventstore events "$1" --json | head -n 1; echo "${PIPESTATUS[0]}"'
        ended = subprocess.run(
            ["bash", "-c", shell, sys.executable, str(day_store)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stderr == ""
        assert ended.stdout.splitlines()[-1] == "141"

    def test_nothing_is_changed_and_no_lock_is_taken(self, day_store: Path) -> None:
        before = {file: file.stat() for file in sorted(day_store.rglob("*"))}
        eventstore("events", day_store, "--tail", 1)
        after = {file: file.stat() for file in sorted(day_store.rglob("*"))}
        assert [(file, one.st_mtime_ns, one.st_size) for file, one in before.items()] == [
            (file, one.st_mtime_ns, one.st_size) for file, one in after.items()
        ]


class TestDamage:
    def test_a_damaged_header_hides_no_event(self, day_store: Path, tmp_path: Path) -> None:
        path = tmp_path / "store"
        shutil.copytree(day_store, path)
        flip(sorted((path / "log").glob("0*.log"))[1], 40)
        result = eventstore("events", path, "--skip-damage", "--json")
        seqs = [msgspec.json.decode(line)["seq"] for line in result.stdout.splitlines()]
        assert seqs == list(range(1, 5001))

    def test_a_gap_is_told_and_the_rest_is_read(self, hurt_store: Path) -> None:
        result = eventstore("events", hurt_store, "--skip-damage", "--json")
        assert result.exit_code == 1
        lines = [msgspec.json.decode(line) for line in result.stdout.splitlines()]
        (gap,) = [line["gap"] for line in lines if "gap" in line]
        seqs = [line["seq"] for line in lines if "seq" in line]
        assert gap["last"] - gap["first"] == 4
        assert gap["path"].startswith("log/")
        lost = set(range(gap["first"], gap["last"] + 1))
        assert seqs == [seq for seq in range(1, 5001) if seq not in lost]
        assert "cannot be read" in result.stderr

    def test_without_it_reading_ends_at_the_damage(self, hurt_store: Path) -> None:
        result = eventstore("events", hurt_store, "--json")
        assert result.exit_code == 1
        *events, error = map(msgspec.json.decode, result.stdout.splitlines())
        assert error["error"] == "CorruptLogError"
        assert error["expected_seq"] == events[-1]["seq"] + 1
        assert error["path"].endswith(".log")

    def test_backwards_and_by_tail(self, hurt_store: Path) -> None:
        result = eventstore("events", hurt_store, "--skip-damage", "--tail", 3)
        assert [row[0] for row in rows(result)] == ["4998", "4999", "5000"]
        result = eventstore("events", hurt_store, "--skip-damage", "--reverse")
        assert result.exit_code == 1
        assert len(rows(result)) == 4996

    @pytest.mark.parametrize("which", ["segment missing", "archive damaged", "last missing"])
    def test_whole_files(self, day_store: Path, tmp_path: Path, which: str) -> None:
        path = tmp_path / "store"
        shutil.copytree(day_store, path)
        segments = sorted((path / "log").glob("0*.log"))
        if which == "segment missing":
            first, end = int(segments[3].stem), int(segments[4].stem)
            segments[3].unlink()
        elif which == "last missing":
            first, end = int(segments[-1].stem), 0
            segments[-1].unlink()
        else:
            archives = sorted((path / "archive").iterdir())
            first, end = int(archives[1].name[:20]), int(archives[2].name[:20])
            flip(archives[1], 2000)
        result = eventstore("events", path, "--skip-damage", "--json")
        lines = [msgspec.json.decode(line) for line in result.stdout.splitlines()]
        (gap,) = [line["gap"] for line in lines if "gap" in line]
        assert (gap["first"], gap["last"]) == (first, end - 1 if end else None)
        lost = range(first, end or 5001)
        assert [line["seq"] for line in lines if "seq" in line] == [
            seq for seq in range(1, 5001) if seq not in lost
        ]


def test_following_shows_what_a_writer_adds(tmp_path: Path) -> None:
    path = tmp_path / "store"
    program = [sys.executable, "-m", "eventstore", "events", str(path), "--follow", "--tail", "1"]

    async def write() -> list[str]:
        async with EventStore.open(path, trading_registry()) as store:
            await store.append(UpdatePosition(symbol="A", shares=1, price=1))
            await store.append(UpdatePosition(symbol="B", shares=1, price=1))
            follower = await asyncio.create_subprocess_exec(
                *program,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            assert follower.stdout is not None
            lines = [(await follower.stdout.readline()).decode() for _ in range(2)]
            await store.append(UpdatePosition(symbol="C", shares=1, price=1))
            lines.append((await follower.stdout.readline()).decode())
            follower.send_signal(signal.SIGINT)
            assert await follower.wait() == 130
            return lines

    lines = asyncio.run(write())
    assert [line.split("\t")[0] for line in lines] == ["seq", "2", "3"]
    assert "symbol=C" in lines[2]
