"""The readable events of a damaged history, in order, over every gap.

A `History` is a diagnosis together with the choices of a repair: bits to turn, the last event, and
events to drop or replace. `verify`, the prices of a repair and the repaired store read the same
`History`. `tools/events_around_damage.py` reads one damaged file of an undiagnosed store by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptLogError
from eventstore.log.archive import decompress_archive
from eventstore.log.base import Chunk
from eventstore.log.flipped_bits import Flip, flipped
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SealKind, SegmentHeader
from eventstore.log.runs import CHUNK_BYTES, CHUNK_EVENTS
from eventstore.log.segment import header_fault
from eventstore.model.codec import EventCodec, array_header
from eventstore.model.operation import Event
from eventstore.repair.damaged_places import Diagnosis, Part
from eventstore.repair.segment_scan import scan_segment

__all__ = ["History", "LoadedPart", "Run", "events_of", "history_of_file", "with_neighbours"]


class Run(NamedTuple):
    """Events of one record: first number, count, and the encoded events."""

    first: int
    events: int
    body: bytes


class LoadedPart(NamedTuple):
    """The bytes of a file with the chosen bits turned, and the events in it.

    `ended` says that the log ends behind the last event: no damage stands there, and no seal says
    that a segment follows.
    """

    data: bytes
    header: SegmentHeader | None
    runs: list[Run]
    ended: bool = False


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A damaged history as a repair would leave it.

    Attributes:
        disk: The store's disk.
        diagnosis: The diagnosis of the store.
        flips: The bits to turn, by file name.
        last: The last kept event, `None` for every event.
        dropped: Whole events to leave out.
        replaced: Other encoded events in the place of recorded ones.
        backup: The disk of a backup.
        restored: The files to take from the backup.
        extra: Records behind the last file, mended from the bytes of an unfinished commit.
    """

    disk: Disk
    diagnosis: Diagnosis
    flips: dict[str, tuple[Flip, ...]] = {}
    last: int | None = None
    dropped: frozenset[int] = frozenset()
    replaced: dict[int, bytes] = {}
    backup: Disk | None = None
    restored: frozenset[str] = frozenset()
    extra: tuple[Run, ...] = ()

    @property
    def last_seq(self) -> int:
        """The last event of the history, lost or not."""
        end = self.diagnosis.last_seq
        return end if self.last is None else min(end, self.last)

    def load(self, part: Part) -> LoadedPart:
        """Read one file of the history, with the chosen bits turned.

        A file of another store, or of another place in the log, has no events here. Raises
        `FileNotFoundError` for a missing file and `CorruptLogError` for an archive that stays
        damaged.
        """
        flips = self.flips.get(part.source or "", ())
        data = self.content(part)
        if part.archived:
            data = decompress_archive(self.disk, part.name, data)
        try:
            header = SegmentHeader.decode(data[:HEADER_SIZE])
        except InvalidBytesError:
            header = None
        if header and header_fault(header, self.diagnosis.manifest.store, part.first):
            return LoadedPart(data, header, [])
        until = part.last + 1 if part.holes or flips else None
        if part.name in self.restored:
            until = None
        scan = scan_segment(data, header, part.first, until)
        runs = [Run(record.first_seq, record.events, data[record.body]) for record in scan.records]
        ended = scan.seal is not SealKind.CONTINUED and not (scan.holes and scan.holes[-1].open)
        return LoadedPart(data, header, runs, ended)

    def content(self, part: Part) -> bytes:
        """Return the bytes of one file, from the backup or with the chosen bits turned.

        Raises `FileNotFoundError` for a missing file.
        """
        if self.backup is not None and part.name in self.restored:
            return read_whole(self.backup, part.name)
        if part.source is None:
            raise FileNotFoundError(part.name)
        return flipped(read_whole(self.disk, part.source), self.flips.get(part.source, ()))

    def runs(self, start: int = 1) -> Iterator[Run]:
        """Yield the readable records that end at or after event `start`, over every gap."""
        for part in self.diagnosis.parts:
            if part.last < start or part.first > self.last_seq:
                continue
            for run in self.runs_of(part):
                if run.first + run.events > start:
                    yield run

    def runs_of(self, part: Part) -> Iterator[Run]:
        """Yield the readable records of one file, none of a lost file."""
        try:
            loaded = self.load(part)
        except (CorruptLogError, FileNotFoundError):
            return
        behind = self.extra if part == self.diagnosis.parts[-1] else ()
        for run in (*loaded.runs, *behind):
            yield from self._edited(run)

    def _edited(self, run: Run) -> Iterator[Run]:
        """Yield a record without what is dropped or behind the last event."""
        end = run.first + run.events
        touched = {seq for seq in (*self.dropped, *self.replaced) if run.first <= seq < end}
        if not touched and end - 1 <= self.last_seq:
            yield run
            return
        array = array_header(run.events) + run.body
        try:
            bodies = msgspec.msgpack.decode(array, type=list[msgspec.Raw])
        except msgspec.DecodeError:
            EventCodec().decode(array, run.events, run.first)  # raises, and says what is wrong
            raise
        for seq, body in enumerate(bodies, run.first):
            if seq <= self.last_seq and seq not in self.dropped:
                yield Run(seq, 1, self.replaced.get(seq, bytes(body)))

    def chunks(self, start: int, stop: int | None = None) -> Iterator[Chunk]:
        """Yield the readable events from `start` up to `stop` (exclusive) as chunks.

        The first chunk may begin before `start`, and the last one may end behind `stop`. A chunk
        never spans a gap.
        """
        bodies: list[bytes] = []
        first = end = size = 0
        for run in self.runs(start):
            if stop is not None and run.first >= stop:
                break
            full = size >= CHUNK_BYTES or end - first >= CHUNK_EVENTS
            if bodies and (full or run.first != end):
                yield _chunk(first, end - first, bodies)
                bodies, size = [], 0
            if not bodies:
                first = run.first
            bodies.append(run.body)
            size += len(run.body)
            end = run.first + run.events
        if bodies:
            yield _chunk(first, end - first, bodies)


def _chunk(first: int, events: int, bodies: list[bytes]) -> Chunk:
    return Chunk(first, events, b"".join((array_header(events), *bodies)))


def history_of_file(disk: Disk, part: Part) -> History:
    """Return the readable events of one segment, without a diagnosis of the other files.

    Raises the errors of reading `store.json`.
    """
    diagnosis = Diagnosis(path=disk.path, manifest=load_manifest(disk), parts=(part,))
    return History(disk=disk, diagnosis=diagnosis)


def events_of(history: History, start: int, stop: int) -> list[Event[object]]:
    """Decode the readable events from `start` up to `stop` (exclusive), without handlers."""
    codec, found = EventCodec(), []
    for chunk in history.chunks(start, stop):
        for event in codec.decode(chunk.array, chunk.events, chunk.first_seq):
            if start <= event.seq < stop:
                found.append(event)
    return found


def with_neighbours(disk: Disk, diagnosis: Diagnosis) -> Diagnosis:
    """Note times and keys of the events around each gap, for whoever asks a venue for the gap."""
    history = History(disk=disk, diagnosis=diagnosis)
    places = []
    for place in diagnosis.places:
        if place.lost:
            before = events_of(history, place.first - 1, place.first)
            after = events_of(history, place.last + 1, place.last + 2)
            place = msgspec.structs.replace(
                place,
                before=before[0].time if before else None,
                after=after[0].time if after else None,
                key_before=before[0].key if before else None,
                key_after=after[0].key if after else None,
            )
        places.append(place)
    return msgspec.structs.replace(diagnosis, places=tuple(places))
