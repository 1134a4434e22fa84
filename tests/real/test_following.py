"""A follower in another process, while the writer is killed, restarts, rolls, and archives."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random

import pytest

from eventstore import EventStore, StoreLockedError
from eventstore.following import follow, follow_sync
from tests.real.children import Child, Parent
from tests.real.conftest import Start
from tests.torture.ledger import Deposit, ledger_registry

LIVES = 6
OPTIONS = {
    "segment_size": 4096,
    "wal_max_entries": 15,
    "backup_count": 1,
    "history": "archive",
    "idle_seal": 0.001,
}
LAST = "the last"


async def write(parent: Parent, path: str, life: int, events: int) -> None:
    """Append events as fast as possible, and report the numbers that were acknowledged."""
    async with EventStore.open(path, ledger_registry(), OPTIONS) as store:
        parent.report(store.seq)
        for _ in range(events):
            memo = LAST if life == LIVES else "x" * 200
            number = store.seq + 1
            receipt = await store.append(
                Deposit(number=number, account=f"life {life}", amount=1, memo=memo)
            )
            parent.report(receipt.seq)


async def listen(parent: Parent, path: str, way: str) -> None:
    """Follow from the beginning to the event that is marked as the last. Report what came."""
    parent.report("ready")
    if way == "sync":
        with follow_sync(path, ledger_registry(), after=0) as events:
            for event in events:
                parent.report(event.seq, event.data.number, event.data.account)
                if event.data.memo == LAST:
                    return
    async with follow(path, ledger_registry(), after=0) as follower:
        async for event in follower:
            parent.report(event.seq, event.data.number, event.data.account)
            if event.data.memo == LAST:
                return


@pytest.mark.parametrize("way", ["sync", "async"])
def test_each_event_comes_once_whatever_becomes_of_the_writer(
    way: str, tmp_path: Path, start: Start
) -> None:
    random, path = Random(way), os.fspath(tmp_path / "store")
    acknowledged = 0
    follower: Child | None = None
    for life in range(LIVES):
        writer = start(write, path, life, 1_000_000)
        (seq,) = writer.report()
        assert seq >= acknowledged
        if follower is None:
            follower = start(listen, path, way)
            assert follower.report() == ("ready",)
        for _ in range(random.randint(8, 30)):
            (acknowledged,) = writer.report()
        writer.kill()
        for (number,) in writer.reports():
            acknowledged = number
    assert follower is not None
    writer = start(write, path, LIVES, 1)
    writer.report()
    (last,) = writer.report()
    writer.wait()
    heard = list(follower.reports())
    assert [seq for seq, _, _ in heard] == list(range(1, last + 1))
    assert all(seq == number for seq, number, _ in heard)
    assert last > acknowledged > 30
    assert list((tmp_path / "store" / "archive").iterdir()), "segments came and went"


@pytest.mark.asyncio
async def test_what_is_acknowledged_is_delivered_while_the_writer_lives(
    tmp_path: Path, start: Start
) -> None:
    path = os.fspath(tmp_path / "store")
    async with EventStore.open(path, ledger_registry(), OPTIONS) as store:
        follower = start(listen, path, "sync")
        assert follower.report() == ("ready",)
        for number in range(1, 6):
            await store.append(Deposit(number=number, account="a", amount=1))
            report = await asyncio.to_thread(follower.report)
            assert report[0] == number
        other = start(locked, path)
        assert other.report() == ("locked",), "a follower changes nothing about the lock"
        await store.append(Deposit(number=6, account="a", amount=1, memo=LAST))
        assert follower.report()[0] == 6
        follower.wait()


async def locked(parent: Parent, path: str) -> None:
    try:
        await EventStore.open(path, ledger_registry())
    except StoreLockedError:
        parent.report("locked")
