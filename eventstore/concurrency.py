"""Work off the event loop: the result of `open`, and blocking calls on threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import aiofiles.os

from eventstore.disk.base import Disk

__all__ = ["Opening", "executor_for", "opening_executor", "run_blocking"]


class _Closable(Protocol):
    async def close(self) -> None: ...


OpenedT = TypeVar("OpenedT", bound=_Closable)


class Opening(Generic[OpenedT]):
    """The result of `open`: await it and close the store yourself, or use `async with`.

    Leaving the block closes the store, also when the body raised. The body's exception then wins
    over an exception from closing. The log has recorded the exception from closing.
    """

    def __init__(self, opens: Callable[[], Awaitable[OpenedT]]) -> None:
        self._opens = opens
        self._opened: OpenedT | None = None

    def __repr__(self) -> str:
        return "<Opening: nothing is open until it is awaited or entered with `async with`>"

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
        except Exception:
            # The body's exception says more. A failed commit was logged when the commit failed.
            if error is None:
                raise


P = ParamSpec("P")
T = TypeVar("T")


class _InlineExecutor(Executor):
    """A marker for a disk without blocking calls: `run_blocking` makes the call on the loop."""


def executor_for(disk: Disk, workers: int) -> Executor:
    """Return threads for calls to `disk`, or none for a disk without blocking calls."""
    if not disk.blocking:
        return _InlineExecutor()
    return ThreadPoolExecutor(workers, thread_name_prefix="eventstore-background")


def opening_executor(disk: Disk | None) -> Executor | None:
    """Return the executor for opening a store, `None` for the loop's own threads.

    A `disk` without blocking calls is opened on the loop. Without `disk` a directory is opened.
    """
    return None if disk is None or disk.blocking else _InlineExecutor()


async def run_blocking(
    executor: Executor | None, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Make a blocking call off the loop. Cancelling cancels the waiting, and not the call."""
    if isinstance(executor, _InlineExecutor):
        made = call(*args, **kwargs)
        await asyncio.sleep(0)  # gives other tasks a turn, as a thread would
        return made
    wrapped: Callable[..., Any] = aiofiles.os.wrap(call)
    result: T = await wrapped(*args, executor=executor, **kwargs)
    return result
