"""What the store says about itself: how it was recovered, and how it is doing."""

from __future__ import annotations

import msgspec

__all__ = ["RecoveryReport", "StoreStats"]


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What opening the store found and did.

    ``seq``: the last event in the store. ``snapshot``: the snapshot used (``None``: folded from the
    first event) and ``snapshot_seq`` the event it covers. ``events_folded``: how many events after
    it were folded. ``seconds``: how long opening took. ``clean``: the last writer closed the store,
    or had been idle. ``torn_bytes``: how many bytes of an unfinished commit were set aside, in the
    file ``quarantined``. ``rewritten``: the segment that was rewritten after an unclean end.
    ``snapshots_rejected``: damaged or outdated snapshots, each with the reason. ``unknown_files``:
    files that are not the store's and were left alone. ``warnings``: all of this that is worth a
    look, in words.
    """

    seq: int = 0
    snapshot: str | None = None
    snapshot_seq: int = 0
    events_folded: int = 0
    seconds: float = 0.0
    clean: bool = True
    torn_bytes: int = 0
    quarantined: str | None = None
    rewritten: str | None = None
    segments: int = 0
    snapshots_rejected: tuple[str, ...] = ()
    unknown_files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class StoreStats(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Counters since the store was opened.

    ``seq``: the last durable event. ``pending``: events not yet durable. ``events``, ``commits``,
    ``syncs``, ``bytes_written``: what has been committed. ``sync_p50``, ``sync_p99``, ``sync_max``:
    seconds per ``fdatasync``, over the last 4096. ``snapshots``: how many were taken, and
    ``snapshot_seq`` the event that the newest covers. ``segments_archived``: moved out of the log.
    ``spare_ready``: the next segment is already zero-filled; when it is not, for lack of space,
    ``space_warning`` says so a segment ahead of the first refused commit. ``failed``: the store is
    read-only until it is reopened.
    """

    seq: int = 0
    pending: int = 0
    events: int = 0
    commits: int = 0
    syncs: int = 0
    bytes_written: int = 0
    sync_p50: float = 0.0
    sync_p99: float = 0.0
    sync_max: float = 0.0
    snapshots: int = 0
    snapshot_seq: int = 0
    segments_archived: int = 0
    spare_ready: bool = False
    space_warning: str | None = None
    failed: bool = False
