"""The copy that a standby keeps: what comes over the stream goes into a store of its own.

Theory of operation
-------------------
Messages are taken over in order. A record that the store has already is passed over, and a record
behind a gap is refused. A history message tells of a timeline. The timelines go into `store.json`
before the first event of the new timeline is written, and the store is opened anew with them. A
store with events that the new timeline leaves out is refused: it was written elsewhere.

After a lost connection, reading begins with the last event that is durable here. So it does after
a full disk, too: a warning stands until an event is durable again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import msgspec

from eventstore.blocking_calls import run_blocking
from eventstore.clock import SystemClock
from eventstore.config import StoreConfig
from eventstore.cursor import checksum_at
from eventstore.errors import (
    EventStoreError,
    ReplicationError,
    StoreFullError,
    StreamMismatchError,
)
from eventstore.model.operation import Receipt
from eventstore.model.registry import HandlerRegistry
from eventstore.open_store.parts import recover_parts
from eventstore.operator_log import operator_log
from eventstore.replication.connection import Connection
from eventstore.replication.foreign_messages import tell_foreign
from eventstore.replication.history_bucket import known_history
from eventstore.replication.messages import History, Record, StreamEnd
from eventstore.replication.replica_directory import adopt_history
from eventstore.replication.standby_store import CopyStore
from eventstore.replication.stream_reader import StreamReader

__all__ = ["StreamCopy"]

_logger = operator_log("eventstore.replication")

_FULL = "standby-disk"
_UNSETTLED = 256
"""Records on the way to this machine's disk at most."""

StateT = TypeVar("StateT")


