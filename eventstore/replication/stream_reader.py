"""The messages of a stream, in order and without a gap, from any place on.

Theory of operation
-------------------
Reading begins right before the message that has the last known event, or with the first message.
History messages behind the event are read, too, even where the event itself is gone from the
stream.

An ordered consumer of the cluster pushes the messages. A hole in the numbers ends the reading with
an error, and a new connection begins behind the last message. Numbers that the stream has lost
(a purge) are passed over: whether events are missing, the numbers of the events tell. So are void
records (`messages.py`): the last history of the stream, and each one read, tell which are void.
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
from eventstore.replication.searching import find_message

__all__ = ["Message", "StreamReader"]

_SILENCE = 1.0
"""Seconds without a message after which the stream is asked for its last one."""
_HEARTBEAT = 1.0


class Message(NamedTuple):
    """A message of the stream. `content` is `None` for a void record, and for a part of a record.

    `end` is the place behind the message. `pending` is the number of messages behind this one, as
    of the sending.
    """

    end: StreamEnd
    content: History | Record | None
    pending: int


class StreamReader:
    """Reads the stream of a connection from event `seq` on, for 0 from the beginning."""

    def __init__(self, connection: Connection, seq: int) -> None:
        self._connection = connection
        self._seq = seq
        self._read: StreamEnd | None = None  # the place behind the last message

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
        newest = await known_history(connection)
        assembler: RecordAssembler | None = None
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
            number = first - 1
            before: StreamEnd | None = None  # of the last message that counts
            try:
                while True:
                    found = await self._next(subscription, number)
                    if found is None:
                        continue
                    seen, number = number, found.metadata.sequence.stream
                    self._read = end = connection.end_of(found.headers, number)
                    if assembler is None:
                        assembler = RecordAssembler(end.store)
                    content = self._content(found, end, assembler)
                    if isinstance(content, History):
                        newest, before = later_history(content, newest), end
                    elif _is_void(end, newest, before if number == seen + 1 else None):
                        content = None
                    else:
                        before = end
                    yield Message(end, content, found.metadata.num_pending)
                    if stop is not None and number >= stop:
                        return
            finally:
                await subscription.unsubscribe()

    async def _next(self, subscription: JetStreamContext.PushSubscription, seen: int) -> Msg | None:
        """Return the message behind `seen`, `None` where the stream has none yet.

        A consumer can vanish in silence, with the server. So after a silence the stream is asked
        for the last message.
        """
        with contextlib.suppress(nats.errors.TimeoutError):
            return await subscription.next_msg(timeout=_SILENCE)
        connection = self._connection
        found = await connection.last()
        last = 0 if found is None else found.seq or 0
        if last > seen and subscription.pending_msgs == 0:
            raise connection.error(
                ReplicationUnavailableError, "the cluster sends nothing, though there is more"
            )
        if self._read is None or last > seen:
            return None
        if found is None or last < seen or connection.end_of(found.headers, last) != self._read:
            raise connection.error(
                ReplicationUnavailableError, "the stream was deleted, or purged by hand"
            )
        return None

    def _content(
        self, found: Msg, end: StreamEnd, assembler: RecordAssembler
    ) -> History | Record | None:
        try:
            if found.subject == history_subject(self._connection.config.stream):
                return History.decode(found.data)
            record = assembler.add(found.headers, found.data)
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
        return await self._connection.last_number() + 1 if found is None else found.begin


def _is_void(end: StreamEnd, newest: History | None, before: StreamEnd | None) -> bool:
    """Tell whether a record counts for nothing (`messages.py`).

    `before` is the place that the record stands right behind, without a number between.
    """
    if newest is not None and end.is_void(newest.timelines):
        return True
    return before is not None and not end.connects(before)
