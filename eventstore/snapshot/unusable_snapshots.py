"""When a store must not be opened from the snapshots that it has, and the error that says so.

A state that merely looks complete is worse than none. Where history does not reach back to the
first event, a snapshot has to stand in for the events before. In a store of snapshots only, nothing
else stands in for any event: there an older snapshot is used in place of a damaged one, and the
report says so, but never an older one in place of a good one that other handlers made.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.disk.manifest import Manifest
from eventstore.error_base import REPAIR
from eventstore.errors import CorruptSnapshotError, EventStoreError, SnapshotMismatchError
from eventstore.snapshot.vault import Rejected

__all__ = ["unusable_error"]


def unusable_error(
    path: str, manifest: Manifest, seq: int | None, rejected: Sequence[Rejected]
) -> EventStoreError | None:
    """Return the error for the store at `path`, or `None` for one that can be opened.

    `seq` is the event of the snapshot that can be used, `None` where there is none. `rejected` are
    the newer snapshots that were passed over.
    """
    mismatched = [item for item in rejected if item.operations]
    needed = manifest.history_start > (1 if seq is None else seq + 1)
    if manifest.logged:
        if not needed:
            return None
        lack = f"history before event {manifest.history_start} was discarded"
        remedy = ""
    else:
        if not (needed or mismatched or (seq is None and rejected)):
            return None
        lack = "there is no log (use_wal=False)"
        remedy = (
            ". To set the unusable snapshots aside in quarantine/ and go on with what is left, "
            "open the store once with unusable_snapshots='set_aside'"
        )
    if mismatched:
        return _mismatch_error(path, mismatched, lack, remedy)
    reasons = "; ".join(f"{item.name}: {item.reason}" for item in rejected) or "there is none"
    return CorruptSnapshotError(
        f"{path}: no snapshot can be used, and {lack}, so there is nothing to fold the state from "
        f"({reasons}). Nothing was written. Restore a snapshot from a backup, or "
        f"{REPAIR}{remedy}",
        path=f"{path}/{rejected[0].name}" if rejected else path,
    )


def _mismatch_error(
    path: str, mismatched: list[Rejected], lack: str, remedy: str
) -> SnapshotMismatchError:
    operations = tuple(sorted({name for item in mismatched for name in item.operations}))
    return SnapshotMismatchError(
        f"{path}: {', '.join(item.name for item in mismatched)} were made by other handlers of "
        f"{', '.join(operations)}, and {lack}, so the state cannot be folded again. Nothing was "
        "written. Install the version of the plugin that made them, and the store opens as before. "
        "To carry the state over to the new handlers, open the store with the old ones, and append "
        f"the state that it has as the first event of a new store{remedy}",
        path=path,
        operations=operations,
    )
