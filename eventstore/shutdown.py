"""An orderly end of a program on SIGTERM: the first signal cancels, the second one kills.

Without a handler, SIGTERM ends a process at once. No acknowledged event is lost, but the log has no
closing seal, and queued events are gone. `asyncio.Runner` handles SIGINT alone.

*The first signal* cancels the task in the block. Every `async with` of the task closes what it
opened: a store drains the queue and seals the log. When the block is left, `SystemExit` ends the
program, with the status of a process that the signal has ended (143 for SIGTERM).

*The second signal* finds the default action of the operating system again. So a program whose disk
hangs can be stopped, too, and so can a program that blocks its event loop. For the sake of the
latter, the handlers are Python's. A loop's own handlers run only between two turns of the loop. The
end is as safe as any kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from eventstore.arguments import argument_error
from eventstore.errors import StoreUsageError

__all__ = ["shutdown_on_signals"]


@contextlib.contextmanager
def shutdown_on_signals(*numbers: int) -> Iterator[None]:
    """Cancel the current task when a signal arrives, and end the program after the block.

    `numbers` are the signals, by default SIGTERM. A second signal of any of them kills the process
    at once. The handlers before the block are in force again after the block.

    Raises `SystemExit` after the block if a signal arrived, unless the block raised an error of its
    own. Raises `StoreUsageError` outside of a task and outside of the main thread, which alone gets
    signals. Raises `ConfigError` for a number that is no signal.

        async def main() -> None:
            with shutdown_on_signals():
                async with EventStore.open("engine-state", registry) as store:
                    await trade(store)

        asyncio.run(main())
    """
    chosen = tuple(dict.fromkeys(map(_checked_signal, numbers))) or (signal.SIGTERM,)
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise StoreUsageError("shutdown_on_signals is for the code of a task", path="")
    handled = _Signals(task, chosen)
    with handled:
        try:
            yield
        except asyncio.CancelledError:
            if handled.received is None or task.uncancel() > 0:
                raise  # somebody else has cancelled the task, too
    if handled.received is not None:
        raise SystemExit(128 + handled.received)


def _checked_signal(number: Any) -> int:
    """Return a signal that a program can handle. Raises `ConfigError` for anything else."""
    valid = isinstance(number, int) and not isinstance(number, bool)
    if not valid or number not in signal.valid_signals():
        raise argument_error("numbers", number, "expected a signal, such as signal.SIGTERM")
    if number in (signal.SIGKILL, signal.SIGSTOP):
        raise argument_error("numbers", number, "no program can handle this signal")
    return int(number)


class _Signals:
    """The handlers of one block."""

    def __init__(self, task: asyncio.Task[Any], numbers: tuple[int, ...]) -> None:
        self.received: int | None = None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._numbers = numbers
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in self._numbers:
            try:
                self._before[number] = signal.signal(number, self._on_signal)
            except (OSError, ValueError) as error:
                self.__exit__()  # nobody leaves a block that was not entered
                raise StoreUsageError(
                    f"{signal.Signals(number).name} cannot be handled here ({error}): use "
                    "shutdown_on_signals in the main thread. To end a loop in another thread, let "
                    "the main thread call loop.call_soon_threadsafe(task.cancel)",
                    path="",
                ) from error

    def __exit__(self, *raised: object) -> None:
        if self.received is None:
            for number, before in self._before.items():
                if before is not None:  # else a handler of C code, which Python cannot set
                    signal.signal(number, before)

    def _on_signal(self, received: int, _: object) -> None:
        self.received = received
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)
        arrived = f"{signal.Signals(received).name} arrived"
        self._loop.call_soon_threadsafe(self._task.cancel, arrived)
