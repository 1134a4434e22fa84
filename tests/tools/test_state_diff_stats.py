"""`eventstore state`, `diff` and `stats`, with the facts of the day store."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import EventStore, SimulatedClock, state_at, state_digest
from eventstore.tools import verify_checksum
from eventstore.tools.plain_state import ABSENT, leaves, plain_differences, plain_state
from handlers import UpdatePosition, trading_registry
from tests.support.counting import registry
from tests.tools.command import eventstore, in_terminal, rows


class TestState:
    @pytest.mark.parametrize("moment", ["4371", "2026-03-02T19:21:20Z", "-2516s"])
    def test_the_transcript(self, day_store: Path, moment: str) -> None:
        result = eventstore("state", day_store, "--at", moment)
        assert result.exit_code == 0, result.output
        facts = dict(line.split("\t") for line in result.stdout.splitlines())
        assert facts["event"] == "4371"
        assert facts["time"] == "2026-03-02T19:21:20Z"
        assert facts["cash"] == "1748670.58659"
        assert facts["positions['BTC-USDT'].shares"] == "-12.118"
        assert facts["positions['ETH-USDT'].shares"] == "4.144"
        assert facts["positions['SOL-USDT'].shares"] == "15.084"
        assert facts["trade_count"] == "4370"

    def test_json(self, day_store: Path) -> None:
        found = msgspec.json.decode(eventstore("state", day_store, "--json").stdout)
        assert found["schema"] == "eventstore.state/1"
        assert found["seq"] == 5000
        state = state_at(day_store, trading_registry())
        assert found["digest"] == state_digest(state)
        assert Decimal(found["state"]["cash"]) == state.cash
        assert found["state"]["positions"].keys() == {"BTC-USDT", "ETH-USDT", "SOL-USDT"}

    def test_on_a_terminal(self, day_store: Path) -> None:
        status, output = in_terminal("state", day_store, "--at", 4371, "--color", "never")
        assert status == 0
        assert output.startswith("event 4,371, 2026-03-02 19:21:20Z\n")
        assert re.search(r"^  cash +1,748,670\.59$", output, re.MULTILINE)
        assert "BTC-USDT -12.118   ETH-USDT +4.144   SOL-USDT +15.084" in output

    def test_a_file_of_plan_0d(self, day_store: Path) -> None:
        data = json.loads(eventstore("state", day_store, "--at", 100, "--plan0d").stdout)
        meta = data.pop("_meta")
        assert verify_checksum(data, meta["checksum"])
        assert meta["saved_at"] == "2026-03-02T14:36:36Z"

    def test_events_that_are_not_there(self, day_store: Path) -> None:
        assert eventstore("state", day_store, "--at", 5001).exit_code == 4
        assert eventstore("state", day_store.with_name("nowhere")).exit_code == 4

    def test_without_handlers_it_names_the_operation(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventStore.open(tmp_path / "store", registry()) as store:
                await store.append("count", {"n": 7})

        asyncio.run(record())
        result = eventstore("state", tmp_path / "store")
        assert result.exit_code == 2
        assert "'count'" in result.output
        assert "--registry module:name" in result.output
        option = "tests.support.counting:registry"
        result = eventstore("state", tmp_path / "store", "--registry", option)
        assert "state\t7\n" in result.stdout
        result = eventstore(
            "state", tmp_path / "store", "--registry", "tests.support.counting:refusing", "--json"
        )
        assert result.exit_code == 1
        assert msgspec.json.decode(result.stdout)["error"] == "ReplayError"


class TestDiff:
    def test_two_moments(self, day_store: Path) -> None:
        result = eventstore("diff", day_store, "--from", 4371, "--to", 4377)
        assert result.exit_code == 1
        found = {row[0]: row[1:] for row in rows(result)}
        one, other, change = map(Decimal, found["cash"])
        assert one == Decimal("1748670.58659")
        assert other - one == change
        assert found["positions['ETH-USDT'].shares"][0] == "4.144"
        assert "positions['SOL-USDT'].shares" not in found

    def test_the_same_moment_twice(self, day_store: Path) -> None:
        result = eventstore("diff", f"{day_store}@4371", f"{day_store}@2026-03-02T19:21:20Z")
        assert result.exit_code == 0
        assert rows(result) == []

    def test_two_stores(self, tmp_path: Path) -> None:
        async def fill(path: Path, prices: list[int]) -> None:
            clock = SimulatedClock(10**18)
            async with EventStore.open(path, trading_registry(), clock=clock) as store:
                for price in prices:
                    clock.advance(1)
                    await store.append(
                        UpdatePosition(symbol="A", shares=2, price=price), key=f"k{price}"
                    )

        one, other, same = tmp_path / "one", tmp_path / "other", tmp_path / "same"
        asyncio.run(fill(one, [1, 2, 3]))
        asyncio.run(fill(other, [1, 2, 4, 5]))
        asyncio.run(fill(same, [1, 2, 3]))
        result = eventstore("diff", one, other)
        assert result.exit_code == 1
        lines = result.stdout.splitlines()
        assert lines[0] == "events\tthe same up to 2; they differ from event 3 on"
        assert lines[1].startswith(f"{one}\t3 2001-09-09T01:46:43Z update_position ")
        assert "price=3" in lines[1]
        assert "price=4" in lines[2]
        assert any(line.startswith("positions['A']") or ".A" in line for line in lines[3:])
        found = msgspec.json.decode(eventstore("diff", one, other, "--json").stdout)
        assert found["schema"] == "eventstore.diff/1"
        assert found["events"]["differ_from"] == 3
        assert found["events"]["other"]["data"]["price"] == 4
        assert found["differences"]
        result = eventstore("diff", one, same, "--events")
        assert (result.exit_code, result.stdout) == (0, "events\tthe same from 1 to 3\n")
        shutil.copytree(one, tmp_path / "longer")
        asyncio.run(fill(tmp_path / "longer", [9]))
        result = eventstore("diff", one, tmp_path / "longer", "--events")
        assert result.exit_code == 1
        assert f"{one}\tends with event 3" in result.stdout

    @pytest.mark.parametrize(
        "arguments",
        [["{}"], ["{}", "--events", "--from", "1"], ["{}", "{}", "--from", "1"], ["{}@x", "{}"]],
    )
    def test_wrong_usage(self, day_store: Path, arguments: list[str]) -> None:
        given = [argument.format(day_store) for argument in arguments]
        assert eventstore("diff", *given).exit_code == 2

    def test_a_path_with_a_sign(self, day_store: Path, tmp_path: Path) -> None:
        shutil.copytree(day_store, tmp_path / "a@b")
        result = eventstore("diff", tmp_path / "a@b", day_store, "--events")
        assert result.exit_code == 0, result.output


class TestStats:
    def test_in_a_pipe(self, day_store: Path) -> None:
        result = eventstore("stats", day_store)
        assert result.exit_code == 0, result.output
        assert "record_trade\t4999\t100.0\t" in result.stdout
        assert "full_state\t1\t0.0\t" in result.stdout
        assert "2026-03-02T15:00:00Z\t900\n" in result.stdout
        assert "3001\t2026-03-02T17:50:00Z\t" in result.stdout
        archives = list((day_store / "archive").iterdir())
        size = sum(one.stat().st_size for one in archives)
        assert f"archive\t{len(archives)}\t{size}\n" in result.stdout

    def test_json(self, day_store: Path) -> None:
        found = msgspec.json.decode(eventstore("stats", day_store, "--json").stdout)
        assert found["schema"] == "eventstore.stats/1"
        assert found["events"] == 5000
        assert found["keys"] == 4999
        assert sum(one["events"] for one in found["hours"]) == 5000
        assert [one["seq"] for one in found["snapshots"]] == [3001, 4001]
        assert found["bytes_per_day"] > 0

    def test_on_a_terminal(self, day_store: Path) -> None:
        status, output = in_terminal("stats", day_store, "--hours", 0)
        assert status == 0
        assert "record_trade" in output
        assert "2026-03-02T15" not in output


class Side(Enum):
    BUY = "buy"


class Inner(msgspec.Struct):
    amount: Decimal
    side: Side = Side.BUY


class TestPlainStates:
    def test_leaves_of_any_type(self) -> None:
        state = {"a b": Inner(Decimal("1.50")), ("x", 1): [1, 2], "long": list(range(50))}
        assert dict(leaves(plain_state(state))) == {
            "['a b'].amount": Decimal("1.50"),
            "['a b'].side": "buy",
            "['x/1'][0]": 1,
            "['x/1'][1]": 2,
            "long": "50 items",
        }

    @pytest.mark.parametrize(
        ("one", "other", "expected"),
        [
            (1, 1, []),
            (1, 3, [("state", 1, 3, Decimal(2))]),
            ({"a": 1}, {"b": 2}, [("a", 1, ABSENT, None), ("b", ABSENT, 2, None)]),
            ({}, {"b": {"c": 2}}, [("b.c", ABSENT, 2, None)]),
            ({"b": {"c": 2}}, {}, [("b.c", 2, ABSENT, None)]),
            ([1], [1, 2], [("[1]", ABSENT, 2, None)]),
            ({"a": "x"}, {"a": 1}, [("a", "x", 1, None)]),
            (
                {"a": Decimal("1E-30")},
                {"a": Decimal(10**9)},
                [("a", Decimal("1E-30"), Decimal(10**9), Decimal(10**9) - 0)],
            ),
        ],
    )
    def test_differences(self, one: Any, other: Any, expected: list[Any]) -> None:
        found: Iterator[Any] = plain_differences(one, other)
        shown = [tuple(difference) for difference in found]
        if one and isinstance(one, dict) and isinstance(one.get("a"), Decimal):
            (difference,) = shown
            assert difference[3] + one["a"] == pytest.approx(other["a"])
            assert "9" * 30 in str(difference[3]), "exact to the last digit"
        else:
            assert shown == expected
