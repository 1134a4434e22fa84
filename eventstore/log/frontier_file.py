"""The frontier: a small file that tells other processes how far the log is durable.

Theory of operation
-------------------
A process beside the writer can read the log, but cannot see which records are durable. So the
writer's thread overwrites one small file after each sync, and followers watch the file
(`eventstore/following`). The writer itself never reads the file. The next opening does: one
checksum then verifies the told part of the last segment (`recovery.py`).

The file, 76 bytes, little-endian::

    0   8s  magic              b"EVSTFRN\\n"
    8   H   format version     1
    10  H   checksum algorithm 1 = CRC-32 (zlib)
    12  I   timeline
    16  16s store UUID
    32  8s  opening            random, drawn at every opening for writing
    40  Q   seq                last durable event
    48  Q   segment            first_seq of the segment with the end, 0 before the first record
    56  Q   end                durable end in that segment
    64  I   state              1 while the writer has the store, 2 after a proper close
    68  I   data CRC           CRC-32 of the segment, from 0 to the durable end
    72  I   CRC-32 of bytes 0 to 72

*The frontier is a hint, and never trusted over the log.* The file is never synced. After a power
cut the file may be missing, torn or of an earlier moment. The frontier is written after the sync of
the events, so a frontier on the platter is never ahead of the log. The one exception is the
durability `none`: there the frontier tells of written events. A reader delivers only records with
right checksums. An opening compares the data CRC with the bytes of the segment.

*A failure costs the writer nothing.* Where the file cannot be written, followers see no new events
until the next opening. The log goes on, and one warning says so.
"""

from __future__ import annotations

import enum
import struct
import uuid
import zlib
from typing import NamedTuple

from eventstore.disk.base import Disk
from eventstore.disk.layout import FRONTIER
from eventstore.log.format import CRC32, InvalidBytesError
from eventstore.operator_log import operator_log

__all__ = ["FRONTIER_SIZE", "Frontier", "FrontierWriter", "WriterState"]

_logger = operator_log("eventstore.log.writer")

MAGIC = b"EVSTFRN\n"
VERSION = 1

_OPENING = struct.Struct("<8sHHI16s8s")
_PLACE = struct.Struct("<QQQII")
_CRC = struct.Struct("<I")
_pack_place, _pack_crc = _PLACE.pack, _CRC.pack
OPENING_SIZE = 8

FRONTIER_SIZE = _OPENING.size + _PLACE.size + _CRC.size
"""Bytes of the file."""

assert FRONTIER_SIZE == 76


class WriterState(enum.IntEnum):
    """Last state that the writer told of. The state of a killed writer is `OPEN`."""

    OPEN = 1
    CLOSED = 2


class Frontier(NamedTuple):
    """The facts in the file.

    - `seq`: number of the last durable event.
    - `segment`, `end`: the segment with the durable end, and the offset of the end. `segment` is 0
      before the first record of a store.
    - `opening`: random bytes of the writer's opening.
    - `data_crc`: CRC-32 of the segment's bytes up to `end`.
    """

    store: uuid.UUID
    timeline: int
    opening: bytes
    seq: int
    segment: int
    end: int
    state: WriterState
    data_crc: int = 0

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        checked = _encode_opening(self.store, self.timeline, self.opening)
        checked += _pack_place(self.seq, self.segment, self.end, self.state, self.data_crc)
        return checked + _pack_crc(zlib.crc32(checked))

    @classmethod
    def decode(cls, data: bytes) -> Frontier:
        """Read the bytes of the file. Raises `InvalidBytesError`, for torn bytes too."""
        if len(data) < FRONTIER_SIZE:
            raise InvalidBytesError("the frontier is cut short")
        checked = data[: FRONTIER_SIZE - _CRC.size]
        if _CRC.unpack_from(data, len(checked))[0] != zlib.crc32(checked):
            raise InvalidBytesError("the frontier's checksum does not match")
        magic, version, algorithm, timeline, store, opening = _OPENING.unpack_from(data)
        if (magic, version, algorithm) != (MAGIC, VERSION, CRC32):
            raise InvalidBytesError("the frontier is of a format that this release does not know")
        seq, segment, end, state, data_crc = _PLACE.unpack_from(data, _OPENING.size)
        try:
            known = WriterState(state)
        except ValueError:
            raise InvalidBytesError(f"the frontier has the unknown state {state}") from None
        return cls(uuid.UUID(bytes=store), timeline, opening, seq, segment, end, known, data_crc)


def _encode_opening(store: uuid.UUID, timeline: int, opening: bytes) -> bytes:
    return _OPENING.pack(MAGIC, VERSION, CRC32, timeline, store.bytes, opening)


class FrontierWriter:
    """The writer's side of the frontier. All calls are made on the writer's thread.

    `seq`, `segment`, `end` and `crc` describe the durable end of the log, as `Frontier` does. The
    writer of the log sets them, and `tell` writes what has changed.
    """

    __slots__ = ("_disk", "_opening", "_state", "_told", "_warned", "crc", "end", "segment", "seq")

    def __init__(
        self,
        disk: Disk,
        store: uuid.UUID,
        seq: int,
        segment: int,
        end: int,
        crc: int,
        *,
        timeline: int = 1,
    ) -> None:
        self.seq = seq
        self.segment = segment
        self.end = end
        self.crc = crc
        self._disk = disk
        self._opening = _encode_opening(store, timeline, disk.entropy(OPENING_SIZE))
        self._state = WriterState.OPEN
        self._told = -1
        self._warned = False

    def tell(self) -> None:
        """Write the frontier, if there are new durable events since the last call."""
        seq = self.seq
        if seq == self._told:
            return
        self._told = seq
        checked = self._opening + _pack_place(seq, self.segment, self.end, self._state, self.crc)
        try:
            self._disk.overwrite(FRONTIER, checked + _pack_crc(zlib.crc32(checked)))
        except OSError as error:
            if not self._warned:
                self._warned = True
                _logger.warning(
                    "%s/%s cannot be written (%s): other processes that follow this store see no "
                    "new events; the log is not affected",
                    self._disk.path,
                    FRONTIER,
                    error,
                )

    def close(self) -> None:
        """Tell of the proper end of this opening."""
        self._state = WriterState.CLOSED
        self._told = -1
        self.tell()
