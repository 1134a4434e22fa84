"""Archiving: sealed segments that no kept snapshot needs, repacked and compressed.

Theory of operation
-------------------
An archive holds one segment (`format.py`) with a closing seal. The events of the segment are
repacked into large records, and the records are compressed in blocks with an index
(`archive_format.py`). So one reader reads segments and archives, months of history decode at full
speed, and one event costs one block.

Archiving runs on a background thread of an engine. The thread works in slices of a fraction of a
millisecond, and calls `pause` in between. There the thread gives way to the event loop, and to a
snapshot that is due meanwhile.

The order of steps makes a crash harmless at any point:

1. The archive is written under a temporary name and synced.
2. The archive is renamed, and the archive folder is synced.
3. The archive is read back and compared with the segment, event for event.
4. `store.json` counts the segment as archived.
5. The segment is removed.

Opening a store removes a segment that `store.json` counts as archived. An archive that `store.json`
does not count is made again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

import msgspec

from eventstore.cursor import checksum_at
from eventstore.disk.base import (
    Disk,
    give_way,
    open_to_read,
    read_whole,
    sync_folder,
    write_atomically,
)
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    ARCHIVE_TEMPORARY,
    LOG_FOLDER,
    archive_name,
    archive_seq,
    segment_name,
)
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest, save_manifest
from eventstore.errors import CorruptLogError
from eventstore.log.archive_format import (
    ArchiveIndex,
    decompress_block,
    read_index,
    told_tail_size,
)
from eventstore.log.format import (
    HEADER_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
)
from eventstore.log.repacking import Pause, compress_runs, no_pause, repack
from eventstore.log.segment import MOVE_OUT, corrupt_segment_error, read_header
from eventstore.log.tail_verdict import Clean, Corrupt, classify_tail
from eventstore.model.codec import array_header

__all__ = [
    "OpenedArchive",
    "archived_segments",
    "compact",
    "decompress_archive",
    "open_archive",
    "read_archive",
    "read_archive_index",
    "remove_archived_segments",
]

_FEW_RECORDS = 200
_TAIL_GUESS = 8 << 10
"""Bytes read from the end of an archive: index and seek table of about 290 blocks."""


class OpenedArchive(NamedTuple):
    """A part of an archive.

    - `archive_index`: the verified index of the archive.
    - `first_block`: number of the first block of the part.
    - `blocks`: the decompressed blocks, each verified when the block is taken.
    """

    archive_index: ArchiveIndex
    first_block: int
    blocks: Generator[bytes, None, None]


def open_archive(disk: Disk, name: str, start: int, stop: int) -> OpenedArchive:
    """Read the compressed blocks that hold the events `start` up to `stop` (exclusive).

    Only these blocks are read, and they are decompressed one by one.

    Raises `FileNotFoundError`, `ReadFailedError`, and `CorruptLogError` for a damaged archive. The
    blocks raise `CorruptLogError` too.
    """
    with open_to_read(disk, name) as file:
        size = file.size()
        tail = file.read(max(0, size - _TAIL_GUESS), _TAIL_GUESS)
        try:
            wanted = told_tail_size(tail, size)
            if wanted > len(tail):
                tail = file.read(size - wanted, wanted)
            index = read_index(tail, size)
        except InvalidBytesError as error:
            raise _corrupt_archive_error(disk, name, str(error)) from error
        first, last = index.block_of(start), index.block_of(stop - 1)
        begin, end = index.frames[first], index.frames[last + 1]
        frames = file.read(begin, end - begin)
    return OpenedArchive(index, first, _decompress_blocks(disk, name, index, frames, first, last))


def read_archive_index(disk: Disk, name: str, content: bytes) -> ArchiveIndex:
    """Read the index of an archive whose bytes are in memory. Raises `CorruptLogError`."""
    try:
        return read_index(content, len(content))
    except InvalidBytesError as error:
        raise _corrupt_archive_error(disk, name, str(error)) from error


def _decompress_blocks(
    disk: Disk, name: str, index: ArchiveIndex, frames: bytes | memoryview, first: int, last: int
) -> Generator[bytes, None, None]:
    view, base = memoryview(frames), index.frames[first]
    for number in range(first, last + 1):
        begin, end = index.frames[number] - base, index.frames[number + 1] - base
        try:
            data = decompress_block(index, number, view[begin:end])
            if number == 0:
                index.check_header(SegmentHeader.decode(data[:HEADER_SIZE]))
        except InvalidBytesError as error:
            raise _corrupt_archive_error(disk, name, str(error)) from error
        yield data


def read_archive(disk: Disk, name: str) -> bytes:
    """Decompress an archive's segment as a whole, and compare the index with the segment.

    Raises `FileNotFoundError`, `ReadFailedError`, and `CorruptLogError` for a damaged archive.
    """
    return decompress_archive(disk, name, read_whole(disk, name), lambda: give_way(disk))


def decompress_archive(disk: Disk, name: str, content: bytes, pause: Pause = no_pause) -> bytes:
    """Decompress an archive whose bytes are in memory. `name` stands in errors.

    Raises `CorruptLogError` for a damaged archive.
    """
    index = read_archive_index(disk, name, content)
    last = len(index.firsts) - 1
    frames = memoryview(content)[: index.frames[-1]]
    whole = io.BytesIO(bytes(index.offsets[-1]))  # no join, and no copy as it grows: either is slow
    for block in _decompress_blocks(disk, name, index, frames, 0, last):
        whole.write(block)
        pause()
    data = whole.getvalue()  # without a copy
    try:
        index.check_segment(data, pause)
    except InvalidBytesError as error:
        raise _corrupt_archive_error(disk, name, str(error)) from error
    return data


def compact(
    disk: Disk,
    manifest: Manifest,
    horizon: int,
    history: str,
    pause: Pause = no_pause,
    begins: Callable[[int], None] = lambda waiting: None,
) -> Manifest:
    """Archive or discard every finished segment whose last event is `horizon` or earlier.

    The last segment always stays. The last segment but one stays until the writer has written its
    `CONTINUED` seal.

    The segments must follow one another from `manifest.log_start` on. Only `store.json` knows of a
    first segment that is missing, so a hole must not move `log_start`. Returns the manifest as
    `store.json` then holds it.

    Args:
        manifest: The manifest as `store.json` holds it.
        horizon: Number of the last event that may leave the log.
        history: `archive`, `discard`, or `keep`, which does nothing.
        pause: Called between slices of the work, with nothing half made on the disk.
        begins: Called before each segment, with the number of segments that wait.

    Raises:
        CorruptLogError: A segment is missing or damaged, or an archive does not read back as
            written. Nothing behind the segment was archived or discarded.
        OSError: The disk refused a call. The caller translates the error. The next call finishes
            the work.
    """
    if history == "keep":
        return manifest
    listing = Listing.read(disk)
    if archived_segments(disk, manifest, listing):
        # If an earlier sync of store.json failed, only the page cache says that these may go.
        manifest = save_manifest(disk, manifest)
    firsts = [first for first in listing.segments if first >= manifest.log_start]
    if firsts[:1] != [manifest.log_start]:
        raise _missing(disk, manifest.log_start, "the segment is missing")
    for waiting, (first, successor) in enumerate(itertools.pairwise(firsts), 1 - len(firsts)):
        if successor - 1 > horizon:
            break
        begins(-waiting)
        name = segment_name(successor)
        previous = read_header(disk, name, manifest.store).previous_first
        if previous != first:
            reason = f"the segment before {name} is missing, or does not belong here"
            raise _missing(disk, previous, reason)
        if successor == firsts[-1] and not _is_continued(disk, manifest, first, pause):
            break  # the writer still has to open and seal this segment
        if history == "archive":
            latest = _archive_segment(disk, manifest, first, successor, pause)
            if manifest.archived:
                latest = max(latest, manifest.archived[-1][2])
            manifest = msgspec.structs.replace(
                manifest,
                log_start=successor,
                archived=(*manifest.archived, (first, successor - 1, latest)),
            )
        else:
            manifest = msgspec.structs.replace(
                manifest,
                log_start=successor,
                history_start=successor,
                archived=(),
                checksum_before=_last_checksum(disk, manifest, first, successor, pause),
            )
        manifest = save_manifest(disk, manifest)
    remove_archived_segments(disk, manifest, listing)
    return manifest


def _missing(disk: Disk, seq: int, reason: str) -> CorruptLogError:
    return corrupt_segment_error(disk, segment_name(seq), 0, seq, reason)


def _is_continued(disk: Disk, manifest: Manifest, first: int, pause: Pause) -> bool:
    """Whether a segment ends with a `CONTINUED` seal."""
    name = segment_name(first)
    header = read_header(disk, name, manifest.store)
    tail = classify_tail(read_whole(disk, name), header, pause)
    return isinstance(tail, Clean) and tail.sealed is SealKind.CONTINUED


def _last_checksum(
    disk: Disk, manifest: Manifest, first: int, successor: int, pause: Pause
) -> int | msgspec.UnsetType:
    """Return the checksum of the last event of a finished segment that is to be discarded.

    A damaged segment is discarded all the same, and gives no checksum.
    """
    name = segment_name(first)
    data = read_whole(disk, name)
    header = read_header(disk, name, manifest.store)
    tail = classify_tail(data, header, pause)
    if isinstance(tail, Corrupt) or tail.next_seq != successor or not tail.records:
        return msgspec.UNSET
    last = tail.records[-1]
    return checksum_at(array_header(last.events) + data[last.body], last.events - 1)


def archived_segments(disk: Disk, manifest: Manifest, listing: Listing) -> list[str]:
    """Name the listed segments that `store.json` counts as archived or discarded.

    Raises `CorruptLogError` where a segment contradicts its name, since the file may be the only
    copy of other events.
    """
    names = [segment_name(first) for first in listing.segments if first < manifest.log_start]
    for name in names:
        read_header(disk, name, manifest.store, MOVE_OUT)
    return names


def remove_archived_segments(disk: Disk, manifest: Manifest, listing: Listing) -> None:
    """Remove the listed segments and archives that `store.json` no longer counts.

    `listing` may be older than `manifest`. Raises `CorruptLogError` as `archived_segments` does,
    and `OSError`, which the caller translates.
    """
    names = archived_segments(disk, manifest, listing)
    for name in names:
        disk.remove(name)
    if names:
        sync_folder(disk, LOG_FOLDER)
    kept = {first for first, _, _ in manifest.archived}
    discarded = [
        first for first in listing.archives if first < manifest.history_start and first not in kept
    ]
    for first in discarded:
        disk.remove(archive_name(first))
    if discarded:
        sync_folder(disk, ARCHIVE_FOLDER)


def _archive_segment(
    disk: Disk, manifest: Manifest, first: int, successor: int, pause: Pause
) -> int:
    """Archive one segment. Returns the latest time of its events."""
    compressed, digest = _compress_segment(disk, manifest, first, successor, pause)
    disk.make_folder(ARCHIVE_FOLDER)
    sync_folder(disk)
    target = archive_name(first)
    write_atomically(disk, target, ARCHIVE_TEMPORARY, compressed)
    content = read_whole(disk, target)
    kept = decompress_archive(disk, target, content, pause)
    header = SegmentHeader.decode(kept[:HEADER_SIZE])
    found = _finished_records(disk, target, kept, header, successor, pause)
    if _events_digest(kept, found, pause) != digest:
        with contextlib.suppress(OSError):
            disk.remove(target)
        raise _corrupt_archive_error(disk, target, "it does not hold what was written to it")
    return read_archive_index(disk, target, content).latest[-1]


def _compress_segment(
    disk: Disk, manifest: Manifest, first: int, successor: int, pause: Pause
) -> tuple[bytes, bytes]:
    """Make the content of an archive, and the digest of its events. The segment is given up."""
    name = segment_name(first)
    header, data = read_header(disk, name, manifest.store), read_whole(disk, name)
    records = _finished_records(disk, name, data, header, successor, pause)
    pack = functools.partial(repack, data, records, first, pause)
    archive = compress_runs(disk, header, pack, successor, pause)
    return archive, _events_digest(data, records, pause)


def _finished_records(
    disk: Disk, name: str, data: bytes, header: SegmentHeader, successor: int, pause: Pause
) -> tuple[Record, ...]:
    """Verify a finished segment, and return its records with events."""
    tail = classify_tail(data, header, pause)
    if isinstance(tail, Corrupt):
        raise corrupt_segment_error(disk, name, tail.offset, tail.expected_seq, tail.reason)
    if tail.next_seq != successor:
        raise corrupt_segment_error(disk, name, tail.end, tail.next_seq, "it ends too early")
    return tuple(tail.records)


def _events_digest(data: bytes, records: Iterable[Record], pause: Pause) -> bytes:
    """Return a digest of the encoded events, however they are divided into records."""
    digest, view = hashlib.blake2b(), memoryview(data)
    for number, record in enumerate(records, 1):
        digest.update(view[record.body])
        if not number % _FEW_RECORDS:
            pause()
    return digest.digest()


def _corrupt_archive_error(disk: Disk, name: str, reason: str) -> CorruptLogError:
    return corrupt_segment_error(disk, name, 0, archive_seq(name.rpartition("/")[2]), reason)
