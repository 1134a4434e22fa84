"""Power cuts at every call of short lives that are written down, not drawn at random.

Each life is there for an order of calls that must not change. A segment, a snapshot, an archive,
`store.json`, a seal and a rewritten segment each wait for something before the next step. Of the
images that a power cut may leave, the most awkward are tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import pytest

from eventstore import EventStore, SimulatedClock, StoreConfig, StoreFailedError
from eventstore.disk.layout import segment_name
from eventstore.testing import Call, SimulatedDisk
from eventstore.testing.faults import Fault
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.ledger import Deposit, Ledger, ledger_after, ledger_registry

REGISTRY = ledger_registry()
CHANGES = frozenset("create make_folder rename remove sync_folder write sync truncate".split())
Step = Callable[[EventStore[Ledger]], Awaitable[Any]]


class Point(NamedTuple):
    """A disk at one call, and how many events must be found on the disk after a power cut."""

    call: Call
    disk: SimulatedDisk
    owed: int


class Life:
    """Runs programs on a simulated disk, and keeps a copy of the disk from before each call."""

    def __init__(self, seed: int = 1, **options: Any) -> None:
        settings: dict[str, Any] = {
            "segment_size": 4096,
            "backup_count": 1,
            "wal_max_entries": None,
            "auto_save_interval": None,
            "idle_seal": 1e6,
        }
        self.config = StoreConfig.of({**settings, **options})
        self.disk = SimulatedDisk(seed, unnamed=True)
        self.clock = SimulatedClock(1_700_000_000_000_000_000)
        self.states = [Ledger()]
        self.points: list[Point] = []
        self.owed = 0

    def open(self, disk: SimulatedDisk) -> Any:
        return EventStore.open("life", REGISTRY, self.config, disk=disk, clock=self.clock)

    async def append(self, store: EventStore[Ledger], *sizes: int) -> None:
        """Append one group, of an event for each size of its memo."""
        group = []
        for size in sizes:
            number = len(self.states)
            group.append(Deposit(number=number, account="a", amount=number, memo="x" * size))
            self.states.append(ledger_after(self.states[-1], group[-1]))
        await store.append(*group)
        if self.config.durability.value == "commit":
            self.owed = len(self.states) - 1

    async def flush(self, store: EventStore[Ledger]) -> None:
        await store.flush()
        self.owed = len(self.states) - 1

    def watch(self, disk: SimulatedDisk) -> None:
        """Copy `disk` before each call that changes the disk, from now on."""

        def copy(call: Call) -> Fault | None:
            if call.kind in CHANGES:
                self.points.append(Point(call, disk.clone(), self.owed))
            return None

        disk.add_rule(copy)

    def images(self, count: int) -> Iterator[tuple[Point, int, SimulatedDisk]]:
        """Yield `count` images of each power cut."""
        for point in self.points:
            for number, image in enumerate(point.disk.images(count)):
                yield point, number, image

    async def check(self, images: int) -> None:
        """Open every image that a power cut may have left."""
        for point, number, image in self.images(images):
            where = f"image {number} of a power cut before {point.call}"
            async with self.open(image) as store:
                self.fits(store, point.owed, where)
                seq, torn = store.seq, store.recovery.torn_bytes
                if torn:
                    assert store.recovery.quarantined in image.files(), where
            for again in image.images(1):
                async with self.open(again) as store:
                    assert store.seq == seq, f"{where}, recovered, and cut off again"
                    assert store.recovery.clean, where

    async def check_kills(self, images: int) -> None:
        """Kill the process at each call, use the store again, and cut the power only then.

        The next process may see bytes that are only in the page cache. Every served event must be
        on the disk.
        """
        for point in self.points:
            where = f"a kill before {point.call}"
            await self.go_on(point.disk, point.owed, images, where)

    async def go_on(self, disk: SimulatedDisk, owed: int, images: int, where: str) -> None:
        """Append in the next process to the events found, then cut the power."""
        where = f"{where}, and a power cut after the next append"
        next_life = Life()
        next_life.config = self.config
        async with next_life.open(disk) as store:
            assert owed <= store.seq, where
            next_life.states = self.states[: store.seq + 1]
            next_life.fits(store, store.seq, where)
            await next_life.append(store, 7)
            await next_life.flush(store)
            for image in disk.images(images):
                async with next_life.open(image) as after:
                    next_life.fits(after, next_life.owed, where)

    def fits(self, store: EventStore[Ledger], owed: int, where: str) -> None:
        assert owed <= store.seq < len(self.states), where
        assert store.state == self.states[store.seq], where
        assert store.recovery.snapshots_rejected == (), where
        assert store.recovery.unknown_files == (), where


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of torn ends are nothing to log here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("durability", ["commit", "interval", "none"])
def test_appends_rolls_and_seals(durability: str) -> None:
    async def program() -> None:
        life = Life(durability=durability, idle_seal=0.5, sync_interval=2.0)
        life.watch(life.disk)
        async with life.open(life.disk) as store:
            await life.append(store, 10)
            await life.append(store, 0, 600, 0)
            await life.append(store, 900)
            await asyncio.sleep(1)
            await life.append(store, 700)
            await life.append(store, 1500)
            await life.flush(store)
            await life.append(store, 1200, 1200)
        life.owed = len(life.states) - 1
        disk = life.disk.reopen()
        async with life.open(disk) as store:
            await life.append(store, 5)
        await life.check(6)

    run_in_virtual_time(program())


def test_the_unsynced_end_of_a_segment_is_synced_before_the_next_has_a_name() -> None:
    """The next segment's header says how long the segment before is."""

    async def program() -> None:
        life = Life(durability="none")
        async with life.open(life.disk) as store:
            life.watch(life.disk)
            for size in (1500, 1500, 1500):
                await life.append(store, size)
        made = [str(call) for call, _, _ in life.points]
        assert any(call.endswith(segment_name(3)) for call in made)
        await life.check(12)

    run_in_virtual_time(program())


