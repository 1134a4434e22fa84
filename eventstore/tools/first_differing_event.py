"""The first event from which two stores differ: `first_difference`. No handler is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.reading.replay import recorded_batches

__all__ = ["EventComparison", "first_difference"]


_TOLD = 10_000


class EventComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two histories compared event by event, up to the first difference.

    Attributes:
        compared_from: The first event that both stores still have.
        seq: Number of the first event that differs, or that only one of the two has. `None` where
            the histories are the same to the end.
        one: The event of the first store, `None` where its history ends before.
        other: The event of the second store, `None` where its history ends before.
        one_last: Number of the last common or differing event read of the first store.
        other_last: The same of the second store.
    """

    compared_from: int
    seq: int | None = None
    one: Event[Any] | None = None
    other: Event[Any] | None = None
    one_last: int = 0
    other_last: int = 0


def first_difference(
    one: Disk, other: Disk, advance: Callable[[int], None] = lambda seq: None
) -> EventComparison:
    """Read two histories side by side up to the first difference. Raises the errors of reading.

    Two events are the same if number, time, payload, key and metadata are. `advance` is told of the
    last event compared, now and then.
    """
    start = max(load_manifest(one).history_start, load_manifest(other).history_start)
    left, right = _events(one, start), _events(other, start)
    seq = start - 1
    while True:
        mine, theirs = next(left, None), next(right, None)
        if mine is None and theirs is None:
            return EventComparison(compared_from=start, one_last=seq, other_last=seq)
        if mine != theirs:
            return EventComparison(
                compared_from=start,
                seq=seq + 1,
                one=mine,
                other=theirs,
                one_last=seq if mine is None else mine.seq,
                other_last=seq if theirs is None else theirs.seq,
            )
        seq += 1
        if not seq % _TOLD:
            advance(seq)


def _events(disk: Disk, start: int) -> Iterator[Event[Any]]:
    for events in recorded_batches(disk, EventCodec(), start, None):
        yield from events
