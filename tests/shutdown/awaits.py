"""Cancelling a coroutine at each of its await points, one run for each.

Theory of operation
-------------------
`CancelledAt` drives a coroutine inside the running task, as `await` does, and counts the await
points: the moments at which the coroutine hands the task a future, or gives up its turn. At one of
these moments the task is cancelled, in one of two ways:

- *at once*: the wait is cut short, and its answer is dropped;
- *with the answer*: the answer has come, and the task is cancelled in the same turn of the loop,
  before the coroutine sees the answer.

A run in which the coroutine ends before its await point of that number was the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["WAYS", "CancelledAt"]

WAYS = ("at once", "with the answer")


class CancelledAt:
    """An awaitable: `coroutine`, whose task is cancelled at await point `number`, from 1."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, way: str) -> None:
        self.points = 0
        self._coroutine = coroutine
        self._number = number
        self._way = way

    @property
    def reached(self) -> bool:
        """Whether the await point was reached, and the task cancelled."""
        return self.points >= self._number

    async def to_its_end(self) -> None:
        """Await in a task of its own. Raises what the coroutine raises, but no cancellation."""

        async def awaits() -> None:
            await self

        task = asyncio.ensure_future(awaits())
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coroutine.__await__()
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                waits_for = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            self.points += 1
            if self.points == self._number:
                self._cancel(waits_for)
            answer = error = None
            try:
                answer = yield waits_for
            except BaseException as thrown:  # noqa: BLE001  the coroutine decides
                error = thrown

    def _cancel(self, waits_for: asyncio.Future[Any] | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._way == "at once":
            task.cancel()
        elif waits_for is None:  # a turn given up: the answer is the next turn
            task.get_loop().call_soon(task.cancel)
        else:
            waits_for.add_done_callback(lambda _: task.cancel())
