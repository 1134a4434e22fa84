"""The chain of segments in the log, judged where the segments do not fit together.

Theory of operation
-------------------
Each header names the segment before. So the sound headers tell the files that belong to the log,
also where one file is missing. `chain_faults` names the files that break the chain, with a remedy:

- *A missing segment.* A successor, or a `CONTINUED` seal, says that the segment was there.
- *A damaged segment.* The chain has a place for the file, but the file's header does not fit.
- *A stray file.* The chain is whole without the file, for instance a copy under another number.
  Nothing of the log is missing, and the remedy is to move the file out of the folder.

Nobody calls this module while the chain is sound, except the tools that survey a whole store.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import LOG_FOLDER, segment_name
from eventstore.error_base import REPAIR
from eventstore.errors import CorruptLogError
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SealKind, SegmentHeader
from eventstore.log.segment import MOVE_OUT, RESTORE, corrupt_segment_error, header_fault
from eventstore.log.tail_verdict import Clean, Corrupt, classify_tail

__all__ = ["ChainFault", "chain_error", "chain_faults"]


class ChainFault(NamedTuple):
    """A file that breaks the chain, with the reason and the remedy.

    Every event before `expected_seq` is in front of the fault.
    """

    name: str
    expected_seq: int
    reason: str
    remedy: str

    def error(self, disk: Disk) -> CorruptLogError:
        """Make the error for the fault."""
        path = f"{disk.path}/{self.name}"
        return CorruptLogError(
            f"{path}: {self.reason}. Nothing was written. {self.remedy}",
            path=path,
            expected_seq=self.expected_seq,
        )

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}"


def chain_faults(
    disk: Disk, store: uuid.UUID, firsts: Iterable[int], log_start: int
) -> Iterator[ChainFault]:
    """Yield the faults in the chain of segments from event `log_start` on, in the order of events.

    `firsts` are the first events in the names of the segments, ascending.

    Raises `ReadFailedError`, and `FileNotFoundError` where a segment is gone. A segment goes only
    beside a writer.
    """
    return _Chain(disk, store, [first for first in firsts if first >= log_start], log_start).walk()


def chain_error(
    disk: Disk, store: uuid.UUID, firsts: Iterable[int], log_start: int
) -> CorruptLogError:
    """Make the error for the first fault in the chain. Arguments and errors as `chain_faults`."""
    for fault in chain_faults(disk, store, firsts, log_start):
        return fault.error(disk)
    # A fault was seen a moment ago.
    name, reason = segment_name(log_start), "the log reads differently each time"
    return corrupt_segment_error(disk, name, 0, log_start, reason, "Check the device")


class _Chain:
    def __init__(self, disk: Disk, store: uuid.UUID, firsts: list[int], log_start: int) -> None:
        self._disk = disk
        self._store = store
        self._firsts = firsts
        self._log_start = log_start
        self._headers: dict[int, SegmentHeader] = {}
        self._reasons: dict[int, str] = {}  # of files whose headers do not fit
        self._renamed: dict[int, int] = {}  # segment of this store -> the number in the file's name

    def walk(self) -> Iterator[ChainFault]:
        for first in self._firsts:
            self._read(first)
        previous: SegmentHeader | None = None
        unplaced: list[int] = []
        for first in self._firsts:
            header = self._headers.get(first)
            if header is None:
                unplaced.append(first)
                continue
            expected = self._log_start if previous is None else previous.first_seq
            linked = first == expected if previous is None else header.previous_first == expected
            if linked:
                yield from (self._stray(number, first) for number in unplaced)
            elif previous is not None and header.previous_first < previous.first_seq:
                yield self._rival(previous, header)
            else:
                yield from self._hole(previous, unplaced, first)
            previous, unplaced = header, []
        yield from self._behind(previous, unplaced)

    def _read(self, first: int) -> None:
        data = read_whole(self._disk, segment_name(first), HEADER_SIZE)
        try:
            header = SegmentHeader.decode(data)
        except InvalidBytesError as error:
            self._reasons[first] = str(error)
            return
        reason = header_fault(header, self._store, first)
        if reason is None:
            self._headers[first] = header
            return
        self._reasons[first] = reason
        if header.store == self._store:
            self._renamed[header.first_seq] = first

    def _hole(
        self, previous: SegmentHeader | None, unplaced: list[int], successor: int
    ) -> Iterator[ChainFault]:
        """Yield the faults between two sound segments that do not follow one another."""
        start, _ = self._end_of(previous)
        if start not in unplaced:
            last = min(unplaced, default=successor) - 1
            yield self._missing(start, f"the segment is missing: events {start} to {last} with it")
        for number in unplaced:
            yield ChainFault(segment_name(number), number, self._reasons[number], RESTORE)

    def _behind(self, previous: SegmentHeader | None, unplaced: list[int]) -> Iterator[ChainFault]:
        """Yield the faults behind the last sound segment."""
        start, continued = self._end_of(previous)
        place = previous is None or continued
        if place and start not in unplaced:
            reason = "the segment is missing"
            if previous is not None:
                name = segment_name(previous.first_seq)
                reason += f": {name} says that there is one after it"
            yield self._missing(start, reason)
        for number in unplaced:
            if previous is None or (continued and number == start):
                yield ChainFault(segment_name(number), number, self._reasons[number], RESTORE)
            else:
                yield self._stray(number, start)

    def _end_of(self, header: SegmentHeader | None) -> tuple[int, bool]:
        """Return the number behind a segment, and whether the seal announces a successor."""
        if header is None:
            return self._log_start, False
        tail = classify_tail(read_whole(self._disk, segment_name(header.first_seq)), header)
        if isinstance(tail, Corrupt):
            return tail.expected_seq, False
        return tail.next_seq, isinstance(tail, Clean) and tail.sealed is SealKind.CONTINUED

    def _missing(self, number: int, reason: str) -> ChainFault:
        name, renamed = segment_name(number), self._renamed.get(number)
        remedy = RESTORE
        if renamed is not None:
            found = segment_name(renamed)
            remedy = f"{found} is this segment, renamed: rename it to {name}, or {REPAIR}"
        return ChainFault(name, number, reason, remedy)

    def _stray(self, number: int, expected_seq: int) -> ChainFault:
        name, reason = segment_name(number), self._reasons[number]
        for original, renamed in self._renamed.items():
            if renamed == number and original >= self._log_start:
                if original not in self._firsts:
                    remedy = f"Rename it to {segment_name(original)}, which is missing"
                    return ChainFault(name, expected_seq, reason, remedy)
                reason += f"; {segment_name(original)} is in its place"
        return ChainFault(name, expected_seq, reason, MOVE_OUT)

    def _rival(self, previous: SegmentHeader, header: SegmentHeader) -> ChainFault:
        """Make the fault of a segment that a later segment passes over."""
        name, later = segment_name(previous.first_seq), segment_name(header.first_seq)
        before = segment_name(header.previous_first) if header.previous_first else "none"
        return ChainFault(
            name,
            previous.first_seq,
            f"it does not belong before {later}, which says that {before} is the one before it",
            f"One of the two comes from another copy of this store: move that one out of "
            f"{LOG_FOLDER}/, and open a copy of the store to see which",
        )
