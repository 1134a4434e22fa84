"""Finding a message of the stream by the event or the timeline that its headers name.

Theory of operation
-------------------
The events grow with the numbers of the messages, and so do the timelines. So a few requests find
the first message with some property. Numbers without a message (trimmed, or removed by hand) are
passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from eventstore.replication.connection import Connection
from eventstore.replication.messages import StreamEnd

__all__ = ["Found", "find_message"]


class Found(NamedTuple):
    """A message: the number, and the place behind the message."""

    number: int
    end: StreamEnd

    @property
    def begin(self) -> int:
        """The number of the message with the first part of the record."""
        return self.number - self.end.part + 1


async def find_message(connection: Connection, wanted: Callable[[StreamEnd], bool]) -> Found | None:
    """Return the first message for which `wanted` is true, `None` where there is none.

    `wanted` is false up to some message, and true from there on.

    Raises `StreamMismatchError` for a message of no store, and `ReplicationUnavailableError`.
    """
    low, high = 1, await connection.last_number() + 1
    found = None
    while low < high:
        middle = (low + high) // 2
        message = await connection.message_from(middle)
        if message is None or message.seq is None:
            high = middle
            continue
        end = connection.end_of(message.headers, message.seq)
        if wanted(end):
            found, high = Found(message.seq, end), middle
        else:
            low = message.seq + 1
    return found
