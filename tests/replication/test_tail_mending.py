"""A message that another one has taken the place of: what fitted behind it counts for nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, StoreConfig, read_events
from eventstore.errors import ReplicationUnavailableError
from eventstore.replication import rejoin
from eventstore.replication.connection import Connection
from tests.replication.plain_reader import repeat
from tests.replication.test_shipping import in_stream, opened, until
from tests.replication.test_standby import followed
from tests.support.bank import Bank, pay

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def begun(path: Path, replicate: dict[str, Any]) -> AsyncIterator[EventStore[Bank]]:
    """Give a store whose events 1 to 3 are in the stream."""
    async with opened(path, replicate, commit_timeout=30.0) as store:
        for number in range(1, 4):
            await store.append(pay(number))
        await until(lambda: store.stats().unreplicated == 0)
        yield store


async def follows_all(path: Path, replicate: dict[str, Any], last: int) -> None:
    async with followed(path, replicate) as standby:
        await standby.wait_for(last)
        assert [event.seq for event in read_events(path)] == list(range(1, last + 1))


class TestMending:
    async def test_events_behind_a_refused_one_are_sent_again_in_order(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The repeated message takes the number of event 4, and event 5 fits behind."""
        monkeypatch.setattr("eventstore.replication.shipping.LINGER", 0.3)
        replicate["acknowledge"] = "local"
        one, other = directories
        async with begun(one, replicate) as store, followed(other, replicate) as standby:
            await standby.wait_for(3)
            await repeat(replicate["servers"], replicate["stream"])
            for number in range(4, 9):
                await store.append(pay(number))
            await until(lambda: store.stats().unreplicated == 0)
            assert await in_stream(replicate) == [1, 2, 3, 3, 4, 5, 6, 7, 8]
            await standby.wait_for(8)
            assert standby.failure is None
        await follows_all(one.with_name("new"), replicate, 8)

    async def test_the_end_of_a_record_without_its_beginning_is_no_record(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        """The repeated message takes the number of the first part, and the second one fits."""
        one, other = directories
        async with begun(one, replicate) as store:
            await repeat(replicate["servers"], replicate["stream"])
            await store.append(pay(4), metadata={"note": "x" * 1_500_000})
            assert await in_stream(replicate) == [1, 2, 3, 3, 4]
        await follows_all(other, replicate, 4)


class TestPromotion:
    async def test_a_standby_takes_over_before_the_end_is_mended(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        removed: list[int] = []
        remove = Connection.remove

        async def fails(connection: Connection, number: int) -> None:
            if connection.path != str(one):
                return await remove(connection, number)
            removed.append(number)
            raise connection.error(ReplicationUnavailableError, "lost")

        monkeypatch.setattr("eventstore.replication.shipping.LINGER", 0.3)
        monkeypatch.setattr(Connection, "remove", fails)
        one, other = directories
        replicate["acknowledge"] = "local"
        async with begun(one, replicate) as store, followed(other, replicate) as standby:
            await standby.wait_for(3)
            await repeat(replicate["servers"], replicate["stream"])
            for number in range(4, 7):
                await store.append(pay(number))
            await until(lambda: removed != [])
            async with standby.promote() as new:
                assert new.seq == 3
                await new.append(pay(7))
        rejoined = await rejoin(one, StoreConfig.of(None, replicate=replicate))
        assert (rejoined.last_shared, [event.seq for event in rejoined.set_aside]) == (3, [4, 5, 6])
        await follows_all(one, replicate, 4)
        await follows_all(one.with_name("new"), replicate, 4)
