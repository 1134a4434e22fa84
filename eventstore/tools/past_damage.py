"""Events of a damaged log: everything whole, and a gap for each part that cannot be read.

A record has checksums and a number of its own, so the records behind damage can be read, as a
repair reads these (`repair/scan.py`). An archive with damage is left out as a whole. Outside of the
damaged files the log is read as always, so nothing waits for a diagnosis of the whole store.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptLogError, EventStoreError
from eventstore.log.base import Chunk
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, Record, SegmentHeader
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.log.reader_types import HistoryFile
from eventstore.log.runs import chunks_of
from eventstore.log.segment import header_fault
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.repair.scan import scan_segment

__all__ = ["Gap", "read_past_damage"]


class Gap(msgspec.Struct, frozen=True):
    """Events that cannot be read: `first` to `last`, in the file `path`.

    `last` is `None` where nobody knows how many there were. `reason` is the message of the error.
    """

    first: int
    last: int | None
    path: str
    reason: str


def read_past_damage(
    disk: Disk, start: int, stop: int | None = None, codec: EventCodec | None = None
) -> Iterator[Sequence[Event[Any]] | Gap]:
    """Iterate over the events from number `start` to `stop` (exclusive), and over the gaps.

    Payloads are plain dictionaries, or what `codec` decodes. Raises `StoreNotFoundError`,
    `HistoryUnavailableError`, and `ReadFailedError`.
    """
    seq = start
    codec = EventCodec() if codec is None else codec
    manifest = load_manifest(disk)
    while stop is None or seq < stop:
        try:
            for chunk in LogReader(disk, manifest.store, CACHED_BYTES).chunks(seq, stop):
                yield _events(codec, chunk, seq, stop)
                seq = chunk.first_seq + chunk.events
            return
        except CorruptLogError as error:
            reason, path = str(error), error.path.removeprefix(f"{disk.path}/")
        files = _files(disk)
        place = bisect.bisect_right([file.first_seq for file in files], seq)
        following = files[place].first_seq if place < len(files) else None
        end = min((one for one in (following, stop) if one is not None), default=None)
        for chunk in _rest_of(disk, files[place - 1] if place else None, following, seq, end):
            if chunk.first_seq > seq:
                yield Gap(seq, chunk.first_seq - 1, path, reason)
            yield _events(codec, chunk, max(seq, chunk.first_seq), end)
            seq = chunk.first_seq + chunk.events
        if end is None:
            yield Gap(seq, None, path, reason)
            return
        if seq < end:
            yield Gap(seq, end - 1, path, reason)
            seq = end


def _files(disk: Disk) -> list[HistoryFile]:
    listing, manifest = Listing.read(disk), load_manifest(disk)
    files = [HistoryFile(first, True) for first, _, _ in manifest.archived]
    files += [HistoryFile(one, False) for one in listing.segments if one >= manifest.log_start]
    return sorted(files)


def _rest_of(
    disk: Disk, file: HistoryFile | None, following: int | None, seq: int, end: int | None
) -> Iterator[Chunk]:
    """Yield the whole records of a segment from event `seq` on, each run of records a chunk."""
    if file is None or file.archived:
        return
    with contextlib.suppress(EventStoreError, FileNotFoundError):
        data = read_whole(disk, file.name)
        try:
            header = SegmentHeader.decode(data[:HEADER_SIZE])
        except InvalidBytesError:  # the records behind a damaged header are whole
            header = None
        if header is not None and header_fault(header, load_manifest(disk).store, file.first_seq):
            return
        scan = scan_segment(data, header, file.first_seq, following)
        for run in _runs(scan.records, seq, end):
            yield from chunks_of(data, run, seq, CACHED_BYTES)


def _runs(records: Iterable[Record], seq: int, end: int | None) -> Iterator[list[Record]]:
    """Yield runs of records with consecutive numbers, all of them from event `seq` on."""
    run = list[Record]()
    for record in records:
        if record.first_seq + record.events <= seq:
            continue
        if end is not None and record.first_seq >= end:
            break
        if run and record.first_seq != run[-1].first_seq + run[-1].events:
            yield run
            run = []
        run.append(record)
    if run:
        yield run


def _events(codec: EventCodec, chunk: Chunk, first: int, stop: int | None) -> Sequence[Event[Any]]:
    events = codec.decode(chunk.array, chunk.events, chunk.first_seq)
    behind = chunk.events if stop is None else stop - chunk.first_seq
    return events[max(0, first - chunk.first_seq) : behind]
