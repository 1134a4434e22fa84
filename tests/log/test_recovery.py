"""Opening a log: damage is refused with the file's name, and an unclean end is repaired."""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Callable

import msgspec
import pytest

from eventstore.disk.layout import SEGMENT_TEMPORARY, SPARE_SEGMENT, segment_name
from eventstore.disk.manifest import load_manifest, save_manifest
from eventstore.errors import (
    CorruptLogError,
    EventStoreError,
    ReadFailedError,
    StoreAccessError,
    StoreFailedError,
    StoreFullError,
)
from eventstore.log.format import (
    HEADER_SIZE,
    SEAL_SIZE,
    SealKind,
    SegmentHeader,
    encode_record,
    encode_seal,
    read_record,
    read_seal,
)
from eventstore.log.tail_verdict import Clean, classify_tail
from eventstore.testing import Call, Fault, SimulatedDisk
from tests.log.samples import (
    FOREIGN,
    SIZE,
    body,
    commit,
    flipped,
    new_log,
    open_on,
    several_segments,
    values_on,
    writer_after,
    writer_on,
)

FIRST, SECOND, THIRD, LAST = (segment_name(seq) for seq in (1, 3, 5, 7))
READING = {"list", "open", "read", "size", "close"}
QUARANTINED = "quarantine/00000000000000000001.log"


def unclean(*values: str) -> SimulatedDisk:
    """Return a log of one segment, whose writer was killed after committing `values`."""
    disk = new_log()
    writer = writer_on(disk)
    for value in values:
        commit(writer, value)
    return disk.after_kill()


def torn(disk: SimulatedDisk, garbage: bytes = b"\x01torn bytes") -> int:
    """Put torn bytes behind the last record, as a crash does, and return their offset."""
    data = bytearray(disk.read_file(FIRST))
    tail = classify_tail(bytes(data), SegmentHeader.decode(bytes(data)))
    assert isinstance(tail, Clean)
    data[tail.end : tail.end + len(garbage)] = garbage
    disk.write_file(FIRST, data)
    return tail.end


def rewritten_header(disk: SimulatedDisk, name: str, **changes: object) -> None:
    data = disk.read_file(name)
    header = msgspec.structs.replace(SegmentHeader.decode(data), **changes)
    disk.write_file(name, header.encode() + data[HEADER_SIZE:])


