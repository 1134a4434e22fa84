"""The writing side of the log: records into segments, and from one segment into the next.

Theory of operation
-------------------
All but :meth:`LogWriter.prepare_spare` runs on the writer's thread, one call at a time.

*A new segment* is made in this order, and each step is durable before the next: the file is
zero-filled and synced; its header, which states where the predecessor ends, is written and synced;
it is renamed to its name and the folder synced; the predecessor gets a seal that says it has a
successor, and loses its unused zeros. Only then is a record written to it. So a file with a
segment's name always has a valid header and its full size; and a segment that holds records has a
predecessor that ends with a seal.

*The spare* is the next segment's file, zero-filled ahead of time in the background, so that a full
disk is known a whole segment before it matters and so that rolling takes no long write. It holds no
event and waits under the name ``log/spare``.

*Every opening that appends begins a new segment*: what earlier writers left is never appended to,
so no salt is ever reused and nothing depends on what their last sync really did.

*Failure.* ``StoreFullError`` leaves the log as it was, and the next commit may work. Everything
else sets ``failure``, for good: a failed sync must not be followed by another one that appears to
work.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections import deque

from eventstore.disk.base import Disk, File, SyncFailedError, sync, sync_folder
from eventstore.disk.layout import LOG_FOLDER, SEGMENT_TEMPORARY, SPARE_SEGMENT, segment_name
from eventstore.disk.manifest import load_manifest
from eventstore.errors import (
    NO_ACCESS,
    NO_SPACE,
    EventStoreError,
    StoreFailedError,
    StoreFullError,
    commit_failed_error,
    no_space_error,
)
from eventstore.log.format import HEADER_SIZE, SealKind, record_size
from eventstore.log.segment import RESERVED, ActiveSegment, SegmentEnd, write_seal, zero_fill

__all__ = ["LogWriter"]


_logger = logging.getLogger(__name__)


class LogWriter:
    """Appends records to the log of one store.

    ``last`` tells where the log ends (``None``: it has no segment yet), ``next_seq`` the number of
    the next event, ``spare_ready`` whether an earlier writer left a spare.
    ``segment_size`` is in bytes, ``slow_sync`` in seconds.
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
    ) -> None:
        self._disk = disk
        self._store = store
        self._last = last
        self._last_file: File | None = None
        self._active: ActiveSegment | None = None
        self._segment_size = segment_size
        self._slow_sync = slow_sync
        self._spare_lock = threading.Lock()
        self.next_seq = next_seq
        self.failure: StoreFailedError | None = None
        self.spare_ready = spare_ready
        self.space_warning: str | None = None
        self.commits = 0
        self.bytes_written = 0
        self.syncs = 0
        self.sync_max_ns = 0
        self.sync_times_ns: deque[int] = deque(maxlen=4096)

    @property
    def path(self) -> str:
        """The store's directory."""
        return self._disk.path

    @property
    def wants_spare(self) -> bool:
        """Whether a spare should be prepared now."""
        return self._active is not None and not self.spare_ready and self.failure is None

    def commit(self, count: int, body: bytes, *, sync: bool) -> None:
        """Write ``count`` events as one record and, if asked, put it on stable storage.

        Raises :class:`StoreFullError` (nothing was written) or :class:`StoreFailedError`.
        """
        if self.failure is not None:
            raise self.failure
        active = self._ready(record_size(len(body)))
        try:
            self.bytes_written += active.append(count, body)
        except OSError as error:
            raise self._refuse_or_fail(error, "writing to", active) from error
        self.next_seq += count
        self.commits += 1
        if sync:
            self.sync()

    def sync(self) -> None:
        """Put everything written on stable storage. Raises :class:`StoreFailedError`."""
        if self.failure is not None:
            raise self.failure
        active = self._active
        if active is None or active.synced_end == active.end:
            return
        began = time.perf_counter_ns()
        try:
            active.sync()
        except OSError as error:
            raise self._fail(error, "syncing", active.file.name) from error
        took = time.perf_counter_ns() - began
        self.syncs += 1
        self.sync_times_ns.append(took)
        self.sync_max_ns = max(self.sync_max_ns, took)
        if took > self._slow_sync * 1e9:
            _logger.warning(
                "fdatasync of %s took %.3f s: appends waited for it; is the disk overloaded?",
                self._path(active.file.name),
                took / 1e9,
            )

    def seal_idle(self) -> None:
        """Attest that everything written is durable, so that any later damage is recognised."""
        active = self._active
        if active is None or not active.has_room(0) or active.end == HEADER_SIZE:
            return
        self.sync()
        try:
            active.seal_idle()
        except OSError as error:
            raise self._refuse_or_fail(error, "sealing", active) from error
        self.sync()

    def close(self) -> None:
        """Sync, seal and close the active segment. A failed log is closed as it is.

        Raises :class:`StoreFailedError` or :class:`StoreFullError` where that did not work; the
        files are closed all the same.
        """
        active = self._active
        try:
            if self.failure is None and active is not None:
                self.sync()
                self._seal(active.finished(), active.file, SealKind.CLOSED)
        finally:
            with (
                self._spare_lock
            ):  # one that is under way is finished while the store is still ours
                self._active = None
            for file in (active.file if active is not None else None, self._last_file):
                if file is not None:
                    file.close()

    def _ready(self, size: int) -> ActiveSegment:
        """The segment that takes the next record: the active one, or a new one."""
        active = self._active
        if active is None or not active.has_room(size):
            active = self._roll(size)
        last = self._last
        if last is not None and not last.continued:
            name = segment_name(last.first_seq)
            try:
                if self._last_file is None:
                    self._last_file = self._disk.open(name, writable=True)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and self._is_archived(last.first_seq):
                    self._last = last._replace(continued=True)
                    return active
                raise self._refuse_or_fail(error, "opening", name) from error
            self._seal(last, self._last_file, SealKind.CONTINUED)
            self._last = last._replace(continued=True)
            self._last_file.close()
            self._last_file = None
        return active

    def _is_archived(self, first_seq: int) -> bool:
        """Whether compaction took a segment: its seal had been read, and nobody needs it again."""
        with contextlib.suppress(EventStoreError):
            return first_seq < load_manifest(self._disk).log_start
        return False

    def _roll(self, size: int) -> ActiveSegment:
        """Begin a new segment. Until the folder is synced, the old one stays the active one."""
        old = self._active
        last, last_file = self._last, self._last_file
        if old is not None and not old.is_empty:
            self.sync()
            last, last_file = old.finished(), old.file
        name = segment_name(self.next_seq)
        needed = max(HEADER_SIZE + size + RESERVED, self._segment_size)
        file: File | None = None
        try:
            with self._spare_lock:
                file, temporary = self._take_file(needed)
                active = ActiveSegment.write_header(
                    self._disk, file, self._store, file.size(), self.next_seq, last
                )
                self._disk.rename(temporary, name)
                if temporary == SPARE_SEGMENT:
                    self.spare_ready = False
                sync_folder(self._disk, LOG_FOLDER)
        except OSError as error:
            if file is not None:
                file.close()
            raise self._refuse_or_fail(error, "beginning", name) from error
        if old is not None and old.is_empty:
            old.file.close()
        file.name = name
        self._active, self._last, self._last_file = active, last, last_file
        _logger.debug("segment %s begun", self._path(name))
        return active

    def _take_file(self, size: int) -> tuple[File, str]:
        """A zero-filled, synced file of at least ``size`` bytes, and the name it has for now."""
        if self.spare_ready:
            file = self._open_spare()
            if file is not None:
                if file.size() >= size and not any(file.read(0, HEADER_SIZE)):
                    return file, SPARE_SEGMENT
                file.close()
            if file is None or size <= self._segment_size:
                with contextlib.suppress(FileNotFoundError):
                    self._disk.remove(SPARE_SEGMENT)
                self.spare_ready = False
        return self._create(size), SEGMENT_TEMPORARY

    def _open_spare(self) -> File | None:
        """The spare, ``None`` where somebody removed or replaced it: it held nothing."""
        try:
            return self._disk.open(SPARE_SEGMENT, writable=True)
        except OSError as error:
            if error.errno in NO_ACCESS or isinstance(error, FileNotFoundError):
                return None
            raise

    def _create(self, size: int) -> File:
        with contextlib.suppress(FileNotFoundError):
            self._disk.remove(SEGMENT_TEMPORARY)
        file = self._disk.create(SEGMENT_TEMPORARY)
        try:
            zero_fill(file, size)
            sync(file)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                self._disk.remove(SEGMENT_TEMPORARY)
            raise
        return file

    def prepare_spare(self) -> None:
        """Zero-fill the next segment's file. Runs in the background, beside commits.

        Lack of space is a warning, a segment ahead of the first commit that it will refuse. Any
        other failure is the store's: a disk that cannot be trusted with zeros holds no events.
        """
        with self._spare_lock:
            if not self.wants_spare:
                return
            try:
                self._create(self._segment_size).close()
                self._disk.rename(SEGMENT_TEMPORARY, SPARE_SEGMENT)
                sync_folder(self._disk, LOG_FOLDER)
            except OSError as error:
                if isinstance(error, SyncFailedError) or error.errno not in NO_SPACE:
                    self._fail(error, "preparing", SPARE_SEGMENT)
                elif self.space_warning is None:
                    self.space_warning = (
                        f"no space for the next segment of {self._segment_size} bytes: appending "
                        "stops when the active one is full; free some space"
                    )
                    _logger.warning("%s: %s", self._disk.path, self.space_warning)
            else:
                self.spare_ready = True
                self.space_warning = None

    def _seal(self, end: SegmentEnd, file: File, kind: SealKind) -> None:
        try:
            write_seal(file, end, kind)
        except OSError as error:
            raise self._refuse_or_fail(error, "sealing", file.name) from error

    def _refuse_or_fail(
        self, error: OSError, doing: str, where: ActiveSegment | str
    ) -> StoreFullError | StoreFailedError:
        name = where if isinstance(where, str) else where.file.name
        if isinstance(error, SyncFailedError) or error.errno not in NO_SPACE:
            return self._fail(error, doing, name)
        return no_space_error(error, doing, self._path(name))

    def _fail(self, error: OSError, doing: str, name: str) -> StoreFailedError:
        if self.failure is None:
            self.failure = commit_failed_error(error, doing, self._path(name))
            _logger.critical("%s", self.failure)
        return self.failure

    def _path(self, name: str) -> str:
        return f"{self._disk.path}/{name}"
