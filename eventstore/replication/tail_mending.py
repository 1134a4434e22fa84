"""Mending the end of the stream: what fitted behind a refused message is removed.

Several messages of a writer are on the way at once. Where one is refused, a later one may fit by
its number (`messages.py`, on void records). The writer then takes the lease anew, removes such
messages, the last one first, and sends the events again in order. No receipt has told of the
events: an answer counts only behind the answers to all messages before.
"""

from __future__ import annotations

from eventstore.replication.connection import Connection
from eventstore.replication.messages import StreamEnd, history_subject

__all__ = ["mend"]


async def mend(connection: Connection, records: int) -> None:
    """Remove the messages behind a refused one. The last `records` records are looked at.

    Raises `StreamMismatchError` for a message of no store, and `ReplicationUnavailableError`.
    """
    for number in await _unconnected(connection, records):
        await connection.remove(number)


async def _unconnected(connection: Connection, records: int) -> list[int]:
    """Return the numbers of the messages behind a refused one, the last one first.

    Before a history message, nothing is on the way any more. Before a number without a message,
    the end was mended already, or trimmed.
    """
    numbers: list[int] = []
    refused = 0
    later: StreamEnd | None = None
    number = await connection.last_message()
    while number and records:
        found = await connection.message_at(number)
        if found is None or found.subject == history_subject(connection.config.stream):
            break
        end = connection.end_of(found.headers, number)
        if later is not None and not later.connects(end):
            refused = len(numbers)
        numbers.append(number)
        later, number, records = end, number - 1, records - (end.part == 1)
    return numbers[:refused]
