"""Case 21: `verify`, with every event folded again, by two processes and by one.

A store of trades is made, with snapshots at equal distances, and verified by one process and by
two. Beside the time on the clock stands the time of processors on the longest
way: all of the calling process, and an equal share of the members. On a machine with other work,
only the latter carries over.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.cases.base import Case, Cell, Profile, Task
from benchmarks.contenders import Contender
from benchmarks.workload import REGISTRY, payloads
from eventstore import EventStore
from eventstore.tools import verify
from eventstore.tools.refold import Extent

__all__ = ["Refolding", "build_snapshots", "timed_verify"]

_GROUP = 1000
_SNAPSHOTS = 40


async def build_snapshots(path: Path, events: int) -> None:
    """Write a store with a snapshot after each fortieth part of the events."""
    async with EventStore.open(
        path,
        REGISTRY,
        wal_max_entries=max(_GROUP, events // _SNAPSHOTS),
        backup_count=_SNAPSHOTS,
        auto_save_interval=None,
    ) as store:
        for first in range(1, events, _GROUP):
            await store.append(*payloads(_GROUP, first=first))


def timed_verify(path: Path, jobs: int) -> tuple[float, float]:
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


class Refolding(Case):
    """What a second process is good for."""

    name = "refolding"
    title = "21. Verify, folding again: by one process and by two"
    headline = "one process"
    figures: ClassVar = {
        "one process": "s",
        "two processes": "s",
        "one, of a processor": "s",
        "two, of a processor": "s",
    }

    EVENTS: ClassVar = {"tiny": 4000, "quick": 150_000, "full": 5_000_000}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        events = self.EVENTS[profile]
        for contender in self.only(contenders, ("EventStore",)):
            variant = f"{events:,} events"
            yield Cell(
                self.name, variant, contender.name, {"events": events}, fresh=True, once=True
            )

    async def run(self, task: Task) -> dict[str, float]:
        path, events = task.folder / "store", task.count("events")
        await build_snapshots(path, events)
        alone, shared = timed_verify(path, 1), timed_verify(path, 2)
        return dict(zip(self.figures, (alone[0], shared[0], alone[1], shared[1]), strict=True))
