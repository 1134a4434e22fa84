"""One segment file: names, zero fill, records, seals, and a disk that runs full."""

from __future__ import annotations

import errno
import zlib
from typing import Literal

import pytest

from eventstore.disk.layout import segment_name, segment_seq
from eventstore.log.format import HEADER_SIZE, SEAL_SIZE, SealKind, SegmentHeader, read_record
from eventstore.log.segment import (
    RESERVED,
    ActiveSegment,
    SegmentEnd,
    fresh_salt,
    write_seal,
    zero_fill,
)
from eventstore.log.tail_verdict import Clean, TornTail, classify_tail
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.os_errors import SyncFailedError
from eventstore.testing import Fault, SimulatedDisk
from tests.log.samples import SIZE, STORE, body

NAME = "segment"


def begun(previous: SegmentEnd | None = None) -> tuple[SimulatedDisk, ActiveSegment]:
    disk = SimulatedDisk()
    file = disk.create(NAME)
    zero_fill(file, SIZE)
    file.sync()
    return disk, ActiveSegment.write_header(disk, file, STORE, SIZE, 5, previous)


def on_disk(disk: SimulatedDisk) -> bytes:
    return disk.read_file(NAME)


class TestNames:
    @pytest.mark.parametrize("seq", [1, 42, 10**19])
    def test_a_name_says_which_event_comes_first(self, seq: int) -> None:
        name = segment_name(seq)
        assert name == f"log/{seq:020d}.log"
        assert segment_seq(name.removeprefix("log/")) == seq

    @pytest.mark.parametrize(
        "base",
        ["spare", "new.tmp", "1.log", "00000000000000000001.log.zst", "00000000000000000001.snap"],
    )
    def test_other_names_are_no_segments(self, base: str) -> None:
        assert segment_seq(base) is None

    def test_the_order_of_names_is_the_order_of_events(self) -> None:
        firsts = [1, 9, 10, 99, 100, 12345678901]
        assert sorted(map(segment_name, firsts)) == [segment_name(first) for first in firsts]


class TestWriting:
    def test_the_header_is_on_stable_storage_at_once(self) -> None:
        disk, segment = begun(SegmentEnd(2, 5, b"12345678", 1000, 77, 1000, 77))
        header = SegmentHeader.decode(on_disk(disk))
        assert header == segment.header
        assert (header.previous_first, header.previous_end, header.previous_crc) == (2, 1000, 77)
        assert [call.kind for call in disk.calls][-2:] == ["write", "sync"]

    def test_a_record_is_one_write_behind_the_last_one(self) -> None:
        disk, segment = begun()
        before = len(disk.calls)
        written = segment.append(2, body(5, "a", "b"))
        assert [str(call) for call in disk.calls[before:]] == [f"write {NAME} 512 {written}"]
        assert (segment.end, segment.next_seq) == (512 + written, 7)

    def test_only_a_sync_moves_what_the_next_record_attests(self) -> None:
        disk, segment = begun()
        ends = []
        for seq, synced in ((5, False), (6, False), (7, True), (8, False)):
            segment.append(1, body(seq, "x"))
            ends.append(segment.end)
            if synced:
                segment.sync()
        tail = classify_tail(on_disk(disk), segment.header)
        assert isinstance(tail, Clean)
        attested = [record.synced_end for record in tail.records]
        assert attested == [HEADER_SIZE, HEADER_SIZE, HEADER_SIZE, ends[2]]

    def test_the_checksum_runs_along(self) -> None:
        disk, segment = begun()
        for seq in (5, 6, 7):
            segment.append(1, body(seq, "x" * seq))
            segment.seal_idle()
            assert segment.crc == zlib.crc32(on_disk(disk)[: segment.end])
        tail = classify_tail(on_disk(disk), segment.header)
        assert isinstance(tail, Clean)
        assert (tail.end, tail.next_seq, tail.sealed) == (segment.end, 8, SealKind.IDLE)

    def test_there_is_always_room_left_for_three_seals(self) -> None:
        _, segment = begun()
        most = SIZE - HEADER_SIZE - RESERVED
        assert segment.has_room(most)
        assert not segment.has_room(most + 8)
        assert RESERVED == 3 * SEAL_SIZE

    def test_a_closing_seal_cuts_the_zeros_off_after_it_is_synced(self) -> None:
        disk, segment = begun()
        segment.append(1, body(5, "x"))
        segment.sync()
        end, before = segment.end, len(disk.calls)
        write_seal(segment.file, segment.describe_end(), SealKind.CLOSED)
        assert [str(call) for call in disk.calls[before:]] == [
            f"write {NAME} {end} {SEAL_SIZE}",
            f"sync {NAME}",
            f"truncate {NAME} {end + SEAL_SIZE}",
        ]
        record = read_record(on_disk(disk), end, segment.header.salt)
        assert (record.events, record.synced_end) == (0, end)

    def test_a_seal_that_is_written_again_is_the_same_seal(self) -> None:
        disk, segment = begun()
        segment.append(1, body(5, "x"))
        segment.sync()
        write_seal(segment.file, segment.describe_end(), SealKind.CONTINUED)
        once = on_disk(disk)
        write_seal(segment.file, segment.describe_end(), SealKind.CONTINUED)
        assert on_disk(disk) == once


