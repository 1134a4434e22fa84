"""Notice that the writer has told of new events: by the kernel's notification, or by looking often.

On Linux, `inotify` reports each change of the frontier. The directory is watched and not the file,
because the file may be replaced. A change on another host of a network file system is not reported,
so a follower looks from time to time as well. Elsewhere a follower looks often while events come,
and seldom when they do not.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import time
from typing import Any

__all__ = ["LONGEST_WAIT", "DirectoryWatch", "Pace"]

LONGEST_WAIT = 86_400.0
"""Seconds. `poll` counts milliseconds in 32 bits, and knows no infinity."""

_MODIFIED, _MOVED_IN, _CREATED = 0x2, 0x80, 0x100


class DirectoryWatch:
    """A descriptor that becomes readable when a file of the directory `path` changes.

    `fd` is -1 where the system has no notifications, or gives no more of them, and without `path`.
    """

    def __init__(self, path: str | None) -> None:
        self.fd = -1
        library = None if path is None else _inotify_library()
        if library is None or path is None:
            return
        self.fd = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd >= 0:
            events = _MODIFIED | _MOVED_IN | _CREATED
            if library.inotify_add_watch(self.fd, os.fsencode(path), events) < 0:
                self.close()

    def drain(self) -> None:
        """Take the notifications so far, so that only a later change makes `fd` readable.

        Called before the look at the files: a change in between makes `fd` readable again.
        """
        if self.fd >= 0:
            with contextlib.suppress(BlockingIOError):
                os.read(self.fd, 4096)

    def wait(self, seconds: float) -> bool:
        """Block until a change, at most `seconds`. Returns whether there was none."""
        if self.fd < 0:
            time.sleep(seconds)
            return True
        ready = select.poll()  # unlike `select`, for descriptors of any number
        ready.register(self.fd, select.POLLIN)
        return not ready.poll(min(seconds, LONGEST_WAIT) * 1000)

    def close(self) -> None:
        """Close the descriptor. A second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


@functools.cache
def _inotify_library() -> Any:
    """Return the C library, `None` where the library has no `inotify`."""
    import ctypes

    try:
        library = ctypes.CDLL(None, use_errno=True)
        library.inotify_init1, library.inotify_add_watch  # noqa: B018  there, or AttributeError
    except (AttributeError, OSError, TypeError):
        return None
    return library


class Pace:
    """Seconds until the next look: `poll` beside notifications, and else by what came lately."""

    SHORTEST = 0.0005
    LONGEST = 0.05

    def __init__(self, poll: float) -> None:
        self._poll = min(poll, LONGEST_WAIT)
        self._next = self.SHORTEST

    def found(self) -> None:
        """Note that there were new events."""
        self._next = self.SHORTEST

    def seconds(self, *, notified: bool) -> float:
        """Return the time to wait now. `notified` says whether changes are reported."""
        if notified:
            return self._poll
        wait = self._next
        self._next = min(2 * wait, self.LONGEST, self._poll)
        return wait
