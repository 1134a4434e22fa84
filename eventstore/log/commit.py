"""Group commit: many appends, one record, one write and one `fdatasync`.

Theory of operation
-------------------
The commit path has two sides. `GroupCommit` lives on the event loop, and only the loop's thread
touches it. The writer runs jobs on a thread of its own, one at a time (see `log/runner.py`).

*Six parts* hold the state: the numbers, the queue (`log/record_queue.py`), the room in the queue
(`log/backpressure.py`), the job in flight, the timers (`log/timers.py`), and unretrieved outcomes.

*At most one job is in flight.* The job keeps the `GroupCommit` alive, because somebody may wait
for a receipt. When nothing is in flight, `submit` hands the events to the writer at once. A lone
append costs one hop there and one back. Submissions during a commit gather in the next record.

*A shared commit* has several waiters, or submissions queued behind. The end of the commit wakes
waiters, and each is about to submit again in the same turn of the loop. The next hand-over
therefore waits for the end of the turn. Without the wait, the first waiter would get a record
alone. From then on two records would take turns where one is enough. The wait costs no time: the
thread cannot begin before the loop's turn has given up the interpreter's lock.

*Sequence numbers* are given out on submission (`numbers.head`), and become durable in the same
order (`numbers.durable`). When a commit is refused or fails, all events queued behind that commit
fail with it, because they were folded on top of events that never came to be. `numbers.head` then
returns to `numbers.durable`.

*The owner* is called on the loop. `on_commit` gets the durable submissions, before any waiter is
woken. `on_reset` runs when submissions were dropped, with the last one that is left, if any.

*One pass at a time* changes these parts (`log/call_guard.py`). A signal handler that submits in the
middle of a pass is refused. After an exception in mid-pass, such as `KeyboardInterrupt`, `_repair`
comes before anything else. The queue, the job in flight and the job that has ended (`_told`) name
the submissions, and the repair computes everything else. A submission leaves the queue once its job
is in flight, and leaves flight once the job's end was told. No interruption loses a submission.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from eventstore.config import StoreConfig
from eventstore.detached_work import wake
from eventstore.disk.after_fork import register_for_fork, unregister_for_fork
from eventstore.error_base import fresh_error
from eventstore.errors import EventStoreError, StoreClosedError, StoreFailedError
from eventstore.log.backpressure import Room
from eventstore.log.base import Numbers, Record, Submission
from eventstore.log.call_guard import FORKED, INTERRUPTED, QUEUEING, CallGuard
from eventstore.log.levels import Levels
from eventstore.log.record_queue import RecordQueue
from eventstore.log.runner import InlineRunner, Job, Runner, ThreadRunner
from eventstore.log.stall_watch import CommitWatch
from eventstore.log.timers import CommitTimers
from eventstore.log.unretrieved import UnretrievedFailures
from eventstore.log.writer import LogWriter
from eventstore.model.operation import Event, Receipt
from eventstore.operator_log import operator_log

__all__ = ["GroupCommit"]

_logger = operator_log(__name__)
_ATTEMPTS = 4  # to tell the end of a job


class GroupCommit:
    """The loop's side of the commit path, bound to the running event loop.

    `writer` is the log's writing side. `release` frees what the store holds (its lock), after the
    last job and on the writer's thread.
    """

    def __init__(
        self,
        writer: LogWriter,
        config: StoreConfig,
        *,
        blocking: bool,
        release: Callable[[], None],
        on_commit: Callable[[list[Submission]], None],
        on_reset: Callable[[Submission | None, Receipt | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._on_commit = on_commit
        self._on_reset = on_reset
        self.levels = Levels(config.durability)
        self.numbers = Numbers(writer.next_seq - 1)
        self.room = Room(config.max_pending)
        self.guard = CallGuard(writer.path, self._repair)
        self._records = RecordQueue(self._loop)
        self._queue = self._records.waiting
        self._actions: deque[Job] = deque()
        self._scheduled = self._last_commit_shared = False
        self._in_flight: Job | None = None
        self._told: tuple[Job, Exception | None] | None = None
        self._attempts = self._jobs = 0
        self._timers = CommitTimers(
            self._loop,
            config,
            self.room,
            busy=lambda: self._in_flight is not None,
            unsynced=lambda: self.unsynced,
            seal=lambda: self._run_between_commits(writer.seal_idle),
            sync=lambda: self._run_between_commits(writer.sync),
        )
        self._unretrieved = UnretrievedFailures(writer.path)
        self._on_drained: Callable[[], None] | None = None
        self.ended: asyncio.Future[None] | None = None  # of the writer's last job, the closing
        flight = lambda: self._in_flight  # noqa: E731  for the watch
        self.watch = CommitWatch(
            self._loop, config, writer.warnings, self.room, self.numbers, flight, self.left
        )
        self.watch.armed = not blocking  # a job that runs inline has ended when it could be seen
        kind = ThreadRunner if blocking else InlineRunner
        self._runner: Runner = kind(writer, release, self._loop)
        register_for_fork(self)

    # ---- submitting ------------------------------------------------------------------------

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
        """Queue `count` encoded events: see `Appender`.

        The log fails if `first_seq` does not continue the log.
        """
        numbers = self.numbers
        if first_seq != numbers.head + 1:
            error = self._writer.order_error(first_seq, f"event {numbers.head + 1} is next")
            self.fail(error)
            raise error
        receipt = self._records.add(first_seq, body, count, time, level, events, state, copy)
        numbers.head = receipt.seq
        self.room.pending += count
        if self._in_flight is None and not self._scheduled:
            if self._last_commit_shared:
                self._start_next_soon()
            else:
                self._start_next()
        return receipt

    def _repair(self) -> None:
        """Carry an interrupted pass to its end: see *One pass at a time*."""
        self._scheduled = False  # `_start_next_soon` may have come no further
        job = self._in_flight
        self._records.repair(None if job is None else job.record)
        if self._actions and self._actions[0] is job:
            self._actions.popleft()
        if self._told is not None:
            self.room.pending = self._told[0].events + sum(one.events for one in self.left())
            self._finish(*self._told)
        left = self.left()
        last = left[-1].entries[-1] if left else None
        self.numbers.head = self.numbers.durable if last is None else last.seq
        self.room.pending = sum(record.events for record in left)
        self._on_reset(last, None if last is None else last.receipt(left[-1].outcome))
        if self._in_flight is not None:
            self._runner.put(self._in_flight)  # perhaps again: the writer runs each job once
        elif self._queue or self._actions:
            self._start_next_soon()
        self.room.give_back(0)

    def left(self) -> list[Record]:
        """Return the records that are neither durable nor failed, in order."""
        job = self._in_flight
        if job is None or job.record is None or (self._told and self._told[0] is job):
            return list(self._queue)
        return [job.record, *self._queue]

    def _start_next_soon(self) -> None:
        """Start the next job at the end of the loop's turn, or of a turn that begins now."""
        self._scheduled = True
        self._loop.call_soon(self._start_next_guarded)
        self._timers.start_idle()  # an interruption can lose the callback: see `log/timers.py`

    def _start_next_guarded(self) -> None:
        """Start the next job in a pass of its own, guarded as `submit` is by its caller."""
        guard = self.guard
        guard.settle()
        outer = guard.phase  # `IDLE`, unless a handler runs the event loop
        try:
            guard.phase = QUEUEING
            self._start_next()
            guard.phase = outer
        except BaseException:
            guard.phase = INTERRUPTED
            guard.settle_soon()
            raise

    def _start_next(self) -> None:
        """Hand the writer its next job: an action, or the head of the queue as one record."""
        self._scheduled = False
        if self._in_flight is not None:
            return
        if self._actions:
            self._in_flight = job = self._actions[0]
            self._actions.popleft()
        elif self._queue:
            self._jobs += 1
            self._in_flight = job = Job(self._finished, self._jobs, self._queue[0])
            self._queue.popleft()
        else:
            return
        if not self.watch.armed:
            self.watch.arm()
        self._runner.put(job)

    def _run_between_commits(
        self, action: Callable[[], None], done: asyncio.Future[None] | None = None
    ) -> None:
        """Have the writer run `action` between two records, ahead of the queue."""
        self._jobs += 1
        self._actions.append(Job(self._finished, self._jobs, action=action, done=done))
        self._start_next_guarded()

    # ---- finishing (on the loop) -----------------------------------------------------------

    def _finished(self, job: Job, error: Exception | None) -> None:
        """Tell the end of `job`. A call for a job that is not in flight any more does nothing."""
        guard = self.guard
        if guard.phase:
            guard.settle()
        if job is not self._in_flight:
            return  # an interruption cut off the first call, and the repair has told the end
        outer = guard.phase
        try:
            guard.phase = QUEUEING
            self._attempts = 0
            self._told = job, error  # from here on `_repair` carries the job to its end
            self._finish(job, error)
            guard.phase = outer
        except BaseException:
            guard.phase = INTERRUPTED
            guard.settle_soon()
            raise

    def _finish(self, job: Job, error: Exception | None) -> None:
        """Publish the end of `job`, and start the next one. Each step can be repeated.

        An exception that comes again and again is the owner's fault, and keeps nobody waiting.
        """
        record = job.record
        try:
            if error is not None:
                self._fail_pending(job.record, error)
            elif record is not None:
                self._committed(record)
        except Exception:  # any, as of a signal handler amid the telling: the telling goes on
            self._attempts += 1
            if self._attempts < _ATTEMPTS:
                raise
            _logger.exception("%s: the end of a commit could not be told", self._writer.path)
            if record is not None:
                record.outcome.resolve(error)
        if job.done is not None:
            if error is None:
                wake(job.done)
            elif not job.done.done():
                job.done.set_exception(error)
        if self._in_flight is job:
            self._in_flight = None
        if not self._scheduled and (self._queue or self._actions):
            self._start_next()
        # After the receipts: the appends just committed wake before those that wait for room.
        self.room.give_back(job.events if error is None else self.room.pending)
        drained = self._on_drained
        if drained is not None and not (self._in_flight or self._queue or self._actions):
            drained()
            self._on_drained = None
        self._told = None

    def _committed(self, record: Record) -> None:
        entries = record.entries
        self.numbers.durable = entries[-1].seq
        self._last_commit_shared = len(entries) > 1 or bool(self._queue)
        self._on_commit(entries)
        record.outcome.resolve()
        if self._last_commit_shared and not self._actions:
            self._start_next_soon()  # after the waiters just woken
        self._timers.committed(record.level)

    def _fail_pending(self, record: Record | None, error: Exception) -> None:
        """Fail a refused commit, and all events folded on top of the commit's events."""
        if isinstance(error, StoreFailedError):
            self.room.close(error)
        dropped = [*([] if record is None else [record]), *self._queue]
        self.numbers.head = self.numbers.durable
        self._last_commit_shared = False
        self._on_reset(None, None)
        self._unretrieved.fail(dropped, error)
        self._queue.clear()

    # ---- waiting and ending ----------------------------------------------------------------

    async def flush(self) -> None:
        """Wait until all events submitted so far are on stable storage, in every durability mode.

        Raises the outcome of those events, and of earlier commits that nobody awaited.
        """
        self._unretrieved.raise_first()
        closed = isinstance(self.room.refusal, StoreClosedError)
        for record in self.left()[-1:]:
            await record.entries[-1].receipt(record.outcome)
        if closed or self.room.failure:  # a log closed meanwhile syncs what is acknowledged
            self.room.ensure_open()
        await self.sync()

    @property
    def unsynced(self) -> bool:
        """Whether some acknowledged events are perhaps not on stable storage yet."""
        return self._writer.synced_seq < self.numbers.durable

    async def sync(self) -> None:
        """Put all acknowledged events on stable storage, where some are not there yet.

        On a log that is being closed, the sync is the last job's.
        """
        if self.unsynced and self.ended is not None:
            await asyncio.wait([self.ended])
            error = self.ended.exception()
            if isinstance(error, EventStoreError):
                raise fresh_error(error)
        elif self.unsynced:
            done = self._loop.create_future()
            self._run_between_commits(self._writer.sync, done)
            await done

    def stop(self) -> None:
        """Refuse every new submission from now on: the log is to be closed."""
        self.guard.settle()
        if self.room.refusal is None:
            self.room.close(self._closed_error("is closed"))
        self._timers.cancel()

    async def drain(self) -> None:
        """Wait until nothing submitted, and no action, is on its way. Only the closing waits."""
        while self._in_flight is not None or self._queue or self._actions:
            drained = self._loop.create_future()
            self._on_drained = functools.partial(wake, drained)
            if self._in_flight is None:
                self._start_next_soon()  # an interruption can lose the start
            await drained

    async def close(self) -> None:
        """Stop, drain the queue, seal the log and free the lock.

        One closing at a time calls this. Raises a failure of the closing, or one that nobody knows.
        """
        self.stop()
        await self.drain()
        self.ended = self.ended or self._loop.create_future()
        if not self.ended.done():
            self._run_between_commits(self._writer.close, self.ended)
        await asyncio.wait([self.ended])
        self.watch.end()
        unregister_for_fork(self)
        self.ended.exception()  # known from here on, whichever failure is raised
        self._writer.ensure_synced(self.numbers.durable)
        self.ended.result()
        self._unretrieved.raise_first()

    def _closed_error(self, reason: str) -> StoreClosedError:
        return StoreClosedError(f"{self._writer.path} {reason}", path=self._writer.path)

    def fail(self, error: StoreFailedError) -> None:
        """Make the log read-only: something outside the commit path failed beyond doubt."""
        if self.room.refusal is None:
            self.room.close(error)

    def abandon(self) -> None:
        """Give up without closing: the owner was forgotten, and so nobody waits for room.

        The writer ends once the submitted events are written: somebody may wait for a receipt.
        """
        self.room.disown(self._closed_error("was not closed"))
        if self._loop.is_closed() or not (self._in_flight or self._queue or self._actions):
            self._runner.stop()
        else:
            self._on_drained = self._runner.stop

    def forked(self) -> None:  # pragma: no cover - no tracer follows a fork: TestFork does
        """Refuse everything in a forked child: the log is the parent's."""
        refusal = self._closed_error(FORKED)
        self.room.disown(refusal)  # only the parent will know the outcomes: nobody here may wait
        for record in self.left():
            record.outcome.disown(refusal)
        if self._in_flight is not None:
            self._in_flight = Job(self._finished, 0)
        self._queue.clear()
