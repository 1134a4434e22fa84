"""The spare segment: the next segment's file, zero-filled ahead of time.

With a spare, a full disk is noticed a whole segment before it refuses an event, and a new segment
takes no long write. The spare holds no event, and waits under the name `log/spare`.

`prepare` runs on a background thread, beside commits. All other calls are the writer's. Every call
that touches the file or `ready` is made under `lock`.
"""

from __future__ import annotations

import contextlib
import logging
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
from eventstore.os_errors import NO_ACCESS, SHORTAGE, SyncFailedError, shortage_words
from eventstore.standing_warnings import StandingWarnings

__all__ = ["SpareSegment", "give_up_spare_files"]

_logger = logging.getLogger("eventstore.log.writer")


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

    `segment_size` is in bytes. `ready` says whether a spare stands under its name. `free_bytes` is
    what the file system had left for further segments at the last look. `space_warning` is the
    warning of the last attempt that found no space, until an attempt succeeds.
    """

    def __init__(
        self, disk: Disk, segment_size: int, warnings: StandingWarnings, *, ready: bool
    ) -> None:
        self.segment_size = segment_size
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
            self._create(self.segment_size).close()
            self._disk.rename(SEGMENT_TEMPORARY, SPARE_SEGMENT)
            sync_folder(self._disk, LOG_FOLDER)
        except OSError as error:
            if isinstance(error, SyncFailedError) or error.errno not in SHORTAGE:
                raise
            if self.space_warning is None:
                lacking, remedy = shortage_words(error)
                self.space_warning = (
                    f"{lacking} for the next segment of {self.segment_size} bytes: appending "
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
            if file is None or size <= self.segment_size:
                with contextlib.suppress(FileNotFoundError):
                    self._disk.remove(SPARE_SEGMENT)
                self.ready = False
        return self._create(size), SEGMENT_TEMPORARY

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
