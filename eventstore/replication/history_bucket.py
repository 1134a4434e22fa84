"""The history kept in a bucket beside the stream, for the day when somebody purges the stream.

Theory of operation
-------------------
The last history message of a stream names the timeline that is written now. A writer of an older
timeline is fenced by that message. So a stream without messages fences nobody. Therefore each
writer behind a new timeline keeps the history in a key-value bucket, too. Nothing in the bucket
runs out, and the stream's messages can go without it.

The stream decides wherever it has messages. The bucket is asked where the stream has none, or where
somebody removed the history messages.
"""

from __future__ import annotations

import functools

import msgspec
import nats.js.errors
from nats.js.kv import KeyValue

from eventstore.errors import ReplicationError, ReplicationUnavailableError
from eventstore.replication.asking import asked
from eventstore.replication.connection import Connection
from eventstore.replication.messages import History, MessageError

__all__ = ["history_of", "keep_history", "kept_history", "known_history", "later_history"]

_KEY = "writer"
_ATTEMPTS = 3


async def history_of(connection: Connection) -> History:
    """Return the history of a stream. Raises `ReplicationError` where nobody knows it."""
    found = await known_history(connection)
    if found is not None:
        return found
    if await connection.last_message():
        raise connection.error(
            ReplicationError,
            "there is no history in the stream: somebody removed the history messages. The "
            "writer sends the last one again at the next opening: restart the writer",
        )
    raise connection.error(ReplicationError, "the stream is empty: has the writer been started?")


async def known_history(connection: Connection) -> History | None:
    """Return the later one of the stream's last history and the kept one, `None` for neither.

    Raises `ReplicationError` for content that is no history.
    """
    found = await connection.last_history()
    try:
        kept = await kept_history(connection)
    except ReplicationError as error:
        if found is None or isinstance(error, ReplicationUnavailableError):
            raise
        return found
    return kept if found is None else later_history(found, kept)


def later_history(found: History, other: History | None) -> History:
    """Return the later one of two histories, `found` where the other one is of another store."""
    if other is None or other.store != found.store:
        return found
    return other if other.timelines[-1].number > found.timelines[-1].number else found


async def kept_history(connection: Connection) -> History | None:
    """Return the history beside the stream, `None` where none was kept.

    Raises `ReplicationError` for content that is no history.
    """
    with connection.translating("reading the history beside the stream"):
        try:
            bucket = await asked(lambda: connection.stream.key_value(_bucket_name(connection)))
        except nats.js.errors.NotFoundError:
            return None
        return (await _read(connection, bucket))[0]


async def keep_history(connection: Connection, history: History) -> None:
    """Keep the writer's history, unless that of a later timeline is there.

    In the first timeline there is nobody to be fenced, and nothing is kept.

    Raises `ReplicationError`.
    """
    if len(history.timelines) == 1:
        return
    config, name = connection.config, _bucket_name(connection)
    with connection.making(f"the bucket {name}"):
        bucket = await asked(
            lambda: connection.stream.create_key_value(bucket=name, replicas=config.replicas)
        )
    with connection.translating("keeping the history"):
        for _ in range(_ATTEMPTS):
            found, revision = await _read(connection, bucket)
            if found is not None and _is_as_late(found, history):
                return
            try:
                value = msgspec.json.encode(history)
                await connection.put(functools.partial(bucket.update, _KEY, value, last=revision))
                return
            except nats.js.errors.KeyWrongLastSequenceError:
                continue  # another machine was promoted in the same moment


def _is_as_late(found: History, history: History) -> bool:
    is_same = found.store == history.store
    return is_same and found.timelines[-1].number >= history.timelines[-1].number


async def _read(connection: Connection, bucket: KeyValue) -> tuple[History | None, int]:
    """Return the kept history, and the number of its message in the bucket, 0 for none."""
    try:
        entry = await asked(lambda: bucket.get(_KEY))
    except nats.js.errors.KeyNotFoundError as missing:
        return None, (missing.entry.revision or 0) if missing.entry is not None else 0
    try:
        return History.decode(entry.value or b""), entry.revision or 0
    except MessageError as error:
        name = _bucket_name(connection)
        raise connection.error(
            ReplicationError,
            f"the bucket {name} was not written by a store ({error}): nats kv del {name}",
        ) from error


def _bucket_name(connection: Connection) -> str:
    return f"{connection.config.stream}-history"
