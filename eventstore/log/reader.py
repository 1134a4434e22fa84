"""Reading the log: archive and segments as one history, as runs of encoded events.

Theory of operation
-------------------
A :class:`LogReader` takes no lock and may follow a live writer, in this process or another. It
reads through one file at a time, in windows once a seal vouches for it (``segment_reader.py``), so
memory is flat in the length of history. Nothing is handed over before its checksum was seen to be
right, and the bodies of many records are joined, so that one call decodes them all.

What it must not do is take damage for the end of the log. A segment that has a successor must
reach it; one that says it has a successor must have it, and one whose successor has a successor
must say so. In the last one, the end is what ``recovery.classify_tail`` says it is; since the
writer may be in the middle of a write there, a verdict of damage is given only when a fresh read
still says so.

A segment may disappear while the history is read: compaction moved it to the archive. Then the
listing is made again and reading goes on at the same event.

A reader outside the writer may see the record in flight, which a power cut can still take back; the
store itself never serves anything beyond what is durable.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

from eventstore.disk.base import Disk
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    LOG_FOLDER,
    archive_name,
    archive_seq,
    segment_name,
    segment_seq,
)
from eventstore.disk.manifest import BranchPoint, Manifest, load_manifest
from eventstore.errors import (
    CorruptLogError,
    HistoryUnavailableError,
    ReadFailedError,
    translating_read_errors,
)
from eventstore.log.base import Chunk
from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    LENGTHS_AT,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    Record,
    SealKind,
    read_lengths,
    read_record,
    read_seal,
)
from eventstore.log.segment import corrupt_segment_error
from eventstore.log.segment_reader import (
    HistoryFile,
    LoadedFile,
    SegmentReplacedError,
    load_file,
    read_ahead,
    read_segment,
)
from eventstore.log.tail import Clean, Corrupt, classify_tail
from eventstore.model.codec import array_header

__all__ = ["CACHED_BYTES", "LogReader", "chunks_of"]

CHUNK_BYTES = 256 << 10
"""How large a run may become: each costs the event loop two visits to a thread."""
CACHED_BYTES = 64 << 10
"""The same for who decodes on the spot: it is still in the processor's cache then."""
CHUNK_EVENTS = 4096
_ATTEMPTS = 5


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


def _chunk(first: int, end: int, bodies: list[bytes]) -> Chunk:
    return Chunk(first, end - first, b"".join((array_header(end - first), *bodies)))