class TestChain:
    def test_a_log_in_order_is_opened(self) -> None:
        disk, values = several_segments()
        opened = open_on(disk)
        assert (opened.segments, opened.next_seq, opened.clean) == ([1, 3, 5, 7], 9, True)
        assert (opened.rewritten, opened.quarantined) == (None, None)
        assert values_on(disk) == values

    @pytest.mark.parametrize("name", [FIRST, SECOND, THIRD, LAST])
    @pytest.mark.parametrize("verify_from", [1, 7, 9])
    def test_a_missing_segment(self, name: str, verify_from: int) -> None:
        disk, _ = several_segments()
        disk.remove_file(name)
        refused(disk, name, "missing", verify_from=verify_from)

    def test_every_segment_missing(self) -> None:
        disk, _ = several_segments()
        for name in (FIRST, SECOND, THIRD, LAST):
            disk.remove_file(name)
        refused(disk, FIRST, "missing")

    @pytest.mark.parametrize("name", [FIRST, SECOND, THIRD, LAST])
    def test_a_segment_doubled_under_another_number(self, name: str) -> None:
        disk, _ = several_segments()
        disk.write_file(segment_name(9), disk.read_file(name))
        refused(disk, segment_name(9), "renamed")

    @pytest.mark.parametrize(("one", "other"), [(FIRST, SECOND), (SECOND, LAST), (THIRD, LAST)])
    def test_swapped_names(self, one: str, other: str) -> None:
        disk, _ = several_segments()
        contents = disk.contents()
        disk.write_file(one, contents[other])
        disk.write_file(other, contents[one])
        refused(disk, one, "renamed")

    @pytest.mark.parametrize("name", [FIRST, SECOND, LAST])
    def test_another_stores_segment(self, name: str) -> None:
        disk, _ = several_segments()
        rewritten_header(disk, name, store=FOREIGN)
        refused(disk, name, f"another store \\({FOREIGN}\\)")

    @pytest.mark.parametrize("name", [FIRST, SECOND, THIRD])
    @pytest.mark.parametrize("verify_from", [1, 9])
    def test_a_segment_shorter_than_its_successor_says(self, name: str, verify_from: int) -> None:
        disk, _ = several_segments()
        length = HEADER_SIZE + 40
        disk.write_file(name, disk.read_file(name)[:length])
        error = refused(disk, name, "has 552 bytes, but .* says", verify_from=verify_from)
        assert error.offset == length

    def test_a_segment_of_a_log_that_went_another_way(self) -> None:
        """Files of two backups are mixed. Each file is whole, and the files do not fit together."""
        disk, _ = several_segments(segments=2)
        other = new_log(seed=9)
        writer = writer_on(other)
        for value in ("9a", "9b"):
            commit(writer, value)
        writer.close()
        commit(writer_after(other), "9c")
        disk.write_file(FIRST, other.read_file(FIRST))
        refused(disk, FIRST, "not what .* says it was")

    def test_segments_before_the_beginning_are_leftovers_of_compaction(self) -> None:
        disk, _ = several_segments()
        save_manifest(disk, msgspec.structs.replace(load_manifest(disk), log_start=5))
        assert open_on(disk).segments == [5, 7]

    def test_unknown_files_are_left_alone(self) -> None:
        disk, values = several_segments()
        strangers = {"log/notes.txt": b"mine", "log/00000000000000000001.log.bak": b"also mine"}
        for name, content in strangers.items():
            disk.write_file(name, content)
        disk.write_file("log/spare", bytes(SIZE))
        open_on(disk)
        assert {name: disk.read_file(name) for name in strangers} == strangers
        assert values_on(disk) == values


class TestDamage:
    @pytest.mark.parametrize("name", [FIRST, SECOND, LAST])
    def test_a_flipped_bit_names_file_offset_and_event(self, name: str) -> None:
        disk, _ = several_segments()
        data = disk.read_file(name)
        header = SegmentHeader.decode(data)
        tail = classify_tail(data, header)
        assert isinstance(tail, Clean)
        second = tail.records[1]
        disk.flip_bit(name, 8 * (second.offset + 45))
        error = refused(disk, name, "corrupt")
        assert (error.offset, error.expected_seq) == (second.offset, header.first_seq + 1)

    @pytest.mark.parametrize("name", [FIRST, SECOND, THIRD, LAST])
    def test_every_flipped_bit_of_a_closed_log_is_refused(self, name: str) -> None:
        """Every bit is flipped: headers, records, seals and padding."""
        disk, _ = several_segments()
        data = disk.read_file(name)
        for bit in range(0, 8 * len(data), 5):
            disk.write_file(name, flipped(data, bit))
            with pytest.raises(CorruptLogError):
                open_on(disk)

    @pytest.mark.parametrize("name", [FIRST, SECOND, THIRD, LAST])
    def test_every_truncation_of_a_closed_log_is_refused(self, name: str) -> None:
        disk, _ = several_segments()
        data = disk.read_file(name)
        for length in range(0, len(data), 3):
            disk.write_file(name, data[:length])
            with pytest.raises(CorruptLogError):
                open_on(disk)

    def test_bytes_behind_the_last_seal_are_refused(self) -> None:
        disk, _ = several_segments()
        disk.write_file(SECOND, disk.read_file(SECOND) + b"more")
        refused(disk, SECOND, "bytes follow")

    @pytest.mark.parametrize("wrong", ["number", "checksum", "events"])
    def test_a_last_seal_that_does_not_belong_there(self, wrong: str) -> None:
        """The seal is valid, and is not the seal written when the next segment was begun."""
        disk, _ = several_segments()
        data = disk.read_file(SECOND)
        header = SegmentHeader.decode(data)
        end = len(data) - 2 * SEAL_SIZE  # a CLOSED and a CONTINUED seal
        kind, crc = read_seal(data, read_record(data, end + SEAL_SIZE, header.salt))
        assert kind is SealKind.CONTINUED
        seal = {
            "number": encode_seal(header.salt, end + SEAL_SIZE, 6, kind, crc),
            "checksum": encode_seal(header.salt, end + SEAL_SIZE, 5, kind, crc ^ 1),
            "events": encode_record(
                header.salt, end + SEAL_SIZE, 5, 1, struct.pack("<II", kind, crc), end + SEAL_SIZE
            ),
        }[wrong]
        disk.write_file(SECOND, data[: end + SEAL_SIZE] + seal)
        error = refused(disk, SECOND, "the seal does not belong here")
        assert (error.offset, error.expected_seq) == (end + SEAL_SIZE, 5)

    def test_zeros_behind_the_last_seal_are_what_a_lost_truncation_leaves(self) -> None:
        disk, values = several_segments()
        disk.write_file(SECOND, disk.read_file(SECOND) + bytes(1000))
        assert open_on(disk).next_seq == 9
        assert values_on(disk) == values

    def test_old_segments_are_verified_when_they_are_read(self) -> None:
        disk, values = several_segments()
        disk.flip_bit(FIRST, 8 * (HEADER_SIZE + 45))
        assert open_on(disk, verify_from=7).next_seq == 9
        assert values_on(disk, start=3) == values[2:]
        with pytest.raises(CorruptLogError):
            values_on(disk, start=1)

    def test_a_wiped_predecessor_of_an_empty_segment(self) -> None:
        """The next segment replaces the empty one, and so has to vouch for the predecessor."""
        disk, _ = several_segments(segments=1)
        disk.fail(kind="write", name=FIRST, errno=errno.ENOSPC)
        with pytest.raises(StoreFullError):
            commit(writer_after(disk), "x")
        disk.heal()
        data = disk.read_file(FIRST)
        disk.write_file(FIRST, data[:HEADER_SIZE] + bytes(len(data) - HEADER_SIZE))
        refused(disk, FIRST, "not what")


