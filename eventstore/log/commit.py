"""Group commit: many appends, one record, one write and one ``fdatasync``.

Theory of operation
-------------------
Two sides. :class:`GroupCommit` lives on the event loop and is touched by nobody else; the writer
(see ``runner.py``) runs jobs on its own thread, one at a time.

*At most one job is in flight*, and it keeps this object alive: somebody may wait for a receipt.
``submit`` queues its events and, when nothing is in flight, hands the queue over at once: a lone
append costs one hop to the thread and one back. While a commit is in flight further submits queue
up; they are the next record. A commit in *company* (of several waiters, or with others queued
behind it) wakes waiters who are about to submit again in the same turn of the loop, so the next
hand-over waits for the end of that turn. Otherwise the first of them, or the one who was queued,
would get a record alone, and from then on two records would take turns where one would do. It
costs no time: the thread cannot begin before the loop's turn has given up the interpreter's lock.

*Sequence numbers* are given out on submission (``head_seq``), and become durable in that order
(``durable_seq``). When a commit is refused or fails, everything queued behind it fails with it,
because it was numbered, and folded, on top of events that never came to be; ``head_seq`` returns to
``durable_seq``.

*The owner* is told on the loop: ``on_commit`` with what became durable, before any receipt is
resolved; ``on_reset`` when the queue was dropped.

*When the loop goes away* without ``close`` (closed in mid-append, or forgotten), the thread
notices, at the latest after a second: it finishes the record in hand, seals, frees the lock and
ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from eventstore.config import Durability, StoreConfig
from eventstore.disk.fork import register_for_fork, unregister_for_fork
from eventstore.errors import (
    EventStoreError,
    StoreClosedError,
    StoreFailedError,
    StoreOverloadedError,
)
from eventstore.log.base import Submission
from eventstore.log.runner import InlineRunner, Job, Runner, ThreadRunner
from eventstore.log.writer import LogWriter
from eventstore.model.operation import Receipt

__all__ = ["GroupCommit"]

_logger = logging.getLogger(__name__)

MAX_RECORD_EVENTS = 65_536
MAX_RECORD_BYTES = 4 << 20


class GroupCommit:
    """The loop's side of the commit path.

    ``writer`` is the log's writing side; ``release`` frees what the store holds (its lock) and runs
    after the last job, on the writer's thread. Bound to the running event loop.
    """

    def __init__(
        self,
        writer: LogWriter,
        config: StoreConfig,
        *,
        path: str,
        blocking: bool,
        release: Callable[[], None],
        on_commit: Callable[[list[Submission]], None],
        on_reset: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._config = config
        self._max_pending = config.max_pending
        self._path = path
        self._on_commit = on_commit
        self._on_reset = on_reset
        self._sync_each = config.durability is Durability.COMMIT
        self._queue: deque[Submission] = deque()
        self._busy = False
        self._in_flight: list[Submission] = []
        self._events_in_flight = 0
        self._awaited: asyncio.Future[None] | None = None
        self._actions: deque[tuple[Callable[[], None], asyncio.Future[None] | None]] = deque()
        self._scheduled = False
        self._last_commit_shared = False
        self._waiting_for_room: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._waiting_for_drain: list[asyncio.Future[None]] = []
        self._room_granted = 0
        self._failed: list[Receipt] = []
        self._abandoned = False
        self._refusal: EventStoreError | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self._last_commit = 0.0
        self.pending = 0
        self.head_seq = self.durable_seq = writer.next_seq - 1
        kind = ThreadRunner if blocking else InlineRunner
        self._runner: Runner = kind(writer, release, self._loop, self._sync_each)
        register_for_fork(self)

    # ---- submitting ------------------------------------------------------------------------

    def ensure_open(self) -> None:
        """Raise what keeps this log from taking events, if anything does."""
        if self._refusal is not None:
            raise self._refusal

    def has_room(self, count: int) -> bool:
        """Whether ``count`` more events may be queued now (any number if nothing is queued)."""
        taken = self.pending + self._room_granted  # queued, or promised to who waited for room
        return not self._waiting_for_room and (not taken or taken + count <= self._max_pending)

    def overloaded(self) -> StoreOverloadedError:
        """The error of a ``submit`` that found the queue full."""
        return StoreOverloadedError(
            f"{self.pending} events wait to be written, the limit (max_pending) is "
            f"{self._config.max_pending}: await append(), which waits, or submit less at once",
            pending=self.pending,
            limit=self._config.max_pending,
        )

    async def wait_for_room(self, count: int) -> None:
        """Where ``has_room`` said no: wait, in order of arrival, until ``count`` may be queued.

        Cancelling it gives up the place in line; nothing was submitted yet.
        """
        place = self._loop.create_future()
        self._waiting_for_room.append((count, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._room_granted -= count
            self._waiting_for_room = deque(
                entry for entry in self._waiting_for_room if entry[1] is not place
            )
            self._grant_room()
            raise
        self._room_granted -= count
        self.ensure_open()

    def submit(self, body: bytes, count: int, time: int, attachment: Any = None) -> Receipt:
        """After ``ensure_open``: queue ``count`` encoded events, numbered from ``head_seq + 1``."""
        before = self.head_seq
        self.head_seq = before + count
        self.pending += count
        receipt = Receipt(before + 1, before + count, time)
        self._queue.append(Submission(receipt, body, count, attachment))
        if not self._busy and not self._scheduled:
            if self._last_commit_shared:
                self._start_next_soon()
            else:
                self._start_next()
        return receipt

    def _start_next_soon(self) -> None:
        """Hand over at the end of this turn of the loop, or of the one that begins now."""
        self._scheduled = True
        self._loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        """Hand the writer its next job: an action, or the head of the queue as one record."""
        self._scheduled = False
        if self._busy:
            return
        if self._actions:
            action, self._awaited = self._actions.popleft()
            job = Job(self._finished, action=action)
        elif self._queue:
            bodies = self._take_record()
            job = Job(self._finished, self._events_in_flight, bodies)
        else:
            return
        self._busy = True
        self._runner.put(job)

    def _take_record(self) -> list[bytes]:
        """Move what makes the next record from the queue into flight; the bodies of its events."""
        waiting = self._queue
        entry = waiting.popleft()
        entries, bodies = [entry], [entry.body]
        events, size = entry.events, len(entry.body)
        while waiting:
            entry = waiting[0]
            size += len(entry.body)
            if events + entry.events > MAX_RECORD_EVENTS or size > MAX_RECORD_BYTES:
                break
            events += entry.events
            entries.append(waiting.popleft())
            bodies.append(entry.body)
        self._in_flight, self._events_in_flight = entries, events
        return bodies

    def _run_between_commits(
        self, action: Callable[[], None], done: asyncio.Future[None] | None = None
    ) -> None:
        """Have the writer do something between two records."""
        self._actions.append((action, done))
        self._start_next()

    # ---- finishing (on the loop) -----------------------------------------------------------

    def _finished(self, error: Exception | None) -> None:
        entries, self._in_flight = self._in_flight, []
        awaited, self._awaited = self._awaited, None
        self._busy = False
        try:
            if error is not None:
                self._fail_pending(entries, error)
            elif entries:
                self._committed(entries)
        finally:
            if awaited is not None and not awaited.done():
                if error is None:
                    awaited.set_result(None)
                else:
                    awaited.set_exception(error)
            if not self._scheduled and (self._queue or self._actions):
                self._start_next()
            if self._waiting_for_room:
                self._grant_room()
            if self._waiting_for_drain and not (self._busy or self._queue):
                for waiter in self._waiting_for_drain:
                    if not waiter.done():
                        waiter.set_result(None)
                self._waiting_for_drain.clear()
            if self._abandoned and not (self._busy or self._queue):
                self._runner.stop()

    def _committed(self, entries: list[Submission]) -> None:
        self.durable_seq = entries[-1].receipt.seq
        self.pending -= self._events_in_flight
        self._last_commit_shared = len(entries) > 1 or bool(self._queue)
        try:
            self._on_commit(entries)
        finally:
            for entry in entries:
                entry.receipt.resolve()
            if self._last_commit_shared and not self._actions:
                self._start_next_soon()  # after those who were just woken
        self._arm_timers()

    def _fail_pending(self, entries: list[Submission], error: Exception) -> None:
        """A commit was not made: fail it and all that was folded on top of it."""
        if isinstance(error, StoreFailedError):
            self._refusal = error
        dropped = [*entries, *self._queue]
        self._queue.clear()
        self.head_seq = self.durable_seq
        self.pending = 0
        self._last_commit_shared = False
        self._on_reset()
        self._failed = [receipt for receipt in self._failed if not receipt.retrieved][:1]
        for entry in dropped:
            entry.receipt.resolve(error)
            self._failed.append(entry.receipt)
        if dropped:
            _logger.error(
                "%s: %d events were not committed: %s",
                self._path,
                sum(entry.events for entry in dropped),
                error,
            )

    def _grant_room(self) -> None:
        """Let those who wait for room go on, first come first served."""
        while self._waiting_for_room:
            count, place = self._waiting_for_room[0]
            taken = self.pending + self._room_granted
            crowded = taken > 0 and taken + count > self._max_pending
            if crowded and self._refusal is None:
                break
            self._waiting_for_room.popleft()
            if not place.done():
                place.set_result(None)
                self._room_granted += count

    # ---- timers ----------------------------------------------------------------------------

    def _arm_timers(self) -> None:
        self._last_commit = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._config.idle_seal, self._idle_over)
        if self._config.durability is Durability.INTERVAL and self._sync_timer is None:
            self._sync_timer = self._loop.call_later(self._config.sync_interval, self._sync_over)

    def _idle_over(self) -> None:
        self._idle_timer = None
        left = self._last_commit + self._config.idle_seal - self._loop.time()
        if self._refusal is not None:
            return
        if left > 0 or self._busy:
            self._idle_timer = self._loop.call_later(max(left, 0.01), self._idle_over)
        else:
            self._run_between_commits(self._writer.seal_idle)

    def _sync_over(self) -> None:
        self._sync_timer = None
        if self._refusal is None:
            self._run_between_commits(self._writer.sync)

    # ---- waiting and ending ----------------------------------------------------------------

    async def flush(self) -> None:
        """Wait until everything submitted so far is on stable storage, in every durability mode.

        Raises what became of it, and of commits before it that nobody was told about.
        """
        self._raise_unretrieved()
        if self._queue:
            await self._queue[-1].receipt
        elif self._in_flight:
            await self._in_flight[-1].receipt
        self.ensure_open()
        await self.sync()

    async def sync(self) -> None:
        """Put everything acknowledged on stable storage, which in the strictest mode it is."""
        if not self._sync_each:
            done = self._loop.create_future()
            self._run_between_commits(self._writer.sync, done)
            await done

    async def close(self) -> None:
        """Drain, seal, free the lock, end the thread: once, and in a task of its own.

        Raises what nobody was told about.
        """
        if self._refusal is None:
            self._refusal = StoreClosedError(f"{self._path} is closed", path=self._path)
        for timer in (self._idle_timer, self._sync_timer):
            if timer is not None:
                timer.cancel()
        while self._busy or self._queue:
            waiter = self._loop.create_future()
            self._waiting_for_drain.append(waiter)
            await waiter
        done = self._loop.create_future()
        self._run_between_commits(self._writer.close, done)
        try:
            await done
        finally:
            unregister_for_fork(self)
        self._raise_unretrieved()

    def _raise_unretrieved(self) -> None:
        failed, self._failed = self._failed, []
        for receipt in failed:
            if not receipt.retrieved and receipt.error is not None:
                raise receipt.error

    def fail(self, error: StoreFailedError) -> None:
        """Make the log read-only: something outside the commit path failed beyond doubt."""
        if self._refusal is None:
            self._refusal = error

    @property
    def failed(self) -> bool:
        """Whether the log is read-only until it is reopened."""
        return isinstance(self._refusal, StoreFailedError)

    def abandon(self) -> None:
        """Give up without closing: the owner was forgotten.

        The writer ends on its own, after what was submitted: somebody may wait for a receipt.
        """
        self._abandoned = True
        self._refusal = StoreClosedError(f"{self._path} was not closed", path=self._path)
        if self._loop.is_closed() or not (self._busy or self._queue):
            self._runner.stop()

    def forked(self) -> None:  # pragma: no cover - no tracer follows a fork: TestFork does
        """In a forked child: the log is the parent's."""
        self._refusal = StoreClosedError(
            f"{self._path} belongs to the process that opened it, not to this fork of it: open a "
            "store of its own after the fork",
            path=self._path,
        )
        # Their outcome will be known in the parent only; nobody here is to wait for it.
        for entry in (*self._in_flight, *self._queue):
            entry.receipt.disown(self._refusal)
        self._in_flight = []
        self._queue.clear()
