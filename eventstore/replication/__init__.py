"""Replication over NATS JetStream: the log of one writer on a cluster, and standbys that follow.

- `messages.py`, `foreign_messages.py`: what stands in a stream.
- `connecting.py`, `connection.py`, `client_errors.py`, `pipeline.py`, `searching.py`,
  `stream_settings.py`, `asking.py`, `endings.py`: the cluster.
- `identity.py`, `lease.py`, `lease_for_engine.py`, `history_bucket.py`: who may write, and who was
  the last to write.
- `backlog.py`, `shipping.py`, `tail_mending.py`, `lent_loop.py`, `shipping_thread.py`: from the
  writer's log to the stream.
- `stream_reader.py`, `standby_copy.py`, `standby_store.py`, `standby_start.py`, `promotion_gap.py`,
  `standby.py`: from the stream to a standby.
- `retention.py`, `backup_place.py`, `standby_progress.py`, `bucket_listing.py`: a copy in the
  cluster, and what the stream keeps.
- `tail_adoption.py`: events that the stream has and this disk lost, at an opening.
- `fork_point.py`, `rejoining.py`: where two histories parted, and a writer that becomes a standby.
- `server_fsync.py`, `status.py`: the servers' settings; stream and directory side by side.

Nothing here is imported unless `replicate` is configured. The extra `nats` has the client library.
"""

from __future__ import annotations

from eventstore.replication.rejoining import Rejoined, rejoin
from eventstore.replication.retention import Trimmed, trim
from eventstore.replication.standby import Standby, StandbyLag
from eventstore.replication.status import StreamStatus, stream_status

__all__ = [
    "Rejoined",
    "Standby",
    "StandbyLag",
    "StreamStatus",
    "Trimmed",
    "rejoin",
    "stream_status",
    "trim",
]
