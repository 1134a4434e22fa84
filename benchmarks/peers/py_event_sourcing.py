"""`py-event-sourcing`: an asyncio event store over SQLite (`aiosqlite`).

Use follows the README: one factory, one stream, `write` with a list of events, `read`. Payload
bytes are ours (msgspec). The library's own fields go through pydantic.

Fair because: the library sets `synchronous=NORMAL`, under which a power cut can take acknowledged
events. The adapter sets `FULL` on the library's writing connection, for want of an option, so
that durability is equal. Idempotency keys, which cost the library two queries, are not used. The
time of an event is not converted for the handlers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import msgspec
from py_event_sourcing import CandidateEvent, sqlite_stream_factory

from benchmarks.peers.base import AsyncPeer
from benchmarks.peers.sqlite3 import fill_log
from benchmarks.workload import EMPTY, PAYLOAD_DECODER, pack_state, unpack_state
from eventstore import Event, Operation
from handlers import EngineState

__all__ = ["PyEventSourcing"]

encode = msgspec.msgpack.Encoder().encode
decode = PAYLOAD_DECODER.decode


class PyEventSourcing(AsyncPeer):
    """Events of one stream, by `py-event-sourcing`."""

    distribution = "py-event-sourcing"

    async def open(self) -> None:
        self._stack = AsyncExitStack()
        factory = sqlite_stream_factory(str(self.folder / "events.db"))
        open_stream = await self._stack.enter_async_context(factory)
        self._stream: Any = await self._stack.enter_async_context(open_stream("engine"))
        await self._stream.storage_handle.write_conn.execute("PRAGMA synchronous=FULL")

    async def close(self) -> None:
        await self._stack.aclose()

    async def settle(self) -> None:
        fill_log(self.folder)

    async def append(self, payloads: Sequence[Operation]) -> None:
        await self._stream.write(
            [
                CandidateEvent(type=type(payload).__name__, data=encode(payload))
                for payload in payloads
            ]
        )

    async def scan(self, first: int, last: int | None) -> AsyncIterator[Any]:
        async with aclosing(self._stream.read(first - 1)) as found:
            async for stored in found:
                if last is not None and stored.version > last:
                    return
                yield Event(stored.version, 0, decode(stored.data))

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        await self._stream.snapshot(pack_state(state), version=seq)

    async def recover(self) -> EngineState:
        found = await self._stream.load_snapshot()
        seq, state = (found.version, unpack_state(found.state)) if found else (0, EMPTY)
        return await self.fold(state, seq + 1)
