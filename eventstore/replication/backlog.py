"""The records that are in this machine's log and not yet in the stream.

Theory of operation
-------------------
The writer's thread hands each record over in memory, up to a bound. Beyond the bound, records are
dropped here and read from the log later, however far back. So an absent cluster costs no memory,
and a cluster that keeps up costs no reading.

The writer's thread adds, and the shipping thread takes. An append pays for the adding. So adding
takes no lock: to append to a deque is one operation of the interpreter. To remove a record takes
the lock. The sizes and times for the lag are summed up on removal.

*Waking.* The shipping thread sets `idle`, looks once more for records, and sleeps. The writer's
thread adds a record, and then looks at `idle`. So no record is overlooked, and a thread that is
awake is not called.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from eventstore.log.base import Chunk
from eventstore.log.replica_interface import Lag
from eventstore.replication.messages import Record

__all__ = ["Backlog"]

BYTES_IN_MEMORY = 16 * 1024 * 1024
_MARKS = 1024
_ARRAY_HEADER = 5
_decode_items: Any = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

ReadLog = Callable[[int, int], Iterator[Chunk]]
"""Reads the durable events from a number up to another (exclusive), as `LogReader.chunks` does."""


class _Held(NamedTuple):
    """A record in memory. The bodies since the opening came to `bytes` with this one.

    The writer's thread makes plain tuples, in a third of the time.
    """

    first_seq: int
    events: int
    body: bytes
    bytes: int
    at: float


class _Mark(NamedTuple):
    """The events up to `seq` came to `bytes` since the opening, by the time `at` (monotonic)."""

    seq: int
    bytes: int
    at: float


class Backlog:
    """The records behind the end of the stream, of which those up to event `sendable` may be sent.

    `idle` tells whether the shipping thread sleeps. `rouse` wakes the thread.
    """

    def __init__(
        self, read_log: ReadLog, sendable: int, rouse: Callable[[], None] | None = None
    ) -> None:
        self.sendable: int = sendable
        self.idle = False
        self._rouse = rouse
        self._read_log = read_log
        self._lock = threading.Lock()
        self._records: deque[tuple[int, int, bytes, int, float]] = deque()
        self._added = self._removed = 0  # bytes of bodies
        self._history: Iterator[Chunk] | None = None
        self._reading_to = 0
        self._marks: deque[_Mark] = deque()
        self._sent = _Mark(sendable, 0, time.monotonic())

    def __repr__(self) -> str:
        return (
            f"<Backlog of {len(self._records)} records in memory, to be sent up to {self.sendable}>"
        )

    # ---- the writer's thread ---------------------------------------------------------------

    def add(self, first_seq: int, events: int, body: bytes) -> None:
        """Take a record that was just written."""
        self._added = added = self._added + len(body)
        self._records.append((first_seq, events, body, added, time.monotonic()))
        if added - self._removed > BYTES_IN_MEMORY:
            self._drop_oldest()
        if self.idle:
            self.rouse()

    def rouse(self) -> None:
        """Wake the shipping thread."""
        self.idle = False
        if self._rouse is not None:
            self._rouse()

    def _drop_oldest(self) -> None:
        with self._lock:
            while self._added - self._removed > BYTES_IN_MEMORY and len(self._records) > 1:
                self._remove_first()

    def _remove_first(self) -> None:
        """Drop the oldest record, and keep its place for the lag. The lock is held."""
        found = _Held._make(self._records.popleft())
        self._removed += len(found.body)
        if len(self._marks) >= _MARKS:  # coarser marks cost only precision
            self._marks = deque(list(self._marks)[::2])
        self._marks.append(_Mark(found.first_seq + found.events - 1, found.bytes, found.at))

    # ---- the shipping thread ---------------------------------------------------------------

    def record_at(self, seq: int, before: int) -> Record | None:
        """Return the record that begins with event `seq`, cut before event `before`.

        `None` where nothing to be sent is there. Blocks where the log has to be read. Raises the
        errors of reading a log.
        """
        with self._lock:
            while self._records and self._records[0][0] < seq:
                self._remove_first()
            found = Record(*self._records[0][:3]) if self._records else None
            if found is not None and found.first_seq == seq:
                self._history = None
                return found if found.last_seq <= self.sendable else None
            end = min(before, self.sendable + 1)
        if found is not None:
            end = min(end, found.first_seq)
        return self._read(seq, end) if seq < end else None

    def _read(self, seq: int, end: int) -> Record | None:
        """Read the record at `seq` from the log, not beyond `end` (exclusive)."""
        for fresh in (False, True):
            if fresh or self._history is None:
                self._history, self._reading_to = self._read_log(seq, end), end
            for chunk in self._history:
                record = _cut(chunk, seq, self._reading_to)
                if record is not None and record.first_seq == seq and record.last_seq < end:
                    return record
                break
            self._history = None
        return None

    def sent(self, seq: int) -> None:
        """Take notice that the stream has the events up to `seq`."""
        with self._lock:
            while self._records and self._records[0][0] <= seq:
                self._remove_first()
            while self._marks and self._marks[0].seq <= seq:
                self._sent = self._marks.popleft()
            if seq > self._sent.seq:
                self._sent = self._sent._replace(seq=seq)

    @property
    def lag(self) -> Lag:
        """The events to be sent that the stream does not have, from any thread."""
        with self._lock:
            events = max(0, self.sendable - self._sent.seq)
            if not events:
                return Lag()
            oldest = self._sent.at
            if self._marks:
                oldest = self._marks[0].at
            elif self._records:
                oldest = self._records[0][4]
            missing = self._added - self._sent.bytes
            return Lag(events, missing, max(0.0, time.monotonic() - oldest))


def _cut(chunk: Chunk, seq: int, end: int) -> Record | None:
    """Return the events of a chunk from `seq` up to `end` (exclusive) as a record."""
    if chunk.first_seq == seq and chunk.first_seq + chunk.events <= end:
        return Record(seq, chunk.events, chunk.array[_ARRAY_HEADER:])
    items = _decode_items(chunk.array)[max(0, seq - chunk.first_seq) : end - chunk.first_seq]
    if not items:
        return None
    return Record(max(seq, chunk.first_seq), len(items), b"".join(map(bytes, items)))
