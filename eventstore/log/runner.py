"""Who does the writer's work: a thread of its own, or, for a disk that never blocks, the caller.

Theory of operation
-------------------
Jobs run one at a time, in the order they are put. The thread keeps nothing alive but the job in
hand, so that an owner that was forgotten is noticed; and it looks, when idle, whether its loop
still lives. When it ends, for whatever reason, it closes the log's files and calls ``release``,
which frees the lock.

*The end of a job* reaches the event loop as one byte through a pipe whose other end the loop
watches as long as the thread lives. ``call_soon_threadsafe`` does the same and more: it
makes a handle on the writer's thread, and the loop reads a socket until nothing is left in it,
giving up the interpreter's lock each time. The end of the last job goes by
``call_soon_threadsafe``, which also closes the pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from eventstore.errors import EventStoreError, StoreFailedError
from eventstore.log.writer import LogWriter

__all__ = ["InlineRunner", "Job", "Runner", "ThreadRunner"]

_LOOP_CHECK = 1.0  # seconds between an idle thread's looks at whether its loop still lives


class Job(msgspec.Struct, frozen=True, eq=False):
    """What the writer is to do: commit ``bodies`` (of ``events`` events), or else ``action``.

    ``finished`` is called on the loop with the error that the job ended with, if any.
    """

    finished: Callable[[Exception | None], None]
    events: int = 0
    bodies: Sequence[bytes] = ()
    action: Callable[[], None] | None = None


class Runner(Protocol):
    """Runs jobs."""

    def put(self, job: Job) -> None:
        """Have ``job`` done after those put before."""

    def stop(self) -> None:
        """Nobody will put any more: close the log after what was put, and end."""


def _run_job(writer: LogWriter, job: Job, sync: bool) -> Exception | None:
    """Do a job on the writer's thread; the error that it ended with, if any."""
    try:
        if job.action is not None:
            job.action()
        else:
            body = job.bodies[0] if len(job.bodies) == 1 else b"".join(job.bodies)
            writer.commit(job.events, body, sync=sync)
    except EventStoreError as error:
        return error
    except Exception as error:  # noqa: BLE001  every waiter must be told
        writer.failure = StoreFailedError(
            f"writing failed unexpectedly ({type(error).__name__}: {error}); whether the events in "
            "flight are in the log is unknown. Reopen the store to find out and to go on",
            path=writer.path,
        )
        writer.failure.__cause__ = error
        return writer.failure
    return None


class _LoopWakeup:
    """A pipe by which the writer's thread wakes the event loop when a job has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended: deque[tuple[Job, Exception | None]] = deque()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        loop.add_reader(self._read_end, self._on_readable)

    def signal(self, job: Job, error: Exception | None) -> bool:
        """Have ``job`` finished on the loop; ``False`` if there is no loop any more."""
        if self._loop.is_closed():
            return False
        self._ended.append((job, error))
        os.write(self._write_end, b"\0")
        return True

    def _on_readable(self) -> None:
        os.read(self._read_end, 16)
        while self._ended:
            job, error = self._ended.popleft()
            job.finished(error)

    def close_from_thread(self, job: Job | None, error: Exception | None) -> None:
        """The thread ends: finish what has not been answered yet, and ``job`` if there is one."""
        if job is not None:
            self._ended.append((job, error))
        try:
            self._loop.call_soon_threadsafe(self._close_on_loop)
        except RuntimeError:  # the loop is closed
            self._close()

    def _close_on_loop(self) -> None:
        self._loop.remove_reader(self._read_end)
        self._close()
        while self._ended:
            job, error = self._ended.popleft()
            job.finished(error)

    def _close(self) -> None:
        ends, self._read_end, self._write_end = (self._read_end, self._write_end), -1, -1
        for end in ends:
            if end >= 0:
                os.close(end)

    def __del__(self) -> None:  # the loop was closed before the pipe was
        self._close()


class ThreadRunner:
    """Runs jobs on a thread of its own, which keeps nobody alive between jobs."""

    def __init__(
        self,
        writer: LogWriter,
        release: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        sync: bool,
    ) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        threading.Thread(
            target=_writer_thread,
            args=(self._jobs, writer, release, loop, _LoopWakeup(loop), sync),
            name="eventstore-writer",
            daemon=True,
        ).start()

    def put(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        self._jobs.put(None)


def _writer_thread(
    jobs: queue.SimpleQueue[Job | None],
    writer: LogWriter,
    release: Callable[[], None],
    loop: asyncio.AbstractEventLoop,
    wakeup: _LoopWakeup,
    sync: bool,
) -> None:
    """The writer's thread. It ends with the close job, with ``stop``, or with its loop."""
    job: Job | None = None
    error: Exception | None = None
    closed = False
    try:
        while True:
            try:
                job = jobs.get(timeout=_LOOP_CHECK)
            except queue.Empty:
                if loop.is_closed():
                    return
                continue
            if job is None:
                return
            error = _run_job(writer, job, sync)
            if job.action == writer.close:
                closed = True
                return
            if not wakeup.signal(job, error):
                return
            job = error = None
    finally:
        try:
            if not closed:
                with contextlib.suppress(EventStoreError):  # logged where it happened
                    writer.close()
        finally:
            release()
            wakeup.close_from_thread(job if closed else None, error)


class InlineRunner:
    """Runs jobs where they are handed over; their ends still arrive by way of the loop."""

    def __init__(
        self,
        writer: LogWriter,
        release: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        sync: bool,
    ) -> None:
        self._writer = writer
        self._release = release
        self._loop = loop
        self._sync = sync

    def put(self, job: Job) -> None:
        error = _run_job(self._writer, job, self._sync)
        if job.action == self._writer.close:
            self.stop()
        self._loop.call_soon(job.finished, error)

    def stop(self) -> None:
        self._release()
