"""One file of the history, read from beginning to end: a segment or an archive, as chunks.

Theory of operation
-------------------
`read_file` knows one file and nothing of the files around it. The reader of the whole history
(`reader.py`) compares the end of one file, a `FileEnd`, with the files that follow.

*A file with a closing seal.* The seal holds a checksum of all bytes before the seal. `load_file`
computes that checksum window by window and forgets the windows. Then the file is read a second time
and decoded. Two passes are faster than one: the second pass reads from the page cache into memory
that was just in use. The kernel would hand over memory for a whole segment page by page, and that
can take as long as decoding. An archive is verified by the checksum of its compressed bytes, and
decompressed in windows for the same reason. So memory does not grow with the size of a file.

The second pass computes no checksum. The second pass compares the header with the header of the
first pass, and checks the numbers and lengths of all records. A segment with another header was
replaced between the passes: `SegmentReplacedError`, and the caller loads the new segment.

*A segment without a closing seal.* The writer may be in the middle of a write. The whole segment is
read, and each record is verified by its own checksums, up to the first offset without a valid
record. In the last file of a history, `classify_tail` then says whether that offset is the end of
the log. A read beside a write may see a later page before an earlier one, so damage is reported
only after five reads in a row found damage.

Nothing is handed over before its checksum was verified.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from typing import NamedTuple

from eventstore.disk.base import Disk, open_to_read, read_whole
from eventstore.disk.layout import archive_name, segment_name
from eventstore.log.archive import open_archive
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
    SegmentHeader,
    closing_seal,
    read_lengths,
    read_record,
    read_seal,
)
from eventstore.log.runs import CHUNK_EVENTS, OpenRun, chunks_of
from eventstore.log.segment import WINDOW, corrupt_segment_error, file_crc
from eventstore.log.tail import Clean, Corrupt, classify_tail

__all__ = ["FileEnd", "HistoryFile", "ReadRange", "SegmentReplacedError", "read_file"]

_ATTEMPTS = 5
"""Reads in a row that must find damage in a segment without a seal, before damage is reported."""

_LENGTHS_BEFORE_BODY = RECORD_HEADER_SIZE - LENGTHS_AT

Windows = Generator[bytes, None, None]


class SegmentReplacedError(Exception):
    """A writer replaced the segment during the read: by a repaired segment, or by an empty one."""


class HistoryFile(NamedTuple):
    """One file of a history: number of its first event, and whether the file is an archive."""

    first_seq: int
    archived: bool

    @property
    def name(self) -> str:
        """Name of the file inside the store's directory."""
        return (archive_name if self.archived else segment_name)(self.first_seq)


class ReadRange(NamedTuple):
    """Events `start` up to `stop` (exclusive), and the body bytes after which a chunk is full."""

    start: int
    stop: int
    chunk_bytes: int


class FileEnd(NamedTuple):
    """State of a file where its records end.

    - `next_seq`: number of the event that would come next.
    - `offset`: offset behind the last record, in front of a closing seal.
    - `seal`: kind of the last seal, `None` for a segment without one.
    - `reason`: why no valid record stands at `offset`. Empty for a file that ends properly.
    """

    next_seq: int
    offset: int
    seal: SealKind | None
    reason: str = ""


class LoadedFile(NamedTuple):
    """A file before its records are read.

    - `header`: the verified header.
    - `seal`: kind of the closing seal, `None` for a segment without one. An archive has one.
    - `end`: offset of the closing seal, or the size of a segment without one.
    - `windows`: the bytes of a sealed file from offset 0, all verified by the seal.
    - `data`: all bytes of a segment without a closing seal.
    """

    header: SegmentHeader
    seal: SealKind | None
    end: int
    windows: Windows
    data: bytes = b""


def read_file(
    disk: Disk, store: uuid.UUID, file: HistoryFile, wanted: ReadRange, *, last: bool
) -> Generator[Chunk, None, FileEnd | None]:
    """Read the wanted events of one file.

    The first chunk may begin before `wanted.start` and the last chunk may end after `wanted.stop`,
    because records are never split.

    Args:
        disk: The store's disk.
        store: Identity of the store. A file of another store is refused.
        file: The file to read.
        wanted: The events to read.
        last: Whether no other file follows. Then a segment without a closing seal may end with an
            unfinished record.

    Returns:
        The end of the file, or `None` where reading stopped at `wanted.stop` before that.

    Raises:
        FileNotFoundError: The file is gone. Compaction moves segments to the archive.
        SegmentReplacedError: The segment was replaced during the read.
        CorruptLogError: The file is damaged. The verified events of a segment without a closing
            seal come first.
        ReadFailedError: The device cannot read the file.
    """
    loaded = load_file(disk, store, file)
    try:
        if loaded.seal is None:
            return (yield from _read_unsealed(disk, store, file, loaded, wanted, last))
        return (yield from _read_sealed(disk, file, loaded, wanted))
    finally:
        loaded.windows.close()


