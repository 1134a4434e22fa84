"""Decoded events as JSON, for dashboards in any language. A convenience beside the stream.

A message goes to `PREFIX.STREAM.OPERATION` once the stream has the event. The messages are not kept
and not sent again: whoever must not miss an event reads the stream. An event that JSON cannot hold,
or a server cannot carry, is passed over: a convenience holds no event up.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from eventstore.model.codec import EventCodec
from eventstore.model.operation import OPERATION_FIELD
from eventstore.operator_log import operator_log
from eventstore.replication.connection import Connection
from eventstore.replication.messages import Record

__all__ = ["announce"]

_logger = operator_log("eventstore.replication")

_NO_TOKEN = re.compile(r"[^A-Za-z0-9_-]")
_decode = EventCodec().decode


async def announce(connection: Connection, record: Record) -> None:
    """Publish the events of a record as JSON, one message an event.

    Raises `ReplicationUnavailableError`.
    """
    config = connection.config
    with connection.translating("publishing events"):
        for event in _decode(record.chunk.array, record.events, record.first_seq):
            data: Any = event.data
            tag = data.get(OPERATION_FIELD, "") if isinstance(data, dict) else ""
            name = _NO_TOKEN.sub("_", str(tag).partition("@")[0]) or "event"
            content = {
                "seq": event.seq,
                "time": event.time,
                "key": event.key,
                "data": data,
                "metadata": event.metadata,
            }
            message = _encoded(connection, content)
            if message is not None:
                subject = f"{config.publish_events}.{config.stream}.{name}"
                await connection.client.publish(subject, message)


def _encoded(connection: Connection, content: dict[str, Any]) -> bytes | None:
    """Return the event as JSON, `None` where that cannot be sent."""
    try:
        found = msgspec.json.encode(content)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = str(error)
    else:
        if len(found) <= connection.largest:
            return found
        reason = f"it has {len(found)} bytes, and a message {connection.largest} at most"
    text = "%s: event %d is not published as JSON: %s"
    _logger.warning(text, connection.path, content["seq"], reason)
    return None