class StreamCopy(Generic[StateT]):
    """The store of a standby, and its place in the stream.

    Attributes:
        store: The store. A new timeline replaces the object.
        behind: Messages of the stream that are not taken over, as the cluster told last.
        level_at: The monotonic time when nothing was behind, in seconds.
        changed: Set whenever events became durable here.
    """

    def __init__(
        self,
        path: str,
        registry: HandlerRegistry[StateT],
        config: StoreConfig,
        store: CopyStore[StateT],
    ) -> None:
        self.path = path
        self.registry = registry
        self.store: CopyStore[StateT] = store
        self.behind: int = 0
        self.level_at: float = time.monotonic()
        self.changed: asyncio.Event = asyncio.Event()
        self._config = config
        self._closed = False
        self._adopting: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<StreamCopy {self.path!r} up to event {self.store.seq}, {self.behind} behind>"

    @classmethod
    async def open(
        cls, path: str, registry: HandlerRegistry[StateT], config: StoreConfig
    ) -> StreamCopy[StateT]:
        """Open the store in directory `path`. Raises the errors of `EventStore.open`."""
        return cls(path, registry, config, await _open_store(path, registry, config))

    async def close(self) -> None:
        """Close the store, once a change of the timeline under way has ended."""
        await self._settled()
        self._closed = True
        await self.store.close()

    async def hand_over(self, history: History) -> None:
        """Close the store, and give it the timelines of a promotion, for a writer to open.

        Cancelling cancels the waiting. Reading opens the store again.
        """
        await self._change(self._close_with(history))

    async def _change(self, change: Coroutine[Any, Any, None]) -> None:
        """Make a change of the store, to the end even where nobody waits any more."""
        await self._settled()
        self._adopting = asyncio.ensure_future(change)
        await asyncio.shield(self._adopting)

    async def _settled(self) -> None:
        """Wait for the end of a change under way."""
        if self._adopting is not None:
            await asyncio.wait([self._adopting])

    async def read(self, connection: Connection, stop: int | None = None) -> None:
        """Take over the messages of the stream, up to message `stop` or without an end.

        Cancelling leaves the copy at a place to go on from.

        Raises `StreamMismatchError` for a gap or another history,
        `ReplicationUnavailableError`, and `StoreFullError`: read again once there is room.
        """
        receipts: list[Receipt] = []
        try:
            await self._settled()
            if self._closed:  # a promotion came to nothing, or the disk was full
                await self._change(self._open_again())
            try:
                await self._read(
                    connection, StreamReader(connection, self.store.seq), stop, receipts
                )
            finally:  # what came before an error, or before a cancellation, is taken over
                await _settle(receipts)
        except StoreFullError as error:
            text = f"the standby waits for room on its disk: {error}"
            self.store.log.warnings.begin(_FULL, text, _logger)
            raise

    async def _read(
        self,
        connection: Connection,
        reader: StreamReader,
        stop: int | None,
        receipts: list[Receipt],
    ) -> None:
        async with contextlib.aclosing(reader.messages(stop)) as messages:
            async for message in messages:
                self.behind = message.pending
                content = message.content
                if isinstance(content, History):
                    await _settle(receipts)
                    await self._adopt(connection, content, message.end.last)
                elif content is not None:
                    if not self._knows(message.end):
                        await _settle(receipts)
                        await self._adopt_missing(connection, message.end)
                    receipts += await self._take(connection, content)
                if not message.pending or len(receipts) >= _UNSETTLED:
                    await _settle(receipts)
                    self.store.log.warnings.end(_FULL, "the standby goes on")
                    tell_foreign(connection, self.store.log.warnings)
                    if not message.pending:
                        self.level_at = time.monotonic()
                    self.changed.set()

    async def _take(self, connection: Connection, record: Record) -> list[Receipt]:
        """Queue what is new in a record. Returns the receipt, if there is one."""
        have = self.store.head_seq
        if record.first_seq <= have <= record.last_seq:
            self._compare(connection, record)
        new = record.behind(have)
        if new is None:
            return []
        if new.first_seq > have + 1:
            raise connection.error(
                StreamMismatchError,
                f"the stream goes on with event {record.first_seq}, and this standby ends with "
                f"event {have}: the events between are gone from the stream. Move the directory "
                "away, and begin the standby anew: from the copy in the cluster, or with a backup",
            )
        return [await self.store.copy(new)]

    def _compare(self, connection: Connection, record: Record) -> None:
        """Compare the last event here with the same one of the stream.

        Raises `StreamMismatchError` where the events differ.
        """
        last = self.store.cursor
        if last.seq != self.store.head_seq:
            return  # what is being written came from the stream
        theirs = checksum_at(record.chunk.array, last.seq - record.first_seq)
        if last.checksum not in (None, theirs):
            reason = (
                f"event {last.seq} of the stream is another one than here: this store was written "
                "elsewhere. Move the directory away, and begin the standby anew"
            )
            raise self._forked(connection, reason, 0, record.last_seq)

    async def _adopt(self, connection: Connection, history: History, last: int) -> None:
        """Take over the timelines of a history message."""
        ours = self.store.log.lineage
        if history.store != ours.store:
            raise connection.error(
                StreamMismatchError,
                f"the stream is of the store {history.store}, and this is the store {ours.store}",
            )
        theirs = {(one.number, one.id) for one in history.timelines}
        kept = history.timelines[0].number  # of a long history, the oldest timelines are gone
        known = {(one.number, one.id) for one in ours.timelines if one.number >= kept}
        oldest = ours.timelines[0].number
        later = [one for one in history.timelines if one.number >= oldest]
        new = next((one for one in later if (one.number, one.id) not in known), None)
        if new is None:
            return  # an older message
        if not known <= theirs or new.left_at < self.store.seq:
            reason = (
                f"timeline {new.number} of the stream begins behind event {new.left_at}, and this "
                f"store goes on to event {self.store.seq} in another one. Next: eventstore "
                f"replication rejoin {self.path}"
            )
            raise self._forked(connection, reason, new.left_at, last)
        await self._change(self._reopen(history))

    def _knows(self, end: StreamEnd) -> bool:
        """Return whether the store has the timeline of a message."""
        theirs = (end.timeline, end.timeline_id)
        timelines = self.store.log.lineage.timelines
        return any((one.number, one.id) == theirs for one in reversed(timelines))

    async def _adopt_missing(self, connection: Connection, end: StreamEnd) -> None:
        """Take over a timeline whose history message somebody removed, from a later one."""
        found = await known_history(connection)
        if found is not None:
            begun = tuple(one for one in found.timelines if one.number <= end.timeline)
            await self._adopt(connection, msgspec.structs.replace(found, timelines=begun), end.last)
        if not self._knows(end):
            raise connection.error(
                StreamMismatchError,
                f"the stream goes on in timeline {end.timeline}, and somebody removed its history "
                "message. The writer sends the message again at the next opening: restart the "
                "writer, then the standby",
            )

    async def _reopen(self, history: History) -> None:
        await self._close_with(history)
        await self._open_again()

    async def _close_with(self, history: History) -> None:
        self._closed = True
        await self.store.close()
        await run_blocking(None, lambda: adopt_history(self.path, history))

    async def _open_again(self) -> None:
        self.store = await _open_store(self.path, self.registry, self._config)
        self._closed = False

    def _forked(
        self, connection: Connection, reason: str, shared: int, last: int
    ) -> ReplicationError:
        error = connection.error(StreamMismatchError, reason)
        assert isinstance(error, StreamMismatchError)
        error.last_shared, error.last = shared, last
        return error


async def _settle(receipts: list[Receipt]) -> None:
    """Wait until every record that was taken over is durable. Raises the first refusal."""
    refusal: EventStoreError | None = None
    while receipts:
        try:
            await receipts[0]
        except EventStoreError as error:  # every later record was refused with it
            refusal = refusal or error
        del receipts[0]
    if refusal is not None:
        raise refusal


async def _open_store(
    path: str, registry: HandlerRegistry[StateT], config: StoreConfig
) -> CopyStore[StateT]:
    clock = SystemClock()
    settings = msgspec.structs.replace(config, replicate=None)
    parts = await recover_parts(
        path, None, registry, lambda: settings, clock, read_only=False, create=False, follows=True
    )
    return CopyStore(registry, clock, parts)
