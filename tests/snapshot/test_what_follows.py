"""What follows a snapshot may fail: the snapshot was taken, and the failure is told as its own."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, StoreFailedError
from eventstore.disk.layout import segment_name
from eventstore.testing import SimulatedDisk
from tests.support.bank import bank_registry, pay

SETTINGS: dict[str, Any] = {
    "segment_size": 4096,
    "wal_max_entries": None,
    "auto_save_interval": None,
    "backup_count": 1,
}


async def grown(disk: SimulatedDisk) -> EventStore[Any]:
    """A store with several finished segments, none of them archived."""
    store: EventStore[Any] = await EventStore.open("", bank_registry(), disk=disk, **SETTINGS)
    for amount in range(1, 121):
        await store.append(pay(amount))
    return store


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]


@pytest.mark.asyncio
async def test_damage_is_told_as_damage_of_its_file_for_as_long_as_it_lasts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = SimulatedDisk()
    store = await grown(disk)
    first = segment_name(1)
    whole = disk.read_file(first)
    disk.flip_bit(first, 8 * 700)
    for _ in range(3):
        await store.append(pay(1))
        assert await store.snapshot() == store.seq
        warning = store.stats().history_warning
        assert warning is not None
        assert first in warning
        assert not store.stats().failed
    assert store.stats().snapshots == 3
    assert len(said(caplog)) == 1
    assert first in said(caplog)[0]
    assert "snapshot" not in said(caplog)[0]
    disk.write_file(first, whole)
    await store.append(pay(1))
    await store.snapshot()
    assert store.stats().history_warning is None
    assert store.stats().segments_archived > 0
    await store.close()


@pytest.mark.asyncio
async def test_a_segment_that_cannot_be_read_is_tried_again() -> None:
    disk = SimulatedDisk()
    store = await grown(disk)
    disk.fail(kind="open", name=segment_name(1), errno=errno.EIO)
    assert await store.snapshot() == store.seq
    assert "EIO" in (store.stats().history_warning or "")
    await store.append(pay(1))
    await store.snapshot()
    assert store.stats().history_warning is None
    await store.close()


@pytest.mark.asyncio
async def test_a_failed_sync_of_an_archive_fails_the_store_and_not_the_snapshot() -> None:
    disk = SimulatedDisk()
    store = await grown(disk)
    disk.fail(kind="sync", name="archive/new.tmp", errno=errno.EIO)
    assert await store.snapshot() == store.seq == store.stats().snapshot_seq
    assert store.stats().failed
    with pytest.raises(StoreFailedError):
        await store.append(pay(1))
    await store.close()


@pytest.mark.asyncio
async def test_a_snapshot_that_is_due_goes_on_over_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**SETTINGS, "wal_max_entries": 30, "backup_count": 2}
    async with EventStore.open(tmp_path / "s", bank_registry(), **options) as store:
        for amount in range(1, 61):
            await store.append(pay(amount))
        oldest = min((tmp_path / "s" / "log").glob("0*.log"))
        content = bytearray(oldest.read_bytes())
        content[700] ^= 1
        oldest.write_bytes(content)
        for amount in range(1, 121):
            await store.append(pay(amount))
        await store.snapshot()
        assert store.stats().snapshots > 2
        assert oldest.name in (store.stats().history_warning or "")
    assert not [line for line in said(caplog) if "could not be taken" in line]
