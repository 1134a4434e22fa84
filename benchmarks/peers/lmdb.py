"""LMDB, in the loop's thread.

Fair because: the environment has its defaults, which are durable (`sync=True`, `metasync=True`,
no `writemap`). A commit writes the pages, syncs them, and writes the meta page through a
descriptor opened `O_DSYNC`. Each event has one key, its number in big-endian order. So
`putmulti(append=True)` can fill pages without a search, as the documentation advises for bulk
loads. Reading goes through one cursor in one transaction with `buffers=True`, without copies. The
map is large enough never to be grown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import lmdb
import msgspec

from benchmarks.peers.base import SyncPeer
from benchmarks.workload import EMPTY, EVENT_DECODER, pack_state, unpack_state
from eventstore import Operation
from handlers import EngineState

__all__ = ["Lmdb"]

MAP_SIZE = 8 << 30
key_of = struct.Struct(">Q").pack
number_of = struct.Struct(">Q").unpack
encode = msgspec.msgpack.Encoder().encode


class Lmdb(SyncPeer):
    """Values under consecutive keys, in a memory-mapped tree."""

    distribution = "lmdb"

    async def open(self) -> None:
        self._environment = lmdb.open(str(self.folder / "lmdb"), map_size=MAP_SIZE, max_dbs=2)
        self._events = self._environment.open_db(b"events")
        self._snapshots = self._environment.open_db(b"snapshots")
        with self._environment.begin(self._events) as transaction:
            cursor = transaction.cursor()
            self.seq = number_of(cursor.key())[0] if cursor.last() else 0

    async def close(self) -> None:
        self._environment.close()

    async def append(self, payloads: Sequence[Operation]) -> None:
        items = [(key_of(event.seq), encode(event)) for event in self._stamped(payloads)]
        with self._environment.begin(self._events, write=True) as transaction:
            transaction.cursor().putmulti(items, append=True)

    def scan(self, first: int, last: int | None) -> Iterator[Any]:
        decode = EVENT_DECODER.decode
        with self._environment.begin(self._events, buffers=True) as transaction:
            cursor = transaction.cursor()
            if not cursor.set_range(key_of(first)):
                return
            values = cursor.iternext(keys=False, values=True)
            if last is not None:
                values = islice(values, last - first + 1)
            yield from map(decode, values)

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        with self._environment.begin(self._snapshots, write=True) as transaction:
            transaction.put(key_of(seq), pack_state(state))

    async def recover(self) -> EngineState:
        with self._environment.begin(self._snapshots) as transaction:
            cursor = transaction.cursor()
            found = (number_of(cursor.key())[0], cursor.value()) if cursor.last() else None
        seq, state = (found[0], unpack_state(found[1])) if found else (0, EMPTY)
        return await self.fold(state, seq + 1)
