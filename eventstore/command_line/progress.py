"""Progress of a long task, on standard error: from the second second on, and on a terminal only.

A task shows itself after a second even if nothing was told of it yet: a timer starts the line.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

__all__ = ["Silent", "progress", "progress_of_tasks"]

_AFTER = 1.0  # seconds


class Silent:
    """Progress that nobody sees. To be called by any thread.

    The arguments are a task, how much of the task is done, and how much there is, `None` where
    nobody knows.
    """

    def __call__(self, task: str, done: int, total: int | None) -> None:
        """Tell how far a task is."""

    def hide(self) -> None:
        """Take the line away for a line of the answer.

        On the same terminal the progress comes back after a second without another one. Behind a
        pipe there may be a pager, and the progress does not come back. A file is no reason to hide.
        """


class _Shown(Silent):
    """One line of progress on a terminal."""

    def __init__(self, units: Mapping[str, str], task: str) -> None:
        self._units = units
        self._task, self._behind = task, -1
        self._began = self._began_task = time.monotonic()
        self._line = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True, no_color=_without_colour()),
            transient=True,
            redirect_stdout=False,  # the answer goes where it was sent
        )
        self._bar = self._line.add_task(task, total=None, rate="")
        self._changing = threading.Lock()
        self._ended = False
        self._answer_goes = _standard_output()

    def __call__(self, task: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if task != self._task or self._behind < 0:
            self._task, self._behind, self._began_task = task, done, now
            self._line.reset(self._bar, description=task, total=total)
        if now - self._began < _AFTER:
            return
        self.start()
        unit = self._units.get(task, "events")
        rate = f"{(done - self._behind) / max(now - self._began_task, 0.01):,.0f} {unit}/s"
        self._line.update(self._bar, completed=done, total=total, rate=rate)

    def start(self) -> None:
        """Show the line, unless it ended."""
        with self._changing:
            if not self._ended and not self._line.live.is_started:
                self._line.start()

    def hide(self) -> None:
        if self._answer_goes == "pipe":
            self.end()
        elif self._answer_goes == "terminal":
            with self._changing:
                if self._line.live.is_started:
                    self._line.stop()
            self._began = time.monotonic()

    def end(self) -> None:
        """Take the line away for good."""
        with self._changing:
            self._ended = True
            self._line.stop()


def _without_colour() -> bool | None:
    """Tell what `--color` of the running command says, `None` where NO_COLOR decides."""
    context = click.get_current_context(silent=True)
    chosen = "auto" if context is None else context.params.get("color", "auto")
    return {"always": False, "never": True}.get(chosen)


def _standard_output() -> str:
    """Tell what standard output is: a terminal, a pipe, or anything else."""
    if sys.stdout.isatty():
        return "terminal"
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # replaced by something without a descriptor
        return "file"
    return "pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else "file"


@contextlib.contextmanager
def progress(task: str, unit: str = "events") -> Iterator[Callable[[int, int | None], None]]:
    """Give a function that takes how much is done, and how much there is (`None` if unknown).

    Nothing is shown in the first second, or where standard error is no terminal. Then rate and
    time left are shown, and the line goes away at the end.
    """
    with progress_of_tasks({task: unit}, task) as advance:
        yield lambda done, total: advance(task, done, total)


@contextlib.contextmanager
def progress_of_tasks(
    units: Mapping[str, str] = MappingProxyType({}), task: str = "reading"
) -> Iterator[Silent]:
    """Give a function for several tasks, one after the other, that takes the task's name as well.

    Rate and time left are those of the task. Events are counted, or the task's unit in `units`.
    `task` is the first one.
    """
    if not sys.stderr.isatty():
        yield Silent()
        return
    shown = _Shown(units, task)
    starting = threading.Timer(_AFTER, shown.start)
    starting.daemon = True
    starting.start()
    try:
        yield shown
    finally:
        starting.cancel()
        shown.end()
