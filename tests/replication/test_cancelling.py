"""Coroutines of replication, cancelled at their await points: the machine stays usable.

The awaits are those of the client library as well, against one real server. Their number follows
what has arrived when, so a run without a cancellation counts them first. A few of them, evenly
spread, are cut. `EVENTSTORE_EVERY_AWAIT=1` cuts every one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, StoreConfig
from eventstore.errors import StoreClosedError
from eventstore.open_store import parts
from eventstore.replication import Standby, rejoin, stream_status, trim
from eventstore.replication.standby_progress import StandbyPlaces
from tests.replication.cluster import Cluster
from tests.replication.test_shipping import opened
from tests.replication.test_standby import followed
from tests.shutdown.awaits import WAYS, CancelledAt
from tests.support.bank import Bank, bank_registry, pay

pytestmark = pytest.mark.asyncio

EVERY = os.environ.get("EVENTSTORE_EVERY_AWAIT") == "1"
CUTS = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("nats"), size=1)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Machine:
    """A machine that follows a stream, is promoted, and appends, again and again.

    `acknowledged` is the number of the last acknowledged event. `apart` is the directory of a
    machine that has event 1 in common with the stream, and went on without it.
    """

    def __init__(self, path: Path, replicate: dict[str, Any]) -> None:
        self.path = path
        self.apart = path.with_name("apart")
        self.replicate = replicate
        self.config = StoreConfig.of(None, replicate=replicate)
        self.acknowledged = 0

    async def append(self, store: EventStore[Bank]) -> None:
        self.acknowledged = (await store.append(pay(1))).seq

    async def prepare(self) -> None:
        """Begin the stream, and the two directories."""
        async with opened(self.apart, self.replicate) as old:
            await self.append(old)
        await self.check_usable()
        async with EventStore.open(self.apart, bank_registry()) as old:  # nothing replicates
            await old.append(pay(70), pay(70))

    async def following(self) -> Standby[Bank]:
        """Return a standby that has every acknowledged event."""
        standby: Standby[Bank] = await followed(self.path, self.replicate)
        await standby.wait_for(self.acknowledged)
        return standby

    async def writes(self, standby: Standby[Bank]) -> None:
        """Promote a standby, and append."""
        async with standby.promote() as store:
            await self.append(store)
            assert store.recovery.clean
            assert store.state.balances["a"] == store.seq

    async def check_usable(self) -> None:
        """Check that the machine follows at once, with all that is acknowledged, and can write."""
        await self.writes(await self.following())


@pytest.fixture
def machine(server: Cluster, tmp_path: Path) -> Machine:
    replicate = {"servers": server.urls, "stream": tmp_path.name, "replicas": 1, "lease": 1.0}
    return Machine(tmp_path / "store", replicate)


# ---- what is cancelled -----------------------------------------------------------------------

Cut = Coroutine[Any, Any, Any]
Scenario = Callable[[Machine], contextlib.AbstractAsyncContextManager[Cut]]
"""Makes ready, gives the coroutine that is cancelled, and looks at what is left."""


@contextlib.asynccontextmanager
async def writing(machine: Machine) -> AsyncIterator[Cut]:
    async def written() -> None:
        async with opened(machine.path, machine.replicate) as store:
            await machine.append(store)

    yield written()
    async with opened(machine.path, machine.replicate) as store:  # at once
        await machine.append(store)


@contextlib.asynccontextmanager
async def opening(machine: Machine) -> AsyncIterator[Cut]:
    yield _followed_and_closed(machine)


@contextlib.asynccontextmanager
async def opening_a_new_one(machine: Machine) -> AsyncIterator[Cut]:
    await asyncio.to_thread(shutil.rmtree, machine.path)
    yield _followed_and_closed(machine)


async def _followed_and_closed(machine: Machine) -> None:
    async with followed(machine.path, machine.replicate) as standby:
        await standby.wait_for(machine.acknowledged)


@contextlib.asynccontextmanager
async def waiting(machine: Machine) -> AsyncIterator[Cut]:
    await asyncio.to_thread(shutil.rmtree, machine.path)
    async with followed(machine.path, machine.replicate) as standby:
        yield standby.wait_for(machine.acknowledged)
        await standby.wait_for(machine.acknowledged)


@contextlib.asynccontextmanager
async def closing(machine: Machine) -> AsyncIterator[Cut]:
    standby = await machine.following()
    yield standby.close()
    await standby.close()


@contextlib.asynccontextmanager
async def promoting(machine: Machine) -> AsyncIterator[Cut]:
    standby = await machine.following()
    yield machine.writes(standby)
    await _promoted_or_following(machine, standby)


@contextlib.asynccontextmanager
async def promoting_when_free(machine: Machine) -> AsyncIterator[Cut]:
    standby = await machine.following()

    async def promoted() -> None:
        async with standby.promote_when_free() as store:
            await machine.append(store)

    yield promoted()
    await _promoted_or_following(machine, standby)


async def _promoted_or_following(machine: Machine, standby: Standby[Bank]) -> None:
    """Check that a standby was promoted and has ended, or can be promoted yet."""
    with contextlib.suppress(StoreClosedError):
        await machine.writes(standby)


@contextlib.asynccontextmanager
async def rejoining(machine: Machine) -> AsyncIterator[Cut]:
    await asyncio.to_thread(shutil.rmtree, machine.path)
    await asyncio.to_thread(shutil.copytree, machine.apart, machine.path)
    rejoined: list[Any] = []

    async def rejoins() -> None:
        rejoined.append(await rejoin(machine.path, machine.config))

    yield rejoins()
    if not rejoined:
        await rejoins()
    assert (rejoined[0].last_shared, len(rejoined[0].set_aside)) == (1, 2)


@contextlib.asynccontextmanager
async def trimming(machine: Machine) -> AsyncIterator[Cut]:
    yield trim(machine.path, machine.config)
    assert (await trim(machine.path, machine.config)).copied == machine.acknowledged


@contextlib.asynccontextmanager
async def looking(machine: Machine) -> AsyncIterator[Cut]:
    yield stream_status(machine.path, machine.config)
    assert (await stream_status(machine.path, machine.config)).level


SCENARIOS: dict[str, Scenario] = {
    "EventStore.open, replicated": writing,
    "Standby.open": opening,
    "Standby.open, a new directory": opening_a_new_one,
    "Standby.wait_for": waiting,
    "Standby.close": closing,
    "Standby.promote": promoting,
    "Standby.promote_when_free": promoting_when_free,
    "eventstore.replication.rejoin": rejoining,
    "eventstore.replication.stream_status": looking,
    "eventstore.replication.trim": trimming,
}


async def cut(machine: Machine, scenario: Scenario, number: int, way: str) -> CancelledAt:
    """Cancel a scenario at an await point, and check what is left."""
    async with scenario(machine) as coroutine:
        run = CancelledAt(coroutine, number, way)
        await run.to_its_end()
    await machine.check_usable()
    return run


async def check_nothing_runs_on(before: set[asyncio.Task[Any]]) -> None:
    """Check that no task of a cancelled coroutine is left."""
    async with asyncio.timeout(5):
        while left := [task for task in asyncio.all_tasks() - before if not ends_by_itself(task)]:
            await asyncio.wait(left)


def ends_by_itself(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task is one of the client library that looks for its end now and then."""
    return "activity_check" in repr(task.get_coro())


