"""The files of a repaired store, made one after the other from a damaged one.

Theory of operation
-------------------
A file without a change is taken over byte for byte. A mended file differs in the turned bits. Every
other file is built anew from the readable records, with an `EventsLost` for each lost number.

The header of a segment holds end and checksum of the segment before. So all segments behind a
rebuilt one are rebuilt, too: the same records, with new headers and seals. A mended segment is what
its successor says, and needs no such thing. The last segment is always rebuilt, because the event
`store_repaired` is added.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import archive_name, segment_name
from eventstore.disk.manifest import Manifest
from eventstore.log.format import (
    HEADER_SIZE,
    InvalidBytesError,
    SealKind,
    SegmentHeader,
    encode_seal,
)
from eventstore.log.repacking import compress_runs
from eventstore.log.segment import SegmentEnd, build_segment
from eventstore.log.tail_verdict import Corrupt, classify_tail
from eventstore.model.codec import EventCodec, latest_time
from eventstore.model.operation import OPERATION_FIELD, Event
from eventstore.model.repair_notes import LOST_TAG
from eventstore.repair.damaged_places import Part
from eventstore.repair.salvage import History, Run
from eventstore.repair.segment_scan import scan_segment
from eventstore.timelines import next_timeline

__all__ = ["Assembly", "NewFile"]


class NewFile(NamedTuple):
    """A file of the repaired store. `content` is `None` where the old file is taken over.

    `source` is the name of the old file, `None` where there was none.
    """

    name: str
    content: bytes | None
    source: str | None


class Assembly:
    """The making of a repaired store.

    `note` is the encoded data of the event `store_repaired`, `None` for a store without operations.
    After the iteration over `files`, `manifest` is the one to write last.
    """

    def __init__(self, history: History, note: dict[str, Any] | None, now: int) -> None:
        self._history = history
        self._disk: Disk = history.disk
        self._note = note
        self._now = now
        self._latest = 0
        self._archived: list[tuple[int, int, int]] = []
        self._previous: SegmentEnd | None = None
        self._relinking = False
        self._next_seq = history.last_seq + 1
        self._reasons = {place.first: place.reason for place in history.diagnosis.damage}

    def files(self) -> Iterator[NewFile]:
        """Yield every archive and segment of the repaired store, in the order of events."""
        last = self._history.last_seq
        parts = [part for part in self._history.diagnosis.parts if part.first <= last]
        for part in parts:
            if part.archived:
                yield self._archive(part)
        log = [part for part in parts if not part.archived]
        if not log:
            yield self._empty_log(last + 1)
            return
        for part, behind in itertools.zip_longest(log, log[1:]):
            yield self._segment(part, final=behind is None)

    def manifest(self, left_at: int) -> Manifest:
        """Return the manifest, with a new timeline that leaves the old one behind `left_at`."""
        old = self._history.diagnosis.manifest
        last = self._history.last_seq
        return msgspec.structs.replace(
            old,
            timelines=next_timeline(old.timelines, left_at, self._disk.entropy(4)),
            archived=tuple(self._archived),
            log_start=min(old.log_start, last + 1),
        )

    # ---- archives -----------------------------------------------------------------------------

    def _archive(self, part: Part) -> NewFile:
        last = min(part.last, self._history.last_seq)
        if self._unchanged(part, last):
            self._latest = part.latest
            self._archived.append((part.first, last, part.latest))
            return NewFile(part.name, None, part.source)
        if self._given_back(part) and last == part.last and not self._edited(part.first, last):
            self._latest = part.latest
            self._archived.append((part.first, last, part.latest))
            return NewFile(part.name, self._history.content(part), part.source)
        runs = list(self._filled(part, last))
        header = self._template(part, None)
        packed = [(run.first, run.events, run.body) for run in runs]
        content = compress_runs(self._disk, header, lambda: packed, last + 1)
        self._archived.append((part.first, last, self._latest))
        return NewFile(archive_name(part.first), content, part.source)

    # ---- the log --------------------------------------------------------------------------------

    def _segment(self, part: Part, *, final: bool) -> NewFile:
        last = min(part.last, self._history.last_seq)
        keep = not final and not self._relinking
        if keep and self._unchanged(part, last):
            self._note_end(part, b"")
            return NewFile(part.name, None, part.source)
        if keep and self._given_back(part) and not self._edited(part.first, last):
            content = self._history.content(part)
            self._note_end(part, content)
            return NewFile(part.name, content, part.source)
        if not final:
            self._relinking = True
        header = self._template(part, self._previous)
        runs = [(run.first, run.events, run.body) for run in self._filled(part, last)]
        return NewFile(part.name, self._built(header, runs, last + 1, final=final), part.source)

    def _empty_log(self, first: int) -> NewFile:
        header = self._fresh_header(first)
        content = self._built(header, [], first, final=True)
        return NewFile(segment_name(first), content, None)

    def _built(
        self,
        header: SegmentHeader,
        runs: list[tuple[int, int, bytes]],
        next_seq: int,
        *,
        final: bool,
    ) -> bytes:
        if final and self._note is not None:
            time = max(self._now, self._latest)
            event: Event[Any] = Event(next_seq, time, self._note, None, None)
            runs = [*runs, (next_seq, 1, EventCodec().encode(event))]
            next_seq += 1
        self._next_seq = next_seq
        data, end = build_segment(self._disk, header, runs, next_seq)
        if not final:
            seal = encode_seal(end.salt, end.seal_at, next_seq, SealKind.CONTINUED, end.seal_crc)
            data += seal
        self._previous = end
        return data

    def _note_end(self, part: Part, content: bytes) -> None:
        """Note the end of a segment taken over, for a segment behind that may be rebuilt."""
        data = content or read_whole(self._disk, part.source or part.name)
        header = SegmentHeader.decode(data[:HEADER_SIZE])
        tail = classify_tail(data, header)
        assert not isinstance(tail, Corrupt)
        if tail.records:
            record = tail.records[-1]
            latest = latest_time(data[record.body], record.events)
            self._latest = max(self._latest, latest)
        crc = zlib.crc32(memoryview(data)[: tail.end])
        self._previous = SegmentEnd(
            header.first_seq, tail.next_seq, header.salt, tail.end, crc, tail.end, crc
        )

    # ---- records --------------------------------------------------------------------------------

    def _given_back(self, part: Part) -> bool:
        """Whether the choices give back every byte of a file: mended, restored or renamed."""
        if part.name in self._history.restored:
            return True
        if part.source is None:
            return False
        flips = self._history.flips.get(part.source, ())
        if flips:
            return part.archived or self._is_whole(part)
        return part.source != part.name and not part.holes

    def _is_whole(self, part: Part) -> bool:
        """Whether the turned bits leave no hole in a segment."""
        data = self._history.content(part)
        try:
            header = SegmentHeader.decode(data[:HEADER_SIZE])
        except InvalidBytesError:
            return False
        return not scan_segment(data, header, part.first, part.last + 1).holes

    def _unchanged(self, part: Part, last: int) -> bool:
        return part.sound and last == part.last and not self._edited(part.first, last)

    def _edited(self, first: int, last: int) -> bool:
        edited = (*self._history.dropped, *self._history.replaced)
        return any(first <= seq <= last for seq in edited)

    def _filled(self, part: Part, last: int) -> Iterator[Run]:
        """Yield the records of a file up to event `last`, lost events in their places."""
        seq = part.first
        for run in self._history.runs_of(part):
            if run.first > last:
                break
            if run.first > seq:
                yield self._lost(seq, run.first - 1)
            self._latest = max(self._latest, latest_time(run.body, run.events))
            yield run
            seq = run.first + run.events
        if seq <= last:
            yield self._lost(seq, last)

    def _lost(self, first: int, last: int) -> Run:
        """Make one record for a gap."""
        codec = EventCodec()
        reason = self._reasons.get(first) or ("dropped" if first in self._history.dropped else "")
        bodies = []
        for seq in range(first, last + 1):
            data: dict[str, Any] = {OPERATION_FIELD: LOST_TAG}
            if seq == first:
                data |= {"first": first, "last": last, "reason": reason}
            event: Event[Any] = Event(seq, self._latest, data, None, None)
            bodies.append(codec.encode(event))
        return Run(first, last - first + 1, b"".join(bodies))

    def _template(self, part: Part, previous: SegmentEnd | None) -> SegmentHeader:
        """Return the header of a rebuilt segment, linked to the segment before."""
        header = None
        if part.source is not None and not part.archived:
            data = read_whole(self._disk, part.source, HEADER_SIZE)
            try:
                header = SegmentHeader.decode(data)
            except InvalidBytesError:
                header = None
        if header is None or header.first_seq != part.first:
            header = self._fresh_header(part.first)
        if previous is None:
            return header
        return msgspec.structs.replace(
            header,
            previous_first=previous.first_seq,
            previous_end=previous.end,
            previous_crc=previous.crc,
        )

    def _fresh_header(self, first: int) -> SegmentHeader:
        store = self._history.diagnosis.manifest.store
        return SegmentHeader(store=store, size=HEADER_SIZE, first_seq=first, salt=b"\1" * 8)
