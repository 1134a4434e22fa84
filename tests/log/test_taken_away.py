"""Files or the directory taken away under an open store: nothing more is acknowledged."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventLog, EventStore, StoreFailedError
from eventstore.disk.layout import segment_name
from eventstore.log import writer as writer_module
from eventstore.testing import SimulatedDisk
from tests.log.samples import commit, new_log, values_on, writer_after, writer_on
from tests.support.bank import bank_registry, pay

Harm = Callable[[Path], object]


def segment(store: Path) -> Path:
    return max((store / "log").glob("0*.log"))


def replaced(store: Path) -> None:
    """Put an equal file under the segment's name."""
    copy = store / "copy"
    shutil.copyfile(segment(store), copy)
    copy.rename(segment(store))


def linked_and_removed(store: Path) -> None:
    """Leave the segment under another name only, as a copy of hard links does."""
    os.link(segment(store), store / "kept")
    segment(store).unlink()


HARMS: dict[str, Harm] = {
    "the segment is removed": lambda store: segment(store).unlink(),
    "the segment is emptied": lambda store: os.truncate(segment(store), 0),
    "the segment is cut": lambda store: os.truncate(segment(store), 2048),
    "the segment is renamed": lambda store: segment(store).rename(segment(store).with_suffix(".1")),
    "the segment is replaced": replaced,
    "the segment has another name only": linked_and_removed,
    "the log is moved": lambda store: (store / "log").rename(store / "log.old"),
    "the log is removed": lambda store: shutil.rmtree(store / "log"),
    "the store is moved": lambda store: store.rename(store.with_suffix(".old")),
    "the store is removed": lambda store: shutil.rmtree(store),
    "what is above is moved": lambda store: store.parent.rename(store.parent.with_suffix(".old")),
}


@pytest.fixture(params=list(HARMS.values()), ids=list(HARMS))
def harm(request: pytest.FixtureRequest) -> Harm:
    made: Harm = request.param
    return made


@pytest.fixture
def every_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at every commit, however soon after the last look."""
    monkeypatch.setattr(writer_module, "_LOOK", 0)


def log_at(path: Path, **options: Any) -> Any:
    """Open a log without an idle seal, which would notice first on a slow disk."""
    return EventLog.open(path, segment_size=4096, idle_seal=3600.0, **options)


async def first_event(log: EventLog[Any]) -> None:
    """Append an event, and wait for the spare segment, which may notice first."""
    await log.append(b"one")
    while not log.stats().spare_ready:  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.usefixtures("every_commit")
@pytest.mark.parametrize("durability", ["commit", "interval", "none"])
async def test_the_next_append_is_told(tmp_path: Path, harm: Harm, durability: str) -> None:
    path = tmp_path / "above" / "store"
    log = await log_at(path, durability=durability, sync_interval=3600.0)
    await first_event(log)
    harm(path)
    with pytest.raises(StoreFailedError, match="is not what this store writes to any more") as told:
        await log.append(b"two")
    assert told.value.path == f"{path}/{segment_name(1)}"
    with pytest.raises(StoreFailedError):
        await log.append(b"three")
    assert log.stats().failed
    assert log.seq == 1
    with pytest.raises(StoreFailedError):
        await log.flush()
    if durability == "commit":
        await log.close()
    else:  # the first event was acknowledged, and is gone
        with pytest.raises(StoreFailedError, match="event 1 was acknowledged before a sync"):
            await log.close()


@pytest.mark.asyncio
async def test_closing_is_told(
    tmp_path: Path, harm: Harm, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "above" / "store"
    log = await log_at(path)
    await first_event(log)
    harm(path)
    with pytest.raises(StoreFailedError, match="any more"), caplog.at_level(logging.CRITICAL):
        await log.close()
    assert "put back what was taken away" in caplog.text


@pytest.mark.parametrize("what", ["idle", "full", "closed"])
def test_a_log_without_its_manifest_is_not_sealed(what: str) -> None:
    disk = new_log()
    writer = writer_on(disk)
    commit(writer, "x" * 1500)
    commit(writer, "x" * 1500)
    disk.remove_file("store.json")
    commit(writer, "a short one")
    steps: dict[str, Callable[[], None]] = {
        "idle": writer.seal_idle,
        "full": lambda: commit(writer, "x" * 1500),
        "closed": writer.close,
    }
    with pytest.raises(StoreFailedError, match=r"store\.json was removed") as told:
        steps[what]()
    assert told.value.path == "simulated/store.json"


@pytest.mark.asyncio
async def test_commits_shortly_after_another_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 10**9
    monkeypatch.setattr("time.perf_counter_ns", lambda: now)
    log = await log_at(tmp_path / "store")
    await first_event(log)
    segment(tmp_path / "store").unlink()
    now += writer_module._LOOK - 1
    await log.append(b"two")
    now += 1
    with pytest.raises(StoreFailedError):
        await log.append(b"three")
    await log.close()


def test_a_full_segment_is_looked_at_before_the_next_one_begins() -> None:
    disk = new_log()
    writer = writer_on(disk)
    commit(writer, "x" * 1500)
    commit(writer, "x" * 1500)
    disk.remove_file(segment_name(1))
    with pytest.raises(StoreFailedError, match="it was removed"):
        commit(writer, "x" * 1500)
    assert segment_name(3) not in disk.files()
    writer.close()


@pytest.mark.asyncio
async def test_preparing_the_next_segment_notices_too(tmp_path: Path) -> None:
    log = await log_at(tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "log")
    with pytest.raises(StoreFailedError, match="it was removed, or its folder was"):
        await log.append(b"one")
    await log.close()


def test_an_idle_log_is_looked_at_before_it_is_sealed() -> None:
    disk = new_log()
    writer = writer_on(disk)
    commit(writer, "one")
    disk.move_away()
    before = len(disk.calls)
    with pytest.raises(StoreFailedError, match="moved"):
        writer.seal_idle()
    writer.close()
    assert not [call for call in disk.calls[before:] if call.kind == "write"]


def test_what_is_put_back_opens_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    disk = new_log()
    writer = writer_on(disk)
    commit(writer, "one")
    disk.move_away()
    with pytest.raises(StoreFailedError):
        writer.seal_idle()
    writer.close()
    back = disk.clone()
    writer_after(back).close()
    assert values_on(back) == ["one"]


@pytest.mark.asyncio
@pytest.mark.parametrize("use_wal", [True, False])
async def test_a_snapshot_is_not_written_beside_the_path(use_wal: bool) -> None:
    disk = SimulatedDisk()
    store = await EventStore.open("", bank_registry(), disk=disk, use_wal=use_wal)
    await store.append(pay())
    disk.move_away()
    with pytest.raises(StoreFailedError, match=r"simulated/snapshots.* it was moved"):
        await store.snapshot()
    assert not [name for name in disk.files() if name.startswith("snapshots/")]
    with pytest.raises(StoreFailedError):
        await store.append(pay())
    with pytest.raises(StoreFailedError):
        await store.close()
