"""Work off the event loop, and work that outlives its caller: `open`, threads, detached work.

Theory of operation
-------------------
*Detached work* (`DetachedWork`) is a coroutine driven by callbacks, and no task. A shutdown routine
may cancel every task. Such a routine cancels the waiting for detached work, and never the work.
Closing, snapshots and the spare segment are detached work. A task was rejected: every task stands
in `asyncio.all_tasks` and can be cancelled there, while the thread behind the task goes on. A task
without an effect of `cancel` was rejected too: a shutdown routine also waits for the tasks.

*Background calls* (`BackgroundCalls`) are the blocking calls of one store beside the commit path. A
call on a thread cannot be cancelled, only the waiting for the call. The end of a call is therefore
the end on the thread. A disk is closed after the last call has ended, in every ending. Otherwise a
late call could use the number of a descriptor after the number was given to another file.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  see `opening_executor`
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
)

import aiofiles.os

from eventstore.disk.base import Disk
from eventstore.error_base import fresh_error
from eventstore.errors import EventStoreError, NotAwaitedError, StoreClosedError, StoreResourceError
from eventstore.missing_await import AsyncContext
from eventstore.shared_threads import Crew, CrewExecutor

__all__ = [
    "BackgroundCalls",
    "DetachedWork",
    "Opening",
    "ensure_own_loop",
    "no_thread_error",
    "opening_executor",
    "run_blocking",
    "wake",
]


class _Closable(Protocol):
    async def close(self) -> None: ...


OpenedT = TypeVar("OpenedT", bound=_Closable)


class Opening(AsyncContext, Generic[OpenedT]):
    """The result of `open`: await it and close the store yourself, or use `async with`.

    Leaving the block closes the store, also when the body raised. The body's exception then wins
    over an exception from closing. The log has recorded the exception from closing. A cancellation
    while the store is being closed waits for the end of the closing. A second one does not.
    """

    def __init__(self, opens: Callable[[], Awaitable[OpenedT]]) -> None:
        self._opens = opens
        self._opened: OpenedT | None = None

    def __repr__(self) -> str:
        return "<Opening: nothing is open until it is awaited or entered with `async with`>"

    if not TYPE_CHECKING:  # pragma: no branch - else a checker accepts every attribute

        def __getattr__(self, name: str) -> NoReturn:
            raise NotAwaitedError(
                f"open() was not awaited, so there is no {name!r} yet: write `await "
                "EventStore.open(...)`, or `async with EventStore.open(...) as store:`",
            )

    def __await__(self) -> Generator[Any, None, OpenedT]:
        return self._opens().__await__()

    async def __aenter__(self) -> OpenedT:
        self._opened = await self._opens()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            await opened.close()
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # logged, as below
                await opened.close()
            raise
        except Exception:  # the body's says more, and a failed commit was logged when it failed
            if error is None:
                raise


P = ParamSpec("P")
T = TypeVar("T")


def wake(waiter: asyncio.Future[None]) -> None:
    """Resolve `waiter`, unless it was cancelled or resolved before."""
    if not waiter.done():
        waiter.set_result(None)


class DetachedWork(Generic[T]):
    """A coroutine that goes on to its end, whichever task is cancelled.

    The coroutine begins in the loop's next turn, and awaits futures of the running loop only.
    `ended` is called with the error that ended the coroutine, if any, before a waiter is woken. An
    error without `ended` and without a waiter goes to the loop's exception handler.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        ended: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self._work = work
        self._ended = ended
        self._loop = asyncio.get_running_loop()
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
    def interrupted(self) -> bool:
        """Whether `KeyboardInterrupt` or `SystemExit` ended the work in the middle of a step."""
        if not self._outcome.done():
            return False
        error = self._outcome.exception()
        return error is not None and not isinstance(error, Exception)

    async def settled(self) -> bool:
        """Wait for the end. Returns whether there is an outcome, and no interrupt in its place.

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
            if self._ended is not None:
                self._ended(None)
            self._outcome.set_result(end.value)
        except BaseException as error:
            self._outcome.set_exception(error)
            if self._ended is not None:
                self._outcome.exception()  # retrieved
                self._ended(error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            if awaited is None:  # `asyncio.sleep(0)`
                self._loop.call_soon(self._step)
            else:
                # asyncio's protocol for awaiting a future: the one who drives takes the mark off.
                awaited._asyncio_future_blocking = False  # noqa: SLF001  the protocol's own name
                awaited.add_done_callback(self._step)


class _InlineExecutor(Executor):
    """A marker for a disk without blocking calls: `run_blocking` makes the call on the loop."""


BACKGROUND = Crew("eventstore-background", 4)
"""The threads for calls beside the commit paths, of all stores of this process."""


class BackgroundCalls:
    """The blocking calls of one store beside its commit path, at most `workers` at a time.

    A disk that never blocks needs no threads. The calls are then made on the loop.
    """

    def __init__(self, disk: Disk, workers: int) -> None:
        self._path = disk.path
        self._threads = CrewExecutor(BACKGROUND, workers) if disk.blocking else None
        self._executor: Executor = self._threads or _InlineExecutor()
        self._refusal: StoreClosedError | None = None

    def __repr__(self) -> str:
        state = "refused" if self._refusal is not None else f"{len(self._unfinished())} under way"
        return f"<BackgroundCalls of {self._path!r}: {state}>"

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a blocking call off the loop. Cancelling cancels the waiting, and not the call.

        Raises `StoreClosedError` once the calls were ended, and `StoreResourceError` where the
        operating system gives no thread.
        """
        if self._refusal is not None:
            raise fresh_error(self._refusal)
        return await run_blocking(self._executor, call, *args, **kwargs)

    async def finish(self) -> None:
        """Refuse further calls, and wait until none is under way."""
        self._refuse("is closed")
        loop = asyncio.get_running_loop()
        for call in self._unfinished():
            ended = loop.create_future()
            call.add_done_callback(functools.partial(_wake_from_thread, loop, ended))
            await ended

    async def close(self, release: Callable[[], None]) -> None:
        """Finish, make the last call `release`, and end the threads."""
        await self.finish()
        try:
            await run_blocking(self._executor, release)
        except StoreResourceError:  # without a thread the lock is to be freed all the same
            release()
        self._executor.shutdown(wait=False)

    def join(self) -> None:
        """Refuse further calls, and wait on this thread until none is under way."""
        self._refuse("is closed")
        self._executor.shutdown(wait=True)

    def abandon(self, release: Callable[[], None]) -> None:
        """Refuse further calls, and call `release` once none is under way. Waits for nothing."""
        self._refuse("was not closed")
        if self._unfinished():
            with contextlib.suppress(RuntimeError):  # no thread to be had: wait here
                threading.Thread(
                    target=self._join_and_release, args=(release,), name="eventstore-end"
                ).start()
                return
        self._join_and_release(release)

    def refuse_abandoned(self) -> None:
        """Refuse further calls: the store was forgotten, and the writer's thread ends the store."""
        self._refuse("was not closed")

    def _join_and_release(self, release: Callable[[], None]) -> None:
        self._executor.shutdown(wait=True)
        release()

    def _refuse(self, reason: str) -> None:
        if self._refusal is None:
            self._refusal = StoreClosedError(f"{self._path} {reason}", path=self._path)

    def _unfinished(self) -> list[Future[Any]]:
        return [] if self._threads is None else list(self._threads.unfinished.copy())


