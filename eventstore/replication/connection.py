"""A connection to the cluster: one stream, published to with the expected sequence number.

Theory of operation
-------------------
A publisher names the expected number of the stream's last message. The leader of the stream
refuses a message with a wrong expectation. So two writers never interleave, a message sent twice is
stored once, and a writer who was away finds out with the next message.

Every error of the client library becomes an error of the package. The content of the file of
credentials never stands in a text.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamInfo

from eventstore.errors import ReplicationError, ReplicationUnavailableError, StreamMismatchError
from eventstore.replication.asking import REQUEST_SECONDS, asked
from eventstore.replication.client_errors import is_transient, meaning_of
from eventstore.replication.endings import close_client, end_tasks
from eventstore.replication.messages import (
    History,
    MessageError,
    Outgoing,
    StreamEnd,
    any_subject,
    history_subject,
    is_foreign,
    record_subject,
)
from eventstore.replication.pipeline import Answered, Pipeline
from eventstore.replication.stream_settings import differences, wanted_settings
from eventstore.replication_config import ReplicationConfig

__all__ = ["Connection", "connection_error"]

_BUCKET_RETRY = 0.05
_OTHER_SETTINGS = 10058
"""The server's code for a stream or bucket that is there, with other settings."""


class Connection:
    """One connection, and the stream of the configuration. `path` is the store's directory.

    `lost` is done once the connection is closed, by whomever. `foreign` is the number of the last
    foreign message that was met, 0 for none.
    """

    def __init__(
        self,
        path: str,
        config: ReplicationConfig,
        client: Client,
        pipeline: Pipeline,
        lost: asyncio.Future[None],
    ) -> None:
        self.path = path
        self.config = config
        self.client = client
        self.lost = lost
        self.foreign: int = 0
        self._largest = -1  # of the stream, -1 without a limit
        self._pipeline = pipeline
        self.stream: JetStreamContext = client.jetstream(timeout=REQUEST_SECONDS)

    def __repr__(self) -> str:
        return f"<Connection to {self.config.shown}, stream {self.config.stream!r}>"

    @property
    def largest(self) -> int:
        """Size in bytes of the largest message for the server and the stream."""
        server = int(self.client.max_payload)
        return server if self._largest < 0 else min(server, self._largest)

    def error(self, kind: type[ReplicationError], reason: str) -> ReplicationError:
        """Return an error about this store and cluster."""
        return connection_error(kind, self.path, self.config, reason)

    @contextlib.contextmanager
    def translating(self, doing: str) -> Iterator[None]:
        """Raise errors of this package for those of the client library."""
        try:
            yield
        except (nats.errors.Error, OSError, TimeoutError) as error:
            kind, reason = meaning_of(self.client, error)
            raise self.error(kind, f"{doing}: {reason}") from error

    @contextlib.contextmanager
    def making(self, what: str) -> Iterator[None]:
        """As `translating`, where a bucket beside the stream is made or found.

        Raises `ReplicationError` where the cluster refuses the bucket.
        """
        with self.translating(f"making {what}"):
            try:
                yield
            except nats.js.errors.APIError as error:
                if is_transient(error):
                    raise
                text = f"{what} cannot be used: {error.description}"
                if error.err_code == _OTHER_SETTINGS:
                    text += (
                        ". It was made with another replicate.lease or replicate.replicas: set "
                        "these, or stop all machines of the stream and remove it with nats kv del"
                    )
                raise self.error(ReplicationError, text) from error

    async def put(self, put: Callable[[], Awaitable[int]]) -> int:
        """Put an entry into a bucket, and return the number of the entry's message.

        A new bucket may be unknown to the server. The server refuses the message then, nothing is
        stored, and the message is sent again. Raises the errors of the client library.
        """
        end = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return await put()
            except nats.js.errors.NoStreamResponseError:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(_BUCKET_RETRY)  # nobody tells of a new bucket

    async def ensure_stream(
        self, *, create: bool = True, missing: type[ReplicationError] = ReplicationError
    ) -> int:
        """Make the stream where there is none, and check its settings. Return the last number.

        Without `create`, a missing stream is an error of the kind `missing`.

        Raises `ReplicationError` where there is no JetStream, `StreamMismatchError` for other
        settings, and `ReplicationUnavailableError`.
        """
        wanted = wanted_settings(self.config)
        with self.translating("asking for the stream"):
            try:
                info = await self._info()
            except nats.js.errors.NotFoundError:
                if not create:
                    raise self.error(
                        missing, "there is no such stream: has the writer been started?"
                    ) from None
                try:
                    info = await self.stream.add_stream(wanted)
                except nats.js.errors.APIError as error:
                    if is_transient(error):
                        raise
                    raise self.error(
                        ReplicationError, f"the stream cannot be made: {error.description}"
                    ) from error
            except nats.js.errors.APIError as error:
                if is_transient(error):
                    raise
                raise self.error(
                    ReplicationError, f"JetStream refuses: {error.description}"
                ) from error
        different = differences(info.config, wanted)
        if different:
            raise self._other_settings("; ".join(different))
        self._largest = info.config.max_msg_size or -1
        return int(info.state.last_seq)

    def _other_settings(self, different: str) -> StreamMismatchError:
        reason = (
            f"the stream has other settings: {different}. Change the stream, or the configuration"
        )
        error = self.error(StreamMismatchError, reason)
        assert isinstance(error, StreamMismatchError)
        error.other_settings = True
        return error

    async def watch_settings(self) -> None:
        """Look at the settings once in the span of a lease, without an end.

        Raises the errors of `ensure_stream`.
        """
        while True:
            await asyncio.sleep(self.config.lease)  # nobody tells of a change
            await self.ensure_stream(create=False, missing=ReplicationUnavailableError)

    async def _info(self) -> StreamInfo:
        return await asked(lambda: self.stream.stream_info(self.config.stream))

    def end_of(self, headers: dict[str, str] | None, number: int) -> StreamEnd | None:
        """Read the headers of message `number`, `None` for a foreign message.

        Raises `StreamMismatchError`.
        """
        if is_foreign(headers):
            self.foreign = max(self.foreign, number)
            return None
        try:
            return StreamEnd.of(headers)
        except MessageError as error:
            raise self.damaged(number, error) from error

    def damaged(self, number: int, error: MessageError) -> ReplicationError:
        """Return the error for a message of the stream that is none of a store's."""
        reason = (
            f"message {number} of the stream was not written by a store: {error}. To go on: nats "
            f"stream rmm {self.config.stream} {number}, and restart the writer"
        )
        return self.error(StreamMismatchError, reason)

    async def message_at(self, number: int) -> RawStreamMsg | None:
        """Return message `number`, `None` where it is gone."""
        with self.translating("searching the stream"):
            try:
                return await asked(lambda: self.stream.get_msg(self.config.stream, seq=number))
            except nats.js.errors.NotFoundError:
                return None

    async def message_from(
        self, number: int, subject: Callable[[str], str] = any_subject
    ) -> RawStreamMsg | None:
        """Return the first message of a subject at or behind a number, `None` for none."""
        name = self.config.stream
        with self.translating("searching the stream"):
            try:
                return await asked(
                    lambda: self.stream.get_msg(name, seq=number, subject=subject(name), next=True)
                )
            except nats.js.errors.NotFoundError:
                return None

    async def first_record(self) -> RawStreamMsg | None:
        """Return the first message of a record, `None` where there is none."""
        found = await self.message_from(1, record_subject)
        while found is not None and self.end_of(found.headers, found.seq or 0) is None:
            found = await self.message_from((found.seq or 0) + 1, record_subject)
        return found

    async def purge_records(self, before: int) -> None:
        """Remove the records before message `before` from the stream."""
        name = self.config.stream
        with self.translating("trimming the stream"):
            await self.stream.purge_stream(name, seq=before, subject=record_subject(name))

    async def remove(self, number: int) -> None:
        """Remove message `number` from the stream."""
        with self.translating("removing a message behind a refused one"):
            await self.stream.delete_msg(self.config.stream, number)

    async def size(self) -> int:
        """Return the bytes of the stream on one server."""
        with self.translating("asking for the stream"):
            return int((await self._info()).state.bytes)

    async def last_number(self) -> int:
        """Return the number of the last message, there or not, 0 for a new stream."""
        with self.translating("asking for the stream"):
            return int((await self._info()).state.last_seq)

    async def last_message(self) -> int:
        """Return the number of the last message that is there, 0 where there is none."""
        last = await self.last()
        return 0 if last is None else int(last.seq or 0)

    async def last(self) -> RawStreamMsg | None:
        """Return the last message that is there, `None` where there is none.

        Somebody may have deleted the one behind.
        """
        name = self.config.stream
        with self.translating("reading the end of the stream"):
            try:
                return await asked(lambda: self.stream.get_last_msg(name, any_subject(name)))
            except nats.js.errors.NotFoundError:
                return None

    async def last_history(self) -> History | None:
        """Return the content of the last history message, `None` where there is none.

        Raises `StreamMismatchError` for content that is no history.
        """
        name = self.config.stream
        with self.translating("reading the history"):
            try:
                last = await asked(lambda: self.stream.get_last_msg(name, history_subject(name)))
            except nats.js.errors.NotFoundError:
                return None
        if is_foreign(last.headers):
            found = await self._last_own_history()
            if found is None:
                return None
            last = found
        try:
            return History.decode(last.data or b"")
        except MessageError as error:
            raise self.damaged(last.seq or 0, error) from error

    async def _last_own_history(self) -> RawStreamMsg | None:
        """Return the last history message of a store. The messages are searched forward alone."""
        number, last = 0, None
        while (found := await self.message_from(number + 1, history_subject)) is not None:
            number = found.seq or 0
            if self.end_of(found.headers, number) is not None:
                last = found
        return last

    def send(self, message: Outgoing, expected: int, answered: Answered) -> None:
        """Send a message with the next `flush`, to be stored behind message `expected`.

        `answered` takes the answer.

        Messages are stored in the order of the calls. Where one is refused, a later one may fit all
        the same: see `messages.py` on void records.
        """
        headers = {
            **message.headers,
            "Nats-Expected-Stream": self.config.stream,
            "Nats-Expected-Last-Sequence": str(expected),
        }
        with self.translating("publishing"):
            self._pipeline.send(message.subject, message.data, headers, answered)

    def flush(self) -> None:
        """Write the messages to the socket."""
        self._pipeline.flush()

    def stored(self, answer: int | Exception) -> int:
        """Return the number of a message by the answer to it.

        Raises `WrongSequenceError`, and `ReplicationUnavailableError` where nobody knows whether
        the message was stored.
        """
        if isinstance(answer, int):
            return answer
        with self.translating("publishing"):
            if isinstance(answer, nats.js.errors.APIError):
                text = f"the stream refuses a message: {answer.description}"
                raise self.error(ReplicationUnavailableError, text) from answer
            raise answer

    async def publish(self, message: Outgoing, expected: int) -> int:
        """Store a message behind message `expected`, and return the number: `send` and `stored`."""
        answer: asyncio.Future[int | Exception] = asyncio.get_running_loop().create_future()

        def answered(found: int | Exception) -> None:
            if not answer.done():  # else cancelled
                answer.set_result(found)

        self.send(message, expected, answered)
        self.flush()
        return self.stored(await answer)

    async def first_ended(self, *works: Coroutine[Any, Any, None]) -> None:
        """Do works beside each other until one of them ends, or the connection is lost.

        Raises the exception of the one that ended, and `ReplicationUnavailableError`.
        """
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait({*tasks, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(*tasks)
        if self.lost.done():
            raise self.error(ReplicationUnavailableError, "the connection was lost")

    async def close(self) -> None:
        """End the connection. A message without an acknowledgement is perhaps stored."""
        self._pipeline.close()
        await close_client(self.client)


def connection_error(
    kind: type[ReplicationError], path: str, config: ReplicationConfig, reason: str
) -> ReplicationError:
    """Return an error about a store and its cluster."""
    message = f"{path}: replication to {config.shown}, stream {config.stream!r}: {reason}"
    return kind(message, path=path, servers=config.shown, stream=config.stream)
