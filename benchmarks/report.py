"""The measurements written down: a table in Markdown, JSON for programs, and plots.

`benchmarks.figures` computes every figure. The table shows medians, the spread between quartiles,
and the ratio to the case's reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.cases import CASES, Case
from benchmarks.figures import Summary, ratio, summary
from benchmarks.measuring import Found
from benchmarks.targets import Verdict, verdicts

__all__ = ["Run", "shown", "table", "write"]

SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "MB": 2.0**-20, "B": 1.0, "/s": 1.0, "": 1.0}
SIGNS = {"us": " µs", "MB": " MiB", "B": " bytes"}


class Run(msgspec.Struct, frozen=True):
    """One run of the benchmarks."""

    profile: str
    seconds: float
    started: str
    machine: dict[str, str]
    found: Found


def write(run: Run, output: Path) -> None:
    """Write `table.md`, `results.json` and, where matplotlib is there, the plots."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "table.md").write_text(table(run), encoding="utf-8")
    encoded = msgspec.json.encode(
        {
            "run": run,
            "targets": [verdict._asdict() for verdict in verdicts(run.found.rounds)],
        }
    )
    (output / "results.json").write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")
    try:
        from benchmarks.plots import draw
    except ImportError:
        return
    draw(run.found.rounds, output)


def table(run: Run) -> str:
    """Return every measurement, as one page of Markdown."""
    return "\n".join([*_heading(run), *_targets(run), *_cases(run), *_tail(run), ""])


def shown(value: float, unit: str) -> str:
    """Return a figure in its unit, with three significant digits."""
    scaled = value * SCALES[unit]
    digits = 0 if scaled == 0 else max(0, 2 - math.floor(math.log10(abs(scaled))))
    sign = SIGNS.get(unit, f" {unit}" if unit not in ("", "/s") else unit)
    return f"{scaled:,.{min(digits, 3)}f}{sign}"


def _heading(run: Run) -> Iterator[str]:
    yield f"# Benchmarks, {run.profile}"
    yield ""
    rounds = max((len(found) for found in run.found.rounds.values()), default=0)
    yield (
        f"Run of {run.started}: {rounds} rounds in {run.seconds:.0f} seconds. Figures are medians "
        "over the rounds; *spread* is the distance between the quartiles (of fewer than four "
        "rounds, between the extremes), as a part of the median. A ratio is the median of the "
        "ratios within rounds."
    )
    if run.profile == "quick":
        yield ""
        yield (
            "This was the quick run: short histories, few rounds. It shows that everything works "
            "and where things are; `make bench` measures."
        )
    yield ""
    yield "| machine | |"
    yield "|---|---|"
    for name, value in run.machine.items():
        yield f"| {name} | {value} |"
    yield ""
    told = ", ".join(
        f"{name} {version}".strip() for name, version in run.found.versions.items() if version
    )
    yield f"Versions: {told}."
    for name, reason in run.found.left_out.items():
        yield ""
        yield f"**Left out: {name}**, because {reason.strip().splitlines()[-1]}."


def _targets(run: Run) -> Iterator[str]:
    yield ""
    yield "## Targets"
    yield ""
    yield "| case | target | figure (quartiles) | against | |"
    yield "|---|---|--:|---|---|"
    for verdict in verdicts(run.found.rounds):
        yield _verdict(verdict)


def _verdict(verdict: Verdict) -> str:
    met = {True: "met", False: "**missed**", None: "-"}[verdict.met]
    return f"| {verdict.case} | {verdict.target} | {verdict.figure} | {verdict.against} | {met} |"


def _cases(run: Run) -> Iterator[str]:
    for name, case in CASES.items():
        keys = [key for key in run.found.rounds if key.split("|")[0] == name]
        if keys:
            yield from _case(case, keys, run.found)


def _case(case: Case, keys: list[str], found: Found) -> Iterator[str]:
    yield ""
    yield f"## {case.title}"
    yield ""
    figures = list(case.figures)
    yield "| " + " | ".join(["", "", *figures, "spread", f"to {case.reference}"]) + " |"
    yield "|---|---|" + "--:|" * (len(figures) + 2)
    for variant in dict.fromkeys(key.split("|")[1] for key in keys):
        rows = [key for key in keys if key.split("|")[1] == variant]
        for key in sorted(rows, key=lambda key: _median(found, key, case.headline)):
            yield _row(case, key, variant, found)


def _row(case: Case, key: str, variant: str, found: Found) -> str:
    contender = key.split("|")[2]
    cells = [variant, f"**{contender}**" if contender.startswith("Event") else contender]
    for figure, unit in case.figures.items():
        one = _summary(found, key, figure)
        cells.append("failed" if one is None else shown(one.median, unit))
    headline = _summary(found, key, case.headline)
    cells.append("" if headline is None or headline.rounds < 2 else f"{headline.spread:.0%}")
    compared = ratio(found.rounds, key, f"{case.name}|{variant}|{case.reference}", case.headline)
    cells.append("" if compared is None else f"{compared.median:.2f}")
    return "| " + " | ".join(cells) + " |"


def _summary(found: Found, key: str, figure: str) -> Summary | None:
    return summary([one[figure] for one in found.rounds[key] if one is not None and figure in one])


def _median(found: Found, key: str, figure: str) -> float:
    one = _summary(found, key, figure)
    return math.inf if one is None else one.median


def _tail(run: Run) -> Iterator[str]:
    if run.found.failures:
        yield ""
        yield "## Failures"
        for where, reason in run.found.failures.items():
            yield ""
            yield f"- {where}: {reason.strip().splitlines()[-1]}"
