"""Interruptions at every opcode: a signal handler that runs, wherever one may run.

Python runs signal handlers between two instructions of the main thread. A `signal` cannot be timed
to an instruction. A callback of `sys.monitoring` can act at a chosen one, and so does
`interrupted_at` from Python 3.12 on.

Python 3.11 has trace functions alone, and many thousand exceptions from a trace function ended the
interpreter. So the trace function only marks a signal as arrived, before an instruction after which
Python looks for signals: a call, or a jump back. The signal handler runs where signal handlers run.
"""

from __future__ import annotations

import _thread
import functools
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dis import opmap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import eventstore

__all__ = ["Interruption", "interrupted_at"]

PRODUCT = str(Path(eventstore.__file__).parent)
MONITORING: Any = getattr(sys, "monitoring", None)
"""`sys.monitoring`, of Python 3.12 and newer."""


_NUMBER = signal.SIGUSR2
_LOOKING = frozenset(
    code
    for name, code in opmap.items()
    if name.startswith(("CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD"))
    and "NO_INTERRUPT" not in name
)
"""Opcodes after which Python 3.11 looks for signals."""


@functools.cache
def _opcodes(code: CodeType) -> bytes:
    return code.co_code


class _ArrivesWhenFreed:
    """A signal that arrives when the object is freed, without a call of Python code.

    Without a handler for the signal, nothing arrives.
    """

    __del__ = staticmethod(functools.partial(_thread.interrupt_main, _NUMBER))


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
        self.signal: _ArrivesWhenFreed | None = _ArrivesWhenFreed()
        self._skip = tuple(skip)
        self._alone = tuple(alone)
        self._thread = threading.get_ident()
        self._judged: tuple[FrameType | None, bool] = (None, False)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Trace a new frame if the frame is the product's: for `sys.settrace`."""
        if self.place is not None or not self._is_counted(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace_opcodes

    def monitor(self, code: CodeType, offset: int) -> Any:
        """Count an instruction if the function is the product's: for `sys.monitoring`."""
        if not code.co_filename.startswith(PRODUCT):
            return MONITORING.DISABLE
        if self.place is None and threading.get_ident() == self._thread:
            frame = sys._getframe(1)
            if self._judged[0] is not frame:
                self._judged = frame, self._is_counted(frame)
            if self._judged[1]:
                self._count(frame)
        return None

    def _is_counted(self, frame: FrameType) -> bool:
        name = _name(frame)
        if name is None or name in self._alone:
            return False
        caller: FrameType | None = frame
        while caller is not None:
            if (_name(caller) or "").startswith(self._skip):
                return False
            caller = caller.f_back
        return True

    def _trace_opcodes(self, frame: FrameType, event: str, argument: Any) -> Any:
        if (
            event == "opcode"
            and self.place is None
            and _opcodes(frame.f_code)[frame.f_lasti] in _LOOKING
            and self._is_reached(frame)
        ):
            self.signal = None  # from here on nothing in this function looks for signals
        return self._trace_opcodes

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Run where a function counts. A signal within asyncio is left out."""
        if frame is not None and self._is_counted(frame):
            self._run()

    def _count(self, frame: FrameType) -> None:
        if self._is_reached(frame):
            self._judged = (None, False)
            self._run()

    def _is_reached(self, frame: FrameType) -> bool:
        self.seen += 1
        if self.seen == self.at:
            self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
            return True
        return False


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
    with _tracing(interruption) if MONITORING is None else _monitoring(interruption):
        yield interruption


@contextmanager
def _tracing(interruption: Interruption) -> Iterator[None]:
    before, handler = sys.gettrace(), signal.getsignal(_NUMBER)
    signal.signal(_NUMBER, interruption.handle)
    sys.settrace(interruption.trace)
    try:
        yield
    finally:
        sys.settrace(before)
        signal.signal(_NUMBER, handler)
        interruption.signal = None


@contextmanager
def _monitoring(interruption: Interruption) -> Iterator[None]:
    tool, event = MONITORING.DEBUGGER_ID, MONITORING.events.INSTRUCTION
    MONITORING.use_tool_id(tool, "interruptions")
    MONITORING.register_callback(tool, event, interruption.monitor)
    MONITORING.set_events(tool, event)
    try:
        yield
    finally:
        MONITORING.set_events(tool, 0)
        MONITORING.free_tool_id(tool)
