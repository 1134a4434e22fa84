"""`eventstore repair` with remedies and edits on the command line: priced first, and complete."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from eventstore import EventLog, EventStore, read_events, state_at, state_digest
from eventstore.command_line.all_commands import commands
from handlers import trading_registry
from tests.repair.day_store import EVENTS, archives, contents, flip, make, segments
from tests.repair.test_repair import behind_snapshots

REGISTRY = trading_registry()


def run(line: str) -> Result:
    return CliRunner().invoke(commands, shlex.split(line)[1:])


def offer(line: str) -> dict[str, Any]:
    result = run(f"{line} --json")
    assert result.exit_code == 1, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def next_of(result: Result) -> str:
    (line,) = [one for one in result.stderr.splitlines() if one.startswith("next: ")]
    return line.removeprefix("next: ")


@pytest.mark.parametrize(
    "edit",
    [
        "--drop 280",
        """--replace 280 '{"op": "full_state", "cash": 7}'""",
        "--drop 20 --drop 280 --reason 'a bust'",
    ],
)
def test_an_edit_of_a_sound_store_is_priced_and_then_done(edit: str, hurt: Path) -> None:
    line = f"eventstore repair {hurt} {edit}"
    before = contents(hurt)
    told = run(line)
    assert told.exit_code == 1, told.output
    assert "no damaged places. Nothing was changed." in told.stdout
    rows = [row.split("\t") for row in told.stdout.splitlines() if "\t" in row]
    assert [row[0].strip() for row in rows] == ["remedy", "as it is", "as asked"]
    assert rows[1] != rows[2], "the states differ, and the table shows it"
    assert contents(hurt) == before
    price = offer(line)["asked"]
    assert price["lost_events"] == edit.count("--drop")
    done = run(next_of(told))
    assert done.exit_code == 0, done.output
    new = Path(json.loads(run(f"eventstore info {hurt} --json").stdout)["path"])
    (wrote,) = new.parent.glob("hurt.repaired-*")
    assert state_digest(state_at(wrote, REGISTRY)) == price["digest"]


def test_the_price_of_the_choices_that_were_asked_for(hurt: Path) -> None:
    flip(archives(hurt)[1], 700, 3)
    flip(behind_snapshots(hurt), 2000)
    line = f"eventstore repair {hurt} --choose 1=mend,2=skip"
    found = offer(line)
    assert (found["together"]["lost_events"], found["asked"]["lost_events"]) == (0, 5)
    told = run(line)
    assert next_of(told) == f"{line} --apply"
    assert run(next_of(told)).exit_code == 0
    half = run(f"eventstore repair {hurt} --choose 2=cut")
    assert "place 1" not in half.stderr, "only one remedy of place 1 loses nothing"
    assert next_of(half).endswith("--choose 2=cut --apply")


def test_a_place_without_a_choice_is_named(hurt: Path) -> None:
    segments(hurt)[1].unlink()
    flip(segments(hurt)[-1], 1000)
    told = run(f"eventstore repair {hurt} --choose 2=mend")
    assert told.exit_code == 1
    assert "place 1" in told.stderr
    assert "choose a remedy (skip, cut" in told.stderr
    assert "next: " not in told.stderr


def test_the_next_command_keeps_what_was_typed(hurt: Path, day: Path) -> None:
    segments(hurt)[1].unlink()
    line = f"eventstore repair {hurt} --from {day} --registry handlers:trading_registry --in-place"
    told = run(line)
    assert next_of(told) == f"{line} --restore --apply"
    done = run(next_of(told))
    assert done.exit_code == 0, done.output
    assert run(f"eventstore repair {hurt}").exit_code == 0
    assert [event.seq for event in read_events(hurt)] == list(range(1, EVENTS + 2))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--snapshot 224", "no sound snapshot of event 224"),
        ("--snapshot 0", "no sound snapshot of event 0"),
        ("--drop 0", "the history has the events 1 to 300"),
        ("--drop 301", "the history has the events 1 to 300"),
        ("--drop -5", "the history has the events 1 to 300"),
        ('--replace 301 \'{"op": "full_state"}\'', "no event 301"),
        ("--choose 1=drop", "this place has the remedies mend, skip, cut, snapshot"),
        ("--choose 7=mend", "is not a place=remedy"),
    ],
)
@pytest.mark.parametrize("apply", ["", " --apply --mend"])
def test_what_there_is_not_is_refused(words: str, said: str, apply: str, hurt: Path) -> None:
    flip(behind_snapshots(hurt), 2000)
    before = contents(hurt)
    if "snapshot" in words:
        apply = apply.removesuffix(" --mend")
    result = run(f"eventstore repair {hurt} {words}{apply}")
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split()), result.stderr
    assert contents(hurt) == before
    assert [one.name for one in hurt.parent.iterdir()] == ["hurt"]


def test_an_older_snapshot_than_the_newest(hurt: Path) -> None:
    flip(behind_snapshots(hurt), 2000)
    price = offer(f"eventstore repair {hurt} --snapshot 150")["asked"]
    assert price["last"] == 150
    assert run(f"eventstore repair {hurt} --snapshot 150 --apply").exit_code == 0
    (wrote,) = hurt.parent.glob("hurt.repaired-*")
    assert state_digest(state_at(wrote, REGISTRY)) == price["digest"]


def test_a_repair_in_the_working_directory_is_written_beside(hurt: Path) -> None:
    flip(behind_snapshots(hurt), 2000)
    before = contents(hurt)
    with contextlib.chdir(hurt):
        done = run("eventstore repair . --mend --apply")
    assert done.exit_code == 0, done.output
    assert contents(hurt) == before
    (wrote,) = hurt.parent.glob("hurt.repaired-*")
    assert next_of(done) == f"mv {hurt} {hurt}.damaged && mv {wrote} {hurt}"


def test_in_place_keeps_the_side_files_too(hurt: Path) -> None:
    flip(behind_snapshots(hurt), 2000)
    before = contents(hurt)
    assert run(f"eventstore repair {hurt} --skip --in-place --apply").exit_code == 0
    after = contents(hurt)
    (kept,) = (hurt / "quarantine").glob("repair-*")
    for name, data in before.items():
        if after.get(name) != data and name != "writer.pid":
            assert (kept / name).read_bytes() == data, name
    size = sum(one.stat().st_size for one in kept.rglob("*") if one.is_file())
    told = msgspec.json.decode(run(f"eventstore info {hurt} --json").stdout)
    assert [one["size"] for one in told["quarantine"]] == [size]


def test_values_and_snapshots_are_not_edited(tmp_path: Path) -> None:
    async def fill() -> None:
        async with EventLog.open(tmp_path / "log") as log:
            await log.append(1)
        async with EventStore.open(tmp_path / "store", REGISTRY, use_wal=False):
            pass

    asyncio.run(fill())
    for name, why in (("log", "no value stands for a lost one"), ("store", "it has no log")):
        result = run(f"eventstore repair {tmp_path / name} --drop 1")
        assert result.exit_code == 2, result.output
        assert why in result.stderr


def test_another_store_is_no_backup_of_this_one(hurt: Path, tmp_path: Path) -> None:
    segments(hurt)[1].unlink()
    other = make(tmp_path / "other")
    told = run(f"eventstore repair {hurt} --from {other} --restore --apply")
    assert told.exit_code == 2, told.output
    assert "choose a remedy (skip, cut" in told.stderr
