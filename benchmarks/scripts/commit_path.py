"""The cost of a commit above the disk's own `fdatasync`: python benchmarks/scripts/commit_path.py

Every round runs every case once, one after the other, so that a slow minute of the machine slows
all cases. A case's figure is the median over the rounds. The ratio is the median of the ratios
within a round. Figures depend on the disk and the processor. Ratios carry over better.

The cases:

* *bare*: one write and one `fdatasync` of a small record into a zero-filled file, in a plain loop
  without thread or event loop: the price of the disk.
* *EventLog*, *EventStore*: one `append` after the other, each awaited.
* *EventStore by aiofiles*: the same, but the writer's work goes through `aiofiles.os.wrap` (which
  is `loop.run_in_executor`) instead of a thread of its own (see docs/decisions.md).
* *64 awaiters*: as many tasks, each awaiting its own appends: group commit.
* *groups*: one `append` of so many operations after the other: one record each.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiofiles.os

from eventstore import EventLog, EventStore
from eventstore.log import commit
from eventstore.log.runner import Job, _run_job
from eventstore.log.writer import LogWriter
from handlers import UpdatePosition, trading_registry

RECORD = bytes(120)  # about the size of one update_position, header included
SEGMENT = 8 << 20

Case = Callable[[Path, int], float]  # a fresh directory and a count to seconds per event


def bare(folder: Path, count: int) -> float:
    """The median of a write and `fdatasync`, seconds."""
    fd = os.open(folder / "bare", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.pwrite(fd, bytes(SEGMENT), 0)
        os.fsync(fd)
        times = []
        for number in range(count):
            began = time.perf_counter()
            os.pwrite(fd, RECORD, 512 + number * len(RECORD))
            os.fdatasync(fd)
            times.append(time.perf_counter() - began)
    finally:
        os.close(fd)
    return statistics.median(times)


def position(number: int) -> UpdatePosition:
    return UpdatePosition(symbol="AAPL", shares=float(number), price=150.0)


async def one_by_one(append: Callable[[Any], Awaitable[Any]], values: list[Any]) -> float:
    """The median of an awaited append, seconds."""
    times = []
    for value in values:
        began = time.perf_counter()
        await append(value)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def settle(store: Any, value: Any) -> None:
    """Wait for the first segment and the spare, which are not measured."""
    await store.append(value)
    while not store.stats().spare_ready:  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.001)


async def lone_log(folder: Path, count: int) -> float:
    async with EventLog.open(folder) as log:
        await settle(log, b"")
        return await one_by_one(log.append, [RECORD[:80]] * count)


def store_at(folder: Path) -> Any:
    return EventStore.open(
        folder, trading_registry(), wal_max_entries=None, auto_save_interval=None
    )


async def lone_store(folder: Path, count: int) -> float:
    async with store_at(folder) as store:
        await settle(store, position(0))
        return await one_by_one(store.append, [position(number) for number in range(count)])


class AiofilesRunner:
    """The rejected alternative: every job is a call of its own to `loop.run_in_executor`."""

    def __init__(
        self,
        writer: LogWriter,
        release: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._writer, self._release, self._loop = writer, release, loop
        self._executor = ThreadPoolExecutor(1)
        self._perform = aiofiles.os.wrap(_run_job)
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, job: Job) -> None:
        task = self._loop.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job) -> None:
        error = await self._perform(self._writer, job, executor=self._executor)
        if job.action == self._writer.close:
            self.stop()
        job.finished(job, error)

    def stop(self) -> None:
        self._release()
        self._executor.shutdown(wait=False)


async def lone_store_by_aiofiles(folder: Path, count: int) -> float:
    with patch.object(commit, "ThreadRunner", AiofilesRunner):  # where the runner is chosen
        return await lone_store(folder, count)


async def awaiters(folder: Path, count: int, tasks: int = 64) -> float:
    async with store_at(folder) as store:
        await settle(store, position(0))

        async def one() -> None:
            for number in range(count):
                await store.append(position(number))

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(tasks)))
        return (time.perf_counter() - began) / (count * tasks)


def groups_of(size: int) -> Callable[[Path, int], Awaitable[float]]:
    async def groups(folder: Path, count: int) -> float:
        operations = [position(number) for number in range(size)]
        async with store_at(folder) as store:
            await settle(store, position(0))
            began = time.perf_counter()
            for _ in range(max(1, 20 * count // size)):
                await store.append(*operations)
            return (time.perf_counter() - began) / (max(1, 20 * count // size) * size)

    return groups


CASES: dict[str, Callable[[Path, int], Awaitable[float]]] = {
    "EventLog, one by one": lone_log,
    "EventStore, one by one": lone_store,
    "EventStore by aiofiles, one by one": lone_store_by_aiofiles,
    "EventStore, 64 awaiters": awaiters,
    "EventStore, groups of 100": groups_of(100),
    "EventStore, groups of 1000": groups_of(1000),
}


def on_loop(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    case: Callable[[Path, int], Awaitable[float]],
) -> Case:
    def run(folder: Path, count: int) -> float:
        async def main() -> float:
            return await case(folder, count)

        with asyncio.Runner(loop_factory=make_loop) as loop:
            return loop.run(main())

    return run


def measure(cases: dict[str, Case], where: Path, rounds: int, count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            with tempfile.TemporaryDirectory(dir=where, prefix=".commit-path-") as folder:
                gc.collect()
                seconds = case(Path(folder), count)
            if number:  # the first round only warms up
                found[name].append(seconds)
        print(f"\rround {number} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--where", type=Path, default=Path(), help="a directory on the disk meant")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=500, help="appends per case and round")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds: the spread between rounds takes two of them at least")

    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    cases: dict[str, Case] = {"bare write and fdatasync": bare}
    for loop, make in loops.items():
        for name, case in CASES.items():
            cases[f"{name} ({loop})"] = on_loop(make, case)
    found = measure(cases, options.where.resolve(), options.rounds, options.count)

    base = found["bare write and fdatasync"]
    print(f"{'case':48}{'µs per event':>14}{'events/s':>12}{'to bare':>10}")
    for name, seconds in found.items():
        median = statistics.median(seconds)
        ratio = statistics.median(one / other for one, other in zip(seconds, base, strict=True))
        print(f"{name:48}{median * 1e6:>14.1f}{1 / median:>12,.0f}{ratio:>10.2f}")
    for loop in loops:
        own = found[f"EventStore, one by one ({loop})"]
        other = found[f"EventStore by aiofiles, one by one ({loop})"]
        ratios = [slow / fast for slow, fast in zip(other, own, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        spread = f"half the rounds: {low:.2f} to {high:.2f}"
        print(f"aiofiles to own thread, {loop}: {middle:.2f} ({spread})")


if __name__ == "__main__":
    main()
