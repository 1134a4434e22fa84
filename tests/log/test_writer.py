"""The writing side of the log: rolling to the next segment, and the log after failures."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import Any

import pytest

from eventstore.disk.layout import SEGMENT_TEMPORARY, SPARE_SEGMENT, segment_name
from eventstore.disk.manifest import load_manifest
from eventstore.errors import StoreFailedError, StoreFullError
from eventstore.event_log import EventLog
from eventstore.log.archive import compact
from eventstore.log.format import SEAL_SIZE, SealKind, SegmentHeader
from eventstore.log.spare import FIRST_SIZE
from eventstore.log.tail_verdict import Clean, classify_tail
from eventstore.log.writer import LogWriter
from eventstore.testing import Call, Fault, SimulatedDisk
from tests.log.samples import (
    SIZE,
    commit,
    new_log,
    open_on,
    several_segments,
    values_on,
    writer_after,
    writer_on,
)

CHANGES = {"create", "write", "sync", "rename", "sync_folder", "truncate"}
BIG = "x" * 1500
"""A value of which two records fit a segment, and three do not."""

FIRST, SECOND, THIRD = segment_name(1), segment_name(3), segment_name(5)


def changes(disk: SimulatedDisk, since: int = 0) -> list[str]:
    """Return the calls with an effect, each with the size of the write."""
    told = []
    for call in disk.calls[since:]:
        if call.kind == "write":
            told.append(f"write {call.name} at {call.args[0]}")
        elif call.kind in CHANGES:
            told.append(str(call))
    return told


def full_segment() -> tuple[SimulatedDisk, LogWriter]:
    """Return a writer whose next big record needs a new segment."""
    disk = new_log()
    writer = writer_on(disk)
    commit(writer, BIG)
    commit(writer, BIG)
    return disk, writer


def tail_of(disk: SimulatedDisk, name: str) -> Clean:
    data = disk.read_file(name)
    tail = classify_tail(data, SegmentHeader.decode(data))
    assert isinstance(tail, Clean)
    return tail


class TestOrder:
    def test_a_new_log_begins_with_a_durable_segment(self) -> None:
        disk = new_log()
        since = len(disk.calls)
        commit(writer_on(disk), "first")
        assert changes(disk, since) == [
            f"create {SEGMENT_TEMPORARY}",
            f"write {SEGMENT_TEMPORARY} at 0",
            f"sync {SEGMENT_TEMPORARY}",
            f"write {SEGMENT_TEMPORARY} at 0",
            f"sync {SEGMENT_TEMPORARY}",
            f"rename {SEGMENT_TEMPORARY} {FIRST}",
            "sync_folder log",
            f"write {FIRST} at 512",
            f"sync {FIRST}",
        ]

    def test_a_roll_seals_the_predecessor_before_the_first_record(self) -> None:
        disk, writer = full_segment()
        end, since = tail_of(disk, FIRST).end, len(disk.calls)
        commit(writer, BIG)
        assert changes(disk, since) == [
            f"create {SEGMENT_TEMPORARY}",
            f"write {SEGMENT_TEMPORARY} at 0",
            f"sync {SEGMENT_TEMPORARY}",
            f"write {SEGMENT_TEMPORARY} at 0",
            f"sync {SEGMENT_TEMPORARY}",
            f"rename {SEGMENT_TEMPORARY} {SECOND}",
            "sync_folder log",
            f"write {FIRST} at {end}",
            f"sync {FIRST}",
            f"truncate {FIRST} {end + SEAL_SIZE}",
            f"write {SECOND} at 512",
            f"sync {SECOND}",
        ]
        assert tail_of(disk, FIRST).sealed is SealKind.CONTINUED
        assert [call for call in disk.calls[since:] if call.kind == "close"] == [
            Call("close", FIRST)
        ]

    def test_the_new_segment_states_where_the_old_one_ends(self) -> None:
        disk, writer = full_segment()
        commit(writer, BIG)
        header = SegmentHeader.decode(disk.read_file(SECOND))
        assert (header.first_seq, header.previous_first) == (3, 1)
        assert header.previous_end == tail_of(disk, FIRST).end
        assert header.salt != SegmentHeader.decode(disk.read_file(FIRST)).salt

    def test_unsynced_records_are_synced_before_the_roll(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        for _ in range(2):
            writer.commit(writer.next_seq, 1, BIG.encode(), sync=False)
        since = len(disk.calls)
        writer.commit(writer.next_seq, 1, BIG.encode(), sync=False)
        assert changes(disk, since)[0] == f"sync {FIRST}"

    def test_a_commit_is_one_write_and_one_sync(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        since = len(disk.calls)
        commit(writer, "a", "b", "c")
        assert [call.kind for call in disk.calls[since:]] == ["write", "sync"]

    def test_a_later_opening_never_appends_to_an_old_segment(self) -> None:
        disk, values = several_segments(segments=2)
        before = disk.contents()
        writer = writer_after(disk)
        commit(writer, "new")
        after = disk.contents()
        assert after[FIRST] == before[FIRST]
        assert after[SECOND].startswith(before[SECOND])
        assert tail_of(disk, SECOND).sealed is SealKind.CONTINUED
        assert values_on(disk) == [*values, "new"]

    def test_an_empty_segment_is_replaced_by_the_next_one(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, BIG)
        commit(writer, BIG)
        disk.fail(kind="write", name=SECOND, errno=errno.ENOSPC)  # the roll works, the record not
        with pytest.raises(StoreFullError):
            commit(writer, BIG)
        oversize = "y" * (2 * SIZE)
        commit(writer, oversize)
        header = SegmentHeader.decode(disk.read_file(SECOND))
        assert (header.first_seq, header.previous_first) == (3, 1)
        assert values_on(disk) == [BIG, BIG, oversize]
        writer.close()
        assert open_on(disk).clean


class TestSpare:
    def test_it_is_zero_filled_synced_and_named_durably(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        wanted = writer.wants_spare
        commit(writer, "first")
        assert (wanted, writer.wants_spare) == (False, True)
        since = len(disk.calls)
        writer.prepare_spare()
        assert changes(disk, since) == [
            f"create {SEGMENT_TEMPORARY}",
            f"write {SEGMENT_TEMPORARY} at 0",
            f"sync {SEGMENT_TEMPORARY}",
            f"rename {SEGMENT_TEMPORARY} {SPARE_SEGMENT}",
            "sync_folder log",
        ]
        assert disk.read_file(SPARE_SEGMENT) == bytes(SIZE)
        assert (writer.spare.ready, writer.wants_spare) == (True, False)

    def test_the_next_segment_is_made_of_it_without_a_long_write(self) -> None:
        disk, writer = full_segment()
        writer.prepare_spare()
        end, since = tail_of(disk, FIRST).end, len(disk.calls)
        commit(writer, BIG)
        assert changes(disk, since) == [
            f"write {SPARE_SEGMENT} at 0",
            f"sync {SPARE_SEGMENT}",
            f"rename {SPARE_SEGMENT} {SECOND}",
            "sync_folder log",
            f"write {FIRST} at {end}",
            f"sync {FIRST}",
            f"truncate {FIRST} {end + SEAL_SIZE}",
            f"write {SECOND} at 512",
            f"sync {SECOND}",
        ]
        assert Call("write", SPARE_SEGMENT, (0, 512)) in disk.calls[since:]
        assert writer.wants_spare
        writer.prepare_spare()
        assert SPARE_SEGMENT in disk.files()

    def test_one_that_was_left_is_used_by_the_next_writer(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        writer.prepare_spare()
        writer.close()
        again = writer_after(disk)
        since = len(disk.calls)
        commit(again, "second")
        assert "create" not in {call.kind for call in disk.calls[since:]}
        assert SPARE_SEGMENT not in disk.files()
        assert values_on(disk) == ["first", "second"]

    @pytest.mark.parametrize(
        "content", [bytes(512), b"EVSTLOG\n" + bytes(SIZE), b""], ids=["short", "begun", "empty"]
    )
    def test_one_that_does_not_fit_is_thrown_away(self, content: bytes) -> None:
        disk = new_log()
        disk.write_file(SPARE_SEGMENT, content)
        writer = writer_on(disk, spare_ready=True)
        commit(writer, "first")
        assert SPARE_SEGMENT not in disk.files()
        assert values_on(disk) == ["first"]

    def test_a_longer_one_is_as_good(self) -> None:
        disk = new_log()
        disk.write_file(SPARE_SEGMENT, bytes(3 * SIZE))
        commit(writer_on(disk, spare_ready=True), "first")
        assert SegmentHeader.decode(disk.read_file(FIRST)).size == 3 * SIZE
        assert values_on(disk) == ["first"]

    def test_a_full_disk_is_told_a_segment_ahead(self, caplog: pytest.LogCaptureFixture) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        disk.fail(kind="write", name=SEGMENT_TEMPORARY, errno=errno.ENOSPC, forever=True)
        with caplog.at_level(logging.WARNING, "eventstore"):
            writer.prepare_spare()
            writer.prepare_spare()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "no space for the next segment" in caplog.text
        assert "of 4096 bytes" in str(writer.spare.space_warning)
        assert SEGMENT_TEMPORARY not in disk.files()
        commit(writer, "closing trades can still be logged")
        disk.heal()
        writer.prepare_spare()
        assert (writer.spare.ready, writer.spare.space_warning) == (True, None)

    def test_another_failure_to_make_it_is_the_stores_end(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        disk.fail(
            kind="sync", name=SEGMENT_TEMPORARY, errno=errno.ENOSPC
        )  # a failed sync, with any errno
        writer.prepare_spare()
        with pytest.raises(StoreFailedError):
            commit(writer, "second")


def segment_sizes(disk: SimulatedDisk) -> list[int]:
    """Return the sizes that the headers of the segments tell, in order."""
    names = sorted(name for name in disk.files() if name.startswith("log/0"))
    return [SegmentHeader.decode(disk.read_file(name)).size for name in names]


class TestGrowth:
    """Segments begin small and grow, and the space of a promised one is there."""

    def growing(self, disk: SimulatedDisk, **options: Any) -> LogWriter:
        return writer_on(disk, segment_size=1 << 20, whole_segments=False, **options)

    def test_each_segment_is_four_times_the_one_before(self) -> None:
        disk = new_log()
        writer = self.growing(disk)
        while len(segment_sizes(disk)) < 4:
            commit(writer, "x" * 20_000)
            writer.prepare_spare()
        assert segment_sizes(disk) == [FIRST_SIZE, 4 * FIRST_SIZE, 1 << 20, 1 << 20]
        assert len(disk.read_file(SPARE_SEGMENT)) == 1 << 20

    def test_a_crash_does_not_make_them_long(self) -> None:
        disk = new_log()
        writer = self.growing(disk)
        while len(segment_sizes(disk)) < 2:
            commit(writer, "x" * 20_000)
        crashed = disk.after_kill()
        opened = open_on(crashed)
        again = self.growing(crashed, last=opened.last, next_seq=opened.next_seq)
        commit(again, "after the crash")
        assert segment_sizes(crashed)[-1] == FIRST_SIZE
        again.prepare_spare()
        assert len(crashed.read_file(SPARE_SEGMENT)) == 4 * FIRST_SIZE

    def test_a_spare_that_a_crash_left_is_used_whatever_its_size(self) -> None:
        disk = new_log()
        disk.write_file(SPARE_SEGMENT, bytes(1 << 20))
        commit(self.growing(disk, spare_ready=True), "first")
        assert segment_sizes(disk) == [1 << 20]

    def test_a_record_longer_than_the_spare_gets_its_space_before_it_is_written(self) -> None:
        disk = new_log()
        writer = self.growing(disk)
        commit(writer, "first")
        writer.prepare_spare()
        since = len(disk.calls)
        commit(writer, "x" * 500_000)
        made = changes(disk, since)
        assert made[0] == f"create {SEGMENT_TEMPORARY}"
        assert made.index(f"sync {SEGMENT_TEMPORARY}") < made.index("sync_folder log")
        assert segment_sizes(disk)[-1] > 500_000
        writer.close()
        assert open_on(disk).clean

    def test_and_is_refused_where_there_is_none(self) -> None:
        disk = new_log()
        writer = self.growing(disk)
        commit(writer, "first")
        writer.prepare_spare()
        disk.fail(kind="write", name=SEGMENT_TEMPORARY, errno=errno.ENOSPC, forever=True)
        with pytest.raises(StoreFullError):
            commit(writer, "x" * 500_000)
        for _ in range(10):  # the rest of the segment and the spare are promised
            commit(writer, "x" * 25_000)
        assert writer.next_seq == 12

    def test_a_reserve_has_the_whole_size_from_the_first_segment_on(self) -> None:
        disk = SimulatedDisk()

        async def session() -> None:
            async with EventLog.open(disk=disk, segment_size=1 << 20, low_space="refuse") as log:
                await log.append(1)
                assert segment_sizes(disk) == [1 << 20]

        asyncio.run(session())


class TestOversize:
    def test_a_record_gets_a_segment_it_fits(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        values = ["small", "x" * (5 * SIZE), "small again"]
        for value in values:
            commit(writer, value)
        writer.close()
        assert [len(disk.read_file(name)) > SIZE for name in (FIRST, segment_name(2))] == [
            False,
            True,
        ]
        assert values_on(disk) == values
        assert open_on(disk).clean

    def test_the_spare_stays_for_the_next_ordinary_roll(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "small")
        writer.prepare_spare()
        commit(writer, "x" * (5 * SIZE))
        assert SPARE_SEGMENT in disk.files()
        assert writer.spare.ready
        commit(writer, BIG)
        assert SPARE_SEGMENT not in disk.files()


NO_SPACE = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]
NO_DESCRIPTOR = [errno.EMFILE, errno.ENFILE, errno.ENOMEM]


class TestFullDisk:
    @pytest.mark.parametrize("code", [*NO_SPACE, errno.ENOMEM])
    def test_a_refused_commit_leaves_the_log_as_it_was(self, code: int) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        before = disk.contents()
        disk.fail(kind="write", errno=code, effect="partial")
        with pytest.raises(StoreFullError, match="free some") as raised:
            commit(writer, "refused")
        assert (raised.value.errno, raised.value.path) == (code, f"simulated/{FIRST}")
        assert isinstance(raised.value.__cause__, OSError)
        assert disk.contents() == before
        assert (writer.next_seq, writer.failure) == (2, None)
        commit(writer, "second")
        assert values_on(disk) == ["first", "second"]

    @pytest.mark.parametrize("kind", ["create", "write", "rename", "truncate"])
    @pytest.mark.parametrize("spare", [False, True])
    @pytest.mark.parametrize("nth", [1, 2, 3])
    def test_in_the_middle_of_a_roll(self, kind: str, spare: bool, nth: int) -> None:
        """No space at any step of a roll: the next commit works, and earlier events are kept."""
        disk, writer = full_segment()
        if spare:
            writer.prepare_spare()
        count = 0

        def rule(call: Call) -> Fault | None:
            nonlocal count
            count += call.kind == kind
            return Fault(errno.ENOSPC) if call.kind == kind and count == nth else None

        disk.add_rule(rule)
        values = [BIG, BIG]
        for value in (BIG, "small", BIG):
            try:
                commit(writer, value)
            except StoreFullError:
                assert values_on(disk) == values
            else:
                values.append(value)
        disk.heal()
        commit(writer, "healed")
        values.append("healed")
        assert values_on(disk) == values
        writer.close()
        opened = open_on(disk.after_power_cut(1))
        assert (opened.clean, opened.next_seq) == (True, len(values) + 1)

    @pytest.mark.parametrize("code", NO_DESCRIPTOR)
    @pytest.mark.parametrize("spare", [False, True])
    def test_no_descriptor_for_the_next_segment(self, code: int, spare: bool) -> None:
        """Nothing was opened, so nothing was written, and the outcome is known."""
        disk, writer = full_segment()
        if spare:
            writer.prepare_spare()
        before = disk.contents()
        for kind in ("open", "create"):
            disk.fail(kind=kind, errno=code, forever=True)
        for _ in range(2):
            with pytest.raises(StoreFullError, match=r"beginning .* append again") as raised:
                commit(writer, BIG)
            assert raised.value.errno == code
        assert disk.contents() == before
        disk.heal()
        commit(writer, BIG)
        assert values_on(disk) == [BIG] * 3

    @pytest.mark.parametrize("code", NO_DESCRIPTOR)
    def test_no_descriptor_for_the_spare_is_told_and_tried_again(
        self, code: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        disk.fail(kind="create", errno=code)
        with caplog.at_level(logging.WARNING, "eventstore"):
            writer.prepare_spare()
        assert "for the next segment of 4096 bytes" in caplog.text
        assert writer.failure is None
        writer.prepare_spare()
        assert (writer.spare.ready, writer.spare.space_warning) == (True, None)

    def test_a_spare_that_cannot_be_read_is_closed(self) -> None:
        disk, writer = full_segment()
        writer.prepare_spare()
        disk.fail(kind="read", name=SPARE_SEGMENT, errno=errno.EIO)
        before = len(disk.calls)
        with pytest.raises(StoreFailedError):
            commit(writer, BIG)
        kinds = [call.kind for call in disk.calls[before:] if call.name == SPARE_SEGMENT]
        assert kinds == ["open", "size", "read", "close"]

    def test_the_seal_of_the_predecessor_is_tried_again_before_any_record(self) -> None:
        disk, writer = full_segment()
        disk.fail(kind="write", name=FIRST, errno=errno.ENOSPC, effect="partial", forever=True)
        for _ in range(2):
            with pytest.raises(StoreFullError, match="sealing"):
                commit(writer, BIG)
        assert tail_of(disk, SECOND).records == []
        assert open_on(disk.after_kill()).next_seq == 3
        disk.heal()
        commit(writer, BIG)
        assert tail_of(disk, FIRST).sealed is SealKind.CONTINUED
        assert values_on(disk) == [BIG] * 3

    def test_the_seal_of_an_earlier_writers_segment_too(self) -> None:
        disk, values = several_segments(segments=1)
        writer = writer_after(disk)
        disk.fail(kind="open", name=FIRST, errno=errno.ENOSPC)
        disk.fail(kind="write", name=FIRST, errno=errno.ENOSPC)
        for _ in range(2):
            with pytest.raises(StoreFullError):
                commit(writer, "third")
        commit(writer, "third")
        assert values_on(disk) == [*values, "third"]

    def test_closing_after_a_seal_that_failed_leaves_a_log_that_opens(self) -> None:
        disk, writer = full_segment()
        disk.fail(kind="write", name=FIRST, errno=errno.ENOSPC, effect="partial", forever=True)
        with pytest.raises(StoreFullError):
            commit(writer, BIG)
        writer.close()
        disk.heal()
        assert open_on(disk).next_seq == 3
        commit(writer_after(disk), "later")
        assert values_on(disk) == [BIG, BIG, "later"]
        assert open_on(disk.after_kill()).next_seq == 4


def write_fails(disk: SimulatedDisk) -> None:
    disk.fail(kind="write", errno=errno.EIO, effect="partial")


def sync_fails(disk: SimulatedDisk) -> None:
    disk.fail(kind="sync", errno=errno.EIO)


def sync_finds_no_space(disk: SimulatedDisk) -> None:
    disk.fail(kind="sync", errno=errno.ENOSPC)


def cut_back_fails(disk: SimulatedDisk) -> None:
    disk.fail(kind="write", errno=errno.ENOSPC, effect="partial")
    disk.fail(kind="write", errno=errno.ENOSPC, forever=True)


class TestCompaction:
    def before_the_first_record(self) -> tuple[SimulatedDisk, list[object]]:
        """Return a log with an empty last segment. The sealed predecessor may be archived."""
        disk, values = several_segments(segments=2)
        writer = writer_after(disk)
        disk.fail(kind="write", name=THIRD, errno=errno.ENOSPC)
        with pytest.raises(StoreFullError):
            commit(writer, "refused")
        disk.heal()
        assert tail_of(disk, SECOND).sealed is SealKind.CONTINUED
        return disk.after_kill(), values

    def test_a_predecessor_that_was_archived_meanwhile_needs_no_seal(self) -> None:
        disk, values = self.before_the_first_record()
        writer = writer_after(disk)
        compact(disk, load_manifest(disk), 4, "archive")
        assert SECOND not in disk.files()
        commit(writer, "first")
        commit(writer, "second")
        writer.close()
        assert values_on(disk) == [*values, "first", "second"]
        assert open_on(disk).next_seq == 7

    @pytest.mark.parametrize("told", [True, False])
    def test_one_that_is_gone_otherwise_is_the_end(self, told: bool) -> None:
        """The manifest says that the segment should be there, or cannot be read either."""
        disk, _ = self.before_the_first_record()
        writer = writer_after(disk)
        disk.remove_file(SECOND)
        if not told:
            disk.fail(kind="open", name="store.json", errno=errno.EIO, forever=True)
        with pytest.raises(StoreFailedError, match="it was removed") as raised:
            commit(writer, "first")
        assert raised.value.path == f"simulated/{SECOND}"
        with pytest.raises(StoreFailedError):
            commit(writer, "second")


class TestFailure:
    @pytest.mark.parametrize(
        ("breaks", "rolling"),
        [
            (write_fails, False),
            (write_fails, True),
            (sync_fails, False),
            (sync_fails, True),
            (sync_finds_no_space, False),
            (sync_finds_no_space, True),
            (cut_back_fails, False),
        ],
    )
    def test_nothing_is_written_or_synced_ever_after(
        self,
        breaks: Callable[[SimulatedDisk], None],
        rolling: bool,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        disk, writer = full_segment()
        breaks(disk)
        with (
            caplog.at_level(logging.CRITICAL, "eventstore"),
            pytest.raises(StoreFailedError, match="reopen it") as raised,
        ):
            commit(writer, BIG if rolling else "small")
        assert raised.value.errno is not None
        assert len(caplog.records) == 1
        disk.heal()
        since = len(disk.calls)
        attempts: list[Callable[[], None]] = [
            lambda: commit(writer, "again"),
            writer.sync,
            writer.seal_idle,
        ]
        for attempt in attempts:
            with pytest.raises(StoreFailedError) as again:
                attempt()
            assert again.value is not raised.value  # or its traceback would grow
            assert str(again.value) == str(raised.value)
            assert again.value.__cause__ is raised.value.__cause__
        writer.prepare_spare()
        writer.close()
        assert {call.kind for call in disk.calls[since:]} <= {"close"}
        assert writer.failure is raised.value

    def test_the_first_failure_is_the_one_that_is_told(self) -> None:
        """A spare fails in the background during a commit. The commit then fails as well."""
        disk, writer = full_segment()
        told: list[StoreFailedError | None] = []

        def rule(call: Call) -> Fault | None:
            if call.kind == "create":
                return Fault(errno.EIO)
            if (call.kind, call.name) == ("sync", FIRST):
                writer.prepare_spare()
                told.append(writer.failure)
                return Fault(errno.ENOSPC)
            return None

        writer.commit(writer.next_seq, 1, b"\x90", sync=False)
        disk.add_rule(rule)
        with pytest.raises(StoreFailedError, match=f"preparing.*{SPARE_SEGMENT}") as raised:
            writer.sync()
        assert told == [raised.value] == [writer.failure]
        assert raised.value.errno == errno.EIO

    def test_what_was_acknowledged_before_is_there_after_reopening(self) -> None:
        for cut in range(50):
            disk, writer = full_segment()
            disk.fail(kind="sync", errno=errno.EIO)
            with pytest.raises(StoreFailedError):
                commit(writer, "unknown")
            after = disk.after_power_cut(cut)
            opened = open_on(after)
            assert values_on(after, stop=3) == [BIG, BIG]
            assert opened.next_seq in (3, 4)

    def test_a_failed_rename_or_create_of_a_segment_is_one(self) -> None:
        for kind in ("create", "rename"):
            disk, writer = full_segment()
            disk.fail(kind=kind, errno=errno.EIO)
            with pytest.raises(StoreFailedError, match="beginning"):
                commit(writer, BIG)
            assert open_on(disk.after_kill()).next_seq == 3


class TestSeals:
    def test_idleness_is_sealed_and_writing_goes_on(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        writer.seal_idle()
        assert tail_of(disk, FIRST).sealed is SealKind.IDLE
        commit(writer, "second")
        assert tail_of(disk, FIRST).sealed is None
        assert values_on(disk) == ["first", "second"]

    def test_the_seal_attests_what_was_synced_before_it(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        writer.commit(writer.next_seq, 1, b"\x90", sync=False)
        since = len(disk.calls)
        writer.seal_idle()
        assert [call.kind for call in disk.calls[since:]] == ["sync", "write", "sync"]

    def test_a_log_without_a_new_record_needs_none(self) -> None:
        disk, _ = several_segments(segments=1)
        writer = writer_after(disk)
        since = len(disk.calls)
        writer.seal_idle()
        writer.close()
        assert len(disk.calls) == since

    def test_seals_without_end_never_run_over_the_segment(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        for _ in range(2 * SIZE // SEAL_SIZE):
            writer.seal_idle()
        commit(writer, "second")
        writer.close()
        assert len(disk.read_file(FIRST)) <= SIZE
        assert open_on(disk).next_seq == 3

    def test_one_that_finds_no_space_leaves_the_log_as_it_was(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        before = disk.read_file(FIRST)
        disk.fail(kind="write", errno=errno.ENOSPC, effect="partial")
        with pytest.raises(StoreFullError) as raised:
            writer.seal_idle()
        assert raised.value.path == f"simulated/{FIRST}"
        assert disk.read_file(FIRST) == before
        disk.heal()
        commit(writer, "second")
        writer.seal_idle()
        assert tail_of(disk, FIRST).sealed is SealKind.IDLE
        assert values_on(disk) == ["first", "second"]

    def test_one_that_fails_otherwise_ends_the_log(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        disk.fail(kind="write", errno=errno.EIO)
        with pytest.raises(StoreFailedError, match="sealing") as raised:
            writer.seal_idle()
        since = len(disk.calls)
        with pytest.raises(StoreFailedError) as again:
            commit(writer, "second")
        assert str(again.value) == str(raised.value)
        assert raised.value is writer.failure
        assert len(disk.calls) == since
        assert open_on(disk).next_seq == 2

    def test_closing_seals(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        writer.commit(writer.next_seq, 1, b"\x90", sync=False)
        writer.close()
        assert tail_of(disk, FIRST).sealed is SealKind.CLOSED
        assert disk.after_power_cut(3).read_file(FIRST)[: len(disk.read_file(FIRST))] == (
            disk.read_file(FIRST)
        )

    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
    def test_a_close_that_cannot_seal_says_so_and_closes(self, code: int) -> None:
        disk = new_log()
        writer = writer_on(disk)
        commit(writer, "first")
        disk.fail(kind="write", errno=code)
        with pytest.raises(StoreFullError if code == errno.ENOSPC else StoreFailedError):
            writer.close()
        assert disk.calls[-1] == Call("close", FIRST)
        assert open_on(disk).next_seq == 2


class TestTelling:
    def test_a_slow_sync_is_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        disk = new_log()
        writer = writer_on(disk, slow_sync=1e-9)
        with caplog.at_level(logging.WARNING, "eventstore"):
            commit(writer, "first")
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.name.startswith("eventstore.")
        assert f"fdatasync of simulated/{FIRST} took" in record.getMessage()

    def test_a_quick_one_is_none(self, caplog: pytest.LogCaptureFixture) -> None:
        writer = writer_on(new_log(), slow_sync=3600)
        with caplog.at_level(logging.WARNING, "eventstore"):
            commit(writer, "first")
        assert caplog.records == []

    def test_it_counts_what_it_does(self) -> None:
        writer = writer_on(new_log())
        for _ in range(3):
            commit(writer, "x")
        counts = writer.counts
        assert (counts.commits, counts.syncs, len(counts.sync_times_ns)) == (3, 3, 3)
        assert counts.sync_max_ns == max(counts.sync_times_ns)
        assert counts.bytes_written % 8 == 0

    def test_a_sync_with_nothing_to_sync_makes_no_call(self) -> None:
        disk = new_log()
        writer = writer_on(disk)
        writer.sync()
        commit(writer, "first")
        since = len(disk.calls)
        writer.sync()
        assert len(disk.calls) == since
