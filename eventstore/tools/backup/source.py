"""A store's files as of one number, collected beside a writer and without the lock.

Theory of operation
-------------------
Everything but the last segment never changes: archives, snapshots, runs of keys, and segments with
a successor that has events. The last segment is taken up to the end of a whole record, and the
number of the copy is that of the record's last event. So a copy is consistent, however busy the
writer is.

The copy must not be ahead of the store, and a power cut takes back what is not on stable storage.
The writer tells the durable end in the frontier. A record in flight is durable a moment later, so
the collector waits for the frontier. Where the wait is in vain, two cases are told apart. With a
writer at work, the durable events are taken, and the rest waits for the next copy. Without a
writer, the frontier is a leftover, and all whole records are taken, as recovery takes them.

A file may be archived or removed between two steps. `read_beside_writer` begins anew then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from eventstore.cursor import Cursor
from eventstore.disk.base import Disk, open_to_read, read_whole
from eventstore.disk.layout import (
    CURSOR_FOLDER,
    FRONTIER,
    KEYS_FOLDER,
    SNAPSHOT_FOLDER,
    archive_name,
    cursor_name,
    keyframe_name,
    name_of_cursor,
    run_name,
    run_range,
    segment_name,
    snapshot_name,
)
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.disk.optimistic import read_beside_writer
from eventstore.disk.owner_note import read_owner
from eventstore.disk.processes import standing_of
from eventstore.errors import CorruptSnapshotError
from eventstore.lock_owner import Standing
from eventstore.log.format import HEADER_SIZE, InvalidBytesError
from eventstore.log.frontier_file import Frontier, WriterState
from eventstore.log.reader import LogReader
from eventstore.log.recovery import ExaminedLog, examine_log
from eventstore.log.segment import corrupt_segment_error, read_header
from eventstore.log.tail_verdict import Corrupt, Tail, classify_tail
from eventstore.model.codec import EventCodec
from eventstore.os_errors import translating_read_errors
from eventstore.reading.cursor_check import checksum_in

__all__ = ["Collected", "SourceFile", "collect", "durable_end"]

_WAIT = 0.5  # seconds for the frontier to pass the record in flight
_SNAPSHOTS = 2  # newest snapshots in a copy


class SourceFile(NamedTuple):
    """A file to be copied: the first `length` bytes, with zeros behind them up to `size`.

    A `settled` file never changes again.
    """

    name: str
    length: int
    size: int
    settled: bool


class Collected(NamedTuple):
    """A store as of event `last`: the manifest, the cursor there, and the files.

    `not_durable` counts the events that were left out, because a power cut may take them back.
    """

    manifest: Manifest
    cursor: Cursor
    last_time: int | None
    files: tuple[SourceFile, ...]
    not_durable: int

    @property
    def last(self) -> int:
        return self.cursor.seq


def collect(disk: Disk) -> Collected:
    """Collect a store's files. Raises the errors of reading a store, and changes nothing."""
    with translating_read_errors(disk.path):
        return read_beside_writer(disk, lambda listing: _collect(disk, listing))


def _collect(disk: Disk, listing: Listing) -> Collected:
    manifest = load_manifest(disk)
    if not manifest.logged:
        last = max(listing.snapshot_seqs, default=0)
        log: list[SourceFile] = []
        whole = last
    else:
        examined = _examine(disk, manifest, listing)
        whole = examined.next_seq - 1
        last = max(durable_end(disk, manifest, whole), manifest.history_start - 1)
        log = list(_segments(disk, manifest, examined, last))
    files = [*_archives(disk, manifest), *log]
    files += _snapshots(disk, manifest, listing.snapshot_seqs, last)
    files += [_settled(disk, keyframe_name(seq)) for seq in listing.keyframes if seq <= last]
    files += _runs(disk, last)
    files += _cursors(disk)
    checksum = checksum_in(disk, manifest, last)
    return Collected(
        manifest=manifest,
        cursor=manifest.lineage(disk.path).cursor(last, checksum),
        last_time=_time_of(disk, manifest, last),
        files=tuple(files),
        not_durable=whole - last,
    )


def _examine(disk: Disk, manifest: Manifest, listing: Listing) -> ExaminedLog:
    newest = max(listing.segments, default=1)
    return examine_log(
        disk, manifest.store, listing, log_start=manifest.log_start, verify_from=newest
    )


