"""The fewest faults for the same failure.

Theory of operation
-------------------
Every fault has a name, and a run can be limited to faults of given names. The search drops faults
in ever smaller chunks, runs again, and keeps the
faults of a run that still fails for the same reason. A run without some fault may meet new faults,
unknown to the first run. No new fault takes place, because only
faults of the first failure are allowed. So the number of faults only falls.

The reason is the kind of the first finding: another kind would be another bug. A power cut is a
fault beside the death, so the search also finds out whether a kill is enough.
"""

from __future__ import annotations

from collections.abc import Collection

from eventstore.testing.simulation.run import Run, run_seed
from eventstore.testing.simulation.scenario import Scenario

__all__ = ["shrink"]

_MOST_RUNS = 200


def shrink(scenario: Scenario, failed: Run, steps: int, kind: str | None = None) -> Run:
    """Return a run of the same seed and the same failure, with the fewest faults.

    `steps` is as for `run_seed`. `kind` is the kind of the failure, by default that of the first
    finding. The result may be `failed` itself.
    """
    search = _Search(scenario, failed, steps, kind or failed.findings[0].kind)
    size = max(1, len(failed.faults) // 2)
    if search.fails_with([]):
        return search.best
    while size:
        at = 0
        while at < len(search.best.faults):
            faults = search.best.faults
            if not search.fails_with(faults[:at] + faults[at + size :]):
                at += size
        if size == 1 and not search.improved:
            break
        search.improved = False
        size = max(1, size // 2)
    return search.best


class _Search:
    """The best run so far, and the number of runs left."""

    def __init__(self, scenario: Scenario, failed: Run, steps: int, kind: str) -> None:
        self.best = failed
        self.improved = False
        self._scenario = scenario
        self._kind = kind
        self._steps = steps
        self._left = _MOST_RUNS
        self._tried: set[frozenset[str]] = set()

    def fails_with(self, faults: Collection[str]) -> bool:
        """Run with only the given faults, and keep the run if the failure is the same."""
        kept = frozenset(faults)
        if kept in self._tried or not self._left or not isinstance(self.best.seed, int):
            return False
        self._tried.add(kept)
        self._left -= 1
        run = run_seed(self._scenario, self.best.seed, self._steps, kept)
        kinds = [finding.kind for finding in run.findings]
        if self._kind not in kinds or len(run.faults) >= len(self.best.faults):
            return False
        self.best = run
        self.improved = True
        return True
