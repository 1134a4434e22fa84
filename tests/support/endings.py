"""The end of a log that nobody closes: the threads live on, so a test waits for the log itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from eventstore.log.runner import ThreadRunner
from tests.support.gates import PATIENCE


def end_of(log: Any) -> Callable[[], None]:
    """Return a function that waits until the lock of `log` is free.

    `log` is an `EventLog` or the log of a store, and is not kept alive.
    """
    runner = getattr(log, "_log", log)._group._runner
    if not isinstance(runner, ThreadRunner):
        return lambda: None
    ended = threading.Event()
    release = runner._release

    def release_and_tell() -> None:
        try:
            release()
        finally:
            ended.set()

    runner._release = release_and_tell

    def wait() -> None:
        assert ended.wait(PATIENCE)

    return wait
