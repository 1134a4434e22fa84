"""Archiving: sealed segments that no kept snapshot needs, repacked and compressed.

Theory of operation
-------------------
An archive holds one segment (`format.py`) with a closing seal. The events of the segment are
repacked into large records, and the segment is compressed into one Zstandard frame with a content
checksum. So one reader reads segments and archives, and months of history decode at full speed.
Some bits of a frame do not matter to a decompressor, so a flipped bit could go unnoticed. Therefore
a second frame with the CRC-32 of the first frame's bytes follows, of a kind that Zstandard skips.

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
import io
import itertools
import struct
import sys
import zlib
from collections.abc import Generator

import msgspec

from eventstore.cursor import checksum_at
from eventstore.disk.base import Disk, read_whole, sync_folder, write_atomically
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
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SealKind, SegmentHeader
from eventstore.log.runs import gather_runs
from eventstore.log.segment import (
    MOVE_OUT,
    WINDOW,
    build_segment,
    corrupt_segment_error,
    read_header,
)
from eventstore.log.tail import Clean, Corrupt, classify_tail
from eventstore.model.codec import array_header, latest_time

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover - only one of the two is there
else:
    from backports import zstd  # pragma: no cover - only one of the two is there

__all__ = [
    "TRAILER_SIZE",
    "archive_trailer",
    "archived_segments",
    "compact",
    "compress_runs",
    "decompress_archive",
    "open_archive",
    "read_archive",
    "remove_archived_segments",
]

_RECORD_EVENTS = 4096
_RECORD_BYTES = 32 << 10
_TRAILER = struct.Struct("<III")
TRAILER_SIZE = _TRAILER.size
"""Bytes behind the compressed segment."""
_SKIPPABLE_FRAME_MAGIC = 0x184D2A5E  # the magic number of a frame that decompressors skip
_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.checksum_flag: 1,
    # A decompressor needs as much memory as the window. Events resemble the events shortly before
    # them, so a window of 256 KiB is enough.
    zstd.CompressionParameter.window_log: 18,
}
_MAX_SEGMENT = (1 << 30) + (1 << 29)
_Run = tuple[int, int, bytes]


def read_archive(disk: Disk, name: str) -> bytes:
    """Decompress an archive's segment as a whole. Raises the errors of `open_archive`."""
    _, windows = open_archive(disk, name)
    whole = io.BytesIO()  # one large block goes back to the kernel, unlike a thousand small ones
    whole.writelines(windows)
    return whole.getvalue()


def open_archive(disk: Disk, name: str) -> tuple[SegmentHeader, Generator[bytes, None, None]]:
    """Open an archive: return the header of its segment, and all bytes of the segment in windows.

    The checksum of the compressed bytes is verified before anything is decompressed. The windows
    give exactly as many bytes as the header says. The last window comes only after the whole frame
    was verified.

    Raises `FileNotFoundError`, `ReadFailedError`, and `CorruptLogError` for a damaged archive. The
    windows raise `CorruptLogError` too.
    """
    return decompress_archive(disk, name, read_whole(disk, name))


def decompress_archive(
    disk: Disk, name: str, content: bytes
) -> tuple[SegmentHeader, Generator[bytes, None, None]]:
    """Open an archive whose bytes are in memory. `name` stands in errors. See `open_archive`."""
    compressed = memoryview(content)[:-TRAILER_SIZE]
    if content[-TRAILER_SIZE:] != archive_trailer(compressed):
        raise _corrupt_archive_error(disk, name, "its checksum does not match")
    try:
        size = zstd.get_frame_info(compressed).decompressed_size
        if not size or size > _MAX_SEGMENT:
            raise InvalidBytesError(f"a segment of {size} bytes is none that was archived")
        windows = _decompress_windows(disk, name, compressed, size)
        window = next(windows)
        header = SegmentHeader.decode(window[:HEADER_SIZE])
    except (zstd.ZstdError, InvalidBytesError) as error:
        raise _corrupt_archive_error(disk, name, str(error)) from error
    if header.size != size:
        raise _corrupt_archive_error(
            disk, name, f"its segment is not of the {header.size} bytes that it says"
        )
    return header, _with_first_window(window, windows)


def _with_first_window(
    window: bytes, windows: Generator[bytes, None, None]
) -> Generator[bytes, None, None]:
    yield window
    yield from windows


def _decompress_windows(
    disk: Disk, name: str, compressed: memoryview, size: int
) -> Generator[bytes, None, None]:
    """Decompress `size` bytes in windows. Damage is raised instead of the last window at latest.

    A window is held back until the next one follows or the frame has ended properly.
    """
    decompressor, window, left, at = zstd.ZstdDecompressor(), b"", size, 0
    try:
        while left >= 0 and not decompressor.eof:
            piece = b""
            if decompressor.needs_input:
                piece = bytes(compressed[at : at + WINDOW])
                at += len(piece)
                if not piece:
                    break
            # At most one byte more than the header says, so that a surplus is noticed.
            found = decompressor.decompress(piece, max_length=min(WINDOW, left + 1))
            if found and window:
                yield window
            window, left = found or window, left - len(found)
    except zstd.ZstdError as error:
        raise _corrupt_archive_error(disk, name, str(error)) from error
    if left:
        raise _corrupt_archive_error(
            disk, name, f"its segment is not of the {size} bytes that it says"
        )
    if not decompressor.eof or decompressor.unused_data or at < len(compressed):
        raise _corrupt_archive_error(disk, name, "it is not one whole Zstandard frame")
    yield window


