"""`eventstore backup`, `restore`, `copy`, `compact` and `snapshot` through the command line."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from eventstore import EventStore, state_at, state_digest
from eventstore.command_line.all_commands import commands
from eventstore.command_line.backup import ended_by_signal
from eventstore.history import branch
from eventstore.tools.backup import entrance
from eventstore.tools.backup.catalog import load_catalog
from eventstore.tools.backup.copying import Copy
from eventstore.tools.backup.entrance import make_backup, open_place
from tests.support.bank import bank_registry, pay
from tests.support.orders import PlaceOrder, order_registry

BANK = ["--registry", "tests.support.bank:bank_registry"]


def eventstore(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


async def fill(store: Path, count: int) -> None:
    async with EventStore.open(store, bank_registry(), segment_size=4096) as opened:
        for _ in range(count):
            await opened.append(pay(1))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "day", 50))
    return tmp_path / "day"


def test_backup_and_restore(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    made = eventstore("backup", store, to, *BANK)
    assert made.exit_code == 0, made.output
    digest = state_digest(state_at(store, bank_registry()))
    assert re.fullmatch(
        rf"{re.escape(str(to))}: events 1 … 50, digest {digest[:16]}…, \d new files, [\d.]+ kB, "
        r"verified by restoring the state; \d+\.\d s\n",
        made.stdout,
    )
    again = eventstore("backup", store, to, *BANK)
    assert again.stdout == f"{to}: nothing new since copy 1: events 1 … 50\n"
    asyncio.run(fill(store, 5))
    eventstore("backup", store, to, *BANK)

    listed = eventstore("backup", "--list", to)
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert rows[0] == "copy made first last time bytes digest timeline".split()
    assert [row[0] for row in rows[1:]] == ["1", "2"]
    assert [row[3] for row in rows[1:]] == ["50", "55"]
    assert rows[1][6] == digest[:16]

    new = tmp_path / "day2"
    dry = eventstore("restore", to, new, "--at", "50", "--dry-run", *BANK)
    assert dry.exit_code == 0, dry.output
    assert dry.stdout == (
        f"would write {new}: events 1 … 50 (5 newer ones are in the backup: 51 … 55), timeline 2\n"
    )
    assert "objects, all there" in dry.stderr
    assert not new.exists()
    done = eventstore("restore", to, new, "--at", "50", *BANK)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"wrote {new}: events 1 … 50 (5 newer")
    assert state_digest(state_at(new, bank_registry())) == digest

    existing = eventstore("restore", to, new, *BANK)
    assert existing.exit_code == 2
    assert f"{new} exists; choose another path, or move it away first" in existing.stderr
    assert eventstore("restore", to, tmp_path / "n", "--at", "56", *BANK).exit_code == 4
    assert (
        eventstore("restore", to, tmp_path / "n", "--at", "-0s", "--dry-run", *BANK).exit_code == 0
    )


def test_intents_in_doubt_are_named(tmp_path: Path) -> None:
    async def trade() -> None:
        async with (
            EventStore.open(tmp_path / "day", order_registry()) as store,
            store.intend(PlaceOrder(decision=1)),
        ):
            pass

    asyncio.run(trade())
    to, orders = tmp_path / "backup", ["--registry", "tests.support.orders:order_registry"]
    eventstore("backup", tmp_path / "day", to, *orders)
    for handlers in (orders, ["--registry", "tests.support.bank:bank_registry"]):
        new = tmp_path / f"new-{len(handlers[1])}"
        done = eventstore("restore", to, new, *handlers)
        assert done.exit_code == 0, done.output
        assert re.search(r"in doubt: place_order \S+, event 1: ask the venue", done.stderr)


def test_an_opening_says_that_later_events_are_gone_until_the_first_one(
    store: Path, tmp_path: Path
) -> None:
    eventstore("backup", store, tmp_path / "backup", *BANK)
    eventstore("restore", tmp_path / "backup", tmp_path / "new", "--at", "40", *BANK)

    async def warnings(of: Path) -> tuple[str, ...]:
        async with EventStore.open(of, bank_registry()) as opened:
            return opened.recovery.warnings

    gone = "events after 40 are not in this store: reconcile before trading"
    assert asyncio.run(warnings(store)) == ()
    assert asyncio.run(warnings(tmp_path / "new")) == (gone,)
    assert asyncio.run(warnings(tmp_path / "new")) == (gone,)
    asyncio.run(fill(tmp_path / "new", 1))
    assert asyncio.run(warnings(tmp_path / "new")) == ()

    async def branch_off() -> None:
        async with branch(store, bank_registry(), 40, to=tmp_path / "branch"):
            pass

    asyncio.run(branch_off())
    assert asyncio.run(warnings(tmp_path / "branch")) == ()


def test_json(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    made = json.loads(eventstore("backup", store, to, "--json", *BANK).stdout)
    assert made["schema"] == "eventstore.backup/1"
    assert (made["last"], made["new"], made["timeline"]) == (50, True, 1)
    listed = json.loads(eventstore("backup", "--list", to, "--json").stdout)
    assert [one["digest"] for one in listed["copies"]] == [made["digest"]]
    done = json.loads(eventstore("restore", to, tmp_path / "n", "--json", *BANK).stdout)
    assert done["schema"] == "eventstore.restore/1"
    assert (done["digest"], done["in_doubt"], done["written"]) == (made["digest"], [], True)


def test_statuses(store: Path, tmp_path: Path) -> None:
    assert eventstore("backup", store).exit_code == 2
    assert eventstore("backup", "--list", tmp_path / "none").exit_code == 4
    assert eventstore("backup", tmp_path / "none", tmp_path / "b").exit_code == 4
    assert eventstore("restore", tmp_path / "none", tmp_path / "n").exit_code == 4
    assert eventstore("backup", store, tmp_path / "b", "--every", "soon").exit_code == 2
    zombie = tmp_path / "zombie"
    shutil.copytree(store, zombie)
    asyncio.run(fill(store, 1))
    asyncio.run(fill(zombie, 2))
    eventstore("backup", store, tmp_path / "b", *BANK)
    refused = eventstore("backup", zombie, tmp_path / "b", *BANK)
    assert refused.exit_code == 1
    assert "does not go on from there" in refused.stderr


def test_an_incomplete_backup_is_a_finding(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    eventstore("backup", store, to, *BANK)
    next((to / "data").rglob("*-*.zst")).unlink()
    dry = eventstore("restore", to, tmp_path / "n", "--dry-run", *BANK)
    assert dry.exit_code == 1
    assert "NOT COMPLETE: 1 objects" in dry.stderr
    assert eventstore("restore", to, tmp_path / "n", *BANK).exit_code == 1
    assert not (tmp_path / "n").exists()


def rewrite(file: Path, old: bytes, new: bytes) -> None:
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new, 1))


class TestADamagedCopy:
    """The newest copy cannot be used, and an earlier one can."""

    @pytest.fixture
    def to(self, store: Path, tmp_path: Path) -> Path:
        to = tmp_path / "backup"
        eventstore("backup", store, to, *BANK)
        asyncio.run(fill(store, 5))
        eventstore("backup", store, to, *BANK)
        return to

    def damage(self, to: Path, what: str) -> None:
        if what == "catalog":
            rewrite(to / "catalogs" / "0000000002.json", b'"last": 55', b'"last": 54')
        else:
            max((to / "data").rglob("*-*.zst"), key=lambda one: one.stat().st_mtime_ns).unlink()

    @pytest.mark.parametrize("what", ["catalog", "part"])
    def test_restore_takes_the_copy_before(self, what: str, to: Path, tmp_path: Path) -> None:
        self.damage(to, what)
        for at in ((), ("--at", 50)):
            refused = eventstore("restore", to, tmp_path / "n", *map(str, at), *BANK)
            assert refused.exit_code == 1, refused.output
            assert "--copy N (eventstore backup --list names them)" in refused.stderr
        done = eventstore("restore", to, tmp_path / "n", "--copy", "1", *BANK)
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith(f"wrote {tmp_path / 'n'}: events 1 … 50, timeline 2")
        assert eventstore("restore", to, tmp_path / "m", "--copy", "3").exit_code == 4

    def test_the_list_has_the_others(self, to: Path) -> None:
        self.damage(to, "catalog")
        listed = eventstore("backup", "--list", to)
        assert listed.exit_code == 1
        assert [line.split("\t")[0] for line in listed.stdout.splitlines()] == ["copy", "1"]
        assert "DAMAGED" in listed.stderr
        found = json.loads(eventstore("backup", "--list", to, "--json").stdout)
        assert [one["number"] for one in found["copies"]] == [1]
        assert [one["number"] for one in found["damaged"]] == [2]

    def test_a_newer_release_is_no_damage(self, to: Path, tmp_path: Path) -> None:
        """A flipped digit of the version is damage, and a catalog that was sealed so is none."""
        file = to / "catalogs" / "0000000002.json"
        newer = msgspec.structs.replace(load_catalog(open_place(str(to)), 2), format=2)
        rewrite(file, b'"format": 1', b'"format": 2')
        assert eventstore("restore", to, tmp_path / "n", *BANK).exit_code == 1
        file.write_bytes(newer.encode())
        for words in (("restore", to, tmp_path / "n"), ("backup", "--list", to)):
            result = eventstore(*words)
            assert result.exit_code == 5, result.output
            assert "nothing is damaged" in result.stderr


def test_follow_until_sigterm(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backup"
    command = [sys.executable, "-m", "eventstore", "backup", str(store), str(to)]
    command += ["--follow", "--every", "20ms", "--keep", "2", *BANK]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            assert "events 1 … 50" in process.stdout.readline()
            for count in (51, 52, 53):
                asyncio.run(fill(store, 1))
                line = process.stdout.readline()
                assert f"events 1 … {count}" in line
                assert line.endswith("; 1 older copy removed\n") == (count > 51)
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()
    rows = eventstore("backup", "--list", to).stdout.splitlines()
    assert len(rows) == 3


def test_a_slow_copy_does_not_add_to_the_interval(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--every` is the span from the begin of a copy to the begin of the next one."""
    durations, waits, now = iter([4.0, 12.0, 1.0]), list[float](), 0.0

    def slow(*arguments: Any, **options: Any) -> Copy:
        nonlocal now
        now += next(durations)
        return make_backup(*arguments, **options)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    monkeypatch.setattr(entrance, "make_backup", slow)
    monkeypatch.setattr(entrance, "time", SimpleNamespace(monotonic=lambda: now))
    told = entrance.follow_store(store, str(tmp_path / "b"), None, wait, every=10.0, tell=print)
    assert [seconds for _, seconds in told] == [4.0]
    assert waits == [6.0, 0.0, 9.0]


