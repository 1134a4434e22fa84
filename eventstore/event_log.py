"""The log alone: durable, ordered and group-committed, without handlers and without state."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, overload

from eventstore.arguments import argument_error
from eventstore.blocking_calls import run_opening
from eventstore.clock import Clock, checked_clock
from eventstore.config import Durability, StoreConfig
from eventstore.directory import (
    Create,
    OpenedDirectory,
    check_create,
    clear_leftovers,
    inspect_directory,
    open_directory,
)
from eventstore.disk.base import Disk, check_location
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest
from eventstore.disk.optimistic import read_beside_writer
from eventstore.errors import ConfigError, InvalidPayloadError
from eventstore.log.base import Chunk, Submission, check_record_size
from eventstore.log.call_guard import FOLDING, IDLE, INTERRUPTED, QUEUEING
from eventstore.log.durable import DurableLog
from eventstore.log.recovery import ExaminedLog, RecoveredLog, examine_log, repair_log
from eventstore.missing_await import AsyncEvents, Opened, Opening, awaited
from eventstore.model.codec import EventCodec, unrecordable_reason
from eventstore.model.operation import Event, Receipt
from eventstore.model.user_code import fold_context
from eventstore.moment import seq_of
from eventstore.os_errors import translating_read_errors
from eventstore.recovery_and_stats import RecoveryReport, StoreStats

__all__ = ["EventLog"]

ValueT = TypeVar("ValueT")
OpenedT = TypeVar("OpenedT")


class LogParts(NamedTuple):
    """The findings of an opening, from which an `EventLog` is made."""

    disk: Disk
    config: StoreConfig
    manifest: Manifest
    recovered: RecoveredLog
    report: RecoveryReport
    read_only: bool
    clock: Clock
    value_type: Any


class EventLog(Opened, Generic[ValueT]):
    """An append-only log of bytes or of any values that msgspec can encode.

    >>> import asyncio, tempfile
    >>> async def main(path: str) -> list[bytes]:
    ...     async with EventLog.open(path) as log:
    ...         await log.append(b"one", b"two")              # one record: both or neither
    ...         return [event.data async for event in log.read(start=2)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    [b'two']

    A log is bound to the event loop of its opening. All methods are called on that loop's thread.
    """

    path: str
    recovery: RecoveryReport

    _reads = "log.read()"
    _whole = False  # until __init__ has come to its end

    def __init__(self, parts: LogParts | None = None) -> None:
        if parts is None:
            raise TypeError("a log is opened, not made: await EventLog.open(path)")
        self.path = parts.disk.path
        self.recovery = parts.report
        self._clock = parts.clock
        self._codec = EventCodec(value_type=parts.value_type)
        self._pid = os.getpid()
        self._log = DurableLog(
            parts.disk,
            parts.manifest,
            parts.recovered,
            parts.config,
            read_only=parts.read_only,
            on_commit=self._committed,
            on_reset=self._reset,
        )
        self._whole = True

    @overload
    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = "",
        *,
        value_type: type[OpenedT],
        config: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        create: Create = True,
        clock: Clock | None = None,
        disk: Disk | None = None,
        read_only: bool = False,
        **options: Any,
    ) -> Opening[EventLog[OpenedT]]: ...
    @overload
    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = "",
        *,
        value_type: Any = Any,
        config: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        create: Create = True,
        clock: Clock | None = None,
        disk: Disk | None = None,
        read_only: bool = False,
        **options: Any,
    ) -> Opening[EventLog[Any]]: ...
    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = "",
        *,
        value_type: Any = Any,
        config: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        create: Create = True,
        clock: Clock | None = None,
        disk: Disk | None = None,
        read_only: bool = False,
        **options: Any,
    ) -> Opening[EventLog[Any]]:
        """Open the log in directory `path`, and make the log if there is none.

        Await the result and close the log yourself, or use `async with`.

        Args:
            path: the log's directory.
            value_type: the type that values are decoded to. By default plain data comes back.
            config: a `StoreConfig`, a mapping, or the path of a YAML or TOML file.
            create: `False` raises `StoreNotFoundError` where there is no log, `"new"` raises
                `StoreExistsError` where there is one. `recovery.created` says what was done.
            clock: the source of the events' times, by default the system's clock.
            disk: a disk in place of the directory, for tests.
            read_only: take no lock and change nothing.
            **options: single keys of the configuration, which win over `config`.

        Raises:
            StoreLockedError: another writer has the log.
            CorruptLogError, CorruptStoreError: the log is damaged.
            StoreAccessError, StoreFullError, ReadFailedError: the operating system refused a call.
            ConfigError: the configuration has a wrong key or value.
        """
        check_location(path, disk, read_only)
        check_create(create, read_only)
        time_source = checked_clock(clock)
        reason = unrecordable_reason(value_type)
        if reason is not None:
            raise argument_error("value_type", value_type, f"no such values are recorded: {reason}")

        async def opens() -> EventLog[Any]:
            call = functools.partial(
                _open, path, config, options, time_source, disk, read_only, create
            )
            settings, found, opened, recovered, unknown = await run_opening(
                path, disk, call, lambda result: result[1].close()
            )
            report = RecoveryReport(
                created=opened.created,
                seq=recovered.next_seq - 1,
                clean=recovered.clean,
                torn_bytes=recovered.torn_bytes,
                quarantined=recovered.quarantined,
                rewritten=recovered.rewritten,
                segments=len(recovered.segments),
                unknown_files=tuple(unknown),
            )
            parts = LogParts(
                found,
                settings,
                opened.manifest,
                recovered,
                report,
                read_only,
                time_source,
                value_type,
            )
            try:
                return cls(parts)
            except BaseException:  # whoever gets the error has no log to close
                found.close()
                raise

        return Opening(opens)

    @property
    def seq(self) -> int:
        """The sequence number of the last durable event, 0 before the first."""
        return self._log.durable_seq

    @awaited
    async def append(
        self,
        *values: ValueT,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
        durability: Durability | str | None = None,
    ) -> Receipt:
        """Append values as one atomic group, and return once the group is durable.

        While the queue is full, `append` waits for room. Cancelling cancels the waiting. Before
        there was room nothing was submitted, and after that the write goes on. `durability` says
        what this group waits for, as in `EventStore.append`.

        Raises `InvalidPayloadError`, `StoreFullError`, `StoreFailedError`, `StoreClosedError` and
        `StoreReadOnlyError`. Raises `StoreUsageError` in another thread or event loop, and for a
        call from a hook or a signal handler that runs while a value is encoded.
        """
        appender = self._log.appender
        room = appender.room
        appender.guard.check()
        room.ensure_open()
        if room.fits(len(values)):
            return await self._submit(values, key, metadata, durability)
        given = values, key, metadata, durability
        return await (await room.submit_when_fits(len(values), self._submit, *given))

    def submit(
        self,
        *values: ValueT,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
        durability: Durability | str | None = None,
    ) -> Receipt:
        """Queue values as one atomic group, and return a `Receipt` at once.

        Raises the errors of `append`, and `StoreOverloadedError` where the queue is full.
        """
        appender = self._log.appender
        room = appender.room
        appender.guard.check()
        room.ensure_open()
        if not room.fits(len(values)):
            raise room.overloaded_error()
        return self._submit(values, key, metadata, durability)

    def _submit(
        self,
        values: tuple[ValueT, ...],
        key: str | None,
        metadata: dict[str, Any] | None,
        durability: Durability | str | None,
    ) -> Receipt:
        if not values:
            raise InvalidPayloadError("nothing to append: pass values", operation="append")
        appender = self._log.appender
        guard, levels = appender.guard, appender.levels
        level = levels.default if durability is None else levels.asked(durability)
        if guard.phase:  # a call was cut off while this append waited for room
            guard.check()
        try:
            guard.phase = FOLDING
            first, time = appender.numbers.head + 1, self._clock.time_ns()
            body = fold_context().run(self._encode, first, time, values, key, metadata)
            guard.phase = QUEUEING
            receipt = appender.submit(first, body, len(values), time, level)
            guard.phase = IDLE
        except BaseException:  # an interruption included
            guard.phase = INTERRUPTED if guard.phase >= QUEUEING else IDLE
            guard.settle_soon()
            raise
        return receipt

    def _encode(
        self, first: int, time: int, values: tuple[ValueT, ...], key: str | None, metadata: Any
    ) -> bytes:
        """Encode `values` as events, and check that the bytes can be read again."""
        events = [Event(seq, time, value, key, metadata) for seq, value in enumerate(values, first)]
        body = self._codec.unchanged(events)  # key and metadata included
        check_record_size(body)
        return body

    def read(self, start: int = 1, stop: int | None = None) -> AsyncGenerator[Event[ValueT], None]:
        """Iterate over durable events from number `start` to `stop` (exclusive) or to the last.

        Files are read off the event loop, and memory is flat. Raises `CorruptLogError`,
        `ReadFailedError` and `HistoryUnavailableError`.
        """
        first = max(seq_of(start, "start"), 1)
        last = None if stop is None else seq_of(stop, "stop")
        return AsyncEvents(self._read(first, last))

    async def _read(self, first: int, stop: int | None) -> AsyncGenerator[Event[ValueT], None]:
        end = self.seq + 1 if stop is None else min(stop, self.seq + 1)
        if first >= end:
            return
        async for events in self._log.read(first, end, self._decode):
            for event in events:
                yield event

    def _decode(self, chunk: Chunk) -> list[Event[ValueT]]:
        return self._codec.decode(chunk.array, chunk.events, chunk.first_seq)

    async def flush(self) -> None:
        """Wait until everything submitted is on stable storage, in every durability mode.

        Raises the failure of a commit that nobody awaited, and `StoreUsageError` in another thread
        or event loop. Cancelling cancels the waiting.
        """
        await self._log.flush()

    async def close(self) -> None:
        """Write the queued events, seal the log and free its lock. Closing twice is harmless.

        Cancelling cancels the waiting, and the closing goes on. Raises the failure of a commit that
        nobody awaited, or of a sync that acknowledged events never got, and `StoreClosedError` in
        another event loop.
        """
        # A forked child leaves the log to the parent.
        if os.getpid() == self._pid:  # pragma: no branch - no tracer follows a fork: TestFork does
            await self._log.close()

    def stats(self) -> StoreStats:
        """Report counters since the log was opened."""
        return self._log.stats()

    def _committed(self, entries: list[Submission]) -> None:
        """Do nothing: only the receipts depend on a commit here."""

    def _reset(self, last: Submission | None, receipt: Receipt | None) -> None:
        """Do nothing: nothing is folded here."""

    def __repr__(self) -> str:
        return f"<EventLog {self.path!r} seq={self.seq}{' closed' if self._log.stopped else ''}>"

    def __del__(self) -> None:
        if self._whole and not self._log.stopped and os.getpid() == self._pid:
            try:
                warnings.warn(
                    f"the event log {self.path} was not closed: use `async with`, or await close()",
                    ResourceWarning,
                    source=self,
                    stacklevel=1,
                )
            finally:  # where warnings are errors, too
                self._log.abandon()


def _open(
    path: str | os.PathLike[str],
    config: Any,
    options: dict[str, Any],
    clock: Clock,
    disk: Disk | None,
    read_only: bool,
    create: Create,
) -> tuple[StoreConfig, Disk, OpenedDirectory, RecoveredLog, list[str]]:
    settings = StoreConfig.of(config, **options)
    if settings.replicate is not None:
        raise ConfigError("replicate: only an EventStore can be replicated", key="replicate")
    making = create is not False and not read_only
    disk = disk or LocalDisk(path, create=making, read_only=read_only)

    def examine_beside_writer(listing: Listing) -> tuple[Manifest, Listing, ExaminedLog]:
        manifest = inspect_directory(disk, listing)
        return manifest, listing, _examine(disk, manifest, listing)

    try:
        with translating_read_errors(disk.path):
            if read_only:
                manifest, listing, examined = read_beside_writer(disk, examine_beside_writer)
                directory = OpenedDirectory(manifest, listing, created=False)
                recovered = examined.unrepaired()
            else:
                directory = open_directory(disk, clock, settings, create=create, kind="log")
                manifest, listing, created = directory
                recovered = repair_log(disk, _examine(disk, manifest, listing))
                clear_leftovers(disk, manifest, listing, settled=created)
    except BaseException:
        disk.close()
        raise
    return settings, disk, directory, recovered, listing.unknown(manifest)


def _examine(disk: Disk, manifest: Manifest, listing: Listing) -> ExaminedLog:
    start = manifest.log_start
    return examine_log(disk, manifest.store, listing, log_start=start, verify_from=start)
