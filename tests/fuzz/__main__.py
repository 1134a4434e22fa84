"""`python -m tests.fuzz`: the parsers, for as long as you like.

Without `--runs`, fuzzing goes on until an interrupt or a finding. With atheris installed,
`--guided` chooses the inputs by the code that they reach.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

from tests.fuzz.fuzzing import FuzzError, check, fuzz, of_text
from tests.fuzz.guided import guided
from tests.fuzz.targets import TARGETS

_BATCH = 50


def main(arguments: list[str] | None = None) -> int:
    """Fuzz. The exit status is 1 where a target failed on an input."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--runs", type=int, help="inputs for each target (default: no end)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--input", help="one input, as a failure printed it")
    parser.add_argument("--guided", action="store_true", help="let coverage choose (atheris)")
    options = parser.parse_args(arguments)
    chosen = options.targets or list(TARGETS)
    unknown = [name for name in chosen if name not in TARGETS]
    if unknown:
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(TARGETS)}")
    if options.input is not None:
        for target in chosen:
            check(target, of_text(options.input))
        return 0
    if options.guided:
        return guided(chosen[0])
    print(f"seed {options.seed}", flush=True)
    try:
        return _run(chosen, options.seed, options.first, options.runs)
    except KeyboardInterrupt:
        return 0
    except FuzzError as error:
        print(error, file=sys.stderr)
        return 1


def _run(targets: list[str], seed: int, first: int, runs: int | None) -> int:
    """All targets in turn, a batch at a time."""
    total = size = 0
    began = time.perf_counter()
    for done in itertools.count(0, _BATCH):
        batch = _BATCH if runs is None else min(_BATCH, runs - done)
        if batch <= 0:
            break
        for target in targets:
            size += fuzz(target, batch, seed, first=first + done)
            total += batch
        seconds = time.perf_counter() - began
        print(f"{total} inputs, {size / 1e6:.1f} MB, {total / seconds:.0f}/s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
