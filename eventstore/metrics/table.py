"""The table of metrics: the name, kind, unit and meaning of each, and the value in `stats()`.

Names follow the conventions of Prometheus: base units (seconds, bytes), and `_total` for a number
that only grows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from eventstore.arguments import argument_error
from eventstore.event_log import EventLog
from eventstore.histogram import Histogram
from eventstore.recovery_and_stats import StoreStats
from eventstore.store import EventStore

__all__ = [
    "DISTRIBUTIONS",
    "METRICS",
    "OPERATIONS",
    "Distribution",
    "Metric",
    "cumulative",
    "watched",
]

Kind = Literal["counter", "gauge"]


class Metric(NamedTuple):
    """One metric. `value` gives the number, or `None` where the store has none."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    value: Callable[[StoreStats], float | None]


class Distribution(NamedTuple):
    """One histogram. `bounds` are the upper bounds of the buckets, the same in every answer."""

    name: str
    unit: str
    meaning: str
    value: Callable[[StoreStats], Histogram]
    bounds: tuple[float, ...]


def watched(store: Any, name: Any) -> tuple[str, weakref.ref[Any]]:
    """Return the name of a store or log in metrics, by default its path, and a weak reference.

    Raises `ConfigError` for any other object.
    """
    if not isinstance(store, EventStore | EventLog):
        raise argument_error("store", store, "expected an open EventStore or EventLog")
    if name is not None and not isinstance(name, str):
        raise argument_error("name", name, "expected a text for the label of the store")
    return store.path if name is None else name, weakref.ref(store)


def _seconds() -> tuple[float, ...]:
    """Bounds from 8 microseconds to 17 seconds, as `Histogram.of` has for nanoseconds."""
    return tuple(((1 << length) - 1) * 1e-9 for length in range(13, 35))


def _bytes() -> tuple[float, ...]:
    """Bounds from 31 bytes to one gibibyte, the largest record."""
    return tuple(float((1 << length) - 1) for length in range(5, 31))


OPERATIONS = Metric(
    "eventstore_operations_total",
    "counter",
    "",
    "Events committed, by operation.",
    lambda stats: stats.events,
)
"""The metric with a label for each operation. `value` is the sum over all operations."""

