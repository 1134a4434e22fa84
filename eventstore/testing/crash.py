"""Explore crashes and failures: by the thousand in a test, by the million on request.

Each workload, drawn from its number, is crashed at every call on the disk and recovered from what
that may leave (``crash_points``), or has its calls fail one after the other (``failing``). A broken
promise prints one line, such as ``workload=17 crash=203:before image=random:5``, that says which
workload, at which call, and which image; it goes on in the same way for a crash during recovery.
Hand it to :func:`replay`, or::

    python -m eventstore.testing.crash --case "workload=17 crash=203:before image=random:5"
    python -m eventstore.testing.crash --states 1000000 --seed 7 --jobs 4
    python -m eventstore.testing.crash --failures 20 --seed 7
"""

from __future__ import annotations

import argparse
import functools
import itertools
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable

from eventstore.testing.crash_points import CrashError, Crashes, Report
from eventstore.testing.failing import fail_every_call, replay_failure
from eventstore.testing.virtual_time import run_in_virtual_time

__all__ = ["CrashError", "Report", "explore", "main", "replay"]


def explore(
    states: int,
    seed: int = 0,
    *,
    images: int = 2,
    again: float = 0.01,
    per_workload: int | None = None,
    keep_going: bool = False,
) -> Report:
    """Check at least so many crash states, of workloads from number ``seed`` on.

    ``images`` of each crash point are recovered; ``again`` is the share of recoveries that are
    crashed in turn, at each of their calls. ``per_workload`` bounds the states of one workload.

    Raises :class:`CrashError` at the first broken promise, or with ``keep_going`` lists them all.
    """
    began = time.perf_counter()
    report = Report()
    for workload in itertools.count(seed):
        limit = states - report.states
        if limit <= 0:
            break
        crashes = Crashes(workload)
        try:
            bound = limit if per_workload is None else min(limit, per_workload)
            run_in_virtual_time(crashes.explore(images, again, bound))
        except AssertionError as error:
            if not keep_going:
                raise
            report.failures.append(str(error))
        report += crashes.report
    report.seconds = time.perf_counter() - began
    return report


def replay(case: str) -> None:
    """Do what a failure's line says. Raises what failed, if it still fails.

    >>> replay("workload=17 crash=100:before image=kill")
    """
    words = [word.partition("=") for word in case.split()]
    failing = [value for key, _, value in words if key == "fail"]
    seed = next(int(value) for key, _, value in words if key == "workload")
    if failing:
        replay_failure(seed, failing[0])
        return
    crashes = [value for key, _, value in words if key == "crash"]
    images = [value for key, _, value in words if key == "image"]
    run_in_virtual_time(Crashes(seed).replay(list(zip(crashes, images, strict=True))))


def _explored(states: int, job: tuple[int, int]) -> Report:
    logging.disable()
    seed, jobs = job
    return explore(-(-states // jobs), seed, keep_going=True)


def _failed(workloads: int, job: tuple[int, int]) -> Report:
    logging.disable()
    seed, jobs = job
    report = Report()
    for workload in range(seed, seed + -(-workloads // jobs)):
        report += fail_every_call(workload, keep_going=True)
    return report


def main(arguments: list[str] | None = None) -> int:
    """``python -m eventstore.testing.crash``; returns the exit status."""
    parser = argparse.ArgumentParser("python -m eventstore.testing.crash", description=__doc__)
    parser.add_argument("--case", help="replay one failure")
    parser.add_argument("--states", type=int, default=10_000, help="crash states to explore")
    parser.add_argument("--failures", type=int, help="workloads to fail every call of, instead")
    parser.add_argument("--seed", type=int, default=0, help="number of the first workload")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    if options.case is not None:
        replay(options.case)
        return 0
    share: Callable[[tuple[int, int]], Report]
    if options.failures is None:
        share = functools.partial(_explored, options.states)
    else:
        share = functools.partial(_failed, options.failures)
    jobs = [(options.seed + job * 1_000_000, options.jobs) for job in range(options.jobs)]
    began = time.perf_counter()
    total = Report()
    if len(jobs) == 1:
        total += share(jobs[0])
    else:
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            for report in pool.imap(share, jobs):
                total += report
    total.seconds = time.perf_counter() - began
    sys.stdout.write("".join(f"{failure}\n" for failure in total.failures) + f"{total}\n")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
