"""Findings of the exploration while it was built: each bug as a short program that had the bug.

All crashes but the first have one shape. The page cache shows bytes that are not on the disk. The
next process believes the bytes and serves what follows from them. Then the power goes.
"""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal

import msgspec
import pytest

from eventstore import (
    Durability,
    EventStore,
    EventStoreError,
    StoreAccessError,
    StoreClosedError,
    StoreConfig,
    StoreFailedError,
    StoreFullError,
)
from eventstore.disk.base import read_whole
from eventstore.disk.layout import segment_name
from eventstore.reading.subscription import Subscription
from eventstore.testing import SECTOR, SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.crash_points import Watcher
from tests.torture.ledger import Deposit, Ledger, ledger_after, ledger_registry
from tests.torture.oracle import Claim

REGISTRY = ledger_registry()
CONFIG = StoreConfig(segment_size=4096, wal_max_entries=None, auto_save_interval=None)


def payload(number: int, size: int = 600) -> Deposit:
    """Return event `number` of every store here. About five such events fit a segment."""
    return Deposit(number=number, account="cash", amount=number, memo="x" * size)


def state_after(count: int) -> Ledger:
    state = Ledger()
    for number in range(1, count + 1):
        state = ledger_after(state, payload(number))
    return state


async def opened(disk: SimulatedDisk, config: StoreConfig = CONFIG) -> EventStore[Ledger]:
    """Open a store. The served events have to be the appended ones."""
    store = await EventStore.open("found", REGISTRY, config, disk=disk)
    assert store.state == state_after(store.seq)
    return store


async def append(store: EventStore[Ledger], count: int = 1) -> None:
    for _ in range(count):
        await store.append(payload(store.seq + 1))


