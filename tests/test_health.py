"""What `stats()` tells of the health of a store: counted, and read without a call of the disk."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, SimulatedClock
from eventstore.disk.local import LocalDisk
from eventstore.histogram import BUCKETS, Histogram
from eventstore.snapshot.keeper import SnapshotKeeper
from eventstore.testing import SimulatedDisk
from tests.support.bank import Withdraw, bank_registry, pay
from tests.support.gates import GatedDisk, commits

QUIET: dict[str, Any] = {"auto_save_interval": None, "wal_max_entries": None}


class TestHistogram:
    def test_every_value_is_below_the_bound_of_its_bucket(self) -> None:
        buckets = [0] * BUCKETS
        values = [0, 1, 2, 3, 4, 7, 8, 1000, 2**63]
        for value in values:
            buckets[value.bit_length()] += 1
        histogram = Histogram.of(buckets, unit=1)
        assert histogram.total == len(values)
        assert sum(histogram.counts) == len(values)
        found, before = {}, -1.0
        for bound in histogram.bounds:
            found[bound] = sum(before < value <= bound for value in values)
            before = bound
        assert found == dict(zip(histogram.bounds, histogram.counts, strict=True))

    def test_a_quantile_is_a_bound_less_than_twice_the_value(self) -> None:
        buckets = [0] * BUCKETS
        for value in range(1, 1001):
            buckets[value.bit_length()] += 1
        histogram = Histogram.of(buckets, unit=1)
        for share in (0.01, 0.5, 0.9, 0.99, 1.0):
            value = round(share * 1000)
            assert value <= histogram.quantile(share) < 2 * value

    def test_nothing_counted(self) -> None:
        assert Histogram.of([0] * BUCKETS, unit=1e-9) == Histogram()
        assert (Histogram().total, Histogram().quantile(0.5)) == (0, 0.0)


class SmallDisk(LocalDisk):
    def free_bytes(self) -> int:
        return 1_000_000


class TestStats:
    @pytest.mark.asyncio
    async def test_free_space_and_how_many_events_it_is_good_for(self, tmp_path: Path) -> None:
        disk = SmallDisk(tmp_path / "s", create=True)
        async with EventStore.open("", bank_registry(), disk=disk, **QUIET) as store:
            assert (store.stats().free_bytes, store.stats().events_that_fit) == (None, None)
            await store.append(*[pay()] * 10)
            stats = store.stats()
            assert stats.free_bytes == 1_000_000
            assert stats.events_that_fit == 10_000_000 // stats.bytes_written

    @pytest.mark.asyncio
    async def test_free_space_of_the_file_system(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "s", bank_registry(), **QUIET) as store:
            await store.append(pay())
            found = os.statvfs(tmp_path)
            free = store.stats().free_bytes
            assert free is not None
            assert 0 < free <= found.f_blocks * found.f_frsize

    @pytest.mark.asyncio
    async def test_an_event_is_counted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception of a signal handler has the end of a commit told a second time."""
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk(), **QUIET) as store:
            await store.append(pay())
            changed, left = SnapshotKeeper.changed, [TimeoutError("of a signal handler")]

            def interrupted(keeper: SnapshotKeeper, seq: int) -> None:
                changed(keeper, seq)
                if left:
                    raise left.pop()

            monkeypatch.setattr(SnapshotKeeper, "changed", interrupted)
            receipt = store.submit(pay(), pay())
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            await receipt
            assert not left
            await store.append(Withdraw(account="a", amount=1))
            assert store.stats().operations == {"deposit": 3, "withdraw": 1}
            assert store.stats().events == 4

    @pytest.mark.asyncio
    async def test_bytes_that_wait_are_told(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk, **QUIET) as store:
            await store.append(pay())
            one = store.stats().record_bytes.bounds[0]
            disk.gate.shut()
            receipt = store.submit(pay(), pay())
            await disk.gate.reached()
            assert one / 2 < store.stats().pending_bytes / 2 <= one
            disk.gate.open()
            await receipt
            assert store.stats().pending_bytes == 0

    @pytest.mark.asyncio
    async def test_operations_are_counted_when_they_are_committed(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk(), **QUIET) as store:
            assert store.stats().operations == {}
            receipt = store.submit(pay(5), pay(1), Withdraw(account="a", amount=1))
            assert store.stats().operations == {}
            await receipt
            assert store.stats().operations == {"deposit": 2, "withdraw": 1}

    @pytest.mark.asyncio
    async def test_each_commit_is_in_both_histograms(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "s", bank_registry(), **QUIET) as store:
            for count in (1, 1, 100):
                await store.append(*[pay()] * count)
            stats = store.stats()
            assert stats.commit_seconds.total == stats.record_bytes.total == stats.commits == 3
            assert stats.loop_delay.total >= 3
            assert stats.pending_limit == 65_536
            small, large = stats.record_bytes.counts[0], stats.record_bytes.counts[-1]
            assert (small, large) == (2, 1)
            assert stats.record_bytes.bounds[-1] <= 2 * stats.bytes_written

    @pytest.mark.asyncio
    async def test_a_loop_that_is_held_up_shows(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "s", bank_registry(), **QUIET) as store:
            await store.append(pay())
            receipt = store.submit(pay())
            while store.log.stats().commits < 2:
                threading.Event().wait(0.001)  # in the way of the loop, on purpose
            threading.Event().wait(0.03)
            await receipt
            assert store.stats().loop_delay.bounds[-1] > 0.03

    @pytest.mark.asyncio
    async def test_the_age_of_the_snapshot_is_by_the_clock_of_the_store(self) -> None:
        clock, disk = SimulatedClock(10**18), SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, clock=clock, **QUIET) as store:
            assert store.stats().snapshot_age is None
            await store.append(pay())
            await store.snapshot()
            clock.advance(90.0)
            assert store.stats().snapshot_age == 90.0
        disk = disk.reopen()
        async with EventStore.open("", bank_registry(), disk=disk, clock=clock, **QUIET) as store:
            assert store.recovery.snapshot_time == 10**18
            clock.advance(10.0)
            assert store.stats().snapshot_age == 100.0

    @pytest.mark.asyncio
    async def test_a_store_in_memory_has_no_commits_to_measure(self) -> None:
        async with EventStore.in_memory(bank_registry()) as store:
            await store.append(pay(5), Withdraw(account="a", amount=1))
            stats = store.stats()
            assert stats.operations == {"deposit": 1, "withdraw": 1}
            assert stats.commit_seconds == stats.loop_delay == Histogram()