class LogReader:
    """Reads the events of one store. Calls block: use it off the event loop."""

    def __init__(self, disk: Disk, store: uuid.UUID, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._disk = disk
        self._store = store
        self._chunk_bytes = chunk_bytes

    def chunks(self, start: int = 1, stop: int | None = None) -> Iterator[Chunk]:
        """Runs of events from number ``start`` on, up to ``stop`` (exclusive) or the end.

        The first run may begin before ``start`` and the last may end after ``stop``. A large file
        stays open while its runs are asked for, until the last one, or until the iterator is closed
        or dropped.

        Raises :class:`HistoryUnavailableError` where ``start`` was discarded or nothing is logged,
        :class:`CorruptLogError` and :class:`ReadFailedError`.
        """
        with translating_read_errors(self._disk.path):
            yield from self._chunks(max(start, 1), stop)

    def _chunks(self, start: int, stop: int | None) -> Iterator[Chunk]:
        self._check_available(start)
        seq, attempts = start, 0
        while stop is None or seq < stop:
            sources = self._sources()
            candidates = [source for source in sources if source.first_seq <= seq]
            if not candidates:
                raise self._missing(self._check_available(seq), seq)
            source = candidates[-1]
            following = [other.first_seq for other in sources if other.first_seq > seq]
            try:
                for chunk in self._read(source, seq, stop, following):
                    yield chunk
                    seq = chunk.first_seq + chunk.events
                attempts = 0
            except (FileNotFoundError, SegmentReplacedError):
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise ReadFailedError(
                        f"{self._disk.path}/{source.name} disappears whenever it is to be read",
                        path=f"{self._disk.path}/{source.name}",
                    ) from None
                continue
            if not following and not self._has_grown(sources):
                if source.archived:
                    raise self._missing(load_manifest(self._disk), seq)
                return

    def _check_available(self, seq: int) -> Manifest:
        manifest = load_manifest(self._disk)
        if not manifest.logged:
            raise HistoryUnavailableError(
                f"{self._disk.path} has no log (use_wal=False): there are snapshots of the state, "
                "and no events",
                requested=seq,
                first_available=0,
            )
        available = manifest.history_start
        if seq < available:
            reason = (
                f"is not available any more: events before {available} were discarded; start at "
                f"{available}, or from a snapshot"
            )
            if isinstance(manifest.branched, BranchPoint) and seq <= manifest.branched.seq:
                reason = (
                    f"is not in this store, a branch that begins with event "
                    f"{manifest.branched.seq + 1}; it is in {manifest.branched.path}, the store "
                    f"{manifest.branched.store} that this one branched from"
                )
            raise HistoryUnavailableError(
                f"{self._disk.path}: event {seq} {reason}",
                requested=seq,
                first_available=available,
            )
        return manifest

    def _missing(self, manifest: Manifest, seq: int) -> CorruptLogError:
        names = [
            archive_name(first) for first, last, *_ in manifest.archived if first <= seq <= last
        ]
        name = names[0] if names else segment_name(manifest.log_start)
        return corrupt_segment_error(self._disk, name, 0, seq, "the file is missing")

    def _has_grown(self, sources: list[HistoryFile]) -> bool:
        return self._newest() > sources[-1].first_seq

    def _newest(self) -> int:
        """The first event of the last file there is now."""
        return max((source.first_seq for source in self._sources()), default=0)

    def _sources(self) -> list[HistoryFile]:
        """Every file of the history by its first event; the log's where both have one."""
        found: dict[int, HistoryFile] = {}
        for base in self._disk.list(LOG_FOLDER):  # first: an archive is there before this one goes
            first = segment_seq(base)
            if first is not None:
                found[first] = HistoryFile(first, False)
        for base in self._disk.list(ARCHIVE_FOLDER):
            first = archive_seq(base)
            if first is not None:
                found.setdefault(first, HistoryFile(first, True))
        return [found[first] for first in sorted(found)]

    def _read(
        self, source: HistoryFile, start: int, stop: int | None, following: list[int]
    ) -> Iterator[Chunk]:
        loaded = load_file(self._disk, self._store, source)
        read = self._unsealed if loaded.seal is None else self._sealed
        try:
            yield from read(source, loaded, start, stop, following)
        finally:
            loaded.windows.close()

    def _sealed(
        self,
        source: HistoryFile,
        loaded: LoadedFile,
        start: int,
        stop: int | None,
        following: list[int],
    ) -> Iterator[Chunk]:
        """A file whose seal vouches for every byte: only the lengths are left to be read."""
        end, seq = loaded.end, loaded.header.first_seq
        data, base, at = b"", 0, HEADER_SIZE  # ``data`` stands at ``base``, and goes on at ``at``
        wanted = RECORD_HEADER_SIZE
        bodies: list[bytes] = []
        first, size, full = seq, 0, seq + CHUNK_EVENTS
        chunk_bytes = self._chunk_bytes
        while base + at < end and (stop is None or seq < stop):
            if wanted > end - base - at:
                reason = f"a record of {wanted} bytes does not fit the segment"
                raise self._corrupt(source, base + at, seq, reason)
            base += min(at, len(data))
            data, at = read_ahead(loaded.windows, data, at, wanted)
            if at + wanted > len(data):
                raise self._corrupt(source, base + at, seq, "it is cut short")
            limit, wanted = min(len(data), end - base), RECORD_HEADER_SIZE
            while at + RECORD_HEADER_SIZE <= limit and (stop is None or seq < stop):
                number, events, length = read_lengths(data, at + LENGTHS_AT)
                if number != seq:
                    reason = f"a record of event {number} stands here"
                    raise self._corrupt(source, base + at, seq, reason)
                if events > length:
                    reason = f"{length} bytes cannot hold {events} events"
                    raise self._corrupt(source, base + at, seq, reason)
                body = at + RECORD_HEADER_SIZE
                behind = body + length
                if behind > limit:
                    wanted += length
                    break
                at = behind + -length % ALIGNMENT
                seq += events
                if seq <= start:
                    first, full = seq, seq + CHUNK_EVENTS
                elif events:
                    bodies.append(data[body:behind])
                    size += length
                    if size >= chunk_bytes or seq >= full:
                        yield _chunk(first, seq, bodies)
                        bodies, first, size, full = [], seq, 0, seq + CHUNK_EVENTS
        if bodies:
            yield _chunk(first, seq, bodies)
        if base + at >= end:
            for _ in loaded.windows:
                pass  # an archive that does not end as it should says so behind its last byte
            if following and following[0] != seq:
                reason = f"it ends too early: event {following[0]} is next"
                raise self._corrupt(source, end, seq, reason)
            if loaded.seal is SealKind.CONTINUED and (stop is None or seq < stop):
                self._check_followed(source, seq)
            elif loaded.seal is SealKind.CLOSED and len(following) > 1 and not source.archived:
                reason = "the seal is missing that says that a segment follows"
                raise self._corrupt(source, end + SEAL_SIZE, seq, reason)

    def _unsealed(
        self,
        source: HistoryFile,
        loaded: LoadedFile,
        start: int,
        stop: int | None,
        following: list[int],
    ) -> Iterator[Chunk]:
        """A segment that the writer may still be at: every record is verified by itself."""
        header, data = loaded.header, loaded.data
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
                fresh, data = read_segment(self._disk, self._store, source)
                if fresh != header:
                    raise SegmentReplacedError from error
                tail = classify_tail(data, header)
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
            if size >= self._chunk_bytes or seq - first >= CHUNK_EVENTS:
                yield _chunk(first, seq, bodies)
                bodies, first, size = [], seq, 0
        if bodies:
            yield _chunk(first, seq, bodies)  # what is sound before the damage can be had
        if damage is not None:
            raise damage

    def _check_followed(self, source: HistoryFile, seq: int) -> None:
        """A seal says that there is a segment after this one, and it never goes before that one."""
        if self._newest() < seq:
            reason = f"the segment is missing: {source.name} says that there is one after it"
            raise corrupt_segment_error(self._disk, segment_name(seq), 0, seq, reason)

    def _corrupt(
        self, source: HistoryFile, offset: int, expected_seq: int, reason: str
    ) -> CorruptLogError:
        return corrupt_segment_error(self._disk, source.name, offset, expected_seq, reason)
