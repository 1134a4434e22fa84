"""Every name in a store's directory, and its purpose. No other module spells a name.

::

    store.json                             the manifest: UUID, and the history still kept
    writer.pid                             the writer's process (the lock is on the directory)
    frontier                               the durable end of the log, for other processes
    replica.json                           the random name of this copy, and the timeline it writes
    branch.tmp                             the mark of a branch that is being made
    log/00000000000000000001.log           segments, by their first event
    log/spare                              the next segment, zero-filled ahead of time
    archive/00000000000000000001.log.zst   segments that no kept snapshot needs, compressed
    archive/00000000000000010000.snap.zst  keyframes: old snapshots, by the last event covered
    snapshots/00000000000000010000.snap    snapshots, by the last event covered
    keys/FIRST-LAST.run                    identity keys, by the events covered (20 digits)
    cursors/NAME.json                      places of consumers, who write them in any process
    quarantine/00000000000000000001.log.N  torn bytes set aside by recovery, from offset N on

A file is written under a name ending in `.tmp` and renamed when the file is whole. The next writer
removes the temporary files of a crash. Temporary files of a cursor are the consumers' own.
"""

from __future__ import annotations

import re

__all__ = [
    "ARCHIVE_FOLDER",
    "ARCHIVE_TEMPORARY",
    "BRANCH_MARK",
    "CURSOR_FOLDER",
    "FRONTIER",
    "KEYS_FOLDER",
    "KEYS_MERGE_TEMPORARY",
    "KEYS_TEMPORARY",
    "LOG_FOLDER",
    "MANIFEST",
    "MANIFEST_TEMPORARY",
    "QUARANTINE_FOLDER",
    "QUARANTINE_TEMPORARY",
    "REPAIR_ACCOUNT",
    "REPAIR_TEMPORARY",
    "REPLICA",
    "REPLICA_TEMPORARY",
    "REWRITE_TEMPORARY",
    "ROOT_NAMES",
    "SEGMENT_TEMPORARY",
    "SNAPSHOT_FOLDER",
    "SNAPSHOT_SUFFIX",
    "SNAPSHOT_TEMPORARY",
    "SPARE_SEGMENT",
    "TEMPORARIES",
    "TEMPORARY_SUFFIX",
    "WRITER_PID",
    "archive_name",
    "archive_seq",
    "cursor_name",
    "cursor_temporary",
    "is_cursor_temporary",
    "keyframe_name",
    "keyframe_seq",
    "name_of_cursor",
    "run_name",
    "run_range",
    "segment_name",
    "segment_seq",
    "snapshot_name",
    "snapshot_seq",
    "torn_offset",
]

MANIFEST = "store.json"
SNAPSHOT_SUFFIX = ".snap"
WRITER_PID = "writer.pid"
FRONTIER = "frontier"
LOG_FOLDER = "log"
ARCHIVE_FOLDER = "archive"
SNAPSHOT_FOLDER = "snapshots"
QUARANTINE_FOLDER = "quarantine"
CURSOR_FOLDER = "cursors"
REPLICA = "replica.json"
KEYS_FOLDER = "keys"

SPARE_SEGMENT = f"{LOG_FOLDER}/spare"

MANIFEST_TEMPORARY = f"{MANIFEST}.tmp"
REPLICA_TEMPORARY = f"{REPLICA}.tmp"
SEGMENT_TEMPORARY = f"{LOG_FOLDER}/new.tmp"
REWRITE_TEMPORARY = f"{LOG_FOLDER}/rewrite.tmp"
ARCHIVE_TEMPORARY = f"{ARCHIVE_FOLDER}/new.tmp"
SNAPSHOT_TEMPORARY = f"{SNAPSHOT_FOLDER}/new.tmp"
QUARANTINE_TEMPORARY = f"{QUARANTINE_FOLDER}/torn.tmp"
KEYS_TEMPORARY = f"{KEYS_FOLDER}/new.tmp"
KEYS_MERGE_TEMPORARY = f"{KEYS_FOLDER}/merged.tmp"

REPAIR_TEMPORARY = "repair.tmp"
REPAIR_ACCOUNT = "repair.json"
"""The account of a repair, in a folder of the quarantine."""

BRANCH_MARK = "branch.tmp"
"""First file of a directory in which a branch is made. Without `store.json` there is no branch."""

