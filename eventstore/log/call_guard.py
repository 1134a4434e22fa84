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
- `QUEUEING`: numbers, queue and room are changing, or the end of a commit is being published.
- `INTERRUPTED`: an exception (a `KeyboardInterrupt`, or an exception of a signal handler) has cut
  off `QUEUEING`. The log's books are repaired before anything else: by the next call, or at the
  latest in the loop's next turn. An interrupted submit has queued all of its events or none. An
  interrupted end of a commit is carried to its end.

An interruption is not held back until the pass is over. Masking signals lost: only the main thread
could mask them, a mask costs two system calls for each event, and the next instruction after the
mask can be interrupted as well. Instead every step of a pass may be the last one, and the queue
and the job in flight say what had happened.

Python runs signal handlers after calls and at jumps backwards, and not between the beginning of a
`try` block and an assignment in the block. Setting `phase` is therefore never cut off. A second
interruption in the middle of a repair leaves the phase `INTERRUPTED`, and the repair begins again.
"""

from __future__ import annotations

import asyncio
import enum
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from eventstore.disk.after_fork import register_for_fork
from eventstore.errors import StoreClosedError, StoreUsageError

__all__ = ["FOLDING", "FORKED", "IDLE", "INTERRUPTED", "QUEUEING", "CallGuard"]


ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")


class _Phase(enum.IntEnum):
    IDLE = 0
    FOLDING = 1
    QUEUEING = 2
    INTERRUPTED = 3


_SECOND_TRY = 0.1  # seconds until a repair is tried again

IDLE, FOLDING, QUEUEING, INTERRUPTED = (int(phase) for phase in _Phase)

FORKED = (
    "belongs to the process that opened it, not to this fork of it: open a store of its own after "
    "the fork"
)
"""The reason of a refusal in a forked child, after the name of the store."""


class CallGuard:
    """The owner of a log's order: one thread and one event loop, and what is on their stack.

    `repair` makes the log's books agree with the queue after an interruption. A second call of
    `repair` has no further effect.
    """

    __slots__ = ("__weakref__", "_loop", "_path", "_pid", "_repair", "_thread", "phase")

    def __init__(self, path: str, repair: Callable[[], None]) -> None:
        self._path = path
        self._repair = repair
        self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pid = os.getpid()
        self.phase: int = IDLE
        register_for_fork(self)

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
            raise StoreClosedError(f"{self._path} {FORKED}", path=self._path)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            if threading.get_ident() != self._thread:
                raise self._error(
                    "was called from another thread than the one that opened it: use "
                    "loop.call_soon_threadsafe(store.submit, ...) or "
                    "asyncio.run_coroutine_threadsafe(store.append(...), loop)"
                )
            if running is not None:
                raise self._error(
                    "was called from another event loop than the one that opened it: call the "
                    "store on its own loop, or open it on this one"
                )
        if self.phase in (FOLDING, QUEUEING):
            raise self._error(
                "was called while it folds an event: a handler, a hook or a signal handler may "
                "not call its own store. In a signal handler use loop.add_signal_handler; in a "
                "handler return the new state and nothing else"
            )
        self.settle()

    def run(self, call: Callable[[ArgumentT], ResultT], argument: ArgumentT) -> ResultT:
        """Call user code while `IDLE`, and refuse all calls of the store from there.

        An interruption has cut off nothing of the log.
        """
        try:
            self.phase = FOLDING
            result = call(argument)
            self.phase = IDLE
        except BaseException:
            self.phase = IDLE
            raise
        return result

    def settle(self) -> None:
        """Repair the books after an interruption, if there was one."""
        if self.phase == INTERRUPTED:
            try:
                self.phase = QUEUEING  # a signal handler may not call the store in mid-repair
                self._repair()
                self.phase = IDLE
            except BaseException:
                self.phase = INTERRUPTED
                self.settle_soon(later=True)
                raise

    def settle_soon(self, *, later: bool = False) -> None:
        """Have the loop call `settle` in its next turn, if there was an interruption.

        Somebody may wait for an event whose hand-over to the writer was cut off. A second
        interruption can lose the loop's callback. The loop therefore calls a tenth of a second
        later as well, or with `later` only then.
        """
        loop = self._loop
        if self.phase == INTERRUPTED and loop is not None and not loop.is_closed():
            if not later:
                loop.call_soon(self.settle)
            loop.call_later(_SECOND_TRY, self.settle)

    def forked(self) -> None:  # pragma: no cover - no tracer follows a fork: TestFork does
        """Refuse every call in a forked child, also a call on the inherited event loop."""
        self._loop = None

    def _error(self, reason: str) -> StoreUsageError:
        return StoreUsageError(f"{self._path} {reason}. Nothing was written", path=self._path)
