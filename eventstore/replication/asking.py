"""Questions to the servers, asked again where nobody answers.

A server that gets a question amid an election drops it in silence. Without another question, each
death of a leader costs the whole time limit, though the next leader is there much earlier.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["REQUEST_SECONDS", "asked"]

REQUEST_SECONDS = 5.0
"""How long a question has for an answer."""
_ASK_AGAIN = 1.0
"""Seconds without an answer after which a question is asked once more."""

AnswerT = TypeVar("AnswerT")


async def asked(ask: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """Ask something that may be asked again, and ask again where nobody answers.

    Raises `TimeoutError`, and the errors of `ask`.
    """
    end = time.monotonic() + REQUEST_SECONDS
    while True:
        try:
            async with asyncio.timeout(_ASK_AGAIN):
                return await ask()
        except TimeoutError:
            if time.monotonic() > end:
                raise
