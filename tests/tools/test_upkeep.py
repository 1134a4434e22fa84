"""Compact, snapshot and copy: under the lock, and without a loss."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from eventstore import (
    EventStore,
    HistoryUnavailableError,
    StoreExistsError,
    StoreLockedError,
    StoreNotFoundError,
    read_events,
    state_at,
)
from eventstore.tools import verify
from eventstore.tools.upkeep import compact_store, copy_store, snapshot_store
from tests.support.bank import bank_after, bank_registry, pay


async def fill(store: Path, count: int) -> None:
    async with EventStore.open(
        store, bank_registry(), segment_size=4096, wal_max_entries=None, history="keep"
    ) as opened:
        for _ in range(count):
            await opened.append(pay(1))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "store", 200))
    return tmp_path / "store"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_snapshot_then_compact(store: Path) -> None:
    with pytest.raises(HistoryUnavailableError, match="has no snapshot"):
        compact_store(store)
    taken = asyncio.run(snapshot_store(store, bank_registry()))
    assert taken == (200, True)
    assert asyncio.run(snapshot_store(store, bank_registry())) == (200, False)
    segments = len(list((store / "log").glob("0*")))
    found = compact_store(store)
    assert found.archived == segments - 1 == len(names(store / "archive"))
    assert compact_store(store).archived == 0
    assert len(list(read_events(store))) == 200
    assert verify(store, bank_registry()).passed


def test_copy(store: Path, tmp_path: Path) -> None:
    asyncio.run(snapshot_store(store, bank_registry()))
    compact_store(store)
    asyncio.run(fill(store, 30))
    (store / "log" / "notes.txt").write_text("mine")
    new = tmp_path / "new"
    found = copy_store(store, new)
    assert (found.seq, found.timeline) == (230, 2)
    assert state_at(new, bank_registry()) == bank_after(*[1] * 230)
    assert verify(new, bank_registry()).passed
    assert not (new / "log" / "notes.txt").exists()
    for folder in ("archive", "snapshots"):
        assert {name: (new / folder / name).read_bytes() for name in names(new / folder)} == {
            name: (store / folder / name).read_bytes() for name in names(store / folder)
        }
    asyncio.run(fill(new, 1))
    assert state_at(new, bank_registry()) == bank_after(*[1] * 231)


def test_a_killed_store_is_copied_as_it_is(store: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"

    async def kill() -> None:
        async with EventStore.open(store, bank_registry(), segment_size=4096) as opened:
            await opened.append(pay(1))
            shutil.copytree(store, killed, ignore=shutil.ignore_patterns("*.tmp", "spare"))

    asyncio.run(kill())
    assert copy_store(killed, tmp_path / "new").seq == 201
    asyncio.run(fill(tmp_path / "new", 1))
    assert state_at(tmp_path / "new", bank_registry()) == bank_after(*[1] * 202)


def test_refused(store: Path, tmp_path: Path) -> None:
    async def locked() -> None:
        async with EventStore.open(store, bank_registry()):
            with pytest.raises(StoreLockedError):
                compact_store(store)
            with pytest.raises(StoreLockedError):
                copy_store(store, tmp_path / "new")
            with pytest.raises(StoreLockedError):
                await snapshot_store(store, bank_registry())

    asyncio.run(locked())
    with pytest.raises(StoreExistsError):
        copy_store(store, tmp_path)
    with pytest.raises(StoreNotFoundError):
        copy_store(tmp_path, tmp_path / "new")
    with pytest.raises(StoreNotFoundError):
        asyncio.run(snapshot_store(tmp_path / "none", bank_registry()))
    assert names(tmp_path) == ["store"]
