"""SQLite by `aiosqlite`: a thread for each connection, and a queue to the thread.

Fair because:

- Table, `WAL` and `synchronous=FULL` are those of `sqlite3`.
- All tasks share one connection, as the documentation of aiosqlite shows. This is also the fastest
  way: the commit of one task makes the rows of all waiting tasks durable. So 64 awaiters get a
  group commit without asking. (A task with a rollback would take back the rows of others. The
  measurement is the kindest way, not a pattern to copy.)
- One cursor is kept for all inserts, which saves making one for each. Besides, a cursor may be
  collected in the loop's thread while the connection works in its own thread. The collection then
  fails now and then ("bad parameter or other API misuse").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiosqlite

from benchmarks.peers.base import AsyncPeer
from benchmarks.peers.sqlite3 import (
    END,
    INSERT,
    LAST,
    NEWEST,
    PRAGMAS,
    SCHEMA,
    SELECT,
    SNAPSHOT,
    decode,
    fill_log,
    rows,
)
from benchmarks.workload import EMPTY, pack_state, unpack_state
from eventstore import Event, Operation
from handlers import EngineState

__all__ = ["AioSqlite"]


class AioSqlite(AsyncPeer):
    """Rows in a table, by `aiosqlite`."""

    distribution = "aiosqlite"

    async def open(self) -> None:
        self._connection = await aiosqlite.connect(self.folder / "events.db")
        for statement in (*PRAGMAS, *SCHEMA):
            await self._connection.execute(statement)
        await self._connection.commit()
        async with self._connection.execute(LAST) as cursor:
            found = await cursor.fetchone()
        self.seq = found[0] if found is not None else 0
        self._cursor = await self._connection.cursor()

    async def close(self) -> None:
        await self._connection.close()

    async def settle(self) -> None:
        fill_log(self.folder)

    async def append(self, payloads: Sequence[Operation]) -> None:
        found = rows(self._stamped(payloads))
        if len(found) == 1:
            await self._cursor.execute(INSERT, found[0])
        else:
            await self._cursor.executemany(INSERT, found)
        await self._connection.commit()

    async def scan(self, first: int, last: int | None) -> AsyncIterator[Any]:
        bounds = (first, END if last is None else last)
        async with self._connection.execute(SELECT, bounds) as cursor:
            while found := await cursor.fetchmany(1000):
                for seq, time, data in found:
                    yield Event(seq, time, decode(data))

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        packed = await asyncio.to_thread(pack_state, state)
        await self._cursor.execute(SNAPSHOT, (seq, packed))
        await self._connection.commit()

    async def recover(self) -> EngineState:
        async with self._connection.execute(NEWEST) as cursor:
            newest = await cursor.fetchone()
        seq, state = (newest[0], unpack_state(newest[1])) if newest else (0, EMPTY)
        return await self.fold(state, seq + 1)
