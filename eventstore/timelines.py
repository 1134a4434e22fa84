"""Timelines: the unbroken histories of appends that a store's history is made of.

Theory of operation
-------------------
A store begins with timeline 1. Appending goes on in the same timeline, across restarts. A new
timeline begins each time history changes other than by appending: history goes back to an earlier
event, or goes on in another directory. The manifest records where the new timeline left the
timeline before (`left_at`, the number of the last shared event), durably and before the first event
of the new timeline is written.

Each timeline has a random identity, because two copies of one directory may both begin timeline 2.
The first timeline of a store, and of a branch, takes the first digits of the store's UUID.

An event belongs to one timeline, in which the event was appended. A cursor names the timeline of
the cursor's event. So a cursor stays good in every later timeline with the same event, and in a
branch.

Three facts decide whether a history goes on from a cursor.

1. The history has the cursor's timeline.
2. No later timeline left before the cursor's event.
3. The event with the cursor's number has the cursor's checksum.

Only the checksum notices two copies of a directory after both were written, because both go on in
the same timeline. The last number in both copies is not known then. The error names the last event
before the timeline began, which is in both.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from eventstore.cursor import Cursor
from eventstore.errors import CursorAheadError, ForeignCursorError, HistoryForkedError

__all__ = ["Lineage", "Timeline", "first_timeline", "next_timeline"]


KEPT = 256
"""Timelines that are kept at most. A cursor of an older one is refused."""


class Timeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One timeline of a store, as `store.json` has it.

    `number` counts from 1. `id` is random, eight hexadecimal digits. `left_at` is the number of the
    last event shared with the timeline before, 0 in the first timeline.
    """

    number: int
    id: str
    left_at: int


def first_timeline(store: uuid.UUID) -> tuple[Timeline, ...]:
    """Return the timelines of a new store."""
    return (Timeline(number=1, id=store.hex[:8], left_at=0),)


def next_timeline(
    timelines: Sequence[Timeline], left_at: int, entropy: bytes
) -> tuple[Timeline, ...]:
    """Return the timelines with one more, which leaves the last one behind event `left_at`.

    The caller makes the result durable before the first event of the new timeline is written.
    `entropy` are four random bytes.
    """
    begun = Timeline(number=timelines[-1].number + 1, id=entropy.hex(), left_at=left_at)
    return (*timelines[1 - KEPT :], begun)


class Lineage(NamedTuple):
    """The identity of one history: where its files are, its store, and its timelines.

    - `path`: the store's name in messages.
    - `timelines`: the timelines, oldest first.
    """

    path: str
    store: uuid.UUID
    timelines: tuple[Timeline, ...]

    def cursor(self, seq: int, checksum: int | None) -> Cursor:
        """Return the cursor behind event `seq`, which has the checksum `checksum`."""
        timeline = self.timelines[0]
        for later in self.timelines[1:]:
            if later.left_at < seq:
                timeline = later
            # A later timeline may have left before an earlier one began: the last one counts.
        return Cursor(self.store, timeline.number, timeline.id, seq, checksum)

    def check(self, cursor: Cursor) -> None:
        """Check that the timelines of this history go on from `cursor`.

        Raises `ForeignCursorError` and `HistoryForkedError`.
        """
        index = self._index_of(cursor)
        if index is None:
            if cursor.store != self.store:
                raise ForeignCursorError(
                    f"{self.path}: the cursor {cursor} is of the store {cursor.store}, and this is "
                    f"the store {self.store}: read the store that the cursor was taken from",
                    path=self.path,
                    cursor=str(cursor),
                    store=str(self.store),
                )
            raise self._forked(
                cursor,
                0,
                f"timeline {cursor.timeline} with the identity {cursor.timeline_id} is none of "
                "this history: another copy of the store began it",
            )
        left = [later.left_at for later in self.timelines[index + 1 :]]
        if left and min(left) < cursor.seq:
            later = next(one for one in self.timelines[index + 1 :] if one.left_at == min(left))
            raise self._forked(
                cursor,
                later.left_at,
                f"history went back to event {later.left_at}, where timeline {later.number} begins",
            )

    def check_event(self, cursor: Cursor, checksum: int) -> None:
        """Check that the event with the cursor's number has the cursor's checksum.

        Raises `HistoryForkedError`.
        """
        if cursor.checksum is not None and cursor.checksum != checksum:
            raise self._forked(
                cursor,
                self._begin_of(cursor),
                f"event {cursor.seq} is another one here: the store was copied and written in two "
                "places, or a crash took events that were not on stable storage",
            )

    def ahead_error(self, cursor: Cursor, last: int) -> CursorAheadError:
        """Return the error for a cursor behind the last event, `last`, of this history."""
        begin = min(self._begin_of(cursor), last)
        return CursorAheadError(
            f"{self.path}: the cursor {cursor} stands behind event {cursor.seq}, and the history "
            f"ends with event {last}: is this an older copy of the store? {_shared(begin)}",
            path=self.path,
            cursor=str(cursor),
            last_shared=begin,
            last=last,
        )

    def _begin_of(self, cursor: Cursor) -> int:
        index = self._index_of(cursor)
        return 0 if index is None else self.timelines[index].left_at

    def _index_of(self, cursor: Cursor) -> int | None:
        for index, one in enumerate(self.timelines):
            if (one.number, one.id) == (cursor.timeline, cursor.timeline_id):
                return index
        return None

    def _forked(self, cursor: Cursor, last_shared: int, reason: str) -> HistoryForkedError:
        return HistoryForkedError(
            f"{self.path} does not go on from the cursor {cursor}: {reason}. "
            f"{_shared(last_shared)}",
            path=self.path,
            cursor=str(cursor),
            last_shared=last_shared,
        )


def _shared(last: int) -> str:
    if not last:
        return "No event is known to be in both histories: read anew from event 1"
    return (
        f"Both histories share the events up to {last}: take back what was made of later ones, and "
        f"read on from event {last + 1}"
    )