def load_file(disk: Disk, store: uuid.UUID, file: HistoryFile) -> LoadedFile:
    """Verify a file by its seal or its archive's checksum, or load a segment without a seal whole.

    Raises `FileNotFoundError`, `CorruptLogError` and `ReadFailedError`. The windows raise the same
    errors and `SegmentReplacedError`.
    """
    if file.archived:
        header, windows = open_archive(disk, file.name)
        _check_store_and_start(disk, store, file, header)
        return LoadedFile(header, SealKind.CLOSED, header.size - SEAL_SIZE, windows)
    with open_to_read(disk, file.name) as opened:
        size = opened.size()
        head = opened.read(0, min(size, WINDOW))
        header = _decode_header(disk, store, file, head)
        whole, end = size <= WINDOW, size - SEAL_SIZE
        tail = head[-SEAL_SIZE:] if whole else opened.read(end, SEAL_SIZE)
        seal = closing_seal(tail, end, header.salt)
        if seal is not None and file_crc(opened, end, head) == seal[1]:
            windows = (
                _windows_in_memory(head) if whole else _windows(disk, file.name, head[:HEADER_SIZE])
            )
            return LoadedFile(header, seal[0], end, windows)
        return LoadedFile(
            header, None, size, _windows_in_memory(), head if whole else opened.read(0, size)
        )


def _decode_header(disk: Disk, store: uuid.UUID, file: HistoryFile, data: bytes) -> SegmentHeader:
    try:
        header = SegmentHeader.decode(data[:HEADER_SIZE])
    except InvalidBytesError as error:
        raise corrupt_segment_error(disk, file.name, 0, file.first_seq, str(error)) from error
    _check_store_and_start(disk, store, file, header)
    return header


def _check_store_and_start(
    disk: Disk, store: uuid.UUID, file: HistoryFile, header: SegmentHeader
) -> None:
    if header.store != store or header.first_seq != file.first_seq:
        reason = "it is another segment's file"
        raise corrupt_segment_error(disk, file.name, 0, file.first_seq, reason)


def _windows_in_memory(*data: bytes) -> Windows:
    yield from data


def _windows(disk: Disk, name: str, header: bytes) -> Windows:
    with open_to_read(disk, name) as file:
        window = file.read(0, WINDOW)
        if window[:HEADER_SIZE] != header:
            raise SegmentReplacedError
        offset = 0
        while window:
            yield window
            offset += len(window)
            window = file.read(offset, WINDOW)


class _WindowBuffer:
    """The part of a file that is in memory.

    - `data`: the bytes.
    - `base`: offset of `data` in the file.
    - `at`: offset of the next unread byte in `data`. May point behind `data`, since the padding of
      a record may lie in the next window.
    """

    __slots__ = ("_windows", "at", "base", "data")

    def __init__(self, windows: Windows, at: int) -> None:
        self._windows = windows
        self.data = b""
        self.base = 0
        self.at = at

    def fill(self, wanted: int) -> bool:
        """Drop read bytes and append windows until `wanted` unread bytes are in memory.

        Returns whether the bytes are there. Does nothing while they are.
        """
        data, at = self.data, self.at
        if at + wanted <= len(data):
            return True
        dropped = min(at, len(data))
        at -= dropped
        parts = [data[dropped:]] if dropped < len(data) else []
        have = len(data) - dropped
        self.data = data = b""  # free before the next windows are allocated
        while have < at + wanted and (window := next(self._windows, None)) is not None:
            parts.append(window)
            have += len(window)
        self.data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.base += dropped
        self.at = at
        return at + wanted <= have

    def finish(self) -> None:
        """Read to the end of the file: an archive reports surplus bytes behind its last window."""
        for _ in self._windows:
            pass


def _read_sealed(
    disk: Disk, file: HistoryFile, loaded: LoadedFile, wanted: ReadRange
) -> Generator[Chunk, None, FileEnd | None]:
    """Read a file verified by its seal: only numbers and lengths of records are checked."""
    end, stop = loaded.end, wanted.stop
    buffer = _WindowBuffer(loaded.windows, HEADER_SIZE)
    run = OpenRun(loaded.header.first_seq, wanted.start, wanted.chunk_bytes)
    needed = RECORD_HEADER_SIZE
    try:
        while (left := end - buffer.base - buffer.at) > 0 and run.next_seq < stop:
            if needed > left:
                raise InvalidBytesError(f"a record of {needed} bytes does not fit the segment")
            if not buffer.fill(needed):
                raise InvalidBytesError("it is cut short")
            limit = min(len(buffer.data), end - buffer.base)
            needed = _gather_records(buffer, limit, run, min(stop, run.first_seq + CHUNK_EVENTS))
            if not needed:
                needed = RECORD_HEADER_SIZE
                if run.bodies:
                    yield run.take()
    except InvalidBytesError as error:
        offset = buffer.base + buffer.at
        raise corrupt_segment_error(disk, file.name, offset, run.next_seq, str(error)) from error
    if run.bodies:
        yield run.take()
    if left > 0:
        return None
    buffer.finish()
    return FileEnd(run.next_seq, end, loaded.seal)


