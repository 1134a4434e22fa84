"""The event store: a durable log, the state folded from the log, and snapshots of the state.

Theory of operation
-------------------
A store holds two states. The *head* (`EventStore.head`) is folded from every submitted event, and
the *published* state (`EventStore.state`) from durable events only. A decision is made by the head.
Nobody acts on the head, because a refused commit takes the head back. `open_store/append_path.py`
has both states, and the way of an event from one to the other.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, TypeVar, Unpack, overload

from msgspec.structs import replace

from eventstore.clock import Clock, checked_clock
from eventstore.config import Durability, StoreConfig
from eventstore.directory import Create, check_create
from eventstore.disk.base import Disk, check_location
from eventstore.error_base import fresh_error
from eventstore.intents.store_methods import IntentMethods
from eventstore.log.base import Log
from eventstore.missing_await import Opened, Opening, awaited
from eventstore.model.operation import Payload, Receipt, operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.open_store.append_path import AppendOptions, AppendPath
from eventstore.open_store.closing import Closing
from eventstore.open_store.parts import StoreParts, memory_parts, recover_parts
from eventstore.open_store.reading import StoreReading
from eventstore.reading.arguments import checked_registry, checked_state
from eventstore.recovery_and_stats import RecoveryReport, StoreStats, facts_table

__all__ = ["EventStore"]

StateT = TypeVar("StateT")
OpenedT = TypeVar("OpenedT")  # of a store that is being opened: there is no `StateT` yet


class EventStore(Opened, StoreReading[StateT], IntentMethods):
    """A store, open for one writer and bound to the event loop of its opening.

    `open` and `in_memory` make a store. All methods are called on the thread of that event loop.

    `recovery` says what opening found and did. `registry`, `log` and `origin` (the state that a
    store in memory went on from) are for code that builds on stores.
    """

    path: str
    recovery: RecoveryReport
    registry: HandlerRegistry[StateT]
    log: Log
    origin: StateAt[StateT] | None
    _whole = False  # until __init__ has come to its end

    def __init__(
        self, registry: HandlerRegistry[StateT], clock: Clock, parts: StoreParts[StateT]
    ) -> None:
        self.path = parts.path
        self.recovery = parts.report
        self.registry = registry
        self.origin = parts.origin
        self._append_path = path = AppendPath(registry, clock, parts)
        self.log = path.log
        self._subscriptions = path.subscriptions
        self._closing = Closing(path.log, path.keyed, path.keeper, path.subscriptions)
        if path.intents.published:
            self.recovery = replace(parts.report, in_doubt=self.in_doubt)
        self._whole = True

    # ---- opening ---------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        registry: HandlerRegistry[OpenedT],
        config: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        create: Create = True,
        clock: Clock | None = None,
        disk: Disk | None = None,
        read_only: bool = False,
        **options: Any,
    ) -> Opening[EventStore[OpenedT]]:
        """Open the store in directory `path`, make the store if there is none, recover its state.

        Await the result and close the store yourself, or use `async with`. Cancelling the await
        gives the store up again: the lock is freed, and the next opening here waits for that.

        Args:
            config: a `StoreConfig`, a mapping, or the path of a YAML or TOML file.
            create: `False` after the first run: a misspelt path is then no fresh, empty store.
                `"new"` for a path where no store may be yet. `recovery.created` says what was done.
            clock: the source of the events' times, by default the system's clock.
            disk: a disk in place of the directory, for tests.
            read_only: take no lock and change nothing, not even a torn end.
            **options: single keys of the configuration, which win over `config`.

        Raises:
            StoreLockedError: another writer has the store.
            CorruptLogError, CorruptSnapshotError, CorruptStoreError: the store is damaged.
            SnapshotMismatchError, UnknownOperationError, ReplayError, InitialStateError,
                StateRefusedError: the registry does not fit the history.
            StoreNotFoundError: there is no store, and none is made: `create=False`, `read_only`,
                or a directory with files of others, which only `create="new"` accepts.
            StoreExistsError: there is a store, and `create="new"`.
            StoreAccessError, StoreFullError, ReadFailedError: the operating system refused a call.
            ConfigError: the configuration has a wrong key or value.
        """
        checked_registry(registry)
        check_location(path, disk, read_only)
        check_create(create, read_only)
        time_source = checked_clock(clock)
        settings = functools.partial(StoreConfig.of, config, **options)

        async def opens() -> EventStore[OpenedT]:
            parts = await recover_parts(
                path, disk, registry, settings, time_source, read_only=read_only, create=create
            )
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
        """Make a store with nothing on disk and the same interface, for backtests and unit tests.

        Events are kept in memory for `events`. Every accepted event counts as durable at once, and
        `snapshot` does nothing. A state of a type that no snapshot can carry is not checked.

        `state` is the first state, by default the registry's initial state. `clock` is the source
        of the events' times, by default the system's clock.
        """
        checked_registry(registry)
        time_source = checked_clock(clock)

        async def opens() -> EventStore[OpenedT]:
            first = registry.initial() if state is None else checked_state(registry, state)
            registry.check_state(first)
            return EventStore(registry, time_source, memory_parts(StateAt(first, 0, 0)))

        return Opening(opens)

    # ---- appending -------------------------------------------------------------------------

    @overload
    async def append(self, *operations: Payload, **options: Unpack[AppendOptions]) -> Receipt: ...
    @overload
    async def append(
        self, name: str, data: Mapping[str, Any], /, **options: Unpack[AppendOptions]
    ) -> Receipt: ...
    @awaited
    async def append(
        self,
        *operations: Payload | str | Mapping[str, Any],
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_seq: int | None = None,
        durability: Durability | str | None = None,
        essential: bool | None = None,
    ) -> Receipt:
        """Record operations as one atomic group, and return once the group is durable.

        `Durability` in the store's configuration says what durable means. While the queue is full,
        `append` waits for room.

        Cancelling cancels the waiting. While `append` waits for room, nothing was submitted. After
        that the write goes on, and the events are in the log unless the commit fails.

        `operations` are payload objects, `(name, mapping)` pairs, or one name and one mapping.
        `key` and `metadata` are recorded with each event. A group that was recorded before under
        its key, or the keys of its operations, is not written again: the receipt is a `duplicate`.
        The same append with the same key is therefore the right retry after any error, cancellation
        or crash. `expected_seq` is the `seq` of the state
        that the caller decided upon: where another event was submitted since, the group is refused.
        `durability` says what this group waits for, in place of the classes of its operations. A
        group that waits for its write alone is published, and a power cut may take the group.
        `essential` says whether the group is taken while the disk is nearly full, in place of the
        classes: see `low_space` in the configuration.

        Raises:
            KeyConflictError: another payload has the key; nothing was written.
            PartialDuplicateError: some operations are known, one has no key; nothing was written.
            SequenceConflictError: `expected_seq` is not `head_seq`; nothing was written.
            ConfigError, InvalidPayloadError, UnknownOperationError, StateRefusedError: nothing was
                written.
            Exception: what a handler raised, unchanged; nothing was written.
            LowSpaceError, StoreFullError, StoreClosedError, StoreReadOnlyError: nothing was
                written.
            OutcomeUnknownError: the commit takes longer than `commit_timeout`, and goes on.
            StoreFailedError: the outcome is unknown until the store is opened again.
        """
        appender = self.log.appender
        room = appender.room
        appender.guard.check()
        room.ensure_open()
        if expected_seq is not None and key is None and not self.registry.traits:
            appender.numbers.expect(expected_seq)  # else a duplicate may win: see `AppendPath`
        payloads = appender.guard.run(self.registry.payloads, operations)
        count, given = len(payloads), (payloads, key, metadata, expected_seq, durability, essential)
        if room.fits(count):
            return await self._append_path.submit(*given)
        return await (await room.submit_when_fits(count, self._append_path.submit, *given))

    @overload
    def submit(self, *operations: Payload, **options: Unpack[AppendOptions]) -> Receipt: ...
    @overload
    def submit(
        self, name: str, data: Mapping[str, Any], /, **options: Unpack[AppendOptions]
    ) -> Receipt: ...
    def submit(
        self,
        *operations: Payload | str | Mapping[str, Any],
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_seq: int | None = None,
        durability: Durability | str | None = None,
        essential: bool | None = None,
    ) -> Receipt:
        """Queue operations as one atomic group, and return at once.

        The receipt can be awaited. Where nobody awaits the receipt of a failed commit, `flush` and
        `close` raise the failure. Raises `StoreOverloadedError` where the queue is full, and all
        that `append` raises before the write.
        """
        appender = self.log.appender
        room = appender.room
        appender.guard.check()
        room.ensure_open()
        if expected_seq is not None and key is None and not self.registry.traits:
            appender.numbers.expect(expected_seq)  # else a duplicate may win: see `AppendPath`
        payloads = appender.guard.run(self.registry.payloads, operations)
        if not room.fits(len(payloads)):
            raise room.overloaded_error()
        return self._append_path.submit(
            payloads, key, metadata, expected_seq, durability, essential
        )

    def _intent_path(self) -> AppendPath[StateT]:
        return self._append_path

    @property
    def state(self) -> StateT:
        """The state folded from every durable event, and from no other.

        A state of an immutable type is handed out itself, at no cost. A state whose type can change
        (a `dict`, an unfrozen Struct) is copied, and the copy is the caller's own.
        """
        path = self._append_path
        return path.state if path.copy is None else path.copy(path.state)

    @property
    def head(self) -> StateT:
        """The state folded from every submitted event, durable or not: to decide by.

        A refused commit takes the head back to the published state. So whatever leaves the process
        (an order, a message) waits for the receipt. `append` with `expected_seq=store.head_seq`,
        taken in the same turn of the loop, refuses a decision that another append has overtaken.

        A state whose type can change is copied. Raises `StoreFailedError` after a failed commit.
        """
        path = self._append_path
        failure = self.log.failure
        if failure is not None:
            raise fresh_error(failure)
        return path.head if path.copy is None else path.copy(path.head)

    @property
    def seq(self) -> int:
        """The sequence number of the last durable event, 0 before the first."""
        return self.log.durable_seq

    @property
    def head_seq(self) -> int:
        """The sequence number of the last submitted event, durable or not, for `expected_seq`."""
        return self.log.head_seq

    def stats(self) -> StoreStats:
        """Report counters since the store was opened."""
        path = self._append_path
        stats = replace(
            path.keyed.add_key_stats(self._subscriptions.add_to(self.log.stats())),
            operations={operation_name(kind): n for kind, n in path.counts.items()},
            open_intents=len(path.intents.published),
        )
        return stats if path.keeper is None else path.keeper.add_snapshot_stats(stats)

    # ---- snapshots and ending --------------------------------------------------------------

    async def snapshot(self) -> int:
        """Write a snapshot of the published state now, and return the event that it covers.

        Nothing is written where the newest snapshot covers that event already. Cancelling cancels
        the waiting, and the snapshot is finished.

        Raises:
            StoreFullError: no space; older snapshots are intact and appending goes on.
            StoreFailedError: a sync failed, and the store is read-only until reopened.
            StoreClosedError: the store was closed.
            StoreUsageError: the call is from another thread or event loop.
        """
        self.log.appender.guard.check()
        self.log.appender.room.ensure_open()
        keeper = self._append_path.keeper
        return self.seq if keeper is None else await keeper.snapshot()

    async def flush(self) -> None:
        """Wait until everything submitted is on stable storage, in every durability mode.

        Raises the failure of a commit, also of an earlier commit that nobody awaited, and
        `StoreUsageError` in another thread or event loop. Cancelling cancels the waiting.
        """
        await self._append_path.keyed.settled()
        await self.log.flush()

    async def close(self) -> None:
        """Write the queued events, seal the log and free the lock. Closing twice is harmless.

        A snapshot under way is finished. A store without a log takes a last snapshot. Cancelling
        cancels the waiting, and the closing goes on. Raises the failure of commits that nobody
        awaited, and of a sync that acknowledged events never got.
        """
        await self._closing.close(self)

    def __repr__(self) -> str:
        state = " closed" if self._closing.begun else ""
        return f"<EventStore {self.path!r} seq={self.seq}{state}>"

    def _repr_html_(self) -> str:
        state = "closed" if self._closing.begun else "open"
        facts = {"path": self.path, "store": state, "last durable event": self.seq}
        return facts_table("EventStore", facts | {"pending events": self.head_seq - self.seq})

    def __del__(self) -> None:
        if self._whole:
            self._closing.forget(self)
