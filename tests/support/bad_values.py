"""Values that no function takes, and what is done with the result of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from eventstore.missing_await import AsyncIterated, BlockingStream

__all__ = ["Hostile", "settled", "tried"]


class Hostile:
    """An object whose representation, equality and truth all raise."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("repr")

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("eq")

    def __bool__(self) -> bool:
        raise ZeroDivisionError("bool")

    __hash__ = object.__hash__


async def settled(found: Any) -> Any:
    """Await what a call gave, take one item of an iteration, and close what can be closed."""
    if isinstance(found, Awaitable) and not isinstance(found, AsyncIterated | BlockingStream):
        found = await asyncio.wait_for(found, 10)
    if hasattr(found, "__anext__") and not isinstance(found, BlockingStream):
        await asyncio.wait_for(anext(found, None), 10)
    elif hasattr(found, "__next__"):
        next(found, None)
    for name in ("aclose", "close"):
        end = getattr(found, name, None)
        if end is not None and not isinstance(found, type):
            ended = end()
            if isinstance(ended, Awaitable):
                await ended
            break
    return found


def tried(found: Any) -> None:
    """Do the same without an event loop."""
    if isinstance(found, Awaitable) or hasattr(found, "__anext__") or hasattr(found, "close"):
        asyncio.run(settled(found))
    elif hasattr(found, "__next__"):
        next(found, None)
