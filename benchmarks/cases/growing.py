"""Case 12: how cases 1, 2 and 6 grow with history, with the size of the state and of the payload.

In each of three sweeps, one size grows and the others stay small. Appending goes on in the prepared
history, from round to round. The history has a snapshot at its end, so that opening is no part of
the measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from benchmarks.cases.appending import append_apart, append_together, percentiles
from benchmarks.cases.base import Case, Cell, History, Profile, Task
from benchmarks.cases.reading import read_through
from benchmarks.contenders import Contender
from benchmarks.workload import APART, payloads

__all__ = ["Growth"]


class Growth(Case):
    """The shape of the curves."""

    name = "growth"
    title = "12. How it grows with history, state and payload"
    headline = "per event"
    figures: ClassVar = {"per event": "us"}

    SWEEPS: ClassVar[dict[Profile, dict[str, tuple[int, ...]]]] = {
        "tiny": {"history": (100,), "state": (50,), "payload": (100,)},
        "quick": {
            "history": (1000, 60_000),
            "state": (20, 1000, 30_000),
            "payload": (0, 1000, 16_000),
        },
        "full": {
            "history": (1000, 10_000, 100_000, 1_000_000),
            "state": (20, 1000, 10_000, 100_000),
            "payload": (0, 200, 1000, 4000, 16_000),
        },
    }
    COUNT: ClassVar = {"tiny": 64, "quick": 192, "full": 640}
    QUESTIONS: ClassVar = {
        "one awaiter": ("EventStore", "sqlite3 folding"),
        "64 awaiters": ("EventStore", "aiosqlite"),
        "replay": ("EventStore", "sqlite3"),
    }

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        count = self.COUNT[profile]
        for sweep, points in self.SWEEPS[profile].items():
            for point in points:
                for question, names in self.QUESTIONS.items():
                    for contender in self.only(contenders, names):
                        options: dict[str, int | float | str] = {
                            "question": question,
                            "sweep": sweep,
                            "point": point,
                            "count": count,
                        }
                        yield Cell(
                            self.name,
                            f"{question}, {sweep} {point:,}",
                            contender.name,
                            options,
                            self._history(question, sweep, point, profile),
                        )

    @staticmethod
    def _history(question: str, sweep: str, point: int, profile: Profile) -> History | None:
        events = {"tiny": 500, "quick": 2000, "full": 10_000}[profile]
        if question != "replay":
            if sweep == "history":
                return History(point, tail=0)
            return History(0, positions=point, tail=0) if sweep == "state" else None
        if sweep == "history":
            return History(point)
        if sweep == "state":
            return History(max(events, point), symbols=point)
        return History(events, size=point)

    async def run(self, task: Task) -> dict[str, float]:
        if task.options["question"] == "replay":
            return {"per event": (await read_through(task))["fold"]}
        count = task.count("count")
        size = task.count("point") if task.options["sweep"] == "payload" else 0
        peer = task.adapter(task.folder)
        await peer.open()
        try:
            await append_apart(peer, payloads(10, first=APART, size=size))
            await peer.settle()
            if task.options["question"] == "one awaiter":
                latencies = await append_apart(peer, payloads(count, first=2 * APART, size=size))
                return {"per event": percentiles(latencies)["p50"]}
            await append_together(peer, 64, payloads(64, first=2 * APART, size=size))
            operations = payloads(count * 4, first=3 * APART, size=size)
            seconds = await append_together(peer, 64, operations)
            return {"per event": seconds / (count * 4 // 64 * 64)}
        finally:
            await peer.close()
