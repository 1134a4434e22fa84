"""The messages of a stream, in order and without a gap, from any place on.

Theory of operation
-------------------
Reading begins behind a message whose number is known, or else at the first message. A reader that
knows only its last event searches by bisection for the last message up to that event, since the
numbers of events grow with the numbers of messages.

An ordered consumer of the cluster pushes the messages. A hole in the numbers ends the reading with
an error, and a new connection begins behind the last message. Numbers that the stream has lost
(a purge) are passed over: whether events are missing, the numbers of the events tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from eventstore.errors import ReplicationUnavailableError, StreamMismatchError
from eventstore.replication.connection import Connection
from eventstore.replication.messages import (
    History,
    MessageError,
    Record,
    RecordAssembler,
    StreamEnd,
    history_subject,
)

__all__ = ["Message", "StreamReader"]

_SILENCE = 1.0
"""Seconds without a message after which the stream is asked for its last one."""
_HEARTBEAT = 1.0


class Message(NamedTuple):
    """A message of the stream. `content` is `None` for a part that completes no record.

    `number` counts messages, `last` is the last event up to there. `pending` is the number of
    messages behind this one, as of the sending.
    """

    number: int
    last: int
    content: History | Record | None
    pending: int


class StreamReader:
    """Reads the stream of a connection behind message `after`, and behind event `seq` if 0."""

    def __init__(self, connection: Connection, after: int, seq: int) -> None:
        self._connection = connection
        self._after = after
        self._seq = seq

    def __repr__(self) -> str:
        return f"<StreamReader of {self._connection!r} behind message {self._after}>"

    async def messages(self, stop: int | None = None) -> AsyncGenerator[Message, None]:
        """Yield messages up to number `stop`, or without an end.

        Raises `ReplicationUnavailableError`, and `StreamMismatchError` for a message of another
        store or a damaged one.
        """
        connection, name = self._connection, self._connection.config.stream
        first = (self._after or await self._search()) + 1
        if stop is not None and first > stop:
            return
        assembler: RecordAssembler | None = None
        async with connection.translating("reading the stream"):
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
            try:
                while True:
                    found = await self._next(subscription, number)
                    if found is None:
                        continue
                    number = found.metadata.sequence.stream
                    end = self._end_of(found.headers, number)
                    if assembler is None:
                        assembler = RecordAssembler(end.store)
                    content = self._content(found, number, assembler)
                    yield Message(number, end.last, content, found.metadata.num_pending)
                    if stop is not None and number >= stop:
                        return
            finally:
                await subscription.unsubscribe()

    async def _next(self, subscription: JetStreamContext.PushSubscription, seen: int) -> Msg | None:
        """Return the message behind `seen`, `None` where the stream has none yet.

        A consumer can vanish in silence, with its server. So after a silence the stream is asked
        for its last message.
        """
        with contextlib.suppress(nats.errors.TimeoutError):
            return await subscription.next_msg(timeout=_SILENCE)
        connection = self._connection
        if await connection.last_number() > seen and subscription.pending_msgs == 0:
            raise connection.error(
                ReplicationUnavailableError, "the cluster sends nothing, though there is more"
            )
        return None

    def _end_of(self, headers: dict[str, str] | None, number: int) -> StreamEnd:
        try:
            return StreamEnd.of(headers)
        except MessageError as error:
            raise self._damaged(number, error) from error

    def _content(
        self, found: Msg, number: int, assembler: RecordAssembler
    ) -> History | Record | None:
        try:
            if found.subject == history_subject(self._connection.config.stream):
                return History.decode(found.data)
            return assembler.add(found.headers, found.data)
        except MessageError as error:
            raise self._damaged(number, error) from error

    def _damaged(self, number: int, error: MessageError) -> StreamMismatchError:
        reason = f"message {number} of the stream was not written by a store: {error}"
        found = self._connection.error(StreamMismatchError, reason)
        assert isinstance(found, StreamMismatchError)
        return found

    async def _search(self) -> int:
        """Return the number of a message up to event `seq`, 0 where there is none.

        Every message behind the found one may be needed.
        """
        connection = self._connection
        async with connection.translating("searching the stream"):
            state = (await connection.stream.stream_info(connection.config.stream)).state
            low, high = state.first_seq - 1, state.last_seq
            while self._seq and low < high:
                middle = (low + high + 1) // 2
                try:
                    found = await connection.stream.get_msg(connection.config.stream, seq=middle)
                except nats.js.errors.NotFoundError:  # deleted by hand
                    high = middle - 1
                    continue
                if self._end_of(found.headers, middle).last <= self._seq:
                    low = middle
                else:
                    high = middle - 1
        # History messages behind the same event, and the parts of a record, are read again.
        return max(0, low - 1) if self._seq else 0
