"""The outcome of many runs: `SimulationReport`, and the error about the first failure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eventstore.testing.simulation.lives import leaves_of
from eventstore.testing.simulation.run import Run, run_seed
from eventstore.testing.simulation.scenario import Scenario
from eventstore.testing.simulation.shrinking import shrink
from eventstore.testing.simulation.telling import tell

__all__ = ["SeedResult", "SimulationError", "SimulationReport"]

_SHOWN_SEEDS = 10


class SimulationError(AssertionError):
    """A bot failed in a simulation. The message has the time line of the first failure.

    `seed` is the first failing seed, `run` the run with the fewest faults, and `report` the report
    on all seeds.
    """

    def __init__(self, message: str, seed: int, run: Run, report: SimulationReport) -> None:
        super().__init__(message)
        self.seed = seed
        self.run = run
        self.report = report


@dataclass(frozen=True)
class SeedResult:
    """The outcome of one seed, small enough to be sent between processes.

    `kinds` are the kinds of the findings, in order and once each. `digest` is equal for equal runs.
    """

    seed: int
    kinds: tuple[str, ...]
    lives: int
    digest: str


@dataclass
class SimulationReport:
    """The outcome of a simulation.

    Attributes:
        results: The outcome of each seed, in the order of the seeds.
        unchecked: Checks without anything to look at, and the arguments to pass.
        readings: Readings of the real clock, of real chance, and the like, with the places.
        seconds: How long the simulation took.

    A report is true if no seed fails. `str(report)` is a short summary.
    """

    results: Sequence[SeedResult]
    unchecked: Sequence[str]
    readings: Sequence[str]
    seconds: float
    name: str
    scenario: Scenario = field(repr=False)
    steps: int = field(repr=False)

    def __repr__(self) -> str:
        count = f"{len(self.failures)} of {len(self.results)}"
        return f"<SimulationReport of {self.name}: {count} seeds fail>"

    def __bool__(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> dict[int, tuple[str, ...]]:
        """The failing seeds, each with the kinds of the findings."""
        return {result.seed: result.kinds for result in self.results if result.kinds}

    @property
    def kinds(self) -> Counter[str]:
        """How many seeds have a finding of each kind."""
        return Counter(kind for kinds in self.failures.values() for kind in kinds)

    @property
    def digest(self) -> str:
        """One digest of all runs, equal in every simulation of the same bot and seeds."""
        joined = " ".join(result.digest for result in self.results)
        return hashlib.sha256(joined.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        failures, seeds = self.failures, len(self.results)
        lives = sum(result.lives for result in self.results)
        rate = seeds / self.seconds if self.seconds else 0
        said = f"{self.name}: {len(failures)} of {seeds} seeds fail"
        lines = [f"{said} ({lives} lives, {rate:.0f} runs/s)"]
        lines += [f"  {kind}: {count} seeds" for kind, count in self.kinds.most_common()]
        if failures:
            shown = ", ".join(map(str, list(failures)[:_SHOWN_SEEDS]))
            lines.append(f"  seeds: {shown}{', ...' if len(failures) > _SHOWN_SEEDS else ''}")
        lines += [f"  note: {note}" for note in (*self.unchecked, *self.readings)]
        return "\n".join(lines)

    def check(self, kind: str | None = None) -> None:
        """Raise `SimulationError` for the first failing seed, shrunk and told.

        With `kind`, such as `"missed fill"`, only seeds with a finding of this kind count.
        """
        seed = next((seed for seed, found in self.failures.items() if kind in (None, *found)), None)
        if seed is None:
            return
        first = run_seed(self.scenario, seed, self.steps)
        result = next(result for result in self.results if result.seed == seed)
        if (kind or result.kinds[0]) not in [finding.kind for finding in first.findings]:
            raise SimulationError(self._other_message(result, first), seed, first, self)
        run = shrink(self.scenario, first, self.steps, kind)
        error = SimulationError(self._message(first, run, kind), seed, run, self)
        if run.error is None:
            raise error
        trace = leaves_of(run.error)[0].__traceback__
        raise error.with_traceback(trace) from None  # a debugger stops in the bot

    def replay(
        self, seed: int | None = None, *, kind: str | None = None, shrunk: bool = True
    ) -> Run:
        """Run one seed again, by default the first failing one, with the fewest faults.

        Set breakpoints in the bot, and call this under a debugger. Returns the run, with
        findings and story. `kind` is the kind of the finding to keep, by default the first one.
        `shrunk=False` keeps every fault.
        """
        if seed is None:
            seed = next(iter(self.failures or [result.seed for result in self.results]))
        run = run_seed(self.scenario, seed, self.steps)
        if not (shrunk and run.findings):
            return run
        return shrink(self.scenario, run, self.steps, kind)

    def _message(self, first: Run, run: Run, kind: str | None) -> str:
        count = f"{len(self.failures)} of {len(self.results)} seeds fail"
        if len(self.results) == 1:
            count = "the seed fails"
        dropped = len(first.faults) - len(run.faults)
        left = "without any fault" if not run.faults else f"with {_counted(len(run.faults))}"
        asked = "" if kind is None else f'kind="{kind}"'
        lines = [
            f"{self.name}: {count}; seed {run.seed} fails {left} ({dropped} more left out):",
            *(f"  {fault}" for fault in run.faults),
            "",
            tell(run),
            "",
            f"replay: simulate({self.name}, ..., seeds=[{run.seed}]).replay({asked})     or     "
            f"pytest --seed {run.seed} --pdb",
        ]
        return "\n".join(lines)

    def _other_message(self, result: SeedResult, again: Run) -> str:
        """Say that a run was not the same a second time."""
        now = ", ".join(dict.fromkeys(finding.kind for finding in again.findings)) or "no finding"
        lines = [
            f"{self.name}: seed {result.seed} failed ({', '.join(result.kinds)}), and was another "
            f"run the second time ({now}).",
            "A run follows from its seed alone, unless the bot or the venue keeps a memory outside "
            "of the store: a variable of a module, a default argument, an attribute of an object "
            "that outlives the process. No real process finds such a memory after its death: make "
            "it in the function of the bot, or in Venue.begin.",
            *self.readings,
        ]
        return "\n".join(lines)


def _counted(count: int) -> str:
    return f"{count} fault{'s' if count > 1 else ''}"


def table(reports: Mapping[str, SimulationReport]) -> str:
    """Return a table of several reports: a line for each, and a column for each kind of finding."""
    totals: Counter[str] = Counter()
    for report in reports.values():
        totals.update(report.kinds)
    kinds = [kind for kind, _ in totals.most_common()]
    rows = [["bot", "seeds that fail", *kinds]]
    for name, report in reports.items():
        failing = f"{len(report.failures)} of {len(report.results)}"
        rows.append([name, failing, *(str(report.kinds[kind]) for kind in kinds)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return "\n".join(
        "   ".join(put(cell, width) for put, cell, width in zip(align, row, widths, strict=True))
        for row in rows
    )
