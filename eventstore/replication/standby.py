"""A standby: another machine's copy of a store, which follows the stream and can be promoted.

Theory of operation
-------------------
A standby has a store of its own, with the UUID and the timelines of the writer's store. The stream
brings the rest, in order: each message has the number behind the message before, and each record
the number behind the last event. After a restart the standby goes on from its own log
(`standby_copy.py`).

*Promotion* takes three steps. The lease is taken, by force. The rest of the stream is copied, and a
history message begins a new timeline right behind the last message. Should the old writer have come
in between, the stream refuses the message, and the step is made again. From the message on the
stream refuses the old writer. At last the store is opened for writing. The lease is renewed all the
while.

*Retention.* A standby tells the cluster the place that it has reached, and nobody trims the stream
beyond. A new standby of a trimmed stream begins with the copy in the cluster (`retention.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.arguments import checked_path
from eventstore.blocking_calls import run_blocking
from eventstore.clock import Clock, checked_clock
from eventstore.config import StoreConfig
from eventstore.errors import (
    EventStoreError,
    FencedError,
    LeaseHeldError,
    ReplicationError,
    ReplicationUnavailableError,
    StoreClosedError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StreamMismatchError,
)
from eventstore.missing_await import Opened, Opening
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import seq_of
from eventstore.operator_log import operator_log
from eventstore.reading.arguments import checked_registry
from eventstore.replication.connecting import connect, settings_in
from eventstore.replication.connection import Connection
from eventstore.replication.endings import end_tasks
from eventstore.replication.lease import Holder, Lease
from eventstore.replication.messages import History, history_message
from eventstore.replication.pipeline import WrongSequenceError
from eventstore.replication.promotion_gap import close_gap
from eventstore.replication.replica_directory import manifest_of
from eventstore.replication.standby_copy import StreamCopy
from eventstore.replication.standby_progress import StandbyPlaces
from eventstore.replication.standby_start import prepare_replica
from eventstore.replication_config import ReplicationConfig
from eventstore.store import EventStore
from eventstore.timelines import next_timeline

__all__ = ["Standby", "StandbyLag"]

_logger = operator_log("eventstore.replication")

_LOOKS = 3
"""Looks at the lease in the span of one lease."""
_RETRY = 0.25
"""Seconds between two attempts to connect."""
_ROOM_RETRY = 5.0
"""Seconds between two attempts to write to a full disk."""

StateT = TypeVar("StateT")
OpenedT = TypeVar("OpenedT")


class StandbyLag(NamedTuple):
    """The delay of a standby: messages of the stream, and seconds since the standby was level.

    `seconds` is measured by this machine's monotonic clock alone.
    """

    messages: int
    seconds: float


class Standby(Opened, Generic[StateT]):
    """A store that follows the stream of a writer on another machine.

    `open` makes a standby. All methods are called on the thread of the event loop of the opening.
    `failure` is the error that ended the following, `None` while the standby follows.
    """

    _reads = "standby.store.events()"

    def __init__(
        self,
        copy: StreamCopy[StateT],
        config: StoreConfig,
        settings: ReplicationConfig,
        holder: Holder,
        clock: Clock | None,
    ) -> None:
        self.path: str = copy.path
        self.failure: EventStoreError | None = None
        self._copy = copy
        self._config = config
        self._replicate = settings
        self._holder = holder
        self._clock = clock
        self._following: asyncio.Task[None] | None = None
        self._promotion = asyncio.Lock()  # a second one would begin another timeline
        self._closed = False

    def __repr__(self) -> str:
        return f"<Standby {self.path!r} seq={self.seq} lag={self.lag.messages}>"

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        registry: HandlerRegistry[OpenedT],
        config: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        backup: str | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> Opening[Standby[OpenedT]]:
        """Begin to follow the stream `replicate.stream` with a store in directory `path`.

        The directory is made where there is none. Await the result and close the standby yourself,
        or use `async with`. `config` and `options` are those of `EventStore.open`. `backup` names a
        backup of the writer (a directory, a file, or a URL) to begin with. By default a new standby
        begins with the first event of the stream, and where that is gone, with the newest copy in
        the cluster. `clock` is the clock of the promoted store.

        Raises `ReplicationError` and its kinds, `ConfigError` without `replicate`, and the errors
        of `EventStore.open`.
        """

        where = checked_path(path)
        checked_registry(registry)
        if backup is not None:
            checked_path(backup, "backup")
        if clock is not None:
            checked_clock(clock)

        async def opens() -> Standby[OpenedT]:
            settings = await run_blocking(None, lambda: StoreConfig.of(config, **options))
            replicate = settings_in(settings, "to open a standby")
            holder = await prepare_replica(where, settings, replicate, backup)
            copy = await StreamCopy.open(where, registry, settings)
            standby = Standby(copy, settings, replicate, holder, clock)
            standby._start()
            return standby

        return Opening(opens)

    # ---- what it has -----------------------------------------------------------------------

    @property
    def state(self) -> StateT:
        """The state folded from every event that is on this machine's disk."""
        return self._copy.store.state

    @property
    def seq(self) -> int:
        """The last event that is on this machine's disk."""
        return self._copy.store.seq

    @property
    def store(self) -> EventStore[StateT]:
        """The store of the standby, for reading and subscribing. Appending raises.

        A new timeline replaces the store by another object: ask again rather than keep the store.
        """
        return self._copy.store

    @property
    def lag(self) -> StandbyLag:
        """How far the standby is behind the end of the stream, by the last word of the cluster."""
        behind = self._copy.behind
        return StandbyLag(behind, time.monotonic() - self._copy.level_at if behind else 0.0)

    async def wait_for(self, seq: int) -> None:
        """Wait until event `seq` is on this machine's disk. Cancelling cancels the waiting.

        Raises the error that ended the following, and `StoreClosedError`.
        """
        seq = seq_of(seq, "seq")
        while self.seq < seq:
            self._copy.changed.clear()
            self._ensure_following()
            await self._copy.changed.wait()

    def _ensure_following(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._closed:
            raise StoreClosedError(f"{self.path} is closed", path=self.path)

    # ---- following -------------------------------------------------------------------------

    async def _follow(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:  # two would copy the same events
            await end_tasks(before)
        try:
            while True:
                pause = _RETRY
                try:
                    # The lock is held for a moment by an opening that was given up.
                    with contextlib.suppress(ReplicationUnavailableError, StoreLockedError):
                        await self._follow_once()
                except StoreFullError:
                    pause = _ROOM_RETRY
                except ReplicationError as error:  # all was good at the opening: may be mended
                    if isinstance(error, StreamMismatchError) and not error.other_settings:
                        raise
                    text = f"the standby waits for the cluster: {error}"
                    self._copy.store.log.warnings.begin("standby-cluster", text, _logger)
                self._copy.behind = max(self._copy.behind, 1)  # nobody knows how far
                await asyncio.sleep(pause)  # nobody tells of a returning cluster, or of room
        except EventStoreError as error:
            self._end_with(error)
        except Exception as error:  # whatever it is, somebody may wait for events
            _logger.exception("%s: the standby follows no more", self.path)
            text = f"{self.path}: the standby follows no more: {type(error).__name__}: {error}"
            self._end_with(StoreFailedError(text, path=self.path))

    def _end_with(self, error: EventStoreError) -> None:
        self.failure = error
        _logger.critical("%s: the standby follows no more: %s", self.path, error)
        self._copy.changed.set()

    async def _follow_once(self) -> None:
        connection = await connect(self.path, self._replicate)
        try:
            # Somebody may have deleted the stream: the writer makes it again.
            await connection.ensure_stream(create=False, missing=ReplicationUnavailableError)
            places = await StandbyPlaces.of(connection)
            self._copy.store.log.warnings.end("standby-cluster", "the standby follows again")
            try:
                await connection.first_ended(self._copy.read(connection), self._tell_place(places))
            finally:  # the last place of a standby that stops, for `status` and for trimming
                with contextlib.suppress(ReplicationError):
                    await places.tell(self._holder.id, self.seq)
        finally:
            await connection.close()

    async def _tell_place(self, places: StandbyPlaces) -> None:
        """Tell the cluster the place of this standby, again and again."""
        while True:
            await places.tell(self._holder.id, self.seq)
            await asyncio.sleep(self._replicate.lease / _LOOKS)  # the events may pause for days

    # ---- promotion ----------------------------------------------------------------------------

    def promote(self) -> Opening[EventStore[StateT]]:
        """Make this machine the writer, and give the store, open for writing.

        Await the result and close the store yourself, or use `async with`.

        The standby has ended then. The old writer, if it lives, is refused by the stream from then
        on. An error or a cancellation leaves the standby following: promote again.

        Raises `ReplicationError` and its kinds, and the errors of `EventStore.open`.
        """
        return Opening(lambda: self._promoted(by_force=True))

    async def _promoted(self, *, by_force: bool) -> EventStore[StateT]:
        async with self._promotion:
            self._ensure_following()
            return await self._promoted_alone(by_force=by_force)

    async def _promoted_alone(self, *, by_force: bool) -> EventStore[StateT]:
        stopped, store = False, None
        try:
            async with self._leased(by_force=by_force) as connection:
                stopped = True
                await self._stop()
                await self._begin_timeline(connection)
                store = await EventStore.open(
                    self.path, self._copy.registry, self._config, create=False, clock=self._clock
                )
                with contextlib.suppress(ReplicationError):  # the entry runs out by itself, too
                    await (await StandbyPlaces.of(connection)).forget(self._holder.id)
        except BaseException:  # whatever became of the timeline, the stream will tell
            if store is not None:  # nobody else knows of the store, which holds the lock
                with contextlib.suppress(EventStoreError):  # logged by the store
                    await store.close()
            if stopped:
                self._start()
            raise
        return store

    @contextlib.asynccontextmanager
    async def _leased(self, *, by_force: bool) -> AsyncIterator[Connection]:
        """Give a connection, and keep the lease meanwhile."""
        connection = await connect(self.path, self._replicate)
        try:
            lease = await Lease.of(connection, self._holder)
            await lease.acquire(by_force=by_force)
            renewing = asyncio.ensure_future(lease.keep())
            try:
                yield connection
            finally:
                await end_tasks(renewing)
        finally:
            await connection.close()

    def promote_when_free(self) -> Opening[EventStore[StateT]]:
        """Wait until the writer's lease has run out, then promote. Of several standbys, one wins.

        The writer may still live, cut off from the cluster. With `acknowledge: quorum` no
        acknowledged event is lost. With `local`, the events acknowledged meanwhile
        are set aside when the writer rejoins. Cancelling while waiting leaves the standby as it is.

        Raises the errors of `promote`, and the error that ended the following.
        """
        return Opening(self._promoted_when_free)

    async def _promoted_when_free(self) -> EventStore[StateT]:
        while True:
            await asyncio.sleep(self._replicate.lease / _LOOKS)  # time alone ends a lease
            self._ensure_following()
            try:
                if await self._is_free():
                    return await self._promoted(by_force=False)
            except ReplicationUnavailableError:
                continue  # no quorum: nobody can be promoted now
            except LeaseHeldError:
                continue  # another standby was faster

    async def _is_free(self) -> bool:
        connection = await connect(self.path, self._replicate)
        try:
            lease = await Lease.of(connection, self._holder)
            return await lease.current() is None
        finally:
            await connection.close()

    async def _begin_timeline(self, connection: Connection) -> None:
        while True:
            end = await connection.ensure_stream(create=False)
            await self._copy.read(connection, end)
            manifest = await run_blocking(None, lambda: manifest_of(self.path))
            seq, entropy = self._copy.store.seq, os.urandom(4)
            try:
                if await close_gap(connection, manifest, seq):
                    continue
            except (FencedError, WrongSequenceError):
                continue  # another machine came in between
            timelines = next_timeline(manifest.timelines, seq, entropy)
            history = msgspec.structs.replace(History.of(manifest), timelines=timelines)
            checksum = self._copy.store.cursor.checksum
            message = history_message(
                self._replicate.stream, history, timelines[-1], seq, checksum or 0
            )
            try:
                await connection.publish(message, end)
            except WrongSequenceError:
                continue  # the old writer came in between
            break
        await self._copy.hand_over(history)

    def _start(self) -> None:
        self._closed = False
        self._following = asyncio.create_task(self._follow(self._following))

    async def _stop(self) -> None:
        self._closed = True
        following = self._following
        if following is not None:
            await end_tasks(following)
        self._copy.changed.set()

    async def close(self) -> None:
        """Stop following and close the store. Closing twice is harmless."""
        await self._stop()
        await self._copy.close()
