"""Cases 5 and 11: opening after a crash, importing, and opening an empty store.

After a crash: the writing process ended without closing anything, 10,000 events after the last
snapshot. Every round opens a copy. The measurement begins with the opening and ends with the state
in hand. The contenders `folding` and `decoding` of this case are the yardstick: the tail alone,
in memory. The same handlers fold events already decoded, or decoded from one buffer first. No store
can do without either. For this store, the bytes of the log are read from the files first, too.

Two variants of a short history have trades of some 100 bytes and of 2,000 bytes.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from benchmarks.cases.base import Case, Cell, History, Profile, Task
from benchmarks.cases.histories import check_folded
from benchmarks.contenders import Contender
from benchmarks.workload import APART, EMPTY, REGISTRY, events, fold, payloads
from eventstore.model.codec import array_header

__all__ = ["OpenAfterCrash", "Starting"]


class OpenAfterCrash(Case):
    """Recovery."""

    name = "open after a crash"
    title = "5. Open after a crash, the tail folded"
    headline = "whole"
    figures: ClassVar = {
        "whole": "ms",
        "tail folded": "ms",
        "tail decoded and folded": "ms",
        "read, decoded and folded": "ms",
    }

    SIZES: ClassVar[dict[Profile, tuple[int, ...]]] = {
        "tiny": (3000,),
        "quick": (12_000,),
        "full": (100_000, 5_000_000),
    }
    TAIL: ClassVar = {"tiny": 1000, "quick": 6000, "full": 10_000}
    OPENERS = (
        "EventStore",
        "sqlite3",
        "aiosqlite",
        "LMDB",
        "RocksDB",
        "eventsourcing",
        "py-event-sourcing",
        "eventsource-py",
    )
    LONG = ("EventStore", "sqlite3", "LMDB")
    """Contenders with histories of more than a million events."""
    PAYLOADS: ClassVar = {"small events": 0, "large events": 2000}
    """Characters added to the payloads, in histories of this store alone."""

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        tail = self.TAIL[profile]
        for size in self.SIZES[profile]:
            names = self.OPENERS if size <= 1_000_000 else self.LONG
            for contender in self.only(contenders, names):
                history = History(size, tail=tail, crash=True)
                yield Cell(
                    self.name, f"of {size:,}", contender.name, {"tail": tail}, history, copied=True
                )

        for variant, size in self.PAYLOADS.items():
            for contender in self.only(contenders, ("EventStore",)):
                history = History(tail + 1000, size=size, tail=tail, crash=True)
                yield Cell(self.name, variant, contender.name, {"tail": tail}, history, copied=True)

    async def run(self, task: Task) -> dict[str, float]:
        assert task.history is not None
        tail, size = task.count("tail"), task.history.size
        figures = tail_in_memory(tail, task.history.events - tail, size)
        figures["read, decoded and folded"] = figures["tail decoded and folded"] + _read(task)
        peer = task.adapter(task.folder)
        gc.collect()
        began = time.perf_counter()
        await peer.open()
        state = await peer.recover()
        figures["whole"] = time.perf_counter() - began
        await peer.close()
        check_folded(state.trade_count, task.history.events, size)
        return figures


def _read(task: Task) -> float:
    """Return the seconds of reading every file of the log. Zero for other contenders."""
    began = time.perf_counter()
    for path in (task.folder / "store" / "log").glob("*.log"):
        path.read_bytes()
    return time.perf_counter() - began


def tail_in_memory(tail: int, before: int, size: int = 0) -> dict[str, float]:
    """The yardstick: the tail folded, and decoded and folded, without any file."""
    state = fold(EMPTY, events(payloads(1000, first=APART)))
    recorded = events(payloads(tail, first=before + 1, size=size), before + 1)
    body = array_header(tail) + REGISTRY.codec.encode_all(recorded)
    gc.collect()
    began = time.perf_counter()
    fold(state, recorded)
    folded = time.perf_counter() - began
    gc.collect()
    began = time.perf_counter()
    fold(state, REGISTRY.codec.decode(body, tail, before + 1))
    both = time.perf_counter() - began
    return {"tail folded": folded, "tail decoded and folded": both}


class Starting(Case):
    """The price of a program before any work."""

    name = "starting"
    title = "11. Import, and open what is empty"
    headline = "seconds"
    figures: ClassVar = {"seconds": "ms"}

    IMPORTS: ClassVar = {"tiny": 1, "quick": 2, "full": 5}
    OPENERS = (
        "EventLog",
        "EventStore",
        "sqlite3",
        "APSW",
        "aiosqlite",
        "LMDB",
        "RocksDB",
        "eventsourcing",
        "py-event-sourcing",
        "eventsource-py",
        "Redis",
    )

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for contender in contenders:
            if contender.importing:
                options: dict[str, int | float | str] = {
                    "importing": contender.importing,
                    "times": self.IMPORTS[profile],
                }
                yield Cell(self.name, "import", contender.name, options)
        for variant in ("create", "open empty"):
            for contender in self.only(contenders, self.OPENERS):
                yield Cell(self.name, variant, contender.name, {"again": int(variant != "create")})

    async def run(self, task: Task) -> dict[str, float]:
        if "importing" in task.options:
            statement = str(task.options["importing"])
            times = [_process(statement) - _process("pass") for _ in range(task.count("times"))]
            return {"seconds": statistics.median(times)}
        if task.count("again"):
            await self._open(task)
        return {"seconds": await self._open(task)}

    @staticmethod
    async def _open(task: Task) -> float:
        peer = task.adapter(task.folder)
        began = time.perf_counter()
        await peer.open()
        seconds = time.perf_counter() - began
        await peer.close()
        return seconds


def _process(statement: str) -> float:
    """Return the seconds of a Python process without any work."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began
