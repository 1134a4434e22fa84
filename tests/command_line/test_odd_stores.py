"""Commands on stores of every kind: snapshots only, values, a discarded beginning, no event yet."""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eventstore import EventLog, EventStore, StoreFullError
from eventstore.command_line.all_commands import commands
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.repair import repairing
from eventstore.tools import upkeep
from handlers import FullState, RecordTrade, trading_registry
from tests.repair.day_store import contents, flip, segments

REGISTRY = trading_registry()
sample_command = importlib.import_module("eventstore.command_line.sample")


def trade(number: int) -> RecordTrade:
    return RecordTrade(trade_id=f"T{number}", symbol="S", side="buy", shares=number, price=10)


async def fill(root: Path) -> None:
    async with EventLog.open(root / "values") as log:
        for number in range(5):
            await log.append({"number": number})
    async with EventStore.open(root / "snapshots", REGISTRY, use_wal=False) as store:
        for number in range(1, 4):
            await store.append(trade(number))
            await store.snapshot()
    async with EventStore.open(
        root / "discarded",
        REGISTRY,
        segment_size=4096,
        history="discard",
        backup_count=2,
        wal_max_entries=None,
    ) as store:
        for number in range(1, 121):
            await store.append(trade(number))
            if number % 40 == 0:
                await store.snapshot()
    async with EventStore.open(root / "empty", REGISTRY):
        pass
    async with EventStore.open(root / "one", REGISTRY) as store:
        await store.append(FullState(cash=5.0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path))
    return tmp_path


def run(root: Path, line: str) -> Result:
    words = [str(root / word[1:]) if word[0] == "@" else word for word in shlex.split(line)]
    return CliRunner().invoke(commands, words)


def answer(root: Path, line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(root, f"{line} --json").stdout)
    return found


KINDS = ("values", "snapshots", "discarded", "empty", "one")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_store_has_no_finding(kind: str, root: Path) -> None:
    before = contents(root / kind)
    assert answer(root, f"info @{kind}")["opens"]["verdict"] is True
    for line in ("info @{}", "verify @{}", "repair @{}", "stats @{}", "report @{} -o @page.html"):
        result = run(root, line.format(kind))
        assert result.exit_code == 0, (line, result.output)
        assert "None" not in result.output, (line, result.output)
    assert contents(root / kind) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_and_a_copy_are_the_same_store(kind: str, root: Path) -> None:
    assert run(root, f"backup @{kind} @kept").exit_code == 0
    assert run(root, "restore @kept @restored").exit_code == 0
    assert run(root, f"copy @{kind} @copied").exit_code == 0
    for new in ("restored", "copied"):
        assert answer(root, f"info @{new}")["opens"]["verdict"] is True
        assert run(root, f"verify @{new}").exit_code == 0
        if kind != "values":
            state = answer(root, f"state @{new}")["digest"]
            assert state == answer(root, f"state @{kind}")["digest"]


def test_a_snapshot_does_not_turn_the_log_on(root: Path) -> None:
    assert run(root, "snapshot @snapshots").exit_code == 0
    disk = LocalDisk(root / "snapshots", read_only=True)
    assert load_manifest(disk).logged is False
    disk.close()
    assert "no event yet" in run(root, "snapshot @empty").stdout


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("compact @values", 4, "is an EventLog, which has no snapshot"),
        ("compact @snapshots", 4, "has no log, so there is nothing to archive"),
        ("compact @one", 4, "next: eventstore snapshot"),
        ("copy @one @one/copy", 2, "is within the store"),
        ("export @one @one/out --format jsonl", 2, "is within the store"),
        ("export @one @kept/out --format jsonl", 2, "is within the backup"),
        ("restore @kept @kept/new", 2, "is within the backup"),
        ("repair @one --drop 1 --to @one/new --apply", 2, "is within the store"),
        ("backup @empty @kept", 2, "choose another place"),
        ("restore @one @new", 4, "It is a store"),
        ("diff @snapshots @one --events", 4, "has no log"),
        ("events @one --around 7", 4, "there is no event around 7"),
        ("state @one --at 7", 4, "the last is event 1; ask for that one, or an earlier one"),
    ],
)
def test_what_cannot_be_done_is_said(line: str, status: int, said: str, root: Path) -> None:
    assert run(root, "backup @one @kept").exit_code == 0
    before = contents(root)
    result = run(root, line)
    assert result.exit_code == status, result.output
    assert said in result.stderr
    assert contents(root) == before


def test_states_are_compared_without_a_log(root: Path) -> None:
    result = run(root, "diff @snapshots @one")
    assert result.exit_code == 1, result.output
    assert "cash\t-60" in result.stdout


@pytest.mark.parametrize("kind", ["snapshots", "discarded"])
def test_no_sound_snapshot_is_told_place_by_place(kind: str, root: Path) -> None:
    for snapshot in (root / kind / "snapshots").iterdir():
        snapshot.write_bytes(snapshot.read_bytes()[:-50])
    assert answer(root, f"info @{kind}")["opens"]["verdict"] is False
    told = run(root, f"repair @{kind}")
    assert told.exit_code == 1, told.output
    assert "no repair gives a state back; next: eventstore restore BACKUP NEW" in told.stderr
    assert "--apply" not in told.stderr


@pytest.mark.parametrize(
    ("line", "module", "name"),
    [
        ("copy @one @new", upkeep, "write_fully"),
        ("repair @one --drop 1 --apply --to @new", repairing, "write_atomically"),
        ("sample @one --every 1 --columns cash --out @new", sample_command, "_write_csv"),
    ],
)
def test_a_full_disk_is_told_of_the_new_file_and_leaves_none(
    line: str, module: Any, name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, name, full)
    before = contents(root)
    result = run(root, line)
    assert result.exit_code == 5, result.output
    assert "could not be written (ENOSPC)" in result.stderr
    assert "new" in result.stderr.partition("could not")[0]
    assert contents(root) == before


def test_a_migration_to_a_full_disk_says_that_no_store_was_made(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise StoreFullError("the log is full", path="log", errno=errno.ENOSPC)

    (tmp_path / "events.jsonl").write_text(run(root, "events @one --json").stdout)
    monkeypatch.setattr(EventStore, "flush", full)
    result = run(root, "migrate --events @events.jsonl @new")
    assert result.exit_code == 5, result.output
    assert "new: no space, and no store was made: free some space" in result.stderr
    assert not (root / "new").exists()


def test_a_repair_in_place_says_what_it_changed(hurt: Path) -> None:
    damaged = segments(hurt)[1]
    flip(damaged, 2000)
    told = run(hurt, f"repair {hurt} --mend --in-place --apply").stdout
    assert f"  changed   log/{damaged.name} (1 byte)" in told
    assert "  kept      the bytes of before are in quarantine/repair-" in told
