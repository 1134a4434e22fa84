"""Timelines: which events two histories share, and what a cursor is told of a history."""

from __future__ import annotations

import pickle
import uuid

import pytest

from eventstore import ConfigError, Cursor, CursorAheadError, ForeignCursorError, HistoryForkedError
from eventstore.timelines import KEPT, Lineage, Timeline, first_timeline, next_timeline

STORE = uuid.UUID("6fa459ea-ee8a-3ca4-894e-db77e160355e")
OTHER = uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")


def lineage(*left_at: int) -> Lineage:
    """A history whose timelines left one another behind these events."""
    timelines = first_timeline(STORE)
    for index, number in enumerate(left_at):
        timelines = next_timeline(timelines, number, index.to_bytes(4))
    return Lineage("here", STORE, timelines)


class TestText:
    @pytest.mark.parametrize("checksum", [None, 0, 1, 0xFFFFFFFF])
    @pytest.mark.parametrize("seq", [0, 1, 10**18])
    def test_the_text_of_a_cursor_is_read_back(self, seq: int, checksum: int | None) -> None:
        cursor = Cursor(STORE, 12, "0badcafe", seq, checksum)
        assert Cursor.parse(str(cursor)) == cursor
        assert Cursor.parse(f" {cursor}\n") == cursor
        assert str(cursor) in repr(cursor)
        assert pickle.loads(pickle.dumps(cursor)) == cursor

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "4371",
            f"{STORE.hex}.1.6fa459ea.4371",
            f"{STORE}.1.6fa459ea.4371.9c1be07a",
            f"{STORE.hex}.0.6fa459ea.4371.9c1be07a",
            f"{STORE.hex}.1.6fa459ea.-1.9c1be07a",
            f"{STORE.hex}.1.6fa459ea.04371.9c1be07a",
            f"{STORE.hex}.1.6fa459ea.4371.9C1BE07A",
            f"{STORE.hex}.1.6fa459ea.4371.9c1be07a.",
            None,
            4371,
            b"4371",
        ],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is no cursor") as caught:
            Cursor.parse(text)
        assert caught.value.key == "cursor"


class TestTimelines:
    @pytest.mark.parametrize(
        ("left_at", "seq", "timeline"),
        [
            ((), 0, 1),
            ((), 99, 1),
            ((10,), 0, 1),
            ((10,), 10, 1),
            ((10,), 11, 2),
            ((10, 5), 5, 1),
            ((10, 5), 6, 3),
            ((10, 5), 11, 3),
            ((10, 20), 15, 2),
            ((10, 20), 21, 3),
            ((10, 10), 11, 3),
            ((0,), 0, 1),
            ((0,), 1, 2),
        ],
    )
    def test_a_cursor_names_the_timeline_that_its_event_was_appended_in(
        self, left_at: tuple[int, ...], seq: int, timeline: int
    ) -> None:
        history = lineage(*left_at)
        cursor = history.cursor(seq, 7)
        assert (cursor.timeline, cursor.seq, cursor.checksum) == (timeline, seq, 7)
        history.check(cursor)

    @pytest.mark.parametrize("left_at", [(), (10,), (10, 5), (10, 20), (3, 3, 9, 4)])
    @pytest.mark.parametrize("later", [(), (0,), (4,), (10,), (12, 7), (5, 30)])
    def test_a_later_history_is_told_from_an_earlier_one(
        self, left_at: tuple[int, ...], later: tuple[int, ...]
    ) -> None:
        """For every event: shared where no later timeline left before, else the fork is named."""
        before, after = lineage(*left_at), lineage(*left_at, *later)
        shared = min(later, default=100)
        for seq in range(40):
            cursor = before.cursor(seq, 1)
            if seq <= shared:
                after.check(cursor)
                continue
            with pytest.raises(HistoryForkedError) as caught:
                after.check(cursor)
            error = caught.value
            assert (error.last_shared, error.cursor, error.path) == (shared, str(cursor), "here")
            assert f"from event {shared + 1}" in str(error)

    def test_two_copies_that_both_begin_a_timeline_are_told_apart(self) -> None:
        mine = Lineage("mine", STORE, next_timeline(first_timeline(STORE), 4, b"mine"))
        yours = Lineage("yours", STORE, next_timeline(first_timeline(STORE), 4, b"your"))
        yours.check(mine.cursor(4, 1))
        with pytest.raises(HistoryForkedError, match="another copy") as caught:
            yours.check(mine.cursor(5, 1))
        assert caught.value.last_shared == 0

    def test_a_cursor_of_another_store(self) -> None:
        cursor = Lineage("there", OTHER, first_timeline(OTHER)).cursor(3, 1)
        with pytest.raises(ForeignCursorError, match="read the store that") as caught:
            lineage().check(cursor)
        error = pickle.loads(pickle.dumps(caught.value))
        assert (error.path, error.cursor, error.store) == ("here", str(cursor), str(STORE))

    def test_a_branch_knows_the_cursors_of_its_parent(self) -> None:
        parent = lineage(10)
        branch = Lineage("branch", OTHER, next_timeline(parent.timelines, 20, OTHER.bytes[:4]))
        for seq in (0, 5, 15, 20):
            branch.check(parent.cursor(seq, 1))
            parent.check(branch.cursor(seq, 1))  # the event is the parent's
        with pytest.raises(HistoryForkedError) as caught:
            branch.check(parent.cursor(21, 1))
        assert caught.value.last_shared == 20
        with pytest.raises(ForeignCursorError):
            parent.check(branch.cursor(21, 1))

    def test_another_checksum_is_a_fork_in_the_timeline(self) -> None:
        history = lineage(10)
        for seq, begin in ((7, 0), (15, 10)):
            cursor = history.cursor(seq, 1)
            history.check_event(cursor, 1)
            with pytest.raises(HistoryForkedError, match="another one here") as caught:
                history.check_event(cursor, 2)
            assert caught.value.last_shared == begin
        history.check_event(history.cursor(7, None), 2)  # nothing is known of the event

    def test_a_cursor_behind_the_end(self) -> None:
        history = lineage(10)
        for seq, last, shared in ((15, 12, 10), (15, 9, 9), (8, 7, 0)):
            error = history.ahead_error(history.cursor(seq, 1), last)
            assert isinstance(error, CursorAheadError)
            assert (error.last, error.last_shared) == (last, shared)
            assert f"ends with event {last}" in str(error)

    def test_the_list_does_not_grow_for_ever(self) -> None:
        timelines = first_timeline(STORE)
        for number in range(1, 1000):
            timelines = next_timeline(timelines, number, number.to_bytes(4))
        assert len(timelines) == KEPT
        assert timelines[-1] == Timeline(number=1000, id=f"{999:08x}", left_at=999)
        history = Lineage("here", STORE, timelines)
        history.check(history.cursor(998, 1))
        with pytest.raises(HistoryForkedError):
            history.check(lineage().cursor(1, 1))
