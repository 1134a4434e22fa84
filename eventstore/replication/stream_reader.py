"""The messages of a stream, in order and without a gap, from any place on.

Theory of operation
-------------------
Reading begins right before the message that has the last known event, or with the first message.
History messages behind the event are read, too, even where the event itself is gone from the
stream.

An ordered consumer of the cluster pushes the messages. A hole in the numbers ends the reading with
an error, and a new connection begins behind the last message. Numbers that the stream has lost
(a purge) are passed over: whether events are missing, the numbers of the events tell. So are
foreign messages and void records (`messages.py`): the last history of the stream, and each one
read, tell which are void.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from eventstore.errors import ReplicationUnavailableError
from eventstore.replication.connection import Connection
from eventstore.replication.history_bucket import known_history, later_history
from eventstore.replication.messages import (
    History,
    MessageError,
    Record,
    RecordAssembler,
    StreamEnd,
    history_subject,
)
from eventstore.replication.searching import find_message, own_message

__all__ = ["Message", "StreamReader"]

_SILENCE = 1.0
"""Seconds without a message after which the stream is asked for its last one."""
_HEARTBEAT = 1.0


class Message(NamedTuple):
    """A message of the stream.

    `content` is `None` for a void record, a foreign message, and a part of a record. `end` is the
    place behind the message, or behind the one before a foreign message. `pending` is the number of
    messages behind this one, as of the sending.
    """

    end: StreamEnd
    content: History | Record | None
    pending: int


class StreamReader:
    """Reads the stream of a connection from event `seq` on, for 0 from the beginning."""

    def __init__(self, connection: Connection, seq: int) -> None:
        self._connection = connection
        self._seq = seq
        self._number = 0  # of the last message
        self._read: StreamEnd | None = None  # the place behind the last message of a store
        # The place that the next message stands right behind, by the last one that counts.
        self._before: StreamEnd | None = None
        self._newest: History | None = None
        self._assembler: RecordAssembler | None = None

    def __repr__(self) -> str:
        return f"<StreamReader of {self._connection!r} from event {self._seq}>"

    async def messages(self, stop: int | None = None) -> AsyncGenerator[Message, None]:
        """Yield messages up to number `stop`, or without an end.

        Raises `ReplicationUnavailableError`, and `StreamMismatchError` for a message of another
        store or a damaged one.
        """
        connection, name = self._connection, self._connection.config.stream
        first = await self._first()
        if stop is not None:
            stop = min(stop, await connection.last_message())
            if first > stop:
                return
        self._newest = await known_history(connection)
        with connection.translating("reading the stream"):
            subscription = await connection.stream.subscribe(
                "",
                stream=name,
                ordered_consumer=True,
                config=ConsumerConfig(
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first
                ),
                idle_heartbeat=_HEARTBEAT,
            )
            self._number = first - 1
            try:
                while stop is None or self._number < stop:
                    found = await self._next(subscription)
                    message = None if found is None else self._message(found)
                    if message is not None:
                        yield message
            finally:
                await subscription.unsubscribe()

    def _message(self, found: Msg) -> Message | None:
        """Take the next message, `None` for a foreign one before any other."""
        seen, self._number = self._number, found.metadata.sequence.stream
        if self._number != seen + 1:
            self._before = None
        pending, end = (
            found.metadata.num_pending,
            self._connection.end_of(found.headers, self._number),
        )
        if end is None:
            return None if self._read is None else Message(self._read, None, pending)
        self._read = end
        content = self._content(found, end)
        if isinstance(content, History):
            self._newest, self._before = later_history(content, self._newest), end
        elif self._is_void(end):
            content = None
        else:
            self._before = end
        return Message(end, content, pending)

    async def _next(self, subscription: JetStreamContext.PushSubscription) -> Msg | None:
        """Return the message behind the last one, `None` where the stream has none yet.

        A consumer can vanish in silence, with the server. So after a silence the stream is asked
        for the last message.
        """
        with contextlib.suppress(nats.errors.TimeoutError):
            return await subscription.next_msg(timeout=_SILENCE)
        connection, seen = self._connection, self._number
        found = await connection.last()
        last = 0 if found is None else found.seq or 0
        if last > seen and subscription.pending_msgs == 0:
            raise connection.error(
                ReplicationUnavailableError, "the cluster sends nothing, though there is more"
            )
        if self._read is None or last > seen:
            return None
        end = None if found is None else connection.end_of(found.headers, last)
        if last < seen or end not in (None, self._read):
            raise connection.error(
                ReplicationUnavailableError, "the stream was deleted, or purged by hand"
            )
        return None

    def _content(self, found: Msg, end: StreamEnd) -> History | Record | None:
        if self._assembler is None:
            self._assembler = RecordAssembler(end.store)
        try:
            if found.subject == history_subject(self._connection.config.stream):
                return History.decode(found.data)
            record = self._assembler.add(found.headers, found.data)
            if record is not None and (record.first_seq, record.last_seq) != (end.first, end.last):
                raise MessageError(
                    f"the headers name the events {end.first} to {end.last}, and the record has "
                    f"the events {record.first_seq} to {record.last_seq}"
                )
        except MessageError as error:
            raise self._connection.damaged(found.metadata.sequence.stream, error) from error
        return record

    async def _first(self) -> int:
        """Return the number of the first message to read, by the last known event.

        The record of the event is read again, for a comparison, and the message before the record,
        which tells whether the record is void.
        """
        if not self._seq:
            return 1
        found = await find_message(self._connection, lambda end: end.last >= self._seq)
        if found is None:
            return await self._connection.last_number() + 1
        return await own_message(self._connection, found.begin)

    def _is_void(self, end: StreamEnd) -> bool:
        """Tell whether a record counts for nothing (`messages.py`)."""
        if self._newest is not None and end.is_void(self._newest.timelines):
            return True
        return self._before is not None and not end.connects(self._before)