METRICS = (
    Metric("eventstore_seq", "gauge", "", "Last durable event.", lambda s: s.seq),
    Metric(
        "eventstore_synced_seq",
        "gauge",
        "",
        "Last event known to be synced.",
        lambda s: s.synced_seq,
    ),
    Metric("eventstore_commits_total", "counter", "", "Commits made.", lambda s: s.commits),
    Metric("eventstore_syncs_total", "counter", "", "Calls of fdatasync.", lambda s: s.syncs),
    Metric(
        "eventstore_written_bytes_total",
        "counter",
        "By",
        "Bytes of the commits.",
        lambda s: s.bytes_written,
    ),
    Metric(
        "eventstore_queue_events",
        "gauge",
        "",
        "Events that wait for a commit.",
        lambda s: s.pending,
    ),
    Metric(
        "eventstore_queue_limit_events",
        "gauge",
        "",
        "Events that may wait for a commit.",
        lambda s: s.pending_limit,
    ),
    Metric(
        "eventstore_sync_p50_seconds",
        "gauge",
        "s",
        "Median of the last 4096 fdatasync.",
        lambda s: s.sync_p50,
    ),
    Metric(
        "eventstore_sync_p99_seconds",
        "gauge",
        "s",
        "99th percentile of the last 4096 fdatasync.",
        lambda s: s.sync_p99,
    ),
    Metric(
        "eventstore_sync_max_seconds",
        "gauge",
        "s",
        "Longest fdatasync since opening.",
        lambda s: s.sync_max,
    ),
    Metric(
        "eventstore_stalled_seconds",
        "gauge",
        "s",
        "Seconds that the disk has not answered for, 0 while it answers.",
        lambda s: s.stalled,
    ),
    Metric("eventstore_snapshots_total", "counter", "", "Snapshots taken.", lambda s: s.snapshots),
    Metric(
        "eventstore_snapshot_seq",
        "gauge",
        "",
        "Last event in the newest snapshot.",
        lambda s: s.snapshot_seq,
    ),
    Metric(
        "eventstore_snapshot_age_seconds",
        "gauge",
        "s",
        "Age of the newest snapshot.",
        lambda s: s.snapshot_age,
    ),
    Metric(
        "eventstore_snapshot_duration_seconds",
        "gauge",
        "s",
        "Duration of the last snapshot of this opening.",
        lambda s: s.snapshot_seconds,
    ),
    Metric(
        "eventstore_segments_archived_total",
        "counter",
        "",
        "Segments moved out of the log.",
        lambda s: s.segments_archived,
    ),
    Metric(
        "eventstore_spare_ready",
        "gauge",
        "",
        "1 where the next segment is already zero-filled.",
        lambda s: s.spare_ready,
    ),
    Metric(
        "eventstore_space_warning",
        "gauge",
        "",
        "1 while space for the next segment or snapshot lacks.",
        lambda s: s.space_warning is not None,
    ),
    Metric(
        "eventstore_history_warning",
        "gauge",
        "",
        "1 while archiving stands still.",
        lambda s: s.history_warning is not None,
    ),
    Metric(
        "eventstore_snapshot_warning",
        "gauge",
        "",
        "1 while the last snapshot was not kept.",
        lambda s: s.snapshot_warning is not None,
    ),
    Metric(
        "eventstore_open_intents",
        "gauge",
        "",
        "Intents without a durable settlement.",
        lambda s: s.open_intents,
    ),
    Metric("eventstore_keys", "gauge", "", "Identity keys that are known.", lambda s: s.keys),
    Metric(
        "eventstore_unreplicated_events",
        "gauge",
        "",
        "Durable events that the cluster does not have.",
        lambda s: s.unreplicated,
    ),
    Metric(
        "eventstore_unreplicated_bytes",
        "gauge",
        "By",
        "Bytes written since the opening that the cluster does not have.",
        lambda s: s.unreplicated_bytes,
    ),
    Metric(
        "eventstore_unreplicated_seconds",
        "gauge",
        "s",
        "Age of the oldest event that the cluster does not have.",
        lambda s: s.unreplicated_seconds,
    ),
    Metric(
        "eventstore_keys_since",
        "gauge",
        "",
        "First event whose key counts, by number.",
        lambda s: s.keys_since,
    ),
    Metric(
        "eventstore_keys_since_seconds",
        "gauge",
        "s",
        "Earliest time of an event whose key counts, since the epoch. 0 where all times do.",
        lambda s: s.keys_since_time / 1e9,
    ),
    Metric(
        "eventstore_subscribers",
        "gauge",
        "",
        "Subscriptions that are followed.",
        lambda s: s.subscribers,
    ),
    Metric(
        "eventstore_subscriber_lag_events",
        "gauge",
        "",
        "Events that the slowest subscription is behind.",
        lambda s: s.subscriber_lag,
    ),
    Metric(
        "eventstore_queue_bytes",
        "gauge",
        "By",
        "Bytes waiting for a commit.",
        lambda s: s.pending_bytes,
    ),
    Metric(
        "eventstore_free_bytes",
        "gauge",
        "By",
        "Bytes that the file system had left at the last look.",
        lambda s: s.free_bytes,
    ),
    Metric(
        "eventstore_events_that_fit",
        "gauge",
        "",
        "Events of the size seen so far that have space.",
        lambda s: s.events_that_fit,
    ),
    Metric(
        "eventstore_warnings", "gauge", "", "Warnings that stand now.", lambda s: len(s.warnings)
    ),
    Metric(
        "eventstore_failed",
        "gauge",
        "",
        "1 where the store is read-only until it is reopened.",
        lambda s: s.failed,
    ),
)

DISTRIBUTIONS = (
    Distribution(
        "eventstore_commit_duration_seconds",
        "s",
        "Duration of commits on the thread of the log, write and sync.",
        lambda stats: stats.commit_seconds,
        _seconds(),
    ),
    Distribution(
        "eventstore_loop_delay_seconds",
        "s",
        "Time from the end of a commit until the event loop took notice.",
        lambda stats: stats.loop_delay,
        _seconds(),
    ),
    Distribution(
        "eventstore_record_size_bytes",
        "By",
        "Bytes of the events in a commit.",
        lambda stats: stats.record_bytes,
        _bytes(),
    ),
)


def cumulative(histogram: Histogram, bounds: tuple[float, ...]) -> list[tuple[float, int]]:
    """Return, for each bound and at last for infinity, how many values do not exceed the bound."""
    found = list(zip(histogram.bounds, histogram.counts, strict=True))
    rows = [(bound, sum(n for limit, n in found if limit <= bound)) for bound in bounds]
    return [*rows, (float("inf"), histogram.total)]
