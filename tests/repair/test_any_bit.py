"""A random bit of a random file: mended exactly, or told clearly, and never silently wrong."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from eventstore import read_events
from eventstore.repair import propose, repair
from handlers import trading_registry
from tests.repair.day_store import contents, copy_of, flip

BITS = int(os.environ.get("EVENTSTORE_REPAIR_BITS", "60"))
REPAIRED = 2
EXACT = ("log/", "archive/", "store.json", "snapshots/")


@pytest.fixture(scope="module")
def events(day: Path) -> list[object]:
    return list(read_events(day, trading_registry()))


def test_every_flipped_bit_is_mended_exactly_or_told(
    day: Path, tmp_path: Path, events: list[object]
) -> None:
    draw = random.Random(14)
    copy = copy_of(day, tmp_path / "copy")
    names = [name for name in contents(copy) if name.startswith(EXACT)]
    names.remove("log/spare")
    manifest = propose(copy).diagnosis.manifest
    for number in range(BITS):
        name = draw.choice(names)
        file = copy / name
        whole = file.read_bytes()
        offset, bit = draw.randrange(len(whole)), draw.randrange(8)
        flip(file, offset, bit)
        proposal = propose(copy)
        assert proposal.diagnosis.places, (name, offset, bit)
        place = proposal.diagnosis.places[0]
        assert place.name == name, (name, offset, bit)
        if name == "store.json":  # in place of a space, several characters are right
            assert place.flips, (offset, bit, place)
            assert proposal.diagnosis.manifest == manifest
        else:
            assert place.flips == ((offset, bit),), (name, offset, bit, place)
        if number < REPAIRED:
            to = tmp_path / f"to-{number}"
            repair(copy, proposal.recommended, trading_registry(), to=to)
            assert list(read_events(to, trading_registry()))[:-1] == events
        file.write_bytes(whole)


def test_two_flipped_bits_of_a_record_are_never_taken_for_one(day: Path, tmp_path: Path) -> None:
    draw = random.Random(15)
    copy = copy_of(day, tmp_path / "copy")
    (file, *_) = sorted((copy / "log").glob("0*.log"))
    whole = file.read_bytes()
    for _ in range(BITS // 4):
        first = draw.randrange(600, len(whole) - 200)
        flip(file, first, draw.randrange(8))
        flip(file, first + draw.randrange(1, 3), draw.randrange(8))
        for place in propose(copy).diagnosis.places:
            if place.flips is None:
                continue
            turned = bytearray(file.read_bytes())
            for flipped in place.flips:
                turned[flipped.offset] ^= flipped.mask
            assert bytes(turned) == whole
        file.write_bytes(whole)
