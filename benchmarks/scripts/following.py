"""How far a follower is behind the writer: `python -m benchmarks.scripts.following [FOLDER]`.

One process appends events at a steady pace. Another process follows, by `follow_sync` or by
`follow`. Both note a monotonic clock that all processes share. The delay of an event is the time
from the end of its `append` to the event in the other process.

Beside the delays stand the round trip of a byte over a Unix socket between two processes, in the
same round, and the share of a core that an idle follower takes. Figures depend on the machine and
its load, and the ratio of delay and round trip carries over better.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from eventstore import EventStore, follow, follow_sync
from handlers import UpdatePosition, trading_registry

__all__ = ["Followed", "main", "measure", "round_trips"]

EVENTS = 1000
PAUSE = 0.002
"""Seconds between two appends."""
IDLE = 3.0
"""Seconds without an event."""
ROUNDS = 3


class Followed(NamedTuple):
    """Delays of one follower in seconds, and the share of a core while there was nothing to do."""

    delays: list[float]
    idle: float


async def measure(way: str, store_path: Path, events: int, idle: float) -> Followed:
    """Append in this process, and let a child follow."""
    async with EventStore.open(store_path, trading_registry()) as store:
        arguments = ["-m", __spec__.name, way, str(store_path), str(events), str(idle)]
        child = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        await child.stdout.readline()
        acknowledged = []
        for number in range(events):
            await store.append(UpdatePosition(symbol="AAPL", shares=number, price=150))
            acknowledged.append(time.monotonic())
            await asyncio.sleep(PAUSE)  # the rate of events is part of what is measured
        times, worked = json.loads(await child.stdout.read())
        await child.wait()
    delays = [seen - known for seen, known in zip(times, acknowledged, strict=True)]
    return Followed(delays, worked)


def listen(way: str, store: str, events: int, idle: float) -> None:
    """Follow in the child: tell the times of the events, and the work in the idle time behind."""
    if way == "sync":
        with follow_sync(store, trading_registry()) as followed:
            print("ready", flush=True)
            times = [(next(followed), time.monotonic())[1] for _ in range(events)]
            began, work = time.monotonic(), time.process_time()
            followed.wait(idle)
            print(json.dumps([times, share_of_a_core(began, work)]))
    else:
        asyncio.run(listen_on_a_loop(store, events, idle))


async def listen_on_a_loop(store: str, events: int, idle: float) -> None:
    async with follow(store, trading_registry()) as followed:
        print("ready", flush=True)
        times = []
        for _ in range(events):
            await anext(followed)
            times.append(time.monotonic())
        began, work = time.monotonic(), time.process_time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(anext(followed), idle)
        print(json.dumps([times, share_of_a_core(began, work)]))


def share_of_a_core(began: float, work: float) -> float:
    return (time.process_time() - work) / (time.monotonic() - began)


def round_trips(folder: Path, number: int) -> list[float]:
    """Measure round trips of a byte to another process over a Unix socket, in seconds."""
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        child = subprocess.Popen([sys.executable, "-m", __spec__.name, "echo", str(path)])
        connection, _ = listener.accept()
        times = []
        with connection:
            for _ in range(number):
                began = time.monotonic()
                connection.send(b"x")
                connection.recv(1)
                times.append(time.monotonic() - began)
                time.sleep(PAUSE)
        child.wait()
    return times


def echo(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        while byte := connection.recv(1):
            connection.send(byte)


def main(folder: str | None = None, *, events: int = EVENTS, idle: float = IDLE) -> None:
    """Print the figures of each round, and the ratio of delay and round trip."""
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=folder) as here:
            trip = statistics.median(round_trips(Path(here), events))
            print(f"unix socket  round trip  p50 {trip * 1e6:5.0f} us")
            for way in ("sync", "async"):
                found = asyncio.run(measure(way, Path(here) / way, events, idle))
                middle = statistics.median(found.delays)
                late = sorted(found.delays)[int(0.99 * events)]
                print(
                    f"{way:11}  delay       p50 {middle * 1e6:5.0f} us  p99 {late * 1e6:6.0f} us  "
                    f"{middle / trip:4.1f} round trips  idle {found.idle:.2%} of a core"
                )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", path]:
            echo(path)
        case ["sync" | "async" as way, store, events, idle]:
            listen(way, store, int(events), float(idle))
        case [folder]:
            main(folder)
        case _:
            main()
