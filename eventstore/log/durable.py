"""The durable log, which `EventLog` and `EventStore` both stand on.

Theory of operation
-------------------
A `DurableLog` joins the parts on the loop's side: the group commit, the reader, and a small pool of
threads for work beside the commit path (the spare segment, snapshots, reading history). The log
refers to its owner weakly, so a forgotten store is noticed at once. The log holds no state of the
owner.

`eventstore.log.base.Log` is the interface. `eventstore.log.memory.MemoryLog` is the other
implementation.
"""

from __future__ import annotations

import asyncio
import errno
import weakref
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

from eventstore.concurrency import executor_for, run_blocking
from eventstore.config import StoreConfig
from eventstore.disk.base import Disk
from eventstore.disk.manifest import Manifest
from eventstore.errors import (
    EventStoreError,
    ReadFailedError,
    StoreClosedError,
    StoreFailedError,
    StoreReadOnlyError,
    fresh_error,
)
from eventstore.log.base import Chunk, Submission
from eventstore.log.commit import GroupCommit
from eventstore.log.reader import LogReader
from eventstore.log.recovery import RecoveredLog
from eventstore.log.writer import LogWriter
from eventstore.report import StoreStats

__all__ = ["DurableLog"]

_SPARE_RETRY = 5.0  # seconds between attempts to prepare a spare on a full disk

P = ParamSpec("P")
T = TypeVar("T")


class DurableLog:
    """The durable log of one store directory, bound to the running event loop.

    `on_commit` and `on_reset` are bound methods of the owner, which is held weakly.
    """

    def __init__(
        self,
        disk: Disk,
        manifest: Manifest,
        opened: RecoveredLog,
        config: StoreConfig,
        *,
        read_only: bool,
        on_commit: Callable[[list[Submission]], None],
        on_reset: Callable[[Submission | None], None],
    ) -> None:
        self.path = disk.path
        self.disk = disk
        self._executor = executor_for(disk, 2)
        self._reader = LogReader(disk, manifest.store)
        self._on_commit = weakref.WeakMethod(on_commit)
        self._on_reset = weakref.WeakMethod(on_reset)
        self._spare_task: asyncio.Task[None] | None = None
        self._spare_attempted_at = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._last_seq = opened.next_seq - 1
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._group: GroupCommit | None = None
        self._refusal: EventStoreError = StoreReadOnlyError(
            f"{self.path} was opened with read_only=True: open it for writing to append",
            path=self.path,
        )
        if not read_only:
            self._writer = LogWriter(
                disk,
                manifest.store,
                opened.last,
                opened.next_seq,
                spare_ready=opened.spare_ready,
                segment_size=config.segment_size,
                slow_sync=config.slow_sync,
            )
            self._group = GroupCommit(
                self._writer,
                config,
                blocking=disk.blocking,
                release=disk.close,
                on_commit=self._committed,
                on_reset=self._reset,
            )

    @property
    def durable_seq(self) -> int:
        return self._last_seq if self._group is None else self._group.numbers.durable

    @property
    def appender(self) -> GroupCommit:
        if self._group is None:
            raise fresh_error(self._refusal)
        return self._group

    def _committed(self, entries: list[Submission]) -> None:
        owner = self._on_commit()
        if owner is None:
            return  # the owner was forgotten: no spare is begun any more
        owner(entries)
        writer = self._writer
        if not writer.spare.ready and self._spare_task is None and self._closing is None:
            self._begin_spare()

    def _begin_spare(self) -> None:
        now = self._loop.time()
        if (
            now - self._spare_attempted_at >= _SPARE_RETRY
            or self._writer.spare.space_warning is None
        ):
            self._spare_attempted_at = now
            self._spare_task = self._loop.create_task(self._prepare_spare())

    def _reset(self, last: Submission | None) -> None:
        owner = self._on_reset()
        if owner is not None:
            owner(last)

    async def _prepare_spare(self) -> None:
        try:
            if self._on_commit() is not None:  # the disk of a forgotten owner is closed
                await self.run(self._writer.prepare_spare)
        finally:
            self._spare_task = None
        if self._writer.failure is not None:
            self.fail(self._writer.failure)

    async def read(self, start: int, stop: int) -> AsyncIterator[Chunk]:
        """Yield runs of events from `start` up to `stop` (exclusive), read off the loop.

        Raises `StoreClosedError` once the log is closed, and `ReadFailedError`.
        """
        chunks = self._reader.chunks(start, stop)
        while True:
            try:
                chunk = await self.run(next, chunks, None)
            except ReadFailedError as error:
                if self._closing is None or error.errno != errno.EBADF:
                    raise
                raise self._closed_error() from error  # the disk was closed during the read
            if chunk is None:
                return
            yield chunk

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a blocking call on a thread beside the commit path.

        Cancelling cancels the waiting, and not the call. Raises `StoreClosedError` on a closed log.
        """
        if self._closed:
            raise self._closed_error()
        return await run_blocking(self._executor, call, *args, **kwargs)

    async def flush(self) -> None:
        if self._group is not None:
            await self._group.flush()

    async def sync(self) -> None:
        await self.appender.sync()

    async def close(self) -> None:
        """End background work, drain the queue, seal the log and free the lock. Once is enough.

        Cancelling cancels the waiting. The closing goes on.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._spare_task is not None:
            await asyncio.wait([self._spare_task])
        try:
            if self._group is not None:
                await self._group.close()
            else:
                self._refusal = self._closed_error()
                await self.run(self.disk.close)
        finally:
            self._closed = True
            self._executor.shutdown(wait=False)

    def _closed_error(self) -> StoreClosedError:
        return StoreClosedError(f"{self.path} is closed", path=self.path)

    def fail(self, error: StoreFailedError) -> None:
        self.appender.fail(error)

    def abandon(self) -> None:
        """Free the resources of a forgotten owner, without waiting for anything."""
        if self._group is not None:
            self._group.abandon()
        else:
            self.disk.close()
        self._executor.shutdown(wait=False)

    def stats(self) -> StoreStats:
        if self._group is None:
            return StoreStats(seq=self.durable_seq)
        spare, counts = self._writer.spare, self._writer.counts
        times = sorted(counts.sync_times_ns)
        return StoreStats(
            seq=self._group.numbers.durable,
            pending=self._group.room.pending,
            events=self._group.numbers.durable - self._last_seq,
            commits=counts.commits,
            syncs=counts.syncs,
            bytes_written=counts.bytes_written,
            sync_p50=_quantile(times, 0.5),
            sync_p99=_quantile(times, 0.99),
            sync_max=counts.sync_max_ns / 1e9,
            spare_ready=spare.ready,
            space_warning=spare.space_warning,
            failed=self._group.failed,
        )


def _quantile(times_ns: list[int], share: float) -> float:
    return times_ns[min(int(len(times_ns) * share), len(times_ns) - 1)] / 1e9 if times_ns else 0.0
