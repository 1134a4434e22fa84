"""Appends with and without replication, beside a bare publish to the same kind of stream.

`python -m benchmarks.scripts.replication` starts three servers on loopback. The rounds of all kinds
alternate in one run, so that the ratios hold on a busy machine too. A ratio is the median of the
rounds' ratios, with the quarter below and above.

The bare publish sends the messages of the store of `quorum` once more: the same subject but for the
stream, the same headers with the expected sequence number, the same bytes. All clients are
connected to one server, and that server leads each stream. Else chance would decide who has a hop
more.

The servers share the processors with the engine. So the processor time of the commit path is shown,
too: that of the engine's loop and of the writers' threads, for each lone append.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from eventstore import EventStore
from eventstore.replication.messages import record_subject
from tests.replication.cluster import Cluster
from tests.support.bank import bank_registry, pay

ROUNDS, LONE, AWAITERS, EACH = 12, 60, 64, 10
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


async def _lead(client: Client, stream: str, server: str) -> None:
    """Have a server lead a stream."""
    subject = f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}"
    wish = json.dumps({"placement": {"preferred": server}}).encode()
    while True:
        with contextlib.suppress(nats.errors.Error):  # while the servers elect
            info = await client.jetstream().stream_info(stream)
            if info.cluster is not None and info.cluster.leader == server:
                return
            await client.request(subject, wish, timeout=5)
        await asyncio.sleep(0.2)  # an election tells nobody of its end


async def _bare_publish(client: Client, like: str) -> Appending:
    """Return what publishes the last message of the stream `like`, each time to the next number."""
    stream = client.jetstream(timeout=30)
    subject = record_subject("bare")
    await stream.add_stream(name="bare", subjects=[subject], num_replicas=3)
    sample = await stream.get_last_msg(like, record_subject(like))
    headers = {**(sample.headers or {}), "Nats-Expected-Stream": "bare"}
    numbers = itertools.count()

    async def publish() -> None:
        headers["Nats-Expected-Last-Sequence"] = str(next(numbers))
        await stream.publish(subject, sample.data or b"", headers=headers)

    return publish


async def _measure(cluster: Cluster, folder: Path) -> None:
    stores = {}
    near = cluster.nodes[0]
    for kind in KINDS[:3]:
        replicate = {"servers": [near.url], "stream": kind, "acknowledge": kind}
        options: dict[str, Any] = {} if kind == "none" else {"replicate": replicate}
        stores[kind] = await EventStore.open(folder / kind, bank_registry(), **options)
        await stores[kind].append(pay(1))
    client = await nats.connect([near.url])
    bare = await _bare_publish(client, "quorum")
    for stream in ("local", "quorum", "bare"):
        await _lead(client, stream, near.name)

    def appending(kind: str) -> Appending:
        return bare if kind == "bare publish" else lambda: stores[kind].append(pay(1))

    lone: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    together: dict[str, list[float]] = {kind: [] for kind in KINDS}
    processor: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for round_number in range(ROUNDS + 1):
        for kind in KINDS if round_number % 2 else reversed(KINDS):
            times, spent = await _lone(appending(kind))
            rate = await _together(appending(kind))
            if round_number:  # the first one warms up
                lone[kind].append(times)
                processor[kind].append(spent)
                together[kind].append(rate)
    _show(lone, together, processor)
    for store in stores.values():
        await store.close()
    await client.close()


def _show(
    lone: dict[str, list[list[float]]],
    together: dict[str, list[float]],
    processor: dict[str, list[float]],
) -> None:
    print(f"{'':14}{'p50':>10}{'p99':>10}{'64 awaiters':>16}{'commit path':>14}")
    for kind in KINDS:
        times = sorted(itertools.chain(*lone[kind]))
        middle, last = statistics.median(times), times[int(len(times) * 0.99)]
        rate = statistics.median(together[kind])
        median_us = statistics.median(processor[kind]) * 1e6
        print(
            f"{kind:14}{middle * 1e3:8.2f}ms{last * 1e3:8.2f}ms{rate:12,.0f} /s{median_us:11.0f} us"
        )
    for one, other in (("quorum", "bare publish"), ("local", "none")):
        pairs = zip(lone[one], lone[other], strict=True)
        ratios = [statistics.median(times) / statistics.median(others) for times, others in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{one} against {other}: {middle:.2f} at p50 ({low:.2f} to {high:.2f})")


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
