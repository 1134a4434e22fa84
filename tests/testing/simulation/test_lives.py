"""Deaths: the places, the remains for the next life, and the store's own promises."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from eventstore import EventStore
from eventstore.testing import SimulatedDisk
from eventstore.testing.simulated_machine import SimulatedFile
from eventstore.testing.simulation import Disconnected, Faults, Fill, Run, VenueClient
from eventstore.testing.simulation.chance import Chance
from eventstore.testing.simulation.lives import Lives
from eventstore.testing.simulation.process import Death, Process
from eventstore.testing.simulation.world import World
from eventstore.testing.virtual_time import VirtualTimeLoop
from tests.testing.simulation.bots import BTC, ONE, Book, Noted, booking, kinds, run

DYING = replace(Faults.none(), deaths=(3, 3))


async def noting(store: EventStore[Book], venue: VenueClient) -> None:
    """Append for ever."""
    while True:
        await store.append(Noted(text="x" * 100))
        await asyncio.sleep(0.2)


def deaths_of(done: Run) -> list[str]:
    return [entry.text for entry in done.story if entry.who in ("kill", "power cut")]


def test_nothing_durable_is_lost_whatever_call_is_the_last() -> None:
    met = set()
    for seed in range(40):
        done = run(noting, faults=replace(DYING, power=0.5), seed=seed)
        assert kinds(done) == []
        assert len(done.steps) > 1
        met |= {text.rpartition("disk call: ")[2].split()[0] for text in deaths_of(done)}
        assert done.evidence is not None
        assert len(done.evidence.history) > 90
    assert len(met) > 10, "deaths fall on calls of every kind"


async def relaxing(store: EventStore[Book], venue: VenueClient) -> None:
    """Append for ever. A sync covers each fourth event, and a power cut may take later ones."""
    while True:
        level = "interval" if (store.head_seq + 1) % 4 else "commit"
        await store.append(Noted(text="x" * 100), durability=level)
        await asyncio.sleep(0.2)


def test_nobody_is_accused_of_events_that_no_sync_covers() -> None:
    lost = 0
    for seed in range(6):
        done = run(relaxing, faults=replace(DYING, power=1.0), seed=seed)
        assert kinds(done) == []
        opened = [entry for entry in done.story if "opens the store" in entry.text]
        cuts = [entry for entry in done.story if entry.who == "power cut"]
        lost += sum(one.seq > next_.seq for one, next_ in zip(cuts, opened[1:], strict=False))
    assert lost > 1


def test_a_store_that_does_not_sync_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedFile, "sync", lambda self: None)
    found = [run(noting, faults=replace(DYING, power=1.0), seed=seed) for seed in range(10)]
    assert any("broken promise" in kinds(done) for done in found)


def test_a_store_without_its_durable_events_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "remains", lambda self: SimulatedDisk(9))
    found = [run(noting, faults=DYING, seed=seed) for seed in range(5)]
    texts = {finding.text for done in found for finding in done.findings}
    assert any("events of" in text and "durable ones" in text for text in texts)


def test_a_store_that_folds_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventStore, "state", property(lambda self: Book(noted=self.seq + 1)))
    assert "broken promise" in kinds(run(noting, faults=DYING))


def test_nothing_of_a_dead_process_reaches_disk_or_venue() -> None:
    lives: list[int] = []
    afterwards: list[int] = []

    async def stubborn(store: EventStore[Book], venue: VenueClient) -> None:
        number = len(lives) + 1
        lives.append(number)
        try:
            while True:
                await venue.price(BTC)
        finally:
            await store.append(Noted(text=f"last words {number}"))
            afterwards.append(number)
            await venue.place(f"from the grave {number}", BTC, ONE)

    done = run(stubborn, faults=DYING, steps=300, seed=1)
    assert afterwards == lives
    assert len(lives) > 1
    assert done.evidence is not None
    words = [event.data.text for event, _ in done.evidence.history]
    assert words == [f"last words {lives[-1]}"], "only the one that was stopped"
    assert len(done.evidence.venue.orders) <= 1


def test_a_message_that_was_sent_arrives_though_its_sender_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def send(store: EventStore[Book], venue: VenueClient) -> None:
        if not store.seq:
            await store.append(Noted())
            await venue.place("a", BTC, ONE)
        await asyncio.sleep(1000)

    sent = {}
    for step in range(1, run(send).steps[0] + 1):
        monkeypatch.setattr(Lives, "_planned", lambda self, steps, step=step: [Death(step, "one")])
        done = run(send)
        assert done.evidence is not None
        (text,) = deaths_of(done)
        sent[text.partition(": ")[2]] = len(done.evidence.venue.orders)
    assert sent["before place 1 (a) is sent"] == 0
    assert sent["place 1 (a) was sent"] == sent["the reply to place 1 (a)"] == 1


def test_a_stream_ends_with_its_process() -> None:
    async def listen(store: EventStore[Book], venue: VenueClient) -> None:
        async def trade() -> None:
            for number in range(5):
                await venue.place(f"{store.seq}-{number}", BTC, ONE)
                await asyncio.sleep(1)

        trading = asyncio.create_task(trade())
        while True:
            try:
                async for message in venue.stream():
                    if isinstance(message, Fill):
                        await store.append(booking(message))
            except Disconnected:
                continue
            finally:
                trading.cancel()

    done = run(listen, faults=DYING, steps=150, seed=3)
    assert len(done.steps) > 1
    assert done.evidence is not None
    assert len(done.evidence.venue.listeners) == 0


def test_a_bot_that_ends_is_not_called_again() -> None:
    calls = []

    async def short(store: EventStore[Book], venue: VenueClient) -> None:
        calls.append(store.seq)
        await venue.place("a", BTC, ONE)

    done = run(short)
    assert calls == [0]
    assert kinds(done) == ["missed fill", "wrong position", "wrong cash", "wrong fees"]


def test_an_error_of_the_bot_is_a_finding() -> None:
    async def wrong(store: EventStore[Book], venue: VenueClient) -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError("no price")

    done = run(wrong)
    assert [str(finding) for finding in done.findings] == [
        "bot failed: ZeroDivisionError: no price"
    ]
    assert isinstance(done.error, ZeroDivisionError)


def test_a_bot_that_does_not_stop_is_a_finding() -> None:
    async def deaf(store: EventStore[Book], venue: VenueClient) -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    assert kinds(run(deaf)) == ["bot failed"]


def test_an_error_that_nobody_looked_at_is_noted() -> None:
    async def careless(store: EventStore[Book], venue: VenueClient) -> None:
        async def fail() -> None:
            raise ZeroDivisionError("in the background")

        task: Any = asyncio.create_task(fail())
        del task
        await asyncio.sleep(1)

    done = run(careless)
    assert kinds(done) == []
    assert "in the background" in str(done.notes)


@pytest.mark.parametrize("nested", [False, True])
def test_every_error_of_a_task_group_is_told(nested: bool) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def trade() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail(ZeroDivisionError("no price")))
            tasks.create_task(fail(KeyError("BTC")))

    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        if not nested:
            await trade()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(trade())

    assert [str(finding) for finding in run(bot).findings] == [
        "bot failed: ZeroDivisionError: no price; KeyError: 'BTC'"
    ]


async def exit_in_place(code: Any) -> None:
    sys.exit(code)


async def exit_in_a_group(code: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exit_in_place(code))
        await asyncio.sleep(1000)


async def exit_beside(code: Any) -> None:
    task = asyncio.create_task(exit_in_place(code))
    await asyncio.sleep(1000)
    del task


async def exit_in_a_thread(code: Any) -> None:
    await asyncio.to_thread(sys.exit, code)


@pytest.mark.parametrize("way", [exit_in_place, exit_in_a_group, exit_beside, exit_in_a_thread])
@pytest.mark.parametrize(
    ("code", "found"), [(None, []), (0, []), (3, ["bot failed: SystemExit: 3"])]
)
def test_a_bot_that_exits_has_ended(way: Any, code: Any, found: list[str]) -> None:
    calls = []

    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        calls.append(store.seq)
        await store.append(Noted())
        await way(code)

    done = run(bot)
    assert [str(finding) for finding in done.findings] == found
    assert calls == [0]
    assert done.evidence is not None
    assert len(done.evidence.history) == 1, "the store was closed"


def test_timers_of_an_ended_bot_reach_nobody() -> None:
    async def bot(store: EventStore[Book], venue: VenueClient) -> None:
        loop = asyncio.get_running_loop()

        def tick() -> None:
            loop.call_later(3, tick)
            tasks.append(loop.create_task(venue.place(f"t-{len(tasks)}", BTC, ONE)))

        tasks: list[asyncio.Task[Any]] = []
        tick()
        await asyncio.sleep(7)

    done = run(bot)
    sent = [entry.time for entry in done.story if "sends place" in entry.text]
    assert sent == [0.0, 3.0, 6.0]


class TestProcess:
    """The steps of one process, and the copy of the disk at the death."""

    @pytest.fixture
    def loop(self) -> Iterator[VirtualTimeLoop]:
        loop = VirtualTimeLoop(10.0)
        yield loop
        loop.close()

    @staticmethod
    def dying(
        loop: VirtualTimeLoop, fatal: int, rates: Faults
    ) -> tuple[Process, SimulatedDisk, list[str]]:
        told: list[str] = []
        world = World(loop, Chance(0), rates)
        disk = SimulatedDisk(0)
        process = Process(world, disk, 1, Death(fatal, "death 1"), lambda: told.append("dead"))
        return process, disk, told

    def test_calls_and_conversations_are_steps(self, loop: VirtualTimeLoop) -> None:
        process, disk, told = self.dying(loop, 4, Faults.none())
        file = disk.create("journal")
        process.step("before it is sent")
        file.write(0, b"written")
        assert (process.steps, process.dead, told) == (3, False, [])
        process.step("it was sent")
        assert (process.steps, process.dead, told) == (4, True, ["dead"])
        file.write(0, b"in limbo")
        process.step("a later one")
        assert process.steps == 4
        assert process.remains().read_file("journal") == b"written"

    def test_a_write_under_way_at_a_kill_is_partly_done(self, loop: VirtualTimeLoop) -> None:
        process, disk, _ = self.dying(loop, 2, Faults.none())
        disk.create("journal").write(0, b"0123456789")
        left = process.remains().read_file("journal")
        assert b"0123456789".startswith(left)
        assert len(left) < 10

    def test_a_power_cut_takes_what_was_not_synced(self, loop: VirtualTimeLoop) -> None:
        process, disk, _ = self.dying(loop, 5, replace(Faults.none(), power=1.0))
        file = disk.create("journal")
        file.write(0, b"kept")
        file.sync()
        disk.sync_folder()
        process.step("the end")
        assert process.power_cut
        assert process.remains().read_file("journal") == b"kept"

    def test_a_death_counted_from_the_opening(self, loop: VirtualTimeLoop) -> None:
        world = World(loop, Chance(0), Faults.none())
        death = Death(2, "death 1", opened=True)
        process = Process(world, SimulatedDisk(0), 1, death, lambda: None)
        for _ in range(5):
            process.step("of the opening")
        process.store_is_open()
        process.step("the first one")
        assert (process.opening, process.dead) == (5, False)
        process.step("the fatal one")
        assert (process.steps, process.dead) == (7, True)

    def test_a_spared_process_lives_on(self, loop: VirtualTimeLoop) -> None:
        process, _, told = self.dying(loop, 1, Faults.none())
        process.spare()
        process.step("the fatal one")
        assert (process.dead, told) == (False, [])
