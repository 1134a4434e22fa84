"""Cases 17, 18 and 19: one event by number, the state at a random moment, and following.

The store is measured with its defaults here, except that a commit of a prepared history waits for
no disk. A history of many snapshots and archives is made by the case itself, once for each cell.
So these cells have a process of their own, and run in the first round only.

*One event* is measured by path, where each reading opens the directory anew, and in an open store.

*A moment* is drawn evenly from all events. The longer history has five times the events of the
shorter one, and *growth* compares the medians.

*Following* reads a whole history in three ways, in turn, three times. The shortest time of each
counts: `read_events`, `EventStore.events`, and a subscription from the first event on.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any, ClassVar

from benchmarks.cases.base import Case, Cell, Profile, Task
from benchmarks.contenders import Contender
from benchmarks.workload import REGISTRY, payloads
from eventstore import EventStore, read_events, state_at

__all__ = ["Following", "Moments", "OneEvent"]

GROUP = 64
MANUAL: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}


async def write(path: Path, events: int, **options: Any) -> None:
    """Write a history in groups, each a record, with snapshots and archives as they come."""
    async with EventStore.open(path, REGISTRY, durability="none", **options) as store:
        for first in range(1, events + 1, GROUP):
            count = min(GROUP, events + 1 - first)
            await store.append(*payloads(count, first=first))


async def archive(path: Path, events: int, **options: Any) -> None:
    """Have what was written archived: no snapshot may have been ready in time for that.

    The log goes up to the older one of the last two snapshots.
    """
    async with EventStore.open(path, REGISTRY, **options) as store:
        for number in (1, 2):
            await store.append(*payloads(1, first=events + number))
            await store.snapshot()


def percentiles(times: list[float]) -> tuple[float, float]:
    """Return p50 and p90."""
    cut = quantiles(times, n=10)
    return cut[4], cut[8]


class _Own(Case):
    """A case of this store alone, with the number of events as the variant."""

    EVENTS: ClassVar[dict[Profile, int]]
    COUNT: ClassVar[dict[Profile, int]] = {"tiny": 5, "quick": 200, "full": 1000}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        events = self.EVENTS[profile]
        options = {"events": events, "count": self.COUNT[profile]}
        for contender in self.only(contenders, ["EventStore"]):
            variant = f"{events:,} events"
            yield Cell(self.name, variant, contender.name, options, fresh=True, once=True)


class OneEvent(_Own):
    """One event by its number, in the segment in use and in an archive."""

    name = "one event"
    title = "17. One event by number: in a segment and in an archive"
    headline = "segment, by path p50"
    figures: ClassVar = {
        f"{place}, {way} {quantile}": "us"
        for place in ("segment", "archive")
        for way in ("by path", "open store")
        for quantile in ("p50", "p90")
    }
    EVENTS: ClassVar = {"tiny": 2000, "quick": 40_000, "full": 400_000}

    async def run(self, task: Task) -> dict[str, float]:
        events, count = task.count("events"), task.count("count")
        found: dict[str, float] = {}
        for place in ("segment", "archive"):
            path = task.folder / place
            last = events
            if place == "segment":
                await write(path, events, segment_size=64 << 20, **MANUAL)
            else:
                sizes = {"segment_size": 1 << 18 if events < 10_000 else 1 << 20}
                snapshots = {"wal_max_entries": events // 8, "backup_count": 1}
                await write(path, events, **sizes, **snapshots)
                await archive(path, events, **sizes, **snapshots)
                last = min(int(one.stem) for one in (path / "log").glob("0*.log")) - 1
            draw = random.Random(13)
            numbers = [draw.randint(1, last) for _ in range(count)]
            times = [_timed(path, seq) for seq in numbers]
            found |= _named(f"{place}, by path", times)
            async with EventStore.open(path, REGISTRY, **MANUAL) as store:
                times = [await _timed_live(store, seq) for seq in numbers]
            found |= _named(f"{place}, open store", times)
        return found


def _named(name: str, times: list[float]) -> dict[str, float]:
    half, most = percentiles(times)
    return {f"{name} p50": half, f"{name} p90": most}


def _timed(path: Path, seq: int) -> float:
    began = time.perf_counter()
    (event,) = read_events(path, REGISTRY, start=seq, stop=seq + 1)
    seconds = time.perf_counter() - began
    if event.seq != seq:
        raise RuntimeError(f"event {event.seq} was read, and {seq} was asked for")
    return seconds


async def _timed_live(store: EventStore[Any], seq: int) -> float:
    began = time.perf_counter()
    (event,) = [event async for event in store.events(start=seq, stop=seq + 1)]
    seconds = time.perf_counter() - began
    if event.seq != seq:
        raise RuntimeError(f"event {event.seq} was read, and {seq} was asked for")
    return seconds


class Moments(_Own):
    """The state at random moments of two histories, the defaults of everything."""

    name = "moments"
    title = "18. The state at a random moment"
    headline = "p50"
    figures: ClassVar = {"p50": "ms", "p90": "ms", "p50, five times the events": "ms"}
    EVENTS: ClassVar = {"tiny": 2000, "quick": 60_000, "full": 1_000_000}
    COUNT: ClassVar = {"tiny": 5, "quick": 40, "full": 100}

    async def run(self, task: Task) -> dict[str, float]:
        events, count = task.count("events"), task.count("count")
        short, most = await self._moments(task.folder / "short", events, count)
        long, _ = await self._moments(task.folder / "long", 5 * events, count)
        return {"p50": short, "p90": most, "p50, five times the events": long}

    async def _moments(self, path: Path, events: int, count: int) -> tuple[float, float]:
        await write(path, events)
        draw, times = random.Random(14), list[float]()
        for _ in range(count):
            seq = draw.randint(1, events)
            began = time.perf_counter()
            state_at(path, REGISTRY, seq)
            times.append(time.perf_counter() - began)
        return percentiles(times)


class Following(_Own):
    """Catching up with a history, in an open store and beside it."""

    name = "following"
    title = "19. A whole history: read_events, events, and a subscription from the start"
    headline = "subscribe"
    figures: ClassVar = {"read_events": "ns", "events": "ns", "subscribe": "ns"}
    EVENTS: ClassVar = {"tiny": 2000, "quick": 60_000, "full": 200_000}
    ROUNDS = 3

    async def run(self, task: Task) -> dict[str, float]:
        events, path = task.count("events"), task.folder / "store"
        await write(path, events, **MANUAL)
        async with EventStore.open(path, REGISTRY, **MANUAL) as store:

            async def read() -> int:
                return sum(1 for _ in read_events(path, REGISTRY))

            async def iterate() -> int:
                return await _counted(store.events(), events)

            async def follow() -> int:
                async with store.subscribe(start=1) as subscription:
                    return await _counted(subscription, events)

            ways: dict[str, Callable[[], Awaitable[int]]] = {
                "read_events": read,
                "events": iterate,
                "subscribe": follow,
            }
            found = dict.fromkeys(ways, float("inf"))
            for _ in range(self.ROUNDS):
                for name, way in ways.items():
                    gc.collect()
                    began = time.perf_counter()
                    count = await way()
                    found[name] = min(found[name], (time.perf_counter() - began) / events)
                    if count != events:
                        raise RuntimeError(f"{count} events were read, of {events}")
        return found


async def _counted(events: AsyncIterator[Any], most: int) -> int:
    count = 0
    async for _ in events:
        count += 1
        if count == most:
            break
    return count
