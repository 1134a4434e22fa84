"""The chain of segments: what is named where it is broken, and what can be read in front of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventstore.disk.layout import archive_name, segment_name
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptLogError
from eventstore.log.archive import compact
from eventstore.log.format import HEADER_SIZE
from eventstore.log.reader import LogReader
from eventstore.log.segment import MOVE_OUT
from eventstore.log.segment_chain import chain_faults
from eventstore.testing import Call, Fault, SimulatedDisk
from tests.log.samples import FOREIGN, STORE, new_log, open_on, several_segments, values_on
from tests.log.test_recovery import rewritten_header

FIRST, SECOND, THIRD, FOURTH, FIFTH = (segment_name(seq) for seq in (1, 3, 5, 7, 9))
NUMBERS = (1, 3, 5, 7, 9)


def log_of_five() -> tuple[SimulatedDisk, list[object]]:
    return several_segments(segments=5)


def removed(*names: str) -> Callable[[SimulatedDisk], None]:
    def damage(disk: SimulatedDisk) -> None:
        for name in names:
            disk.remove_file(name)

    return damage


def copied(name: str, to: str) -> Callable[[SimulatedDisk], None]:
    return lambda disk: disk.write_file(to, disk.read_file(name))


def renamed(name: str, to: str) -> Callable[[SimulatedDisk], None]:
    def damage(disk: SimulatedDisk) -> None:
        copied(name, to)(disk)
        disk.remove_file(name)

    return damage


def faults(disk: SimulatedDisk) -> list[tuple[str, int, str]]:
    """File, event and the first words of the remedy of each fault."""
    listed = [number for number in range(1, 1000) if segment_name(number) in disk.files()]
    found = chain_faults(disk, STORE, listed, load_manifest(disk).log_start)
    return [(fault.name, fault.expected_seq, fault.remedy.split(" from ")[0]) for fault in found]


RESTORE = "Restore the file"
MOVE = MOVE_OUT


class TestFaults:
    def test_a_sound_chain_has_none(self) -> None:
        assert faults(log_of_five()[0]) == []

    @pytest.mark.parametrize("number", NUMBERS)
    def test_a_missing_segment_is_named_with_its_first_event(self, number: int) -> None:
        disk, _ = log_of_five()
        removed(segment_name(number))(disk)
        assert faults(disk) == [(segment_name(number), number, RESTORE)]

    def test_of_several_missing_ones_in_a_row_the_first_is_named(self) -> None:
        disk, _ = log_of_five()
        removed(SECOND, THIRD)(disk)
        assert faults(disk) == [(SECOND, 3, RESTORE)]
        (fault,) = chain_faults(disk, STORE, [1, 7, 9], 1)
        assert "events 3 to 6" in fault.reason

    def test_every_hole_is_told(self) -> None:
        disk, _ = log_of_five()
        removed(SECOND, FOURTH)(disk)
        assert [name for name, *_ in faults(disk)] == [SECOND, FOURTH]

    @pytest.mark.parametrize(("stray", "after"), [(2, 3), (8, 9), (11, 11), (999, 11)])
    @pytest.mark.parametrize("original", [FIRST, FIFTH])
    def test_a_copy_under_another_number_is_to_be_moved_away(
        self, stray: int, after: int, original: str
    ) -> None:
        disk, _ = log_of_five()
        copied(original, segment_name(stray))(disk)
        assert faults(disk) == [(segment_name(stray), after, MOVE)]

    @pytest.mark.parametrize("content", [b"", b"notes", bytes(4096)])
    @pytest.mark.parametrize("number", [4, 11, 999])
    def test_so_is_a_file_that_was_never_a_segment(self, content: bytes, number: int) -> None:
        disk, _ = log_of_five()
        disk.write_file(segment_name(number), content)
        assert [(name, remedy) for name, _, remedy in faults(disk)] == [
            (segment_name(number), MOVE)
        ]

    @pytest.mark.parametrize("number", NUMBERS)
    def test_one_in_the_place_of_a_segment_is_damage(self, number: int) -> None:
        disk, _ = log_of_five()
        disk.flip_bit(segment_name(number), 8 * 20)
        assert faults(disk) == [(segment_name(number), number, RESTORE)]
        disk, _ = log_of_five()
        rewritten_header(disk, segment_name(number), store=FOREIGN)
        assert faults(disk) == [(segment_name(number), number, RESTORE)]

    def test_a_segment_under_a_wrong_name_is_to_get_its_own_again(self) -> None:
        for number in (4, 999):
            disk, _ = log_of_five()
            renamed(SECOND, segment_name(number))(disk)
            remedies = [remedy for _, _, remedy in faults(disk)]
            assert any(f"rename it to {SECOND}" in remedy for remedy in remedies)
            assert MOVE not in remedies

    def test_a_segment_that_its_successor_passes_over(self) -> None:
        """A whole segment of this store, from a copy that went another way."""
        disk, _ = log_of_five()
        rewritten_header(disk, FIFTH, previous_first=5)
        assert [(name, seq) for name, seq, _ in faults(disk)] == [(FOURTH, 7)]


DAMAGES: dict[str, Callable[[SimulatedDisk], None]] = {
    **{f"without {number}": removed(segment_name(number)) for number in NUMBERS},
    "without 3 and 5": removed(SECOND, THIRD),
    "without 3 and 7": removed(SECOND, FOURTH),
    "a copy as 999": copied(SECOND, segment_name(999)),
    "a copy as 4": copied(FIFTH, segment_name(4)),
    "3 renamed to 999": renamed(SECOND, segment_name(999)),
    "of another store": lambda disk: rewritten_header(disk, THIRD, store=FOREIGN),
    "a header damaged": lambda disk: disk.flip_bit(THIRD, 8 * 20),
    "a record damaged": lambda disk: disk.flip_bit(THIRD, 8 * (HEADER_SIZE + 45)),
    "cut short": lambda disk: disk.write_file(THIRD, disk.read_file(THIRD)[: HEADER_SIZE + 40]),
    "its seals cut off": lambda disk: disk.write_file(SECOND, disk.read_file(SECOND)[:-96]),
    "empty": lambda disk: disk.write_file(THIRD, b""),
}


class TestWhatIsInFront:
    @pytest.mark.parametrize("what", DAMAGES)
    def test_everything_before_what_is_refused_can_be_read(self, what: str) -> None:
        disk, values = log_of_five()
        DAMAGES[what](disk)
        with pytest.raises(CorruptLogError) as refused:
            open_on(disk)
        stop = refused.value.expected_seq
        assert stop is not None
        assert values_on(disk, 1, stop) == values[: stop - 1]
        with pytest.raises(CorruptLogError):
            values_on(disk)

    @pytest.mark.parametrize("what", DAMAGES)
    def test_reading_stops_at_the_first_damage_with_an_error_that_says_how_far(
        self, what: str
    ) -> None:
        disk, values = log_of_five()
        DAMAGES[what](disk)
        with pytest.raises(CorruptLogError) as found:
            values_on(disk)
        stop = found.value.expected_seq
        assert stop is not None
        assert values_on(disk, 1, stop) == values[: stop - 1]

    @pytest.mark.parametrize("seq", [1, 3])
    def test_so_can_what_is_before_a_missing_archive(self, seq: int) -> None:
        disk, values = log_of_five()
        compact(disk, load_manifest(disk), 6, "archive")
        disk.remove_file(archive_name(seq))
        for start in range(1, seq):
            assert values_on(disk, start, seq) == values[start - 1 : seq - 1]
        with pytest.raises(CorruptLogError) as found:
            values_on(disk)
        assert found.value.path == f"simulated/{archive_name(seq)}"
        assert found.value.expected_seq == seq

    def test_what_is_behind_a_hole_can_be_read_too(self) -> None:
        disk, values = log_of_five()
        removed(SECOND)(disk)
        assert values_on(disk, 5) == values[4:]

    def test_an_archive_that_store_json_does_not_count_is_nobodys(self) -> None:
        disk, values = log_of_five()
        compact(disk, load_manifest(disk), 6, "archive")
        copied(archive_name(1), archive_name(4))(disk)
        assert values_on(disk) == values


class TestCost:
    def test_the_folders_are_listed_as_often_for_many_segments_as_for_few(self) -> None:
        def listings(segments: int) -> int:
            disk, values = several_segments(new_log(), segments)
            count = 0

            def rule(call: Call) -> Fault | None:
                nonlocal count
                count += call.kind == "list"
                return None

            disk.add_rule(rule)
            read = sum(chunk.events for chunk in LogReader(disk, STORE).chunks())
            assert read == len(values)
            return count

        assert listings(40) == listings(4) <= 3
