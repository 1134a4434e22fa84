"""A store that takes the records of another machine as they are, and no operations of its own.

Theory of operation
-------------------
A copied record goes the way of an append (`eventstore/open_store/append_path.py`), without the
encoding: the bytes are the writer's. They are decoded, folded on the head, and queued. So numbers,
times, keys and intents are the writer's, snapshots are taken as in any store, and the state after
each event has the writer's digest.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from eventstore.errors import StoreFailedError, StoreReadOnlyError
from eventstore.keys.index import InFlight
from eventstore.keys.keys_in_log import recorded_keys
from eventstore.log.call_guard import FOLDING, IDLE, INTERRUPTED, QUEUEING
from eventstore.log.levels import SYNCED
from eventstore.model.open_intents import holds_marks
from eventstore.model.operation import Receipt
from eventstore.open_store.append_path import AppendPath
from eventstore.reading.chunk_decoding import decode_chunk
from eventstore.replication.messages import Record
from eventstore.store import EventStore

__all__ = ["CopyStore"]

StateT = TypeVar("StateT")


class CopyStore(EventStore[StateT]):
    """A store whose events come from the stream. Reading, subscribing and snapshots are as ever."""

    async def copy(self, record: Record) -> Receipt:
        """Queue a record as it is, once there is room. The receipt resolves when it is durable.

        Raises `ReplayError` where the handlers cannot fold the record, `StoreFailedError`, and
        `StoreFullError`.
        """
        room, path = self.log.appender.room, self._append_path
        room.ensure_open()
        if room.fits(record.events):
            return _submit(path, record)
        return await room.submit_when_fits(record.events, _submit, path, record)

    def _refuse(self) -> NoReturn:
        raise StoreReadOnlyError(
            f"{self.path} is a standby: its events come from the writer. Promote the standby to "
            "append here",
            path=self.path,
        )

    async def append(self, *operations: Any, **options: Any) -> Receipt:
        """Refuse the operations: raises `StoreReadOnlyError`."""
        self._refuse()

    def submit(self, *operations: Any, **options: Any) -> Receipt:
        """Refuse the operations: raises `StoreReadOnlyError`."""
        self._refuse()

    def intend(self, *operations: Any, **options: Any) -> Any:
        """Refuse the intent: raises `StoreReadOnlyError`."""
        self._refuse()


def _submit(path: AppendPath[Any], record: Record) -> Receipt:
    appender, registry, keys = path.log.appender, path.registry, path.keyed.index
    guard, first = appender.guard, record.first_seq
    guard.check()
    if first != appender.numbers.head + 1:
        raise StoreFailedError(
            f"{path.log.path}: event {first} came from the stream, and event "
            f"{appender.numbers.head + 1} is next: the stream has a gap",
            path=path.log.path,
        )
    try:
        guard.phase = FOLDING
        chunk = record.chunk
        events = decode_chunk(registry, chunk)
        state = registry.fold(path.head, events)
        registry.check_state(state, path.head)
        canonical = registry.codec.canonical_of_recorded
        rows = recorded_keys(chunk, first, record.last_seq + 1, keys.hasher, canonical)
        taken = [InFlight(row, record.last_seq, ()) for row in rows]
        intents = path.intents.head.after(events) if holds_marks(chunk.array) else None
        guard.phase = QUEUEING
        if intents is not None:
            path.intents.submitted(intents, record.last_seq)
        if taken:
            keys.submitted(first, taken)
        path.head = state
        receipt = appender.submit(
            first,
            record.body,
            record.events,
            events[0].time,
            SYNCED,
            tuple(events),
            state,
            path.copy,
        )
        if taken:
            keys.queued(first, receipt)
        guard.phase = IDLE
    except BaseException:  # an interruption included
        guard.phase = INTERRUPTED if guard.phase >= QUEUEING else IDLE
        guard.settle_soon()
        raise
    return receipt
