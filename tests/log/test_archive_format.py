"""Archives of several blocks: any event costs one block, and no index is believed."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable

import pytest

from eventstore.disk.layout import archive_name
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptLogError
from eventstore.log import archive_format, repacking
from eventstore.log.archive import compact, read_archive
from eventstore.log.archive_format import ArchiveIndex, encode_index, read_index
from eventstore.log.flipped_bits import Flip, flipped
from eventstore.log.format import HEADER_SIZE
from eventstore.repair.archives import mend_archive
from eventstore.repair.diagnosis import diagnose_disk
from eventstore.testing import SimulatedDisk
from tests.log.samples import commit, new_log, values_on, writer_after, writer_on

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NAME = archive_name(1)
EVENTS = 40


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make records and blocks so small that an archive has many."""
    monkeypatch.setattr(repacking, "RECORD_BYTES", 100)
    monkeypatch.setattr(archive_format, "BLOCK_BYTES", 300)


def archived() -> tuple[SimulatedDisk, list[object], ArchiveIndex]:
    """Make an archive of 40 events, and a log of one more."""
    disk = new_log()
    writer = writer_on(disk)
    values: list[object] = [f"value {number}" * 3 for number in range(EVENTS)]
    for value in values:
        commit(writer, value)
    writer.close()
    writer = writer_after(disk)
    commit(writer, "the last")
    writer.close()
    compact(disk, load_manifest(disk), EVENTS, "archive")
    data = disk.read_file(NAME)
    return disk, [*values, "the last"], read_index(data, len(data))


def replaced(disk: SimulatedDisk, index: ArchiveIndex) -> None:
    """Give the archive another index, with a right checksum."""
    data = disk.read_file(NAME)
    disk.write_file(NAME, data[: index.frames[-1]] + encode_index(index))


class TestTheFrames:
    def test_any_tool_decompresses_them_to_the_segment(self) -> None:
        disk, _, index = archived()
        data = disk.read_file(NAME)
        assert len(index.firsts) > 4
        assert zstd.decompress(data) == read_archive(disk, NAME)
        for number, (begin, end) in enumerate(itertools.pairwise(index.frames)):
            length = index.offsets[number + 1] - index.offsets[number]
            assert len(zstd.decompress(data[begin:end])) == length

    def test_the_seek_table_is_the_published_one(self) -> None:
        disk, _, index = archived()
        data = disk.read_file(NAME)
        frames = len(index.firsts) + 1
        assert data[-4:] == bytes.fromhex("b1ea928f")
        assert int.from_bytes(data[-9:-5], "little") == frames
        table = data[-9 - 8 * frames - 8 :]
        assert table[:4] == bytes.fromhex("5e2a4d18")
        assert int.from_bytes(table[4:8], "little") == len(table) - 8
        sizes = [int.from_bytes(table[at : at + 4], "little") for at in range(8, len(table) - 9, 4)]
        assert sum(sizes[::2]) + len(table) == len(data)
        assert sum(sizes[1::2]) == index.offsets[-1]


class TestReading:
    def test_one_event_reads_one_block(self) -> None:
        disk, values, index = archived()
        for seq in range(1, EVENTS + 1):
            since = len(disk.calls)
            assert values_on(disk, seq, seq + 1) == [values[seq - 1]]
            read = sum(
                int(call.args[1])
                for call in disk.calls[since:]
                if (call.kind, call.name) == ("read", NAME)
            )
            largest = max(end - begin for begin, end in itertools.pairwise(index.frames))
            assert read <= largest + (8 << 10)

    def test_damage_in_one_block_leaves_the_others(self) -> None:
        disk, values, index = archived()
        disk.flip_bit(NAME, 8 * (index.frames[2] + 10))
        lost = range(index.firsts[2], index.firsts[3])
        for seq in range(1, EVENTS + 2):
            if seq in lost:
                with pytest.raises(CorruptLogError, match="the checksum of block 2"):
                    values_on(disk, seq, seq + 1)
            else:
                assert values_on(disk, seq, seq + 1) == [values[seq - 1]]


def moved(numbers: tuple[int, ...], at: int, by: int) -> tuple[int, ...]:
    return (*numbers[:at], numbers[at] + by, *numbers[at + 1 :])


LIES: list[tuple[str, Callable[[ArchiveIndex], ArchiveIndex]]] = [
    ("a block begins later", lambda index: index._replace(firsts=moved(index.firsts, 2, 1))),
    ("a block begins earlier", lambda index: index._replace(firsts=moved(index.firsts, 2, -1))),
    ("the first event", lambda index: index._replace(firsts=moved(index.firsts, 0, -1))),
    ("the end", lambda index: index._replace(next_seq=index.next_seq + 1)),
    ("a time", lambda index: index._replace(latest=moved(index.latest, 2, -1))),
    ("a checksum", lambda index: index._replace(checksums=moved(index.checksums, 2, 1))),
    ("a length", lambda index: index._replace(offsets=moved(index.offsets, 2, 8))),
    ("a place", lambda index: index._replace(frames=moved(index.frames, 2, 1))),
    (
        "two blocks for one another",
        lambda index: index._replace(
            checksums=(index.checksums[1], index.checksums[0], *index.checksums[2:])
        ),
    ),
]


class TestAnIndexThatLies:
    """Its checksum is right all the same: a fault of whatever wrote it."""

    @pytest.mark.parametrize("lie", [lie for _, lie in LIES], ids=[name for name, _ in LIES])
    def test_it_is_told_by_verify_and_never_gives_a_wrong_event(
        self, lie: Callable[[ArchiveIndex], ArchiveIndex]
    ) -> None:
        disk, values, index = archived()
        replaced(disk, lie(index))
        for seq in range(1, EVENTS + 2):
            with contextlib.suppress(CorruptLogError):
                assert values_on(disk, seq, seq + 1) == [values[seq - 1]]
        with pytest.raises(CorruptLogError):
            read_archive(disk, NAME)
        diagnosis = diagnose_disk(disk, Listing.read(disk))
        assert [place.name for place in diagnosis.damage] == [NAME]


class TestMending:
    def test_any_one_bit_of_any_block_and_of_the_index(self) -> None:
        disk, _, _ = archived()
        whole = disk.read_file(NAME)
        for bit in range(8 * len(whole)):
            flips = (Flip(bit // 8, bit % 8),)
            found = mend_archive(flipped(whole, flips))
            assert found == flips, bit

    def test_one_bit_of_each_block_at_once(self) -> None:
        disk, _, index = archived()
        whole = disk.read_file(NAME)
        flips = tuple(Flip(begin + 20, 3) for begin in index.frames)
        assert mend_archive(flipped(whole, flips)) == (flips[-1], *flips[:-1])

    def test_not_two_of_one_block(self) -> None:
        disk, _, _ = archived()
        whole = disk.read_file(NAME)
        assert mend_archive(flipped(whole, (Flip(20, 3), Flip(30, 1)))) is None

    @pytest.mark.parametrize("length", [0, 1, 8, 9, 20, HEADER_SIZE])
    def test_nor_a_piece_of_one(self, length: int) -> None:
        disk, _, _ = archived()
        assert mend_archive(disk.read_file(NAME)[:length]) is None
