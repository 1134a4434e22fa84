"""Runners of the writer's jobs: a thread, or the caller where the disk never blocks.

Theory of operation
-------------------
Jobs run one at a time, in the order of `put`, on a thread of the crew of writers
(`shared_threads.py`), which all stores of the process share. "The writer's thread" is the one that
has the job in hand. Between jobs no thread keeps anything of the store alive, so a forgotten owner
is noticed. The crew asks once a second whether the event loop is closed. The loop may end without
`close`: in the middle of an append, or forgotten. When a runner ends, for whatever reason, the
record in hand is finished. The runner seals the log, closes the files and calls `release`, which
frees the lock.

*The end of a job.* When a job ends, the writer's thread queues the job and writes one byte to a
pipe. The event loop watches the other end of the pipe as long as the runner works.
`call_soon_threadsafe` would also wake the loop, but at a higher price: the writer's thread
allocates a handle, and the loop drains a socket and releases the interpreter's lock at every read.
Only the end of the last job goes through `call_soon_threadsafe`, because the callback then closes
the pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from eventstore.blocking_calls import no_thread_error
from eventstore.disk.after_fork import register_for_fork
from eventstore.errors import (
    EventStoreError,
    StoreClosedError,
    StoreFailedError,
    StoreResourceError,
)
from eventstore.log.base import Record
from eventstore.log.levels import SYNCED
from eventstore.log.writer import LogWriter
from eventstore.os_errors import errno_name
from eventstore.shared_threads import Crew, Lane

__all__ = ["InlineRunner", "Job", "Runner", "ThreadRunner"]

WRITERS = Crew("eventstore-writer", 8)
"""The threads that commit, for all stores of this process."""


class Job(msgspec.Struct, frozen=True, eq=False):
    """A job of the writer: the commit of `record`, or else `action`.

    `finished` is called on the loop with the job and the error that ended the job, if any. A second
    call for the same job does nothing. `done` is the loop's: the future of a coroutine that awaits
    the action. `number` counts the jobs of a log: the writer runs each job once, also where an
    interruption made the loop put a job twice.
    """

    finished: Callable[[Job, Exception | None], None]
    number: int
    record: Record | None = None
    action: Callable[[], None] | None = None
    done: asyncio.Future[None] | None = None

    @property
    def events(self) -> int:
        """The number of events that the job commits."""
        return 0 if self.record is None else self.record.events


class Runner(Protocol):
    """A runner of jobs, in the order of `put`."""

    def put(self, job: Job) -> None:
        """Run `job` after the jobs put before."""

    def stop(self) -> None:
        """Close the log after the jobs put so far, and end. No `put` follows."""


def _run_job(writer: LogWriter, job: Job) -> Exception | None:
    """Run `job` on the writer's thread. Return the error that ended the job, if any."""
    try:
        if job.action is not None:
            job.action()
        elif job.record is not None:
            entries = job.record.entries
            if len(entries) == 1:
                body = entries[0].body
            else:
                body = b"".join([entry.body for entry in entries])
            first, last = entries[0].first_seq, entries[-1].seq
            numbered = sum([entry.seq - entry.first_seq + 1 for entry in entries])
            if last - first + 1 != numbered:
                raise writer.order_error(first, f"{numbered} events are numbered up to {last}")
            writer.commit(first, numbered, body, sync=job.record.level == SYNCED)
    except EventStoreError as error:
        if isinstance(error, StoreFailedError) or job.record is None or writer.next_seq == first:
            return error
        return _unexpected_failure(writer, error)  # the record is there: it was not refused
    except Exception as error:  # noqa: BLE001  every waiter must be told
        return _unexpected_failure(writer, error)
    return None


def _unexpected_failure(writer: LogWriter, error: BaseException) -> StoreFailedError:
    """Fail the log for an error that does not tell how far a job came. Return the failure."""
    writer.failure = StoreFailedError(
        f"writing failed unexpectedly ({type(error).__name__}: {error}); whether the events in "
        "flight are in the log is unknown. Reopen the store to find out and to go on",
        path=writer.path,
    )
    writer.failure.__cause__ = error
    return writer.failure