class TestRepair:
    def test_the_end_of_an_unsealed_segment_is_written_again_before_it_is_served(self) -> None:
        """Everything in front of the last record was durable when that record was written."""
        disk = unclean("one", "two")
        before = disk.read_file(FIRST)
        tail = classify_tail(before, SegmentHeader.decode(before))
        assert isinstance(tail, Clean)
        since = len(disk.calls)
        opened = open_on(disk)
        assert (opened.clean, opened.rewritten, opened.torn_bytes) == (False, FIRST, 0)
        made = [call.kind for call in disk.calls[since:] if call.kind not in READING]
        assert made == ["write", "sync", "write", "sync", "truncate", "sync"]
        assert values_on(disk) == ["one", "two"]
        after = disk.read_file(FIRST)
        assert after[: tail.end] == before[: tail.end]
        assert len(after) == tail.end + SEAL_SIZE

    def test_only_what_the_last_record_does_not_prove_durable_is_written_again(self) -> None:
        disk = unclean("one", "two", "three")
        data = disk.read_file(FIRST)
        tail = classify_tail(data, SegmentHeader.decode(data))
        assert isinstance(tail, Clean)
        last = tail.records[-1]
        since = len(disk.calls)
        open_on(disk)
        written = [call.args for call in disk.calls[since:] if call.kind == "write"]
        assert written == [(last.offset, last.end - last.offset), (last.end, SEAL_SIZE)]

    def test_torn_bytes_end_with_another_file_and_another_salt(self) -> None:
        disk = unclean("one", "two")
        torn(disk)
        old = SegmentHeader.decode(disk.read_file(FIRST))
        since = len(disk.calls)
        open_on(disk)
        made = [str(call) for call in disk.calls[since:] if call.kind not in ("read", "size")]
        at = made.index("create log/rewrite.tmp")
        kinds = [entry.split()[0] for entry in made[at:]]
        named = ["create", "write", "sync", "close", "rename", "sync_folder"]
        assert kinds == [*named, "open", "write", "sync", "truncate", "close"]
        assert SegmentHeader.decode(disk.read_file(FIRST)).salt != old.salt
        assert values_on(disk) == ["one", "two"]

    def test_a_segment_that_a_copy_of_the_store_shares_is_replaced(self) -> None:
        """A hard-linked copy is another store, and stays as it is."""
        disk = unclean("one")
        disk.link_file(FIRST, "elsewhere.log")
        shared = disk.read_file("elsewhere.log")
        assert open_on(disk).rewritten == FIRST
        assert disk.read_file("elsewhere.log") == shared
        assert disk.read_file(FIRST) != shared
        assert values_on(disk) == ["one"]

    def test_a_record_that_was_refused_and_cut_back_stays_away(self) -> None:
        """The zeros over a refused record may be only in the page cache, after a failed sync."""
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "one")
        disk.fail(kind="write", errno=errno.ENOSPC, effect="whole")
        with pytest.raises(StoreFullError):
            commit(writer, "refused" * 200)
        disk.fail(kind="sync", errno=errno.EIO)
        with pytest.raises(StoreFailedError):
            commit(writer, "two")
        survivor = disk.after_kill()
        assert open_on(survivor).next_seq == 3
        for cut in range(60):
            image = survivor.after_power_cut(cut)
            opened = open_on(image)
            assert (opened.next_seq, opened.clean, opened.torn_bytes) == (3, True, 0)
            assert values_on(image) == ["one", "two"]

    def test_what_only_the_page_cache_had_is_on_the_disk_then(self) -> None:
        """After a failed sync, the cache shows bytes that may be missing on the disk."""
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "one")
        disk.fail(kind="sync", errno=errno.EIO)
        with pytest.raises(StoreFailedError):
            commit(writer, "two")
        survivor = disk.after_kill()
        assert open_on(survivor).next_seq == 3
        for cut in range(30):
            image = survivor.after_power_cut(cut)
            assert open_on(image).next_seq == 3
            assert values_on(image) == ["one", "two"]

    @pytest.mark.parametrize("kind", ["create", "write", "make_folder", "rename"])
    @pytest.mark.parametrize("spare", [SPARE_SEGMENT, SEGMENT_TEMPORARY, "snapshots/new.tmp"])
    def test_on_a_full_disk_the_files_without_events_make_room(self, kind: str, spare: str) -> None:
        disk = unclean("one", "two")
        torn(disk)
        disk.write_file(spare, bytes(SIZE))

        def full(call: Call) -> Fault | None:
            return Fault(errno.ENOSPC) if call.kind == kind and spare in disk.files() else None

        disk.add_rule(full)
        opened = open_on(disk)
        assert (opened.rewritten, opened.next_seq, opened.spare_ready) == (FIRST, 3, False)
        assert spare not in disk.files()
        assert values_on(disk) == ["one", "two"]
        for image in disk.images():
            assert open_on(image).next_seq == 3

    def test_a_failed_sync_is_no_lack_of_room(self) -> None:
        disk = unclean("one", "two")
        disk.write_file(SPARE_SEGMENT, bytes(SIZE))
        disk.fail(kind="sync", errno=errno.ENOSPC)
        with pytest.raises(StoreFullError):
            open_on(disk)
        assert SPARE_SEGMENT in disk.files()

    def test_where_that_makes_no_room_the_spare_is_gone_and_nothing_is_lost(self) -> None:
        disk = unclean("one", "two")
        disk.write_file(SPARE_SEGMENT, bytes(SIZE))
        disk.fail(kind="write", errno=errno.ENOSPC, forever=True)
        for _ in range(2):
            with pytest.raises(StoreFullError, match="nothing is lost"):
                open_on(disk)
        disk.heal()
        assert open_on(disk).next_seq == 3

    def test_opening_again_finds_nothing_to_mend_and_changes_nothing(self) -> None:
        disk = unclean("one", "two")
        torn(disk)
        opened = open_on(disk)
        before = disk.contents()
        again = open_on(disk)
        assert (again.clean, again.next_seq) == (True, opened.next_seq)
        assert disk.contents() == before

    def test_torn_bytes_are_set_aside_and_reported(self) -> None:
        disk = unclean("one", "two")
        offset = torn(disk, b"\x01torn bytes")
        opened = open_on(disk)
        assert opened.quarantined == f"{QUARANTINED}.{offset}"
        assert (opened.torn_bytes, opened.next_seq, opened.clean) == (11, 3, False)
        assert disk.read_file(f"{QUARANTINED}.{offset}") == b"\x01torn bytes"
        assert values_on(disk) == ["one", "two"]

    def test_they_are_durable_before_the_segment_is_replaced(self) -> None:
        disk = unclean("one")
        offset = torn(disk)
        since = len(disk.calls)
        open_on(disk)
        made = [str(call) for call in disk.calls[since:]]
        aside = made.index(f"rename quarantine/torn.tmp {QUARANTINED}.{offset}")
        assert made[aside - 2 : aside + 2] == [
            "sync quarantine/torn.tmp",
            "close quarantine/torn.tmp",
            f"rename quarantine/torn.tmp {QUARANTINED}.{offset}",
            "sync_folder quarantine",
        ]
        assert aside + 1 < made.index("create log/rewrite.tmp")

    def test_other_bytes_torn_at_the_same_place_get_a_name_of_their_own(self) -> None:
        disk = unclean("one")
        original = disk.read_file(FIRST)
        names = []
        for garbage in (b"\x01first", b"\x02second", b"\x03third"):
            disk.write_file(FIRST, original)
            offset = torn(disk, garbage)
            names.append(open_on(disk).quarantined)
        base = f"{QUARANTINED}.{offset}"
        assert names == [base, f"{base}-1", f"{base}-2"]
        kept = [disk.read_file(name) for name in names if name]
        assert kept == [b"\x01first", b"\x02second", b"\x03third"]

    def test_the_same_bytes_are_not_set_aside_twice(self) -> None:
        """A crash between setting aside and rewriting finds the same torn end again."""
        disk = unclean("one")
        torn(disk)
        image = disk.clone()
        image.fail(kind="rename", name="log/rewrite.tmp", errno=errno.EIO)
        with pytest.raises(StoreFailedError):
            open_on(image)
        image.heal()
        once = [name for name in image.files() if name.startswith("quarantine/")]
        opened = open_on(image)
        assert [name for name in image.files() if name.startswith("quarantine/")] == once
        assert [opened.quarantined] == once

    def test_a_record_whole_but_unacknowledged_is_kept(self) -> None:
        disk = unclean("one")
        offset = torn(disk, b"")
        data = bytearray(disk.read_file(FIRST))
        salt = SegmentHeader.decode(bytes(data)).salt
        record = encode_record(salt, offset, 2, 1, body(2, "in flight"), offset)
        data[offset : offset + len(record)] = record
        disk.write_file(FIRST, data)
        assert open_on(disk).next_seq == 3
        assert values_on(disk) == ["one", "in flight"]

    def test_writing_goes_on_in_a_new_segment(self) -> None:
        disk = unclean("one")
        torn(disk)
        writer = writer_after(disk)
        commit(writer, "two")
        writer.close()
        assert values_on(disk) == ["one", "two"]
        assert open_on(disk).segments == [1, 2]

    def test_an_empty_last_segment_is_replaced(self) -> None:
        disk, values = several_segments(segments=2)
        disk.fail(kind="write", name=SECOND, errno=errno.ENOSPC)  # the seal of the segment before
        with pytest.raises(StoreFullError):
            commit(writer_after(disk), "x")
        survivor = disk.after_kill()
        opened = open_on(survivor)
        assert (opened.segments, opened.next_seq) == ([1, 3, 5], 5)
        assert opened.last is not None
        assert opened.last.first_seq == 3
        for value in ("5th", "6th"):
            writer = writer_after(survivor)
            commit(writer, value)
            writer.close()
        assert values_on(survivor) == [*values, "5th", "6th"]
        assert open_on(survivor).segments == [1, 3, 5, 6]

    def test_torn_bytes_in_an_empty_last_segment_are_set_aside_too(self) -> None:
        disk = unclean("one")
        writer = writer_after(disk)
        disk.fail(kind="write", name=segment_name(2), errno=errno.EIO, effect="partial")
        with pytest.raises(StoreFailedError):
            commit(writer, "x" * 500)
        survivor = disk.after_kill()
        opened = open_on(survivor)
        assert opened.torn_bytes > 0
        assert (opened.quarantined or "").startswith("quarantine/00000000000000000002.log.512")
        commit(writer_after(survivor), "two")
        assert values_on(survivor) == ["one", "two"]


