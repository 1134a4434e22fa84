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
import contextlib
import errno
import functools
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

from eventstore.blocking_calls import BackgroundCalls
from eventstore.config import Durability, StoreConfig
from eventstore.detached_work import DetachedWork, RepeatedWork, ensure_own_loop
from eventstore.disk.base import Disk
from eventstore.disk.manifest import Manifest
from eventstore.error_base import fresh_error
from eventstore.errors import (
    EventStoreError,
    LowSpaceError,
    StoreClosedError,
    StoreFailedError,
    StoreReadOnlyError,
)
from eventstore.histogram import Histogram
from eventstore.log.base import Chunk, Submission
from eventstore.log.call_guard import CallGuard
from eventstore.log.commit import GroupCommit
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.log.recovery import RecoveredLog
from eventstore.log.replica_interface import Lag, Replica
from eventstore.log.runs import narrowed
from eventstore.log.writer import LogWriter
from eventstore.model.operation import Receipt
from eventstore.operator_log import operator_log
from eventstore.recovery_and_stats import StoreStats
from eventstore.standing_warnings import StandingWarnings

__all__ = ["DurableLog"]

_logger = operator_log(__name__)

_SPARE_RETRY = 5.0  # seconds between attempts to prepare a spare, after one that failed
_VISIT_BYTES = 1 << 20  # of events after which a visit to a thread ends

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
        on_reset: Callable[[Submission | None, Receipt | None], None],
        replica: Replica | None = None,
    ) -> None:
        self.path = disk.path
        self.disk = disk
        self.lineage = manifest.lineage(disk.path)
        self._replica = replica
        self.warnings = StandingWarnings(disk.path) if replica is None else replica.warnings
        self._background = BackgroundCalls(disk, 3)
        self._reader = LogReader(disk, manifest.store, CACHED_BYTES)
        self._on_commit = weakref.WeakMethod(on_commit)
        self._on_reset = weakref.WeakMethod(on_reset)
        self._spare_task: DetachedWork[None] | None = None
        self._spare_attempted_at = float("-inf")
        self._spare_failed = False
        self._loop = asyncio.get_running_loop()
        self._last_seq = opened.next_seq - 1
        self._keeps_reserve = config.low_space == "refuse"
        self._stopped = False
        self._released = False
        self._closing = RepeatedWork(lambda: self.closed)
        self._group: GroupCommit | None = None
        self._refusal: EventStoreError = StoreReadOnlyError(
            f"{self.path} was opened with read_only=True: open it for writing to append",
            path=self.path,
        )
        if not read_only:
            try:
                self._writer, self._group = self._begin_writing(manifest, opened, config)
            except BaseException:  # no thread, no pipe: nobody is left who would free the lock
                if replica is not None:
                    replica.close()
                disk.close()
                raise
        self.guard = CallGuard(self.path, _nothing) if self._group is None else self._group.guard

    def _begin_writing(
        self, manifest: Manifest, opened: RecoveredLog, config: StoreConfig
    ) -> tuple[LogWriter, GroupCommit]:
        writer = LogWriter(
            self.disk,
            manifest.store,
            opened.last,
            opened.next_seq,
            spare_ready=opened.spare_ready,
            segment_size=config.segment_size,
            whole_segments=config.low_space == "refuse",
            slow_sync=config.slow_sync,
            tell_unsynced=config.durability is Durability.NONE,
            warnings=self.warnings,
            timeline=manifest.timelines[-1].number,
            replica=self._replica,
        )
        group = GroupCommit(
            writer,
            config,
            blocking=self.disk.blocking,
            release=functools.partial(_release, self._background, self.disk),
            on_commit=self._committed,
            on_reset=self._reset,
        )
        return writer, group

    @property
    def read_only(self) -> bool:
        """Whether the log was opened for reading."""
        return self._group is None

    @property
    def stopped(self) -> bool:
        """Whether the end has begun: by `stop` or `close`, or because the owner was forgotten."""
        return self._stopped

    @property
    def closed(self) -> bool:
        """Whether the files are closed and the lock is free."""
        ended = None if self._group is None else self._group.ended
        return self._released if self._group is None else ended is not None and ended.done()

    @property
    def durable_seq(self) -> int:
        return self._last_seq if self._group is None else self._group.numbers.durable

    @property
    def head_seq(self) -> int:
        return self._last_seq if self._group is None else self._group.numbers.head

    @property
    def failure(self) -> StoreFailedError | None:
        return None if self._group is None else self._group.room.failure

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
        if not writer.spare.ready and self._spare_task is None and not self._stopped:
            self._begin_spare()

    def _begin_spare(self) -> None:
        now = self._loop.time()
        failed = self._spare_failed or self._writer.spare.space_warning is not None
        if not failed or now - self._spare_attempted_at >= _SPARE_RETRY:
            self._spare_attempted_at = now
            self._spare_task = DetachedWork(self._prepare_spare(), self._spare_ended)

    def _refused_for_space(self) -> LowSpaceError:
        """Return the error for events that are not essential, and look for space again."""
        if self._spare_task is None and not self._stopped:
            self._begin_spare()
        return LowSpaceError(
            f"{self.path}: {self._writer.spare.space_warning}. The rest of the active segment is "
            'kept for operations marked essential (low_space="refuse"); nothing was written',
            path=self.path,
            errno=errno.ENOSPC,
        )

    def _reset(self, last: Submission | None, receipt: Receipt | None) -> None:
        owner = self._on_reset()
        if owner is not None:
            owner(last, receipt)

    async def _prepare_spare(self) -> None:
        with contextlib.suppress(StoreClosedError):  # the owner was forgotten meanwhile
            await self.run(self._writer.prepare_spare)

    def _spare_ended(self, error: BaseException | None) -> None:
        self._spare_task = None
        self._spare_failed = error is not None
        if self._keeps_reserve and self._group is not None:
            low = self._writer.spare.space_warning is not None
            self._group.room.reserved = self._refused_for_space if low else None
        if error is not None:
            _logger.warning("%s: no spare segment could be prepared: %s", self.path, error)
        if self._writer.failure is not None:
            self.fail(self._writer.failure)

    async def read(self, start: int, stop: int, make: Callable[[Chunk], T]) -> AsyncIterator[T]:
        """Yield what `make` makes of runs of events. See `Log.read`.

        One reader stays open from run to run. Raises `StoreClosedError` once the log is closed, and
        `ReadFailedError`.
        """
        chunks = self._reader.chunks(start, stop)

        def take() -> tuple[deque[Chunk], bool | Exception]:
            """Read as many chunks as a visit to a thread is worth, and tell how reading ended."""
            taken, size = deque[Chunk](), 0
            try:
                for chunk in chunks:
                    taken.append(narrowed(chunk, start, stop))
                    size += len(chunk.array)
                    if chunk.first_seq + chunk.events >= stop:
                        chunks.close()
                        break
                    if size >= _VISIT_BYTES:
                        return taken, False
            except Exception as error:  # noqa: BLE001  raised behind the chunks that could be read
                return taken, error
            return taken, True

        ends: bool | Exception = False
        while not ends:
            taken, ends = await self.run(take)
            while taken:
                yield make(taken.popleft())
        if isinstance(ends, Exception):
            raise ends

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a blocking call on a thread beside the commit path.

        Cancelling cancels the waiting, and not the call. Raises `StoreClosedError` on a closed log.
        """
        return await self._background.run(call, *args, **kwargs)

    async def flush(self) -> None:
        self.guard.check()
        if self._group is not None:
            await self._group.flush()

    async def sync(self) -> None:
        await self.appender.sync()

    def stop(self) -> None:
        self._stopped = True
        if self._replica is not None:
            self._replica.stop()
        if self._group is not None:
            self._group.stop()
        else:
            self._refusal = self._closed_error()

    async def drain(self) -> None:
        if self._group is not None:
            await self._group.drain()

    async def close(self) -> None:
        """Close the log in this order. A second call waits for the first.

        1. Submissions are refused, and the queue is drained.
        2. Blocking calls are refused, and those under way end: the spare, and readings.
        3. The writer's thread syncs, seals and closes the segment, frees the lock and ends.

        Cancelling cancels the waiting. The closing goes on.
        """
        if self._group is not None or self._loop.is_running():
            ensure_own_loop(self._loop, self.path)
            self.guard.check()
        self.stop()
        await self._closing.wait(self._close)

    async def _close(self) -> None:
        if self._group is None:
            await self._background.close(self._release)
            return
        try:
            await self._group.drain()
            await self._background.finish()
        except Exception:  # of a signal handler: the lock is freed all the same
            await self._group.close()
            raise
        await self._group.close()

    def _release(self) -> None:
        self.disk.close()
        self._released = True

    def _closed_error(self) -> StoreClosedError:
        return StoreClosedError(f"{self.path} is closed", path=self.path)

    def fail(self, error: StoreFailedError) -> None:
        self.appender.fail(error)

    def abandon(self) -> None:
        """Free the resources of a forgotten owner, without waiting for anything."""
        self._stopped = True
        if self._replica is not None:
            self._replica.stop()
        if self._group is not None:
            self._background.refuse_abandoned()
            self._group.abandon()
        else:
            self._background.abandon(self.disk.close)

    def loss_when_forgotten(self, snapshot_seq: int) -> str:
        return "Nothing that was acknowledged is lost" + (
            ""
            if self._group is None or not self._group.unsynced
            else ", unless the system fails before the log's thread has synced"
        )

    def stats(self) -> StoreStats:
        if self._group is None:
            return StoreStats(seq=self.durable_seq, synced_seq=self.durable_seq)
        spare, counts = self._writer.spare, self._writer.counts
        events = self._group.numbers.durable - self._last_seq
        lag = Lag() if self._replica is None else self._replica.lag
        times = sorted(counts.sync_times_ns.copy())  # the copy is taken at once, the sorting not
        return StoreStats(
            seq=self._group.numbers.durable,
            synced_seq=min(self._writer.synced_seq, self._group.numbers.durable),
            pending=self._group.room.taken,
            pending_bytes=sum(
                len(entry.body) for record in self._group.left() for entry in record.entries
            ),
            pending_limit=self._group.room.limit,
            events=events,
            commits=counts.commits,
            syncs=counts.syncs,
            bytes_written=counts.bytes_written,
            commit_seconds=Histogram.of(counts.durations, 1e-9),
            record_bytes=Histogram.of(counts.sizes, 1),
            loop_delay=Histogram.of(counts.delays, 1e-9),
            sync_p50=_quantile(times, 0.5),
            sync_p99=_quantile(times, 0.99),
            sync_max=counts.sync_max_ns / 1e9,
            stalled=self._group.watch.stalled,
            spare_ready=spare.ready,
            free_bytes=spare.free_bytes,
            events_that_fit=_events_that_fit(spare.free_bytes, events, counts.bytes_written),
            space_warning=spare.space_warning,
            warnings=self.warnings.texts,
            failed=self._group.room.failure is not None,
            unreplicated=lag.events,
            unreplicated_bytes=lag.bytes,
            unreplicated_seconds=lag.seconds,
        )


def _release(background: BackgroundCalls, disk: Disk) -> None:
    """Close the disk after the last background call, as the last act of the writer's thread."""
    background.join()
    disk.close()


def _events_that_fit(free: int | None, events: int, written: int) -> int | None:
    """Return how many more events of the size seen so far have space, `None` where unknown."""
    return None if free is None or not events or not written else free * events // written


def _nothing() -> None:
    """Repair nothing: no call changes a log that was opened for reading."""


def _quantile(times_ns: list[int], share: float) -> float:
    return times_ns[min(int(len(times_ns) * share), len(times_ns) - 1)] / 1e9 if times_ns else 0.0
