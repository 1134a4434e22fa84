"""What a bucket beside the stream has, as the leader of the bucket knows.

The client library lists a bucket with a consumer, and any server may run the consumer. A server
that was away a moment ago may lack the last entries, and nothing tells of that. A standby would
begin with an old copy, and the stream would be trimmed beyond a standby. So the leader is asked.
"""

from __future__ import annotations

import nats.js.errors
from nats.js.api import RawStreamMsg

from eventstore.replication.connection import Connection

__all__ = ["last_entry", "subjects_of"]


async def subjects_of(connection: Connection, bucket: str, subjects: str) -> list[str]:
    """Return the subjects with a message in the stream `bucket`, of those that fit a pattern.

    Raises the errors of the client library.
    """
    info = await connection.stream.stream_info(bucket, subjects_filter=subjects)
    return sorted(info.state.subjects or {})


async def last_entry(connection: Connection, bucket: str, subject: str) -> RawStreamMsg | None:
    """Return the last message under a subject, `None` where it is gone meanwhile.

    Raises the errors of the client library.
    """
    try:
        return await connection.stream.get_last_msg(bucket, subject)
    except nats.js.errors.NotFoundError:
        return None
