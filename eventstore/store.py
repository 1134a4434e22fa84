"""The event store: a durable log, the state folded from it, and snapshots of that state.

Theory of operation
-------------------
There are two states. The *head* is folded from everything submitted; it exists so that an event
can be validated by folding it before it is written, on top of those that are still on their way.
The *published* state (:attr:`EventStore.state`) is folded from what is durable; nobody sees
anything else. With pure handlers over immutable states these are two references, and taking back
what a refused commit had folded is one assignment.

``submit`` runs on the loop from check to queue without a pause, so that numbers are given out,
events folded and records written in one order. What can fail is done first: the payload is
encoded and decoded again (the bytes that will be written are the ones that were read back), the
handler is called; only then is anything changed.

When a commit has become durable, in this order: the state is published, subscribers are handed the
events, receipts are resolved.

Snapshots are taken of the published state, one at a time, on a thread beside the commit path,
after the log was synced up to them; afterwards old snapshots are removed and the segments that
none of the kept ones needs are archived.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from eventstore.clock import Clock, SystemClock
from eventstore.concurrency import Opening, opening_executor, run_blocking
from eventstore.config import StoreConfig
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.log.base import Log, Submission, check_record_size
from eventstore.model.operation import Event, Operation, Receipt
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state import StateAt
from eventstore.model.value_types import copier, copy_value
from eventstore.reading.live import durable_events
from eventstore.reading.selection import Moment, checked_operations
from eventstore.reading.subscription import Subscription
from eventstore.recovery import recover
from eventstore.report import RecoveryReport, StoreStats
from eventstore.store_parts import DiskParts, MemoryParts, StoreParts

__all__ = ["EventStore"]

StateT = TypeVar("StateT")
OpenedT = TypeVar("OpenedT")
"""The state of a store that is being opened: a class method has none of its own class's."""

Payload = Operation | tuple[str, Mapping[str, Any]]
"""What ``append`` takes any number of: payload objects, and pairs of name and mapping."""


