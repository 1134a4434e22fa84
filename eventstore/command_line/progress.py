"""Progress of a long task, on standard error: from the second second on, and on a terminal only."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

__all__ = ["progress"]

_AFTER = 1.0  # seconds


@contextlib.contextmanager
def progress(task: str, unit: str = "events") -> Iterator[Callable[[int, int | None], None]]:
    """Give a function that takes how much is done, and how much there is (`None` if unknown).

    Nothing is shown in the first second, or where standard error is no terminal. Then rate and
    time left are shown, and the line goes away at the end.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    begun = time.monotonic()
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    running = shown.add_task(task, total=None, rate="")

    def advance(done: int, total: int | None) -> None:
        elapsed = time.monotonic() - begun
        if elapsed < _AFTER:
            return
        if not shown.live.is_started:
            shown.start()
        rate = f"{done / elapsed:,.0f} {unit}/s"
        shown.update(running, completed=done, total=total, rate=rate)

    try:
        yield advance
    finally:
        shown.stop()
