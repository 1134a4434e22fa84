"""`verify` by one process and by several: python -m benchmarks.scripts.refolding

The measurement of case 21, with any number of events and processes. The ratio is the median of the
ratios within a round.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from benchmarks.cases.refolding import build_snapshots, timed_verify


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "store"
        asyncio.run(build_snapshots(path, options.events))
        ratios: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            alone, shared = timed_verify(path, 1), timed_verify(path, options.jobs)
            ratios.append((alone[0] / shared[0], alone[1] / shared[1]))
            print(
                f"1 process {alone[0]:6.1f} s ({alone[1]:.1f} s of a processor), "
                f"{options.jobs} processes {shared[0]:6.1f} s ({shared[1]:.1f} s)"
            )
    clock, processor = map(statistics.median, zip(*ratios, strict=True))
    print(f"{options.events:,} events: {clock:.2f} times as fast, by processors {processor:.2f}")


if __name__ == "__main__":
    main()
