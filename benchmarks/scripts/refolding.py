"""`verify` by one process and by several: python -m benchmarks.scripts.refolding

A store of trades is made, with snapshots at equal distances. Every round verifies it by one process
and by `--jobs`, in turn. The ratio is the median of the ratios within a round. Beside the time on
the clock stands the time of processors on the longest way: all of the calling process, and an equal
share of the members. On a machine with other work, only the latter carries over.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

from benchmarks.workload import REGISTRY, payloads
from eventstore import EventStore
from eventstore.tools import verify
from eventstore.tools.refold import Extent

GROUP = 1000
SNAPSHOTS = 40


async def build(path: Path, events: int) -> None:
    """Write a store with a snapshot after each fortieth part of the events."""
    async with EventStore.open(
        path,
        REGISTRY,
        wal_max_entries=max(GROUP, events // SNAPSHOTS),
        backup_count=SNAPSHOTS,
        auto_save_interval=None,
    ) as store:
        for first in range(1, events, GROUP):
            await store.append(*payloads(GROUP, first=first))


def timed(path: Path, jobs: int) -> tuple[float, float]:
    """Verify a store. Returns seconds on the clock, and of processors on the longest way."""
    began, own, others = time.perf_counter(), time.process_time(), _of_members()
    found = verify(path, REGISTRY, extent=Extent(jobs=jobs))
    if not found.passed or found.refolded is None or found.refolded.jobs != jobs:
        raise RuntimeError(f"not verified by {jobs} processes: {found}")
    busy = time.process_time() - own + (_of_members() - others) / jobs
    return time.perf_counter() - began, busy


def _of_members() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "store"
        asyncio.run(build(path, options.events))
        ratios: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            alone, shared = timed(path, 1), timed(path, options.jobs)
            ratios.append((alone[0] / shared[0], alone[1] / shared[1]))
            print(
                f"1 process {alone[0]:6.1f} s ({alone[1]:.1f} s of a processor), "
                f"{options.jobs} processes {shared[0]:6.1f} s ({shared[1]:.1f} s)"
            )
    clock, processor = map(statistics.median, zip(*ratios, strict=True))
    print(f"{options.events:,} events: {clock:.2f} times as fast, by processors {processor:.2f}")


if __name__ == "__main__":
    main()
