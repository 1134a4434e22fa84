"""The contenders: a name, the adapter, and the event loop of each.

An adapter whose library cannot be imported is left out, and named with the reason.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.peers.base import Peer

__all__ = ["CONTENDERS", "Contender", "by_name", "loop_factory"]


class Contender(NamedTuple):
    """One column of the comparison."""

    name: str
    adapter: str
    """Module within `benchmarks.peers`, and class."""

    loop: str = "asyncio"
    ours: bool = False
    importing: str = ""
    """Module that a user's program imports, for the time of the import."""

    slow: bool = False
    """Whether the contender is so much slower that a part of the events is enough."""

    asynchronous: bool = False
    """Whether other tasks run while an append waits for the disk."""

    @property
    def family(self) -> str:
        """The name without the event loop."""
        return self.name.partition(" (")[0]

    def load(self) -> type[Peer]:
        """Return the adapter. Raises `ImportError` where a needed library is not installed."""
        module, _, name = self.adapter.partition(":")
        adapter: type[Peer] = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)
        if self.loop == "uvloop":
            importlib.import_module("uvloop")
        return adapter


CONTENDERS = (
    Contender("write + fdatasync", "bare:Bare"),
    Contender("EventLog", "ours:EventLogPeer", ours=True, asynchronous=True),
    Contender("EventLog (uvloop)", "ours:EventLogPeer", "uvloop", ours=True, asynchronous=True),
    Contender(
        "EventStore",
        "ours:EventStorePeer",
        ours=True,
        importing="import eventstore",
        asynchronous=True,
    ),
    Contender("EventStore (uvloop)", "ours:EventStorePeer", "uvloop", ours=True, asynchronous=True),
    Contender("sqlite3", "sqlite3:Sqlite", importing="import sqlite3"),
    Contender("sqlite3 folding", "sqlite3:SqliteFolding"),
    Contender("APSW", "apsw:Apsw", importing="import apsw"),
    Contender(
        "aiosqlite",
        "aiosqlite:AioSqlite",
        importing="import asyncio, aiosqlite",
        asynchronous=True,
    ),
    Contender("aiosqlite (uvloop)", "aiosqlite:AioSqlite", "uvloop", asynchronous=True),
    Contender("LMDB", "lmdb:Lmdb", importing="import lmdb"),
    Contender("RocksDB", "rocksdict:Rocks", importing="import rocksdict"),
    Contender(
        "eventsourcing",
        "eventsourcing:Eventsourcing",
        importing="import eventsourcing.application, eventsourcing.sqlite",
        slow=True,
    ),
    Contender("eventsourcing msgspec", "eventsourcing:EventsourcingMsgspec", slow=True),
    Contender(
        "py-event-sourcing",
        "py_event_sourcing:PyEventSourcing",
        importing="import asyncio, py_event_sourcing",
        slow=True,
        asynchronous=True,
    ),
    Contender(
        "eventsource-py",
        "eventsource_py:EventsourcePy",
        importing="import asyncio, eventsource, eventsource.adapters.sqlite",
        slow=True,
        asynchronous=True,
    ),
    Contender(
        "Redis",
        "redis:RedisStream",
        importing="import redis.asyncio",
        slow=True,
        asynchronous=True,
    ),
)


def by_name(name: str) -> Contender:
    """Return the contender of a name."""
    return next(contender for contender in CONTENDERS if contender.name == name)


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of event loops of a kind."""
    if loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop
