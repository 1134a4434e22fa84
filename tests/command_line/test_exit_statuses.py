"""The table of exit statuses, command by command; colours; completion in each shell."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from eventstore import EventStore
from eventstore.command_line import exits
from eventstore.command_line.all_commands import COMMANDS, commands
from eventstore.disk.local import LocalDisk
from handlers import trading_registry
from tests.command_line.test_json_shapes import LINES
from tests.repair.day_store import flip
from tests.repair.test_repair import behind_snapshots
from tests.tools.command import in_terminal

LINE = {name: LINES[name][0] for name in COMMANDS if LINES.get(name)}
ABOUT_A_STORE = sorted(set(LINE) - {"migrate"})
WITH_LOCK = {
    "copy day new",
    "compact day",
    "snapshot day",
    "repair day --in-place --drop 5 --apply",
}
WITHOUT_HANDLERS = {"backup", "restore", "copy", "compact", "migrate"}


def run(line: str) -> Result:
    return CliRunner().invoke(commands, shlex.split(line))


@pytest.fixture
def here(day: Path, tmp_path: Path) -> Iterator[Path]:
    """A working directory with a store `day`."""
    shutil.copytree(day, tmp_path / "day")
    with contextlib.chdir(tmp_path):
        yield tmp_path


def test_every_command_is_in_the_table() -> None:
    needing_a_server = {name for name, lines in LINES.items() if not lines} | {"standby"}
    assert set(LINE) == set(COMMANDS) - {"demo", "completion"} - needing_a_server


@pytest.mark.parametrize("name", sorted(LINE))
def test_4_where_there_is_nothing(name: str, here: Path) -> None:
    words = [{"day": "nowhere", "legacy": "nowhere"}.get(word, word) for word in LINE[name].split()]
    words = ["gone" if word == "kept" and name == "restore" else word for word in words]
    result = run(" ".join(words))
    assert result.exit_code == exits.NOT_FOUND, result.output
    assert result.stderr.startswith("Error: "), result.stderr


@pytest.mark.parametrize("name", ABOUT_A_STORE)
def test_5_where_a_newer_release_wrote(name: str, here: Path) -> None:
    if name == "restore":
        pytest.skip("of a backup, and not of a store")
    manifest = here / "day" / "store.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2,\n  "news": []'))
    line = LINE[name] if name != "copy" else "copy day new"
    result = run(line.replace("copied", "day").replace("hurt", "day"))
    assert result.exit_code == exits.COULD_NOT_LOOK, result.output
    assert "nothing is damaged" in result.output


@pytest.mark.parametrize("line", sorted(WITH_LOCK))
def test_3_beside_a_writer(line: str, here: Path) -> None:
    async def beside() -> Result:
        async with EventStore.open("day", trading_registry()):
            return await asyncio.to_thread(run, line)

    result = asyncio.run(beside())
    assert result.exit_code == exits.LOCKED, result.output
    assert "in use by this process" in result.stderr
    assert not (here / "new").exists()


@pytest.mark.parametrize(
    "line",
    ["info day", "verify day", "events day", "state day", "stats day", "diff day --from 2 --to 2"],
)
def test_0_beside_a_writer(line: str, here: Path) -> None:
    async def beside() -> Result:
        async with EventStore.open("day", trading_registry()):
            return await asyncio.to_thread(run, line)

    result = asyncio.run(beside())
    assert result.exit_code == exits.FINE, result.output


@pytest.mark.parametrize(
    "line",
    ["info day", "verify day", "repair day", "events day --skip-damage", "diff day day@5"],
)
def test_1_with_findings(line: str, here: Path) -> None:
    flip(behind_snapshots(here / "day"), 2000)
    result = run(line)
    assert result.exit_code == exits.FINDINGS, result.output


@pytest.mark.parametrize("folder", ["log", "archive", "snapshots", "keys"])
def test_5_for_a_file_that_may_not_be_read(
    folder: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether the file is damaged, so no command says so."""
    name = f"{folder}/{min(one.name for one in (here / 'day' / folder).iterdir())}"
    opened = LocalDisk.open

    def refuse(disk: LocalDisk, wanted: str, *, writable: bool = False) -> Any:
        if wanted == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), wanted)
        return opened(disk, wanted, writable=writable)

    monkeypatch.setattr(LocalDisk, "open", refuse)
    result = run("verify day --no-refold")
    assert result.exit_code == exits.COULD_NOT_LOOK, result.output
    assert "EACCES" in result.stderr
    assert "DAMAGED" not in result.output + run("info day").output


