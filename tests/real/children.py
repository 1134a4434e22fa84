"""Child processes for tests: quick to start, and there to be killed.

A child runs one *program*, an `async def` of a test module whose first argument is its
`Parent`. The child is forked from a server process with all imports done (the `forkserver` of
`multiprocessing`). So a life of 20 ms does not begin with one second of imports, and nothing of
pytest's threads is forked. A program's reports to its parent travel over a pipe, one write each. So
a killed child has told each report wholly or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec

__all__ = ["NOBODY", "PATIENCE", "Child", "Crashed", "Parent"]

PATIENCE = 30.0  # seconds after which a silent child has failed
NOBODY = 65534  # the user without any files

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["asyncio", "pytest", "eventstore", "eventstore.testing", "tests.real.lives"]
)

P = ParamSpec("P")


class Crashed(NamedTuple):
    """The report of a program with an exception: the traceback."""

    traceback: str


class Parent:
    """A program's side of the two pipes."""

    def __init__(self, reports: Connection, orders: Connection) -> None:
        self._reports = reports
        self._orders = orders

    def report(self, *what: Any) -> None:
        self._reports.send(what)

    def order(self) -> Any:
        """Wait for the parent's next word. The child's loop stands still meanwhile."""
        return self._orders.recv()


class Child:
    """A process that runs `program(parent, *args)`."""

    def __init__(
        self,
        program: Callable[Concatenate[Parent, P], Coroutine[Any, Any, None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        self._reports, reports = _CONTEXT.Pipe(duplex=False)
        orders, self._orders = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(
            target=_child_main, args=(program, reports, orders, args, kwargs), daemon=True
        )
        self._process.start()
        reports.close()
        orders.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def tell(self, order: Any = None) -> None:
        self._orders.send(order)

    def report(self) -> tuple[Any, ...]:
        """Return the next report. Raises `EOFError` when the child has gone."""
        if not self._reports.poll(PATIENCE):
            raise TimeoutError(f"child {self.pid} says nothing")
        return self._next_report()

    def reports(self, seconds: float | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the reports of so many seconds, or all until the child has gone."""
        deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
        with contextlib.suppress(EOFError):
            while self._reports.poll(max(0.0, deadline - time.monotonic())):
                yield self._next_report()
                if seconds is not None and time.monotonic() >= deadline:
                    return
            if seconds is None:
                raise TimeoutError(f"child {self.pid} does not end")

    def _next_report(self) -> tuple[Any, ...]:
        report: tuple[Any, ...] | Crashed = self._reports.recv()
        if isinstance(report, Crashed):
            raise AssertionError(f"the child crashed:\n{report.traceback}")
        return report

    def stop(self) -> None:
        """Send SIGSTOP. On return every thread stands still, none of them in a system call."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE
        while not all(map(_stopped, Path(f"/proc/{self.pid}/task").iterdir())):
            if time.monotonic() > deadline:
                raise TimeoutError(f"child {self.pid} does not stop")
            os.sched_yield()

    def kill(self) -> None:
        """Send SIGKILL. On return the process is gone, threads, locks and all."""
        self._process.kill()
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"child {self.pid} survives SIGKILL"

    def wait(self) -> int:
        """Wait until the child ends without help. Returns the exit code."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"child {self.pid} does not end"
        return self._process.exitcode


def _stopped(task: Path) -> bool:
    return (task / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"


def _child_main(
    program: Callable[..., Coroutine[Any, Any, None]],
    reports: Connection,
    orders: Connection,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    try:
        asyncio.run(program(Parent(reports, orders), *args, **kwargs))
    except SystemExit:
        raise
    except BaseException:  # any error: a child has nobody else to tell
        reports.send(Crashed(traceback.format_exc()))
        raise
