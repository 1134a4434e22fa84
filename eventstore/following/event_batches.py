"""Batches of decoded events behind a follower's place: blocking, for a thread beside the loop.

The events of a batch are handed out one by one. `ReadAhead` knows the place behind the last one.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from eventstore.cursor import Cursor
from eventstore.disk.base import Disk
from eventstore.following.log_follower import LogFollower
from eventstore.log.base import Chunk
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import without_lost
from eventstore.moment import AtTime, Moment, NamedPlace, place_of
from eventstore.named_cursors import checked_name, load_cursor, save_cursor
from eventstore.reading.arguments import checked_operations, checked_registry
from eventstore.reading.replay import recorded_name
from eventstore.reading.time_search import TimeWindow, seq_lower_bound

__all__ = ["EventBatch", "EventBatches", "ReadAhead"]


class EventBatch(NamedTuple):
    """The wanted events of one chunk. `stop` is the number behind the chunk."""

    events: Sequence[Event[Any]]
    stop: int


class EventBatches:
    """The wanted events of a store behind a place, batch by batch.

    `began_behind` is the event of the place at the start. `disk` is the store's disk. `name` is the
    name of the saved cursor, if there is one.
    """

    def __init__(
        self,
        make_disk: Callable[[], Disk],
        registry: HandlerRegistry[Any] | None,
        after: NamedPlace | None,
        operations: Collection[str] | None,
        name: str | None = None,
    ) -> None:
        self.name = name
        self._codec = EventCodec() if registry is None else registry.codec
        self._upcast = _as_recorded if registry is None else registry.upcast
        self._operations = operations
        self._window = TimeWindow(None, None)
        self._log = LogFollower(make_disk)
        self._chunks: list[Chunk] = []  # the last two, which hold the place of the cursor
        try:
            if name is not None:
                after = load_cursor(self._log.disk, name) or after or 0
            if isinstance(after, AtTime):
                later = AtTime(after.last + 1, after.last + 1)
                self._window = TimeWindow(later, None)
                after = seq_lower_bound(self._log.disk, later.first) - 1
            self._log.begin(after)
        except BaseException:
            self._log.close()
            raise
        self.began_behind: int = self._log.next_seq - 1

    @classmethod
    def prepared(
        cls,
        make_disk: Callable[[], Disk],
        registry: HandlerRegistry[Any] | None,
        after: Moment | None,
        operations: Collection[str] | None,
        name: str | None = None,
    ) -> Callable[[], EventBatches]:
        """Check the arguments, and return the function that opens the store.

        Raises `ConfigError` and `UnknownOperationError`. The function raises the errors of
        `LogFollower`.
        """
        known = None if registry is None else checked_registry(registry).operations
        wanted = checked_operations(operations, known)
        place = None if after is None else place_of(after, "after")
        if name is not None:
            checked_name(name)
        return functools.partial(cls, make_disk, registry, place, wanted, name)

    @property
    def path(self) -> str:
        """The store's directory."""
        return self._log.disk.path

    @property
    def watched_path(self) -> str | None:
        """The directory whose changes the kernel may report, `None` for a simulated one."""
        return self.path if self._log.disk.blocking else None

    @property
    def disk(self) -> Disk:
        """The store's disk."""
        return self._log.disk

    @property
    def durable_seq(self) -> int:
        """The last event that is known to be durable."""
        return self._log.durable_seq

    @property
    def closed(self) -> bool:
        """Whether the writer has closed the store, and every event was read."""
        return self._log.closed and self._log.next_seq > self._log.durable_seq

    def cursor_behind(self, seq: int) -> Cursor:
        """Return the cursor behind event `seq`, the last one that was given."""
        for chunk in self._chunks:
            if chunk.first_seq <= seq < chunk.first_seq + chunk.events:
                return self._log.cursor_behind(seq, chunk)
        return self._log.cursor_behind(seq, None)

    def save(self, name: str, cursor: Cursor) -> None:
        """Save `cursor` under `name`. Raises `CursorNotSavedError`."""
        save_cursor(self._log.disk, name, cursor)

    def next_batch(self, *, idle: bool = False) -> EventBatch | None:
        """Return the next batch, `None` where there are no new events yet. May be empty.

        Raises the errors of `LogFollower.next_chunk` and what decoding raises. After an error, the
        same events come again.
        """
        found = self._log.next_chunk(idle=idle)
        if found is None:
            return None
        chunk, start, stop = found
        events: Sequence[Event[Any]]
        try:
            events = self._codec.decode(chunk.array, chunk.events, chunk.first_seq)
            events = events[start - chunk.first_seq : stop - chunk.first_seq]
            events = without_lost(self._window.cut(self._upcast(events)))
        except BaseException:
            self._log.read_again()
            raise
        self._log.advance(found)
        if self._operations is not None:
            events = [one for one in events if recorded_name(one) in self._operations]
        self._chunks = [*self._chunks[-1:], chunk]
        return EventBatch(events, stop)

    def close(self) -> None:
        """Close all files. A second call does nothing."""
        self._log.close()


class ReadAhead:
    """The events read ahead, and the place behind the last event that was given."""

    def __init__(self) -> None:
        self._batch: EventBatch | None = None
        self._events: deque[Event[Any]] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def take(self, batch: EventBatch) -> None:
        self._batch = batch
        self._events.extend(batch.events)

    def next_event(self) -> Event[Any]:
        return self._events.popleft()

    def seq(self) -> int | None:
        """Return the last event that was given whole. `None` before the first batch.

        An upcaster may make several events of one number. Then the number is behind all of them.
        """
        if self._batch is None:
            return None
        return self._events[0].seq - 1 if self._events else self._batch.stop - 1


def _as_recorded(events: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
    return events
