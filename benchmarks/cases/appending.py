"""Cases 1 to 4: the cost of a durable append, alone, in company, in groups and in bursts.

Payloads are made before the clock starts. Encoding, numbering and everything later is measured.
Each run opens a new store, lets the store settle, and appends a few events that are not counted.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from benchmarks.cases.base import Case, Cell, Profile, Task
from benchmarks.contenders import Contender
from benchmarks.peers.base import Peer
from benchmarks.workload import APART, payloads
from eventstore import Operation

__all__ = [
    "LONG_BURSTS",
    "Awaiters",
    "Burst",
    "Groups",
    "OneAwaiter",
    "append_apart",
    "append_together",
]

WARM_UP = 20
LONG_BURSTS = (20_000, 60_000)


@asynccontextmanager
async def opened(task: Task) -> AsyncIterator[Peer]:
    """A contender ready to be measured."""
    peer = task.adapter(task.folder)
    await peer.open()
    try:
        warm = payloads(WARM_UP, first=APART)
        for payload in warm:
            await peer.append((payload,))
        await peer.settle()
        yield peer
    finally:
        await peer.close()


def percentiles(latencies: list[float]) -> dict[str, float]:
    """Return p50, p99 and p99.9. With few figures, the last is the greatest figure."""
    latencies.sort()
    last = len(latencies) - 1
    return {
        "p50": statistics.median(latencies),
        "p99": latencies[min(last, len(latencies) * 99 // 100)],
        "p99.9": latencies[min(last, len(latencies) * 999 // 1000)],
    }


async def append_apart(peer: Peer, operations: Sequence[Operation]) -> list[float]:
    """Append one at a time, each awaited. Returns the seconds of each."""
    append, clock = peer.append, time.perf_counter
    latencies = []
    for operation in operations:
        group = (operation,)
        began = clock()
        await append(group)
        latencies.append(clock() - began)
    return latencies


async def append_together(peer: Peer, tasks: int, operations: Sequence[Operation]) -> float:
    """Append all operations from so many tasks. Returns the seconds."""
    append = peer.append
    each = len(operations) // tasks

    async def one(own: Sequence[Operation]) -> None:
        for operation in own:
            await append((operation,))

    began = time.perf_counter()
    await asyncio.gather(
        *(one(operations[number * each : (number + 1) * each]) for number in range(tasks))
    )
    return time.perf_counter() - began


class OneAwaiter(Case):
    """One durable event at a time."""

    name = "one awaiter"
    title = "1. One awaiter, one durable event at a time"
    headline = "p50"
    figures: ClassVar = {"p50": "us", "p99": "us", "p99.9": "us"}
    reference = "write + fdatasync"

    COUNT: ClassVar = {"tiny": 5, "quick": 200, "full": 2000}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for contender in contenders:
            yield Cell(self.name, "", contender.name, {"count": self.COUNT[profile]})

    async def run(self, task: Task) -> dict[str, float]:
        async with opened(task) as peer:
            return percentiles(await append_apart(peer, payloads(task.count("count"))))


class Awaiters(Case):
    """Many tasks, each awaiting its own events."""

    name = "awaiters"
    title = "2. Many awaiters, each awaiting its own events"
    headline = "per event"
    figures: ClassVar = {"per event": "us", "rate": "/s"}

    EACH: ClassVar = {
        "tiny": {64: 1, 1000: 1},
        "quick": {64: 24, 1000: 3},
        "full": {64: 150, 1000: 15},
    }

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for tasks, each in self.EACH[profile].items():
            for contender in contenders:
                if contender.asynchronous:
                    count = max(1, each // 3) if contender.slow else each
                    options = {"tasks": tasks, "each": count}
                    yield Cell(self.name, str(tasks), contender.name, options)

    async def run(self, task: Task) -> dict[str, float]:
        tasks = task.count("tasks")
        operations = payloads(tasks * task.count("each"))
        async with opened(task) as peer:
            firsts = payloads(tasks, first=2 * APART)  # connections, and other firsts
            await append_together(peer, tasks, firsts)
            seconds = await append_together(peer, tasks, operations)
        return per_event(seconds, len(operations))


def per_event(seconds: float, events: int) -> dict[str, float]:
    """Return the speed in two ways: seconds per event, and events per second."""
    return {"per event": seconds / events, "rate": events / seconds}


class Groups(Case):
    """Groups of events, each durable as one."""

    name = "groups"
    title = "3. Groups, each durable as one, one after the other"
    headline = "per event"
    figures: ClassVar = {"per event": "us", "rate": "/s"}

    EVENTS: ClassVar = {
        "tiny": {10: 20, 100: 100, 1000: 1000},
        "quick": {10: 1000, 100: 5000, 1000: 10_000},
        "full": {10: 5000, 100: 25_000, 1000: 100_000},
    }

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for size, events in self.EVENTS[profile].items():
            for contender in contenders:
                count = max(size, events // 5) if contender.slow else events
                options = {"size": size, "events": count}
                yield Cell(self.name, str(size), contender.name, options)

    async def run(self, task: Task) -> dict[str, float]:
        size = task.count("size")
        groups = [payloads(size, first=first) for first in range(1, task.count("events") + 1, size)]
        async with opened(task) as peer:
            append = peer.append
            await append(payloads(size, first=2 * APART))
            began = time.perf_counter()
            for group in groups:
                await append(group)
            seconds = time.perf_counter() - began
        return per_event(seconds, len(groups) * size)


class Burst(Case):
    """Many events at once, with the last one awaited.

    This store is measured with long bursts, too: tens of thousands in one turn of the loop.
    """

    name = "burst"
    title = "4. A burst, and the last of it awaited"
    headline = "per event"
    figures: ClassVar = {"per event": "us", "whole": "ms"}

    EVENTS: ClassVar = {"tiny": 20, "quick": 2000, "full": 10_000}
    LONG: ClassVar = {"tiny": (30,), "quick": LONG_BURSTS, "full": LONG_BURSTS}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        events = self.EVENTS[profile]
        for contender in contenders:
            if contender.name != "write + fdatasync":
                yield Cell(self.name, str(events), contender.name, {"events": events})
        for events in self.LONG[profile]:
            for contender in self.only(contenders, ("EventStore", "EventStore (uvloop)")):
                yield Cell(self.name, str(events), contender.name, {"events": events})

    async def run(self, task: Task) -> dict[str, float]:
        operations = payloads(task.count("events"))
        async with opened(task) as peer:
            began = time.perf_counter()
            await peer.burst(operations)
            seconds = time.perf_counter() - began
        return {"per event": seconds / len(operations), "whole": seconds}