class TestFailing:
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    @pytest.mark.parametrize("effect", ["none", "partial"])
    def test_a_record_refused_for_space_is_cut_back(
        self, code: int, effect: Literal["none", "partial"]
    ) -> None:
        disk, segment = begun()
        segment.append(1, body(5, "x"))
        before, end, crc = on_disk(disk), segment.end, segment.crc
        disk.fail(kind="write", errno=code, effect=effect)
        with pytest.raises(OSError) as raised:
            segment.append(1, body(6, "y" * 500))
        assert raised.value.errno == code
        assert on_disk(disk) == before
        assert (segment.end, segment.crc, segment.next_seq) == (end, crc, 6)
        segment.append(1, body(6, "z"))
        assert isinstance(classify_tail(on_disk(disk), segment.header), Clean)

    def test_a_cut_that_fails_is_no_lack_of_space_any_more(self) -> None:
        disk, segment = begun()
        disk.fail(kind="write", errno=errno.ENOSPC, effect="partial", forever=True)
        with pytest.raises(OSError, match="could not be cut back") as raised:
            segment.append(1, body(5, "y" * 500))
        assert raised.value.errno == errno.EIO

    def test_another_failure_leaves_a_torn_record_for_recovery(self) -> None:
        disk, segment = begun()
        disk.fail(kind="write", errno=errno.EIO, effect="partial")
        with pytest.raises(OSError, match="Input/output error"):
            segment.append(1, body(5, "y" * 500))
        assert isinstance(classify_tail(on_disk(disk), segment.header), TornTail)
        assert segment.end == HEADER_SIZE

    def test_short_writes_are_finished(self) -> None:
        disk, segment = begun()
        disk.fail(kind="write", short=7)
        disk.fail(kind="write", short=1)
        segment.append(1, body(5, "y" * 500))
        tail = classify_tail(on_disk(disk), segment.header)
        assert isinstance(tail, Clean)
        assert tail.next_seq == 6

    def test_interruptions_are_invisible(self) -> None:
        disk, segment = begun()
        disk.fail(kind="write", errno=errno.EINTR)
        disk.fail(kind="sync", errno=errno.EINTR)
        segment.append(1, body(5, "x"))
        segment.sync()
        assert segment.synced_end == segment.end

    def test_a_disk_that_accepts_nothing_is_an_error(self) -> None:
        disk, segment = begun()
        disk.fail(kind="write", short=0, forever=True)
        with pytest.raises(OSError, match="accepted no bytes"):
            segment.append(1, body(5, "x"))

    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
    def test_a_failed_sync_is_one_whatever_its_errno(self, code: int) -> None:
        disk, segment = begun()
        segment.append(1, body(5, "x"))
        disk.fail(kind="sync", errno=code)
        with pytest.raises(SyncFailedError) as raised:
            segment.sync()
        assert raised.value.errno == code
        assert segment.synced_end == HEADER_SIZE


def test_a_refused_record_that_ends_with_zeros_never_comes_back() -> None:
    """All but zeros was written, and a power cut may take the zeros that cut the record back."""
    disk, segment = begun()
    disk.sync_folder()
    event = Event(5, 0, "refused", None, {"zeros": bytes(1000)})
    content = EventCodec().encode_all([event])
    faults = [Fault(short=600), Fault(errno=errno.ENOSPC)]
    disk.add_rule(lambda call: faults.pop(0) if call.kind == "write" and faults else None)
    with pytest.raises(OSError, match="No space"):
        segment.append(1, content)
    for image in disk.images():
        tail = classify_tail(on_disk(image), segment.header)
        assert isinstance(tail, Clean | TornTail)
        assert tail.next_seq == 5


def test_a_salt_is_never_all_zeros() -> None:
    class Unlucky(SimulatedDisk):
        draws = iter((bytes(8), bytes(8), b"lucky day"[:8]))

        def entropy(self, length: int) -> bytes:
            return next(self.draws)[:length]

    assert fresh_salt(Unlucky()) == b"lucky da"
