"""Reports of a store about itself: the recovery, and counters since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from eventstore.histogram import Histogram

__all__ = ["RecoveryReport", "StoreStats", "facts_table", "printable"]


def printable(text: str) -> str:
    """Return `text` with escapes in place of what a terminal or a log would act on.

    Names of files, keys and payloads come from elsewhere. Control characters in them could clear a
    screen, or forge a line. Text without such characters is returned as it is.

    >>> printable("line\\nEVENT 3 IS FINE")
    'line\\\\nEVENT 3 IS FINE'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def facts_table(caption: str, facts: Mapping[str, Any]) -> str:
    """Return names and values as an HTML table for a notebook, with everything escaped."""
    from html import escape

    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption>{escape(caption)}</caption>{rows}</table>"


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Findings and repairs of one opening of a store.

    Attributes:
        created: Whether the opening made the store, because there was none.
        seq: The last event in the store.
        snapshot: File name of the snapshot used, `None` when folded from the first event.
        snapshot_seq: The last event that the snapshot covers, 0 without one.
        snapshot_time: Time of the writing of the snapshot, in nanoseconds since the epoch, 0
            without one.
        events_folded: Number of events folded after the snapshot.
        seconds: Duration of the opening.
        clean: Whether the last writer closed the store, or had been idle.
        torn_bytes: Bytes of an unfinished commit that were set aside.
        quarantined: File that holds the torn bytes, `None` without any.
        rewritten: Segment that was rewritten after an unclean end, `None` without one.
        segments: Number of segments in the log.
        adopted: Number of events that the cluster had and this disk had lost, with `replicate`. The
            opening took them over.
        snapshots_rejected: Damaged or outdated snapshots, each with the reason.
        unknown_files: Files that are not the store's and were left alone.
        warnings: Every finding that is worth a look, in words.
        in_doubt: The open intents at the opening, oldest first (`Doubt`). `EventStore.in_doubt` has
            the open ones now.
    """

    created: bool = False
    seq: int = 0
    snapshot: str | None = None
    snapshot_seq: int = 0
    snapshot_time: int = 0
    events_folded: int = 0
    seconds: float = 0.0
    clean: bool = True
    torn_bytes: int = 0
    quarantined: str | None = None
    rewritten: str | None = None
    segments: int = 0
    adopted: int = 0
    snapshots_rejected: tuple[str, ...] = ()
    unknown_files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    in_doubt: tuple[Any, ...] = ()

    def _repr_html_(self) -> str:
        return facts_table("RecoveryReport", msgspec.structs.asdict(self))


class StoreStats(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Counters since the store was opened.

    Attributes:
        seq: The last durable event.
        synced_seq: The last event on stable storage for sure. Behind `seq` where events were
            acknowledged without waiting for the disk.
        pending: Events that are not yet durable, with those whose keys are being looked up.
        pending_bytes: Bytes of the queued events.
        pending_limit: Events that may be pending: `max_pending`. 0 without a queue.
        events: Events committed.
        commits: Commits made.
        syncs: Calls of `fdatasync`.
        bytes_written: Bytes of the commits.
        commit_seconds: Seconds of each commit on the log's thread, write and sync.
        record_bytes: Bytes of the events in each commit.
        operations: Events committed, by operation.
        loop_delay: Seconds from the end of each commit until the event loop took notice. A long
            delay says that a callback of the program held the loop up.
        sync_p50: Median seconds of an `fdatasync`, over the last 4096.
        sync_p99: The 99th percentile in seconds, over the last 4096.
        sync_max: The longest `fdatasync` since opening, in seconds.
        stalled: Seconds that the disk has not answered for, once they are more than `slow_sync`,
            else 0.0. `pending` says how many events wait.
        snapshots: Snapshots taken.
        snapshot_seq: The last event that the newest snapshot covers.
        snapshot_age: Seconds since the newest snapshot was written, by the store's clock. `None`
            without one.
        snapshot_seconds: Seconds that the last snapshot of this opening took, 0.0 before the first.
        segments_archived: Segments moved out of the log.
        spare_ready: Whether the next segment is already zero-filled.
        free_bytes: Bytes that the file system had left when the last segment was begun or prepared,
            the spare not counted. `None` before the first look.
        events_that_fit: Events of the size seen since opening that `free_bytes` are good for.
        space_warning: Text of a warning about lack of space, `None` where there is enough. Lack
            of space for the next segment is told a segment ahead of the first refused commit.
        history_warning: Text of a warning that archiving found a damaged or missing segment, or
            failed. `None` where nothing is known to be wrong. It stands until archiving works.
        snapshot_warning: Text of a warning about a snapshot that was not kept, because the snapshot
            would not have given back the state. `None` after a kept snapshot.
        open_intents: Intents without a durable settlement.
        subscribers: Subscriptions that are alive.
        subscriber_lag: Durable events that the slowest subscriber was not given yet.
        warnings: Texts of all standing warnings, the oldest first: a disk without an answer, slow
            syncs, no space for the next segment, a queue past half, a clock stepped back, failing
            snapshots or archiving. The log has the beginning and the end of each warning.
        failed: Whether the store is read-only until it is reopened.
        unreplicated: Durable events missing in the cluster, with `replicate`, else 0.
        unreplicated_bytes: Bytes of such events, written since the opening.
        unreplicated_seconds: Age in seconds of the oldest such event.
        keys: Identity keys that are known. With `keys.remember`, some may be forgotten already.
        keys_since: The first event whose key counts, by `keys.remember.events`, else 1.
        keys_since_time: The earliest time of an event whose key counts, by `keys.remember.age`, in
            nanoseconds since the epoch, else 0. Ask a venue for nothing older.
    """

    seq: int = 0
    synced_seq: int = 0
    pending: int = 0
    pending_bytes: int = 0
    pending_limit: int = 0
    events: int = 0
    commits: int = 0
    syncs: int = 0
    bytes_written: int = 0
    commit_seconds: Histogram = Histogram()
    record_bytes: Histogram = Histogram()
    operations: dict[str, int] = {}
    loop_delay: Histogram = Histogram()
    sync_p50: float = 0.0
    sync_p99: float = 0.0
    sync_max: float = 0.0
    stalled: float = 0.0
    snapshots: int = 0
    snapshot_seq: int = 0
    snapshot_age: float | None = None
    snapshot_seconds: float = 0.0
    segments_archived: int = 0
    spare_ready: bool = False
    free_bytes: int | None = None
    events_that_fit: int | None = None
    space_warning: str | None = None
    history_warning: str | None = None
    snapshot_warning: str | None = None
    open_intents: int = 0
    subscribers: int = 0
    subscriber_lag: int = 0
    warnings: tuple[str, ...] = ()
    failed: bool = False
    unreplicated: int = 0
    unreplicated_bytes: int = 0
    unreplicated_seconds: float = 0.0
    keys: int = 0
    keys_since: int = 1
    keys_since_time: int = 0

    def __repr__(self) -> str:
        """Return the members that say most. `msgspec.structs.asdict` has all of them."""
        worst = f" sync_max={self.sync_max:.3f}s" if self.syncs else ""
        warned = f" warnings={len(self.warnings)}" if self.warnings else ""
        return (
            f"<StoreStats seq={self.seq} events={self.events} commits={self.commits}{worst} "
            f"pending={self.pending} snapshot_seq={self.snapshot_seq}{warned}"
            f"{' failed' if self.failed else ''}>"
        )

    def _repr_html_(self) -> str:
        return facts_table("StoreStats", msgspec.structs.asdict(self))