class EventStore(Generic[StateT]):
    """A store, open for one writer and bound to the event loop it was opened on.

    Make one with :meth:`open` or :meth:`in_memory`. Its methods are called on that loop's thread.
    """

    path: str
    recovery: RecoveryReport
    registry: HandlerRegistry[StateT]
    log: Log
    origin: StateAt[StateT] | None
    _closed = True  # until __init__ has come to its end

    def __init__(
        self, registry: HandlerRegistry[StateT], clock: Clock, parts: StoreParts[StateT]
    ) -> None:
        self.path = parts.path
        self.recovery = parts.report
        self.registry = registry
        self.origin = parts.origin
        self._copy = copier(registry.state_type)
        self._clock = clock
        self._head, _, self._latest = parts.at
        self._state = self._head
        self._subscriptions: list[Subscription] = []
        self._closing: asyncio.Task[None] | None = None
        self._pid = os.getpid()
        self.log = parts.make_log(self._committed, self._reset)
        self._keeper = parts.make_keeper(self.log, clock, self._published)
        self._closed = False

    # ---- opening ---------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        registry: HandlerRegistry[OpenedT],
        config: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        read_only: bool = False,
        **options: Any,
    ) -> Opening[EventStore[OpenedT]]:
        """Open the store in directory ``path``, making it if there is none, and recover its state.

        ``config`` is a :class:`StoreConfig`, a mapping, or a YAML or TOML file; ``options`` are
        keys of it. ``clock`` gives the times of events. ``disk`` replaces the directory (for
        tests). ``read_only`` takes no lock and changes nothing, not even a torn end.

        Await the result and close the store yourself, or use ``async with``. Cancelling the await
        gives the store up again.

        Raises :class:`StoreLockedError`; :class:`CorruptLogError`, :class:`CorruptSnapshotError`
        and :class:`CorruptStoreError` where the store is damaged;
        :class:`SnapshotMismatchError`, :class:`UnknownOperationError` and :class:`ReplayError`
        where the registry does not fit its history; :class:`StoreAccessError`,
        :class:`StoreFullError`, :class:`ReadFailedError`, :class:`ConfigError`; and read-only
        :class:`StoreNotFoundError`.
        """
        time_source = clock if clock is not None else SystemClock()

        def open_here() -> DiskParts[OpenedT]:
            settings = StoreConfig.of(config, **options)
            registry.check()
            where = disk or LocalDisk(path, create=not read_only, read_only=read_only)
            recovered = recover(where, registry, settings, time_source, read_only=read_only)
            return DiskParts(where, settings, recovered, read_only)

        async def opens() -> EventStore[OpenedT]:
            parts = await run_blocking(opening_executor(disk), open_here)
            return EventStore(registry, time_source, parts)

        return Opening(opens)

    @classmethod
    def in_memory(
        cls,
        registry: HandlerRegistry[OpenedT],
        *,
        state: OpenedT | None = None,
        clock: Clock | None = None,
    ) -> Opening[EventStore[OpenedT]]:
        """A store with nothing on disk, and the same interface: for backtests and unit tests.

        ``state`` is where it begins (default: the registry's initial state). Events are kept in
        memory for :meth:`events`. Durable means accepted here, and ``snapshot`` does nothing.
        """

        async def opens() -> EventStore[OpenedT]:
            first = registry.initial() if state is None else copy_value(state)
            return EventStore(registry, clock or SystemClock(), MemoryParts(StateAt(first, 0, 0)))

        return Opening(opens)

    # ---- appending -------------------------------------------------------------------------

    @overload
    async def append(
        self,
        *operations: Payload,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt: ...
    @overload
    async def append(
        self,
        name: str,
        data: Mapping[str, Any],
        /,
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt: ...
    async def append(
        self,
        *operations: Payload | str | Mapping[str, Any],
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Record operations as one atomic group, and return when they are durable.

        Operations are payload objects, ``(name, mapping)`` pairs, or one name and one mapping.
        ``key`` and ``metadata`` are recorded with each event. Durable is what the store's
        :class:`Durability` says. While the queue is full it waits for room.

        Cancelling it cancels the waiting: while it waits for room nothing was submitted; after that
        the write goes on, and the event is in the log unless the commit fails.

        Raises, with nothing written and the sequence unchanged: :class:`InvalidPayloadError`,
        :class:`UnknownOperationError`, whatever the handler raises, :class:`StoreFullError`,
        :class:`StoreClosedError`, :class:`StoreReadOnlyError`. Raises :class:`StoreFailedError`
        where the outcome is unknown.
        """
        appender = self.log.appender
        appender.ensure_open()
        payloads = self.registry.payloads(operations)
        if not appender.has_room(len(payloads)):
            await appender.wait_for_room(len(payloads))
        return await self._submit(payloads, key, metadata)

    @overload
    def submit(
        self,
        *operations: Payload,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt: ...
    @overload
    def submit(
        self,
        name: str,
        data: Mapping[str, Any],
        /,
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt: ...
    def submit(
        self,
        *operations: Payload | str | Mapping[str, Any],
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Queue operations as one atomic group and return at once; await the receipt, or not.

        Raises what :meth:`append` raises before writing, and :class:`StoreOverloadedError` when the
        queue is full. What becomes of the commit is told by the receipt; if nobody awaits it,
        :meth:`flush` and :meth:`close` tell.
        """
        appender = self.log.appender
        appender.ensure_open()
        payloads = self.registry.payloads(operations)
        if not appender.has_room(len(payloads)):
            raise appender.overloaded()
        return self._submit(payloads, key, metadata)

    def _submit(
        self, payloads: Sequence[Operation], key: str | None, metadata: Mapping[str, Any] | None
    ) -> Receipt:
        registry, appender = self.registry, self.log.appender
        time = self._clock.time_ns()
        events, body = registry.record(appender.head_seq + 1, time, payloads, key, metadata)
        state = self._head
        for event in events:
            state = registry.apply(state, event)
        check_record_size(body, events[0])
        self._head = state
        return appender.submit(body, len(events), time, (events, state))

    # ---- what commits bring about ----------------------------------------------------------

    def _committed(self, entries: list[Submission]) -> None:
        for entry in entries:
            events, self._state = entry.attachment
            self._latest = max(self._latest, events[0].time)
            for subscription in self._subscriptions:
                subscription.push(events)
        if self._keeper is not None:
            self._keeper.changed(entries[-1].receipt.seq)

    def _published(self) -> StateAt[StateT]:
        return StateAt(self._state, self.seq, self._latest)

    def _reset(self) -> None:
        self._head = self._state

    # ---- reading ---------------------------------------------------------------------------

    @property
    def state(self) -> StateT:
        """The state folded from every durable event, and from no other.

        Of a type whose values can change (a ``dict``, an unfrozen Struct) it is a copy, the
        caller's own; of an immutable type it is the state itself, at no cost.
        """
        return self._state if self._copy is None else self._copy(self._state)

    @property
    def seq(self) -> int:
        """The sequence number of the last durable event, 0 where there is none."""
        return self.log.durable_seq

    def events(
        self,
        start: Moment = 1,
        stop: Moment | None = None,
        *,
        operations: Collection[str] | None = None,
    ) -> AsyncGenerator[Event[Any], None]:
        """Durable events from ``start`` on, up to ``stop`` (exclusive) or the last one now.

        Both are sequence numbers or times, as for :func:`read_events`. Archive and log are one
        history, read in batches off the event loop; memory is flat. ``operations`` keeps only
        events of those names.

        Raises :class:`HistoryUnavailableError` where ``start`` was discarded,
        :class:`CorruptLogError` and :class:`ReadFailedError`.
        """
        return durable_events(self.log, self.registry, start, stop, operations)

    def subscribe(
        self, *, start: int | None = None, operations: Collection[str] | None = None
    ) -> Subscription:
        """Follow the store: an asynchronous iterator over durable events as they come.

        ``start`` begins with an earlier event, read from the log; the default is the next one.
        """
        subscription = Subscription(
            self.seq + 1 if start is None else max(start, 1),
            checked_operations(operations, self.registry.operations),
            self.events,
            lambda: self.seq,
            self._subscriptions.remove,
        )
        self._subscriptions.append(subscription)
        return subscription

    def stats(self) -> StoreStats:
        """Counters since the store was opened."""
        stats = self.log.stats()
        return stats if self._keeper is None else self._keeper.add_snapshot_stats(stats)

    # ---- snapshots and ending --------------------------------------------------------------

    async def snapshot(self) -> int:
        """Write a snapshot of the published state now; the sequence number that it covers.

        Nothing is written when the newest snapshot covers that already. Cancelling it cancels the
        waiting; the snapshot is finished. Raises :class:`StoreFullError` (older snapshots are
        intact, appending goes on), :class:`StoreFailedError`, :class:`StoreClosedError`.
        """
        self.log.appender.ensure_open()
        return self.seq if self._keeper is None else await self._keeper.snapshot()

    async def flush(self) -> None:
        """Wait until everything submitted is on stable storage, whatever the durability mode.

        Raises what became of it, and of commits before it that nobody awaited.
        """
        await self.log.flush()

    async def close(self) -> None:
        """Write what is queued, seal the log, free the lock. Closing twice is harmless.

        A snapshot under way is finished; a store without a log takes a last one. Cancelling it
        cancels the waiting; the closing goes on. Raises what became of commits that nobody awaited.
        """
        self._closed = True
        if os.getpid() != self._pid:  # a fork of the owner: it is not ours to close
            return  # pragma: no cover - no tracer follows a fork: TestFork does
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            if self._keeper is not None:
                await self._keeper.close()
        finally:
            try:
                await self.log.close()
            finally:
                for subscription in self._subscriptions:
                    subscription.end()

    def __repr__(self) -> str:
        return f"<EventStore {self.path!r} seq={self.seq if hasattr(self, '_log') else '?'}>"

    def __del__(self) -> None:
        if not self._closed and os.getpid() == self._pid:
            warnings.warn(
                f"the event store {self.path} was not closed: use `async with`, or await close(). "
                "Nothing that was acknowledged is lost",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )
            self.log.abandon()
