"""The tasks of a connection end, and tell of no error by themselves."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from eventstore.replication.endings import end_tasks


@pytest.mark.asyncio
async def test_an_ended_task_is_silent_where_the_waiting_was_cancelled() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    goes_on = asyncio.Event()

    async def ends_late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await goes_on.wait()
            raise OSError("the connection was closed") from None

    task = asyncio.ensure_future(ends_late())
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(end_tasks(task))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    goes_on.set()
    await asyncio.wait([task])
    del task, waiting
    gc.collect()
    assert told == []
