"""Blocking calls on threads beside the event loop: of an opening, and of an open store.

Theory of operation
-------------------
*Background calls* (`BackgroundCalls`) are the blocking calls of one store beside the commit path. A
call on a thread cannot be cancelled, only the waiting for the call. The end of a call is therefore
the end on the thread. A disk is closed after the last call has ended, in every ending. Otherwise a
late call could use the number of a descriptor after the number was given to another file.

*An opening* (`run_opening`) may be cancelled while its call is under way. The call goes on, and
closes what it has opened, the lock included. The next opening of that path in this process waits
for the end of such calls. So a caller may cancel an opening, and open again at once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  see `opening_executor`
import contextlib
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Generic, ParamSpec, TypeVar

import aiofiles.os

from eventstore.detached_work import wake
from eventstore.disk.base import Disk
from eventstore.error_base import fresh_error
from eventstore.errors import EventStoreError, StoreClosedError, StoreResourceError
from eventstore.shared_threads import Crew, CrewExecutor

__all__ = [
    "BackgroundCalls",
    "is_given_up",
    "no_thread_error",
    "opening_executor",
    "run_blocking",
    "run_opening",
    "undo_given_up",
    "wait_for_given_up",
]


P = ParamSpec("P")
T = TypeVar("T")


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


def opening_executor(disk: Disk | None) -> Executor | None:
    """Return the executor for opening a store, `None` for the loop's own threads.

    A `disk` without blocking calls is opened on the loop. Without `disk` a directory is opened.
    `asyncio.run` waits for the loop's own threads, so that no opening outlives the loop. asyncio
    would load their module only here, perhaps after the program has given up its rights to read.
    """
    return None if disk is None or disk.blocking else _InlineExecutor()


class _OpeningCall(Generic[T]):
    """The call of one opening. `release` closes the result where nobody takes the result.

    `path` is the directory to open, `None` for a disk in memory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        call: Callable[[], T],
        release: Callable[[T], None],
    ) -> None:
        self.path = path
        self._call = call
        self._release = release
        self._result: list[T] = []
        self._begun = self._over = self._given_up = False
        self._ended = threading.Event()

    def make(self) -> T:
        """Make the call, on a thread, behind the openings of this path that were given up."""
        if self.path is not None:
            wait_for_given_up(self.path)
        with _lock:
            if self._given_up:
                raise asyncio.CancelledError  # nobody is told
            self._begun = True
        _making.opening = self
        try:
            result = self._call()
            with _lock:
                self._over, wanted = True, not self._given_up
                if wanted:
                    self._result.append(result)
            if not wanted:
                self._release(result)
            return result
        finally:
            del _making.opening
            with _lock:
                self._over = True
                _given_up.pop(self._ended, None)
            self._ended.set()

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for the call any more."""
        return self._given_up

    def take(self) -> None:
        """Note that the caller has the result."""
        self._result.clear()

    def give_up(self) -> None:
        """Close the result, now or at the end of the call."""
        with _lock:
            self._given_up = True
            if self.path is not None and self._begun and not self._over:
                _given_up[self._ended] = self.path
        while self._result:
            self._release(self._result.pop())


_making = threading.local()
_lock = threading.Lock()
_given_up: dict[threading.Event, str | os.PathLike[str]] = {}
"""The end and the path of each opening under way, or to be undone, that nobody waits for.

Their threads do not exist in a forked child.
"""

os.register_at_fork(after_in_child=_given_up.clear)


def is_given_up() -> bool:
    """Return whether nobody waits any more for the opening that this thread makes.

    A call that takes long looks now and then, and raises whatever it likes: nobody is told.
    """
    opening: _OpeningCall[Any] | None = getattr(_making, "opening", None)
    return opening is not None and opening.given_up


def wait_for_given_up(path: str | os.PathLike[str]) -> None:
    """Wait until no opening of `path` is under way that was given up. Blocks the thread."""
    while True:
        with _lock:
            found = list(_given_up.items())
        if not found:
            return
        here = os.path.realpath(path)
        waits_for = [ended for ended, opened in found if os.path.realpath(opened) == here]
        if not waits_for:
            return
        waits_for[0].wait()


def undo_given_up(path: str | os.PathLike[str], undo: Callable[[], None]) -> None:
    """Undo an opening of `path` on a thread: `undo` may block. The next opening waits for it."""
    ended = threading.Event()

    def undone() -> None:
        try:
            undo()
        finally:
            with _lock:
                del _given_up[ended]
            ended.set()

    with _lock:
        _given_up[ended] = path
    try:
        threading.Thread(target=undone, name="eventstore-undo").start()
    except RuntimeError:  # the operating system gives no thread
        undone()


async def run_opening(
    path: str | os.PathLike[str],
    disk: Disk | None,
    call: Callable[[], T],
    release: Callable[[T], None],
) -> T:
    """Make a blocking call that opens the store at `path`, or on `disk`, off the loop.

    Cancelling gives the opening up: `release` closes the result as soon as there is one. Raises
    `StoreResourceError` as `run_blocking` does.
    """
    directory = path if disk is None else disk.path if disk.blocking else None
    opening = _OpeningCall(directory, call, release)
    try:
        result = await run_blocking(opening_executor(disk), opening.make)
    except BaseException:  # nobody has a store to close
        opening.give_up()
        raise
    opening.take()
    return result


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
    try:
        result: T = await _make_on_thread(claim, executor=executor)
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


_make_on_thread: Callable[..., Any] = aiofiles.os.wrap(_make_claimed)


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
