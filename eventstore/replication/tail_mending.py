"""Mending the end of the stream: what fitted behind a refused message is removed.

Several messages of a writer are on the way at once. Where one is refused, a later one may fit by
its number (`messages.py`, on void records). The writer then takes the lease anew, removes such
messages, the last one first, and sends the events again in order. No receipt has told of the
events: an answer counts only behind the answers to all messages before.

Somebody may have removed the message that took the number, or one of the writer's. Then numbers are
missing, and what leaves a gap behind them is void for nobody. The writer removes that, too, but
only where its own log has the events.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from eventstore.replication.connection import Connection
from eventstore.replication.messages import StreamEnd, history_subject

__all__ = ["mend"]


async def mend(connection: Connection, records: int, last: int) -> None:
    """Remove the messages behind a refused one. The last `records` records are looked at.

    `last` is the last event of the writer's log.

    Raises `StreamMismatchError` for a message of no store, and `ReplicationUnavailableError`.
    """
    found = await _last_messages(connection, records)
    refused = 0
    for index, (later, before) in enumerate(itertools.pairwise(found), 1):
        is_void = later.behind == before.number
        if not later.end.connects(before.end) and (is_void or found[0].end.last <= last):
            refused = index
    for message in found[:refused]:
        await connection.remove(message.number)


class _Late(NamedTuple):
    """A message near the end. `behind` is the number before, where foreign ones are passed over."""

    number: int
    end: StreamEnd
    behind: int


async def _last_messages(connection: Connection, records: int) -> list[_Late]:
    """Return the last messages that may count, back to a history message, the last one first.

    Before a history message, nothing is on the way any more. Before the oldest record, the stream
    was trimmed.
    """
    history = await connection.last_history()
    timelines = () if history is None else history.timelines
    messages: list[_Late] = []
    oldest = 0
    number = await connection.last_message()
    while number >= max(oldest, 1) and records > 0:
        found = await connection.message_at(number)
        if found is None:
            if not oldest:
                first = await connection.first_record()
                oldest = number if first is None else first.seq or 0
            records -= 1
        else:
            end = connection.end_of(found.headers, number)
            if end is None:
                if messages and messages[-1].behind == number:
                    messages[-1] = messages[-1]._replace(behind=number - 1)
            else:
                if not end.is_void(timelines):
                    messages.append(_Late(number, end, number - 1))
                if found.subject == history_subject(connection.config.stream):
                    break
                records -= end.part == 1
        number -= 1
    return messages
