"""Appends with and without replication, beside a bare publish to the same kind of stream.

`python -m benchmarks.scripts.replication` starts three servers on loopback. The rounds of all kinds
alternate in one run, so that the ratios hold on a busy machine too.

The servers share the processors with the engine. So the processor time of the commit path is shown,
too: that of the engine's loop and of the writers' threads, for each lone append.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats

from eventstore import EventStore
from tests.replication.cluster import Cluster
from tests.support.bank import bank_registry, pay

ROUNDS, LONE, AWAITERS, EACH = 8, 60, 64, 10
KINDS = ("none", "local", "quorum", "bare publish")

Appending = Callable[[], Awaitable[Any]]


def _commit_path() -> float:
    """Return the processor time of this thread and of the writers' threads, in seconds."""
    found = time.thread_time()
    for thread in threading.enumerate():
        if thread.name == "eventstore-writer" and thread.ident is not None:
            found += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return found


async def _lone(append: Appending) -> tuple[list[float], float]:
    """Return the time of each append, and the processor time of the commit path for one."""
    times, before = [], _commit_path()
    for _ in range(LONE):
        began = time.perf_counter()
        await append()
        times.append(time.perf_counter() - began)
    return times, (_commit_path() - before) / LONE


async def _together(append: Appending) -> float:
    async def one() -> None:
        for _ in range(EACH):
            await append()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(AWAITERS)))
    return AWAITERS * EACH / (time.perf_counter() - began)


async def _measure(cluster: Cluster, folder: Path) -> None:
    stores = {}
    for kind in KINDS[:3]:
        replicate = {"servers": cluster.urls, "stream": kind, "acknowledge": kind}
        options: dict[str, Any] = {} if kind == "none" else {"replicate": replicate}
        stores[kind] = await EventStore.open(folder / kind, bank_registry(), **options)
    client = await nats.connect(cluster.urls)
    stream = client.jetstream()
    await stream.add_stream(name="bare", subjects=["bare"], num_replicas=3)

    def appending(kind: str) -> Appending:
        if kind == "bare publish":
            return lambda: stream.publish("bare", bytes(120))
        return lambda: stores[kind].append(pay(1))

    lone: dict[str, list[float]] = {kind: [] for kind in KINDS}
    together: dict[str, list[float]] = {kind: [] for kind in KINDS}
    processor: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind in KINDS:
            times, spent = await _lone(appending(kind))
            lone[kind] += times
            processor[kind].append(spent)
            together[kind].append(await _together(appending(kind)))
    print(f"{'':14}{'p50':>10}{'p99':>10}{'64 awaiters':>16}{'commit path':>14}")
    for kind in KINDS:
        times = sorted(lone[kind])
        middle, last = statistics.median(times), times[int(len(times) * 0.99)]
        rate = statistics.median(together[kind])
        median_us = statistics.median(processor[kind]) * 1e6
        print(
            f"{kind:14}{middle * 1e3:8.2f}ms{last * 1e3:8.2f}ms{rate:12,.0f} /s{median_us:11.0f} us"
        )
    bare, quorum = (statistics.median(lone[kind]) for kind in ("bare publish", "quorum"))
    none, local = (statistics.median(lone[kind]) for kind in ("none", "local"))
    print(f"quorum against a bare publish: {quorum / bare:.2f}")
    print(f"local against none: {local / none:.2f}")
    for store in stores.values():
        await store.close()
    await client.close()


def main() -> None:
    """Measure, and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            asyncio.run(_measure(cluster, Path(folder)))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
