"""The files of a history as their reader is given them: vouched for, and then window by window.

Theory of operation
-------------------
A finished segment ends with a seal over all of its bytes. They are summed first, in windows that
are read and forgotten, and then read again by who decodes them. That is faster than to read them
once: the second time they come from the page cache into memory that was just used, while memory for
a whole segment would be given to the process page by page, which can take as long as decoding it.
An archive is vouched for by the checksum of its compressed bytes, and decompressed in windows for
the same reason. So memory does not depend on the size of segments either.

What is read the second time is not summed again, but the numbers and lengths in it are checked. A
segment that was replaced in between begins with another header, and is loaded anew.

A segment that no seal vouches for is handed over whole: each of its records is to be verified.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator
from typing import NamedTuple

from eventstore.disk.base import Disk, open_to_read, read_whole
from eventstore.disk.layout import archive_name, segment_name
from eventstore.log.archive import open_archive
from eventstore.log.format import (
    HEADER_SIZE,
    SEAL_SIZE,
    InvalidBytesError,
    SealKind,
    SegmentHeader,
    closing_seal,
)
from eventstore.log.segment import WINDOW, corrupt_segment_error, file_crc

__all__ = [
    "HistoryFile",
    "LoadedFile",
    "SegmentReplacedError",
    "load_file",
    "read_ahead",
    "read_segment",
]

Windows = Generator[bytes, None, None]


class SegmentReplacedError(Exception):
    """The segment was replaced while it was read: a writer mended it, or took its name."""


class HistoryFile(NamedTuple):
    """One file of a history, by the number of its first event."""

    first_seq: int
    archived: bool

    @property
    def name(self) -> str:
        return (archive_name if self.archived else segment_name)(self.first_seq)


class LoadedFile(NamedTuple):
    """A file as far as it is known before it is read through.

    With a ``seal``, that one stands at ``end`` and vouches for all that ``windows`` hand over,
    which is the file from its beginning. Without one, ``data`` is the whole file.
    """

    header: SegmentHeader
    seal: SealKind | None
    end: int
    windows: Windows
    data: bytes = b""


def load_file(disk: Disk, store: uuid.UUID, source: HistoryFile) -> LoadedFile:
    """Verify one file of the store as a whole, if a seal allows it.

    Raises ``FileNotFoundError``, :class:`CorruptLogError` and :class:`ReadFailedError`; the windows
    raise these, too, and :class:`SegmentReplacedError`.
    """
    if source.archived:
        header, windows = open_archive(disk, source.name)
        _check(disk, store, source, header)
        return LoadedFile(header, SealKind.CLOSED, header.size - SEAL_SIZE, windows)
    with open_to_read(disk, source.name) as file:
        size = file.size()
        head = file.read(0, min(size, WINDOW))
        header = _header(disk, store, source, head)
        whole, end = size <= WINDOW, size - SEAL_SIZE
        tail = head[-SEAL_SIZE:] if whole else file.read(end, SEAL_SIZE)
        seal = closing_seal(tail, end, header.salt)
        if seal is not None and file_crc(file, end, head) == seal[1]:
            windows = _kept(head) if whole else _windows(disk, source.name, head[:HEADER_SIZE])
            return LoadedFile(header, seal[0], end, windows)
        return LoadedFile(header, None, size, _kept(), head if whole else file.read(0, size))


def read_segment(disk: Disk, store: uuid.UUID, source: HistoryFile) -> tuple[SegmentHeader, bytes]:
    """A segment's header and all of its bytes, whether a seal vouches for them or not."""
    data = read_whole(disk, source.name)
    return _header(disk, store, source, data), data


def _header(disk: Disk, store: uuid.UUID, source: HistoryFile, data: bytes) -> SegmentHeader:
    try:
        header = SegmentHeader.decode(data[:HEADER_SIZE])
    except InvalidBytesError as error:
        raise corrupt_segment_error(disk, source.name, 0, source.first_seq, str(error)) from error
    _check(disk, store, source, header)
    return header


def _check(disk: Disk, store: uuid.UUID, source: HistoryFile, header: SegmentHeader) -> None:
    if header.store != store or header.first_seq != source.first_seq:
        reason = "it is another segment's file"
        raise corrupt_segment_error(disk, source.name, 0, source.first_seq, reason)


def read_ahead(windows: Windows, data: bytes, at: int, wanted: int) -> tuple[bytes, int]:
    """What is behind offset ``at`` of ``data``, and is left of it; and the offset in that.

    At least ``wanted`` bytes from there on, as long as there are windows.
    """
    parts = [data[at:]] if at < len(data) else []
    at -= min(at, len(data))
    have = len(parts[0]) if parts else 0
    while have < at + wanted and (window := next(windows, None)) is not None:
        parts.append(window)
        have += len(window)
    return parts[0] if len(parts) == 1 else b"".join(parts), at


def _kept(*data: bytes) -> Windows:
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