def tear(disk: SimulatedDisk) -> None:
    """Leave a few bytes of an unfinished commit in the first segment, which has to be mended."""
    name = segment_name(1)
    end = -(-len(read_whole(disk, name).rstrip(b"\0")) // 8) * 8
    file = disk.open(name, writable=True)
    file.write(end, b"torn")
    file.close()


def cuts(disk: SimulatedDisk) -> Iterator[SimulatedDisk]:
    """Return a few images of a power cut: all unsynced bytes are lost, kept, or mixed."""
    yield from disk.images(limit=4)
    yield from map(disk.after_power_cut, range(4))


async def survives(disk: SimulatedDisk, config: StoreConfig = CONFIG) -> None:
    """Open the remains of another process, serve them, and append. Then cut the power."""
    store = await opened(disk, config)
    served = store.seq
    images = [(served, cut) for cut in cuts(disk)]
    if config.durability is Durability.COMMIT:
        await append(store)
        images += [(served + 1, cut) for cut in cuts(disk)]
    await store.close()
    for least, image in images:
        again = await opened(image, config)
        assert again.seq >= least, (again.seq, least)
        await again.close()


def kills(disk: SimulatedDisk) -> Watcher:
    """Watch a disk, to kill the process at each of the calls to come."""
    nothing = Claim([], [], 0, 0, 0)
    watcher = Watcher(lambda: disk, lambda: nothing)
    disk.add_rule(watcher)
    return watcher


class TestTheLoopHangs:
    """`snapshot()` waited for a snapshot that had just ended, again and again, without a pause.

    The call came in the one turn of the loop in which the task of the last snapshot is done and the
    task's callback has not been called yet.
    """

    @pytest.fixture(autouse=True)
    def _alarm(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            raise TimeoutError("the event loop hangs")

        before = signal.signal(signal.SIGALRM, stop)
        signal.alarm(20)
        yield
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

    @pytest.mark.parametrize("turns", range(12))
    def test_a_snapshot_asked_for_as_the_last_one_ends(self, turns: int) -> None:
        async def program() -> None:
            store = await opened(SimulatedDisk())
            await append(store)
            first = asyncio.ensure_future(store.snapshot())
            for _ in range(3):  # the snapshot of event 1 has begun
                await asyncio.sleep(0)
            store.submit(payload(2))
            for _ in range(turns):
                await asyncio.sleep(0)
            second = asyncio.ensure_future(store.snapshot())
            assert await first == 1
            assert await second == await store.snapshot() == 2
            await store.close()

        run_in_virtual_time(program())


class TestSealsThatOnlyThePageCacheHas:
    """Recovery saw the seal for "another segment follows" and did not write the seal again.

    Case: `workload=2 crash=151:before image=kill crash=110:before image=random:320859`. The
    process was killed between the seal and its sync, and the store was reopened. The power cut took
    the seal. The next opening refused the store, since the following segment held records.
    """

    @pytest.mark.parametrize("durability", list(Durability))
    def test_a_process_killed_anywhere_in_a_roll(self, durability: Durability) -> None:
        async def program() -> None:
            disk = SimulatedDisk()
            config = StoreConfig(
                segment_size=4096,
                wal_max_entries=None,
                auto_save_interval=None,
                durability=durability,
            )
            store = await opened(disk, config)
            await append(store, 4)
            watcher = kills(disk)
            await append(store, 3)
            await store.close()
            watcher.look()
            for point in watcher.points:
                await survives(point.disk.after_kill(), config)

        run_in_virtual_time(program())

    @pytest.mark.parametrize("idle", [False, True])
    def test_a_seal_whose_sync_failed(self, *, idle: bool) -> None:
        """The seal of an idle log, or of a clean close: the failed sync marked the seal's pages
        clean.
        """

        async def program(size: int) -> None:
            disk = SimulatedDisk()
            store = await opened(disk)
            await store.append(payload(1, size))
            disk.fail(kind="sync")
            if idle:
                await asyncio.sleep(2)
                with pytest.raises(StoreFailedError):
                    await append(store)
                await store.close()
            else:
                with pytest.raises(StoreFailedError):
                    await store.close()
            await survives(disk.after_kill())

        for size in range(0, SECTOR, 8):  # the following seal may be in the same sector, or not
            run_in_virtual_time(program(size))


class TestNamesThatOnlyThePageCacheHas:
    """An unsynced rename was believed, because the file under the new name was complete."""

    @pytest.mark.parametrize("durability", [Durability.COMMIT, Durability.NONE])
    def test_a_process_killed_while_it_mends(self, durability: Durability) -> None:
        """`workload=20 crash=403:before image=kill`.

        The rewritten segment was sealed before its name was on the disk, so the next process took
        the segment for finished. The power cut brought back the old segment, which was never
        synced.
        """

        async def program() -> None:
            config = StoreConfig(
                wal_max_entries=None, auto_save_interval=None, durability=durability
            )
            disk = SimulatedDisk()
            store = await opened(disk, config)
            await append(store, 3)
            left = disk.after_kill()
            await store.close()
            watcher = kills(left)
            await (await opened(left, config)).close()
            watcher.look()
            for point in watcher.points:
                await survives(point.disk.after_kill(), config)

        run_in_virtual_time(program())

    @pytest.mark.parametrize("forever", [False, True])
    def test_the_folders_sync_failed_while_it_mends(self, *, forever: bool) -> None:
        """`workload=6 fail=EDQUOT:none:at:147`."""

        async def program() -> None:
            disk = SimulatedDisk()
            store = await opened(disk)
            await append(store, 3)
            left = disk.after_kill()
            await store.close()
            tear(left)
            left.fail(kind="sync_folder", name="log", errno=errno.EDQUOT, forever=forever)
            with pytest.raises(EventStoreError):
                await opened(left)
            left = left.after_kill()
            await survives(left)

        run_in_virtual_time(program())

    def test_a_process_killed_while_it_makes_the_store(self) -> None:
        """The name `store.json` existed in a folder that was not synced.

        With events in the log and without `store.json`, the directory was refused as a store that
        lost the file.
        """

        async def program() -> None:
            disk = SimulatedDisk()
            watcher = kills(disk)
            await (await opened(disk)).close()
            watcher.look()
            for point in watcher.points:
                await survives(point.disk.after_kill())

        run_in_virtual_time(program())

    def test_the_folders_sync_failed_while_it_makes_the_store(self) -> None:
        """`workload=1 fail=EDQUOT:none:at:21`."""

        async def program() -> None:
            for number in range(1, 10):
                disk = SimulatedDisk()
                disk.fail(number, kind="sync_folder")
                try:
                    await (await opened(disk)).close()
                except EventStoreError:
                    await survives(disk.after_kill())
                else:
                    return

        run_in_virtual_time(program())


class TestSnapshotsThatOnlyThePageCacheHas:
    """A store without a log served a snapshot with a name that was not durable.

    Case: `workload=snapshots:2 crash=80:before image=kill`. The process was killed between the
    renaming of a snapshot and the sync of the folder, and the store was reopened. The power cut
    took served events.
    """

    CONFIG = StoreConfig(use_wal=False, wal_max_entries=None, auto_save_interval=None)

    async def left_behind(self) -> SimulatedDisk:
        disk = SimulatedDisk()
        store = await opened(disk, self.CONFIG)
        await append(store)
        await store.close()
        return disk.reopen()

    async def never_taken_back(self, disk: SimulatedDisk, config: StoreConfig) -> None:
        store = await opened(disk, config)
        served, images = store.seq, list(cuts(disk))
        await store.close()
        for image in images:
            again = await opened(image, config)
            assert again.seq >= served
            await again.close()

    @pytest.mark.parametrize("use_wal", [False, True])
    def test_a_process_killed_while_it_writes_one(self, *, use_wal: bool) -> None:
        """The next opener may also begin a log, behind a snapshot that must then stay."""

        async def program() -> None:
            disk = await self.left_behind()
            config = msgspec.structs.replace(self.CONFIG, use_wal=use_wal)
            store = await opened(disk, self.CONFIG)
            await append(store)
            watcher = kills(disk)
            assert await store.snapshot() == 2
            await store.close()
            watcher.look()
            for point in watcher.points:
                await self.never_taken_back(point.disk.after_kill(), config)

        run_in_virtual_time(program())

    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
    def test_the_folders_sync_failed(self, code: int) -> None:
        async def program() -> None:
            disk = await self.left_behind()
            store = await opened(disk, self.CONFIG)
            await append(store)
            disk.fail(kind="sync_folder", name="snapshots", errno=code)
            with pytest.raises(StoreFailedError):
                await store.snapshot()
            left = disk.after_kill()
            await store.close()  # closing writes another snapshot
            await self.never_taken_back(left, self.CONFIG)
            again = await opened(left.reopen(), self.CONFIG)
            assert again.seq == 2
            await again.close()

        run_in_virtual_time(program())

    @pytest.mark.parametrize(
        ("code", "error"),
        [(errno.ENOSPC, StoreFullError), (errno.EROFS, StoreAccessError), (errno.EIO, None)],
    )
    def test_it_cannot_be_written_again(
        self, code: int, error: type[EventStoreError] | None
    ) -> None:
        async def program() -> None:
            disk = await self.left_behind()
            disk.fail(kind="create", name="snapshots/new.tmp", errno=code)
            with pytest.raises(error or StoreFailedError):
                await opened(disk, self.CONFIG)
            again = await opened(disk.reopen(), self.CONFIG)
            assert again.seq == 1
            await again.close()

        run_in_virtual_time(program())


class TestReadingWhileTheStoreIsClosed:
    """`workload=busy:2`: a reading subscriber met a closing store.

    The subscriber was told that the device could not be read.
    """

    @pytest.mark.parametrize("turns", range(0, 60, 3))
    def test_a_subscriber_is_told_that_it_was_closed(self, turns: int) -> None:
        async def program() -> None:
            store = await opened(SimulatedDisk())
            await append(store, 20)
            subscription = store.subscribe(after=0)
            following = asyncio.ensure_future(self.follow(subscription))
            for _ in range(turns):
                await asyncio.sleep(0)
            await store.close()
            seen = await following
            assert seen == list(range(1, len(seen) + 1))

        run_in_virtual_time(program())

    async def follow(self, subscription: Subscription) -> list[int]:
        seen = []
        try:
            async for event in subscription:
                seen.append(event.seq)
        except StoreClosedError:
            return seen
        assert len(seen) == 20
        return seen

    @pytest.mark.asyncio
    async def test_nothing_is_read_of_a_store_that_is_closed(self, tmp_path: Path) -> None:
        """On a real directory, with the threads gone, the error was a `RuntimeError`."""
        store = await EventStore.open(tmp_path / "store", REGISTRY)
        await append(store)
        await store.close()
        for start in (1, datetime(2026, 3, 2, tzinfo=UTC)):
            with pytest.raises(StoreClosedError):
                await anext(store.events(start))


class TestCompaction:
    CONFIG = StoreConfig(
        segment_size=4096, wal_max_entries=None, auto_save_interval=None, backup_count=1
    )

    def test_no_archive_is_forgotten(self) -> None:
        """`workload=5 fail=ENOSPC:none:at:285`: segments were counted as archived, but not
        removed.

        The next compaction began from the earlier list of archives, and forgot one.
        """

        async def program() -> None:
            disk, config = SimulatedDisk(), self.CONFIG
            store = await opened(disk, config)
            await append(store, 12)
            second = [name for name in disk.files() if name.endswith(".log")][1]
            disk.fail(kind="remove", name=second, errno=errno.ENOSPC)
            assert await store.snapshot() == store.seq
            assert "no space to archive" in (store.stats().history_warning or "")
            await append(store, 6)
            await store.snapshot()
            assert store.stats().history_warning is None
            await store.close()
            again = await opened(disk.reopen(), config)
            assert again.recovery.unknown_files == ()
            numbers = [event.seq async for event in again.events()]
            assert numbers == list(range(1, again.seq + 1))
            await again.close()

        run_in_virtual_time(program())

    @pytest.mark.parametrize("effect", ["none", "partial"])
    def test_a_segment_is_left_alone_until_it_is_sealed(
        self, effect: Literal["none", "partial"]
    ) -> None:
        """`workload=79 fail=EIO:partial:at:133`: the next segment had its name before this one's
        seal.

        The segment without a seal was read as damaged, or archived before sealing.
        """

        async def program() -> None:
            disk = SimulatedDisk()
            store = await opened(disk, self.CONFIG)
            await append(store)
            await store.close()
            disk = disk.reopen()
            store = await opened(disk, self.CONFIG)
            first = next(name for name in disk.files() if name.endswith(".log"))
            disk.fail(kind="write", name=first, errno=errno.ENOSPC, effect=effect)
            with pytest.raises(StoreFullError):
                await append(store)
            assert await store.snapshot() == 1
            assert first in disk.files()
            await append(store)
            await store.close()
            await survives(disk.after_kill(), self.CONFIG)

        run_in_virtual_time(program())


def test_the_programs_roll() -> None:
    """The programs above reach the next segment, so that no test passes for want of events."""

    async def program() -> list[str]:
        disk = SimulatedDisk()
        store = await opened(disk)
        await append(store, 7)
        await store.close()
        return [str(call) for call in disk.calls if call.kind == "rename"]

    renames = run_in_virtual_time(program())
    assert sum(rename.endswith(".log") for rename in renames) == 3  # made, begun and rolled