def test_whoever_makes_a_store_is_killed_and_the_power_is_cut_later() -> None:
    """The name of `store.json` may be only in the page cache, and the store was never used."""

    async def program() -> None:
        life = Life()
        life.watch(life.disk)
        async with life.open(life.disk):
            pass
        await life.check_kills(12)

    run_in_virtual_time(program())


@pytest.mark.parametrize("history", ["archive", "discard"])
def test_snapshots_and_what_follows_them(history: str) -> None:
    async def program() -> None:
        life = Life(history=history)
        async with life.open(life.disk) as store:
            for size in (1200, 1500, 1400):
                await life.append(store, size, size)
                await store.snapshot()
            life.watch(life.disk)
            await life.append(store, 1200, 1200)
            await store.snapshot()
        made = [str(call) for call, _, _ in life.points]
        assert {"rename store.json.tmp store.json", f"remove {segment_name(5)}"} <= {*made}
        await life.check(30)
        await life.check_kills(12)

    run_in_virtual_time(program())


def test_an_unclean_end_is_mended() -> None:
    """Torn bytes are in their segment or in quarantine, for any instant of the power cut."""

    async def program() -> None:
        life = Life()
        async with life.open(life.disk) as store:
            await life.append(store, 10)
            await life.append(store, 20)
            life.watch(life.disk)
            await life.append(store, 1500)
        torn = 0
        for point, number, image in list(life.images(30)):
            first = image.clone()
            async with life.open(first) as store:
                report = store.recovery
            if not report.torn_bytes:
                continue
            torn += 1
            found = first.read_file(report.quarantined)
            assert len(found) == report.torn_bytes
            again = Life()
            again.states, again.owed = life.states, store.seq
            again.watch(image)
            async with again.open(image):
                pass
            for step, attempt, cut in again.images(4):
                where = f"{number} before {point.call}, {attempt} of the repair before {step.call}"
                async with again.open(cut) as repaired:
                    again.fits(repaired, again.owed, where)
                kept = [
                    cut.read_file(name) for name in cut.files() if name.startswith("quarantine/")
                ]
                assert found in kept, where
        assert torn > 3

    run_in_virtual_time(program())


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_a_repair_is_killed_and_the_power_is_cut_later(torn: bool) -> None:
    """Torn bytes end with a new file. Otherwise the end is written again in its place."""

    async def program() -> None:
        life = Life()
        async with life.open(life.disk) as store:
            await life.append(store, 10)
            await life.append(store, 20)
            killed = life.disk.after_kill()
        if torn:
            tear(killed)
        life.watch(killed)
        async with life.open(killed):
            pass
        made = [str(call) for call, _, _ in life.points]
        assert ("create log/rewrite.tmp" in made) == torn
        await life.check_kills(12)

    run_in_virtual_time(program())


