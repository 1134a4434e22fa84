"""SQLite by the standard library's `sqlite3`, in the loop's thread.

Fair because:

- `journal_mode=WAL` with `synchronous=FULL` is the setting for a durable log in SQLite's
  documentation ("transactions are durable across a power loss", one `fdatasync` a commit).
- Each event is one row under an `INTEGER PRIMARY KEY`, which is the table's own order and needs
  no further index.
- Groups use `executemany`, in one transaction.
- There is one prepared statement, which the module caches.
- Payloads are msgspec bytes in a BLOB. `wal_autocheckpoint` stays at its default.

Before the clock starts, SQLite's own log is filled once (`fill_log`). A growing log makes every
sync dearer. A log that was full once is written over from then on, as in any base after a thousand
commits.

`SqliteFolding` also does the work of a store of state: the same handlers fold each event before
the write. Unlike the event store, `SqliteFolding` does not read the bytes back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.base import SyncPeer
from benchmarks.workload import EMPTY, PAYLOAD_DECODER, fold, pack_state, unpack_state
from eventstore import Event, Operation
from handlers import EngineState

__all__ = ["Sqlite", "SqliteFolding", "fill_log", "rows"]

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS events "
    "(seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, state BLOB NOT NULL)",
)
PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
INSERT = "INSERT INTO events VALUES (?, ?, ?)"
SELECT = "SELECT seq, time, data FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"
SNAPSHOT = "INSERT OR REPLACE INTO snapshots VALUES (?, ?)"
NEWEST = "SELECT seq, state FROM snapshots ORDER BY seq DESC LIMIT 1"
LAST = "SELECT coalesce(max(seq), 0) FROM events"
END = (1 << 63) - 1

LOG_BYTES = 4 << 20
"""Size beyond which SQLite brings its log home (a thousand pages), and a little more."""

encode = msgspec.msgpack.Encoder().encode
decode = PAYLOAD_DECODER.decode


def rows(events: Sequence[Event[Any]]) -> list[tuple[int, int, bytes]]:
    """Events as the rows of the table."""
    return [(event.seq, event.time, encode(event.data)) for event in events]


def fill_log(folder: Path) -> None:
    """Grow the log of `events.db` in a folder to its lasting size."""
    connection = sqlite3.connect(folder / "events.db", isolation_level=None)
    connection.execute("CREATE TABLE filling (zeros BLOB)")
    connection.execute(f"INSERT INTO filling VALUES (zeroblob({LOG_BYTES}))")
    connection.execute("DROP TABLE filling")
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    connection.close()


class Sqlite(SyncPeer):
    """Rows in a table, by `sqlite3`."""

    async def open(self) -> None:
        self._connection = sqlite3.connect(self.folder / "events.db", isolation_level=None)
        self._execute = self._connection.execute
        for statement in (*PRAGMAS, *SCHEMA):
            self._execute(statement)
        (self.seq,) = self._execute(LAST).fetchone()

    @classmethod
    def version(cls) -> str:
        return sqlite3.sqlite_version

    async def close(self) -> None:
        self._connection.close()

    async def settle(self) -> None:
        fill_log(self.folder)

    async def append(self, payloads: Sequence[Operation]) -> None:
        self._write(self._stamped(payloads))

    def _write(self, events: Sequence[Event[Any]]) -> None:
        if len(events) == 1:
            self._execute(INSERT, rows(events)[0])
            return
        self._execute("BEGIN")
        self._connection.executemany(INSERT, rows(events))
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


class SqliteFolding(Sqlite):
    """The same, with a state: each event is folded before the write."""

    folds = True

    async def open(self) -> None:
        await super().open()
        self.state = await self.recover()

    async def append(self, payloads: Sequence[Operation]) -> None:
        events = self._stamped(payloads)
        state = fold(self.state, events)
        self._write(events)
        self.state = state