TEMPORARIES = (
    SEGMENT_TEMPORARY,
    REWRITE_TEMPORARY,
    QUARANTINE_TEMPORARY,
    KEYS_TEMPORARY,
    KEYS_MERGE_TEMPORARY,
    ARCHIVE_TEMPORARY,
    SNAPSHOT_TEMPORARY,
    MANIFEST_TEMPORARY,
    REPLICA_TEMPORARY,
    REPAIR_TEMPORARY,
    BRANCH_MARK,
)
"""Temporary files removed by the next writer."""

TEMPORARY_SUFFIX = ".tmp"

ROOT_NAMES = frozenset(
    {
        MANIFEST,
        MANIFEST_TEMPORARY,
        REPAIR_TEMPORARY,
        BRANCH_MARK,
        WRITER_PID,
        FRONTIER,
        LOG_FOLDER,
        ARCHIVE_FOLDER,
        CURSOR_FOLDER,
        REPLICA,
        REPLICA_TEMPORARY,
        QUARANTINE_FOLDER,
        SNAPSHOT_FOLDER,
        KEYS_FOLDER,
    }
)
"""All names at the top of the directory."""

_SEGMENT = re.compile(r"([0-9]{20})\.log")
_ARCHIVE = re.compile(r"([0-9]{20})\.log\.zst")
_TORN = re.compile(r"[0-9]{20}\.log\.([0-9]{1,19})(?:-[0-9]+)?")
_SNAPSHOT = re.compile(r"([0-9]{20})\.snap")
_KEYFRAME = re.compile(r"([0-9]{20})\.snap\.zst")
_CURSOR_SUFFIX = ".json"
_RUN = re.compile(r"([0-9]{20})-([0-9]{20})\.run")


def segment_name(first_seq: int) -> str:
    """Name the segment beginning with event `first_seq`."""
    return f"{LOG_FOLDER}/{first_seq:020d}.log"


def segment_seq(base: str) -> int | None:
    """Return the first event of the segment called `base`, `None` for any other name."""
    return _number(_SEGMENT, base)


def archive_name(first_seq: int) -> str:
    """Name the archive of the segment beginning with event `first_seq`."""
    return f"{ARCHIVE_FOLDER}/{first_seq:020d}.log.zst"


def archive_seq(base: str) -> int | None:
    """Return the first event of the archive called `base`, `None` for any other name."""
    return _number(_ARCHIVE, base)


def torn_offset(base: str) -> int | None:
    """Return the offset of the torn bytes in the quarantine file `base`, `None` for other names."""
    match = _TORN.fullmatch(base)
    return int(match[1]) if match else None


def snapshot_name(seq: int) -> str:
    """Name the snapshot that covers the events up to `seq`."""
    return f"{SNAPSHOT_FOLDER}/{seq:020d}{SNAPSHOT_SUFFIX}"


def keyframe_name(seq: int) -> str:
    """Name the keyframe that covers the events up to `seq`."""
    return f"{ARCHIVE_FOLDER}/{seq:020d}{SNAPSHOT_SUFFIX}.zst"


def keyframe_seq(base: str) -> int | None:
    """Return the last event covered by the keyframe called `base`, `None` for any other name."""
    return _number(_KEYFRAME, base)


def snapshot_seq(base: str) -> int | None:
    """Return the last event covered by the snapshot called `base`, `None` for any other name."""
    return _number(_SNAPSHOT, base)


def run_name(first: int, last: int) -> str:
    """Name the run with the keys of events `first` to `last`."""
    return f"{KEYS_FOLDER}/{first:020d}-{last:020d}.run"


def run_range(base: str) -> tuple[int, int] | None:
    """Return the events covered by the run called `base`, `None` for any other name."""
    match = _RUN.fullmatch(base)
    return (int(match[1]), int(match[2])) if match else None


def cursor_name(name: str) -> str:
    """Name the file of the cursor called `name`."""
    return f"{CURSOR_FOLDER}/{name}{_CURSOR_SUFFIX}"


def cursor_temporary(name: str, token: str) -> str:
    """Name the temporary file of one save of the cursor called `name`."""
    return f"{CURSOR_FOLDER}/{name}.{token}.tmp"


def is_cursor_temporary(base: str, name: str) -> bool:
    """Tell whether a save of the cursor called `name` left the file called `base`."""
    return re.fullmatch(re.escape(name) + r"\.[0-9a-f]{8}\.tmp", base) is not None


def name_of_cursor(base: str) -> str | None:
    """Return the name of the cursor in the file called `base`, `None` for any other file."""
    return base.removesuffix(_CURSOR_SUFFIX) if base.endswith(_CURSOR_SUFFIX) else None


def _number(pattern: re.Pattern[str], base: str) -> int | None:
    match = pattern.fullmatch(base)
    return int(match[1]) if match else None
