"""Finding a message of the stream by the event or the timeline that its headers name.

Theory of operation
-------------------
The events grow with the numbers of the messages, and so do the timelines. So a few requests find
the first message with some property. Numbers without a message (trimmed, or removed by hand) are
passed over, and so are void records and foreign messages (`messages.py`), which break the growth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from eventstore.replication.connection import Connection
from eventstore.replication.messages import StreamEnd, history_subject
from eventstore.timelines import Timeline

__all__ = ["Found", "find_message", "own_message", "stream_end"]


class Found(NamedTuple):
    """A message: the number, and the place behind the message."""

    number: int
    end: StreamEnd

    @property
    def begin(self) -> int:
        """The number to read from: right before the first part of the record.

        The message there tells whether the record counts (`messages.py`, on void records).
        """
        return max(self.number - self.end.part, 1)


async def find_message(connection: Connection, wanted: Callable[[StreamEnd], bool]) -> Found | None:
    """Return the first message for which `wanted` is true, `None` where there is none.

    `wanted` is false up to some message, and true from there on.

    Raises `StreamMismatchError` for a message of no store, and `ReplicationUnavailableError`.
    """
    history = await connection.last_history()
    timelines = () if history is None else history.timelines
    low, high = 1, await connection.last_number() + 1
    found = None
    while low < high:
        middle = (low + high) // 2
        here = await _good_from(connection, middle, timelines)
        if here is None:
            high = middle
        elif wanted(here.end):
            found, high = here, middle
        else:
            low = here.number + 1
    return found


async def _good_from(
    connection: Connection, number: int, timelines: tuple[Timeline, ...]
) -> Found | None:
    """Return the first message at or behind a number that is not void, `None` for none."""
    while True:
        message = await connection.message_from(number)
        if message is None or message.seq is None:
            return None
        end = connection.end_of(message.headers, message.seq)
        if end is not None and not end.is_void(timelines):
            return Found(message.seq, end)
        number = message.seq + 1


async def own_message(connection: Connection, number: int) -> int:
    """Return the number of the first message at or before a number that is no foreign one."""
    while number > 1:
        found = await connection.message_at(number)
        if found is None or connection.end_of(found.headers, number) is not None:
            break
        number -= 1
    return number


async def stream_end(connection: Connection) -> StreamEnd | None:
    """Return the end of the stream, `None` for an empty one.

    Void records and foreign messages are passed over.

    Raises `StreamMismatchError` for a message of no store, and `ReplicationUnavailableError`.
    """
    last = await connection.last()
    if last is None:
        return None
    number, end = last.seq or 0, connection.end_of(last.headers, last.seq or 0)
    if end is not None and last.subject == history_subject(connection.config.stream):
        return end
    history = await connection.last_history()
    timelines = () if history is None else history.timelines
    while number > 1 and (end is None or end.is_void(timelines)):  # a few
        number -= 1
        found = await connection.message_at(number)
        end = None if found is None else connection.end_of(found.headers, number)
    return end