def durable_end(disk: Disk, manifest: Manifest, whole: int) -> int:
    """Return the last event that is safe to copy, `whole` being the last one that is whole."""
    deadline = time.monotonic() + _WAIT
    while True:
        frontier = _frontier(disk, manifest)
        if frontier is None or frontier.state is WriterState.CLOSED or frontier.seq >= whole:
            return whole
        if time.monotonic() > deadline:
            return frontier.seq if _writer_lives(disk) else whole
        time.sleep(0.01)


def _frontier(disk: Disk, manifest: Manifest) -> Frontier | None:
    try:
        frontier = Frontier.decode(read_whole(disk, FRONTIER))
    except (FileNotFoundError, InvalidBytesError):
        return None
    return frontier if frontier.store == manifest.store else None


def _writer_lives(disk: Disk) -> bool:
    """Whether a writer may be at work. In doubt there is one, and its events wait."""
    owner = read_owner(disk)
    return owner is not None and standing_of(owner) is not Standing.ENDED


def _segments(
    disk: Disk, manifest: Manifest, examined: ExaminedLog, last: int
) -> Iterator[SourceFile]:
    """Yield the segments up to event `last`, the last of them up to the end of its record."""
    firsts = [first for first in examined.segments if first <= last] or examined.segments[:1]
    for first in firsts[:-1]:
        yield _settled(disk, segment_name(first))
    name = segment_name(firsts[-1])
    if firsts[-1] == examined.last.first_seq:
        tail: Tail = examined.last.tail
    else:  # the last segment has no event yet
        tail = classify_tail(read_whole(disk, name), read_header(disk, name, manifest.store))
    if isinstance(tail, Corrupt):
        raise corrupt_segment_error(disk, name, tail.offset, tail.expected_seq, tail.reason)
    ends = [record.end for record in tail.records if record.first_seq <= last]
    length = ends[-1] if ends else HEADER_SIZE
    size = read_header(disk, name, manifest.store).size
    yield SourceFile(name, length, max(size, length), settled=False)


def _archives(disk: Disk, manifest: Manifest) -> Iterator[SourceFile]:
    for first, _, _ in manifest.archived:
        name = archive_name(first)
        yield _settled(disk, name)


def _snapshots(
    disk: Disk, manifest: Manifest, seqs: Sequence[int], last: int
) -> Iterator[SourceFile]:
    """Yield the newest snapshots, and the one that the history begins with."""
    kept = set([seq for seq in seqs if seq <= last][-_SNAPSHOTS:])
    base = manifest.history_start - 1
    if base in seqs:
        kept.add(base)
    if base and manifest.kind == "store" and not any(seq >= base for seq in kept):
        raise CorruptSnapshotError(
            f"{disk.path}: the history begins with event {base + 1}, and no snapshot stands in for "
            f"the events before; next: eventstore verify {disk.path}",
            path=f"{disk.path}/{SNAPSHOT_FOLDER}",
        )
    for seq in sorted(kept):
        yield _settled(disk, snapshot_name(seq))


def _runs(disk: Disk, last: int) -> Iterator[SourceFile]:
    for base in disk.list(KEYS_FOLDER):
        covered = run_range(base)
        if covered is not None and covered[0] <= last:  # opening cuts what reaches too far
            name = run_name(*covered)
            yield _settled(disk, name)


def _cursors(disk: Disk) -> Iterator[SourceFile]:
    """Yield the named cursors. A cursor ahead of the copy is refused in the restored store."""
    for base in disk.list(CURSOR_FOLDER):
        name = name_of_cursor(base)
        if name is not None:
            yield _settled(disk, cursor_name(name))._replace(settled=False)


def _settled(disk: Disk, name: str) -> SourceFile:
    with open_to_read(disk, name) as file:
        size = file.size()
    return SourceFile(name, size, size, settled=True)


def _time_of(disk: Disk, manifest: Manifest, seq: int) -> int | None:
    if not manifest.logged or seq < manifest.history_start:
        return None
    for chunk in LogReader(disk, manifest.store).chunks(seq, seq + 1):
        events = EventCodec().decode(chunk.array, chunk.events, chunk.first_seq)
        return events[seq - chunk.first_seq].time
    return None
