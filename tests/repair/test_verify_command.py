"""`eventstore verify` on a damaged store: every place, the readable events, and the folded ones."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from eventstore.command_line.all_commands import commands
from eventstore.tools.texts import size_text
from tests.repair.day_store import EVENTS, contents, first_of, flip, segments


def verified(path: Path, *options: str) -> Result:
    return CliRunner().invoke(commands, ["verify", str(path), *options])


def test_a_sound_store_has_no_place(day: Path) -> None:
    result = verified(day)
    assert result.exit_code == 0, result.output
    assert "damaged place" not in result.output
    size = sum(
        path.stat().st_size
        for folder in ("log", "archive", "snapshots", "keys")
        for path in (day / folder).iterdir()
    )
    assert f"every checksum, seal and link is right; {size_text(size)} in " in result.output
    numbers = [f"{int(path.stem):,}" for path in sorted((day / "snapshots").iterdir())]
    assert f"{len(numbers)} snapshots agree ({numbers[0]} … {numbers[-1]})" in result.output
    assert json.loads(verified(day, "--json").stdout)["bytes"] == size
    found = json.loads(verified(day, "--json").stdout)
    assert (found["schema"], found["passed"]) == ("eventstore.verify/1", True)
    assert (found["readable"], found["places"]) == (EVENTS, [])


def test_a_part_is_folded(day: Path) -> None:
    result = verified(day, "--from", "200", "--to", "2026-03-02T14:45:00Z", "--jobs", "2", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["refolded"]["ranges"] == [[151, 226]]


def test_each_place_is_one_row_with_the_lost_events(hurt: Path) -> None:
    segment, gone, behind = segments(hurt)[1:4]
    flip(segment, 2000)
    gone.unlink()
    before = contents(hurt)
    result = verified(hurt)
    assert result.exit_code == 1
    lost = first_of(behind) - first_of(gone) + 5
    assert f"2 damaged places; {EVENTS - lost:,} of {EVENTS:,} events are readable" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("log/"))
    path, _, kind, _, first, last, count, after, ahead = row.split("\t")
    assert (path, kind, count) == (f"log/{segment.name}", "record", "5")
    assert after < ahead
    assert after.startswith("2026-03-02T14:")
    assert f"folded: events 1 to {int(first) - 1}" in result.stdout
    found = json.loads(verified(hurt, "--json").stdout)
    assert not found["passed"]
    assert found["places"][0]["flips"] == [[2000, 0]]
    assert found["places"][0]["before"] < found["places"][0]["after"]
    assert (found["places"][0]["first"], found["places"][0]["last"]) == (int(first), int(last))
    assert contents(hurt) == before