class TestReadOnly:
    @pytest.mark.parametrize("garbage", [b"", b"\x01torn"], ids=["unsealed", "torn"])
    def test_nothing_is_changed(self, garbage: bytes) -> None:
        disk = unclean("one", "two")
        torn(disk, garbage)
        before, since = disk.contents(), len(disk.calls)
        opened = open_on(disk, writable=False)
        assert disk.contents() == before
        assert {call.kind for call in disk.calls[since:]} <= {
            "list",
            "open",
            "read",
            "size",
            "close",
        }
        assert (opened.next_seq, opened.clean, opened.torn_bytes) == (3, False, len(garbage))
        assert (opened.quarantined, opened.rewritten) == (None, None)
        assert values_on(disk) == ["one", "two"]

    def test_damage_is_refused_all_the_same(self) -> None:
        disk, _ = several_segments()
        disk.flip_bit(SECOND, 8 * (HEADER_SIZE + 45))
        with pytest.raises(CorruptLogError):
            open_on(disk, writable=False)


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            (errno.ENOSPC, StoreFullError),
            (errno.EDQUOT, StoreFullError),
            (errno.EROFS, StoreAccessError),
            (errno.EACCES, StoreAccessError),
            (errno.EIO, StoreFailedError),
        ],
    )
    @pytest.mark.parametrize("kind", ["create", "write", "rename", "make_folder"])
    def test_a_repair_that_is_refused(
        self, kind: str, code: int, expected: type[EventStoreError]
    ) -> None:
        disk = unclean("one", "two")
        torn(disk)
        segment = disk.read_file(FIRST)
        disk.fail(kind=kind, errno=code)
        with pytest.raises(expected, match="nothing is lost"):
            open_on(disk)
        assert disk.read_file(FIRST) == segment
        disk.heal()
        assert open_on(disk).next_seq == 3

    @pytest.mark.parametrize("name", [FIRST, SECOND, LAST])
    def test_an_unreadable_segment_is_not_the_end_of_the_log(self, name: str) -> None:
        disk, _ = several_segments()
        before = disk.contents()
        disk.fail(kind="read", name=name, errno=errno.EIO, forever=True)
        with pytest.raises(ReadFailedError) as raised:
            open_on(disk)
        assert (raised.value.path, raised.value.offset) == (f"simulated/{name}", 0)
        assert raised.value.errno == errno.EIO
        assert disk.contents() == before

    @pytest.mark.parametrize("make", [several_segments, lambda: (torn_log(), ["one", "two"])])
    def test_whichever_call_fails_nothing_is_lost(
        self, make: Callable[[], tuple[SimulatedDisk, list[object]]]
    ) -> None:
        """Every call of an opening fails once, the process dies, and the next opening is right."""
        disk, values = make()
        counted = disk.clone()
        open_on(counted)
        for number in range(1, len(counted.calls) + 1):
            image = disk.clone()
            image.fail(at=number, errno=errno.EIO)
            with contextlib.suppress(EventStoreError, OSError):  # OSError: translated further up
                open_on(image)
            for after in (image.after_kill(), image.after_power_cut(number)):
                assert open_on(after).next_seq == len(values) + 1
                assert values_on(after) == values


def torn_log() -> SimulatedDisk:
    disk = unclean("one", "two")
    torn(disk)
    return disk


def refused(
    disk: SimulatedDisk, name: str, reason: str, *, verify_from: int = 1
) -> CorruptLogError:
    """Check that opening is refused with the file's name, writes nothing, and refuses again."""
    before, since = disk.contents(), len(disk.calls)
    with pytest.raises(CorruptLogError, match=reason) as raised:
        open_on(disk, verify_from=verify_from)
    assert raised.value.path == f"simulated/{name}"
    assert name in str(raised.value)
    assert disk.contents() == before
    assert {call.kind for call in disk.calls[since:]} <= READING
    return raised.value
