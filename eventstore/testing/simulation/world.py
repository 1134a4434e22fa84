"""The part of a run outside of every process: time, chance, and the story."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, NamedTuple

from eventstore.clock import to_datetime
from eventstore.testing.simulation.chance import Chance
from eventstore.testing.simulation.faults import Faults

__all__ = ["EPOCH", "Entry", "LoopClock", "World"]

EPOCH = 1_767_225_600_000_000_000
"""The begin of every run: 2026-01-01 in nanoseconds."""


class LoopClock:
    """A clock with the time of a virtual event loop, from 2026-01-01 on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._seconds = loop.time

    def __repr__(self) -> str:
        return f"<LoopClock at {self.now().isoformat()}>"

    def time_ns(self) -> int:
        return EPOCH + round(self._seconds() * 1e9)

    def monotonic_ns(self) -> int:
        return round(self._seconds() * 1e9)

    def now(self) -> Any:
        return to_datetime(self.time_ns())


class Entry(NamedTuple):
    """One line of the story. `seq` is the last durable event of the store at the moment."""

    time: float
    seq: int
    who: str
    text: str


class World:
    """The part of a run that outlives every process.

    Attributes:
        story: The deeds of bot, venue and network, in order.
        seq: The last durable event of the running process.
        failures: Errors of the venue's own code.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: Chance, faults: Faults) -> None:
        self.loop = loop
        self.chance = chance
        self.faults = faults
        self.clock: LoopClock = LoopClock(loop)
        self.now: Callable[[], float] = loop.time
        self.story: list[Entry] = []
        self.failures: list[Exception] = []
        self.seq: Callable[[], int] = int
        self._context = contextvars.Context()  # of no process, so no death ends a call
        self._counts: dict[str, int] = {}

    def say(self, who: str, text: str) -> None:
        self.story.append(Entry(self.now(), self.seq(), who, text))

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback` later, also after the death of the current process."""
        self.loop.call_later(seconds, self._call, callback, args, context=self._context)

    def _call(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001  a hook of the venue is the user's code
            self.failures.append(error)

    def number(self, kind: str) -> int:
        """Return the next number of a kind of things, from 1."""
        self._counts[kind] = number = self._counts.get(kind, 0) + 1
        return number