def tear(disk: SimulatedDisk) -> None:
    """Put a torn byte behind the last record of the last segment."""
    name = max(name for name in disk.files() if name.endswith(".log"))
    data = bytearray(disk.read_file(name))
    data[len(data.rstrip(b"\0")) + 64] = 1
    disk.write_file(name, data)


@pytest.mark.parametrize("program", ["archive", "discard", "repair", "torn repair"])
def test_any_sync_fails_and_the_power_is_cut_later(program: str) -> None:
    """The page cache may be the only place of the bytes that the next process finds."""

    async def fails_at(number: int) -> bool:
        repairs = program.endswith("repair")
        life = Life(history="archive" if repairs else program)
        failing: list[Call] = []
        disk = life.disk
        with contextlib.suppress(StoreFailedError):
            async with life.open(disk) as store:
                for size in (1200, 1500, 1400):
                    await life.append(store, size, size)
                    if not repairs:
                        await store.snapshot()
                if repairs:
                    disk = disk.after_kill()
                if program == "torn repair":
                    tear(disk)
                failing = fail_sync(disk, number)
                if not repairs:
                    await life.append(store, 1200, 1200)  # the segment before can go
                    await store.snapshot()
        if repairs:
            with contextlib.suppress(StoreFailedError):
                async with life.open(disk):
                    pass
        disk.heal()
        await life.go_on(disk.reopen(), life.owed, 20, f"{failing or 'no sync'} failed")
        return bool(failing)

    for number in range(1, 100):
        if not run_in_virtual_time(fails_at(number)):
            assert number > 4
            break


def fail_sync(disk: SimulatedDisk, number: int) -> list[Call]:
    """Let the `number`-th sync from now on fail. The list will hold the failed call."""
    left = iter(range(number - 1))
    failing: list[Call] = []

    def rule(call: Call) -> Fault | None:
        if failing or not call.kind.startswith("sync") or next(left, None) is not None:
            return None
        failing.append(call)
        return Fault(errno=errno.EIO)

    disk.add_rule(rule)
    return failing


@pytest.mark.parametrize("kind", ["record", "seal"])
def test_what_a_failed_sync_left_in_the_cache_is_on_the_disk_before_it_is_served(kind: str) -> None:
    async def program() -> None:
        life = Life()
        with contextlib.suppress(StoreFailedError):
            async with life.open(life.disk) as store:
                await life.append(store, 10)
                if kind == "record":
                    life.disk.fail(kind="sync")
                    await life.append(store, 20)
                life.disk.fail(kind="sync")
        for recovered in (life.disk.after_kill(), life.disk.reopen()):
            async with life.open(recovered) as store:
                served = store.seq
                assert store.state == life.states[served]
                for image in recovered.images(12):
                    async with life.open(image) as after:
                        life.fits(after, served, "a power cut after a sync had failed")

    run_in_virtual_time(program())
