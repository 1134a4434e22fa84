"""The replica of a log: a thread that sends the writer's records to the cluster.

Theory of operation
-------------------
The thread `eventstore-replication` runs an event loop of its own, so the engine's loop never waits
for a socket. The loop connects, takes the lease, finds out where the stream ends (`shipping.py`),
and sends. After any doubt it begins anew with a new connection.

With `acknowledge: local`, the writer's thread only hands records over. With `acknowledge: quorum`,
the writer's thread waits in `synced` until the cluster has the events, and runs the loop meanwhile
(`lent_loop.py`): so an append costs no more changes of threads than without replication. The commit
in hand is then not over: no state is published and no receipt is resolved. `commit_timeout` bounds
the waiting of the engine as with a slow disk, and the commit goes on. Only closing the store gives
the waiting up.

*Fencing.* Once the stream belongs to another machine, nothing is sent any more. The commit in hand
and every later one raise `FencedError`. The store is then read-only.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from eventstore.blocking_calls import is_given_up
from eventstore.disk.base import Disk
from eventstore.disk.layout import REPLICA
from eventstore.disk.manifest import Manifest
from eventstore.error_base import fresh_error
from eventstore.errors import (
    EventStoreError,
    FencedError,
    QuorumLostError,
    ReplicationError,
    ReplicationUnavailableError,
    StoreFailedError,
    StreamMismatchError,
)
from eventstore.log.reader import LogReader
from eventstore.log.replica_interface import Lag
from eventstore.operator_log import operator_log
from eventstore.os_errors import recovery_write_error
from eventstore.replication.backlog import Backlog
from eventstore.replication.client_errors import may_pass
from eventstore.replication.connecting import connect
from eventstore.replication.connection import Connection, connection_error
from eventstore.replication.foreign_messages import tell_foreign
from eventstore.replication.fork_point import checksums_of
from eventstore.replication.history_bucket import keep_history
from eventstore.replication.identity import identity_of, note_writing
from eventstore.replication.lease import Lease, holder_of
from eventstore.replication.lent_loop import LentLoop
from eventstore.replication.messages import History
from eventstore.replication.pipeline import WrongSequenceError
from eventstore.replication.retention import keep_small
from eventstore.replication.server_fsync import watch_syncs
from eventstore.replication.shipping import WINDOW, Shipping
from eventstore.replication.tail_mending import mend
from eventstore.replication_config import ReplicationConfig
from eventstore.standing_warnings import StandingWarnings
from eventstore.timelines import Timeline

__all__ = ["Shipper"]

_logger = operator_log("eventstore.replication")

OPENING_SECONDS = 10.0
"""How long an opening waits for the cluster at most, and with `quorum` for the next event of those
that the stream lacks."""
CLOSING_SECONDS = 2.0
"""How long a closing waits for the last events at most."""
RELEASE_SECONDS = 1.0
"""How long a closing waits at most until the lease is given back."""
_LOOK = 0.2
"""Seconds between two looks of an opening whether anybody still waits for it."""
_CANCEL_AGAIN = 0.2
"""Seconds between two cancellations of the shipping thread's work."""
_RETRY = 0.25
"""Seconds between two attempts to connect."""
_FAULT_RETRY = 5.0
"""Seconds until the next attempt after a fault of this package, or of the client library."""
_NOBODY_WAITS = 1 << 63


