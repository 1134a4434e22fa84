"""This store: `EventStorePeer`, and the log alone, `EventLogPeer`.

Options are the defaults, and `Durability.COMMIT`, with one exception: snapshots are taken only
where a case asks for one (no peer takes any unasked). `settle` waits until the first segment and
its spare are made, once in the life of a store.

Histories for reading may be written with `durability="none"`, because the bytes are the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import eventstore
from benchmarks.peers.base import Peer, SyncPeer
from benchmarks.workload import EMPTY, REGISTRY, Payload
from eventstore import EventLog, EventStore, Operation, Receipt, read_events, replay, state_at
from handlers import EngineState

__all__ = ["EventLogPeer", "EventStorePeer"]

MANUAL: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}


async def spare_ready(store: Any) -> None:
    """Wait for the next segment, whose making begins with the first append."""
    patience = 10_000
    while not store.stats().spare_ready:
        await asyncio.sleep(0.001)  # there is no event to wait for
        patience -= 1
        if not patience:
            raise RuntimeError(f"no spare segment was made: {store.stats()}")


class EventStorePeer(Peer):
    """Validated, folded, then written."""

    asynchronous = True
    folds = True

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder)
        self._path = folder / "store"
        self._options = MANUAL | options

    @classmethod
    def for_history(cls, folder: Path, *, durable: bool, segment_size: int | None) -> Peer:
        options: dict[str, Any] = {} if durable else {"durability": "none"}
        if segment_size is not None:
            options |= {"segment_size": segment_size, "backup_count": 1}
        return cls(folder, **options)

    @classmethod
    def version(cls) -> str:
        return str(getattr(eventstore, "__version__", ""))

    async def open(self) -> None:
        self._store: EventStore[EngineState] = await EventStore.open(
            self._path, REGISTRY, **self._options
        )
        self._append = self._store.append
        self.seq = self._store.seq

    async def open_for_reading(self) -> None:
        """Open nothing: readers take the directory as it is, beside any writer.

        The types of the state are made ready, once for each process, as the decoders of others are.
        """
        REGISTRY.fingerprint()
        REGISTRY.check_state(EMPTY)

    async def close(self) -> None:
        if hasattr(self, "_store"):
            await self._store.close()

    async def settle(self) -> None:
        await spare_ready(self._store)

    async def append(self, payloads: Sequence[Operation]) -> None:
        await self._append(*payloads)

    async def burst(self, payloads: Sequence[Operation]) -> None:
        submit = self._store.submit
        receipt: Receipt | None = None
        for payload in payloads:
            receipt = submit(payload)
        if receipt is not None:
            await receipt

    async def decode(self, first: int = 1, last: int | None = None) -> int:
        stop = None if last is None else last + 1
        found = read_events(self._path, REGISTRY, start=first, stop=stop)
        tail = deque(enumerate(found, 1), maxlen=1)
        return tail[0][0] if tail else 0

    async def fold(
        self, state: EngineState = EMPTY, first: int = 1, last: int | None = None
    ) -> EngineState:
        stop = None if last is None else last + 1
        tail = deque(replay(self._path, REGISTRY, start=first, stop=stop), maxlen=1)
        return tail[0][1] if tail else state

    async def state_at(self, seq: int) -> EngineState:
        return state_at(self._path, REGISTRY, seq)

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        await self._store.snapshot()

    async def recover(self) -> EngineState:
        return self._store.state

    @property
    def state(self) -> EngineState:
        """The published state."""
        return self._store.state


class EventLogPeer(SyncPeer):
    """The log alone: no handlers and no state, like the peers that store bytes."""

    asynchronous = True

    @classmethod
    def version(cls) -> str:
        return EventStorePeer.version()

    async def open(self) -> None:
        self._log = await EventLog.open(self.folder / "log", value_type=Payload, **MANUAL)
        self._append = self._log.append
        self.seq = self._log.seq

    async def close(self) -> None:
        await self._log.close()

    async def settle(self) -> None:
        await spare_ready(self._log)

    async def append(self, payloads: Sequence[Operation]) -> None:
        await self._append(*payloads)

    async def burst(self, payloads: Sequence[Operation]) -> None:
        submit = self._log.submit
        receipt: Receipt | None = None
        for payload in payloads:
            receipt = submit(payload)
        if receipt is not None:
            await receipt

    def scan(self, first: int, last: int | None) -> Iterator[Any]:
        stop = None if last is None else last + 1
        return read_events(self.folder / "log", REGISTRY, start=first, stop=stop)
