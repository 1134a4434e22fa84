"""A log with nothing on disk: for backtests, for unit tests, and for stores without a log.

The log has the interface of the durable log, and acknowledges events at once. With `keep` the log
holds the events for reading. Without `keep` the events are gone, as in a store that only takes
snapshots. The log of a branch continues another store's history, and reads earlier events from that
store's files.
"""

from __future__ import annotations

import bisect
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from eventstore.blocking_calls import BackgroundCalls
from eventstore.config import Durability
from eventstore.disk.base import Disk
from eventstore.errors import (
    HistoryUnavailableError,
    StoreClosedError,
    StoreFailedError,
)
from eventstore.log.backpressure import Room
from eventstore.log.base import Chunk, Numbers, Submission, order_error
from eventstore.log.call_guard import CallGuard
from eventstore.log.levels import Levels
from eventstore.log.reader import LogReader
from eventstore.log.runs import narrowed
from eventstore.model.codec import array_header
from eventstore.model.operation import Event, Outcome, Receipt
from eventstore.operator_log import operator_log
from eventstore.recovery_and_stats import StoreStats
from eventstore.standing_warnings import StandingWarnings
from eventstore.timelines import Lineage

__all__ = ["MemoryLog"]

_logger = operator_log(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_CHUNKS_PER_READ = 1024
_ARRAY_HEADER_SIZE = len(array_header(0))


def _first_seq(chunk: Chunk) -> int:
    return chunk.first_seq


def _join_chunks(chunks: list[Chunk]) -> Chunk:
    """Return consecutive chunks as one chunk, which one call decodes."""
    count = sum(chunk.events for chunk in chunks)
    bodies = [chunk.array[_ARRAY_HEADER_SIZE:] for chunk in chunks]
    return Chunk(chunks[0].first_seq, count, b"".join((array_header(count), *bodies)))


class MemoryLog:
    """A log (`eventstore.log.base.Log`) whose events last as long as the object.

    `seq` is the number of the last event before the log's own events, and `lineage` the identity of
    the history. `earlier` reads the events up to `seq` from `disk`. `on_commit` and `on_reset` are
    bound methods of the owner, which is held weakly, so a forgotten owner is noticed at once.
    `background` makes the owner's blocking calls where there is a disk. `release` is called after
    the last of them, when the log is closed or forgotten.
    """

    def __init__(
        self,
        path: str,
        seq: int,
        *,
        lineage: Lineage,
        keep: bool,
        on_commit: Callable[[list[Submission]], None],
        on_reset: Callable[[Submission | None, Receipt | None], None],
        disk: Disk | None = None,
        earlier: LogReader | None = None,
        background: BackgroundCalls | None = None,
        release: Callable[[], None] = lambda: None,
        max_pending: int = sys.maxsize,
    ) -> None:
        self.path = path
        self.disk = disk
        self.lineage = lineage
        self.warnings = StandingWarnings(path)
        self.begins = seq
        self.numbers = Numbers(seq)
        self.levels = Levels(Durability.NONE)  # whatever is asked for, every event is at once
        self.room = Room(max_pending)  # for look-ups of keys: nothing else is ever pending
        self.closed: bool = False
        self.unsynced: bool = False
        self._earlier = earlier
        self._chunks: list[Chunk] | None = [] if keep else None
        self._on_commit = weakref.WeakMethod(on_commit)
        self._on_reset = weakref.WeakMethod(on_reset)
        self._accepted: tuple[Submission, Outcome] | None = None
        self.guard = CallGuard(path, self._repair)
        self._background = background
        self._end = release

    def _release(self) -> None:
        self._end()
        self.closed = True

    @property
    def durable_seq(self) -> int:
        return self.numbers.durable

    @property
    def head_seq(self) -> int:
        return self.numbers.head

    @property
    def failure(self) -> StoreFailedError | None:
        return self.room.failure

    @property
    def appender(self) -> MemoryLog:
        return self

    def submit(
        self,
        first_seq: int,
        body: bytes,
        count: int,
        time: int,
        level: int,
        events: Sequence[Event[Any]] | None = None,
        state: Any = None,
        copy: Callable[[Any], Any] | None = None,
    ) -> Receipt:
        self.room.ensure_open()
        if first_seq != self.numbers.head + 1:
            error = order_error(self.path, first_seq, f"event {self.numbers.head + 1} is next")
            self.fail(error)
            raise error
        seq, outcome = first_seq + count - 1, Outcome()
        receipt = Receipt(first_seq, seq, time, outcome, events, state, copy)
        accepted = Submission(first_seq, seq, time, body, events, state)
        self._accepted = accepted, outcome  # submitted now
        self._publish(accepted, outcome)
        return receipt

    def _publish(self, entry: Submission, outcome: Outcome) -> None:
        """Keep an accepted submission and tell the owner. A second time has no further effect."""
        first, chunks = entry.first_seq, self._chunks
        if chunks is not None and (not chunks or chunks[-1].first_seq != first):
            count = entry.seq - first + 1
            chunks.append(Chunk(first, count, array_header(count) + entry.body))
        self.numbers.head = self.numbers.durable = entry.seq
        owner = self._on_commit()
        if owner is not None:  # pragma: no branch - the owner is the caller
            owner([entry])
        outcome.resolve()
        self._accepted = None

    def _repair(self) -> None:
        """Finish an accepted submission after an interruption, or take the owner's head back."""
        accepted = self._accepted
        if accepted is not None:
            try:
                self._publish(*accepted)
            except Exception:  # a second exception is the owner's fault, and no interruption
                _logger.exception("%s: the end of a commit could not be told", self.path)
                accepted[1].resolve()
                self._accepted = None
        reset = self._on_reset()
        if reset is not None:  # pragma: no branch - the owner is the caller
            reset(None, None)

    async def read(self, start: int, stop: int, make: Callable[[Chunk], T]) -> AsyncIterator[T]:
        own = self.begins + 1
        if self._chunks is None or (start < own and self._earlier is None):
            raise HistoryUnavailableError(
                f"{self.path} does not hold event {start}"
                + ("" if self._chunks is not None else ": it has no log (use_wal=False)"),
                requested=start,
                first_available=own if self._chunks is not None else stop,
            )
        if start < own and self._earlier is not None:
            end = min(stop, own)
            chunks = self._earlier.chunks(start, end)
            while (chunk := await self.run(next, chunks, None)) is not None:
                yield make(narrowed(chunk, start, end))
                if isinstance(self.room.refusal, StoreClosedError):
                    self.room.ensure_open()
        first = max(bisect.bisect_right(self._chunks, start, key=_first_seq) - 1, 0)
        last = bisect.bisect_left(self._chunks, stop, key=_first_seq)
        for index in range(first, last, _CHUNKS_PER_READ):
            joined = _join_chunks(self._chunks[index : min(index + _CHUNKS_PER_READ, last)])
            yield make(narrowed(joined, start, stop))

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._background is None:
            return call(*args, **kwargs)
        return await self._background.run(call, *args, **kwargs)

    async def flush(self) -> None:
        self.guard.check()
        self.room.ensure_open()

    async def sync(self) -> None:
        return

    def stop(self) -> None:
        self.guard.settle()
        if self.room.refusal is None:
            self.room.close(StoreClosedError(f"{self.path} is closed", path=self.path))

    async def drain(self) -> None:
        return

    async def close(self) -> None:
        self.stop()
        if self._background is None:
            self._release()
        else:
            await self._background.close(self._release)

    def fail(self, error: StoreFailedError) -> None:
        self.room.close(error)

    def abandon(self) -> None:
        if self._background is None:
            self._release()
        else:
            self._background.abandon(self._release)

    def loss_when_forgotten(self, snapshot_seq: int) -> str:
        if self._chunks is not None:
            return "Its events were in memory only, and are gone"
        if self.durable_seq > snapshot_seq:
            return (
                f"Events {snapshot_seq + 1} to {self.durable_seq} are lost: there is no log "
                f"(use_wal=False), and the last snapshot is of event {snapshot_seq}"
            )
        return "Nothing that was acknowledged is lost: the last snapshot covers it"

    def stats(self) -> StoreStats:
        events = self.durable_seq - self.begins
        return StoreStats(
            seq=self.durable_seq,
            pending=self.room.taken,
            events=events,
            warnings=self.warnings.texts,
            failed=self.failure is not None,
        )