class _LoopWakeup:
    """A pipe through which the writer's thread wakes the event loop when a job has ended.

    `delays` counts the times until the loop took notice, by the bit length of the nanoseconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, delays: list[int]) -> None:
        self._loop = loop
        self._forked = False
        self._delays = delays
        self._ended: deque[tuple[Job, Exception | None]] = deque()
        self._ended_ns = 0
        self._read_end = self._write_end = -1
        try:
            self._read_end, self._write_end = os.pipe()
            os.set_blocking(self._read_end, False)
            loop.add_reader(self._read_end, self._on_readable)
        except OSError as error:
            self._close()
            raise StoreResourceError(
                f"the pipe of the log's thread cannot be made ({errno_name(error)}): raise the "
                "limit of open files, or close some, and try again",
                errno=error.errno,
            ) from error
        register_for_fork(self)

    def forked(self) -> None:  # pragma: no cover - no tracer follows a fork: TestFork does
        """Leave the pipe to the parent. Its reader stays: parent and child share the selector."""
        self._forked = True

    def signal(self, job: Job, error: Exception | None) -> bool:
        """Have `job` finished on the loop. Return `False` if the loop is closed."""
        if self._loop.is_closed():
            return False
        self._ended.append((job, error))
        self._ended_ns = time.perf_counter_ns()
        os.write(self._write_end, b"\0")
        return True

    def _on_readable(self) -> None:
        if self._forked:
            return  # a child that runs the inherited loop: pipe and jobs are the parent's
        self._delays[(time.perf_counter_ns() - self._ended_ns).bit_length()] += 1
        try:
            # A child that is forked in mid-read may have taken the byte. Look all the same.
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_end, 16)
            while self._ended:
                job, error = self._ended[0]
                job.finished(job, error)
                self._ended.popleft()
        except BaseException:  # an interruption: the loop has to come back for what is left
            os.write(self._write_end, b"\0")
            raise

    def close_from_thread(self, job: Job | None, error: Exception | None) -> None:
        """Finish the jobs still queued, and `job` if given, then close the pipe.

        The runner calls this as its last act.
        """
        if job is not None:
            self._ended.append((job, error))
        try:
            self._loop.call_soon_threadsafe(self._close_on_loop)
        except RuntimeError:  # the loop is closed
            self._close()

    def close(self) -> None:
        """Close the pipe, on the loop. A second call has no further effect."""
        if self._read_end >= 0:
            self._loop.remove_reader(self._read_end)
            self._close()

    def _close_on_loop(self) -> None:
        try:
            self.close()
            while self._ended:
                job, error = self._ended[0]
                job.finished(job, error)
                self._ended.popleft()
        except BaseException:  # an interruption: somebody waits for the last job
            self._loop.call_soon(self._close_on_loop)
            raise

    def _close(self) -> None:
        ends, self._read_end, self._write_end = (self._read_end, self._write_end), -1, -1
        for end in ends:
            if end >= 0:
                os.close(end)

    def __del__(self) -> None:  # for a loop that was closed before the pipe
        self._close()


class ThreadRunner(Lane[Job | None]):
    """A runner on the threads of the writers, which keep no object alive between jobs.

    Raises `StoreResourceError` where the operating system gives no thread or no pipe.
    """

    def __init__(
        self,
        writer: LogWriter,
        release: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(WRITERS)
        self._writer = writer
        self._release = release
        self._loop = loop
        self._wakeup = _LoopWakeup(loop, writer.counts.delays)
        self._last_number = 0
        self._stopping = self._ended = False
        self._crew.join(self)
        try:
            self.put(None)
        except RuntimeError as error:
            self._ended = True
            self._crew.leave(self)
            self._wakeup.close()
            raise no_thread_error(error) from error

    def stop(self) -> None:
        self._stopping = True
        self.put(None)

    def look(self) -> None:
        """Stop if the loop was closed."""
        if self._loop.is_closed() and not self._stopping:
            self.stop()

    def do(self, work: Job | None) -> None:
        """Run a job and tell the loop. End with the close job, `stop`, or a loop that is closed.

        `None` begins, or stops.
        """
        if self._ended:
            if work is not None:  # put behind the end: nothing of it was done
                path = self._writer.path
                refusal = self._writer.failure or StoreClosedError(f"{path} is closed", path=path)
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(work.finished, work, refusal)
            return
        if work is not None and work.number <= self._last_number:
            return
        if work is None and not self._stopping:
            self._writer.frontier.tell()
            return
        error: Exception | None = None
        ended = True
        try:
            if work is not None:
                self._last_number = work.number
                error = _run_job(self._writer, work)
                ended = work.action == self._writer.close or not self._wakeup.signal(work, error)
        except BaseException as raised:
            error = _unexpected_failure(self._writer, raised)
            raise
        finally:
            if ended:
                self._end(work, error)
        if error is None and not ended:
            # After the signal, beside the work of the loop: no append waits for the frontier.
            self._writer.frontier.tell()

    def _end(self, job: Job | None, error: Exception | None) -> None:
        """Close the log unless the job did, free the lock, and tell the end of the job."""
        self._ended = True
        try:
            if job is None or job.action != self._writer.close:
                with contextlib.suppress(EventStoreError):  # logged already
                    self._writer.close()
        finally:
            try:
                self._release()
            finally:  # whoever waits for the end is told in every case
                self._wakeup.close_from_thread(job, error)
                self._crew.leave(self)


class InlineRunner:
    """A runner that runs each job inside `put`. The loop still calls `finished`, a turn later.

    An exception of a signal handler can cut off a job in the middle. The log has failed then.
    """

    def __init__(
        self,
        writer: LogWriter,
        release: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._writer = writer
        self._release = release
        self._loop = loop
        self._begun = self._ended = 0  # numbers of jobs
        self._error: Exception | None = None
        writer.frontier.tell()

    def put(self, job: Job) -> None:
        if job.number > self._begun:
            self._begun = job.number
            self._error = _run_job(self._writer, job)
            self._ended = job.number
            if self._error is None:
                self._writer.frontier.tell()
        elif self._ended < job.number:
            cut_off = InterruptedError("the job was cut off")
            self._error, self._ended = _unexpected_failure(self._writer, cut_off), job.number
        if job.action == self._writer.close:
            self.stop()
        self._loop.call_soon(job.finished, job, self._error)

    def stop(self) -> None:
        self._release()
