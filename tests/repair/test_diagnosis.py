"""A damaged store is read as far as it goes: every place is named, with the lost events."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.repair.damaged_places import Diagnosis, Kind
from eventstore.repair.diagnosis import diagnose_disk
from eventstore.repair.salvage import History, events_of
from eventstore.tools import verify
from handlers import trading_registry
from tests.repair.day_store import EVENTS, archives, contents, first_of, flip, segments


def diagnosed(path: Path) -> Diagnosis:
    disk = LocalDisk(path, read_only=True)
    try:
        return diagnose_disk(disk, Listing.read(disk))
    finally:
        disk.close()


def readable_events(path: Path) -> list[int]:
    disk = LocalDisk(path, read_only=True)
    try:
        history = History(disk=disk, diagnosis=diagnose_disk(disk, Listing.read(disk)))
        return [event.seq for event in events_of(history, 1, EVENTS + 1)]
    finally:
        disk.close()


def test_a_sound_store_has_no_damaged_place(day: Path) -> None:
    found = diagnosed(day)
    assert found.places == ()
    assert (found.first_seq, found.last_seq, found.readable) == (1, EVENTS, EVENTS)
    assert readable_events(day) == list(range(1, EVENTS + 1))


@pytest.mark.parametrize("place", [0, 1, -1])
def test_reading_goes_on_behind_a_flipped_bit(hurt: Path, place: int) -> None:
    segment = segments(hurt)[place]
    flip(segment, 2000)
    (damage,) = diagnosed(hurt).places
    assert damage.name == f"log/{segment.name}"
    assert damage.kind is Kind.RECORD
    assert damage.offset is not None
    assert damage.offset <= 2000 < damage.offset + damage.size
    assert damage.lost == 5
    assert damage.flips == ((2000, 0),)
    lost = range(damage.first, damage.last + 1)
    assert readable_events(hurt) == [seq for seq in range(1, EVENTS + 1) if seq not in lost]


def test_a_segment_with_a_damaged_header_is_read(hurt: Path) -> None:
    flip(segments(hurt)[1], 45)
    (damage,) = diagnosed(hurt).places
    assert (damage.kind, damage.lost, damage.flips) == (Kind.HEADER, 0, ((45, 0),))
    assert readable_events(hurt) == list(range(1, EVENTS + 1))


def test_a_missing_segment_takes_its_events_only(hurt: Path) -> None:
    gone, behind = segments(hurt)[1:3]
    gone.unlink()
    (damage,) = diagnosed(hurt).places
    assert (damage.kind, damage.name) == (Kind.MISSING, f"log/{gone.name}")
    assert (damage.first, damage.last) == (first_of(gone), first_of(behind) - 1)


def test_the_frontier_tells_what_a_missing_end_held(hurt: Path) -> None:
    gone = segments(hurt)[-1]
    gone.unlink()
    (damage,) = diagnosed(hurt).places
    assert (damage.first, damage.last, damage.open) == (first_of(gone), EVENTS, True)


def test_a_segment_cut_short_keeps_its_beginning(hurt: Path) -> None:
    segment, behind = segments(hurt)[1:3]
    os.truncate(segment, 5000)
    (damage,) = diagnosed(hurt).places
    assert damage.name == f"log/{segment.name}"
    assert first_of(segment) < damage.first < damage.last == first_of(behind) - 1


@pytest.mark.parametrize("number", ["middle", "end"])
def test_a_copy_under_another_name_is_no_part_of_the_log(hurt: Path, number: str) -> None:
    source = segments(hurt)[1]
    to = first_of(source) + 1 if number == "middle" else EVENTS + 1
    shutil.copy(source, hurt / "log" / f"{to:020d}.log")
    (damage,) = diagnosed(hurt).places
    assert (damage.kind, damage.lost) == (Kind.STRAY, 0)
    assert f"it is segment {first_of(source)} under another name" in damage.reason
    assert len(readable_events(hurt)) == EVENTS


def test_a_renamed_segment_is_found(hurt: Path) -> None:
    source = segments(hurt)[1]
    source.rename(hurt / "log" / f"{first_of(source) + 1:020d}.log")
    (damage,) = diagnosed(hurt).places
    assert (damage.kind, damage.lost) == (Kind.RENAMED, 0)
    assert len(readable_events(hurt)) == EVENTS


def test_a_damaged_archive_can_be_mended(hurt: Path) -> None:
    archive = archives(hurt)[1]
    flip(archive, 900, 6)
    (damage,) = diagnosed(hurt).places
    assert (damage.kind, damage.first) == (Kind.ARCHIVE, first_of(archive))
    assert damage.flips == ((900, 6),)


@pytest.mark.parametrize("damage", ["gone", "empty", "a bit", "a character"])
def test_the_manifest_is_put_together_again(hurt: Path, day: Path, damage: str) -> None:
    manifest = hurt / "store.json"
    sound = diagnosed(day).manifest
    if damage == "gone":
        manifest.unlink()
    elif damage == "empty":
        manifest.write_bytes(b"")
    elif damage == "a bit":
        flip(manifest, 300, 2)
    else:
        data = manifest.read_bytes()
        manifest.write_bytes(data[:200] + bytes([(data[200] - 31) % 90 + 33]) + data[201:])
    found = diagnosed(hurt)
    (place,) = found.places
    assert place.kind is Kind.MANIFEST
    if damage.startswith("a "):
        assert found.manifest == sound
        assert place.flips
    else:
        assert found.unknown
        for name in ("store", "log_start", "history_start", "archived", "logged", "kind"):
            assert getattr(found.manifest, name) == getattr(sound, name)


def test_all_damage_is_told_at_once(hurt: Path) -> None:
    flip(segments(hurt)[0], 2000)
    segments(hurt)[2].unlink()
    flip(archives(hurt)[0], 100)
    for snapshot in (hurt / "snapshots").iterdir():
        flip(snapshot, 500)
    kinds = sorted(place.kind for place in diagnosed(hurt).places)
    snapshots = len(list((hurt / "snapshots").iterdir()))
    assert kinds == ["archive", "missing", "record", *["snapshot"] * snapshots]


def test_verify_folds_what_can_be_folded_and_changes_nothing(hurt: Path) -> None:
    segment = next(file for file in segments(hurt) if first_of(file) > 155)
    flip(segment, 2000)
    before = contents(hurt)
    found = verify(hurt, trading_registry())
    assert contents(hurt) == before
    (place,) = found.places
    assert (found.last_seq, found.readable) == (EVENTS, EVENTS - 5)
    assert found.refolded is not None
    snapshots = sorted(int(file.name[:20]) for file in (hurt / "snapshots").iterdir())
    ranges = [(1, place.first - 1)]
    behind = [seq for seq in snapshots if seq > place.last]
    if behind:
        ranges.append((behind[0] + 1, EVENTS))
    assert found.refolded.ranges == tuple(ranges)
    assert set(found.refolded.agreeing) == set(snapshots) - set(behind[:1])
