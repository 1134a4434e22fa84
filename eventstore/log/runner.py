"""Who does the writer's work: a thread of its own, or, for a disk that never blocks, the caller.

Theory of operation
-------------------
Jobs run one at a time, in the order they are put. A job's end is told on the event loop, by one
``call_soon_threadsafe``. The thread keeps nothing alive but the job in hand, so that an owner
that was forgotten is noticed; and it looks, when idle, whether its loop still lives. When it
ends, for whatever reason, it closes the log's files and calls ``release``, which frees the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from eventstore.errors import EventStoreError, StoreFailedError
from eventstore.log.writer import LogWriter

__all__ = ["InlineRunner", "Job", "Runner", "ThreadRunner"]

_LOOP_CHECK = 1.0  # seconds between an idle thread's looks at whether its loop still lives


class Job(NamedTuple):
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


def _perform(writer: LogWriter, job: Job, sync: bool) -> Exception | None:
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
            target=_work,
            args=(self._jobs, writer, release, loop, sync),
            name="eventstore-writer",
            daemon=True,
        ).start()

    def put(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        self._jobs.put(None)


def _work(
    jobs: queue.SimpleQueue[Job | None],
    writer: LogWriter,
    release: Callable[[], None],
    loop: asyncio.AbstractEventLoop,
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
            error = _perform(writer, job, sync)
            if job.action == writer.close:
                closed = True
                return
            if not _report(loop, job, error):
                return
            job = error = None
    finally:
        try:
            if not closed:
                with contextlib.suppress(EventStoreError):  # logged where it happened
                    writer.close()
        finally:
            release()
        if closed and job is not None:
            _report(loop, job, error)


def _report(loop: asyncio.AbstractEventLoop, job: Job, error: Exception | None) -> bool:
    try:
        loop.call_soon_threadsafe(job.finished, error)
    except RuntimeError:  # the loop is closed
        return False
    return True


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
        error = _perform(self._writer, job, self._sync)
        if job.action == self._writer.close:
            self.stop()
        self._loop.call_soon(job.finished, error)

    def stop(self) -> None:
        self._release()
