"""An event loop on a thread of its own, and run by another thread while that thread waits.

Theory of operation
-------------------
To wait for work on the loop of another thread costs two changes of threads, one in each direction.
Both together take as long as the sync of a disk. So the waiting thread, the *borrower*, runs the
loop in the place of the loop's own thread.

One thread runs the loop at a time, the one with the turn. Tasks and callbacks notice no difference.
The own thread comes back once nobody has run the loop for `_REST` seconds. So a thread that borrows
the loop again and again wakes no other thread.

A borrower comes twice for each piece of work. `set_off` begins the work in one call, without a turn
of the loop, and `run_until` waits for the end. Where the own thread is in the loop, it takes the
beginning over, and leaves the loop before the borrower needs the turn.

The loop is one of the standard library: there a transport writes to its socket at once. The loops
of others may write in a later turn.

*No turn is waited for in vain.* The own thread sets `_at_home`, and then looks for a borrower. A
borrower sets `_borrowed`, and then looks whether the own thread is in the loop. So the own thread
gives way, however late the borrower takes the turn.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from eventstore.blocking_calls import no_thread_error

__all__ = ["LentLoop"]

_REST = 0.02
"""Seconds. An engine that appends less often finds the own thread in the loop, which costs two
changes of threads. Meanwhile a timer of the loop may come late by so much."""


class LentLoop:
    """A loop that runs `work` on a thread with the name `name`. Both end with the work."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.SelectorEventLoop()
        self._turn = threading.Lock()
        self._at_home = self._borrowed = False
        self._lent_at = float("-inf")
        self._work: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __repr__(self) -> str:
        return f"<LentLoop {self._thread.name!r}{'' if self.alive else ', ended'}>"

    @property
    def alive(self) -> bool:
        """Whether the own thread has not ended."""
        return self._thread.is_alive()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to run `work`.

        Raises `StoreResourceError` where the operating system gives no thread.
        """
        self._work = self.loop.create_task(work)
        self._work.add_done_callback(lambda _: self.loop.stop())
        try:
            self._thread.start()
        except RuntimeError as error:
            self._work.cancel()
            self._end()
            raise no_thread_error(error) from error

    def call(self, function: Callable[[], object]) -> None:
        """Have the loop call a function, from any thread. Nothing happens once the loop ended."""
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            return

    def cancel_and_join(self, seconds: float) -> None:
        """Cancel the work, and wait so long for the thread to end. From any other thread."""
        assert self._work is not None
        self.call(self._work.cancel)
        self._thread.join(seconds)

    # ---- a borrower's thread ---------------------------------------------------------------

    def set_off(self, begin: Callable[[], None]) -> None:
        """Call `begin` in the place of the loop. Waits for nothing."""
        assert self._work is not None
        self._borrowed = True
        try:
            if self._at_home:
                self.call(begin)
                self.call(self.loop.stop)
                return
            with self._turn:
                if not self._work.done():
                    begin()
        finally:
            self._lent_at = time.monotonic()
            self._borrowed = False

    def run_until(
        self, over: Callable[[], bool], begin: Callable[[], None], limit: Callable[[], float]
    ) -> None:
        """Run the loop until `over` is true, in the place of the own thread.

        `begin` is called first. The function that makes `over` true has to stop the loop. `limit`
        is the time, by the monotonic clock, at which to look again whether `over` is true. Returns
        early where the work has ended.
        """
        assert self._work is not None
        self._borrowed = True
        try:
            if self._at_home:
                self.call(self.loop.stop)
            with self._turn:
                begin()
                while not over() and not self._work.done():
                    self._run_until(limit())
        finally:
            self._lent_at = time.monotonic()
            self._borrowed = False

    def _run_until(self, end: float) -> None:
        """Run the loop until a call of `stop`, or until the time `end`."""
        timer = None
        if end < float("inf"):
            timer = self.loop.call_later(max(end - time.monotonic(), 0.0), self.loop.stop)
        self.loop.run_forever()
        if timer is not None:
            timer.cancel()

    # ---- the own thread --------------------------------------------------------------------

    def _run(self) -> None:
        assert self._work is not None
        try:
            while not self._work.done():
                rest = self._lent_at + _REST - time.monotonic()
                if self._borrowed:
                    rest = _REST
                if rest > 0:
                    time.sleep(rest)
                    continue
                with self._turn:
                    self._at_home = True
                    if not self._borrowed and self._lent_at + _REST <= time.monotonic():
                        self.loop.run_forever()
                    self._at_home = False
        finally:
            with self._turn:
                self._end()

    def _end(self) -> None:
        """Run what is left, and close the loop. A `stop` of earlier may be on its way."""
        ending = self.loop.create_task(self.loop.shutdown_asyncgens())
        ending.add_done_callback(lambda _: self.loop.stop())
        while not ending.done():
            self.loop.run_forever()
        self.loop.close()