def _gather_records(buffer: _WindowBuffer, limit: int, run: OpenRun, stop: int) -> int:
    """Move the whole records in front of offset `limit` of the buffer to the run.

    Returns 0 as soon as the run is full or reaches event `stop`, and otherwise how many bytes the
    buffer must hold for the next record. Raises `InvalidBytesError` for an impossible record.
    Buffer and run then stand in front of that record.

    Every record of a finished file passes here, one round of the loop for each. So the loop works
    on local variables and calls nothing but `read_lengths`.
    """
    data, body = buffer.data, buffer.at + RECORD_HEADER_SIZE
    bodies, room, seq = run.bodies, run.room, run.next_seq
    try:
        while body <= limit:
            number, events, length = read_lengths(data, body - _LENGTHS_BEFORE_BODY)
            if number != seq:
                raise InvalidBytesError(f"a record of event {number} stands here")
            if events > length:
                raise InvalidBytesError(f"{length} bytes cannot hold {events} events")
            behind = body + length
            if behind > limit:
                return RECORD_HEADER_SIZE + int(length)
            seq += events
            if seq <= run.start:
                run.first_seq = seq
            elif events:
                bodies.append(data[body:behind])
                room -= length
            body = behind + -length % ALIGNMENT + RECORD_HEADER_SIZE
            if room <= 0 or seq >= stop:
                return 0
    finally:
        buffer.at, run.next_seq, run.room = body - RECORD_HEADER_SIZE, seq, room
    return RECORD_HEADER_SIZE


class _UnsealedRecords:
    """The records of a segment without a closing seal, up to the first invalid one.

    - `data`: the bytes of the segment as last read.
    - `offset`, `next_seq`: offset and number behind the last valid record.
    - `seal`: kind of the last seal, `None` before the first seal.
    - `reason`: why no valid record stands at `offset`. Empty until iteration stops there.
    """

    def __init__(self, header: SegmentHeader, data: bytes) -> None:
        self.header = header
        self.data = data
        self.offset = HEADER_SIZE
        self.next_seq = header.first_seq
        self.seal: SealKind | None = None
        self.reason = ""

    def up_to(self, stop: int) -> Iterator[Record]:
        """Yield the verified records with events, from `offset` on, until `next_seq` is `stop`."""
        data, salt = self.data, self.header.salt
        offset, seq = self.offset, self.next_seq
        self.reason = ""
        try:
            while seq < stop:
                record = read_record(data, offset, salt)
                _, number, events, _, _, end = record
                if number != seq:
                    raise InvalidBytesError(f"a record of event {number} stands here")
                if events:
                    seq += events
                    yield record
                else:
                    self.seal, _ = read_seal(data, record)
                offset = end
        except InvalidBytesError as error:
            self.reason = str(error)
        finally:
            self.offset, self.next_seq = offset, seq


def _read_unsealed(
    disk: Disk,
    store: uuid.UUID,
    file: HistoryFile,
    loaded: LoadedFile,
    wanted: ReadRange,
    last: bool,
) -> Generator[Chunk, None, FileEnd | None]:
    """Read a segment that the writer may be writing to: each record is verified by itself."""
    records = _UnsealedRecords(loaded.header, loaded.data)
    attempts = 0
    while True:
        before = records.offset
        verified = records.up_to(wanted.stop)
        yield from chunks_of(records.data, verified, wanted.start, wanted.chunk_bytes)
        if not records.reason:
            return None
        if not last:
            return FileEnd(records.next_seq, records.offset, records.seal, records.reason)
        attempts = attempts + 1 if records.offset == before else 1
        data = read_whole(disk, file.name)
        if _decode_header(disk, store, file, data) != records.header:
            raise SegmentReplacedError
        tail = classify_tail(data, records.header)
        if isinstance(tail, Corrupt):
            if attempts == _ATTEMPTS:
                raise corrupt_segment_error(disk, file.name, *tail)
        elif tail.next_seq <= records.next_seq:
            seal = tail.sealed if isinstance(tail, Clean) else None
            return FileEnd(records.next_seq, records.offset, seal)
        records.data = data
