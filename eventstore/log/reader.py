"""Reading the log: archive and segments as one history, as runs of encoded events.

Theory of operation
-------------------
A :class:`LogReader` takes no lock and may follow a live writer, in this process or another. It
reads one segment at a time (memory is flat in the length of history), verifies every record it
passes, and joins the bodies of many records, so that one call decodes them all.

What it must not do is take damage for the end of the log. A segment that has a successor must
reach it; one that says it has a successor must have it, and one whose successor has a successor
must say so. In the last one, the end is what ``recovery.classify`` says it is; since the writer may
be in the middle of a write there, a verdict of damage is given only when a fresh read still says
so.

A file may be loaded ahead of its turn (``ahead.py``) only if nothing more will be written to it:
an archive, or a segment whose successor has a successor, and so has its seal.

A segment may disappear while the history is read: compaction moved it to the archive. Then the
listing is made again and reading goes on at the same event.

A reader outside the writer may see the record in flight, which a power cut can still take back; the
store itself never serves anything beyond what is durable.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eventstore.codec import array_header
from eventstore.disk import Disk
from eventstore.errors import CorruptLogError, HistoryUnavailableError, ReadFailedError, reading
from eventstore.identity import Branched, StoreIdentity, load_identity
from eventstore.log.ahead import ReadAhead
from eventstore.log.archive import ARCHIVE_FOLDER, archive_name, read_archive
from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    LENGTHS_AT,
    RECORD_HEADER_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    SegmentHeader,
    read_lengths,
    read_record,
    read_seal,
    sealed_end,
)
from eventstore.log.recovery import Clean, Corrupt, classify
from eventstore.log.segment import (
    LOG_FOLDER,
    corrupt_segment,
    read_whole,
    segment_name,
    sequence_in_name,
)

__all__ = ["Chunk", "LogReader", "chunks_of"]

CHUNK_BYTES = 256 << 10
CHUNK_EVENTS = 4096
_ATTEMPTS = 5


class Chunk(NamedTuple):
    """``events`` encoded events as one MessagePack array, the first with number ``first_seq``."""

    first_seq: int
    events: int
    array: bytes


class _MovedError(Exception):
    """The segment was replaced while it was read: the next writer mended it, or took its name."""


class _Source(NamedTuple):
    first_seq: int
    archived: bool

    @property
    def name(self) -> str:
        return (archive_name if self.archived else segment_name)(self.first_seq)


def chunks_of(data: bytes, records: Iterable[Record], start: int) -> Iterator[Chunk]:
    """The events of verified records of one segment's bytes, from ``start`` on."""
    bodies: list[bytes] = []
    first, seq, size = start, start, 0
    for record in records:
        end = record.first_seq + record.events
        if end <= start:
            continue
        if not bodies:
            first = record.first_seq
        bodies.append(data[record.body])
        size, seq = size + record.body_length, end
        if size >= CHUNK_BYTES or seq - first >= CHUNK_EVENTS:
            yield _chunk(first, seq, bodies)
            bodies, size = [], 0
    if bodies:
        yield _chunk(first, seq, bodies)


class _Loaded(NamedTuple):
    """A file's bytes, its header, and where its seal stands if that vouches for all before it."""

    data: bytes
    header: SegmentHeader
    end: int | None


def _chunk(first: int, end: int, bodies: list[bytes]) -> Chunk:
    return Chunk(first, end - first, b"".join((array_header(end - first), *bodies)))


