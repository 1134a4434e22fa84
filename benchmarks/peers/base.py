"""The interface between cases and contenders, and the common part of all adapters.

Theory of operation
-------------------
An adapter keeps events in one folder. The cases hand over payloads. Numbering, time stamps and
encoding are the adapter's work and part of the measurement. Every adapter does all three (with
msgspec, where the library takes bytes).

`append` returns when the group is on stable storage, all or nothing. This is *equal durability*,
and every adapter says how the library reaches equal durability. Adapters of libraries without
asyncio run in the loop's thread and hold the loop up meanwhile (`asynchronous = False`). Such a
call is the fastest way to use these libraries, and costs less than a microsecond against a bare
loop. A trading engine could not hold its loop up. These adapters are left out where many tasks
append at once.

Reading: `decode` goes through all events, each decoded into the same `Event` (or into the
library's own type, where there is no other way). `fold` goes through the events with the same
handlers. Nothing is kept of the events. `SyncPeer` and `AsyncPeer` do both over a `scan`.
"""

from __future__ import annotations

import abc
import importlib.metadata
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.workload import EMPTY, FUNCTIONS, fold
from eventstore import Event, Operation
from handlers import EngineState

__all__ = ["AsyncPeer", "Peer", "SyncPeer"]


class Peer(abc.ABC):
    """A way of keeping events in `folder`."""

    distribution: ClassVar[str | None] = None
    """Distribution to be installed, whose version is reported."""

    asynchronous: ClassVar[bool] = False
    """Whether other tasks run while an append waits for the disk."""

    folds: ClassVar[bool] = False
    """Whether `append` folds the events into a state before the write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seq = 0

    @classmethod
    def for_history(cls, folder: Path, *, durable: bool, segment_size: int | None) -> Peer:
        """Return an adapter to write a history with. Only reading the history will be measured.

        With `durable` false, an adapter may skip waiting for the disk.
        """
        return cls(folder)

    @classmethod
    def version(cls) -> str:
        """The version of the library underneath."""
        return importlib.metadata.version(cls.distribution) if cls.distribution else ""

    @abc.abstractmethod
    async def open(self) -> None:
        """Open the store in the folder, or make a new one."""

    async def open_for_reading(self) -> None:
        """Open the store in the folder for reading."""
        await self.open()

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the store in good order."""

    @abc.abstractmethod
    async def append(self, payloads: Sequence[Operation]) -> None:
        """Record a group, which is on stable storage on return."""

    async def burst(self, payloads: Sequence[Operation]) -> None:
        """Record many at once, and return when the last is on stable storage."""
        await self.append(payloads)

    async def settle(self) -> None:
        """Wait, after the first appends, for preparations in the background."""
        return

    @abc.abstractmethod
    async def decode(self, first: int = 1, last: int | None = None) -> int:
        """Go through the events, each decoded. Returns the number of events."""

    @abc.abstractmethod
    async def fold(
        self, state: EngineState = EMPTY, first: int = 1, last: int | None = None
    ) -> EngineState:
        """Go through the events, folding. Returns the state at the end."""

    async def state_at(self, seq: int) -> EngineState:
        """The state after event `seq`."""
        return await self.fold(EMPTY, 1, seq)

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        """Keep the state as of event `seq` durably."""
        raise NotImplementedError(f"{type(self).__name__} keeps no snapshots here")

    async def recover(self) -> EngineState:
        """Return the state after the last event, from the last snapshot and the events after it."""
        raise NotImplementedError(f"{type(self).__name__} keeps no snapshots here")

    def crash(self) -> None:
        """End the process as `kill -9` would: nothing is closed, nothing is flushed."""
        os._exit(0)

    def _stamped(self, payloads: Sequence[Operation]) -> list[Event[Any]]:
        now = time.time_ns()
        first = self.seq + 1
        self.seq += len(payloads)
        return [Event(seq, now, payload) for seq, payload in enumerate(payloads, first)]


class SyncPeer(Peer):
    """A peer whose events are read by an iterator."""

    @abc.abstractmethod
    def scan(self, first: int, last: int | None) -> Iterator[Any]:
        """The events `first` to `last`, decoded."""

    async def decode(self, first: int = 1, last: int | None = None) -> int:
        tail = deque(enumerate(self.scan(first, last), 1), maxlen=1)
        return tail[0][0] if tail else 0

    async def fold(
        self, state: EngineState = EMPTY, first: int = 1, last: int | None = None
    ) -> EngineState:
        return fold(state, self.scan(first, last))


class AsyncPeer(Peer):
    """A peer whose events are read by an asynchronous iterator."""

    asynchronous = True

    @abc.abstractmethod
    def scan(self, first: int, last: int | None) -> AsyncIterator[Any]:
        """The events `first` to `last`, decoded."""

    async def decode(self, first: int = 1, last: int | None = None) -> int:
        count = 0
        async for _ in self.scan(first, last):
            count += 1
        return count

    async def fold(
        self, state: EngineState = EMPTY, first: int = 1, last: int | None = None
    ) -> EngineState:
        functions = FUNCTIONS
        async for event in self.scan(first, last):
            state = functions[type(event.data)](state, event)
        return state
