"""docs/command-json.md has every member of every answer, and no member that no answer has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from eventstore.command_line.all_commands import COMMANDS, commands
from tests.repair.day_store import fill_and_die, flip, segments
from tests.support.day import day

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-json.md"

LINES: dict[str, tuple[str, ...]] = {
    "info": ("info day --count", "info killed", "info hurt"),
    "events": ("events day --tail 2", "events hurt --skip-damage --from 1000"),
    "dump": ("dump day --limit 1",),
    "state": ("state day",),
    "diff": ("diff day --from 10 --to 20", "diff day killed"),
    "blame": ("blame day cash",),
    "first": ("first day 'cash>0'",),
    "bisect": ("bisect day 'cash>0'",),
    "sample": (
        "sample day --every 1h --columns cash",
        "sample day --every 1h --columns cash --compare handlers:trading_registry",
    ),
    "stats": ("stats day",),
    "report": ("report day",),
    "export": ("export day tables --format jsonl", "export hurt more --format jsonl --skip-damage"),
    "verify": ("verify day", "verify hurt"),
    "repair": ("repair hurt", "repair hurt --mend --apply --to mended", "repair day"),
    "backup": ("backup day kept", "backup --list kept"),
    "restore": ("restore kept again --dry-run", "restore kept again"),
    "copy": ("copy day copied",),
    "compact": ("compact copied",),
    "snapshot": ("snapshot copied",),
    "migrate": ("migrate legacy migrated",),
    "replication": (),  # needs a server: tests/replication
}
"""Command lines for each command, to be run in this order."""

KEYED_BY_DATA = {
    "operations",
    "files",
    "columns",
    "differing",
    "charts",
    "values",
    "state",
    "data",
    "metadata",
    "owner",
}
"""Members that are objects with a member for each operation, folder, place and so on."""


def members(value: Any) -> Iterator[str]:
    """Yield every name of a member, whatever the depth."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield name
            if name in KEYED_BY_DATA:
                if name in {"operations", "files"} and isinstance(part, dict):
                    for one in part.values():
                        yield from members(one)
            else:
                yield from members(part)
    elif isinstance(value, list):
        for part in value:
            yield from members(part)


def section(name: str) -> str:
    """Return the section of a command's schema."""
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        if f"eventstore.{name}/1" in part.partition("\n")[0]:
            return part
    return ""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Run every command line, and return the answers by schema."""
    found: dict[str, list[Any]] = {}
    runner = CliRunner()
    with contextlib.chdir(tmp_path_factory.mktemp("json")):
        asyncio.run(day(Path("day"), 1300))
        shutil.copytree("day", "hurt")
        flip(segments(Path("hurt"))[-1], 2000)
        asyncio.run(fill_and_die(Path("alive"), Path("killed")))
        Path("legacy").mkdir()
        Path("legacy/engine_state.json").write_text(
            json.dumps({"cash": 50_000.0, "positions": {"AAPL": {"shares": 60, "price": 150.0}}})
        )
        for name, lines in LINES.items():
            for line in lines if name in COMMANDS else ():
                result = runner.invoke(commands, [*shlex.split(line), "--json"])
                assert result.exit_code in (0, 1), f"{line}: {result.output}"
                for text in result.stdout.splitlines():
                    answer = msgspec.json.decode(text)
                    assert answer.get("schema") != "eventstore.error/1", f"{line}: {answer}"
                    found.setdefault("events" if name == "dump" else name, []).append(answer)
    return found


def with_json() -> list[str]:
    context = click.Context(commands)
    found = []
    for name in COMMANDS:
        command = commands.get_command(context, name)
        if command is not None and any("--json" in one.opts for one in command.params):
            found.append(name)
    return found


ANSWERING = [name for name in with_json() if name != "dump" and LINES.get(name)]


def test_every_command_with_json_has_a_line_here_and_a_section() -> None:
    assert set(with_json()) <= set(LINES)
    assert [name for name in with_json() if name != "dump" and not section(name)] == []


@pytest.mark.parametrize("name", ANSWERING)
def test_the_page_has_every_member(name: str, answers: dict[str, list[Any]]) -> None:
    text = section(name)
    for other in re.findall(r"(?:as in|members of) `(\w+)`", text):
        text += section(other)
    assert {one for one in members(answers[name]) if f"`{one}`" not in text} <= {"schema"}


@pytest.mark.parametrize("name", ANSWERING)
def test_no_member_of_the_page_is_stale(name: str, answers: dict[str, list[Any]]) -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", section(name), re.MULTILINE)
    named = {one for row in rows for one in re.findall(r"`(\w+)`", row)}
    assert named
    assert named <= set(members(answers[name]))


def test_a_damaged_store_is_among_the_answers(answers: dict[str, list[Any]]) -> None:
    assert any(answer["places"] for answer in answers["verify"])
    assert any("gap" in answer for answer in answers["events"])
