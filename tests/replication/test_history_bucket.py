"""The history beside the stream: the latest one stays, whoever comes when."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from eventstore import StoreConfig
from eventstore.replication.connecting import connect
from eventstore.replication.connection import Connection
from eventstore.replication.history_bucket import keep_history, kept_history
from eventstore.replication.messages import History
from eventstore.timelines import first_timeline, next_timeline

pytestmark = pytest.mark.asyncio
STORE = uuid.UUID("00010203-0405-4607-8809-0a0b0c0d0e0f")


async def connected(replicate: dict[str, Any]) -> Connection:
    settings = StoreConfig.of(None, replicate=replicate).replicate
    assert settings is not None
    return await connect("here", settings)


async def test_an_older_history_never_replaces_a_later_one(replicate: dict[str, Any]) -> None:
    connection = await connected(replicate)
    first = History(store=STORE, created=1, timelines=first_timeline(STORE))
    second, third = (
        History(store=STORE, created=1, timelines=timelines)
        for timelines in (
            next_timeline(first.timelines, 3, b"2222"),
            next_timeline(next_timeline(first.timelines, 3, b"2222"), 5, b"3333"),
        )
    )
    await keep_history(connection, first)  # fences nobody
    assert await kept_history(connection) is None
    await keep_history(connection, second)
    assert await kept_history(connection) == second
    await keep_history(connection, third)
    await keep_history(connection, second)  # of a zombie that has not heard yet
    assert await kept_history(connection) == third
    bucket = await connection.stream.key_value(f"{replicate['stream']}-history")
    await bucket.delete("writer")
    assert await kept_history(connection) is None
    await keep_history(connection, second)
    assert await kept_history(connection) == second
    await connection.close()
