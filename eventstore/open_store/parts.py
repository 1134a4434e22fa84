"""The two parts of an `EventStore`: the log, and the keeper of snapshots.

Theory of operation
-------------------
Three kinds of store differ in these parts only. A store on disk has a durable log and a keeper. A
store of snapshots only (`use_wal=False`) has a keeper, and a log that forgets each event after the
fold. A store in memory has no keeper, and a log that keeps its events.

An opening collects the ingredients of both parts off the event loop, as a `StoreParts`. The store
then makes the parts on the event loop, because both parts belong to that loop. The log takes two
callbacks of the store and holds them weakly, so a forgotten store ends at once.
"""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from eventstore.blocking_calls import BackgroundCalls, run_opening, undo_given_up
from eventstore.clock import Clock
from eventstore.config import StoreConfig
from eventstore.directory import Create
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest
from eventstore.errors import StreamMismatchError
from eventstore.intents.order_ids import OrderIds, opening_of_time
from eventstore.keys.hashing import KeyHasher
from eventstore.keys.index import KeyIndex
from eventstore.log.base import Log, Submission
from eventstore.log.durable import DurableLog
from eventstore.log.memory import MemoryLog
from eventstore.log.reader import LogReader
from eventstore.log.replica_interface import Replica, begin_replica
from eventstore.model.operation import Receipt
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.recovery import Recovered, recover, recovered_with_tail
from eventstore.recovery_and_stats import RecoveryReport
from eventstore.snapshot.initial_state_check import initial_state
from eventstore.snapshot.keeper import SnapshotKeeper
from eventstore.timelines import Lineage, first_timeline, next_timeline

__all__ = [
    "DiskParts",
    "MemoryParts",
    "SharedHistory",
    "StoreParts",
    "memory_parts",
    "recover_parts",
]

QUORUM_SECONDS = 10.0
"""The `commit_timeout` of a store that waits for a quorum, where the configuration has none."""

StateT = TypeVar("StateT")

OnCommit = Callable[[list[Submission]], None]
OnReset = Callable[[Submission | None, Receipt | None], None]


class StoreParts(Protocol[StateT]):
    """The first state of a store, and the makers of its parts."""

    @property
    def path(self) -> str:
        """The store's name in messages."""

    @property
    def at(self) -> StateAt[StateT]:
        """The first state that the store serves."""

    @property
    def checksum(self) -> int | None:
        """The checksum of the last event of the first state, `None` where it is not known."""

    @property
    def report(self) -> RecoveryReport:
        """The report of the opening."""

    @property
    def origin(self) -> StateAt[StateT] | None:
        """The first state of a log in memory, `None` where files hold all of history."""

    @property
    def inherited_to(self) -> int:
        """The last event shared with the parent of a branch, 0 for any other store."""

    @property
    def keys(self) -> KeyIndex:
        """The identity keys that are known already."""

    def order_ids(self, clock: Clock) -> OrderIds:
        """Return the maker of client order ids for this opening."""

    def make_log(self, on_commit: OnCommit, on_reset: OnReset) -> Log:
        """Make the log on the running event loop. Both callbacks are bound methods of the store."""

    def make_keeper(
        self, log: Log, clock: Clock, published: Callable[[], StateAt[StateT]]
    ) -> SnapshotKeeper | None:
        """Make the keeper of snapshots, `None` for a store without snapshots.

        `published` is a bound method of the store that returns the durable state.
        """


class DiskParts(NamedTuple, Generic[StateT]):
    """A store on disk after recovery. Events are logged where `config.use_wal` is set."""

    disk: Disk
    config: StoreConfig
    recovered: Recovered[StateT]
    read_only: bool
    replica: Replica | None = None

    @property
    def path(self) -> str:
        return self.disk.path

    @property
    def at(self) -> StateAt[StateT]:
        return self.recovered.at

    @property
    def checksum(self) -> int | None:
        return self.recovered.checksum

    @property
    def report(self) -> RecoveryReport:
        return self.recovered.report

    @property
    def origin(self) -> StateAt[StateT] | None:
        return None if self._logged else self.recovered.at

    @property
    def inherited_to(self) -> int:
        point = self.recovered.manifest.branched
        return 0 if point is msgspec.UNSET else point.seq

    def order_ids(self, clock: Clock) -> OrderIds:
        return OrderIds(self.recovered.manifest.store, functools.partial(self.disk.entropy, 16))

    @property
    def keys(self) -> KeyIndex:
        return self.recovered.keys

    @property
    def _logged(self) -> bool:
        return self.config.use_wal or self.read_only

    def make_log(self, on_commit: OnCommit, on_reset: OnReset) -> Log:
        if self._logged:
            return DurableLog(
                self.disk,
                self.recovered.manifest,
                self.recovered.opened,
                self.config,
                read_only=self.read_only,
                on_commit=on_commit,
                on_reset=on_reset,
                replica=self.replica,
            )
        # Events that a crash takes leave no trace, so each life of the store has its own timeline.
        manifest = self.recovered.manifest
        timelines = next_timeline(manifest.timelines, 0, self.disk.entropy(4))
        lineage = Lineage(self.path, manifest.store, timelines)
        return MemoryLog(
            self.path,
            self.recovered.at.seq,
            lineage=lineage,
            keep=False,
            on_commit=on_commit,
            on_reset=on_reset,
            background=BackgroundCalls(self.disk, 1),
            release=self.disk.close,
            max_pending=self.config.max_pending,
        )

    def make_keeper(
        self, log: Log, clock: Clock, published: Callable[[], StateAt[StateT]]
    ) -> SnapshotKeeper | None:
        if self.read_only:
            return None
        return SnapshotKeeper(
            self.disk,
            log,
            self.recovered.vault,
            self.recovered.manifest,
            self.config,
            clock,
            seq=self.recovered.report.snapshot_seq,
            written=self.recovered.report.snapshot_time,
            published=published,
            index=self.keys,
        )


