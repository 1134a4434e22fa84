"""The checksum in the frontier: an opening believes it where it is right, and nowhere else."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from eventstore.disk.layout import FRONTIER, segment_name
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptLogError
from eventstore.log import tail_verdict as tails
from eventstore.log.format import HEADER_SIZE, read_record
from eventstore.log.frontier_file import Frontier
from eventstore.log.recovery import ExaminedLog, examine_log
from eventstore.log.tail_verdict import NOTHING
from eventstore.testing import Call, Fault, SimulatedDisk
from tests.log.samples import FOREIGN, commit, flipped, new_log, open_on, writer_on

NAME = segment_name(1)
RECORDS, TOLD = 40, 30


def killed(*, idle_seal: bool = False) -> SimulatedDisk:
    """Return a log whose writer told others of 30 of its 40 records before it was killed."""
    disk = new_log()
    writer = writer_on(disk, segment_size=1 << 14)
    for number in range(1, RECORDS + 1):
        commit(writer, f"value {number}", number)
        if number == TOLD // 2 and idle_seal:
            writer.seal_idle()
        if number == TOLD:
            writer.frontier.tell()
    return disk.after_kill()


def examined(disk: SimulatedDisk) -> ExaminedLog:
    manifest, listing = load_manifest(disk), Listing.read(disk)
    return examine_log(disk, manifest.store, listing, log_start=1, verify_from=1)


def without_frontier(disk: SimulatedDisk) -> SimulatedDisk:
    bare = disk.clone()
    bare.remove_file(FRONTIER)
    return bare


def told(disk: SimulatedDisk) -> Frontier:
    return Frontier.decode(disk.read_file(FRONTIER))


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the offsets at which a record is verified by itself."""
    found: list[int] = []
    read = read_record

    def noting(data: bytes, offset: int, salt: bytes) -> object:
        found.append(offset)
        return read(data, offset, salt)

    monkeypatch.setattr(tails, "read_record", noting)
    return found


class TestBelieved:
    @pytest.mark.parametrize("idle_seal", [False, True])
    def test_only_later_records_are_verified_one_by_one(
        self, idle_seal: bool, verified: list[int]
    ) -> None:
        disk = killed(idle_seal=idle_seal)
        found = examined(disk)
        assert found.last.verified == (told(disk).end, told(disk).data_crc)
        assert len(verified) == RECORDS - TOLD + 1, "the last look finds the end"
        assert min(verified) == told(disk).end

    @pytest.mark.parametrize("idle_seal", [False, True])
    def test_the_verdict_is_that_of_the_records(self, idle_seal: bool) -> None:
        disk = killed(idle_seal=idle_seal)
        found, alone = examined(disk), examined(without_frontier(disk))
        assert alone.last.verified == NOTHING
        assert found.last.tail == alone.last.tail
        assert len(found.last.records) == RECORDS

    def test_the_repaired_end_is_the_same(self) -> None:
        disk = killed()
        assert open_on(disk.clone()).last == open_on(without_frontier(disk)).last

    def test_so_it_is_after_a_proper_close(self, verified: list[int]) -> None:
        disk = new_log()
        writer = writer_on(disk, segment_size=1 << 14)
        for number in range(RECORDS):
            commit(writer, number)
        writer.close()
        found = open_on(disk.clone())
        assert len(verified) == 1, "the seal"
        assert found.clean
        assert found.last == open_on(without_frontier(disk)).last


LIES: dict[str, Callable[[Frontier], Frontier]] = {
    "another checksum": lambda true: true._replace(data_crc=true.data_crc ^ 1),
    "an end within a record": lambda true: true._replace(end=true.end - 8),
    "an end behind the file": lambda true: true._replace(end=1 << 40),
    "an end in the header": lambda true: true._replace(end=HEADER_SIZE - 8),
    "another segment": lambda true: true._replace(segment=2),
    "another store": lambda true: true._replace(store=FOREIGN),
}


class TestNotBelieved:
    @pytest.mark.parametrize("lie", LIES)
    def test_a_lie(self, lie: str) -> None:
        disk = killed()
        disk.write_file(FRONTIER, LIES[lie](told(disk)).encode())
        found = examined(disk)
        assert found.last.verified == NOTHING
        assert found.last.tail == examined(without_frontier(disk)).last.tail

    def test_a_right_checksum_that_ends_within_a_damaged_record(self) -> None:
        disk = killed()
        offset, end = examined(disk).last.records[TOLD - 1].offset, told(disk).end - 8
        crc = tails.crc_up_to(disk.read_file(NAME), end, NOTHING)
        disk.write_file(FRONTIER, told(disk)._replace(end=end, data_crc=crc).encode())
        disk.write_file(NAME, flipped(disk.read_file(NAME), 8 * end))
        with pytest.raises(CorruptLogError) as caught:
            examined(disk)
        assert caught.value.offset == offset

    def test_torn_bytes(self) -> None:
        disk = killed()
        disk.write_file(FRONTIER, disk.read_file(FRONTIER)[:50])
        assert examined(disk).last.verified == NOTHING

    def test_a_frontier_that_cannot_be_read(self) -> None:
        disk = killed()

        def unreadable(call: Call) -> Fault | None:
            return Fault(errno.EIO) if (call.kind, call.name) == ("read", FRONTIER) else None

        disk.add_rule(unreadable)
        assert len(examined(disk).last.records) == RECORDS

    def test_a_flipped_bit_in_the_told_part(self) -> None:
        disk = killed()
        records = examined(disk).last.records
        for record in records[: TOLD - 1]:
            damaged = disk.clone()
            data = disk.read_file(NAME)
            damaged.write_file(NAME, flipped(data, 8 * (record.offset + 44)))
            with pytest.raises(CorruptLogError) as caught:
                examined(damaged)
            assert caught.value.offset == record.offset
