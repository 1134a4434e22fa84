"""Replication over NATS JetStream: the log of one writer on a cluster, and standbys that follow.

- `messages.py`: what stands in a stream.
- `connection.py`, `lease.py`: the cluster, and who may write.
- `backlog.py`, `shipping.py`, `shipping_thread.py`: from the writer's log to the stream.
- `stream_reader.py`, `stream_copy.py`, `standby_store.py`, `standby.py`: from the stream to a
  standby.
- `rejoining.py`: a fenced writer becomes a standby.
- `status.py`: stream and directory side by side.

Nothing here is imported unless `replicate` is configured. The extra `nats` has the client library.
"""

from __future__ import annotations

from eventstore.replication.rejoining import Rejoined, rejoin
from eventstore.replication.standby import Standby, StandbyLag
from eventstore.replication.status import StreamStatus, stream_status

__all__ = ["Rejoined", "Standby", "StandbyLag", "StreamStatus", "rejoin", "stream_status"]
