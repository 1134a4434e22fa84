"""`make torture`: watched, stopped, killed and resumed, and always the same programs."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.campaign import Parameters, Progress, ResumeError, version
from tests.torture.cli import main
from tests.torture.crash_points import Report
from tests.torture.workload_kinds import KINDS, program_at

COMMAND = (sys.executable, "-m", "tests.torture", "--every=0")
KIND = ("--kinds=snapshots",)  # the quickest
STATES, SEED = 800, 33
ASKED = (*KIND, f"--states={STATES}", f"--seed={SEED}")


def parameters(**changes: object) -> Parameters:
    wanted = {"what": "states", "seed": SEED, "kinds": ("snapshots",), **changes}
    return Parameters(**wanted)  # type: ignore[arg-type]  # the changes are of one test


def torture(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, f"--progress={path}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@contextlib.contextmanager
def begun(path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start an endless run, and wait for the first program. Nothing outlives the block."""
    with subprocess.Popen(
        [*COMMAND, f"--progress={path}", *KIND, f"--seed={SEED}", "--states=999999", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            assert run.stdout is not None
            assert any(re.match(r"\d+ of [\d,]+ states, ", line) for line in run.stdout)
            yield run
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)


def figures(path: Path) -> tuple[int, Report]:
    progress = Progress.load(path)
    progress.total.seconds = 0.0
    return progress.done, progress.total


@functools.cache
def explored(place: int) -> Report:
    return parameters().explored(place)


def row(states: int) -> tuple[int, Report]:
    """Return the end of a run that is asked for so many states: programs, and their sum."""
    total = Report()
    for place in itertools.count():
        if total.states >= states:
            return place, total
        total += explored(place)
    raise AssertionError


def test_a_run_covers_the_shortest_row_of_programs(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    done = torture(path, *ASKED)
    assert (done.returncode, done.stderr) == (0, "")
    programs, total = figures(path)
    assert (programs, total) == row(STATES)
    assert programs > 3
    *_, workloads, summary = done.stdout.splitlines()
    assert workloads == f"workloads snapshots:{SEED} to snapshots:{SEED + programs - 1}"
    assert summary.startswith(f"{total.states} crash states of {total.points} crash points in ")


def test_several_processes_come_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    done = torture(path, *ASKED, "--jobs=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert figures(path) == row(STATES)


class TestStopped:
    """A run that is stopped and resumed has the programs of an undisturbed one."""

    def resumed(self, path: Path) -> None:
        before = Progress.load(path)
        assert before.everything.workloads > 0
        assert not before.finished
        more = before.everything.states + 200
        done = torture(path, "--resume", "--jobs=2", f"--states={more}")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{before.reached:,} of them done" in done.stdout
        assert figures(path) == row(more)

    def test_by_ctrl_c(self, tmp_path: Path) -> None:
        path = tmp_path / "progress.json"
        with begun(path, "--jobs=2") as run:
            # as a terminal does: the child processes get the signal, too
            os.killpg(run.pid, signal.SIGINT)
            output, errors = run.communicate(timeout=60)
        assert (run.returncode, errors) == (130, "")
        go_on = f"python -m tests.torture --resume --jobs=2 --progress={path}"
        assert output.splitlines()[-1] == f"stopped; go on with: {go_on}"
        self.resumed(path)

    def test_by_kill(self, tmp_path: Path) -> None:
        path = tmp_path / "progress.json"
        with begun(path) as run:
            run.kill()
            # until the child processes have closed the pipe: none is left
            run.communicate(timeout=60)
        assert run.returncode == -signal.SIGKILL
        self.resumed(path)

    def test_one_of_its_processes_by_kill(self, tmp_path: Path) -> None:
        path = tmp_path / "progress.json"
        with begun(path) as run:
            os.kill(child_of(run.pid), signal.SIGKILL)
            output, errors = run.communicate(timeout=60)
        assert (run.returncode, errors) == (130, "one of the processes was killed\n")
        assert "stopped; go on with: " in output
        self.resumed(path)


def child_of(pid: int) -> int:
    """Return the process that explores for `pid`."""
    found = subprocess.run(
        ["ps", "-ww", "-A", "-o", "ppid=,pid=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(maxsplit=2) for line in found.stdout.splitlines())
    return next(int(row[1]) for row in rows if int(row[0]) == pid and "spawn_main" in row[2])


def test_failing_calls_are_played_in_the_same_way(tmp_path: Path) -> None:
    """Seed 47 has few calls: 181 failures, where others have thousands."""
    path = tmp_path / "progress.json"
    done = torture(path, "--failures=1", "--seed=47", *KIND)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 workloads, " in done.stdout
    assert "workloads snapshots:47 to snapshots:47\n" in done.stdout
    assert figures(path)[0] == 1


class TestProgress:
    def test_what_ends_before_its_turn_waits_for_it(self) -> None:
        for order in itertools.permutations(range(4)):
            progress = Progress("", parameters(), asked=30)
            for place in order:
                progress.add(place, Report(workloads=1, states=10))
            assert (progress.done, progress.total.states) == (3, 30)
            assert list(progress.ahead) == [3]
            assert progress.everything.states == 40

    def test_what_is_done_is_not_done_again(self) -> None:
        progress = Progress("", parameters(), asked=100)
        for place in (0, 1, 3):
            progress.add(place, Report(states=10))
        assert list(itertools.islice(progress.places(), 3)) == [2, 4, 5]

    def test_it_is_what_was_saved(self, tmp_path: Path) -> None:
        path = tmp_path / "folder" / "progress.json"
        progress = Progress(version(), parameters(), asked=100)
        progress.add(1, Report(workloads=1, states=10, failures=["lost\n  replay: ..."]))
        progress.save(path)
        progress.add(0, Report(workloads=1, states=20))
        progress.save(path)
        assert Progress.load(path) == progress
        assert [file.name for file in path.parent.iterdir()] == [path.name]


class TestRefused:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "progress.json"
        Progress(version(), parameters(), asked=STATES).save(path)
        return path

    def refusal(self, capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> str:
        before = path.read_bytes() if path.exists() else None
        assert main(["--resume", f"--progress={path}", *arguments]) == 2
        assert (path.read_bytes() if path.exists() else None) == before
        output, errors = capsys.readouterr()
        assert output == ""
        return errors

    @pytest.mark.parametrize(
        ("argument", "differs"),
        [
            ("--seed=4", f"its seed is {SEED}, not 4"),
            ("--kinds=log", "its kinds is ('snapshots',), not ('log',)"),
            ("--failures=2", "its what is states, not failures"),
        ],
    )
    def test_other_parameters(
        self, capsys: pytest.CaptureFixture[str], path: Path, argument: str, differs: str
    ) -> None:
        assert f"{path} is of another run: {differs}; " in self.refusal(capsys, path, argument)

    def test_another_version(self, capsys: pytest.CaptureFixture[str], path: Path) -> None:
        path.write_text(path.read_text().replace(version(), "0123456789abcdef"))
        told = self.refusal(capsys, path)
        assert f"another version of the code (0123456789abcdef, this is {version()})" in told

    def test_nothing_there(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        told = self.refusal(capsys, tmp_path / "none.json")
        assert told == f"there is nothing to resume: {tmp_path / 'none.json'} does not exist\n"

    @pytest.mark.parametrize("content", ["", "{}", '{"version": 3}', "nothing of the kind"])
    def test_something_else(
        self, capsys: pytest.CaptureFixture[str], path: Path, content: str
    ) -> None:
        path.write_text(content)
        assert f"{path} holds no progress of this kind: " in self.refusal(capsys, path)

    def test_two_kinds_of_runs_at_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["--states=1", "--failures=1"])
        assert "choose one" in capsys.readouterr().err

    def test_a_version_is_that_of_the_sources(self) -> None:
        assert re.fullmatch("[0-9a-f]{16}", version())
        with pytest.raises(ResumeError):
            Progress("", parameters(), asked=1).check(parameters(images=3), Path("progress.json"))


def test_an_earlier_run_is_kept_when_another_one_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "progress.json"
    path.write_text("an earlier one")
    assert main(["--states=0", f"--progress={path}"]) == 0
    assert (tmp_path / "progress.json.previous").read_text() == "an earlier one"
    assert capsys.readouterr().out.endswith("states/s; 0 failures\n")


def test_failures_are_told_with_the_lines_that_replay_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "progress.json"
    failure = "an event is lost\n  replay: python -m tests.torture --case 'workload=1'"
    progress = Progress(version(), parameters(), asked=10)
    progress.add(0, Report(workloads=1, states=10, failures=[failure]))
    progress.save(path)
    assert main(["--resume", f"--progress={path}"]) == 1
    output = capsys.readouterr().out
    assert output.endswith(f" 1 failures\n\n{failure}\n")


def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    ours, theirs = os.openpty()
    run = subprocess.Popen(
        [*COMMAND, f"--progress={tmp_path / 'progress.json'}", *KIND, "--states=100"],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(theirs)
    shown = b"".join(read_all(ours)).decode()
    assert run.wait(timeout=60) == 0
    assert "\x1b[" in shown  # the bar is drawn
    assert "/100" in shown
    for figure in (" states/s", "seeds to snapshots:0", "0 failures", " left"):
        assert figure in shown
    assert shown.rstrip().endswith("0 failures")  # the summary


def read_all(terminal: int) -> Iterator[bytes]:
    with os.fdopen(terminal, "rb", buffering=0) as reader:
        while True:
            try:
                content = reader.read(4096)
            except OSError:  # Linux: everybody else has closed it
                return
            if not content:
                return
            yield content


def test_all_kinds_have_their_turn() -> None:
    names = [program_at(5, place) for place in range(2 * len(KINDS))]
    assert len(set(names)) == 2 * len(KINDS)
    for number in (5, 6):
        own = {name for name in names if name.rpartition(":")[2] == str(number)}
        assert own == {f"{kind}:{number}" if kind else str(number) for kind in KINDS}
    assert {program_at(seed, 0).rpartition(":")[0] for seed in range(len(KINDS))} == set(KINDS)