class Shipper:
    """The copying of one store to its stream: see `eventstore.log.replica_interface.Replica`."""

    def __init__(
        self, disk: Disk, manifest: Manifest, config: ReplicationConfig, last_seq: int
    ) -> None:
        self.warnings = StandingWarnings(disk.path)
        self._path = disk.path
        self._disk = disk
        self._config = config
        self._history = History.of(manifest)
        reader = LogReader(disk, manifest.store)
        self._checksum = checksums_of(reader)
        self._quorum = self.sends_beside_sync = config.acknowledge == "quorum"
        self._backlog = Backlog(reader.chunks, last_seq, self._rouse)
        self.written = self._backlog.add
        try:
            self._identity = identity_of(disk)
        except OSError as error:
            raise recovery_write_error(error, f"{disk.path}/{REPLICA}") from error
        self._changed = threading.Condition()
        self._acknowledged = -1  # the last event in the stream; -1 before the first connection
        self.failure: StoreFailedError | None = None
        self._refused: EventStoreError | None = None  # why the first connection came to nothing
        self._trouble: EventStoreError | None = None  # the last one, which may have passed
        self._give_up_at = float("inf")  # the time, by the monotonic clock, from a closing on
        self._closed = False
        self._begun = False  # whether the store is open before a first connection
        self._shipping: Shipping | None = None
        self._lent = LentLoop("eventstore-replication")
        self._awaited = _NOBODY_WAITS  # the event that the writer's thread waits for

    def __repr__(self) -> str:
        return f"<Shipper of {self._path} to {self._config.shown}, {self.lag.events} events behind>"

    @classmethod
    def begin(
        cls, disk: Disk, manifest: Manifest, config: ReplicationConfig, last_seq: int
    ) -> Shipper:
        """Begin to copy, and wait for the first word of the cluster, with `quorum` for the lag.

        An absent cluster is no error with `acknowledge: local`. A warning stands instead. Waiting
        for the lag has no limit while the cluster takes events.
        Raises `ReplicationError` and its kinds, and `FencedError`.
        """
        shipper = cls(disk, manifest, config, last_seq)
        shipper._lent.begin(shipper._keep_shipping())
        try:
            shipper._wait_for_beginning(last_seq)
        except BaseException:
            shipper._give_up_at = time.monotonic()
            shipper.close()
            raise
        return shipper

    def _wait_for_beginning(self, last_seq: int) -> None:
        wanted = last_seq if self._config.acknowledge == "quorum" else 0

        def begun() -> bool:
            return self._acknowledged >= wanted or self._failed() or self._refused is not None

        with self._changed:
            self._wait_while_taken(begun, last_seq)
            if self.failure is not None:
                raise fresh_error(self.failure)
            refused = self._refused
            if self._acknowledged >= wanted:
                return
            if isinstance(refused, ReplicationUnavailableError) or refused is None:
                if self._config.acknowledge == "local":
                    self._begun = True
                    return
                raise refused or self._trouble or self._silent_error(last_seq)
            raise refused

    def _wait_while_taken(self, begun: Callable[[], bool], last_seq: int) -> None:
        """Wait until an opening has `begun`, or the cluster took no event for `OPENING_SECONDS`."""
        reached, reached_at = -1, time.monotonic()
        told_at = reached_at
        while not begun():
            self._changed.wait(_LOOK)
            now = time.monotonic()
            if self._acknowledged > reached:
                reached, reached_at = self._acknowledged, now
                self._trouble = None
            if is_given_up() or now - reached_at > OPENING_SECONDS:
                return
            if now - told_at > OPENING_SECONDS:
                told_at = now
                _logger.warning(
                    "%s: the store opens once the cluster has event %d, and has event %d by now",
                    self._path,
                    last_seq,
                    reached,
                )

    def _silent_error(self, last_seq: int) -> ReplicationError:
        missing = f"{max(self._acknowledged, 0) + 1} to {last_seq}"
        reason = f"the cluster took none of the events {missing} within {OPENING_SECONDS:g} s"
        return connection_error(ReplicationUnavailableError, self._path, self._config, reason)

    def _failed(self) -> bool:
        return self.failure is not None

    # ---- the writer's thread ---------------------------------------------------------------

    @property
    def lag(self) -> Lag:
        """The durable events that the stream does not have, from any thread."""
        return self._backlog.lag

    def send(self, seq: int) -> None:
        backlog = self._backlog
        if seq > backlog.sendable:
            backlog.sendable = seq
            if self._shipping is not None:
                self._lent.set_off(self._go_on)

    def synced(self, seq: int) -> None:
        if self._quorum:
            self._wait_for_quorum(seq)
            return
        backlog = self._backlog
        backlog.sendable = seq
        if backlog.idle:
            backlog.rouse()

    def _wait_for_quorum(self, seq: int) -> None:
        def over() -> bool:
            return (
                self._acknowledged >= seq
                or self.failure is not None
                or time.monotonic() >= self._give_up_at
            )

        self._awaited = seq
        try:
            self._lent.run_until(over, self._go_on, lambda: self._give_up_at)
        finally:
            self._awaited = _NOBODY_WAITS
        if self._acknowledged < seq and self.failure is None:
            self.failure = QuorumLostError(
                f"{self._path}: the store was closed before a quorum of the cluster had "
                f"the events {max(self._acknowledged, 0) + 1} to {seq}: their outcome is "
                "unknown. They are on this disk, and are sent at the next opening",
                path=self._path,
            )
        if self.failure is not None:
            raise fresh_error(self.failure)

    def stop(self) -> None:
        with self._changed:
            self._give_up_at = min(self._give_up_at, time.monotonic() + CLOSING_SECONDS)
            self._changed.notify_all()
        self._lent.call(self._lent.loop.stop)  # a borrower looks at the time

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.stop()
        with self._changed:
            left = max(0.0, self._give_up_at - time.monotonic())
            if self._acknowledged >= 0 and self.failure is None:
                self._changed.wait_for(self._all_sent, left)
        while self._lent.alive:  # one cancellation is not always enough: see `end_tasks`
            self._lent.cancel_and_join(_CANCEL_AGAIN)

    def _all_sent(self) -> bool:
        return self._acknowledged >= self._backlog.sendable or self._failed()

    # ---- the shipping thread ---------------------------------------------------------------

    def _rouse(self) -> None:
        self._lent.call(self._go_on)

    def _go_on(self) -> None:
        if self._shipping is not None:
            self._shipping.go_on()

    async def _keep_shipping(self) -> None:
        while True:
            pause = _RETRY
            try:
                await self._ship_once()
            except (ReplicationUnavailableError, WrongSequenceError) as error:
                self._tell_away(error)
            except FencedError as error:
                self._fail(error)
                return
            except ReplicationError as error:
                differs = isinstance(error, StreamMismatchError) and not error.other_settings
                if self._acknowledged < 0 or differs:
                    self._give_up(error)
                    return
                self._tell_away(error)  # what was good may be mended: credentials, settings
            except EventStoreError as error:
                self._give_up(error)
                return
            except Exception as error:  # whatever it is, the engine goes on
                _logger.exception("%s: replication begins anew", self._path)
                reason = f"{type(error).__name__}: {error}"
                self._tell_away(
                    connection_error(ReplicationUnavailableError, self._path, self._config, reason)
                )
                pause = _FAULT_RETRY
            await asyncio.sleep(pause)  # nobody tells of a returning cluster

    async def _ship_once(self) -> None:
        connection = await connect(self._path, self._config)
        try:
            await self._ship(connection)
        finally:
            self._shipping = None
            await asyncio.shield(connection.close())

    def _give_up(self, error: EventStoreError) -> None:
        self._refuse(error)
        if self._begun and self._acknowledged < 0:
            text = f"nothing is copied to the cluster until the store is opened again: {error}"
            self.warnings.begin("replication-refused", text, _logger)
        if self._acknowledged >= 0:
            text = f"{self._path}: replication has ended: {error}"
            self._fail(StoreFailedError(text, path=self._path))

    async def _ship(self, connection: Connection) -> None:
        """Ship over one connection until something is in doubt."""
        shipping = Shipping(
            connection, self._history, self._backlog, self._checksum, self._take_stored
        )
        await shipping.position()  # first, as it names the settings that differ
        lease = await Lease.of(connection, holder_of(self._identity))
        await lease.acquire()
        try:
            await mend(connection, WINDOW, self._backlog.sendable)
            end = await shipping.position()  # nobody else had the lease since
            tell_foreign(connection, self.warnings)
            timeline = self._history.timelines[-1]
            shipping.ensure_level(end, adopts=self._identity.writes_timeline(timeline))
        except (FencedError, StreamMismatchError) as error:
            if isinstance(error, FencedError) or not error.ahead:  # else the opening goes on
                await lease.release()
            raise
        await asyncio.to_thread(self._note_writing, timeline)
        await shipping.tell_history()
        await self._keep_history(connection)
        self._backlog.sent(end)
        self._note_acknowledged(end)
        if end >= self._backlog.sendable:  # else a full stream may refuse the next event again
            self._tell_back()
        self._shipping = shipping
        warnings = self.warnings
        beside = keep_small(connection, warnings), watch_syncs(self._config, warnings)
        try:
            keeping = lease.keep(), connection.watch_settings()
            await connection.first_ended(shipping.run(), *keeping, *beside)
        finally:
            if self._closed:
                await lease.release_within(RELEASE_SECONDS)

    def _note_writing(self, timeline: Timeline) -> None:
        if not self._identity.writes_timeline(timeline):
            try:
                self._identity = note_writing(self._disk, self._identity, timeline)
            except OSError as error:
                raise recovery_write_error(error, f"{self._path}/{REPLICA}") from error

    async def _keep_history(self, connection: Connection) -> None:
        """Keep the history beside the stream. A cluster that refuses has a writer all the same."""
        try:
            await keep_history(connection, self._history)
        except ReplicationUnavailableError:
            raise
        except ReplicationError as error:
            text = f"a stream that is purged would fence nobody: {error}"
            self.warnings.begin("replication-history", text, _logger)
        else:
            self.warnings.end("replication-history", "the history is kept beside the stream")

    def _take_stored(self, seq: int) -> None:
        self._note_acknowledged(seq)
        self._tell_back()

    def _tell_back(self) -> None:
        self.warnings.end("replication", "the cluster takes events again")

    def _note_acknowledged(self, seq: int) -> None:
        with self._changed:
            self._acknowledged = max(self._acknowledged, seq)
            self._changed.notify_all()
        if seq >= self._awaited:
            self._lent.loop.stop()

    def _tell_away(self, error: Exception) -> None:
        text = f"the cluster has not the last events: {error}"
        self.warnings.begin("replication", text, _logger)
        if isinstance(error, EventStoreError):
            self._trouble = error
            waits = self._acknowledged >= 0 or may_pass(error)
            if not self._quorum or not waits:
                self._refuse(error)

    def _refuse(self, error: EventStoreError) -> None:
        with self._changed:
            self._refused = error
            self._changed.notify_all()

    def _fail(self, error: StoreFailedError) -> None:
        _logger.critical("%s", error)
        with self._changed:
            self.failure = error
            self._changed.notify_all()
        self._lent.loop.stop()
