"""A venue and the network in front of it, in one process and in the time of the event loop.

Both outlive the bot: what was sent arrives, whatever became of its sender. Most messages take
milliseconds, and some take seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from random import Random

START = 1_700_000_000_000_000_000
PATIENCE = 1.0
"""Seconds that a caller waits for a reply."""


class Rejected(Exception):
    """The venue refuses a request: too old, or an id that is in use."""


def now_ns() -> int:
    """The time of the event loop, as the time of day."""
    return START + round(asyncio.get_running_loop().time() * 1e9)


class Venue:
    """A venue that refuses old requests, and forgets the id of an order once it is filled.

    `receive_window` is the age from which on a request is refused, `lag` how late a query shows an
    order. `orders` counts the orders of each decision, which the venue of course does not know.
    """

    receive_window = timedelta(seconds=5)
    lag = timedelta(seconds=1)

    def __init__(self, random: Random) -> None:
        self._random = random
        self._working: set[str] = set()
        self._accepted_at: dict[str, int] = {}
        self.orders: Counter[int] = Counter()

    def _delay(self) -> float:
        """Draw the time that a message takes."""
        slow = self._random.random() < 0.05
        return self._random.uniform(0.5, 4.0) if slow else self._random.uniform(0.005, 0.05)

    async def place(self, name: str, decision: int, timestamp: int) -> None:
        """Send an order. Raises `Rejected`, and `TimeoutError` where no reply came in time."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[str | None] = loop.create_future()

        def arrive() -> None:
            refusal = self._judge(name, timestamp)
            if refusal is None:
                self._working.add(name)
                self._accepted_at[name] = now_ns()
                self.orders[decision] += 1
                loop.call_later(self._random.uniform(0.1, 1.0), self._working.discard, name)
            loop.call_later(self._delay(), lambda: reply.done() or reply.set_result(refusal))

        loop.call_later(self._delay(), arrive)
        async with asyncio.timeout(PATIENCE):
            refused = await reply
        if refused is not None:
            raise Rejected(refused)

    def _judge(self, name: str, timestamp: int) -> str | None:
        if now_ns() - timestamp > self.receive_window.total_seconds() * 1e9:
            return "the request is older than the receive window"
        return "the id is in use" if name in self._working else None

    async def order(self, name: str) -> bool:
        """Ask whether there was ever an order of this id. Raises `TimeoutError`."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.sleep(self._delay())
            shown_up_to = now_ns() - self._random.uniform(0, self.lag.total_seconds()) * 1e9
            await asyncio.sleep(self._delay())
        return self._accepted_at.get(name, START * 2) <= shown_up_to
