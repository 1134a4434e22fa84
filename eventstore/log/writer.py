"""The writing side of the log: records into segments, and from one segment into the next.

Theory of operation
-------------------
All methods of `LogWriter` but `prepare_spare` run on the writer's thread, one call at a time.

*A new segment* is made in these steps. Each step is durable before the next begins.

1. The file is zero-filled and synced.
2. The header, which states where the predecessor ends, is written and synced.
3. The file gets the segment's name, and the folder is synced.
4. The predecessor gets a seal that says a successor exists, and loses its unused zeros.
5. The first record is written.

A file with a segment's name therefore always has a valid header and its full size. A segment that
holds records has a predecessor that ends with a seal.

*The spare* (`log/spare.py`) is the file of step 1, made ahead of time.

*Every opening that appends begins a new segment.* Segments of earlier writers are never appended
to. No salt is reused therefore, and nothing depends on the effect of an earlier writer's last sync.

*An open file is not what its name leads to.* Somebody may remove, cut or rename the active segment,
or move the whole directory, and writing goes on without an error. So the writer looks whether the
path still leads to the segment: before a commit is acknowledged, before a seal, and before a new
segment. A commit less than five milliseconds after the last look is not looked at. A look takes
five microseconds and gives up the interpreter's lock twice. One look for each commit cost a tenth
of the throughput.

*Failure.* `StoreFullError` leaves the log as it was, and the next commit may work. Every other
error sets `failure`, for good. A failed sync must not be followed by another sync that appears to
work.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import NamedTuple

from eventstore.disk.base import Disk, File, sync_folder, write_atomically
from eventstore.disk.layout import (
    LOG_FOLDER,
    MANIFEST,
    REWRITE_TEMPORARY,
    SPARE_SEGMENT,
    segment_name,
)
from eventstore.disk.manifest import load_manifest
from eventstore.error_base import fresh_error
from eventstore.errors import EventStoreError, StoreFailedError, StoreFullError
from eventstore.log.base import order_error
from eventstore.log.format import HEADER_SIZE, SealKind, record_size
from eventstore.log.frontier_file import FrontierWriter
from eventstore.log.replica_interface import Replica
from eventstore.log.segment import RESERVED, ActiveSegment, SegmentEnd, write_seal
from eventstore.log.slow_syncs import SlowSyncs
from eventstore.log.spare import SpareSegment
from eventstore.log.write_counts import WriteCounts
from eventstore.operator_log import operator_log
from eventstore.os_errors import (
    SHORTAGE,
    SyncFailedError,
    commit_failed_error,
    never_synced_error,
    no_space_error,
)
from eventstore.standing_warnings import StandingWarnings

__all__ = ["LogWriter"]

_logger = operator_log(__name__)

_LOOK = 5_000_000  # nanoseconds between the looks of commits whether the segment is in place


class _Predecessor(NamedTuple):
    """The segment before the active one. `file` is open until the segment is sealed."""

    end: SegmentEnd
    file: File | None = None


class LogWriter:
    """The writer of one store's log.

    `last` is the end of the last segment, `None` where the log has no segment yet. `next_seq` is
    the number of the next event. `spare_ready` says whether an earlier writer left a spare.
    `segment_size` is the size in bytes that segments grow to, or with `whole_segments` their size.
    `slow_sync` is in seconds. `tell_unsynced` says that other processes may follow events before
    the sync. `timeline` is told to them too. `replica` copies the log to other machines.
    """

    def __init__(
        self,
        disk: Disk,
        store: uuid.UUID,
        last: SegmentEnd | None,
        next_seq: int,
        *,
        spare_ready: bool,
        segment_size: int,
        slow_sync: float,
        whole_segments: bool = False,
        tell_unsynced: bool = False,
        warnings: StandingWarnings | None = None,
        timeline: int = 1,
        replica: Replica | None = None,
    ) -> None:
        self.next_seq = next_seq
        self.synced_seq = next_seq - 1  # the last event that is on stable storage for sure
        self.failure: StoreFailedError | None = None
        self.warnings = warn = StandingWarnings(disk.path) if warnings is None else warnings
        grow = not whole_segments
        self.spare = SpareSegment(disk, segment_size, warn, ready=spare_ready, grow=grow)
        self.counts = WriteCounts()
        self._disk = disk
        self._store = store
        self._slow_syncs = SlowSyncs(slow_sync, self.warnings)
        self._active: ActiveSegment | None = None
        self._previous = None if last is None else _Predecessor(last)
        self._look_at = 0
        self._tell_unsynced = tell_unsynced
        self._replica = replica
        place = (0, 0, 0) if last is None else (last.first_seq, last.end, last.crc)
        self.frontier = FrontierWriter(disk, store, next_seq - 1, *place, timeline=timeline)

    @property
    def path(self) -> str:
        """The store's directory."""
        return self._disk.path

    @property
    def wants_spare(self) -> bool:
        """Whether a spare should be prepared now."""
        return self._active is not None and not self.spare.ready and self.failure is None

    def commit(self, first_seq: int, count: int, body: bytes, *, sync: bool) -> None:
        """Write `count` events as one record. With `sync`, put the record on stable storage.

        `first_seq` is the number that the first event was given. A number that does not continue
        the log is a fault of this library, and fails the log before a byte is written.

        Raises `StoreFullError` if nothing was written, and else `StoreFailedError`.
        """
        if self.failure is not None:
            raise fresh_error(self.failure)
        replica = self._replica
        if replica is not None and replica.failure is not None:
            raise fresh_error(replica.failure)
        if first_seq != self.next_seq:
            raise self.order_error(first_seq, f"event {self.next_seq} is next")
        began, counts = time.perf_counter_ns(), self.counts
        active = self._segment_for_record(record_size(len(body)))
        try:
            counts.bytes_written += active.append(count, body)
        except OSError as error:
            raise self._refuse_or_fail(error, "writing to", active) from error
        if replica is not None:
            replica.written(first_seq, count, body)
        self.next_seq += count
        if sync:
            self.sync()
        now = time.perf_counter_ns()
        counts.commits += 1
        counts.durations[(now - began).bit_length()] += 1
        counts.sizes[len(body).bit_length()] += 1
        if now >= self._look_at:
            self._ensure_in_place(active)
        if self._tell_unsynced:
            frontier = self.frontier
            frontier.seq, frontier.segment = first_seq + count - 1, active.header.first_seq
            frontier.end, frontier.crc = active.end, active.crc

    def _ensure_in_place(self, active: ActiveSegment, *, manifest: bool = False) -> None:
        """Fail the log if somebody took the active segment away, or the directory with it.

        With `manifest`, look for `store.json` too: without it, no event is found again.
        """
        self._look_at = time.perf_counter_ns() + _LOOK
        try:
            active.file.ensure_in_place(active.header.size)
        except OSError as error:
            raise self._fail(error, "looking at", active.file.name) from error
        if manifest:
            try:
                self._disk.ensure_in_place(MANIFEST)
            except OSError as error:
                raise self._fail(error, "looking at", MANIFEST) from error

    def order_error(self, first_seq: int, reason: str) -> StoreFailedError:
        """Fail the log for a record that would break the order of numbers, and return the error."""
        if self.failure is None:
            self.failure = order_error(self._disk.path, first_seq, reason)
            _logger.critical("%s", self.failure)
        return self.failure

    def sync(self) -> None:
        """Put all written records on stable storage. Raises `StoreFailedError`."""
        if self.failure is not None:
            raise fresh_error(self.failure)
        active = self._active
        if active is None or active.synced_end == active.end:
            return
        if self._replica is not None and self._replica.sends_beside_sync:
            self._replica.send(self.next_seq - 1)
        began = time.perf_counter_ns()
        try:
            active.sync()
        except OSError as error:
            raise self._fail(error, "syncing", active.file.name) from error
        took = time.perf_counter_ns() - began
        if self._replica is not None:
            self._replica.synced(self.next_seq - 1)
        self.synced_seq = self.next_seq - 1
        frontier = self.frontier  # here and not in a method: one call less for each commit
        frontier.seq, frontier.segment = self.next_seq - 1, active.header.first_seq
        frontier.end, frontier.crc = active.end, active.crc
        counts = self.counts
        counts.syncs += 1
        counts.sync_times_ns.append(took)
        counts.sync_max_ns = max(counts.sync_max_ns, took)
        slow = self._slow_syncs
        if took > slow.limit or slow.until:
            slow.note(self._path(active.file.name), took, began + took)

    def seal_idle(self) -> None:
        """Attest that all written records are durable. Later damage is then recognised."""
        active = self._active
        if active is None or not active.has_room(0) or active.end == HEADER_SIZE:
            return
        self.sync()
        self._ensure_in_place(active, manifest=True)
        try:
            active.seal_idle()
        except OSError as error:
            raise self._refuse_or_fail(error, "sealing", active) from error
        self.sync()

    def close(self) -> None:
        """Sync, seal and close the active segment. A failed log is closed as it is.

        Raises `StoreFailedError` or `StoreFullError` if syncing or sealing failed. The files are
        closed all the same.
        """
        active = self._active
        try:
            if self.failure is None and active is not None:
                self.sync()
                self._ensure_in_place(active, manifest=True)
                self._write_seal(active.describe_end(), active.file, SealKind.CLOSED)
            if self.failure is None:
                self.frontier.close()
        finally:
            # The lock waits for a spare under way, which is finished while the store is locked.
            with self.spare.lock:
                self._active = None
            previous = None if self._previous is None else self._previous.file
            for file in (active.file if active is not None else None, previous):
                if file is not None:
                    file.close()
            if self._replica is not None:
                self._replica.close()

    def ensure_synced(self, acknowledged: int) -> None:
        """Raise `StoreFailedError` where a failed log has not synced all up to `acknowledged`."""
        if self.failure is not None and self.synced_seq < acknowledged:
            raise never_synced_error(self.failure, self.synced_seq + 1, acknowledged)

    def _segment_for_record(self, size: int) -> ActiveSegment:
        """Return the segment for the next record: the active one, or a new one."""
        active = self._active
        if active is None or not active.has_room(size):
            active = self._roll(size)
        previous = self._previous
        if previous is not None and not previous.end.continued:
            self._seal_predecessor(previous)
        return active

    def _seal_predecessor(self, previous: _Predecessor) -> None:
        """Seal the predecessor of a new segment, and close its file."""
        end, file = previous
        name = segment_name(end.first_seq)
        try:
            if file is None:
                file = self._disk.open(name, writable=True)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or not self._is_archived(end.first_seq):
                raise self._refuse_or_fail(error, "opening", name) from error
        else:
            self._previous = _Predecessor(end)  # the next commit opens the name again
            try:
                file = self._alone(file)
            except OSError as error:
                raise self._refuse_or_fail(error, "copying", name) from error
            # The next commit repeats a failed seal, on the file opened here.
            self._previous = _Predecessor(end, file)
            self._write_seal(end, file, SealKind.CONTINUED)
            file.close()
        self._previous = _Predecessor(end._replace(continued=True))

    def _alone(self, file: File) -> File:
        """Return `file`, or a copy under its name where the file has another name elsewhere.

        A hard-linked copy of the store shares the file, and would not open with a `CONTINUED` seal.
        Closes `file` unless it is returned.
        """
        alone = False
        try:
            alone = file.links() <= 1
            if alone:
                return file
            content = file.read(0, file.size())
        finally:
            if not alone:
                file.close()
        write_atomically(self._disk, file.name, REWRITE_TEMPORARY, content)
        return self._disk.open(file.name, writable=True)

    def _is_archived(self, first_seq: int) -> bool:
        """Return whether compaction moved a segment: its seal was read, and is not needed again."""
        with contextlib.suppress(EventStoreError):
            return first_seq < load_manifest(self._disk).log_start
        return False

    def _roll(self, size: int) -> ActiveSegment:
        """Begin a new segment. Until the folder is synced, the old segment stays active."""
        old, previous = self._active, self._previous
        if old is not None and not old.is_empty:
            self.sync()
            self._ensure_in_place(old, manifest=True)
            previous = _Predecessor(old.describe_end(), old.file)
        name = segment_name(self.next_seq)
        needed = max(HEADER_SIZE + size + RESERVED, self.spare.size)
        file: File | None = None
        try:
            with self.spare.lock:
                file, temporary = self.spare.take(needed)
                active = ActiveSegment.write_header(
                    self._disk,
                    file,
                    self._store,
                    file.size(),
                    self.next_seq,
                    None if previous is None else previous.end,
                )
                self._disk.rename(temporary, name)
                if temporary == SPARE_SEGMENT:
                    self.spare.ready = False
                sync_folder(self._disk, LOG_FOLDER)
                self.spare.taken(active.header.size)
        except OSError as error:
            if file is not None:
                file.close()
            raise self._refuse_or_fail(error, "beginning", name) from error
        if old is not None and old.is_empty:
            old.file.close()
        file.name = name
        self._look_at = 0
        self._active, self._previous = active, previous
        _logger.debug("segment %s begun", self._path(name))
        return active

    def prepare_spare(self) -> None:
        """Prepare the spare if one is wanted. Runs on a background thread, beside commits.

        Lack of space is a warning, a segment ahead of the first refused commit. Any other failure
        fails the log: a disk that cannot be trusted with zeros holds no events.
        """
        with self.spare.lock:
            if self.wants_spare:
                try:
                    self.spare.prepare()
                except OSError as error:
                    self._fail(error, "preparing", SPARE_SEGMENT)

    def _write_seal(self, end: SegmentEnd, file: File, kind: SealKind) -> None:
        try:
            write_seal(file, end, kind)
        except OSError as error:
            raise self._refuse_or_fail(error, "sealing", file.name) from error

    def _refuse_or_fail(
        self, error: OSError, doing: str, where: ActiveSegment | str
    ) -> StoreFullError | StoreFailedError:
        name = where if isinstance(where, str) else where.file.name
        if isinstance(error, SyncFailedError) or error.errno not in SHORTAGE:
            return self._fail(error, doing, name)
        return no_space_error(error, doing, self._path(name))

    def _fail(self, error: OSError, doing: str, name: str) -> StoreFailedError:
        if self.failure is None:
            self.failure = commit_failed_error(error, doing, self._path(name))
            _logger.critical("%s", self.failure)
        return self.failure

    def _path(self, name: str) -> str:
        return f"{self._disk.path}/{name}"
