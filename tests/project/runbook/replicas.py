"""What a replicated store says of its cluster, and of another writer. A real server answers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from eventstore import EventStore
from eventstore.replication import Standby
from handlers import trading_registry
from tests.project.runbook.situations import failing, hold, situation
from tests.replication.cluster import Cluster

REGISTRY = trading_registry()
NOBODY: dict[str, Any] = {
    "servers": ["nats://127.0.0.1:1"],
    "stream": "bot",
    "replicas": 1,
    "acknowledge": "quorum",
}


def opening(path: str, replicate: dict[str, Any]) -> Any:
    return EventStore.open(path, REGISTRY, replicate=replicate, commit_timeout=5.0)


@contextlib.asynccontextmanager
async def one_server() -> AsyncIterator[tuple[Cluster, dict[str, Any]]]:
    """Run one server, and give the configuration of a stream there."""
    cluster = Cluster(Path.cwd(), size=1)
    try:
        cluster.nodes[0].start()
        await cluster.ready()
        yield cluster, NOBODY | {"servers": cluster.urls}
    finally:
        cluster.stop()


@situation("ReplicationError")
async def no_credentials() -> str:
    return await failing(opening("engine-state", NOBODY | {"credentials": "bot.creds"}))


@situation("ReplicationUnavailableError")
async def no_server() -> str:
    return await failing(opening("engine-state", NOBODY))


@situation("StreamMismatchError")
async def two_stores() -> str:
    async with one_server() as (_, replicate):
        async with opening("engine-state", replicate) as store:
            await store.append(hold())
        return await failing(opening("other", replicate))


@situation("LeaseHeldError")
async def two_writers() -> str:
    async with one_server() as (_, replicate):
        async with opening("engine-state", replicate) as store:
            await store.append(hold())
        without = shutil.ignore_patterns("replica.json")
        shutil.copytree("engine-state", "copy", ignore=without)
        async with opening("engine-state", replicate):
            return await failing(opening("copy", replicate))


@situation("FencedError")
async def fenced() -> str:
    async with one_server() as (_, replicate):
        old = await opening("engine-state", replicate)
        await old.append(hold())
        standby = await Standby.open("standby", REGISTRY, replicate=replicate)
        await standby.wait_for(1)
        async with standby.promote():
            said = await failing(old.append(hold()))
            await old.close()
        return said


@situation("QuorumLostError")
async def no_quorum() -> str:
    async with one_server() as (cluster, replicate):
        store = await opening("engine-state", replicate)
        await store.append(hold())
        cluster.stop()
        receipt = store.submit(hold())
        with contextlib.suppress(Exception):  # the receipt has the same error
            await store.close()
        return await failing(receipt)
