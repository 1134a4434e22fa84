"""Cases 6 and 7: reading history, decoded only and folded by the same handlers.

For this store the size of the records matters, since a record is checked and decoded as one. Peers
have a row or a key for each event, and are measured once. All files are in the page cache, because
the files were just written.

Each measurement has a process of its own, like a backtest. So earlier work of a worker is no part
of the measurement.

The same run does both, decoding first, after a hundred events that are not counted. The folded
state is checked against the recorded events, and garbage is collected beforehand.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from benchmarks.cases.base import Case, Cell, History, Options, Profile, Task
from benchmarks.cases.histories import archived_events, check_folded
from benchmarks.contenders import Contender

__all__ = ["READERS", "Replay", "StateAt", "read_through"]

READERS = (
    "sqlite3",
    "APSW",
    "aiosqlite",
    "LMDB",
    "RocksDB",
    "eventsourcing",
    "eventsourcing msgspec",
    "py-event-sourcing",
    "eventsource-py",
    "Redis",
)
"""Peers whose history is read."""
WARM_UP = 100


async def read_through(task: Task, upto: int | None = None) -> dict[str, float]:
    """Decode a history, then fold the history. Returns seconds per event for both."""
    history = task.history
    assert history is not None
    events = history.events + history.positions
    if upto is not None:
        events = upto
    peer = task.adapter(task.folder)
    await peer.open_for_reading()
    try:
        await peer.decode(1, min(events, WARM_UP))
        gc.collect()
        began = time.perf_counter()
        found = await peer.decode(1, upto)
        decoded = time.perf_counter() - began
        gc.collect()
        began = time.perf_counter()
        state = await peer.fold(last=upto)
        folded = time.perf_counter() - began
    finally:
        await peer.close()
    if found != events:
        raise RuntimeError(f"{found} events were decoded, of {events}")
    check_folded(state.trade_count, events - history.positions, history.size)
    return {"decode": decoded / events, "fold": folded / events}


class Replay(Case):
    """Reading all of history, in records of different sizes."""

    name = "replay"
    title = "6. Replay: decoded only, and folded by the same handlers"
    headline = "decode"
    figures: ClassVar = {"decode": "ns", "fold": "ns"}

    EVENTS: ClassVar = {"tiny": 5000, "quick": 30_000, "full": 200_000}
    SEGMENT: ClassVar = {"tiny": 1 << 18, "quick": 1 << 20, "full": 8 << 20}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        events = self.EVENTS[profile]
        for contender in self.only(contenders, ["EventStore"]):
            for group in (1, 8, 64, 1000):
                # Where each record is an awaited commit, a part of the events is enough.
                count = max(1000, events // 3) if group == 1 else events
                history = History(count, group=group)
                label = f"records of {group}"
                yield Cell(self.name, label, contender.name, {}, history, fresh=True)
            history = History(events, segment_size=self.SEGMENT[profile])
            options: Options = {"archive": 1}
            yield Cell(self.name, "archive", contender.name, options, history, fresh=True)
        for contender in self.only(contenders, READERS):
            count = max(1000, events // 5) if contender.slow else events
            history = History(count)
            yield Cell(self.name, "one row each", contender.name, {}, history, fresh=True)

    async def run(self, task: Task) -> dict[str, float]:
        upto = archived_events(task.folder) if task.options.get("archive") else None
        return await read_through(task, upto)


class StateAt(Case):
    """The state in the middle of a long history."""

    name = "state_at"
    title = "7. The state in the middle of a history"
    headline = "whole"
    figures: ClassVar = {"whole": "ms", "per event": "ns"}

    EVENTS: ClassVar = {"tiny": 2000, "quick": 60_000, "full": 1_000_000}
    FAST = ("EventStore", "sqlite3", "LMDB", "RocksDB")

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        events = self.EVENTS[profile]
        for contender in self.only(contenders, self.FAST):
            history = History(events)
            label = f"of {events:,}"
            yield Cell(self.name, label, contender.name, {}, history, fresh=True)

    async def run(self, task: Task) -> dict[str, float]:
        assert task.history is not None
        middle = task.history.events // 2
        peer = task.adapter(task.folder)
        await peer.open_for_reading()
        try:
            gc.collect()
            began = time.perf_counter()
            state = await peer.state_at(middle)
            seconds = time.perf_counter() - began
        finally:
            await peer.close()
        check_folded(state.trade_count, middle)
        return {"whole": seconds, "per event": seconds / middle}