class LogReader:
    """Reads the events of one store. Calls block: use it off the event loop."""

    def __init__(self, disk: Disk, store: uuid.UUID) -> None:
        self._disk = disk
        self._store = store

    def chunks(
        self, start: int = 1, stop: int | None = None, *, ahead: bool = False
    ) -> Iterator[Chunk]:
        """Runs of events from number ``start`` on, up to ``stop`` (exclusive) or the end.

        The first run may begin before ``start`` and the last may end after ``stop``. With ``ahead``
        the next file is loaded in a thread while this one's runs are consumed; an iterator that is
        dropped then waits for that thread.

        Raises :class:`HistoryUnavailableError` where ``start`` was discarded or nothing is logged,
        :class:`CorruptLogError` and :class:`ReadFailedError`.
        """
        with reading(self._disk.path):
            files = ReadAhead(self._load, threads=ahead and self._disk.blocking)
            try:
                yield from self._chunks(max(start, 1), stop, files)
            finally:
                files.close()

    def _chunks(
        self, start: int, stop: int | None, files: ReadAhead[_Source, _Loaded]
    ) -> Iterator[Chunk]:
        self._check_available(start)
        seq, attempts = start, 0
        while stop is None or seq < stop:
            sources = self._sources()
            candidates = [source for source in sources if source.first_seq <= seq]
            if not candidates:
                raise self._missing(self._check_available(seq), seq)
            source = candidates[-1]
            later = [other for other in sources if other.first_seq > seq]
            following = [other.first_seq for other in later]
            ahead = later[0] if later and (later[0].archived or len(later) > 2) else None
            if ahead is not None and stop is not None and ahead.first_seq >= stop:
                ahead = None
            try:
                for chunk in self._read(source, files.take(source), seq, stop, following):
                    yield chunk
                    seq = chunk.first_seq + chunk.events
                    if ahead is not None:
                        files.begin(ahead)
                attempts = 0
            except (FileNotFoundError, _MovedError):
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise ReadFailedError(
                        f"{self._disk.path}/{source.name} disappears whenever it is to be read",
                        path=f"{self._disk.path}/{source.name}",
                    ) from None
                continue
            if not following and not self._has_grown(sources):
                if source.archived:
                    raise self._missing(load_identity(self._disk), seq)
                return

    def _check_available(self, seq: int) -> StoreIdentity:
        identity = load_identity(self._disk)
        if not identity.logged:
            raise HistoryUnavailableError(
                f"{self._disk.path} has no log (use_wal=False): there are snapshots of the state, "
                "and no events",
                requested=seq,
                first_available=0,
            )
        available = identity.history_start
        if seq < available:
            reason = (
                f"is not available any more: events before {available} were discarded; start at "
                f"{available}, or from a snapshot"
            )
            if isinstance(identity.branched, Branched) and seq <= identity.branched.seq:
                reason = (
                    f"is not in this store, a branch that begins with event "
                    f"{identity.branched.seq + 1}; it is in {identity.branched.path}, the store "
                    f"{identity.branched.store} that this one branched from"
                )
            raise HistoryUnavailableError(
                f"{self._disk.path}: event {seq} {reason}",
                requested=seq,
                first_available=available,
            )
        return identity

    def _missing(self, identity: StoreIdentity, seq: int) -> CorruptLogError:
        names = [
            archive_name(first) for first, last, *_ in identity.archived if first <= seq <= last
        ]
        name = names[0] if names else segment_name(identity.log_start)
        return corrupt_segment(self._disk, name, 0, seq, "the file is missing")

    def _has_grown(self, sources: list[_Source]) -> bool:
        return self._newest() > sources[-1].first_seq

    def _newest(self) -> int:
        """The first event of the last file there is now."""
        return max((source.first_seq for source in self._sources()), default=0)

    def _sources(self) -> list[_Source]:
        """Every file of the history by its first event; the log's where both have one."""
        found: dict[int, _Source] = {}
        for base in self._disk.list(LOG_FOLDER):  # first: an archive is there before this one goes
            first = sequence_in_name(base)
            if first is not None:
                found[first] = _Source(first, False)
        for base in self._disk.list(ARCHIVE_FOLDER):
            first = sequence_in_name(base.removesuffix(".zst"))
            if first is not None and base.endswith(".zst"):
                found.setdefault(first, _Source(first, True))
        return [found[first] for first in sorted(found)]

    def _load(self, source: _Source) -> _Loaded:
        read = read_archive if source.archived else read_whole
        data = read(self._disk, source.name)
        header = self._header(source, data)
        return _Loaded(data, header, sealed_end(data, header.salt))

    def _header(self, source: _Source, data: bytes) -> SegmentHeader:
        try:
            header = SegmentHeader.decode(data[:HEADER_SIZE])
        except InvalidBytesError as error:
            raise self._corrupt(source, 0, source.first_seq, str(error)) from error
        if header.store != self._store or header.first_seq != source.first_seq:
            raise self._corrupt(source, 0, source.first_seq, "it is another segment's file")
        return header

    def _read(
        self, source: _Source, loaded: _Loaded, start: int, stop: int | None, following: list[int]
    ) -> Iterator[Chunk]:
        data, header, end = loaded
        if end is not None:
            return self._sealed(source, data, header, end, start, stop, following)
        return self._unsealed(source, data, header, start, stop, following)

    def _sealed(
        self,
        source: _Source,
        data: bytes,
        header: SegmentHeader,
        end: int,
        start: int,
        stop: int | None,
        following: list[int],
    ) -> Iterator[Chunk]:
        """A segment whose seal vouches for every byte: only the lengths are left to be read."""
        offset, seq = HEADER_SIZE, header.first_seq
        bodies: list[bytes] = []
        first, size, full = seq, 0, seq + CHUNK_EVENTS
        while offset < end and (stop is None or seq < stop):
            number, events, length = read_lengths(data, offset + LENGTHS_AT)
            if number != seq:
                raise self._corrupt(source, offset, seq, f"a record of event {number} stands here")
            if events > length:
                reason = f"{length} bytes cannot hold {events} events"
                raise self._corrupt(source, offset, seq, reason)
            body = offset + RECORD_HEADER_SIZE
            behind = body + length
            offset = behind + -length % ALIGNMENT
            seq += events
            if seq <= start:
                first, full = seq, seq + CHUNK_EVENTS
            elif events:
                bodies.append(data[body:behind])
                size += length
                if size >= CHUNK_BYTES or seq >= full:
                    yield _chunk(first, seq, bodies)
                    bodies, first, size, full = [], seq, 0, seq + CHUNK_EVENTS
        if bodies:
            yield _chunk(first, seq, bodies)
        if offset >= end:
            if following and following[0] != seq:
                reason = f"it ends too early: event {following[0]} is next"
                raise self._corrupt(source, end, seq, reason)
            kind, _ = read_seal(data, read_record(data, end, header.salt))
            if kind is SealKind.CONTINUED and (stop is None or seq < stop):
                self._check_followed(source, seq)
            elif kind is SealKind.CLOSED and len(following) > 1 and not source.archived:
                reason = "the seal is missing that says that a segment follows"
                raise self._corrupt(source, len(data), seq, reason)

    def _unsealed(
        self,
        source: _Source,
        data: bytes,
        header: SegmentHeader,
        start: int,
        stop: int | None,
        following: list[int],
    ) -> Iterator[Chunk]:
        """A segment that the writer may still be at: every record is verified by itself."""
        offset, seq, attempts = HEADER_SIZE, header.first_seq, 0
        bodies: list[bytes] = []
        first, size = seq, 0
        successor = following[0] if following else None
        sealed: SealKind | None = None
        damage: CorruptLogError | None = None
        while stop is None or seq < stop:
            try:
                record = read_record(data, offset, header.salt)
                if record.first_seq != seq:
                    raise InvalidBytesError(f"a record of event {record.first_seq} stands here")
            except InvalidBytesError as error:
                if successor == seq and (len(following) == 1 or sealed is SealKind.CONTINUED):
                    break
                if successor is not None:
                    damage = self._corrupt(source, offset, seq, str(error))
                    break
                attempts += 1
                data, fresh, _ = self._load(source)
                if fresh != header:
                    raise _MovedError from error
                tail = classify(data, header)
                if not isinstance(tail, Corrupt) and tail.next_seq <= seq:
                    if isinstance(tail, Clean) and tail.sealed is SealKind.CONTINUED:
                        self._check_followed(source, seq)
                    break
                if isinstance(tail, Corrupt) and attempts == _ATTEMPTS:
                    damage = self._corrupt(source, tail.offset, tail.expected_seq, tail.reason)
                    break
                continue
            offset, attempts = record.end, 0
            if record.events == 0:
                sealed, _ = read_seal(data, record)
                continue
            seq += record.events
            if seq <= start:
                first = seq
                continue
            bodies.append(data[record.body])
            size += record.body_length
            if size >= CHUNK_BYTES or seq - first >= CHUNK_EVENTS:
                yield _chunk(first, seq, bodies)
                bodies, first, size = [], seq, 0
        if bodies:
            yield _chunk(first, seq, bodies)  # what is sound before the damage can be had
        if damage is not None:
            raise damage

    def _check_followed(self, source: _Source, seq: int) -> None:
        """A seal says that there is a segment after this one, and it never goes before that one."""
        if self._newest() < seq:
            reason = f"the segment is missing: {source.name} says that there is one after it"
            raise corrupt_segment(self._disk, segment_name(seq), 0, seq, reason)

    def _corrupt(
        self, source: _Source, offset: int, expected_seq: int, reason: str
    ) -> CorruptLogError:
        return corrupt_segment(self._disk, source.name, offset, expected_seq, reason)
