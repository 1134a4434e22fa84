"""`store.json` put together again from the other files.

A single wrong character is found by trial: the checksum of the facts tells the right one. Otherwise
the headers of segments, archives and snapshots give the store's identity, and names and contents
give the history. Time of making, timelines and initial state are in no other file.
"""

from __future__ import annotations

import string
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import FRONTIER, MANIFEST, archive_name, segment_name, snapshot_name
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest, decode_manifest
from eventstore.errors import EventStoreError
from eventstore.log.archive import read_archive
from eventstore.log.flipped_bits import Flip
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader
from eventstore.log.frontier_file import FRONTIER_SIZE, Frontier
from eventstore.log.tail_verdict import Corrupt, classify_tail
from eventstore.model.codec import latest_time
from eventstore.snapshot.format import InvalidSnapshotError, SnapshotHeader
from eventstore.timelines import first_timeline, next_timeline

__all__ = ["RebuiltManifest", "rebuilt_manifest"]

_CHARACTERS = (string.printable.strip() + " \n").encode()
_MOST_TRIED = 2 << 10
"""Bytes of the largest `store.json` that is searched for a wrong character by trial."""


_Archived = tuple[int, int, int]
"""An archive: first and last event, and the latest time of any event up to there."""


class RebuiltManifest(NamedTuple):
    """A manifest, the unknown facts in words, and the wrong bits of `store.json` if few."""

    manifest: Manifest
    unknown: tuple[str, ...] = ()
    flips: tuple[Flip, ...] | None = None


def rebuilt_manifest(disk: Disk, listing: Listing) -> RebuiltManifest | None:
    """Put the manifest together again. `None` where no file tells the store's identity."""
    identities = Counter(_identities(disk, listing))
    try:
        data = read_whole(disk, MANIFEST)
    except (FileNotFoundError, EventStoreError):
        data = b""
    mended = _mended(data, set(identities))
    if mended is not None:
        return mended
    if not identities:
        return None
    return _from_files(disk, listing, identities.most_common(1)[0][0])


def _identities(disk: Disk, listing: Listing) -> Iterator[uuid.UUID]:
    """Yield the store's UUID in each file."""
    for first in listing.segments:
        try:
            yield SegmentHeader.decode(read_whole(disk, segment_name(first), HEADER_SIZE)).store
        except (InvalidBytesError, FileNotFoundError, EventStoreError):
            continue
    for seq in listing.snapshot_seqs:
        try:
            yield SnapshotHeader.decode(read_whole(disk, snapshot_name(seq))).store
        except (InvalidSnapshotError, FileNotFoundError, EventStoreError):
            continue
    for first in listing.archives:
        header = _archive_header(disk, first)
        if header is not None:
            yield header[0].store


def _archive_header(disk: Disk, first: int) -> tuple[SegmentHeader, bytes] | None:
    try:
        data = read_archive(disk, archive_name(first))
        return SegmentHeader.decode(data[:HEADER_SIZE]), data
    except (InvalidBytesError, FileNotFoundError, EventStoreError):
        return None


def _mended(data: bytes, identities: set[uuid.UUID]) -> RebuiltManifest | None:
    """Try every other character at every place. The checksum knows the right one."""
    if not data or len(data) > _MOST_TRIED:
        return None
    turned, decode = bytearray(data), msgspec.json.Decoder(Manifest).decode
    for offset, found in enumerate(data):
        for character in {*_CHARACTERS, *(found ^ 1 << bit for bit in range(8))} - {found}:
            turned[offset] = character
            try:
                decode(turned)  # most trials end here, after one call
                manifest = decode_manifest(bytes(turned))
            except (ValueError, RecursionError):  # of which `DecodeError` is one
                continue
            if manifest.store in identities or not identities:
                wrong = character ^ found
                flips = tuple(Flip(offset, bit) for bit in range(8) if wrong >> bit & 1)
                return RebuiltManifest(manifest, (), flips)
        turned[offset] = found
    return None


def _from_files(disk: Disk, listing: Listing, store: uuid.UUID) -> RebuiltManifest:
    archived: list[_Archived] = []
    damaged: list[int] = []
    latest = 0
    for first in listing.archives:
        found = _archive_header(disk, first)
        if found is not None and found[0].store != store:
            continue
        tail = None if found is None else classify_tail(found[1], found[0])
        if found is None or tail is None or isinstance(tail, Corrupt):
            damaged.append(first)
            continue
        for record in tail.records:
            latest = max(latest, latest_time(found[1][record.body], record.events))
        archived.append((first, tail.next_seq - 1, latest))
    segments = listing.segments
    log_start = _log_start(archived, segments)
    archived = _without_gaps(archived, damaged, log_start)
    history_start = min([first for first, _, _ in archived] + [log_start])
    logged = bool(segments or archived)
    if not logged:
        log_start = history_start = max(listing.snapshot_seqs, default=0) + 1
    number, timelines = _timeline(disk, store), first_timeline(store)
    while len(timelines) < number:
        timelines = next_timeline(timelines, 0, bytes(4))
    manifest = Manifest(
        store=store,
        created=_created(disk, listing, store),
        timelines=timelines[-256:],
        logged=logged,
        log_start=log_start,
        history_start=history_start,
        archived=tuple(archived),
    )
    unknown = ["when the store was made", "the identities of its timelines", "its initial state"]
    if history_start > 1:
        unknown.append("whether the events before were discarded, or are in another store")
    return RebuiltManifest(manifest, tuple(unknown))


def _without_gaps(archived: list[_Archived], damaged: list[int], log_start: int) -> list[_Archived]:
    """Add the archives that are damaged or gone: the events in front of a file were in a file."""
    found: list[_Archived] = []
    seq = min([first for first, _, _ in archived[:1]] + damaged + [log_start])
    for first, last, latest in [*archived, (log_start, log_start - 1, 0)]:
        begins = [seq, *(one for one in damaged if seq < one < first)]
        for begin, end in zip(begins, [*begins[1:], first], strict=True):
            if begin < end:
                found.append((begin, end - 1, found[-1][2] if found else 0))
        if first <= last:
            found.append((first, last, latest))
        seq = max(seq, last + 1)
    return found


def _log_start(archived: list[_Archived], segments: list[int]) -> int:
    """Return the first event of the log: the one behind the archives."""
    behind = archived[-1][1] + 1 if archived else 0
    later = [first for first in segments if first >= behind]
    if behind and behind in later:
        return behind
    return min(later, default=behind or 1)


def _timeline(disk: Disk, store: uuid.UUID) -> int:
    """Return the number of the last timeline in the frontier file, 1 if unknown."""
    try:
        frontier = Frontier.decode(read_whole(disk, FRONTIER, FRONTIER_SIZE))
    except (FileNotFoundError, InvalidBytesError, EventStoreError):
        return 1
    return min(frontier.timeline, 256) if frontier.store == store else 1


def _created(disk: Disk, listing: Listing, store: uuid.UUID) -> int:
    """Return the time of the oldest snapshot in place of the time of making, or 1970."""
    times = []
    for seq in listing.snapshot_seqs:
        try:
            header = SnapshotHeader.decode(read_whole(disk, snapshot_name(seq)))
        except (InvalidSnapshotError, FileNotFoundError, EventStoreError):
            continue
        if header.store == store:
            times.append(header.created)
    return min(times, default=0)
