"""Progress of a long task, on standard error: from the second second on, and on a terminal only."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

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
    with progress_of_tasks({task: unit}) as advance:
        yield lambda done, total: advance(task, done, total)


@contextlib.contextmanager
def progress_of_tasks(
    units: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Callable[[str, int, int | None], None]]:
    """Give a function for several tasks, one after the other, that takes the task's name as well.

    Rate and time left are those of the task. Events are counted, or the task's unit in `units`.
    """
    if not sys.stderr.isatty():
        yield lambda task, done, total: None
        return
    began = began_task = time.monotonic()
    current, behind = "", 0
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    running = shown.add_task("", total=None, rate="")

    def advance(task: str, done: int, total: int | None) -> None:
        nonlocal current, behind, began_task
        now = time.monotonic()
        if task != current:
            current, behind, began_task = task, done, now
            shown.reset(running, description=task, total=total)
        if now - began < _AFTER:
            return
        if not shown.live.is_started:
            shown.start()
        unit = units.get(task, "events")
        rate = f"{(done - behind) / max(now - began_task, 0.01):,.0f} {unit}/s"
        shown.update(running, completed=done, total=total, rate=rate)

    try:
        yield advance
    finally:
        shown.stop()
