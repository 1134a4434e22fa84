"""The spare segment: the next segment's file, zero-filled ahead of time.

With a spare, a full disk is noticed a whole segment before it refuses an event, and a new segment
takes no long write. The spare holds no event, and waits under the name `log/spare`.

*The size grows with use.* The first segment of a writer takes 64 KiB, and each one after it four
times the one before, up to the configured size. A store where little happens therefore takes little
of the disk, and what is allocated and not used yet stays in proportion to what was written. Space
is promised all the same: zeros are written, and not only announced to the file system. A record
that does not fit the spare needs space of its own, and the next spare is four times as long. With
`low_space="refuse"` the rest of the active segment is a reserve, so the sizes do not grow from
little there: every segment has the configured size.

`prepare` runs on a background thread, beside commits. All other calls are the writer's. Every call
that touches the file, `ready` or `size` is made under `lock`.
"""

from __future__ import annotations

import contextlib
import threading

from eventstore.disk.base import Disk, File, sync, sync_folder
from eventstore.disk.layout import (
    LOG_FOLDER,
    SEGMENT_TEMPORARY,
    SNAPSHOT_TEMPORARY,
    SPARE_SEGMENT,
)
from eventstore.log.format import HEADER_SIZE
from eventstore.log.segment import zero_fill
from eventstore.operator_log import operator_log
from eventstore.os_errors import NO_ACCESS, SHORTAGE, SyncFailedError, shortage_words
from eventstore.standing_warnings import StandingWarnings

__all__ = ["SpareSegment", "give_up_spare_files"]

_logger = operator_log("eventstore.log.writer")

FIRST_SIZE = 64 << 10
"""Bytes of the first segment of a writer whose segments grow."""

_GROWTH = 4


def give_up_spare_files(disk: Disk) -> bool:
    """Remove the files that hold no event, where there is no space for anything else.

    These are the spare and the temporary files of a crash. Returns whether there were any. Raises
    `OSError`.
    """
    given_up = False
    for name in (SPARE_SEGMENT, SEGMENT_TEMPORARY, SNAPSHOT_TEMPORARY):
        with contextlib.suppress(FileNotFoundError):
            disk.remove(name)
            given_up = True
    if given_up:
        sync_folder(disk, LOG_FOLDER)  # some file systems free the blocks only then
    return given_up


class SpareSegment:
    """The spare segment of one log, and the zero-filled file of any new segment.

    `size` is the size of the next segment in bytes, unless a record needs more. `largest` is where
    the size ends to grow. With `grow` the size begins small. `ready` says whether a spare stands
    under its name. `free_bytes` is what the file system had left for further segments at the last
    look. `space_warning` is the warning of the last attempt that found no space, until an attempt
    succeeds.
    """

    def __init__(
        self, disk: Disk, largest: int, warnings: StandingWarnings, *, ready: bool, grow: bool
    ) -> None:
        self.size = min(FIRST_SIZE, largest) if grow else largest
        self._largest = largest
        self.ready = ready
        self.space_warning: str | None = None
        self.lock = threading.Lock()
        self.free_bytes: int | None = None
        self._disk = disk
        self._warnings = warnings

    def prepare(self) -> None:
        """Zero-fill the next segment's file, and give it the spare's name durably.

        Lack of space, or of a descriptor, becomes `space_warning`. Raises `OSError` for any other
        failure.
        """
        try:
            self._create(self.size).close()
            self._disk.rename(SEGMENT_TEMPORARY, SPARE_SEGMENT)
            sync_folder(self._disk, LOG_FOLDER)
        except OSError as error:
            if isinstance(error, SyncFailedError) or error.errno not in SHORTAGE:
                raise
            if self.space_warning is None:
                lacking, remedy = shortage_words(error)
                self.space_warning = (
                    f"{lacking} for the next segment of {self.size} bytes: appending "
                    f"stops when the active one is full; {remedy}"
                )
                self._warnings.begin("space", self.space_warning, _logger)
        else:
            self.ready = True
            self.space_warning = None
            self._warnings.end("space", "there is space for the next segment")
        finally:
            self._measure()

    def _measure(self) -> None:
        """Note the free space, on the thread that works with the disk anyway."""
        with contextlib.suppress(OSError):
            self.free_bytes = self._disk.free_bytes()

    def take(self, size: int) -> tuple[File, str]:
        """Return a zero-filled, synced file of at least `size` bytes, and its name for now.

        The file is the spare if the spare is long enough. A spare that is too short for a record
        of unusual length stays for the next segment. Raises `OSError`.
        """
        self._measure()
        if self.ready:
            file = self._open()
            if file is not None:
                try:
                    usable = (
                        file.size() >= size
                        and file.links() == 1  # else a copy of the store shares the file
                        and not any(file.read(0, HEADER_SIZE))
                    )
                except BaseException:
                    file.close()
                    raise
                if usable:
                    return file, SPARE_SEGMENT
                file.close()
            if file is None or size <= self.size:
                with contextlib.suppress(FileNotFoundError):
                    self._disk.remove(SPARE_SEGMENT)
                self.ready = False
        return self._create(size), SEGMENT_TEMPORARY

    def taken(self, size: int) -> None:
        """Note that a segment of `size` bytes has begun: the next one may be longer."""
        self.size = min(max(size * _GROWTH, self.size), self._largest)

    def _open(self) -> File | None:
        """Open the spare. `None` where somebody removed or replaced the file: it held nothing."""
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
