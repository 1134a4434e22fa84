"""Keyframes: old snapshots that are kept beside the archive, so that any moment is near one.

Theory of operation
-------------------
A snapshot that leaves retention is moved into `archive/`, or removed. So a keyframe costs the
commit path nothing, and costs the disk no second writing. Two rules keep keyframes few:

* The events since the keyframe before are as many as the configuration says.
* The file has at most `BYTES_PER_EVENT` bytes for each of these events. So keyframes of a large
  state are rarer, and keyframes take less space than the events in the archive do.

A keyframe is a cache, and nothing else. History can be read without one, opening a store never
looks at one, and anybody may delete one. A keyframe is used only after the same checks as a
snapshot: store, number, handlers, and digest. One more check is needed. History may have gone back
to an earlier event since (`disk/timelines.py`), and a keyframe of events that were taken back looks
sound by itself. So a snapshot names the timeline of its event, and the manifest must still have the
event in that timeline. `verify` folds history to each keyframe and compares.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.disk.base import Disk, open_to_read, sync_folder
from eventstore.disk.layout import ARCHIVE_FOLDER, SNAPSHOT_FOLDER, keyframe_name, snapshot_name
from eventstore.disk.listing import list_keyframes

__all__ = ["BYTES_PER_EVENT", "keep_keyframes", "remove_keyframes"]

BYTES_PER_EVENT = 8
"""Bytes that a keyframe may take for each event since the keyframe before."""


def keep_keyframes(disk: Disk, outdated: Sequence[int], every: int, begins: int) -> list[int]:
    """Move some of the outdated snapshots into the archive, and return the others.

    Args:
        disk: The store's disk.
        outdated: The events of snapshots that leave retention, ascending.
        every: Events between two keyframes, at least.
        begins: The event before the history.

    Raises:
        OSError: The disk refused a call. A power cut in between may leave a snapshot in one of the
            two folders, in both or in none, and each is right.
    """
    there = [seq for seq in list_keyframes(disk) if seq < outdated[0]]
    last = max((begins, *there))
    rest, kept = list[int](), list[int]()
    for seq in outdated:
        since = seq - last
        if since >= every and _size(disk, seq) <= since * BYTES_PER_EVENT:
            kept.append(seq)
            last = seq
        else:
            rest.append(seq)
    if kept:
        disk.make_folder(ARCHIVE_FOLDER)
        sync_folder(disk)
        for seq in kept:
            disk.rename(snapshot_name(seq), keyframe_name(seq))
        sync_folder(disk, ARCHIVE_FOLDER)
        sync_folder(disk, SNAPSHOT_FOLDER)
    return rest


def remove_keyframes(disk: Disk) -> None:
    """Remove every keyframe: none is wanted any more. Raises `OSError`."""
    there = list_keyframes(disk)
    for seq in there:
        disk.remove(keyframe_name(seq))
    if there:
        sync_folder(disk, ARCHIVE_FOLDER)


def _size(disk: Disk, seq: int) -> int:
    with open_to_read(disk, snapshot_name(seq)) as file:
        return file.size()