async def recover_parts(
    path: str | os.PathLike[str],
    disk: Disk | None,
    registry: HandlerRegistry[StateT],
    config: Callable[[], StoreConfig],
    clock: Clock,
    *,
    read_only: bool,
    create: Create,
    follows: bool = False,
) -> DiskParts[StateT]:
    """Open the store on `disk`, or in the directory `path` where `disk` is `None`.

    `config` may read a file, and is called off the event loop as all the rest is. `follows` goes to
    `recover`. Raises the errors of `EventStore.open`.
    """

    def open_here() -> DiskParts[StateT]:
        settings = config()
        initial = initial_state(registry)  # raises before the directory is touched
        making = create is not False and not read_only
        where = disk or LocalDisk(path, create=making, read_only=read_only)
        recovered = recover(
            where,
            registry,
            initial,
            settings,
            clock,
            read_only=read_only,
            create=create,
            follows=follows,
        )
        if read_only or settings.replicate is None:
            return DiskParts(where, settings, recovered, read_only)
        if settings.replicate.acknowledge == "quorum" and settings.commit_timeout is None:
            settings = msgspec.structs.replace(settings, commit_timeout=QUORUM_SECONDS)
        try:
            try:
                replica = begin_replica(where, recovered.manifest, settings, recovered.at.seq)
            except StreamMismatchError as error:
                if not error.ahead:
                    raise
                recovered = recovered_with_tail(
                    where, registry, initial, settings, clock, recovered
                )
                replica = begin_replica(where, recovered.manifest, settings, recovered.at.seq)
        except BaseException:
            where.close()
            raise
        return DiskParts(where, settings, recovered, read_only, replica)

    return await run_opening(path, disk, open_here, _give_back)


def _give_back(parts: DiskParts[Any]) -> None:
    """Close the disk of a store that nobody has. A replica reads the disk, and is ended before."""
    disk, replica = parts.disk, parts.replica
    if replica is None:
        disk.close()
        return

    def close_both() -> None:
        try:
            replica.close()
        finally:
            disk.close()

    undo_given_up(disk.path, close_both)


class SharedHistory(NamedTuple):
    """The files of the parent store, which hold the events before a branch in memory.

    `owned` says whether closing the branch closes `disk`. `checksum` is the checksum of the last
    shared event, `None` where it is not known.
    """

    disk: Disk
    manifest: Manifest
    owned: bool
    checksum: int | None


class MemoryParts(NamedTuple, Generic[StateT]):
    """A store in memory. Its first state is `at`, and `shared` holds the events before.

    `store` is the UUID in the store's cursors, and `keys` has the identity keys.
    """

    at: StateAt[StateT]
    store: uuid.UUID
    keys: KeyIndex
    shared: SharedHistory | None = None

    @property
    def path(self) -> str:
        if self.shared is None:
            return ":memory:"
        return f":memory: from {self.shared.disk.path}@{self.at.seq}"

    @property
    def checksum(self) -> int | None:
        return None if self.shared is None else self.shared.checksum

    @property
    def report(self) -> RecoveryReport:
        return RecoveryReport()

    @property
    def origin(self) -> StateAt[StateT] | None:
        return self.at

    @property
    def inherited_to(self) -> int:
        return self.at.seq

    def order_ids(self, clock: Clock) -> OrderIds:
        def draw() -> bytes:
            return opening_of_time(self.path, self.at.seq, clock.time_ns())

        return OrderIds(None, draw)

    def make_log(self, on_commit: OnCommit, on_reset: OnReset) -> Log:
        shared = self.shared
        if shared is None:
            return MemoryLog(
                self.path,
                self.at.seq,
                lineage=Lineage(self.path, self.store, first_timeline(self.store)),
                keep=True,
                on_commit=on_commit,
                on_reset=on_reset,
            )
        return MemoryLog(
            self.path,
            self.at.seq,
            lineage=Lineage(
                self.path,
                self.store,
                next_timeline(shared.manifest.timelines, self.at.seq, self.store.bytes[:4]),
            ),
            keep=True,
            on_commit=on_commit,
            on_reset=on_reset,
            disk=shared.disk,
            earlier=LogReader(shared.disk, shared.manifest.store),
            background=BackgroundCalls(shared.disk, 1),
            release=shared.disk.close if shared.owned else lambda: None,
        )

    def make_keeper(
        self, log: Log, clock: Clock, published: Callable[[], StateAt[StateT]]
    ) -> SnapshotKeeper | None:
        return None


def memory_parts(
    at: StateAt[StateT], shared: SharedHistory | None = None, keys: KeyIndex | None = None
) -> MemoryParts[StateT]:
    """Return the parts of a new store in memory, with a UUID of its own.

    `keys` are the keys of the shared history.
    """
    store = uuid.uuid4()
    return MemoryParts(at, store, keys or KeyIndex(KeyHasher(store.bytes)), shared)
