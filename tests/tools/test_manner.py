"""The manner of every command: help, JSON, exit statuses, colours, progress, completion."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner
from rich.progress import Progress, TaskID

from eventstore import EventStore
from eventstore.command_line import exits, progress
from eventstore.command_line.all_commands import COMMANDS, commands
from eventstore.command_line.moments import Back, parse_moment, settle_moment
from eventstore.errors import EventStoreError
from eventstore.moment import AtTime
from eventstore.tools import first_differing_event
from eventstore.tools.migration import new_store
from handlers import trading_registry
from tests.support.day import day, flip
from tests.tools.command import eventstore, in_terminal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-json.md"
READING = ("info", "events", "state", "stats")
NO_JSON = {"demo", "completion", "standby"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
class TestEveryCommand:
    def test_has_help_with_examples(self, name: str) -> None:
        result = eventstore(name, "--help")
        assert result.exit_code == 0
        assert "Examples:\n" in result.output
        assert f"eventstore {'events' if name == 'dump' else name}" in result.output

    def test_refuses_an_option_that_there_is_not(self, name: str) -> None:
        result = eventstore(name, "--misspelt")
        assert result.exit_code == 2
        assert "--misspelt" in result.output

    def test_offers_json(self, name: str) -> None:
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        options = {option for one in command.params for option in one.opts}
        assert ("--json" in options) is (name not in NO_JSON)


@pytest.mark.parametrize("name", ["info", "events", "state", "diff", "stats"])
def test_the_shape_of_the_answer_is_documented(name: str) -> None:
    assert f"## eventstore.{name}/1\n" in PAGE.read_text(encoding="utf-8")


def test_members_of_info_are_documented(day_store: Path) -> None:
    found = msgspec.json.decode(eventstore("info", day_store, "--json", "--count").stdout)
    section = PAGE.read_text("utf-8").partition("## eventstore.info/1")[2].partition("\n## ")[0]
    assert {name for name in found if f"`{name}`" not in section} == {"schema"}


class TestErrors:
    @pytest.mark.parametrize("name", READING)
    def test_no_store(self, name: str, tmp_path: Path) -> None:
        result = eventstore(name, tmp_path / "nowhere")
        assert result.exit_code == exits.NOT_FOUND
        assert result.stdout == ""
        assert "there is no store at" in result.stderr
        found = msgspec.json.decode(eventstore(name, tmp_path / "nowhere", "--json").stdout)
        assert found["schema"] == "eventstore.error/1"
        assert found["error"] == "StoreNotFoundError"
        assert found["path"] == str(tmp_path / "nowhere")

    def test_wrong_usage_in_json(self, tmp_path: Path) -> None:
        result = eventstore("events", tmp_path, "--json", "--from", "x")
        assert result.exit_code == exits.USAGE
        assert msgspec.json.decode(result.stdout)["error"] == "UsageError"

    def test_every_error_has_a_status(self) -> None:
        from eventstore import errors

        for name in errors.__all__:
            kind: type[EventStoreError] = getattr(errors, name)
            assert exits.exit_status(kind.__new__(kind)) in range(1, 6), name


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "day"
    asyncio.run(day(path, 1300))
    return path


class TestAgreement:
    """What `info` says of opening is what opening does, whatever the damage."""

    @pytest.mark.parametrize("kind", ["flip", "cut", "gone", "folder"])
    @pytest.mark.parametrize("folder", ["log", "archive", "snapshots", "keys", ""])
    def test_with_opening(self, small: Path, tmp_path: Path, folder: str, kind: str) -> None:
        path = tmp_path / "day"
        shutil.copytree(small, path)
        rnd = random.Random(f"{folder} {kind}")
        files = sorted(one for one in (path / folder).iterdir() if one.is_file())
        file = rnd.choice(files)
        content = bytearray(file.read_bytes())
        if kind == "flip":
            content[rnd.randrange(len(content))] ^= 1 << rnd.randrange(8)
            file.write_bytes(content)
        elif kind == "cut":
            file.write_bytes(content[: rnd.randrange(len(content))])
        else:
            file.unlink()
            if kind == "folder":
                file.mkdir(0o700)
        found = msgspec.json.decode(eventstore("info", path, "--json").stdout)
        opens = found.get("opens", {**found, "verdict": False, "text": "an error"})
        error = asyncio.run(opened(path))
        assert opens["verdict"] is (error is None), (opens["text"], error)
        if opens["error"] is not None:
            assert opens["error"] == type(error).__name__

    def test_lost_keys_need_the_history(self, small: Path, tmp_path: Path) -> None:
        """Lost runs of keys are written again from the events, so all of these must be readable."""
        path = tmp_path / "day"
        shutil.copytree(small, path)
        shutil.rmtree(path / "keys")
        found = msgspec.json.decode(eventstore("info", path, "--json").stdout)
        assert found["opens"]["verdict"] is True
        flip(min((path / "archive").iterdir()), 2000)
        found = msgspec.json.decode(eventstore("info", path, "--json").stdout)
        assert found["opens"]["error"] == "CorruptLogError"
        assert type(asyncio.run(opened(path))).__name__ == "CorruptLogError"


async def opened(path: Path) -> EventStoreError | None:
    """Open a store for writing. Returns the refusal."""
    try:
        async with EventStore.open(path, trading_registry(), create=False):
            return None
    except EventStoreError as error:
        return error


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "nanoseconds"),
        [
            ("1970-01-01T00:00:01Z", 10**9),
            ("1970-01-01 00:00:01.5z", 1_500_000_000),
            ("1970-01-01T01:00:00.000000001+01:00", 1),
            ("1969-12-31T23:59Z", -60 * 10**9),
        ],
    )
    def test_times(self, text: str, nanoseconds: int) -> None:
        assert parse_moment(text) == AtTime(nanoseconds, nanoseconds)

    @pytest.mark.parametrize(
        ("text", "nanoseconds"),
        [
            ("-15m", 900 * 10**9),
            ("-1h30m", 5400 * 10**9),
            ("-500ms", 5 * 10**8),
            ("-0.5s", 5 * 10**8),
        ],
    )
    def test_spans(self, text: str, nanoseconds: int) -> None:
        assert parse_moment(text) == Back(nanoseconds)

    @pytest.mark.parametrize("text", "- -5 -m -5x 2026-13-01T00:00Z 2026-01-01 0".split())
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"moment|no time|from 1 on"):
            parse_moment(text)

    def test_a_span_counts_from_the_last_event(self, day_store: Path) -> None:
        settled = settle_moment(day_store, Back(10**9))
        assert settled == AtTime(1772481795 * 10**9, 1772481795 * 10**9)


@pytest.mark.parametrize("package", ["msgspec", "click", "rich"])
def test_ctrl_c_before_the_command_begins(package: str, tmp_path: Path) -> None:
    """The signal comes in the middle of an import, and the status is all that is told."""
    (tmp_path / f"{package}.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    program = [sys.executable, "-m", "eventstore_command", "info", "nowhere"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.fixture
def told(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, float, float]]:
    """Stores in the current directory, and every task that progress is shown of."""
    found: list[tuple[str, float, float]] = []

    def update(self: Progress, task: TaskID, **given: Any) -> None:
        found.append((self.tasks[0].description, given["completed"], given["total"]))

    terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(progress, "sys", terminal)
    monkeypatch.setattr(progress, "_AFTER", -1.0)
    monkeypatch.setattr(Progress, "update", update)
    monkeypatch.setattr(first_differing_event, "_TOLD", 500)
    monkeypatch.setattr(new_store, "_MANY", 500)
    monkeypatch.chdir(tmp_path)
    for name in ("day", "hurt"):
        shutil.copytree(small, name)
    flip(max((tmp_path / "hurt" / "log").glob("0*.log")), 2000)
    lines = eventstore("events", "day", "--json").stdout
    Path("events.jsonl").write_text(lines)
    return found


class TestTerminal:
    def test_no_color_is_heeded(self, day_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = [sys.executable, "-m", "eventstore", "info", str(day_store), "--color", "always"]
        ended = subprocess.run(program, capture_output=True, text=True, check=True)
        assert "\x1b" not in ended.stdout, "a pipe has facts, and no colour"
        _, output = in_terminal("info", day_store)
        assert "\x1b[1m" in output

    def test_narrow_terminals_cut_nothing(self, day_store: Path) -> None:
        _, output = in_terminal("events", day_store, "--limit", 3, "--color", "never", width=40)
        assert "trade_id=T00002" in re.sub(r"\s", "", output)

    def test_progress_only_after_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[str] = []

        class Clock:
            now = 0.0

        monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setattr(Progress, "start", lambda self: shown.append("start"))
        with progress.progress("folding") as advance:
            Clock.now = 0.9
            advance(10, 100)
            assert shown == []
            Clock.now = 2.0
            advance(50, 100)
            assert shown == ["start"]

    @pytest.mark.parametrize(
        ("line", "tasks"),
        [
            ("repair hurt", {"reading", "folding", "place 1 of 1, mend", "place 1 of 1, cut"}),
            ("repair hurt --drop 9 --mend", {"folding as asked"}),
            ("repair hurt --mend --apply --to mended", {"reading", "folding", "writing"}),
            ("copy day copied", {"copying"}),
            ("compact day", {"archiving"}),
            ("diff day hurt --events", {"comparing"}),
            ("migrate --events events.jsonl migrated", {"writing"}),
        ],
    )
    def test_long_work_tells_how_far_it_is(
        self, line: str, tasks: set[str], told: list[tuple[str, float, float]]
    ) -> None:
        result = CliRunner().invoke(commands, line.split())
        assert result.exit_code in (0, 1), result.output
        assert tasks <= {task for task, _, _ in told}
        assert all(0 < done <= total for _, done, total in told if done)

    def test_no_progress_in_a_pipe(self, capsys: pytest.CaptureFixture[str]) -> None:
        with progress.progress("folding") as advance:
            advance(1, None)
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = eventstore("completion", shell)
    assert result.exit_code == 0
    assert "_EVENTSTORE_COMPLETE" in result.stdout


def test_completion_of_a_command() -> None:
    program = [sys.executable, "-m", "eventstore"]
    environment = {
        **os.environ,
        "_EVENTSTORE_COMPLETE": "bash_complete",
        "COMP_WORDS": "eventstore ev",
        "COMP_CWORD": "1",
    }
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert "events" in ended.stdout
