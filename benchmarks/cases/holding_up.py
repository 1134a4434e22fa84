"""Case 8: how long the event loop is held up.

Every millisecond, one task notes the delay between the planned and the actual wake-up. Meanwhile
another task appends 10,000 events a second, ten each millisecond. Snapshots of a state of 100,000
positions are taken one after the other. Just before, the same loop is measured idle, with the
note-taker alone. The idle figures show the delays of timers and machine.

The peers are used as one would use them. They fold with the same handlers, append each ten as a
group, and encode a snapshot in one call (`aiosqlite` in another thread), for want of another way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from benchmarks.cases.appending import percentiles
from benchmarks.cases.base import Case, Cell, History, Profile, Task
from benchmarks.contenders import Contender
from benchmarks.peers.base import Peer
from benchmarks.workload import FUNCTIONS, payloads
from eventstore import Event, Operation
from handlers import EngineState

__all__ = ["HoldUp"]

TICK = 0.001
WARM_UP = 0.05


async def lags(seconds: float) -> list[float]:
    """Return the delay of each millisecond's wake-up."""
    loop = asyncio.get_running_loop()
    found = []
    end = loop.time() + seconds
    while (now := loop.time()) < end:
        wanted = now + TICK
        await asyncio.sleep(TICK)
        found.append(max(0.0, loop.time() - wanted))
    return found


class HoldUp(Case):
    """The loop, while there is work."""

    name = "hold-up"
    title = "8. How long the loop is held up by 10,000 events a second and a snapshot"
    headline = "more than idle, p99.9"
    figures: ClassVar = {
        "idle p99.9": "ms",
        "p50": "ms",
        "p99.9": "ms",
        "longest": "ms",
        "more than idle, p99.9": "ms",
        "snapshots": "",
        "rate": "/s",
    }

    POSITIONS: ClassVar = {"tiny": 100, "quick": 100_000, "full": 100_000}
    SECONDS: ClassVar = {"tiny": 0.05, "quick": 1.0, "full": 4.0}
    MEASURED = ("EventStore", "EventStore (uvloop)", "aiosqlite", "aiosqlite (uvloop)", "sqlite3")

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for contender in self.only(contenders, self.MEASURED):
            size = self.POSITIONS[profile]
            history = History(0, positions=size, tail=0)
            options = {"rate": 10_000, "seconds": self.SECONDS[profile]}
            yield Cell(self.name, f"{size:,} positions", contender.name, options, history)

    async def run(self, task: Task) -> dict[str, float]:
        peer = task.adapter(task.folder)
        await peer.open()
        try:
            seconds = float(task.options["seconds"])
            work = _Work(peer, await peer.recover(), task.count("rate"), seconds + WARM_UP)
            await work.append(WARM_UP)
            await peer.settle()
            idle = percentiles(await lags(seconds / 2))
            appended = asyncio.create_task(work.append(seconds))
            snapshots = asyncio.create_task(work.snapshots(seconds))
            found = await lags(seconds)
            events, taken = await appended, await snapshots
        finally:
            await peer.close()
        busy = percentiles(found)
        return {
            "idle p99.9": idle["p99.9"],
            "p50": busy["p50"],
            "p99.9": busy["p99.9"],
            "longest": max(found),
            "more than idle, p99.9": busy["p99.9"] - idle["p99.9"],
            "snapshots": float(taken),
            "rate": events / seconds,
        }


class _Work:
    """The work of a trading engine: folding, appending, taking snapshots."""

    def __init__(self, peer: Peer, state: EngineState, rate: int, seconds: float) -> None:
        self._peer = peer
        self._state = state
        self._each = int(rate * TICK)
        self._operations = payloads(int(rate * seconds) + 3 * self._each)
        self._events = 0
        self._pending: set[asyncio.Task[None]] = set()

    def _next(self) -> list[Operation]:
        group = self._operations[self._events : self._events + self._each]
        self._events += len(group)
        if not self._peer.folds:
            for payload in group:
                event: Event[Any] = Event(self._events, 0, payload)
                self._state = FUNCTIONS[type(payload)](self._state, event)
        return group

    async def append(self, seconds: float) -> int:
        """Append ten events each millisecond, and make up for late ones. Returns the number of
        events.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        before = self._events
        while (gone := loop.time() - began) < seconds:
            due = int(gone / TICK + 1) * self._each
            while self._events - before < due:
                if self._peer.asynchronous:
                    task = asyncio.ensure_future(self._peer.append(self._next()))
                    self._pending.add(task)
                    task.add_done_callback(self._pending.discard)
                else:
                    await self._peer.append(self._next())
                    if loop.time() - began > seconds:
                        break
            await asyncio.sleep(TICK)
        await asyncio.gather(*self._pending)
        return self._events - before

    async def snapshots(self, seconds: float) -> int:
        """Take one snapshot after the other. Returns the number of snapshots."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        taken = 0
        while loop.time() < end:
            await self._peer.save_snapshot(self._peer.seq, self._state)
            taken += 1
            await asyncio.sleep(TICK)
        return taken
