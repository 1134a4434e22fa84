"""A machine in a process of its own: a writer, or a standby that can be promoted.

Each appended event has a key of its own, and an append without an answer is made again under the
same key. What a machine reports is what a client knows: which keys were acknowledged, with which
number.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from eventstore import EventStore
from eventstore.errors import (
    EventStoreError,
    FencedError,
    LeaseHeldError,
    OutcomeUnknownError,
    ReplicationError,
    ReplicationUnavailableError,
    StoreFailedError,
)
from eventstore.replication import Standby
from tests.real.children import Parent
from tests.support.bank import bank_registry, pay

__all__ = ["follow", "write"]

_RETRIED = (OutcomeUnknownError, ReplicationUnavailableError)
FENCED = 3


async def write(
    parent: Parent, path: Path, replicate: dict[str, Any], prefix: str, pause: float = 0.001
) -> None:
    """Append until the parent says `stop`, or until another machine was promoted."""
    while True:
        try:
            store = await EventStore.open(
                path, bank_registry(), replicate=replicate, commit_timeout=1.0
            )
            break
        except ReplicationUnavailableError as error:
            parent.report("waits", str(error))
        except LeaseHeldError as error:
            parent.report("waits", str(error))
            await asyncio.sleep(0.2)
        except FencedError as error:
            parent.report("fenced", error.last_shared)
            return
    if store.recovery.adopted:
        parent.report("adopted", store.recovery.adopted)
    parent.report("writes", store.seq)
    await _append_until_told(parent, store, prefix, pause)


async def follow(
    parent: Parent, path: Path, replicate: dict[str, Any], prefix: str, pause: float = 0.001
) -> None:
    """Follow until the parent says `stop`, or `promote`: then write."""
    while True:
        try:
            standby = await Standby.open(path, bank_registry(), replicate=replicate)
            break
        except ReplicationError as error:
            if "rejoin" in str(error):
                raise
            parent.report("waits", str(error))
            await asyncio.sleep(0.2)
    parent.report("follows", standby.seq)
    ordered = asyncio.ensure_future(asyncio.to_thread(parent.order))
    while not ordered.done() and standby.failure is None:  # noqa: ASYNC110  nobody tells of it
        await asyncio.sleep(0.1)
    if standby.failure is not None:
        parent.report("failed", str(standby.failure))
    order = await ordered
    if order == "stop":
        parent.report("stopped", standby.seq)
        await standby.close()
        return
    while True:
        try:
            store = await standby.promote()
            break
        except ReplicationUnavailableError as error:
            parent.report("waits", str(error))
            await asyncio.sleep(0.2)
    parent.report("writes", store.seq)
    await _append_until_told(parent, store, prefix, pause)


async def _append_until_told(
    parent: Parent, store: EventStore[Any], prefix: str, pause: float
) -> None:
    told = asyncio.ensure_future(asyncio.to_thread(parent.order))
    number = 0
    try:
        while not told.done():
            number += 1
            key = f"{prefix}-{number}"
            parent.report("sends", key)
            receipt = await _appended(store, number, key, told)
            if receipt is None:
                break
            parent.report("acknowledged", key, receipt)
            await asyncio.sleep(pause)
        await store.close()
        parent.report("closed", store.seq)
    except FencedError as error:
        parent.report("fenced", error.last_shared)
        try:
            await store.close()
        except StoreFailedError:
            return
    except StoreFailedError as error:
        parent.report("failed", str(error))


async def _appended(
    store: EventStore[Any], number: int, key: str, told: asyncio.Future[Any]
) -> int | None:
    """Append until there is an answer. Returns the event's number, `None` when told to stop."""
    while not told.done():
        try:
            return (await store.append(pay(number), key=key)).seq
        except _RETRIED:
            await asyncio.sleep(0.05)
    return None


async def promote_alone(parent: Parent, path: Path, replicate: dict[str, Any]) -> None:
    """Wait until the writer's lease has run out, write one event, and end."""
    standby = await Standby.open(path, bank_registry(), replicate=replicate)
    parent.report("follows", standby.seq)
    try:
        store = await standby.promote_when_free()
    except EventStoreError as error:
        parent.report("refused", type(error).__name__)
        await standby.close()
        return
    receipt = await store.append(pay(1), key="automatic")
    parent.report("writes", receipt.seq)
    await store.close()
