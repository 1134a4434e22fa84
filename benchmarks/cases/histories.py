"""The histories that cases read.

The contender's own adapter writes each history, in groups of the requested size. Peers keep a row
for each event, for any size of group. For this store the group is the record. A history that has to
survive a crash is written durably. The others need not be, because only reading is measured.

During the writing, the resident memory of the process is noted ten times, for the memory case.
"""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

from benchmarks.cases.base import History
from benchmarks.peers.base import Peer
from benchmarks.workload import EMPTY, events, fold, payloads, positions

__all__ = [
    "archived_events",
    "build",
    "check_folded",
    "resident",
    "resident_trimmed",
    "trades_among",
]

SAMPLES = 10


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except FileNotFoundError:  # no Linux: the maximum so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident_trimmed() -> int:
    """Return the same after the allocator gave back its reserves (where it can be asked to)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return resident()


def trades_among(events: int, size: int = 0) -> int:
    """How many of the first `events` payloads are trades."""
    return events if size else events - events // 4


def check_folded(trade_count: int, events: int, size: int = 0) -> None:
    """Raise where a contender did not fold its events. Such a contender is fast for nothing."""
    if trade_count != trades_among(events, size):
        raise RuntimeError(f"{trade_count} trades were folded from {events} events")


async def build(adapter: type[Peer], folder: Path, history: History) -> dict[str, float]:
    """Write a history into `folder`. Returns the memory during the writing.

    The peer is left open where the history ends in a crash, because the caller ends the process.
    """
    peer = adapter.for_history(
        folder,
        durable=history.crash or history.group >= 1000,
        segment_size=history.segment_size,
    )
    await peer.open()
    before = resident()
    samples: list[int] = []
    state = EMPTY
    held = positions(history.positions)
    for first in range(0, history.positions, 1000):
        group = held[first : first + 1000]
        await peer.append(group)
        state = fold(state, events(group))
    snapshots = set() if history.tail is None else _snapshots(history)
    if history.tail == 0 == history.events:
        await peer.save_snapshot(history.positions, state)
    step = max(history.group, history.events // SAMPLES // history.group * history.group)
    for first in range(1, history.events + 1, history.group):
        count = min(history.group, history.events + 1 - first)
        group = payloads(count, first=first, symbols=history.symbols, size=history.size)
        await peer.append(group)
        if snapshots:
            state = fold(state, events(group, first))
        done = first + count - 1
        if done in snapshots:
            await peer.save_snapshot(history.positions + done, state)
        if done % step == 0:
            samples.append(resident())
    if history.segment_size is not None:
        await peer.save_snapshot(history.positions + history.events, state)
    if history.crash:
        LEFT_OPEN.append(peer)
    else:
        await peer.close()
    samples = samples or [resident()]
    trimmed = resident_trimmed()
    early, late = samples[min(1, len(samples) - 1)], samples[-1]
    return {
        "before": before,
        "early": early,
        "late": late,
        "growth": late - early,
        "trimmed": trimmed,
    }


LEFT_OPEN: list[Peer] = []
"""Peers whose process is to end without closing."""


def _snapshots(history: History) -> set[int]:
    """Return the events to take a snapshot after: now and then, and `tail` before the end."""
    last = history.events - (history.tail or 0)
    every = max(history.group, history.every)
    return {*range(every, last, every), last} - {0}


def archived_events(folder: Path) -> int:
    """Return the number of the last event in this store's archive."""
    return min(int(path.stem) for path in (folder / "store" / "log").glob("*.log")) - 1
