"""Many seeds of one scenario: in this process or in several, with progress on a terminal."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence

from eventstore.arguments import argument_error
from eventstore.testing.simulation.report import SeedResult
from eventstore.testing.simulation.run import run_seed
from eventstore.testing.simulation.scenario import Scenario
from eventstore.testing.virtual_time import rare_collection

__all__ = ["run_seeds"]

_CHUNK = 16
_REFRESH = 0.2

_shared: tuple[Scenario, int] | None = None
"""What a forked worker runs. A bot is any function, so no worker could be sent one."""


def run_seeds(
    scenario: Scenario, seeds: Sequence[int], steps: int, jobs: int, progress: bool | None
) -> list[SeedResult]:
    """Run every seed, and return the outcomes in the order of the seeds.

    `progress` is whether to show progress on standard error, `None` for: if that is a terminal.
    """
    show = sys.stderr.isatty() if progress is None else progress
    if jobs > 1 and len(seeds) > 1:
        found = _in_processes(scenario, seeds, steps, jobs)
    else:
        found = (result_of(scenario, seed, steps) for seed in seeds)
    with rare_collection():
        return list(_shown(found, len(seeds)) if show else found)


def result_of(scenario: Scenario, seed: int, steps: int) -> SeedResult:
    """Run one seed."""
    run = run_seed(scenario, seed, steps)
    kinds = tuple(dict.fromkeys(finding.kind for finding in run.findings))
    return SeedResult(seed, kinds, len(run.steps), run.digest)


def _in_processes(
    scenario: Scenario, seeds: Sequence[int], steps: int, jobs: int
) -> Iterator[SeedResult]:
    global _shared
    if "fork" not in multiprocessing.get_all_start_methods():
        raise argument_error("jobs", jobs, "several processes need fork(), which is missing here")
    _shared = scenario, steps
    try:
        with warnings.catch_warnings():
            # The workers neither take a lock nor use a thread of this process.
            warnings.simplefilter("ignore", DeprecationWarning)
            pool = multiprocessing.get_context("fork").Pool(jobs, _begin_worker)
        with pool:
            yield from pool.imap(_run_shared, seeds, chunksize=min(_CHUNK, -(-len(seeds) // jobs)))
    finally:
        _shared = None


def _begin_worker() -> None:
    import gc

    gc.set_threshold(20_000, 20, 20)


def _run_shared(seed: int) -> SeedResult:
    assert _shared is not None
    scenario, steps = _shared
    return result_of(scenario, seed, steps)


def _shown(results: Iterable[SeedResult], total: int) -> Iterator[SeedResult]:
    """Pass results on, and show how many there are, how many fail, and the rate."""
    began = shown = time.monotonic()
    done = failing = 0
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: print(file=sys.stderr))  # noqa: T201  ends the progress line
        for result in results:
            done += 1
            failing += bool(result.kinds)
            now = time.monotonic()
            if now - shown > _REFRESH or done == total:
                shown = now
                rate = done / max(now - began, 1e-9)
                line = f"\r{done} of {total} seeds, {failing} fail, {rate:.0f} runs/s"
                print(line, end="", file=sys.stderr, flush=True)  # noqa: T201  progress is for people
            yield result
