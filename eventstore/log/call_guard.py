"""Calls that would break the order of numbers are refused before anything is numbered.

Theory of operation
-------------------
Numbers are given out, events folded and records queued in one pass, without a pause. A second call
in the middle of the pass would get the same number. Such a call comes from a handler, from an
`__eq__` or `enc_hook` that runs while an event is encoded, or from a signal handler that Python
runs between two instructions. Calls from another thread or another event loop would break the order
as well. `CallGuard.check` refuses all of these calls with `StoreUsageError`, and calls in a forked
child with `StoreClosedError`.

`phase` says what is on the stack. Only the owner's thread writes `phase`.

- `IDLE`: nothing of the log is on the stack.
- `FOLDING`: an event is being encoded and folded. Nothing has changed yet.
- `QUEUEING`: numbers, queue and room are changing.
- `INTERRUPTED`: an exception (a `KeyboardInterrupt`, or an exception of a signal handler) has cut
  off `QUEUEING`. The next call repairs the log's books first: an interrupted submit has queued all
  of its events or none.

Python runs signal handlers after calls and at jumps backwards, and not between the assignment of an
attribute and the beginning or end of a `try` block. Setting `phase` in an `except` clause is
therefore never cut off.
"""

from __future__ import annotations

import asyncio
import enum
import os
import threading
from collections.abc import Callable

from eventstore.errors import StoreClosedError, StoreUsageError

__all__ = ["FOLDING", "IDLE", "INTERRUPTED", "QUEUEING", "CallGuard"]


class _Phase(enum.IntEnum):
    IDLE = 0
    FOLDING = 1
    QUEUEING = 2
    INTERRUPTED = 3


IDLE, FOLDING, QUEUEING, INTERRUPTED = (int(phase) for phase in _Phase)


class CallGuard:
    """The owner of a log's order: one thread and one event loop, and what is on their stack.

    `repair` makes the log's books agree with the queue after an interrupted submit.
    """

    __slots__ = ("_loop", "_path", "_pid", "_repair", "_thread", "phase")

    def __init__(self, path: str, repair: Callable[[], None]) -> None:
        self._path = path
        self._repair = repair
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pid = os.getpid()
        self.phase: int = IDLE

    def check(self) -> None:
        """Refuse a call from a wrong place with `StoreUsageError`.

        A call on the owner's thread while no event loop runs is allowed.
        """
        try:
            if not self.phase and asyncio.get_running_loop() is self._loop:
                return
        except RuntimeError:  # no event loop is running here
            pass
        self._refuse_or_repair()

    def _refuse_or_repair(self) -> None:
        if os.getpid() != self._pid:
            raise StoreClosedError(
                f"{self._path} belongs to the process that opened it, not to this fork of it: open "
                "a store of its own after the fork",
                path=self._path,
            )
        if threading.get_ident() != self._thread:
            raise self._error(
                "was called from another thread than the one that opened it: use "
                "loop.call_soon_threadsafe(store.submit, ...) or "
                "asyncio.run_coroutine_threadsafe(store.append(...), loop)"
            )
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = self._loop
        if running is not self._loop:
            raise self._error(
                "was called from another event loop than the one that opened it: call the store "
                "on its own loop, or open it on this one"
            )
        if self.phase in (FOLDING, QUEUEING):
            raise self._error(
                "was called while it folds an event: a handler, a hook or a signal handler may "
                "not call its own store. In a signal handler use loop.add_signal_handler; in a "
                "handler return the new state and nothing else"
            )
        self.settle()

    def settle(self) -> None:
        """Repair the books after an interruption, if there was one."""
        if self.phase == INTERRUPTED:
            self._repair()
            self.phase = IDLE

    def _error(self, reason: str) -> StoreUsageError:
        return StoreUsageError(f"{self._path} {reason}. Nothing was written", path=self._path)
