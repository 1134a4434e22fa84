"""RocksDB by `rocksdict`, in the loop's thread.

Fair because: `WriteOptions.sync` is set, so every write waits for the `fdatasync` of RocksDB's
log. `raw_mode` keeps bytes as bytes, without the wrapper's usual tagging. Groups go into one
`WriteBatch`. Keys are the events' numbers in big-endian order. Compression, block size and memory
tables are the wrapper's defaults. History is read after a close and an open, so from the files of
RocksDB and not from its memory table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from benchmarks.peers.base import SyncPeer
from benchmarks.workload import EMPTY, EVENT_DECODER, pack_state, unpack_state
from eventstore import Operation
from handlers import EngineState

__all__ = ["Rocks"]

key_of = struct.Struct(">Q").pack
number_of = struct.Struct(">Q").unpack
encode = msgspec.msgpack.Encoder().encode

SNAPSHOT = b"snapshot"
"""A key of text, which sorts after every number in reach."""


class Rocks(SyncPeer):
    """Values under consecutive keys, in a log-structured tree."""

    distribution = "rocksdict"

    async def open(self) -> None:
        self._base = Rdict(str(self.folder / "rocks"), Options(raw_mode=True))
        self._durable = WriteOptions()
        self._durable.sync = True
        newest = self._base.iter()
        newest.seek_for_prev(b"\x0f" + bytes(7))
        self.seq = number_of(newest.key())[0] if newest.valid() else 0

    async def close(self) -> None:
        self._base.close()

    async def append(self, payloads: Sequence[Operation]) -> None:
        events = self._stamped(payloads)
        if len(events) == 1:
            self._base.put(key_of(events[0].seq), encode(events[0]), self._durable)
            return
        batch = WriteBatch(raw_mode=True)
        for event in events:
            batch.put(key_of(event.seq), encode(event))
        self._base.write(batch, self._durable)

    def scan(self, first: int, last: int | None) -> Iterator[Any]:
        end = self.seq if last is None else last
        values = self._base.values(from_key=key_of(first))
        return map(EVENT_DECODER.decode, islice(values, max(0, end - first + 1)))

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        self._base.put(SNAPSHOT, key_of(seq) + pack_state(state), self._durable)

    async def recover(self) -> EngineState:
        found = self._base.get(SNAPSHOT)
        seq, state = (number_of(found[:8])[0], unpack_state(found[8:])) if found else (0, EMPTY)
        return await self.fold(state, seq + 1)
