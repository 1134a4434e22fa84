"""The manner of every command: help, JSON, exit statuses, colours, progress, completion."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import re
import shutil
import subprocess
import sys
import threading
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
        ("text", "first", "last"),
        [
            ("1970-01-01T00:00:01Z", 10**9, 10**9 + 999),
            ("1970-01-01 00:00:01.5z", 1_500_000_000, 1_500_000_999),
            ("1970-01-01T01:00:00.000000001+01:00", 1, 1),
            ("1969-12-31T23:59Z", -60 * 10**9, -60 * 10**9 + 999),
        ],
    )
    def test_times(self, text: str, first: int, last: int) -> None:
        """A text of at most six digits says as much as a `datetime`: its whole microsecond."""
        assert parse_moment(text) == AtTime(first, last)

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


@pytest.mark.parametrize("module", ["eventstore_command", "eventstore"])
@pytest.mark.parametrize("package", ["msgspec", "click", "rich"])
def test_ctrl_c_before_the_command_begins(package: str, module: str, tmp_path: Path) -> None:
    """The signal comes in the middle of an import, and the status is all that is told."""
    (tmp_path / f"{package}.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    program = [sys.executable, "-m", module, "info", "nowhere"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_program_keeps_its_own_end(tmp_path: Path) -> None:
    """Only the command itself ends quietly: Python tells of all that a program raises."""
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / "__init__.py").write_text(
        "import sys, eventstore\nassert sys.excepthook is sys.__excepthook__\n"
    )
    (tmp_path / "bot" / "__main__.py").write_text("raise KeyboardInterrupt\n")
    program = [sys.executable, "-m", "bot", "-m", "eventstore"]
    ended = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in ended.stderr


@pytest.fixture
def told(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, float, float]]:
    """Stores in the current directory, and every task that progress is shown of."""
    found: list[tuple[str, float, float]] = []

    def update(self: Progress, task: TaskID, **given: Any) -> None:
        found.append((self.tasks[0].description, given["completed"], given["total"]))

    terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True), stdout=sys.stdout)
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

    def test_narrow_terminals_break_no_number_or_name(self, hurt_store: Path) -> None:
        _, output = in_terminal("repair", hurt_store, "--color", "never", width=60)
        for whole in ("snapshot", "20:03:16Z", "2,077,331.01", "+16.970", "BTC-USDT"):
            assert whole in output
        status, output = in_terminal("verify", hurt_store, "--color", "never", width=40)
        assert status == 1
        assert "log/00000000000000004127.log, at " in output
        assert " of 5,000; after 2026-03-02 19:" in output

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
            ("info day --count", {"counting"}),
            ("info day --registry handlers:trading_registry", {"folding"}),
            ("events day --key nobody", {"reading"}),
            ("events day --where symbol=NONE --tail 3", {"reading"}),
            ("events day --open", {"reading"}),
            ("export day out --format jsonl --where symbol=NONE", {"exporting"}),
            ("state day --at 2026-03-02T15:30:00Z", {"folding"}),
            ("first day trade_count>=1290", {"folding"}),
            ("bisect day trade_count>=1290", {"folding"}),
            ("stats day", {"counting"}),
            ("snapshot day", {"reading"}),
            ("backup day kept", {"copying", "folding", "folding the copy"}),
            ("backup day kept.tar.zst", {"copying", "packing"}),
        ],
    )
    def test_long_work_tells_how_far_it_is(
        self, line: str, tasks: set[str], told: list[tuple[str, float, float]]
    ) -> None:
        result = CliRunner().invoke(commands, line.split())
        assert result.exit_code in (0, 1, 4), result.output
        assert tasks <= {task for task, _, _ in told}
        assert all(0 < done <= total for _, done, total in told if done)

    def test_a_restore_tells_how_far_it_is(self, told: list[tuple[str, float, float]]) -> None:
        assert eventstore("backup", "day", "kept").exit_code == 0
        told.clear()
        assert eventstore("restore", "kept", "new").exit_code == 0
        tasks = ["folding the copy", "restoring", "reading back", "folding"]
        assert list(dict.fromkeys(task for task, _, _ in told)) == tasks

    def test_silence_is_shown_after_a_second_as_well(
        self, told: list[tuple[str, float, float]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = threading.Event()
        monkeypatch.setattr(Progress, "start", lambda self: begun.set())
        with progress.progress("searching"):
            assert begun.wait(30), "nothing was told, and nothing was shown"

    @pytest.mark.parametrize(
        ("answer", "left"), [("terminal", True), ("pipe", False), ("file", True)]
    )
    def test_the_answer_comes_first_and_the_progress_perhaps_again(
        self, answer: str, left: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A pager behind the pipe has the terminal for itself once it has a line to show."""
        shown: list[str] = []
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setattr(progress, "_standard_output", lambda: answer)
        monkeypatch.setattr(progress, "_AFTER", 0.0)
        monkeypatch.setattr(Progress, "start", lambda self: shown.append("start"))
        monkeypatch.setattr(threading.Timer, "start", lambda self: None)
        with progress.progress_of_tasks() as told:
            told("reading", 10, 30)
            assert shown
            told.hide()
            shown.clear()
            told("reading", 20, 30)
        assert bool(shown) is left

    def test_the_answer_goes_where_it_was_sent(self, day_store: Path, tmp_path: Path) -> None:
        """Progress on the terminal takes no line of the answer with it."""
        script = (
            "from eventstore.command_line import progress\n"
            "from eventstore.cli import main\n"
            "progress._AFTER = 0.0\n"
            "main()\n"
        )
        words = f"events {day_store} --json --limit 300 --color never"
        leader, follower = pty.openpty()
        file = tmp_path / "answer"
        program = [sys.executable, "-c", script, *words.split()]
        with file.open("wb") as stdout:
            colours = {**os.environ, "TERM": "xterm-256color"}
            subprocess.run(program, stdout=stdout, stderr=follower, env=colours, check=True)
        os.close(follower)
        told = os.read(leader, 1 << 20).decode()
        os.close(leader)
        assert len(file.read_text().splitlines()) == 300
        assert "reading" in told
        assert "seq" not in told
        assert "\x1b[38;" not in told, "the bar has colours"

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
