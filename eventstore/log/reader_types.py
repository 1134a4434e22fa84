"""Types shared by the readers of a file: its place in history, the wanted events, the end."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from eventstore.disk.base import Disk
from eventstore.disk.layout import archive_name, segment_name
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SealKind, SegmentHeader
from eventstore.log.segment import corrupt_segment_error

__all__ = [
    "FileEnd",
    "HistoryFile",
    "ReadRange",
    "SegmentReplacedError",
    "check_owner",
    "decode_header",
]


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


def decode_header(disk: Disk, store: uuid.UUID, file: HistoryFile, data: bytes) -> SegmentHeader:
    """Decode the header of a segment. Raises `CorruptLogError`."""
    try:
        header = SegmentHeader.decode(data[:HEADER_SIZE])
    except InvalidBytesError as error:
        raise corrupt_segment_error(disk, file.name, 0, file.first_seq, str(error)) from error
    check_owner(disk, store, file, header.store, header.first_seq)
    return header


def check_owner(
    disk: Disk, store: uuid.UUID, file: HistoryFile, found: uuid.UUID, first_seq: int
) -> None:
    """Raise `CorruptLogError` for a file of another store, or of another place in the history."""
    if found != store or first_seq != file.first_seq:
        reason = "it is another segment's file"
        raise corrupt_segment_error(disk, file.name, 0, file.first_seq, reason)
