"""The state of a store at a moment, with the event that the state follows: `moment_state`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.errors import EventStoreError
from eventstore.model.codec import EventCodec
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import NamedPlace
from eventstore.reading.replay import fold_to, recorded_batches

__all__ = ["MomentState", "moment_state"]


class MomentState(msgspec.Struct, frozen=True):
    """A state: the state itself, its event's number and time, and its digest.

    `seq` is 0 and `time` `None` before the first event. `time` is `None`, too, where the event is
    not in the store any more.
    """

    state: Any
    seq: int
    time: int | None
    digest: str


def moment_state(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any],
    at: NamedPlace | None = None,
    advance: Callable[[int], None] | None = None,
) -> MomentState:
    """Fold the store at `path` to a moment, by default to its end. Nothing is written.

    `advance` is called with the number of each event up to which the state is folded. Raises the
    errors of `state_at`.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        found = fold_to(disk, registry, at, advance)
        digest = registry.states.digest(found.state)
        return MomentState(found.state, found.seq, _time_of(disk, found.seq), digest)
    finally:
        disk.close()


def _time_of(disk: Disk, seq: int) -> int | None:
    if not seq:
        return None
    try:
        for events in recorded_batches(disk, EventCodec(), seq, seq + 1):
            return events[0].time
    except EventStoreError:
        return None
    return None
