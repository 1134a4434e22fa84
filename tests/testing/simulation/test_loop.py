"""The world inside of a simulation: usable parts, and refused ones."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from eventstore import EventStore
from eventstore.testing.simulation import NotSimulatedError, VenueClient
from eventstore.testing.simulation.world import EPOCH
from tests.testing.simulation.bots import Book, Noted, kinds, run

REAL_START = threading.Thread.start


def lived(life: Callable[[], Awaitable[object]]) -> list[str]:
    """Run a bot with this life only. Returns the kinds of the findings."""

    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        await life()

    return kinds(run(bot))


def elapsed() -> float:
    return asyncio.get_running_loop().time()


def test_sleeping_takes_virtual_time() -> None:
    seen = []

    async def life() -> None:
        began = elapsed()
        await asyncio.sleep(3)
        seen.append(elapsed() - began)

    began = time.monotonic()
    assert lived(life) == []
    assert seen == [3.0]
    assert time.monotonic() - began < 2


def test_timeouts_queues_and_task_groups() -> None:
    seen: list[object] = []

    async def life() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for number in range(3):
                await queue.put(number)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            seen.extend([await queue.get() for _ in range(3)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(5), 2)
        asyncio.get_running_loop().call_later(1, seen.append, "later")
        await asyncio.sleep(1.5)
        seen.append(elapsed())

    assert lived(life) == []
    assert seen == [0, 1, 2, "later", 5.5]


def test_threads_are_run_in_turn() -> None:
    seen: list[object] = []

    def work(name: str) -> str:
        seen.append((name, threading.current_thread() is threading.main_thread()))
        time.sleep(2)
        return name

    async def life() -> None:
        seen.append(
            await asyncio.gather(asyncio.to_thread(work, "a"), asyncio.to_thread(work, "b"))
        )
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.to_thread(next, iter(()))
        seen.append(elapsed())

    assert lived(life) == []
    assert seen == [("a", True), ("b", True), ["a", "b"], 4.0]


def test_waiting_by_turns_of_the_loop_takes_time() -> None:
    async def life() -> None:
        woken = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(2, woken.set_result, None)
        while not woken.done():  # noqa: ASYNC110  as people write it
            await asyncio.sleep(0)

    assert lived(life) == []


def test_the_clock_is_the_loops() -> None:
    seen = []

    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        await asyncio.sleep(2)
        receipt = await store.append(Noted())
        seen.append((receipt.time, venue.clock.time_ns(), venue.clock.now().isoformat()))

    run(bot)
    moment = EPOCH + 2 * 10**9
    assert seen == [(moment, moment, "2026-01-01T00:00:02+00:00")]


def test_the_module_random_is_seeded_and_left_as_it_was() -> None:
    drawn = []

    async def life() -> None:
        drawn.append(random.random())

    random.seed(5)
    before = random.getstate()
    lived(life)
    lived(life)
    assert drawn[0] == drawn[1]
    assert random.getstate() == before


async def connect() -> None:
    await asyncio.open_connection("venue.example", 443)


async def serve() -> None:
    await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 8080)


async def connect_blocking() -> None:
    with socket.socket() as plain:
        plain.connect(("venue.example", 443))


async def resolve() -> None:
    socket.getaddrinfo("venue.example", 443)


async def start_process() -> None:
    await asyncio.create_subprocess_exec("true")


async def start_process_blocking() -> None:
    subprocess.run(["true"], check=False)  # noqa: ASYNC221  it is refused


async def call_from_thread() -> None:
    loop, failed = asyncio.get_running_loop(), []

    def work() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except NotSimulatedError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="market-data")
    REAL_START(thread)  # a thread from before the simulation
    thread.join()
    raise failed[0]


async def start_thread() -> None:
    threading.Thread(target=print, name="market-data").start()


async def start_pool() -> None:
    with ThreadPoolExecutor(thread_name_prefix="pool") as pool:
        pool.submit(print)


async def run_in_a_shell() -> None:
    os.system("true")  # noqa: ASYNC221  it is refused


async def fork() -> None:
    os.fork()


async def start_worker() -> None:
    multiprocessing.get_context("spawn").Process(target=print).start()


@pytest.mark.parametrize(
    ("reach", "named"),
    [
        (start_thread, "a thread.*market-data.*to_thread"),
        (start_pool, "a thread.*pool"),
        (run_in_a_shell, "a subprocess.*system, true"),
        (fork, "a subprocess.*fork"),
        (start_worker, "a subprocess.*start"),
        (connect, "a socket.*venue.example, 443"),
        (serve, "a listening socket.*127.0.0.1, 8080"),
        (connect_blocking, "a socket.*venue.example"),
        (resolve, "name resolution.*venue.example"),
        (start_process, "a subprocess"),
        (start_process_blocking, "a subprocess"),
        (call_from_thread, "market-data"),
    ],
)
def test_the_real_world_is_refused_and_named(
    reach: Callable[[], Awaitable[None]], named: str
) -> None:
    async def life() -> None:
        with pytest.raises(NotSimulatedError, match=named):
            await reach()

    assert lived(life) == ["real world"], "a bot may swallow the error, and the report has it"


def test_outside_of_a_simulation_nothing_is_refused() -> None:
    async def life() -> None:
        pass

    before = time.sleep, socket.socket.connect, socket.getaddrinfo, subprocess.Popen.__init__
    lived(life)
    after = time.sleep, socket.socket.connect, socket.getaddrinfo, subprocess.Popen.__init__
    assert after == before


def test_signal_handlers_are_accepted() -> None:
    async def life() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        assert not loop.remove_signal_handler(signal.SIGTERM)

    assert lived(life) == []
