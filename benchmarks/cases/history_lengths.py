"""Case 14: how opening, a moment, verifying, catching up and memory grow with the history.

One history of each size, with a snapshot every 10,000 events, as by default, and 1,000 events after
the last one.

- *open*: the store, closed properly before.
- *moment*: the state at random numbers, the median.
- *verify*: every file, without folding.
- *catch up*: the last 1,000 events, decoded.
- *memory*: what a process grows by while the history is decoded from beginning to end.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from benchmarks.cases.base import Case, Cell, History, Profile, Task
from benchmarks.cases.histories import resident, resident_trimmed
from benchmarks.contenders import Contender
from benchmarks.workload import REGISTRY
from eventstore.tools import verify

__all__ = ["Sizes"]

_TAIL = 1000


class Sizes(Case):
    """What is flat in history, and what is not."""

    name = "size"
    title = "14. Cost against the size of the history"
    headline = "open"
    figures: ClassVar = {
        "open": "ms",
        "moment": "ms",
        "verify": "ms",
        "catch up": "ms",
        "memory": "MB",
    }

    SIZES: ClassVar[dict[Profile, tuple[int, ...]]] = {
        "tiny": (2000,),
        "quick": (10_000, 100_000),
        "full": (10_000, 100_000, 1_000_000, 10_000_000),
    }
    MOMENTS: ClassVar = {"tiny": 3, "quick": 9, "full": 31}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for contender in self.only(contenders, ("EventStore",)):
            for size in self.SIZES[profile]:
                yield Cell(
                    self.name,
                    f"{size:,}",
                    contender.name,
                    {"moments": self.MOMENTS[profile]},
                    History(size, tail=_TAIL, every=10_000),
                    fresh=True,
                    once=size > 1_000_000 or profile == "quick",
                )

    async def run(self, task: Task) -> dict[str, float]:
        assert task.history is not None
        events, chance = task.history.events, random.Random(1)
        peer = task.adapter(task.folder)
        began = time.perf_counter()
        await peer.open()
        opened = time.perf_counter() - began
        await peer.close()
        moments = []
        for _ in range(task.count("moments")):
            began = time.perf_counter()
            await peer.state_at(chance.randint(1, events))
            moments.append(time.perf_counter() - began)
        began = time.perf_counter()
        await peer.decode(events - _TAIL + 1)
        caught_up = time.perf_counter() - began
        began = time.perf_counter()
        found = verify(task.folder / "store", REGISTRY, refold=False)
        verified = time.perf_counter() - began
        if found.damage:
            raise RuntimeError(f"the history is damaged: {found.damage}")
        before = resident_trimmed()
        await peer.decode()
        return {
            "open": opened,
            "moment": statistics.median(moments),
            "verify": verified,
            "catch up": caught_up,
            "memory": float(resident() - before),
        }