def test_a_signal_at_any_time_ends_the_waiting() -> None:
    """Also one that comes while the handler of another one runs, and a flood of them."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with ended_by_signal() as wait_for_end:
        assert not wait_for_end(0)
        for _ in range(70_000):  # more than a pipe holds
            signal.raise_signal(signal.SIGTERM)
        assert wait_for_end(60)
        signal.raise_signal(signal.SIGINT)
        assert wait_for_end(60)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_locked(store: Path, tmp_path: Path) -> None:
    async def beside() -> None:
        async with EventStore.open(store, bank_registry()):
            new = str(tmp_path / "n")
            for name, *rest in (["compact"], ["snapshot", *BANK], ["copy", new]):
                found = await asyncio.to_thread(eventstore, name, store, *rest)
                assert found.exit_code == 3, found.output
                assert f"process {os.getpid()}" in found.stderr or "this process" in found.stderr

    asyncio.run(beside())


def test_snapshot_compact_copy(store: Path, tmp_path: Path) -> None:
    taken = eventstore("snapshot", store, *BANK)
    assert taken.stdout == f"{store}: wrote the snapshot of event 50\n"
    again = eventstore("snapshot", store, *BANK)
    assert again.stdout == f"{store}: there is a snapshot of event 50 already, the last event\n"
    compacted = eventstore("compact", store)
    assert compacted.exit_code == 0
    assert "segments archived" in compacted.stdout
    copied = eventstore("copy", store, tmp_path / "new", "--json")
    assert json.loads(copied.stdout)["seq"] == 50
    assert state_at(tmp_path / "new", bank_registry()) == state_at(store, bank_registry())