def archive_trailer(compressed: bytes | memoryview) -> bytes:
    """Make the end of an archive: a skippable frame with the CRC-32 of the frame before."""
    return _TRAILER.pack(_SKIPPABLE_FRAME_MAGIC, 4, zlib.crc32(compressed))


def compact(disk: Disk, manifest: Manifest, horizon: int, history: str) -> Manifest:
    """Archive or discard every finished segment whose last event is `horizon` or earlier.

    The last segment always stays. The last segment but one stays until the writer has written its
    `CONTINUED` seal.

    The segments must follow one another from `manifest.log_start` on. Only `store.json` knows of a
    first segment that is missing, so a hole must not move `log_start`.

    Args:
        disk: The store's disk.
        manifest: The manifest as `store.json` holds it.
        horizon: Number of the last event that may leave the log.
        history: `archive`, `discard`, or `keep`, which does nothing.

    Returns:
        The manifest as `store.json` then holds it.

    Raises:
        CorruptLogError: A segment is missing or damaged, or an archive does not read back as
            written. Nothing behind the segment was archived or discarded.
        OSError: The disk refused a call. The caller translates the error. The next call finishes
            the work.
    """
    if history == "keep":
        return manifest
    listing = Listing.read(disk)
    firsts = [first for first in listing.segments if first >= manifest.log_start]
    if firsts[:1] != [manifest.log_start]:
        raise _missing(disk, manifest.log_start, "the segment is missing")
    for first, successor in itertools.pairwise(firsts):
        if successor - 1 > horizon:
            break
        name = segment_name(successor)
        previous = read_header(disk, name, manifest.store).previous_first
        if previous != first:
            reason = f"the segment before {name} is missing, or does not belong here"
            raise _missing(disk, previous, reason)
        if successor == firsts[-1] and not _is_continued(disk, manifest, first):
            break  # the writer still has to open and seal this segment
        if history == "archive":
            latest = _archive_segment(disk, manifest, first, successor)
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
                checksum_before=_last_checksum(disk, manifest, first, successor),
            )
        manifest = save_manifest(disk, manifest)
    remove_archived_segments(disk, manifest, listing)
    return manifest


def _missing(disk: Disk, seq: int, reason: str) -> CorruptLogError:
    return corrupt_segment_error(disk, segment_name(seq), 0, seq, reason)


def _is_continued(disk: Disk, manifest: Manifest, first: int) -> bool:
    """Whether a segment ends with a `CONTINUED` seal."""
    name = segment_name(first)
    tail = classify_tail(read_whole(disk, name), read_header(disk, name, manifest.store))
    return isinstance(tail, Clean) and tail.sealed is SealKind.CONTINUED


def _last_checksum(
    disk: Disk, manifest: Manifest, first: int, successor: int
) -> int | msgspec.UnsetType:
    """Return the checksum of the last event of a finished segment that is to be discarded.

    A damaged segment is discarded all the same, and gives no checksum.
    """
    name = segment_name(first)
    data = read_whole(disk, name)
    tail = classify_tail(data, read_header(disk, name, manifest.store))
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


def _archive_segment(disk: Disk, manifest: Manifest, first: int, successor: int) -> int:
    """Archive one segment. Returns the latest time of its events."""
    name = segment_name(first)
    header = read_header(disk, name, manifest.store)
    runs = _repack_events(disk, name, read_whole(disk, name), header, successor)
    disk.make_folder(ARCHIVE_FOLDER)
    sync_folder(disk)
    compressed = compress_runs(disk, header, runs, successor)
    target = archive_name(first)
    write_atomically(disk, target, ARCHIVE_TEMPORARY, compressed)
    kept = read_archive(disk, target)
    if (
        _repack_events(disk, target, kept, SegmentHeader.decode(kept[:HEADER_SIZE]), successor)
        != runs
    ):
        with contextlib.suppress(OSError):
            disk.remove(target)
        raise _corrupt_archive_error(disk, target, "it does not hold what was written to it")
    return max(latest_time(body, count) for _, count, body in runs)


def compress_runs(disk: Disk, header: SegmentHeader, runs: list[_Run], successor: int) -> bytes:
    """Make the content of an archive from records: first number, count, and bytes of each.

    A function of its own, so that the uncompressed segment is freed on return.
    """
    packed, _ = build_segment(disk, header, runs, successor)
    compressed = zstd.compress(packed, options=_OPTIONS)
    return compressed + archive_trailer(compressed)


def _repack_events(
    disk: Disk, name: str, data: bytes, header: SegmentHeader, successor: int
) -> list[_Run]:
    """Repack the events of a finished segment into large records: first number, count, bytes."""
    tail = classify_tail(data, header)
    if isinstance(tail, Corrupt):
        raise corrupt_segment_error(disk, name, tail.offset, tail.expected_seq, tail.reason)
    if tail.next_seq != successor:
        raise corrupt_segment_error(disk, name, tail.end, tail.next_seq, "it ends too early")
    gathered = gather_runs(
        data, tail.records, header.first_seq, max_bytes=_RECORD_BYTES, max_events=_RECORD_EVENTS
    )
    return [(first, end - first, b"".join(bodies)) for first, end, bodies in gathered]


def _corrupt_archive_error(disk: Disk, name: str, reason: str) -> CorruptLogError:
    return corrupt_segment_error(disk, name, 0, archive_seq(name.rpartition("/")[2]), reason)
