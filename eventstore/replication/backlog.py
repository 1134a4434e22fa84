"""The records that are on this machine's disk and not yet in the stream.

Theory of operation
-------------------
The writer's thread hands each record over in memory, up to a bound. Beyond the bound, records are
dropped here and read from the log later, however far back. So an absent cluster costs no memory,
and a cluster that keeps up costs no reading.

The writer's thread adds and the shipping thread takes. One lock guards both.
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


class _Mark(NamedTuple):
    """The events up to `seq` came to `bytes` since the opening, by the time `at` (monotonic)."""

    seq: int
    bytes: int
    at: float


class Backlog:
    """The records from event `next_seq` on, of which those up to `durable` may be sent."""

    def __init__(self, read_log: ReadLog, durable: int) -> None:
        self.durable: int = durable
        self._read_log = read_log
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._history: Iterator[Chunk] | None = None
        self._reading_to = 0
        self._total = 0
        self._marks: deque[_Mark] = deque()
        self._sent = _Mark(durable, 0, time.monotonic())

    def __repr__(self) -> str:
        return f"<Backlog of {len(self._records)} records in memory, durable up to {self.durable}>"

    # ---- the writer's thread ---------------------------------------------------------------

    def add(self, record: Record) -> None:
        """Take a record that was just written."""
        with self._lock:
            self._total += len(record.body)
            if len(self._marks) >= _MARKS:  # coarser marks cost only precision
                self._marks = deque(list(self._marks)[::2])
            self._marks.append(_Mark(record.last_seq, self._total, time.monotonic()))
            self._records.append(record)
            self._bytes += len(record.body)
            while self._bytes > BYTES_IN_MEMORY and len(self._records) > 1:
                self._bytes -= len(self._records.popleft().body)

    # ---- the shipping thread ---------------------------------------------------------------

    def record_at(self, seq: int, before: int) -> Record | None:
        """Return the durable record that begins with event `seq`, cut before event `before`.

        `None` where nothing durable is there. Blocks where the log has to be read. Raises the
        errors of reading a log.
        """
        with self._lock:
            while self._records and self._records[0].first_seq < seq:
                self._bytes -= len(self._records.popleft().body)
            found = self._records[0] if self._records else None
            if found is not None and found.first_seq == seq:
                self._history = None
                return found if found.last_seq <= self.durable else None
            end = min(before, self.durable + 1)
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
            while self._marks and self._marks[0].seq <= seq:
                self._sent = self._marks.popleft()
            if seq > self._sent.seq:
                self._sent = self._sent._replace(seq=seq)

    @property
    def lag(self) -> Lag:
        """The durable events that the stream does not have, from any thread."""
        with self._lock:
            events = max(0, self.durable - self._sent.seq)
            if not events:
                return Lag()
            oldest = self._marks[0].at if self._marks else self._sent.at
            missing = self._total - self._sent.bytes
            return Lag(events, missing, max(0.0, time.monotonic() - oldest))


def _cut(chunk: Chunk, seq: int, end: int) -> Record | None:
    """Return the events of a chunk from `seq` up to `end` (exclusive) as a record."""
    if chunk.first_seq == seq and chunk.first_seq + chunk.events <= end:
        return Record(seq, chunk.events, chunk.array[_ARRAY_HEADER:])
    items = _decode_items(chunk.array)[max(0, seq - chunk.first_seq) : end - chunk.first_seq]
    if not items:
        return None
    return Record(max(seq, chunk.first_seq), len(items), b"".join(map(bytes, items)))
