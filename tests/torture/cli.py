"""Explore crashes and failures: by the thousand in a test, by the million on request.

Each workload is drawn from its number. The workload is crashed at every call on the disk, and the
possible remains are recovered (`crash_points`). Or the calls fail one after the other
(`failing_calls`). A broken promise prints one line, such as `workload=17 crash=203:before
image=random:5`. The line names the workload, the call and the image, and goes on in the same way
for a crash during recovery. Hand the line to `replay`, or::

    python -m tests.torture --case "workload=17 crash=203:before image=random:5"
    python -m tests.torture --states 1000000 --seed 7 --jobs 4
    python -m tests.torture --resume --jobs 4
    python -m tests.torture --failures 20 --seed 7 --kinds store,log

A file keeps the results of a run (`campaign`), so that the run can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.campaign import Parameters, Progress, ResumeError, run, version
from tests.torture.campaign_display import display
from tests.torture.crash_points import CrashError, Crashes, Report
from tests.torture.failing_calls import replay_failure
from tests.torture.workload_kinds import KINDS, programs

__all__ = ["CrashError", "Report", "explore", "main", "replay"]

_STATES = 10_000
_INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def explore(
    states: int,
    seed: int = 0,
    *,
    images: int = 2,
    again: float = 0.01,
    per_workload: int | None = None,
) -> Report:
    """Check at least so many crash states, of workloads of all kinds from number `seed` on.

    Args:
        images: Images recovered for each crash point.
        again: Share of recoveries that are crashed in turn, at each of their calls.
        per_workload: Upper bound of the states of one workload.

    Raises:
        CrashError: At the first broken promise.
    """
    began = time.perf_counter()
    report = Report()
    for workload in programs(seed):
        limit = states - report.states
        if limit <= 0:
            break
        crashes = Crashes(workload)
        bound = limit if per_workload is None else min(limit, per_workload)
        crashes.explore(images, again, bound)
        report += crashes.report
    report.seconds = time.perf_counter() - began
    return report


def replay(case: str) -> None:
    """Play the case in a failure's line again. Raises the failure, if the failure still happens.

    >>> replay("workload=17 crash=100:before image=kill")
    """
    words = [word.partition("=") for word in case.split()]
    failing = [value for key, _, value in words if key == "fail"]
    name = next((value for key, _, value in words if key == "workload"), None)
    if name is None:
        raise ValueError(f"{case!r} is no case: it begins with workload=")
    if failing:
        replay_failure(name, failing[0])
        return
    crashes = [value for key, _, value in words if key == "crash"]
    images = [value for key, _, value in words if key == "image"]
    run_in_virtual_time(Crashes(name).replay(list(zip(crashes, images, strict=True))))


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple("" if kind == "store" else kind for kind in text.split(","))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise argparse.ArgumentTypeError(f"there is no kind {unknown[0]!r} of workload")
    return kinds


def _default_path() -> Path:
    """Return a path outside of the sources, where programs keep their state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "eventstore" / "torture.json"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.torture",
        description="Explore crash states of the store on a simulated disk, or failing calls.",
    )
    parser.add_argument("--case", help="replay one failure")
    parser.add_argument("--states", type=int, help=f"crash states to explore ({_STATES})")
    parser.add_argument("--failures", type=int, help="workloads to fail every call of, instead")
    parser.add_argument("--seed", type=int, help="number of the first workload (0)")
    parser.add_argument("--kinds", type=_kinds, help="of store,log,snapshots,busy (all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that was stopped")
    parser.add_argument(
        "--every", type=float, default=10.0, help="seconds between lines, if no bar"
    )
    parser.add_argument("--progress", type=Path, default=_default_path(), help="its file")
    options = parser.parse_args(arguments)
    if options.states is not None and options.failures is not None:
        parser.error("--states and --failures are two kinds of runs: choose one")
    return options


def _load_or_begin(options: argparse.Namespace) -> Progress:
    """Return the progress to begin from. Raises `ResumeError`."""
    path: Path = options.progress
    found = Progress.load(path) if options.resume else None
    old = None if found is None else found.parameters
    asked = options.states if options.failures is None else options.failures
    if options.states is None and options.failures is None and old is not None:
        what = old.what
    else:
        what = "states" if options.failures is None else "failures"
    default = Parameters(what, 0, tuple(KINDS)) if old is None else old
    wanted = Parameters(
        what,
        default.seed if options.seed is None else options.seed,
        default.kinds if options.kinds is None else options.kinds,
    )
    if found is None:
        return Progress(version(), wanted, _STATES if asked is None else asked)
    found.check(wanted, path)
    found.asked = found.asked if asked is None else asked
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m tests.torture` and return the exit status.

    The status is 0 where every promise was kept, 1 where one was broken, 2 where there is nothing
    to resume, and 130 after Ctrl-C.
    """
    options = _options(arguments)
    if options.case is not None:
        replay(options.case)
        return 0
    path: Path = options.progress
    try:
        progress = _load_or_begin(options)
    except ResumeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not options.resume and path.exists():
        path.replace(path.with_name(f"{path.name}.previous"))
    resumed = f", {progress.reached:,} of them done" if options.resume else ""
    what = (
        "crash states" if progress.parameters.what == "states" else "workloads with failing calls"
    )
    sys.stdout.write(
        f"{progress.asked:,} {what}{resumed}, from seed {progress.parameters.seed} on, "
        f"{options.jobs} at a time; progress is kept in {path}\n"
    )
    sys.stdout.flush()
    try:
        with display(options.every) as shown:
            finished = run(progress, path, options.jobs, shown)
    except BrokenExecutor:
        sys.stderr.write("one of the processes was killed\n")
        finished = False
    _summarize(progress)
    if not finished:
        again = ["python", "-m", "tests.torture", "--resume", f"--jobs={options.jobs}"]
        if path != _default_path():
            again.append(f"--progress={path}")
        sys.stdout.write(f"stopped; go on with: {shlex.join(again)}\n")
        return _INTERRUPTED
    return 1 if progress.total.failures else 0


def _summarize(progress: Progress) -> None:
    total, parameters = progress.total, progress.parameters
    if progress.done:
        first, last = parameters.program(0), parameters.program(progress.done - 1)
        sys.stdout.write(f"workloads {first} to {last}\n")
    sys.stdout.write(f"{total}\n")
    if total.failures:
        sys.stdout.write("".join(f"{failure}\n" for failure in ("", *total.failures)))
