"""Interruptions at every opcode: a signal handler that runs, wherever one may run.

Python runs signal handlers between two instructions of the main thread. A `signal` cannot be timed
to an instruction. A trace function can act at a chosen one, and so does `interrupted_at`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import eventstore

__all__ = ["Interruption", "interrupted_at"]

PRODUCT = str(Path(eventstore.__file__).parent)


class Interruption:
    """A count of opcodes, and the signal handler to call at one of them.

    `at` is the number of the opcode, from 1 on. `place` is the function and line of the opcode,
    `None` before.
    """

    def __init__(
        self, at: int, run: Callable[[], None], skip: Collection[str], alone: Collection[str]
    ) -> None:
        self.at = at
        self.seen = 0
        self.place: str | None = None
        self._run = run
        self._skip = tuple(skip)
        self._alone = tuple(alone)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Trace a new frame if the frame is the product's."""
        name = _name(frame)
        if name is None or self.place is not None or name in self._alone:
            return None
        caller: FrameType | None = frame
        while caller is not None:
            if (_name(caller) or "").startswith(self._skip):
                return None
            caller = caller.f_back
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace_opcodes

    def _trace_opcodes(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and self.place is None:
            self.seen += 1
            if self.seen == self.at:
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                self._run()
        return self._trace_opcodes


def _name(frame: FrameType) -> str | None:
    """Return file and qualified name of a function of the product, and of no other."""
    code = frame.f_code
    if not code.co_filename.startswith(PRODUCT):
        return None
    return f"{code.co_filename[len(PRODUCT) + 1 :]}:{code.co_qualname}"


@contextmanager
def interrupted_at(
    at: int,
    run: Callable[[], None],
    *,
    skip: Collection[str] = (),
    alone: Collection[str] = (),
) -> Iterator[Interruption]:
    """Call `run` at the `at`-th opcode of the product in this thread, within the block.

    An exception of `run` is raised at the opcode.

    `skip` names functions that are not traced, nor what they call, as `file:qualified name` or the
    beginning of it. `alone` names functions that are not traced, though what they call is.
    """
    interruption = Interruption(at, run, skip, alone)
    before = sys.gettrace()
    # Python 3.12 watches opcodes only if a frame asked for them before `settrace`.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(interruption.trace)
    try:
        yield interruption
    finally:
        sys.settrace(before)
