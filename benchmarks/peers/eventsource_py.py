"""`eventsource-py`: an asyncio event-sourcing library, on its SQLite store.

Use follows the documentation. Events are pydantic models derived from `DomainEvent`, with the
same fields as our payloads. `append` writes to one stream. `read_stream` reads back, a page at
a time, because each call fetches its whole range at once. The handlers take the models unchanged.

Fair because: the library opens its connection with `WAL` and leaves `synchronous` at SQLite's
default, `FULL`. Expected versions are not checked (`any`). Encoding is by orjson, a part of the
library.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from eventsource import DomainEvent
from eventsource.adapters.sqlite import SQLiteEventStore
from eventsource.adapters.sqlite.snapshots import SQLiteSnapshotStore
from eventsource.domain import StreamId
from eventsource.domain.event_registry import EventRegistry
from eventsource.ports import ExpectedVersion, StreamReadOptions
from eventsource.ports.snapshots import Snapshot

from benchmarks.peers.base import AsyncPeer
from benchmarks.peers.sqlite3 import fill_log
from benchmarks.workload import EMPTY, FUNCTIONS
from eventstore import Event, Operation
from handlers import EngineState, RecordTrade, UpdatePosition

__all__ = ["EventsourcePy"]

AGGREGATE = uuid.UUID(int=1)
CATEGORY = "Engine"
PAGE = 5000


class TradeRecorded(DomainEvent):  # type: ignore[misc]  # the library is not there when types are checked
    aggregate_type: str = CATEGORY
    trade_id: str
    symbol: str
    side: str
    shares: float
    price: float
    fee: float | None = None
    fee_currency: str | None = None
    venue: str = ""
    account: str = "main"
    position_side: str = "net"
    order_id: str = ""
    client_order_id: str = ""
    liquidity: str | None = None
    time: int | None = None


class PositionUpdated(DomainEvent):  # type: ignore[misc]  # the library is not there when types are checked
    aggregate_type: str = CATEGORY
    symbol: str
    shares: float
    price: float
    weight: float | None = None
    account: str = "main"
    position_side: str = "net"
    venue: str = ""
    reference: str = ""
    time: int | None = None


MODELS: dict[type[Operation], Any] = {
    RecordTrade: TradeRecorded,
    UpdatePosition: PositionUpdated,
}
HANDLERS = {model: FUNCTIONS[payload] for payload, model in MODELS.items()}


class EventsourcePy(AsyncPeer):
    """Events of one stream, by `eventsource-py`."""

    distribution = "eventsource-py"

    async def open(self) -> None:
        registry = EventRegistry()
        for model in MODELS.values():
            registry.register(model)
        self._store = SQLiteEventStore(str(self.folder / "events.db"), registry)
        self._snapshots = SQLiteSnapshotStore(str(self.folder / "events.db"))
        self._stream = StreamId(AGGREGATE, CATEGORY)
        self.seq = await self._store.get_stream_version(self._stream)

    async def close(self) -> None:
        await self._store.close()

    async def settle(self) -> None:
        fill_log(self.folder)

    async def append(self, payloads: Sequence[Operation]) -> None:
        events = [
            MODELS[type(payload)](aggregate_id=AGGREGATE, **msgspec.structs.asdict(payload))
            for payload in payloads
        ]
        await self._store.append(self._stream, events, ExpectedVersion.any_())

    async def scan(self, first: int, last: int | None) -> AsyncIterator[Any]:
        while last is None or first <= last:
            count = PAGE if last is None else min(PAGE, last - first + 1)
            options = StreamReadOptions(from_version=first, limit=count)
            found = 0
            async for envelope in self._store.read_stream(self._stream, options):
                found += 1
                yield Event(envelope.stream_version, 0, envelope.event)
            if found < count:
                return
            first += found

    async def fold(
        self, state: EngineState = EMPTY, first: int = 1, last: int | None = None
    ) -> EngineState:
        async for event in self.scan(first, last):
            state = HANDLERS[type(event.data)](state, event)
        return state

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        await self._snapshots.save_snapshot(
            Snapshot(
                AGGREGATE, CATEGORY, seq, msgspec.to_builtins(state.to_dict()), 1, datetime.now(UTC)
            )
        )

    async def recover(self) -> EngineState:
        found = await self._snapshots.get_snapshot(AGGREGATE, CATEGORY)
        seq, state = (found.version, EngineState.from_dict(found.state)) if found else (0, EMPTY)
        return await self.fold(state, seq + 1)
