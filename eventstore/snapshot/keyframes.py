"""Keyframes: old snapshots that are kept beside the archive, so that any moment is near one.

Theory of operation
-------------------
A snapshot that leaves retention is compressed into `archive/`, or removed. So a keyframe costs the
commit path nothing. Two rules keep keyframes few:

* The events since the keyframe before are as many as the configuration says.
* The file has at most `BYTES_PER_EVENT` bytes for each of these events. So keyframes of a large
  state are rarer. The trading state with its memory of fills takes about 20 bytes an event.

The file is a frame that decompressors skip, with a copy of the snapshot's header, and then the
snapshot in one Zstandard frame. The copy lets a search by time read a few bytes of each file.

A keyframe is a cache, and nothing else. History can be read without one, opening a store never
looks at one, and anybody may delete one. A keyframe is used only after the same checks as a
snapshot: store, number, handlers, and digest. One more check is needed. History may have gone back
to an earlier event since (`timelines.py`), and a keyframe of events that were taken back looks
sound by itself. So a snapshot names the timeline of its event, and the manifest must still have the
event in that timeline. `verify` folds history to each keyframe and compares.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

from eventstore.disk.base import Disk, read_whole, sync_folder, write_atomically
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    ARCHIVE_TEMPORARY,
    keyframe_name,
    snapshot_name,
)
from eventstore.disk.listing import list_keyframes
from eventstore.errors import ReadFailedError
from eventstore.snapshot.format import HEADER_SIZE, InvalidSnapshotError

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover - only one of the two is there
else:
    from backports import zstd  # pragma: no cover - only one of the two is there

__all__ = [
    "BYTES_PER_EVENT",
    "HEADER_AT",
    "compress_keyframe",
    "decompress_keyframe",
    "keep_keyframes",
    "remove_keyframes",
]

BYTES_PER_EVENT = 32
"""Bytes that a keyframe may take for each event since the keyframe before."""
_SKIPPABLE = struct.Struct("<II")
HEADER_AT = _SKIPPABLE.size
"""Offset of the copy of the snapshot's header in a keyframe."""
_MAGIC = 0x184D2A5C
_OPTIONS: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
_MAX_SNAPSHOT = 1 << 32


def compress_keyframe(snapshot: bytes) -> bytes:
    """Make a keyframe of a snapshot's bytes."""
    head = _SKIPPABLE.pack(_MAGIC, HEADER_SIZE) + snapshot[:HEADER_SIZE]
    return head + zstd.compress(snapshot, options=_OPTIONS)


def decompress_keyframe(data: bytes) -> bytes:
    """Return the bytes of the snapshot in a keyframe. Raises `InvalidSnapshotError`."""
    begin = HEADER_AT + HEADER_SIZE
    if data[:HEADER_AT] != _SKIPPABLE.pack(_MAGIC, HEADER_SIZE):
        raise InvalidSnapshotError("it does not begin like a keyframe")
    frame = memoryview(data)[begin:]
    decompressor = zstd.ZstdDecompressor()
    try:
        size = zstd.get_frame_info(frame).decompressed_size
        if not size or size > _MAX_SNAPSHOT:
            raise InvalidSnapshotError(f"a snapshot of {size} bytes is none that was kept")
        snapshot = decompressor.decompress(frame, max_length=size)
    except zstd.ZstdError as error:
        raise InvalidSnapshotError(str(error)) from error
    if not decompressor.eof or decompressor.unused_data or len(snapshot) != size:
        raise InvalidSnapshotError("it is not one whole Zstandard frame")
    if snapshot[:HEADER_SIZE] != data[HEADER_AT:begin]:
        raise InvalidSnapshotError("it begins with another header than its snapshot")
    return snapshot


def keep_keyframes(disk: Disk, outdated: Sequence[int], every: int, begins: int) -> None:
    """Make keyframes of some of the snapshots that leave retention. The caller removes them all.

    Args:
        disk: The store's disk.
        outdated: The events of snapshots that leave retention, ascending.
        every: Events between two keyframes, at least.
        begins: The event before the history.

    Raises:
        OSError: The disk refused a call. Each keyframe is durable or not there.
    """
    there = [seq for seq in list_keyframes(disk) if seq < outdated[0]]
    last = max((begins, *there))
    for seq in outdated:
        since = seq - last
        if since < every:
            continue
        try:
            keyframe = compress_keyframe(read_whole(disk, snapshot_name(seq)))
        except ReadFailedError:
            continue  # a cache is not worth the snapshots and segments that would pile up
        if len(keyframe) <= since * BYTES_PER_EVENT:
            disk.make_folder(ARCHIVE_FOLDER)
            sync_folder(disk)
            write_atomically(disk, keyframe_name(seq), ARCHIVE_TEMPORARY, keyframe)
            last = seq


def remove_keyframes(disk: Disk) -> None:
    """Remove every keyframe: none is wanted any more. Raises `OSError`."""
    there = list_keyframes(disk)
    for seq in there:
        disk.remove(keyframe_name(seq))
    if there:
        sync_folder(disk, ARCHIVE_FOLDER)
