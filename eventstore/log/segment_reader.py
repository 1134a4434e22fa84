"""One file of the history, read from beginning to end: a segment or an archive, as chunks.

Theory of operation
-------------------
`read_file` knows one file and nothing of the files around it. The reader of the whole history
(`reader.py`) compares the end of one file, a `FileEnd`, with the files that follow.

*A file with a closing seal.* The seal holds a checksum of all bytes before the seal. `load_file`
computes that checksum window by window and forgets the windows. Then the file is read a second time
and decoded. Two passes are faster than one: the second pass reads from the page cache into memory
that was just in use. The kernel would hand over memory for a whole segment page by page, and that
can take as long as decoding. So memory does not grow with the size of a file.

*An archive.* The index says which blocks hold the wanted events. Only these blocks are read. Each
is verified by the checksum of its compressed bytes, and decompressed when its events are due.

The second pass computes no checksum. The second pass compares the header with the header of the
first pass, and checks the numbers and lengths of all records. A segment with another header was
replaced between the passes: `SegmentReplacedError`, and the caller loads the new segment.

*A few events of a larger segment* are searched for and verified record by record (`seek.py`). Where
that ends before the last wanted event, the segment is read through as follows.

*A segment without a closing seal* is read whole (`unsealed_reader.py`).

Nothing is handed over before its checksum was verified.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator
from typing import NamedTuple

from eventstore.disk.base import Disk, open_to_read
from eventstore.log.archive import open_archive
from eventstore.log.base import Chunk
from eventstore.log.format import (
    ALIGNMENT,
    HEADER_SIZE,
    LENGTHS_AT,
    RECORD_HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    SealKind,
    SegmentHeader,
    closing_seal,
    read_lengths,
)
from eventstore.log.reader_types import (
    FileEnd,
    HistoryFile,
    ReadRange,
    SegmentReplacedError,
    check_owner,
    decode_header,
)
from eventstore.log.runs import CHUNK_EVENTS, OpenRun
from eventstore.log.seek import SHORT, read_short
from eventstore.log.segment import WINDOW, corrupt_segment_error, file_crc
from eventstore.log.unsealed_reader import UnsealedRecords, read_unsealed

__all__ = ["read_file"]

_LENGTHS_BEFORE_BODY = RECORD_HEADER_SIZE - LENGTHS_AT

Windows = Generator[bytes, None, None]


class LoadedFile(NamedTuple):
    """A file before its records are read.

    - `first_seq`, `offset`: number of the first event in the windows, and offset of the record.
    - `seal`: kind of the closing seal, `None` for a segment without one. An archive has one.
    - `end`: offset of the closing seal, or the size of a segment without one.
    - `windows`: the verified bytes of a sealed file, from offset `base` on.
    - `header`: the verified header of a segment without a closing seal.
    - `data`: all bytes of a segment without a closing seal.
    """

    first_seq: int
    offset: int
    seal: SealKind | None
    end: int
    windows: Windows
    base: int = 0
    header: SegmentHeader | None = None
    data: bytes = b""


def read_file(
    disk: Disk, store: uuid.UUID, file: HistoryFile, wanted: ReadRange, successor: int | None
) -> Generator[Chunk, None, FileEnd | None]:
    """Read the wanted events of one file.

    The first chunk may begin before `wanted.start` and the last chunk may end after `wanted.stop`,
    because records are never split.

    Args:
        disk: The store's disk.
        store: Identity of the store. A file of another store is refused.
        file: The file to read.
        wanted: The events to read.
        successor: First event of the next file, `None` without one. Then a segment without a
            closing seal may end with an unfinished record.

    Returns:
        The end of the file, or `None` where reading stopped before the end, with nothing left to
        read in the file.

    Raises:
        FileNotFoundError: The file is gone. Compaction moves segments to the archive.
        SegmentReplacedError: The segment was replaced during the read.
        CorruptLogError: The file is damaged. The verified events of a segment without a closing
            seal come first.
        ReadFailedError: The device cannot read the file.
    """
    whole = wanted.start <= file.first_seq and successor is not None and wanted.stop >= successor
    if not file.archived and not whole and wanted.stop - wanted.start <= SHORT:
        seq = yield from read_short(disk, store, file, wanted, successor)
        if seq >= wanted.stop or seq == successor:
            return None
        wanted = wanted._replace(start=seq)
    loaded = load_file(disk, store, file, wanted)
    try:
        if loaded.header is not None:
            records = UnsealedRecords(loaded.header, loaded.data)
            return (yield from read_unsealed(disk, store, file, records, wanted, successor is None))
        return (yield from _read_sealed(disk, file, loaded, wanted))
    finally:
        loaded.windows.close()


def load_file(disk: Disk, store: uuid.UUID, file: HistoryFile, wanted: ReadRange) -> LoadedFile:
    """Verify a file by its seal or its archive's index, or load a segment without a seal whole.

    Raises `FileNotFoundError`, `CorruptLogError` and `ReadFailedError`. The windows raise the same
    errors and `SegmentReplacedError`.
    """
    if file.archived:
        index, number, blocks = open_archive(disk, file.name, wanted.start, wanted.stop)
        check_owner(disk, store, file, index.store, index.firsts[0])
        base = index.offsets[number]
        offset = base if number else HEADER_SIZE
        end = index.offsets[-1] - SEAL_SIZE
        return LoadedFile(index.firsts[number], offset, SealKind.CLOSED, end, blocks, base)
    with open_to_read(disk, file.name) as opened:
        size = opened.size()
        head = opened.read(0, min(size, WINDOW))
        header = decode_header(disk, store, file, head)
        whole, end = size <= WINDOW, size - SEAL_SIZE
        tail = head[-SEAL_SIZE:] if whole else opened.read(end, SEAL_SIZE)
        seal = closing_seal(tail, end, header.salt)
        if seal is not None and file_crc(opened, end, head) == seal[1]:
            windows = (
                _windows_in_memory(head) if whole else _windows(disk, file.name, head[:HEADER_SIZE])
            )
            return LoadedFile(header.first_seq, HEADER_SIZE, seal[0], end, windows)
        data = head if whole else opened.read(0, size)
        none = _windows_in_memory()
        return LoadedFile(header.first_seq, HEADER_SIZE, None, size, none, 0, header, data)


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

    def __init__(self, windows: Windows, base: int, at: int) -> None:
        self._windows = windows
        self.data = b""
        self.base = base
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


def _read_sealed(
    disk: Disk, file: HistoryFile, loaded: LoadedFile, wanted: ReadRange
) -> Generator[Chunk, None, FileEnd | None]:
    """Read a file verified by its seal: only numbers and lengths of records are checked."""
    end, stop = loaded.end, wanted.stop
    buffer = _WindowBuffer(loaded.windows, loaded.base, loaded.offset - loaded.base)
    run = OpenRun(loaded.first_seq, wanted.start, wanted.chunk_bytes)
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
    add, start, room, seq = run.bodies.append, run.start, run.room, run.next_seq
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
            if seq <= start:
                run.first_seq = seq
            elif events:
                add(data[body:behind])
                room -= length
            body = behind + -length % ALIGNMENT + RECORD_HEADER_SIZE
            if room <= 0 or seq >= stop:
                return 0
    finally:
        buffer.at, run.next_seq, run.room = body - RECORD_HEADER_SIZE, seq, room
    return RECORD_HEADER_SIZE
