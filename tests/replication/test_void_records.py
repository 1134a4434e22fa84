"""What an old writer had on the way when another machine was promoted counts for nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from eventstore import StoreConfig
from eventstore.errors import FencedError
from eventstore.replication import rejoin, stream_status
from eventstore.replication.connection import Connection
from tests.replication.plain_reader import read_stream
from tests.replication.test_failover import append_on
from tests.replication.test_shipping import opened, until
from tests.replication.test_standby import followed
from tests.support.bank import pay

pytestmark = pytest.mark.asyncio

LATE = 6
"""Messages of the old writer on the way."""


@pytest.mark.parametrize("written", [0, 1])
async def test_messages_behind_a_refused_one_are_void(
    directories: list[Path],
    replicate: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    """The history message takes the number of the first one, and the others fit behind."""
    one, other = directories
    held, arrived, sent = threading.Event(), threading.Event(), list[object]()
    send = Connection.send
    held.set()

    def sends(connection: Connection, *given: Any) -> None:
        if connection.path == str(one):  # the loop of its own thread
            arrived.set()
            held.wait()
            sent.append(given)
        send(connection, *given)

    monkeypatch.setattr(Connection, "send", sends)
    replicate["lease"] = 60.0  # else the old writer may know that it is fenced before it sends
    old = await opened(one, replicate | {"acknowledge": "local"})
    for number in range(1, 4):
        await old.append(pay(number))
    standby = await followed(other, replicate)
    await standby.wait_for(3)
    held.clear()
    arrived.clear()
    for number in range(LATE):
        await old.append(pay(100 + number))
    await until(arrived.is_set)
    sent.clear()

    new = await standby.promote()
    for number in range(written):
        await new.append(pay(4 + number))
    held.set()
    await until(lambda: len(sent) == LATE)
    with pytest.raises(FencedError):
        await append_on(old)
    await old.close()
    for number in range(written, 3):
        await new.append(pay(4 + number))
    assert new.seq == 6
    late = await followed(directories[1].with_name("three"), replicate)
    await late.wait_for(6)
    assert late.state == new.state
    await late.close()
    await new.close()

    found = await read_stream(replicate["servers"], replicate["stream"])
    assert [(seq, data["amount"]) for seq, _, data, *_ in found] == [(n, n) for n in range(1, 7)]
    settings = StoreConfig.of(None, replicate=replicate)
    assert (await stream_status(str(other), settings)).last == 6
    async with opened(other, replicate) as again:  # the writer, with void records behind the end
        await again.append(pay(7))
    aside = await rejoin(one, settings)
    assert aside.last_shared == 3
    assert [event.data["amount"] for event in aside.set_aside][:LATE] == [
        100 + n for n in range(LATE)
    ]
