"""The ends of tasks and of clients, which may not come at once."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client

__all__ = ["close_client", "end_tasks"]

CLOSE_SECONDS = 1.0
_CANCEL_AGAIN = 0.2


async def close_client(client: Client) -> None:
    """Close a client, within a moment: the library may wait for a peer that is gone."""
    closing = asyncio.ensure_future(client.close())
    await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
    if not closing.done():
        closing.cancel()
    elif not closing.cancelled():
        closing.exception()  # of a connection that nobody uses any more


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and wait until each has ended.

    `asyncio.wait_for` of Python 3.11 swallows a cancellation that comes with an answer, so one
    cancellation is not always enough. The caller tells of an error, so the tasks do not, also where
    this waiting is cancelled.
    """
    for task in tasks:
        task.add_done_callback(_retrieve)
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_AGAIN)


def _retrieve(ended: asyncio.Future[Any]) -> None:
    if not ended.cancelled():
        ended.exception()
