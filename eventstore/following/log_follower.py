"""The position of one follower, and the next durable events behind it. Blocking, and thread-free.

Theory of operation
-------------------
The follower reads the frontier (`log/frontier_file.py`) and delivers events up to the frontier's
number, never further. There are two ways to the next event.

- *The tail.* The next event is in the segment of the frontier. A `SegmentTail` keeps the place and
  reads only new bytes. A tail whose segment was left by the writer is read to its last event. The
  open file stays readable, also where compaction has moved the segment to the archive.
- *The history.* The next event is in an earlier file. `LogReader` reads archive and segments, up to
  the segment of the frontier. The reading is kept between two calls, so catching up takes linear
  time.

Where the tail finds no valid record, the frontier and the segment contradict each other. The log
decides: the history is read from the next event on, which finds replaced segments and reports
damage. A log that ends before the frontier is no error. The frontier may be that of a newer copy,
or a power cut took events under the durability `none`. The follower waits for the next opening.

*Another opening* of the writer may have changed history. Each opening draws random bytes for the
frontier. When the bytes change, the follower drops tail and history, and compares the last event
that it delivered with the log (`reading/cursor_check.py`). Where history went another way,
`HistoryForkedError` is raised, and raised again by each later call.

*No frontier.* A copy of a store may lack the file, and a writer may be unable to write the file.
Then the log itself says what is durable: sealed segments, and the records that a later record or
seal attests. This takes a pass over the last segment, and is done seldom.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from eventstore.cursor import Cursor, checksum_at
from eventstore.disk.base import Disk, File, read_whole
from eventstore.disk.layout import FRONTIER, LOG_FOLDER, segment_name, segment_seq
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import StoreNotFoundError
from eventstore.following.segment_tail import SegmentTail
from eventstore.log.base import Chunk
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SealKind
from eventstore.log.frontier_file import FRONTIER_SIZE, Frontier, WriterState
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.log.segment import read_header
from eventstore.log.tail_verdict import Clean, Corrupt, classify_tail
from eventstore.operator_log import operator_log
from eventstore.os_errors import GoneError, translating_read_errors
from eventstore.reading.cursor_check import confirm

__all__ = ["Found", "LogFollower"]

_logger = operator_log("eventstore.following")

_TORN_READS = 5
"""Reads of the frontier in a row that may fall into a write."""
_FAR = 1 << 62
_MOMENT, _MOMENTS = 0.002, 50
"""Seconds, and how often, to wait for a frontier that a cursor is ahead of."""
_WITHOUT_FRONTIER = 5.0
"""Seconds between two passes over the last segment of a store without a frontier."""


class Found(NamedTuple):
    """A chunk with the events `start` up to `stop` (exclusive). The chunk may hold more."""

    chunk: Chunk
    start: int
    stop: int


class LogFollower:
    """The place of a follower in a store's history.

    `make_disk` opens the store's directory, again where the directory was replaced. `next_seq` is
    the number of the next event. `durable_seq` is the last event that is known to be durable.
    `closed` says whether the last writer has closed the store. `disk` is the open directory.
    """

    def __init__(self, make_disk: Callable[[], Disk]) -> None:
        self._make_disk = make_disk
        self.disk: Disk = make_disk()
        self.next_seq = 1
        self.durable_seq = 0
        self.closed = False
        self._manifest: Manifest = self._load_manifest()
        self._file: File | None = None
        self._opening: bytes | None = None
        self._tail: SegmentTail | None = None
        self._history: Iterator[Chunk] | None = None
        self._last: Chunk | None = None  # holds the event before `next_seq`
        self._given: Cursor | None = None  # in place of `_last`, at the start
        self._scanned_at = float("-inf")
        self._scanned = False
        self._proven: Frontier | None = None
        self._warned = False

    def begin(self, after: int | Cursor | None) -> None:
        """Stand behind event `after`, behind a cursor, or (`None`) behind the last durable event.

        Raises `HistoryForkedError`, `CursorAheadError` and `ForeignCursorError` for a cursor.
        """
        with translating_read_errors(self.disk.path):
            if not self._manifest.logged:  # says so, with the reason
                next(LogReader(self.disk, self._manifest.store).chunks(), None)
            frontier = self._look(idle=True)
            if isinstance(after, Cursor):
                frontier = self._look_up_to(after.seq, frontier)
                self._given = after
                after = confirm(self.disk, after, self._last_to_confirm(frontier))
            if after is None:
                after = 0 if frontier is None else frontier.seq
            self.next_seq = max(after, 0) + 1
            if frontier is not None:
                self._opening, self.durable_seq = frontier.opening, frontier.seq

    def cursor_behind(self, seq: int, chunk: Chunk | None) -> Cursor:
        """Return the cursor behind event `seq`, which `chunk` holds."""
        if chunk is None or not chunk.first_seq <= seq < chunk.first_seq + chunk.events:
            if self._given is not None and self._given.seq == seq:
                return self._given
            return self._manifest.lineage(self.disk.path).cursor(seq, None)
        checksum = checksum_at(chunk.array, seq - chunk.first_seq)
        return self._manifest.lineage(self.disk.path).cursor(seq, checksum)

    def next_chunk(self, *, idle: bool = False) -> Found | None:
        """Return the next durable events, or `None` where there are none yet.

        The place moves with `advance`.

        `idle` says that some time went by without an event: then the follower also looks whether
        the frontier or the whole directory was replaced.

        Raises `HistoryForkedError`, `HistoryUnavailableError` where the next event was discarded,
        `CorruptLogError`, `ReadFailedError` and `StoreAccessError`. A later call tries again.
        """
        with translating_read_errors(self.disk.path):
            if idle and not self._ensure_in_place():
                return None
            frontier = self._look(idle=idle)
            if frontier is None:
                return None
            if frontier.opening != self._opening:
                self._follow_opening(frontier)
            self.durable_seq = frontier.seq
            self.closed = frontier.state is WriterState.CLOSED
            if self.next_seq > frontier.seq:
                return None
            chunk = self._read(frontier)
        if chunk is None:
            self._warn_of_contradiction(frontier)
            return None
        return Found(chunk, self.next_seq, min(chunk.first_seq + chunk.events, frontier.seq + 1))

    def advance(self, found: Found) -> None:
        """Move the place behind what `next_chunk` has found."""
        self.next_seq, self._last = found.stop, found.chunk

    def read_again(self) -> None:
        """Stay at the place, though `next_chunk` has read on: its events could not be used."""
        self._drop()

    def close(self) -> None:
        """Close all files. A second call does nothing."""
        self._drop()
        self._close_frontier()
        self.disk.close()

    def __del__(self) -> None:  # for a follower that was left without `close`
        if "_history" in vars(self):
            self.close()

    # ---- the frontier ----------------------------------------------------------------------

    def _look(self, *, idle: bool) -> Frontier | None:
        """Read the frontier, or (`idle`) what the log knows in place of a frontier.

        `None` where nothing new can be said now.
        """
        frontier = self._read_frontier()
        if frontier is not None and not self._is_ours(frontier):
            frontier = None
        self._scanned = frontier is None
        if frontier is not None:
            return frontier
        if not idle:
            return None  # perhaps torn: a writer at work gives a whole one in a moment
        now = time.monotonic()
        if now - self._scanned_at >= _WITHOUT_FRONTIER:
            self._scanned_at = now
            self._proven = _frontier_of_log(self.disk, self._manifest)
        return self._proven

    def _is_ours(self, frontier: Frontier) -> bool:
        """Whether the frontier is of the store in the directory, which may have been replaced."""
        store = frontier.store
        return store == self._manifest.store or store == self._load_manifest().store

    def _look_up_to(self, seq: int, frontier: Frontier | None) -> Frontier | None:
        """Read the frontier until it tells of event `seq`, for a moment at most.

        The writer acknowledges an event before the frontier tells of the event. So a cursor may
        come from the writer's process a moment earlier.
        """
        for _ in range(_MOMENTS if self.disk.blocking else 0):
            if frontier is None or frontier.seq >= seq or frontier.state is WriterState.CLOSED:
                break
            time.sleep(_MOMENT)
            frontier = self._look(idle=True)
        return frontier

    def _last_to_confirm(self, frontier: Frontier | None) -> int | None:
        """Return the last event that a cursor may stand behind, `None` where the log has to say.

        Without a frontier, the log knows of some durable events only a moment later.
        """
        return None if frontier is None or self._scanned else frontier.seq

    def _read_frontier(self) -> Frontier | None:
        for _ in range(_TORN_READS):
            try:
                if self._file is None:
                    self._file = self.disk.open(FRONTIER)
                return Frontier.decode(self._file.read(0, FRONTIER_SIZE))
            except InvalidBytesError:
                continue
            except FileNotFoundError:
                return None
        return None

    def _close_frontier(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _ensure_in_place(self) -> bool:
        """Look whether frontier and directory were replaced. Returns whether there is a store."""
        try:
            self.disk.ensure_in_place()
        except GoneError:
            return self._reopen()
        try:
            if self._file is not None:
                self._file.ensure_in_place()
        except GoneError:
            self._close_frontier()
        return True

    def _reopen(self) -> bool:
        try:
            disk = self._make_disk()
        except StoreNotFoundError:
            return False  # moved away, perhaps to make room for a copy
        self._drop()
        self._close_frontier()
        self.disk.close()
        self.disk, self._opening = disk, None
        return True

    def _follow_opening(self, frontier: Frontier) -> None:
        """Go on in the history of another opening, once the last delivered event is known there."""
        self._drop()
        if self._last is not None:  # in the timelines in which the event was delivered
            self._given = self.cursor_behind(self.next_seq - 1, self._last)
            self._last = None
        self._manifest = self._load_manifest()
        if self._given is not None:
            confirm(self.disk, self._given, self._last_to_confirm(frontier))
        self._opening = frontier.opening
        self._warned = False

    def _load_manifest(self) -> Manifest:
        with translating_read_errors(self.disk.path):
            return load_manifest(self.disk)

    # ---- the log ---------------------------------------------------------------------------

    def _read(self, frontier: Frontier) -> Chunk | None:
        if self._history is not None or self.next_seq < frontier.segment:
            chunk = self._read_before(frontier.segment)
            if chunk is not None or self.next_seq < frontier.segment:
                return chunk
        tail = self._tail
        try:
            if tail is None or tail.first_seq != frontier.segment or tail.next_seq > self.next_seq:
                self._drop()
                tail = SegmentTail(self.disk, self._manifest.store, frontier.segment)
                self._tail = tail
            return tail.read(self.next_seq, frontier.seq, frontier.end, CACHED_BYTES)
        except (InvalidBytesError, FileNotFoundError):
            return self._read_contradicted(frontier)

    def _read_before(self, segment: int) -> Chunk | None:
        """Read from a file before `segment`, which begins with that event."""
        tail = self._tail
        if tail is not None:
            with contextlib.suppress(InvalidBytesError):
                chunk = tail.read(self.next_seq, segment - 1, _FAR, CACHED_BYTES)
                if chunk is not None:
                    return chunk
            self._drop()
        history, self._history = self._history, None  # a reading that raises has ended
        chunk = None if history is None else next(history, None)
        if chunk is None and self.next_seq < segment:
            reader = LogReader(self.disk, self._manifest.store, CACHED_BYTES)
            history = reader.chunks(self.next_seq, segment)
            chunk = next(history, None)
        if chunk is not None:
            self._history = history
        return chunk

    def _read_contradicted(self, frontier: Frontier) -> Chunk | None:
        """Read the log itself, where the tail contradicts the frontier."""
        self._drop()
        reader = LogReader(self.disk, self._manifest.store, CACHED_BYTES)
        return next(reader.chunks(self.next_seq, frontier.seq + 1), None)

    def _drop(self) -> None:
        tail, self._tail, self._history = self._tail, None, None
        if tail is not None:
            tail.close()

    def _warn_of_contradiction(self, frontier: Frontier) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(
                "%s: the frontier tells of event %d, and event %d is not in the log: waiting for "
                "the next opening of the store",
                self.disk.path,
                frontier.seq,
                self.next_seq,
            )


def _frontier_of_log(disk: Disk, manifest: Manifest) -> Frontier | None:
    """Return what a store without a frontier knows to be durable, from the last segment's bytes."""
    firsts = [first for first in map(segment_seq, disk.list(LOG_FOLDER)) if first is not None]
    if not firsts:
        return None
    first = max(firsts)
    try:
        header = read_header(disk, segment_name(first), manifest.store)
        data = read_whole(disk, segment_name(first))
    except FileNotFoundError:
        return None
    tail = classify_tail(data, header)
    if isinstance(tail, Corrupt):
        return None
    sealed = isinstance(tail, Clean) and tail.sealed is not None
    proven = max((record.synced_end for record in tail.records), default=HEADER_SIZE)
    seq, end = first - 1, HEADER_SIZE
    for record in tail.records:
        if sealed or record.end <= proven:
            seq, end = record.first_seq + record.events - 1, record.end
    closed = isinstance(tail, Clean) and tail.sealed is SealKind.CLOSED
    state = WriterState.CLOSED if closed else WriterState.OPEN
    return Frontier(manifest.store, 1, header.salt, seq, first, end, state)
