"""Archiving beside snapshots: a snapshot goes first, and no two work at the same time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore
from eventstore.disk.layout import snapshot_name
from eventstore.snapshot import tidying
from tests.support.bank import bank_registry, pay

SETTINGS: dict[str, Any] = {
    "segment_size": 4096,
    "wal_max_entries": None,
    "auto_save_interval": None,
    "backup_count": 1,
}
PATIENCE = 5.0
pytestmark = pytest.mark.asyncio


async def grown(path: Path) -> EventStore[Any]:
    """A store with a finished segment that is not archived yet."""
    store: EventStore[Any] = await EventStore.open(path, bank_registry(), **SETTINGS)
    for amount in range(1, 61):
        await store.append(pay(amount))
    return store


class Pauses:
    """Holds archiving up in its first pause until `ends` is true, and tells who had the turn."""

    def __init__(self, store: EventStore[Any], ends: Callable[[], bool]) -> None:
        assert store._append_path.keeper is not None
        self._turn = store._append_path.keeper._tidying.turn
        self._ends = ends
        self._over = threading.Event()
        self.begun = threading.Event()
        self.in_vain = False
        self.held: list[bool] = []

    def __call__(self, disk: object) -> None:
        self.held.append(self._turn.locked())
        self.begun.set()
        for _ in range(int(PATIENCE / 0.002)):
            if self.in_vain or self._ends():
                return
            self._over.wait(0.002)
        self.in_vain = True


async def reached(event: threading.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        while not event.is_set():  # noqa: ASYNC110  it is set on another thread
            await asyncio.sleep(0.001)  # the thread tells the loop of nothing


async def test_a_snapshot_goes_before_archiving_that_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await grown(tmp_path / "s") as store:
        second = tmp_path / "s" / snapshot_name(61)
        pauses = Pauses(store, second.exists)
        monkeypatch.setattr(tidying, "give_way", pauses)
        first = asyncio.ensure_future(store.snapshot())
        await reached(pauses.begun)
        await store.append(pay(1))
        assert await store.snapshot() == 61
        assert await first == 60
        assert not pauses.in_vain
        assert store.stats().segments_archived > 0
        assert store.stats().snapshots == 2


@pytest.mark.parametrize(("most", "keeps"), [(1, True), (16, False)])
async def test_archiving_keeps_its_turn_where_segments_wait(
    most: int, keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await grown(tmp_path / "s") as store:
        pauses = Pauses(store, lambda: True)
        monkeypatch.setattr(tidying, "give_way", pauses)
        monkeypatch.setattr(tidying, "_MOST_SNAPSHOTS", most)
        await store.snapshot()
        assert set(pauses.held) == {keeps}


async def test_closing_waits_for_the_pass_after_the_one_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, closing = await grown(tmp_path / "s"), threading.Event()
    pauses = Pauses(store, closing.is_set)
    monkeypatch.setattr(tidying, "give_way", pauses)
    snapshots = [asyncio.ensure_future(store.snapshot())]
    await reached(pauses.begun)
    await store.append(pay(1))
    snapshots.append(asyncio.ensure_future(store.snapshot()))
    while store.stats().snapshots < 2:  # noqa: ASYNC110  it is archiving meanwhile
        await asyncio.sleep(0.001)  # no call tells of a snapshot before archiving
    ending = asyncio.ensure_future(store.close())
    for _ in range(20):
        await asyncio.sleep(0)  # the closing gets as far as it can
    closing.set()
    await ending
    assert await asyncio.gather(*snapshots) == [60, 61]
    assert not pauses.in_vain
    assert not [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
