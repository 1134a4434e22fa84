"""Small logs for the tests of the log: built byte by byte, or by a writer on a simulated disk."""

from __future__ import annotations

import uuid
import zlib

from eventstore.disk.base import Disk
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest, load_manifest, save_manifest
from eventstore.log.format import SealKind, SegmentHeader, encode_record, encode_seal
from eventstore.log.reader import LogReader
from eventstore.log.recovery import RecoveredLog, examine_log, repair_log
from eventstore.log.segment import SegmentEnd
from eventstore.log.writer import LogWriter
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.testing import SimulatedDisk
from eventstore.timelines import first_timeline

STORE = uuid.UUID("6f1d3a52-8c0e-4b7a-9d4e-2b5c7a90e1f3")
FOREIGN = uuid.UUID("00000000-0000-4000-8000-00000000beef")
SALT = bytes.fromhex("5a17c0de5a17c0de")
SIZE = 4096
TIME = 1_705_311_000_000_000_000

_CODEC = EventCodec()


def body(first_seq: int, *values: object) -> bytes:
    """The encoded events of one record, one for each value."""
    return _CODEC.encode_all(
        [Event(seq, TIME, value) for seq, value in enumerate(values, first_seq)]
    )


class SegmentBytes:
    """A segment under construction: each call adds to `data` and returns the segment."""

    def __init__(self, *, first_seq: int = 1, size: int = SIZE, salt: bytes = SALT) -> None:
        self.header = SegmentHeader(store=STORE, size=size, first_seq=first_seq, salt=salt)
        self.data = self.header.encode()
        self.next_seq = first_seq

    @property
    def end(self) -> int:
        return len(self.data)

    def record(
        self, value: bytes = b"payload", *, synced_end: int | None = None, seq: int | None = None
    ) -> SegmentBytes:
        """Add a record of one event. All earlier bytes count as synced, as in the strict mode."""
        first = self.next_seq if seq is None else seq
        synced = self.end if synced_end is None else synced_end
        self.data += encode_record(self.header.salt, self.end, first, 1, body(first, value), synced)
        self.next_seq = first + 1
        return self

    def seal(self, kind: SealKind) -> SegmentBytes:
        self.data += encode_seal(
            self.header.salt, self.end, self.next_seq, kind, zlib.crc32(self.data)
        )
        return self

    def filled(self) -> bytes:
        """Return the whole segment, with the preallocated zeros."""
        return self.data.ljust(self.header.size, b"\0")


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def new_log(seed: int = 0) -> SimulatedDisk:
    """Return a disk with the folder of a log and the manifest of a store, but no segment."""
    disk = SimulatedDisk(seed)
    disk.make_folder("log")
    disk.sync_folder()
    save_manifest(
        disk, Manifest(kind="log", store=STORE, created=TIME, timelines=first_timeline(STORE))
    )
    return disk


def writer_on(
    disk: Disk,
    last: SegmentEnd | None = None,
    next_seq: int = 1,
    *,
    spare_ready: bool = False,
    segment_size: int = SIZE,
    slow_sync: float = 10.0,
    whole_segments: bool = True,
) -> LogWriter:
    return LogWriter(
        disk,
        STORE,
        last,
        next_seq,
        spare_ready=spare_ready,
        segment_size=segment_size,
        slow_sync=slow_sync,
        whole_segments=whole_segments,
    )


def writer_after(disk: Disk, *, segment_size: int = SIZE) -> LogWriter:
    """Open the log on `disk` for writing."""
    opened = open_on(disk)
    return writer_on(
        disk,
        opened.last,
        opened.next_seq,
        spare_ready=opened.spare_ready,
        segment_size=segment_size,
    )


def commit(writer: LogWriter, *values: object) -> None:
    """Commit `values` as one record and sync it."""
    writer.commit(writer.next_seq, len(values), body(writer.next_seq, *values), sync=True)


def open_on(disk: Disk, *, writable: bool = True, verify_from: int = 1) -> RecoveredLog:
    manifest = load_manifest(disk)
    examined = examine_log(
        disk,
        manifest.store,
        Listing.read(disk),
        log_start=manifest.log_start,
        verify_from=verify_from,
    )
    return repair_log(disk, examined) if writable else examined.unrepaired()


def values_on(disk: Disk, start: int = 1, stop: int | None = None) -> list[object]:
    """Return the values of the events from `start` on, read by a `LogReader`."""
    found: list[object] = []
    seq = start
    for chunk in LogReader(disk, load_manifest(disk).store).chunks(start, stop):
        events = _CODEC.decode(chunk.array, chunk.events, chunk.first_seq)
        for event in events:
            if event.seq >= start and (stop is None or event.seq < stop):
                assert event.seq == seq
                found.append(event.data)
                seq += 1
    return found


def several_segments(
    disk: SimulatedDisk | None = None, segments: int = 4, *, close: bool = True
) -> tuple[SimulatedDisk, list[object]]:
    """Return a log of `segments` segments with two events each, and the values."""
    disk = disk or new_log()
    values: list[object] = []
    for number in range(segments):
        writer = writer_after(disk) if number else writer_on(disk)
        for value in (f"{number}a", f"{number}b"):
            commit(writer, value)
            values.append(value)
        if close or number < segments - 1:
            writer.close()
    return disk, values