async def cut_at_some(machine: Machine, scenario: Scenario) -> None:
    """Cut a few await points, each in one of the ways."""
    points = (await cut(machine, scenario, 0, WAYS[0])).points
    for number in range(CUTS):
        at = 1 + number * (points - 1) // max(CUTS - 1, 1)
        await cut(machine, scenario, at, WAYS[number % len(WAYS)])


async def cut_at_each(machine: Machine, scenario: Scenario) -> None:
    for way in WAYS:
        number, reached = 0, True
        while reached:
            number += 1
            reached = (await cut(machine, scenario, number, way)).reached
        assert number > 1


@pytest.mark.parametrize("name", SCENARIOS)
async def test_await_points(name: str, machine: Machine) -> None:
    before = asyncio.all_tasks()
    await machine.prepare()
    await (cut_at_each if EVERY else cut_at_some)(machine, SCENARIOS[name])
    await check_nothing_runs_on(before)


# ---- where the lock is held ------------------------------------------------------------------


class Held:
    """A function whose calls end when they are told to. `entered` is set by the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.entered = threading.Event()
        self.free = threading.Event()
        held = getattr(parts, name)

        def holding(*args: Any, **kwargs: Any) -> Any:
            result = held(*args, **kwargs)
            self.entered.set()
            self.free.wait()
            return result

        monkeypatch.setattr(parts, name, holding)

    async def cancel(self, opening: Coroutine[Any, Any, None]) -> None:
        """Cancel an opening that is inside of the function, and let the function end soon."""
        task = asyncio.ensure_future(opening)
        await asyncio.to_thread(self.entered.wait)
        task.cancel()
        await asyncio.wait([task])
        asyncio.get_running_loop().call_later(0.05, self.free.set)


async def test_an_opening_waits_for_the_replica_of_one_that_was_given_up(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def written() -> None:
        async with opened(machine.path, machine.replicate) as store:
            await machine.append(store)

    await written()
    await Held(monkeypatch, "begin_replica").cancel(written())
    await written()
    assert machine.acknowledged == 2


async def test_a_standby_waits_for_one_that_was_given_up(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machine.prepare()
    await Held(monkeypatch, "recover").cancel(_followed_and_closed(machine))
    await machine.check_usable()


async def test_a_promotion_that_is_cancelled_at_its_end_leaves_no_open_store(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machine.prepare()
    standby = await machine.following()
    arrived = asyncio.Event()

    async def forget(*args: object) -> None:
        arrived.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(StandbyPlaces, "forget", forget)
        task = asyncio.ensure_future(machine.writes(standby))
        await arrived.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    await machine.writes(standby)
