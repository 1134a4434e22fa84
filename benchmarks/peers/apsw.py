"""SQLite by APSW, in the loop's thread: a thinner wrapper, and a newer SQLite of its own.

Fair because: the table, `WAL` and `synchronous=FULL` are those of `sqlite3`. The connection
caches statements. Groups use `executemany` inside one transaction, as the documentation advises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from benchmarks.peers.base import SyncPeer
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

__all__ = ["Apsw"]


class Apsw(SyncPeer):
    """Rows in a table, by APSW."""

    distribution = "apsw"

    async def open(self) -> None:
        self._connection = apsw.Connection(str(self.folder / "events.db"))
        self._execute = self._connection.execute
        for statement in (*PRAGMAS, *SCHEMA):
            self._execute(statement)
        ((self.seq,),) = self._execute(LAST)

    async def close(self) -> None:
        self._connection.close()

    async def settle(self) -> None:
        fill_log(self.folder)

    async def append(self, payloads: Sequence[Operation]) -> None:
        found = rows(self._stamped(payloads))
        if len(found) == 1:
            self._execute(INSERT, found[0])
            return
        self._execute("BEGIN")
        self._connection.executemany(INSERT, found)
        self._execute("COMMIT")

    def scan(self, first: int, last: int | None) -> Iterator[Any]:
        for seq, time, data in self._execute(SELECT, (first, END if last is None else last)):
            yield Event(seq, time, decode(data))

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        self._execute(SNAPSHOT, (seq, pack_state(state)))

    async def recover(self) -> EngineState:
        newest = self._execute(NEWEST).fetchone()
        seq, state = (newest[0], unpack_state(newest[1])) if newest else (0, EMPTY)
        return await self.fold(state, seq + 1)
