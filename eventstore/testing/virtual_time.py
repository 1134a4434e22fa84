"""An event loop with a jumping clock: timers fire at once, in the right order, without waiting.

`VirtualTimeLoop` is asyncio's own loop with two changes. The time of the loop stands still while
any callback can run, and then jumps to the next timer. Without a timer the program would hang, so
the loop raises `StalledError`.

A program without threads and sockets, such as a store on a simulated disk, therefore takes the same
steps in every run, idle seals and sync intervals included.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import selectors
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, TypeVar

from eventstore.arguments import argument_error

__all__ = ["StalledError", "VirtualTimeLoop", "rare_collection", "run_in_virtual_time"]

T = TypeVar("T")


_COLLECTION_THRESHOLDS = (20_000, 20, 20)
"""Thresholds of a rare garbage collection: simulated disks are large, with little garbage."""


class StalledError(AssertionError):
    """Everything waits for events, and none will ever happen."""


_TURN = 0.001
"""Seconds that a turn of the loop takes, once a program only turns."""


class _Selector(selectors.SelectSelector):
    """A selector without waiting. `jumped` adds up the seconds of the requested waits.

    After `most_turns` turns of the loop at one instant, each turn takes a millisecond.
    """

    jumped = 0.0
    patience = float("inf")
    most_turns = float("inf")
    _turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StalledError("the program waits for something that will never happen")
        self._turns = 0 if timeout > 0 else self._turns + 1
        if self._turns > self.most_turns:
            timeout = _TURN
        if timeout > 0:
            self.jumped += timeout
            if self.jumped > self.patience:
                raise StalledError(f"the program is not done after {self.patience} seconds")
        return []  # without sockets, only callbacks in the loop's queue wake the loop


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop for one program without threads, sockets or signals.

    `patience` is the limit of the program, in seconds of the loop's time. `errors` collects the
    exceptions of callbacks and forgotten tasks. asyncio would only log such exceptions.

    After `most_turns` turns at one instant, each turn takes a millisecond: a program that looks
    again and again with `asyncio.sleep(0)` gets on. By default turns take no time.
    """

    def __init__(self, patience: float, most_turns: float = float("inf")) -> None:
        self._selector = _Selector()
        self._selector.patience = patience
        self._selector.most_turns = most_turns
        super().__init__(self._selector)
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def __repr__(self) -> str:
        state = "closed" if self.is_closed() else f"at {self.time():g} s"
        return f"<VirtualTimeLoop {state}, {len(self.errors)} errors>"

    def time(self) -> float:
        return self._selector.jumped

    def pass_time(self, seconds: float) -> None:
        """Let time pass while no callback can run, as a blocking call does."""
        self._selector.jumped += max(0.0, seconds)


@contextlib.contextmanager
def rare_collection() -> Iterator[None]:
    """Collect garbage rarely inside of the block."""
    collected = gc.get_threshold()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*collected)


def run_in_virtual_time(main: Coroutine[Any, Any, T], patience: float = 100_000.0) -> T:
    """Run `main` on a new `VirtualTimeLoop`, and return the result.

    Raises `StalledError` where `main` hangs or takes more than `patience` seconds of the loop's
    time. Raises `AssertionError` from any exception of a callback, and `ConfigError` for a `main`
    that is no coroutine.

    >>> run_in_virtual_time(asyncio.sleep(3600, "an hour later"))
    'an hour later'
    """
    given: Any = main
    if not isinstance(given, Awaitable):
        raise argument_error("main", given, "expected a coroutine: call the function")
    loop = VirtualTimeLoop(patience)
    with rare_collection():
        try:
            result = loop.run_until_complete(main)
        finally:
            loop.close()
    for context in loop.errors:
        raise AssertionError(context["message"]) from context.get("exception")
    return result
