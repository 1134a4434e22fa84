"""Folding again by several processes: every finding is the one of a single process."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import Event, EventStore, HandlerRegistry, SimulatedClock, handler
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.snapshot.format import SnapshotBuilder, parse
from eventstore.tools import Refold, refold_divergence, verify
from eventstore.tools.refold import Extent
from tests.support.till import (
    Account,
    Pay,
    Sell,
    pay,
    sell,
    sell_by_the_clock,
    sell_with_fee,
)
from tests.tools.command import eventstore

START = 1_700_000_000 * 10**9


@handler
def sell_until_thirty(state: Account, event: Event[Sell]) -> Account:
    if event.seq > 30:
        raise ValueError("not any more")
    return sell(state, event)


PURE: HandlerRegistry[Account] = HandlerRegistry(pay, sell)


async def fill(path: Path, registry: HandlerRegistry[Any]) -> None:
    """Pays and sells by turns, a snapshot after every tenth of 60 events."""
    async with EventStore.open(
        path,
        registry,
        clock=SimulatedClock(START),
        segment_size=4096,
        wal_max_entries=None,
        auto_save_interval=None,
        backup_count=9,
    ) as store:
        for number in range(1, 61):
            name = "timed" if number == 26 else f"s{number % 6}"
            kind = Pay if number % 2 else Sell
            await store.append(kind(name=name, amount=float(number % 9)))
            if number % 10 == 0:
                await store.snapshot()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("till") / "s"
    asyncio.run(fill(path, PURE))
    return path


def refolded(path: Path, registry: HandlerRegistry[Any], jobs: int) -> Refold:
    found = verify(path, registry, extent=Extent(jobs=jobs)).refolded
    assert found is not None
    assert found.jobs == jobs
    return msgspec.structs.replace(found, jobs=0)


@pytest.mark.parametrize("sells", [sell, sell_until_thirty])
def test_a_store_is_judged_as_by_one_process(store: Path, sells: Any) -> None:
    registry: HandlerRegistry[Account] = HandlerRegistry(pay, sells)
    by_one, by_two = (refolded(store, registry, jobs) for jobs in (1, 2))
    assert by_two == by_one
    assert by_two.ranges == ((1, 60 if sells is sell else 30),)


def test_a_wrong_snapshot_is_named_as_by_one_process(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One snapshot, whole in itself, has another state than the events lead to."""
    monkeypatch.setattr(refold_divergence, "SEEDS", (0,))  # folds in further interpreters cost time
    asyncio.run(fill(tmp_path / "s", HandlerRegistry(pay, sell_with_fee)))
    asyncio.run(fill(tmp_path / "wrong", PURE))
    name = f"snapshots/{40:020}.snap"
    content = rewritten(tmp_path / "s" / name, load_manifest(LocalDisk(tmp_path / "wrong")).store)
    (tmp_path / "wrong" / name).write_bytes(content)
    by_one, by_two = (refolded(tmp_path / "wrong", PURE, jobs) for jobs in (1, 2))
    assert by_two == by_one
    assert by_two.divergence is not None
    assert (by_two.divergence.agrees_at, by_two.divergence.differs_at) == (30, 40)
    assert by_two.agreeing == (10, 20, 30)


def rewritten(file: Path, store: uuid.UUID) -> bytes:
    """Return a snapshot's content as that of another store, with every checksum right."""
    header, about, digest, slices = parse(file.read_bytes())
    builder = SnapshotBuilder()
    found = builder.begin(msgspec.structs.replace(header, store=store), about)
    for content in slices:
        found += builder.slice(content)
    return found + builder.end(digest)


def test_a_handler_that_reads_the_clock_is_named(tmp_path: Path) -> None:
    registry: HandlerRegistry[Account] = HandlerRegistry(pay, sell_by_the_clock)
    asyncio.run(fill(tmp_path / "s", registry))
    found = refolded(tmp_path / "s", registry, 2).divergence
    assert found is not None
    assert (found.agrees_at, found.differs_at, found.seq) == (20, 30, 26)
    assert found.cause == "unrepeatable"


def test_it_works_beside_a_writer(tmp_path: Path) -> None:
    async def beside() -> list[bool]:
        async with EventStore.open(
            tmp_path / "s", PURE, segment_size=4096, wal_max_entries=20, backup_count=3
        ) as store:
            passed = []
            for number in range(1, 200):
                receipt = store.submit(Pay(name="x", amount=float(number)))
                if number % 90 == 0:
                    check = asyncio.to_thread(verify, tmp_path / "s", PURE, extent=Extent(jobs=2))
                    running = asyncio.create_task(check)
                    while not running.done():
                        await store.append(Pay(name="x", amount=1.0))
                    passed.append(running.result().passed)
                await receipt
            return passed

    assert asyncio.run(beside()) == [True, True]


def test_the_command_says_how_many_processes_folded(store: Path) -> None:
    arguments = ("verify", store, "--registry", "tests.tools.test_refold_jobs:PURE", "--jobs", 2)
    result = eventstore(*arguments)
    assert result.exit_code == 0, result.output
    assert "folded again from the beginning by 2 processes: 6 snapshots agree" in result.output


def made() -> HandlerRegistry[Account]:
    @handler
    def inner(state: Account, event: Event[Sell]) -> Account:
        return sell(state, event)

    return HandlerRegistry(pay, inner)


def test_the_command_says_why_one_process_folded(store: Path) -> None:
    arguments = ("verify", store, "--registry", "tests.tools.test_refold_jobs:made", "--jobs", 2)
    result = eventstore(*arguments)
    assert result.exit_code == 0, result.output
    assert "folded by one process: not every handler" in result.output
