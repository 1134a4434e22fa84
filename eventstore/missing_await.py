"""Objects to be awaited or entered with `async with`, and the error for a forgotten word.

After a forgotten `await`, the next line asks a coroutine for an attribute of a receipt or a store.
A plain `with` finds no context manager. Python's own messages name types that no caller knows. The
classes here raise `NotAwaitedError`, which names the missing word. A call whose result is dropped
unused did nothing, and a `RuntimeWarning` says so.

An open store has no `__await__` and no `__len__`. Frameworks await whatever can be awaited, and a
length would decide whether a store is true.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import warnings
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, Self, TypeVar

import msgspec

from eventstore.errors import NotAwaitedError, StoreUsageError

__all__ = [
    "AsyncContext",
    "AsyncEvents",
    "AsyncStream",
    "BlockingEvents",
    "BlockingStream",
    "Call",
    "Opened",
    "Opening",
    "Unstarted",
    "awaited",
]

P = ParamSpec("P")
T = TypeVar("T")


class AsyncContext:
    """Base of the classes for `async with`."""

    __slots__ = ()

    if not TYPE_CHECKING:  # for a type checker, these methods do not exist

        def __enter__(self) -> NoReturn:
            raise NotAwaitedError(f"{type(self).__name__}: use `async with` instead of `with`")

        def __exit__(self, *raised: object) -> None:
            """Do nothing: `with` looks for this method before the block is entered."""


class Opened(AsyncContext):
    """Base of a store and the like, once open. `async with` closes the store at its end.

    `path` names the store in errors. `_reads` is the expression for the events.
    """

    path: str
    _reads = "store.events()"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await _close_after(self, error)

    async def close(self) -> None:
        """Close the store."""
        raise NotImplementedError  # stores, logs and standbys close differently

    def __reduce__(self) -> NoReturn:
        """Refuse `copy` and `pickle`: a forgotten copy would close the log of the original."""
        raise StoreUsageError(
            f"{self.path} is open in this place alone, and neither copied nor pickled: pass the "
            "path, and open the store there with read_only=True",
            path=self.path,
        )

    if not TYPE_CHECKING:  # as above

        def __iter__(self) -> NoReturn:
            raise NotAwaitedError(
                f"{type(self).__name__}: use `async for event in {self._reads}` for the events"
            )

        __aiter__ = __iter__


async def _close_after(opened: _Closable, error: BaseException | None) -> None:
    """Close what is open at the end of a block, which `error` has ended, or nothing."""
    try:
        await opened.close()
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):  # logged, as below
            await opened.close()
        raise
    except Exception:  # the body's says more, and a failed commit was logged when it failed
        if error is None:
            raise


class Unstarted(AsyncContext):
    """Base of results that do nothing until they are awaited or entered with `async with`.

    `_warning` is the text for a result that was dropped instead.
    """

    _warning: str
    _started = False

    if not TYPE_CHECKING:  # as above

        def __enter__(self) -> NoReturn:
            self._started = True  # as far as the error is concerned, all is said
            super().__enter__()

    def __del__(self) -> None:
        if not self._started:
            warnings.warn(self._warning, RuntimeWarning, source=self, stacklevel=1)


class AsyncIterated:
    """Base of the classes for `async for`."""

    __slots__ = ()

    if not TYPE_CHECKING:  # as above

        def __iter__(self) -> NoReturn:
            raise NotAwaitedError(f"{type(self).__name__}: use `async for` instead of `for`")

        def __next__(self) -> NoReturn:
            raise NotAwaitedError(f"{type(self).__name__}: use `await anext(...)`, and no `next`")

        def __await__(self) -> NoReturn:
            raise NotAwaitedError(f"{type(self).__name__}: use `async for`, and no `await`")


class AsyncStream(AsyncContext, AsyncIterated):
    """Base of the classes for `async for` and `async with`."""

    __slots__ = ()


class BlockingStream:
    """Base of the classes for a plain `for`, in code without an event loop."""

    __slots__ = ()

    if not TYPE_CHECKING:  # as above

        def __aiter__(self) -> NoReturn:
            raise NotAwaitedError(
                f"{type(self).__name__} blocks: use `for`, or follow() on an event loop"
            )

        __aenter__ = __aexit__ = __anext__ = __await__ = __aiter__


class AsyncEvents(AsyncIterated, AsyncGenerator[T, None]):
    """The events of an asynchronous generator. `async for` runs the generator itself."""

    __slots__ = ("_events",)

    def __init__(self, events: AsyncGenerator[T, None]) -> None:
        self._events = events

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._events

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._events.__anext__()

    def asend(self, value: None) -> Coroutine[Any, Any, T]:
        return self._events.asend(value)

    def athrow(self, *raised: Any) -> Coroutine[Any, Any, T]:
        return self._events.athrow(*raised)

    def aclose(self) -> Coroutine[Any, Any, None]:
        return self._events.aclose()

    if not TYPE_CHECKING:  # as above

        def __enter__(self) -> NoReturn:
            raise NotAwaitedError(f"{type(self).__name__}: use `async for`, and no `with`")

        __exit__ = __aenter__ = __aexit__ = __enter__


class BlockingEvents(BlockingStream, Iterator[T]):
    """The events of an iterator. `for` runs the iterator itself."""

    __slots__ = ("_events",)

    def __init__(self, events: Iterator[T]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[T]:
        return self._events

    def __next__(self) -> T:
        return next(self._events)

    if not TYPE_CHECKING:  # as above

        def __enter__(self) -> NoReturn:
            raise NotAwaitedError(f"{type(self).__name__}: use `for`, and no `with`")

        __exit__ = __enter__


class Call(msgspec.Struct, Generic[T], eq=False):
    """A pending call. `asyncio.create_task` takes a `Call` as well.

    The class is a Struct, because msgspec makes a Struct without a call of Python.
    """

    _coroutine: Coroutine[Any, Any, T]

    def __await__(self) -> Generator[Any, None, T]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *raised: Any) -> Any:
        return self._coroutine.throw(*raised)

    def close(self) -> None:
        self._coroutine.close()

    def __repr__(self) -> str:
        return f"<call of {self._called}: nothing happens until it is awaited>"

    @property
    def _called(self) -> str:
        return getattr(self._coroutine, "__qualname__", "the function")

    if not TYPE_CHECKING:  # pragma: no branch - else a checker accepts every attribute

        def __getattr__(self, name: str) -> NoReturn:
            raise NotAwaitedError(
                f"{self._called}() was not awaited, so there is no {name!r} yet: await it, or use "
                "submit",
            )


def awaited(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make a coroutine function return a `Call`, which names a forgotten `await`.

    A `Call` costs an append two calls of Python: the wrapper, and the beginning of the await.
    `asyncio.create_task` takes a `Call` for the methods of a `collections.abc.Coroutine`.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return Call(function(*args, **kwargs))

    mark: Callable[[Any], Any] = getattr(inspect, "markcoroutinefunction", lambda marked: marked)
    mark(call)  # from Python 3.12 on, tools that ask see a coroutine function
    return call


class _Closable(Protocol):
    async def close(self) -> None: ...


OpenedT = TypeVar("OpenedT", bound=_Closable)


class Opening(Unstarted, Generic[OpenedT]):
    """The result of `open`: await it and close the store yourself, or use `async with`.

    Leaving the block closes the store, also when the body raised. The body's exception then wins
    over an exception from closing. The log has recorded the exception from closing. A cancellation
    while the store is being closed waits for the end of the closing. A second one does not.
    """

    _warning = "open() was never awaited, so nothing was opened: use `async with`, or `await`"

    def __init__(self, opens: Callable[[], Awaitable[OpenedT]]) -> None:
        self._opens = opens
        self._opened: OpenedT | None = None

    def __repr__(self) -> str:
        return "<Opening: nothing is open until it is awaited or entered with `async with`>"

    if not TYPE_CHECKING:  # pragma: no branch - else a checker accepts every attribute

        def __getattr__(self, name: str) -> NoReturn:
            self._started = True  # as above
            raise NotAwaitedError(
                f"open() was not awaited, so there is no {name!r} yet: write `await "
                "EventStore.open(...)`, or `async with EventStore.open(...) as store:`",
            )

    def __await__(self) -> Generator[Any, None, OpenedT]:
        self._started = True
        return self._opens().__await__()

    async def __aenter__(self) -> OpenedT:
        self._started = True
        self._opened = await self._opens()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await _close_after(opened, error)
