"""The whole log, from any event on: archive and segments as one history, read as chunks.

Theory of operation
-------------------
A `LogReader` takes no lock and may follow a live writer, in this process or in another one. A
`LogReader` reads one file at a time (`segment_reader.py`), so memory does not grow with history.
This module knows only the chain of files: the file that holds an event, and the files behind.

Damage must never be taken for the end of the log. Three rules apply to the chain:

- A file with a successor must reach the successor: the next number is the successor's first event.
- A segment with a `CONTINUED` seal must have a successor.
- A segment must have a `CONTINUED` seal if its successor has a successor.

Where a rule is broken, `segment_chain.py` names the missing, damaged or stray file. Everything
before the place of the fault can be read, up to `stop`.

The last file ends where `tail_verdict.py` says. The writer may be in the middle of a write there,
so damage is reported only if repeated reads confirm the damage.

The directories are listed once, so the cost is linear in the number of files. A segment may
disappear during the read, since compaction moves segments to the archive. Then the directories are
listed again, and reading goes on at the same event. The directories are listed again behind the
last file too.

A reader outside the writer may see the record in flight. A power cut can still take the record
back. The store itself never serves an event that is not durable.
"""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Generator, Iterator
from typing import NamedTuple

from eventstore.disk.base import Disk
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    LOG_FOLDER,
    archive_name,
    archive_seq,
    segment_seq,
)
from eventstore.disk.manifest import BranchPoint, Manifest, load_manifest
from eventstore.errors import CorruptLogError, HistoryUnavailableError, ReadFailedError
from eventstore.log.base import Chunk
from eventstore.log.format import SEAL_SIZE, SealKind
from eventstore.log.reader_types import (
    FileEnd,
    HistoryFile,
    ReadRange,
    SegmentReplacedError,
)
from eventstore.log.runs import CHUNK_BYTES
from eventstore.log.segment import corrupt_segment_error
from eventstore.log.segment_chain import chain_error, chain_faults
from eventstore.log.segment_reader import read_file
from eventstore.os_errors import translating_read_errors

__all__ = ["CACHED_BYTES", "LogReader"]

CACHED_BYTES = 64 << 10
"""`chunk_bytes` for a caller that decodes each chunk at once, out of the processor's cache."""
_ATTEMPTS = 5
"""Attempts to read a file that disappears after each listing."""
_NO_STOP = 1 << 64
"""A `stop` behind every event: more than any sequence number."""


class _History(NamedTuple):
    """The files of a history at one moment, in the order of events.

    `firsts` are the first events of `files`. The listing stays valid until one of the files is
    gone, or until the last file was read: the writer only adds files at the end. So a reader keeps
    the listing from one reading to the next.
    """

    manifest: Manifest
    files: list[HistoryFile]
    firsts: list[int]