@pytest.mark.parametrize(
    "line",
    [
        "state day --at yesterday",
        "events day --where nonsense",
        "repair day --choose 1=glue",
        "copy day day",
        "migrate onlyone",
        "restore kept day",
        "info day --registry nowhere:registry",
    ],
)
def test_2_for_what_cannot_be_done_as_asked(line: str, here: Path) -> None:
    flip(behind_snapshots(here / "day"), 2000)
    result = run(line)
    assert result.exit_code == exits.USAGE, result.output


@pytest.mark.parametrize("line", ["events day", "events day --json", "stats day --json"])
def test_141_for_a_pipe_that_is_closed(line: str, here: Path) -> None:
    program = f"{sys.executable} -m eventstore {line}"
    shell = f"{program} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert ended.returncode in (exits.CLOSED_PIPE, exits.FINE)  # FINE: all fitted into the pipe
    assert ended.stderr == ""
    if line == "events day --json":
        assert ended.returncode == exits.CLOSED_PIPE


@pytest.mark.parametrize("line", ["verify day", "repair hurt"])
def test_a_closed_pipe_is_no_finding(line: str, here: Path) -> None:
    """Also where a console of Rich prints, which would end the process with status 1."""
    shutil.copytree("day", "hurt")
    flip(behind_snapshots(here / "hurt"), 2000)
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-m", "eventstore", *line.split()]
    try:
        ended = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert ended.returncode == exits.CLOSED_PIPE, ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(("stream", "status"), [(1, 5), (2, 0)])
def test_a_stream_that_is_closed_from_the_beginning(stream: int, status: int, here: Path) -> None:
    program = f"{sys.executable} -m eventstore verify day {stream}>&-"
    ended = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended
    assert "Traceback" not in ended.stderr


def test_130_for_ctrl_c(here: Path) -> None:
    program = [sys.executable, "-m", "eventstore", "events", "day", "--follow"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        told = process.stderr.read()
    assert process.returncode == exits.INTERRUPTED, told
    assert b"Traceback" not in told


def test_permissions_are_found_out_by_the_command_itself() -> None:
    """Not by click, whose refusal of another user's store would end as wrong usage."""
    context = click.Context(commands)
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            kind = parameter.type
            if isinstance(kind, click.Path) and not kind.exists:
                assert not kind.readable, f"{name}: {parameter.name}"


def test_info_names_the_release_that_made_the_store(here: Path) -> None:
    assert f"release\t{version('asyncio-eventstore')}" in run("info day").stdout


class TestColours:
    @pytest.mark.parametrize(
        ("color", "environment", "coloured"),
        [
            ("auto", "1", False),
            ("always", "1", True),
        ],
    )
    def test_on_a_terminal(
        self,
        color: str,
        environment: str,
        coloured: bool,
        here: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        words = ["info", "day", "--color", color]
        monkeypatch.setenv("NO_COLOR", environment)
        _, output = in_terminal(*words, keep=("NO_COLOR",))
        assert ("\x1b[1m" in output) is coloured, repr(output[:200])

    def test_never_in_a_pipe(self, here: Path) -> None:
        for line in ("info day", "events day --limit 2", "repair day", "stats day"):
            assert "\x1b" not in run(line).stdout


class TestCompletion:
    """The script of each shell has the shell's own syntax, and asks the program."""

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_shell_takes_the_script(self, shell: str) -> None:
        program = shutil.which(shell)
        if program is None:
            pytest.skip(f"{shell} is not installed")
        script = run(f"completion {shell}").stdout
        ended = subprocess.run(
            [program, "-n"], input=script, text=True, capture_output=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("shell", "words", "expected"),
        [
            ("bash", "eventstore repair --me", "--mend"),
            ("zsh", "eventstore ver", "verify"),
            ("fish", "eventstore ver", "verify"),
        ],
    )
    def test_commands_and_options_are_completed(
        self, shell: str, words: str, expected: str
    ) -> None:
        last = words.rsplit(maxsplit=1)[-1]
        environment = {
            **os.environ,
            "_EVENTSTORE_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": last if shell == "fish" else str(len(words.split()) - 1),
        }
        program = [sys.executable, "-m", "eventstore"]
        ended = subprocess.run(
            program, env=environment, capture_output=True, text=True, check=False
        )
        assert expected in ended.stdout
