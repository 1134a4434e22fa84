"""The whole log, from any event on: archive and segments as one history, read as chunks.

Theory of operation
-------------------
A `LogReader` takes no lock and may follow a live writer, in this process or in another one. A
`LogReader` reads one file at a time (`segment_reader.py`), so memory does not grow with history.
This module knows only the chain of files: which file holds an event, and which files follow.

Damage must never be taken for the end of the log. Three rules apply to the chain:

- A file with a successor must reach the successor: the next number is the successor's first event.
- A segment with a `CONTINUED` seal must have a successor.
- A segment must have a `CONTINUED` seal if its successor has a successor.

The last file ends where `tail.classify_tail` says. The writer may be in the middle of a write
there, so damage is reported only if repeated reads confirm the damage.

A segment may disappear during the read, since compaction moves segments to the archive. Then the
directories are listed again, and reading goes on at the same event.

A reader outside the writer may see the record in flight, and a power cut can still take that record
back. The store itself never serves an event that is not durable.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

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
from eventstore.log.format import SEAL_SIZE, SealKind
from eventstore.log.runs import CHUNK_BYTES
from eventstore.log.segment import corrupt_segment_error
from eventstore.log.segment_reader import (
    FileEnd,
    HistoryFile,
    ReadRange,
    SegmentReplacedError,
    read_file,
)

__all__ = ["CACHED_BYTES", "LogReader"]

CACHED_BYTES = 64 << 10
"""`chunk_bytes` for a caller that decodes each chunk at once, out of the processor's cache."""
_ATTEMPTS = 5
"""Attempts to read a file that disappears after each listing."""
_NO_STOP = 1 << 64
"""A `stop` behind every event: more than any sequence number."""


class LogReader:
    """A reader of the events of one store. Calls block, so they belong off the event loop.

    `chunk_bytes` is the number of body bytes after which a chunk is full.
    """

    def __init__(self, disk: Disk, store: uuid.UUID, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._disk = disk
        self._store = store
        self._chunk_bytes = chunk_bytes

    def chunks(self, start: int = 1, stop: int | None = None) -> Iterator[Chunk]:
        """Read events from number `start` on, up to `stop` (exclusive) or the end of the log.

        The first chunk may begin before `start`, and the last chunk may end after `stop`. A large
        file stays open until its last chunk was taken, or until the iterator is closed or dropped.

        Raises:
            HistoryUnavailableError: Event `start` was discarded, or the store has no log.
            CorruptLogError: A file is damaged or missing.
            ReadFailedError: The device cannot read a file or a directory.
        """
        with translating_read_errors(self._disk.path):
            yield from self._chunks(max(start, 1), _NO_STOP if stop is None else stop)

    def _chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        self._check_available(start)
        seq, attempts = start, 0
        while seq < stop:
            files = self._files()
            candidates = [file for file in files if file.first_seq <= seq]
            if not candidates:
                raise self._missing(self._check_available(seq), seq)
            file = candidates[-1]
            following = [other.first_seq for other in files if other.first_seq > seq]
            wanted = ReadRange(seq, stop, self._chunk_bytes)
            try:
                for chunk in self._read(file, wanted, following):
                    yield chunk
                    seq = chunk.first_seq + chunk.events
                attempts = 0
            except (FileNotFoundError, SegmentReplacedError):
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise ReadFailedError(
                        f"{self._disk.path}/{file.name} disappears whenever it is to be read",
                        path=f"{self._disk.path}/{file.name}",
                    ) from None
                continue
            if not following and not self._has_grown(files):
                if file.archived:
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

    def _has_grown(self, files: list[HistoryFile]) -> bool:
        return self._newest() > files[-1].first_seq

    def _newest(self) -> int:
        """List the files again, and return the number of the last file's first event."""
        return max((file.first_seq for file in self._files()), default=0)

    def _files(self) -> list[HistoryFile]:
        """List the files of the history in the order of events.

        A segment and its archive exist side by side while compaction runs. Then the segment counts.
        """
        found: dict[int, HistoryFile] = {}
        for base in self._disk.list(
            LOG_FOLDER
        ):  # first: an archive is in place before its segment goes
            first = segment_seq(base)
            if first is not None:
                found[first] = HistoryFile(first, False)
        for base in self._disk.list(ARCHIVE_FOLDER):
            first = archive_seq(base)
            if first is not None:
                found.setdefault(first, HistoryFile(first, True))
        return [found[first] for first in sorted(found)]

    def _read(self, file: HistoryFile, wanted: ReadRange, following: list[int]) -> Iterator[Chunk]:
        """Read one file of the history, and verify that the file ends where the next one begins."""
        end = yield from read_file(self._disk, self._store, file, wanted, last=not following)
        if end is not None:
            self._check_end(file, end, following)
            if end.seal is SealKind.CONTINUED and end.next_seq < wanted.stop:
                self._check_followed(file, end.next_seq)

    def _check_end(self, file: HistoryFile, end: FileEnd, following: list[int]) -> None:
        """Raise `CorruptLogError` where a file does not reach its successor.

        The last segment but one may lack the `CONTINUED` seal, because the writer writes that seal
        after the successor has a name. An earlier segment never lacks the seal. An archive never
        has the seal, because compaction writes an archive as a whole.
        """
        offset = end.offset
        if following and following[0] != end.next_seq:
            reason = f"it ends too early: event {following[0]} is next"
        elif len(following) > 1 and end.seal is not SealKind.CONTINUED and not file.archived:
            reason = "the seal is missing that says that a segment follows"
            offset += SEAL_SIZE  # behind the seal that closed the segment
        else:
            return
        if end.reason:  # a segment without a closing seal
            offset, reason = end.offset, end.reason
        raise corrupt_segment_error(self._disk, file.name, offset, end.next_seq, reason)

    def _check_followed(self, file: HistoryFile, seq: int) -> None:
        """Raise `CorruptLogError` where no file follows a segment with a `CONTINUED` seal.

        The directories are listed again, since the writer may have sealed the segment after the
        last listing. The successor has a name before the seal is written.
        """
        if self._newest() < seq:
            reason = f"the segment is missing: {file.name} says that there is one after it"
            raise corrupt_segment_error(self._disk, segment_name(seq), 0, seq, reason)
