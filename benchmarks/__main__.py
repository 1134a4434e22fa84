"""Run the benchmarks: `python -m benchmarks --quick`, or in full without the option.

Needs the extra `bench` and a Linux machine with a disk worth measuring. The results are `table.md`,
`results.json` and the plots. Those of the full run with every case and peer go to
`benchmarks/results`, which the documentation shows, and others to `benchmarks/results/partial`.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.cases import CASES, Profile
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import describe
from benchmarks.measuring import Measuring
from benchmarks.report import Run, write

__all__ = ["main"]

ROUNDS = {"quick": 3, "full": 7}
QUICK_SECONDS = 165.0
"""Seconds after which a quick run begins no further round."""

RESULTS = Path(__file__).resolve().parent / "results"
PARTIAL = RESULTS / "partial"


def stop(number: int, frame: object) -> None:
    """Treat termination as an interrupt: workers are ended and folders removed."""
    raise KeyboardInterrupt


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Everything, in small sizes: under three minutes.")
@click.option("--rounds", type=click.IntRange(1), help="How often every cell is measured.")
@click.option("--cases", help="Only these, by number or name, with commas between: 1,3,replay.")
@click.option("--peers", help="Only contenders whose names begin with one of these (and ours).")
@click.option(
    "--where",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="A directory on the disk to be measured. Default: the current one.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where table, JSON and plots go. Default: benchmarks/results, or its folder 'partial' for "
    "a run that is not of everything.",
)
@click.option("--seed", type=int, default=1, help="Of the order within rounds.")
def main(
    quick: bool,
    rounds: int | None,
    cases: str | None,
    peers: str | None,
    where: Path,
    output: Path | None,
    seed: int,
) -> None:
    """Measure, and write the results."""
    profile: Profile = "quick" if quick else "full"
    if output is None:
        output = PARTIAL if quick or cases or peers else RESULTS
    chosen = [case for name, case in CASES.items() if _wanted(name, case.title, cases)]
    if not chosen:
        raise click.BadParameter(f"no case is called {cases!r}", param_hint="--cases")
    contenders = [
        contender
        for contender in CONTENDERS
        if peers is None
        or contender.ours
        or contender.name.lower().startswith(tuple(peers.lower().split(",")))
    ]
    signal.signal(signal.SIGTERM, stop)
    began = time.perf_counter()

    def tell(line: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    scratch = Path(tempfile.mkdtemp(prefix=".benchmarks-", dir=where.resolve()))
    try:
        machine = describe(scratch)
        with Measuring(scratch, contenders, tell) as measuring:
            for name, reason in measuring.found.left_out.items():
                tell(f"left out: {name}: {reason}")
            cells = [cell for case in chosen for cell in case.cells(profile, measuring.present)]
            measuring.prepare(cells)
            found = measuring.measure(
                cells,
                rounds or ROUNDS[profile],
                seed,
                began + QUICK_SECONDS if quick and rounds is None else math.inf,
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.sync()
    for where_failed, reason in found.failures.items():
        tell(f"failed: {where_failed}: {reason.strip().splitlines()[-1]}")
    for case, spent in found.seconds.items():
        tell(f"{case}: {spent:.1f} s")
    run = Run(
        profile=profile,
        seconds=time.perf_counter() - began,
        started=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        machine=machine,
        found=found,
    )
    write(run, output)
    tell(f"written to {output}")
    print((output / "table.md").read_text(encoding="utf-8"))
    sys.exit(1 if found.failures else 0)


def _wanted(name: str, title: str, cases: str | None) -> bool:
    if cases is None:
        return True
    wanted = [word.strip() for word in cases.split(",")]
    return name in wanted or title.partition(".")[0] in wanted


if __name__ == "__main__":
    main()
