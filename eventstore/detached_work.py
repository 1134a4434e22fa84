"""Detached work: a coroutine that goes on to the end, also when every task is cancelled.

Theory of operation
-------------------
Detached work is a coroutine driven by callbacks, and no task. A shutdown routine
may cancel every task. Such a routine cancels the waiting for detached work, and never the work.
Closing, snapshots and the spare segment are detached work. A task was rejected: every task stands
in `asyncio.all_tasks` and can be cancelled there, while the thread behind the task goes on. A task
without an effect of `cancel` was rejected too: a shutdown routine also waits for the tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from eventstore.error_base import fresh_error
from eventstore.errors import EventStoreError, StoreClosedError

__all__ = ["DetachedWork", "RepeatedWork", "ensure_own_loop", "wake"]

_ATTEMPTS = 10

T = TypeVar("T")


def wake(waiter: asyncio.Future[None]) -> None:
    """Resolve `waiter`, unless it was cancelled or resolved before."""
    if not waiter.done():
        waiter.set_result(None)


class DetachedWork(Generic[T]):
    """A coroutine that goes on to the end, also when every task is cancelled.

    The coroutine begins in the next turn of `loop`, by default the running one, and awaits futures
    of this loop only.
    `ended` is called with the error that ended the coroutine, if any, before a waiter is woken, and
    once more where an exception of a signal handler cut the call off. An error without `ended` and
    without a waiter goes to the loop's exception handler.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        ended: Callable[[BaseException | None], None] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._work = work
        self._ended = ended
        self._loop = asyncio.get_running_loop() if loop is None else loop
        self._outcome: asyncio.Future[T] = self._loop.create_future()
        self._waiters: dict[asyncio.Future[None], None] = {}  # each leaves in constant time
        self._loop.call_soon(self._step)

    def __repr__(self) -> str:
        state = "ended" if self.done else "under way"
        return f"<DetachedWork: {state}>"

    @property
    def done(self) -> bool:
        """Whether the coroutine has ended."""
        return self._outcome.done()

    def __del__(self) -> None:
        self._work.close()  # the loop was closed first

    @property
    def error(self) -> BaseException | None:
        """The error that ended the coroutine, if any."""
        return self._outcome.exception() if self._outcome.done() else None

    @property
    def interrupted(self) -> bool:
        """Whether `KeyboardInterrupt` or `SystemExit` ended the work in the middle of a step."""
        error = self.error
        return error is not None and not isinstance(error, Exception)

    async def settled(self) -> bool:
        """Wait for the end. Returns whether there is an outcome, and no interrupt in place of one.

        Cancelling cancels the waiting.
        """
        if not self._outcome.done():
            if not self._waiters:
                self._outcome.add_done_callback(self._wake_waiters)
            waiter = self._loop.create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)
        return not self.interrupted

    def _wake_waiters(self, _: object) -> None:
        try:
            for waiter in list(self._waiters):
                wake(waiter)
        except BaseException:  # an interruption: the loop has to come back for those who are left
            self._loop.call_soon(self._wake_waiters, None)
            raise

    async def wait(self) -> T:
        """Wait for the end, and return or raise the outcome. Cancelling cancels the waiting."""
        await self.settled()
        error = self._outcome.exception()
        if isinstance(error, EventStoreError):
            raise fresh_error(error)
        return self._outcome.result()

    def _step(self, _: object = None) -> None:
        try:
            awaited = self._work.send(None)
        except StopIteration as end:
            self._outcome.set_result(end.value)
            self._tell(None)
        except BaseException as error:
            self._outcome.set_exception(error)
            if self._ended is not None:
                self._outcome.exception()  # retrieved
                self._tell(error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            if awaited is None:  # `asyncio.sleep(0)`
                self._loop.call_soon(self._step)
            else:
                # asyncio's protocol for awaiting a future: the one who drives takes the mark off.
                awaited._asyncio_future_blocking = False  # noqa: SLF001  the protocol's own name
                awaited.add_done_callback(self._step)

    def _tell(self, error: BaseException | None) -> None:
        """Call `ended`, before the waiters' next turn."""
        if self._ended is not None:
            try:
                self._ended(error)
            except BaseException:
                self._loop.call_soon(self._ended, error)
                raise


class RepeatedWork:
    """Detached work that is begun again where an exception of a signal handler cut the work off.

    `made` says whether the work has come to its end, with or without an error.
    """

    def __init__(self, made: Callable[[], bool]) -> None:
        self._made = made
        self._work: DetachedWork[None] | None = None

    def __repr__(self) -> str:
        return f"<RepeatedWork: {'over' if self.over else 'under way' if self.begun else 'idle'}>"

    @property
    def begun(self) -> bool:
        """Whether somebody has asked for the work."""
        return self._work is not None

    @property
    def over(self) -> bool:
        """Whether the work has come to its end."""
        work = self._work
        return work is not None and work.done and not work.interrupted and self._made()

    async def wait(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the end of the work. `begin` makes the coroutine, where none is under way.

        Cancelling cancels the waiting. Raises the error of the work, or else the exception that cut
        the work off.
        """
        cut: BaseException | None = None
        for attempts_left in reversed(range(_ATTEMPTS)):
            if self._work is None or (self._work.done and not self.over):
                self._work = DetachedWork(begin())
            work = self._work
            await work.settled()
            if self.over or not attempts_left:
                await work.wait()
                break
            if not work.interrupted:  # else the loop has raised the interrupt
                cut = cut or work.error
        if cut is not None:
            raise cut


def ensure_own_loop(loop: asyncio.AbstractEventLoop, path: str) -> None:
    """Raise `StoreClosedError` unless `loop` runs: all futures belong to that loop."""
    if asyncio.get_running_loop() is loop:
        return
    if loop.is_closed():
        advice = (
            "is closed: the log's thread has ended, and has written what was submitted. Close the "
            "store before its loop ends"
        )
    else:
        advice = "is another one: close the store there"
    raise StoreClosedError(
        f"{path} belongs to the event loop of its opening, which {advice}", path=path
    )