class LogReader:
    """A reader of the events of one store. Calls block, so they belong off the event loop.

    `store` is the store's identity, `None` for the one in the manifest. `chunk_bytes` is the number
    of body bytes after which a chunk is full.
    """

    def __init__(
        self, disk: Disk, store: uuid.UUID | None = None, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self._disk = disk
        self._given_store = store
        self._chunk_bytes = chunk_bytes
        self._history: _History | None = None

    def chunks(self, start: int = 1, stop: int | None = None) -> Generator[Chunk, None, None]:
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
        history = self._history or self._list_files()
        self._store = self._given_store or history.manifest.store
        self._check_available(history.manifest, start)
        seq, attempts = start, 0
        while seq < stop:
            index = bisect.bisect_right(history.firsts, seq)
            if not index:
                self._check_available(history.manifest, seq)
                raise self._missing(history.manifest, seq)
            file, following = history.files[index - 1], history.firsts[index : index + 2]
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
                history = self._list_files()
                continue
            if not following and seq < stop:
                if self._newest_segment() <= file.first_seq:
                    if file.archived:
                        raise self._missing(load_manifest(self._disk), seq)
                    return
                history = self._list_files()

    def _check_available(self, manifest: Manifest, seq: int) -> None:
        """Raise `HistoryUnavailableError` for an event that the store does not hold."""
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

    def _missing(self, manifest: Manifest, seq: int) -> CorruptLogError:
        """Make the error for event `seq` without a file that could hold it."""
        archives = [first for first, last, _ in manifest.archived if first <= seq <= last]
        if archives:
            name, reason = archive_name(archives[0]), "the file is missing"
            return corrupt_segment_error(self._disk, name, 0, archives[0], reason)
        return chain_error(self._disk, self._store, self._segments(), manifest.log_start)

    def _newest_segment(self) -> int:
        """List the log again, and return the number of the last segment's first event."""
        return max(self._segments(), default=0)

    def _segments(self) -> list[int]:
        found = map(segment_seq, self._disk.list(LOG_FOLDER))
        return sorted(first for first in found if first is not None)

    def _list_files(self) -> _History:
        """List the files of the history in the order of events.

        The order of the three steps matters beside a writer. An archive is durable before the
        manifest counts it, and a segment goes after the manifest counts its archive. So an event
        without a listed segment is in an archive that the manifest counts and the listing has.

        A segment and its archive exist side by side while compaction runs. The manifest says which
        of the two counts. A file that the manifest does not know is nobody's, and opening reports
        such files.
        """
        segments = self._segments()
        manifest = load_manifest(self._disk)
        archived = {first for first, _, _ in manifest.archived}
        present = archived.intersection(map(archive_seq, self._disk.list(ARCHIVE_FOLDER)))
        files = [HistoryFile(first, True) for first in present]
        files += [HistoryFile(first, False) for first in segments if first >= manifest.log_start]
        files.sort()
        self._history = _History(manifest, files, [file.first_seq for file in files])
        return self._history

    def _read(self, file: HistoryFile, wanted: ReadRange, following: list[int]) -> Iterator[Chunk]:
        """Read one file of the history, and verify that the file ends where the next one begins.

        `following` are the first events of the next two files. A hole behind the wanted events is
        no concern of the reader: everything before a hole can be read.
        """
        try:
            successor = following[0] if following else None
            end = yield from read_file(self._disk, self._store, file, wanted, successor)
        except CorruptLogError as error:
            raise self._judged(file, error) from error
        if end is None or end.next_seq >= wanted.stop:
            return
        if following:
            self._check_end(file, end, following)
        elif end.seal is SealKind.CONTINUED and self._newest_segment() < end.next_seq:
            # The directory was listed again, since the writer may have sealed the segment after
            # the last listing. The successor has a name before the seal is written.
            raise self._missing(load_manifest(self._disk), end.next_seq)

    def _judged(self, file: HistoryFile, error: CorruptLogError) -> CorruptLogError:
        """Return the error of a damaged file, or a better one for a file without a place."""
        if not file.archived:
            log_start = load_manifest(self._disk).log_start
            for fault in chain_faults(self._disk, self._store, self._segments(), log_start):
                if fault.name == file.name:
                    return fault.error(self._disk)
        return error

    def _check_end(self, file: HistoryFile, end: FileEnd, following: list[int]) -> None:
        """Raise `CorruptLogError` where a file does not reach its successor.

        The last segment but one may lack the `CONTINUED` seal, because the writer writes the seal
        after the successor has a name. An earlier segment never lacks the seal. An archive never
        has the seal, because compaction writes an archive as a whole.
        """
        if following[0] != end.next_seq:
            raise self._gap_error(file, end, following[0])
        if len(following) > 1 and end.seal is not SealKind.CONTINUED and not file.archived:
            # The offset is behind the seal that closed the segment, if there is one.
            offset = end.offset if end.reason else end.offset + SEAL_SIZE
            reason = end.reason or "the seal is missing that says that a segment follows"
            raise corrupt_segment_error(self._disk, file.name, offset, end.next_seq, reason)

    def _gap_error(self, file: HistoryFile, end: FileEnd, successor: int) -> CorruptLogError:
        """Make the error for a file that ends before or behind the beginning of the next file."""
        seq, manifest = end.next_seq, load_manifest(self._disk)
        if any(first == seq for first, _, _ in manifest.archived):
            return self._missing(manifest, seq)
        segments = self._segments()
        for fault in chain_faults(self._disk, self._store, segments, manifest.log_start):
            if fault.expected_seq >= seq:
                return fault.error(self._disk)
        reason = end.reason or f"it ends too early: event {successor} is next"
        return corrupt_segment_error(self._disk, file.name, end.offset, seq, reason)