def _wake_from_thread(
    loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None], _: object
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(wake, waiter)


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


def opening_executor(disk: Disk | None) -> Executor | None:
    """Return the executor for opening a store, `None` for the loop's own threads.

    A `disk` without blocking calls is opened on the loop. Without `disk` a directory is opened.
    `asyncio.run` waits for the loop's own threads, so that no opening outlives the loop. asyncio
    would load their module only here, perhaps after the program has given up its rights to read.
    """
    return None if disk is None or disk.blocking else _InlineExecutor()


async def run_blocking(
    executor: Executor | None, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Make a blocking call off the loop. Cancelling cancels the waiting, and not the call.

    Raises `StoreResourceError` where the operating system gives no thread. Nothing was called then.
    """
    call = _without_stop_iteration(call)
    if isinstance(executor, _InlineExecutor):
        made = call(*args, **kwargs)
        await asyncio.sleep(0)  # gives other tasks a turn, as a thread would
        return made
    claim: list[Callable[[], T]] = [functools.partial(call, *args, **kwargs)]
    wrapped: Callable[..., Any] = aiofiles.os.wrap(_make_claimed)
    try:
        result: T = await wrapped(claim, executor=executor)
    except RuntimeError as error:
        # The executor queues the call before the thread: a later thread could find the call.
        if _take(claim) is None:
            raise  # the call began: the error is the call's own
        raise no_thread_error(error) from error
    return result


def _take(claim: list[Callable[[], T]]) -> Callable[[], T] | None:
    """Take the call out of `claim`, once: the thread gets the call, or the caller who gives up."""
    with contextlib.suppress(IndexError):
        return claim.pop()
    return None


def _make_claimed(claim: list[Callable[[], T]]) -> T | None:
    """Make the call in `claim`, on a thread, unless the caller gave the call up."""
    call = _take(claim)
    return None if call is None else call()


def no_thread_error(cause: Exception) -> StoreResourceError:
    """Return the error of work that needs a thread, where none can be started."""
    return StoreResourceError(
        f"the operating system gives no thread ({cause}): nothing was begun; raise the limit of "
        "processes and threads, or end some of them, and try again",
        errno=None,
    )


def _without_stop_iteration(call: Callable[P, T]) -> Callable[P, T]:
    """Translate a `StopIteration` of the user's code inside `call`.

    No future can hold a `StopIteration`, so the caller of a thread would wait for ever.
    """

    def translated(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except StopIteration as error:
            raise EventStoreError(
                f"code that was called by the store raised StopIteration ({error}): no coroutine "
                "can pass that on. Catch it where next() is called"
            ) from error

    return translated
