"""Case 15: how long the event loop is held up by a large nested value, and by archiving.

A task notes the delay of each millisecond's wake-up, as in case 8: idle, and during one call of
`snapshot`. The state has a nested value of 50 MB, or the snapshot archives segments of 25 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from benchmarks.cases.appending import percentiles
from benchmarks.cases.base import Case, Cell, Profile, Task
from benchmarks.cases.holding_up import TICK
from benchmarks.contenders import Contender
from eventstore import Event, EventStore, HandlerRegistry, Operation, handler

__all__ = ["Slices"]

_ENTRY = 130
"""Bytes of one entry of the nested value in MessagePack."""
_TEXT = 1000


class Note(Operation, tag="note"):
    """Text of any length."""

    text: str


class Notebook(msgspec.Struct, frozen=True):
    """A number of notes, and a value of any depth."""

    notes: int = 0
    nested: Any = None


@handler
def note(state: Notebook, event: Event[Note]) -> Notebook:
    """Count a note."""
    return Notebook(state.notes + 1, state.nested)


class Slices(Case):
    """The loop, while a background thread has something large to do."""

    name = "slices"
    title = "15. How long the loop is held up by a nested value of 50 MB, and by archiving"
    headline = "more than idle, p99"
    figures: ClassVar = {
        "idle p99": "ms",
        "p50": "ms",
        "p99": "ms",
        "longest": "ms",
        "more than idle, p99": "ms",
        "seconds": "s",
    }

    IDLE: ClassVar = {"tiny": 0.05, "quick": 0.5, "full": 2.0}
    BYTES: ClassVar = {"tiny": 100_000, "quick": 50_000_000, "full": 50_000_000}
    MEASURED = ("EventStore", "EventStore (uvloop)")

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for contender in self.only(contenders, self.MEASURED):
            for work in ("snapshot", "archive"):
                options: dict[str, int | float | str] = {"bytes": self.BYTES[profile], "work": work}
                options["idle"] = self.IDLE[profile]
                yield Cell(
                    self.name, work, contender.name, options, fresh=True, once=profile == "quick"
                )

    async def run(self, task: Task) -> dict[str, float]:
        size, archives = task.count("bytes"), task.options["work"] == "archive"
        nested = None if archives else _nested(size)
        async with EventStore.open(
            task.folder / "store",
            HandlerRegistry(note, initial=lambda: Notebook(0, nested)),
            wal_max_entries=None,
            auto_save_interval=None,
            backup_count=1,
        ) as store:
            group = [Note(text="x" * _TEXT)] * 100
            for _ in range(max(1, size // 2 // _TEXT // len(group)) if archives else 1):
                await store.append(*group)
            quiet = asyncio.create_task(asyncio.sleep(float(task.options["idle"])))
            idle = percentiles(await _delays(quiet))
            began = asyncio.get_running_loop().time()
            found = await _delays(asyncio.create_task(store.snapshot()))
            seconds = asyncio.get_running_loop().time() - began
        busy = percentiles(found)
        return {
            "idle p99": idle["p99"],
            "p50": busy["p50"],
            "p99": busy["p99"],
            "longest": max(found),
            "more than idle, p99": busy["p99"] - idle["p99"],
            "seconds": seconds,
        }


async def _delays(work: asyncio.Task[Any]) -> list[float]:
    """Return the delay of each millisecond's wake-up until the work is done."""
    loop = asyncio.get_running_loop()
    found: list[float] = []
    while not work.done() or not found:
        wanted = loop.time() + TICK
        await asyncio.sleep(TICK)  # how late the tick comes is what is measured
        found.append(max(0.0, loop.time() - wanted))
    await work
    return found


def _nested(size: int) -> dict[str, Any]:
    return {
        "books": {
            f"key-{number}": {"size": number, "lots": [1, 2.5, None], "text": "x" * 80}
            for number in range(size // _ENTRY)
        }
    }
