"""Displays of a run: a progress bar on a terminal, and plain lines anywhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tests.torture.campaign import Progress

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Bar", "Lines", "display"]


def _figures(progress: Progress, seconds: float, since: int) -> tuple[str, str, str, str]:
    """Return states a second, programs covered, failures, and time left, as text."""
    everything = progress.everything
    rate = max(everything.states - since, 0) / max(seconds, 1e-9)
    last = progress.parameters.program(max(progress.done + len(progress.ahead) - 1, 0))
    failures = len(everything.failures)
    if progress.parameters.what == "states":
        left = (progress.asked - everything.states) / rate if rate else None
    else:
        done = max(everything.workloads, 1)
        left = (progress.asked - done) * progress.total.seconds / done
    return (
        f"{rate:,.0f} states/s",
        f"seeds to {last}",
        f"{failures} failure{'s' * (failures != 1)}",
        "-:--:-- left" if left is None else f"{_clock(left)} left",
    )


def _clock(seconds: float) -> str:
    minutes, second = divmod(max(round(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


class Lines:
    """A line every so many seconds, when a program is done."""

    def __init__(self, every: float) -> None:
        self._every = self._next = every
        self._workloads = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the lines on the screen."""

    def show(self, progress: Progress, seconds: float, since: int) -> None:
        """Print a line, if enough time has passed."""
        workloads = progress.everything.workloads
        if seconds >= self._next and workloads > self._workloads:
            self._next, self._workloads = seconds + self._every, workloads
            figures = _figures(progress, seconds, since)
            unit = "states" if progress.parameters.what == "states" else "workloads"
            count = f"{progress.reached:,} of {progress.asked:,} {unit}"
            self._write(", ".join((count, *figures)))

    def tell(self, failure: str) -> None:
        """Print a separate line."""
        self._write(failure)

    def _write(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class Bar:
    """One line that changes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        fields = "rate seeds failures left".split()
        words: Any = [TextColumn(f"{{task.fields[{field}]}}") for field in fields]
        self._console = Console(highlight=False, soft_wrap=True)
        self._progress = RichProgress(
            BarColumn(None), MofNCompleteColumn(), *words, console=self._console, expand=True
        )
        self._task = self._progress.add_task(
            "", total=None, rate="", seeds="", failures="", left=""
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, progress: Progress, seconds: float, since: int) -> None:
        """Redraw the line."""
        rate, seeds, failures, left = _figures(progress, seconds, since)
        reached = min(progress.everything.states, progress.asked)
        self._progress.update(
            self._task,
            total=progress.asked,
            completed=reached if progress.parameters.what == "states" else progress.reached,
            rate=rate,
            seeds=seeds,
            failures=failures if failures.startswith("0 ") else f"[bold red]{failures}",
            left=left,
        )

    def tell(self, failure: str) -> None:
        """Print a line above the bar, to stay there."""
        self._console.print(failure, markup=False)


def display(every: float) -> Bar | Lines:
    """Return a bar, given a terminal and `rich`, else lines, one in `every` seconds."""
    if sys.stdout.isatty():
        try:
            return Bar()
        except ModuleNotFoundError:
            pass
    return Lines(every)
