"""Reading a store's history without opening it: replay, events, and the state at a moment.

Synchronous, without an event loop and without the writer's lock, also while the writer is at work.
Archive and log are one history; memory is flat however long it is. What a reader outside the writer
sees last may be a record still in flight, which a power cut can take back.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, TypeVar

from eventstore.clock import to_ns
from eventstore.codec import EventCodec
from eventstore.disk import Disk, LocalDisk
from eventstore.identity import load_identity
from eventstore.log.reader import LogReader
from eventstore.operation import OPERATION_FIELD, Event
from eventstore.recovery import decode_chunk
from eventstore.registry import HandlerRegistry
from eventstore.snapshot.vault import SnapshotVault

__all__ = ["read_events", "replay", "state_at"]

StateT = TypeVar("StateT")
Moment = int | datetime
_END = 1 << 62


def read_events(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    start: Moment = 1,
    stop: Moment | None = None,
    operations: Collection[str] | None = None,
    disk: Disk | None = None,
) -> Iterator[Event[Any]]:
    """The events of the store at ``path``, in order.

    ``start`` and ``stop`` are a sequence number or an aware ``datetime``: from the first event at
    or after ``start``, and up to the first at or after ``stop`` (exclusive). ``operations`` keeps
    only those. Without a ``registry`` payloads are plain dictionaries and no handler is needed.

    Raises :class:`StoreNotFoundError`, :class:`HistoryUnavailableError`, :class:`CorruptLogError`,
    :class:`ReadFailedError` and, with a registry, :class:`UnknownOperationError`.
    """
    for _, batch in _batches(path, registry, start, stop, disk):
        for event in batch:
            if operations is None or _name(event) in operations:
                yield event


def replay(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    *,
    start: Moment = 1,
    stop: Moment | None = None,
    operations: Collection[str] | None = None,
    disk: Disk | None = None,
) -> Iterator[tuple[Event[Any], StateT]]:
    """Every event from ``start`` to ``stop`` with the state after it, folded by the same handlers.

    The state is right from the first pair on: what came before ``start`` is folded too, from the
    nearest snapshot where there is one. ``operations`` chooses which events are handed over; all of
    them are folded. Raises what :func:`read_events` raises, and :class:`ReplayError`.
    """
    disk = disk or LocalDisk(path, read_only=True)
    begin = start if isinstance(start, int) else None
    state, seq = _base(disk, registry, None if begin is None else begin - 1, start)
    first_time = None if isinstance(start, int) else to_ns(start)
    for _, batch in _batches(path, registry, seq + 1, stop, disk):
        for event in batch:
            state = registry.fold(state, (event,))
            reached = event.seq >= begin if begin is not None else event.time >= (first_time or 0)
            if reached:
                begin, first_time = event.seq, None
                if operations is None or event.operation in operations:
                    yield event, state


def state_at(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    at: Moment | None = None,
    *,
    disk: Disk | None = None,
) -> StateT:
    """The state after event number ``at``, or as of a moment, or (``None``) after the last event.

    As of a moment: before the first event that is later than ``at``. Starts from the nearest
    snapshot. Raises what :func:`replay` raises.
    """
    disk = disk or LocalDisk(path, read_only=True)
    seq_limit = at if isinstance(at, int) else None
    state, seq = _base(disk, registry, seq_limit, at)
    latest = to_ns(at) if isinstance(at, datetime) else None
    stop = None if seq_limit is None else seq_limit + 1
    for _, batch in _batches(path, registry, seq + 1, stop, disk):
        late = next(
            (i for i, event in enumerate(batch) if latest is not None and event.time > latest), None
        )
        state = registry.fold(state, batch if late is None else batch[:late])
        if late is not None:
            break
    return state


def _base(
    disk: Disk, registry: HandlerRegistry[StateT], upto: int | None, moment: Moment | None
) -> tuple[StateT, int]:
    """The newest usable snapshot that is not too late, or the initial state."""
    identity = load_identity(disk)
    vault = SnapshotVault[StateT](disk, identity.store, registry.state_type, registry.fingerprint())
    latest = to_ns(moment) if isinstance(moment, datetime) else None
    while True:
        snapshot, _ = vault.load_newest(upto=upto)
        if snapshot is None:
            return registry.initial(), 0
        if latest is None or snapshot.latest <= latest:
            return snapshot.state, snapshot.seq
        upto = snapshot.seq - 1


def _batches(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None,
    start: Moment,
    stop: Moment | None,
    disk: Disk | None,
) -> Iterator[tuple[int, list[Event[Any]]]]:
    disk = disk or LocalDisk(path, read_only=True)
    identity = load_identity(disk)
    codec = EventCodec()
    first = start if isinstance(start, int) else max(1, identity.history_start)
    first = max(first, 1)
    end = stop if isinstance(stop, int) else _END
    earliest = to_ns(start) if isinstance(start, datetime) else None
    latest = to_ns(stop) if isinstance(stop, datetime) else None
    if first >= end:
        return
    for chunk in LogReader(disk, identity.store).chunks(first, end):
        if registry is not None:
            batch = decode_chunk(registry, chunk, first, end)
        else:
            events = codec.decode(chunk.body, chunk.events, chunk.first_seq)
            batch = events[max(0, first - chunk.first_seq) : end - chunk.first_seq]
        if earliest is not None:
            found = next((i for i, event in enumerate(batch) if event.time >= earliest), None)
            if found is None:
                continue
            batch, earliest = batch[found:], None
        if latest is not None:
            late = next((i for i, event in enumerate(batch) if event.time >= latest), None)
            if late is not None:
                yield chunk.first_seq, batch[:late]
                return
        yield chunk.first_seq, batch


def _name(event: Event[Any]) -> str:
    """The operation's name, also of a payload that was decoded without a registry."""
    if isinstance(event.data, dict):
        return str(event.data.get(OPERATION_FIELD, "")).partition("@")[0]
    return event.operation
