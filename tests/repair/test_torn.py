"""A flipped bit in the last record of a killed writer: the one case that no disk can decide."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventstore import EventStore, RecoveryReport, read_events
from eventstore.log.format import HEADER_SIZE, SegmentHeader
from eventstore.repair import Kind, propose, repair
from eventstore.repair.segment_scan import scan_segment
from handlers import trading_registry
from tests.repair.day_store import contents, fill_and_die, flip, segments

REGISTRY = trading_registry()
EVENTS = 41


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    asyncio.run(fill_and_die(tmp_path / "alive", tmp_path / "killed"))
    return tmp_path / "killed"


def last_record(store: Path) -> tuple[int, int]:
    """Return the offsets of the last record with events and of its end."""
    data = segments(store)[-1].read_bytes()
    scan = scan_segment(data, SegmentHeader.decode(data[:HEADER_SIZE]), 1)
    return scan.records[-1].offset, scan.records[-1].end


async def report_of(store: Path) -> RecoveryReport:
    async with EventStore.open(store, REGISTRY, create=False) as opened:
        return opened.recovery


def test_a_killed_store_and_a_torn_end_need_no_repair(killed: Path) -> None:
    assert propose(killed, REGISTRY).diagnosis.places == ()
    segment = segments(killed)[-1]
    data, (offset, _) = bytearray(segment.read_bytes()), last_record(killed)
    data[offset + 200 :] = bytes(len(data) - offset - 200)
    segment.write_bytes(data)
    assert propose(killed, REGISTRY).diagnosis.places == ()
    report = asyncio.run(report_of(killed))
    assert report.torn_bytes == 200
    assert "One turned bit" not in " ".join(report.warnings)


@pytest.mark.parametrize("place", [1, 9, 17, 21, 30, 34, 38, 60, 300])
def test_one_flipped_bit_is_told_and_put_back(killed: Path, tmp_path: Path, place: int) -> None:
    offset, _ = last_record(killed)
    flip(segments(killed)[-1], offset + place, 4)
    proposal = propose(killed, REGISTRY)
    (torn,) = proposal.diagnosis.places
    assert proposal.healthy
    assert (torn.kind, torn.first, torn.last) == (Kind.TORN, EVENTS - 3, EVENTS)
    (price,) = proposal.prices[0]
    result = repair(killed, {0: price.choice}, REGISTRY, to=tmp_path / "to")
    assert (result.last_seq, result.lost) == (EVENTS + 1, ())
    found = [
        event.data.trade_id for event in read_events(tmp_path / "to", REGISTRY, start=38, stop=42)
    ]
    assert found == [f"T10-{part}" for part in range(4)]


def test_an_opening_tells_of_the_bit_and_the_bytes_can_still_be_put_back(
    killed: Path, tmp_path: Path
) -> None:
    offset, _ = last_record(killed)
    flip(segments(killed)[-1], offset + 100, 2)
    report = asyncio.run(report_of(killed))
    assert report.seq == EVENTS - 4
    assert f"events {EVENTS - 3} to {EVENTS}" in " ".join(report.warnings)
    assert report.quarantined is not None
    before = contents(killed)
    proposal = propose(killed, REGISTRY)
    (torn,) = proposal.diagnosis.places
    assert (torn.name, torn.first, torn.last) == (report.quarantined, EVENTS - 3, EVENTS)
    repair(killed, {0: proposal.prices[0][0].choice}, REGISTRY, to=tmp_path / "to")
    assert len(list(read_events(tmp_path / "to", REGISTRY))) == EVENTS + 1
    assert contents(killed) == before


def test_a_file_beside_the_log_needs_no_repair(killed: Path) -> None:
    segment = segments(killed)[0]
    segment.with_name(segment.name + ".bak").write_bytes(segment.read_bytes())
    assert propose(killed, REGISTRY).diagnosis.places == ()
