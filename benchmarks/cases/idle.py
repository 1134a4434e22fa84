"""Case 20: many stores in one process, with nothing to do.

Each store has the default configuration, takes one event, and is idle from then on. The threads are
all of the process's, the interpreter's included. The processor's time is that of the whole process
while all stores are idle, with the timers of the event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.cases.base import Case, Cell, Profile, Task
from benchmarks.contenders import Contender
from benchmarks.peers.ours import spare_ready
from benchmarks.workload import REGISTRY, payloads
from eventstore import EventStore

__all__ = ["Idle"]

SETTLED = 4.0  # seconds until idle logs are sealed and idle threads have left


class Idle(Case):
    """The cost of stores that are open and idle."""

    name = "idle stores"
    title = "20. Many idle stores in one process"
    headline = "open"
    figures: ClassVar = {"open": "ms", "disk": "MB", "threads": "", "processor, percent": ""}

    STORES: ClassVar = {"tiny": 3, "quick": 200, "full": 200}
    SECONDS: ClassVar = {"tiny": 0.01, "quick": 3.0, "full": 20.0}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        stores, seconds = self.STORES[profile], self.SECONDS[profile]
        settled = 0.0 if profile == "tiny" else SETTLED
        options = {"stores": stores, "seconds": seconds, "settled": settled}
        for contender in self.only(contenders, ("EventStore", "EventStore (uvloop)")):
            yield Cell(
                self.name, str(stores), contender.name, options, fresh=True, once=profile == "quick"
            )

    async def run(self, task: Task) -> dict[str, float]:
        places = [task.folder / str(number) for number in range(task.count("stores"))]
        began = time.perf_counter()
        stores = [await EventStore.open(place, REGISTRY) for place in places]
        opened = time.perf_counter() - began
        (payload,) = payloads(1)
        for store in stores:
            await store.append(payload)
            await spare_ready(store)
        await asyncio.sleep(float(task.options["settled"]))  # timers of the openings end
        seconds, spent = float(task.options["seconds"]), time.process_time()
        await asyncio.sleep(seconds)  # idleness is what is measured
        spent = time.process_time() - spent
        figures = {
            "open": opened / len(places),
            "disk": sum(map(bytes_of, places)) / len(places),
            "threads": float(threading.active_count()),
            "processor, percent": 100 * spent / seconds,
        }
        for store in stores:
            await store.close()
        return figures


def bytes_of(folder: Path) -> int:
    """Return the bytes of a folder's files on the disk."""
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(file.stat().st_blocks * 512 for file in files)
