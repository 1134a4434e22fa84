"""A standby: the same events and the same state, through restarts of everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio

from eventstore import EventStore, read_events, state_at, state_digest
from eventstore.errors import (
    ReplicationError,
    StoreClosedError,
    StoreReadOnlyError,
    StreamMismatchError,
)
from eventstore.replication import Standby
from eventstore.replication.connection import Connection
from eventstore.replication.standby_progress import StandbyPlaces
from eventstore.tools import make_backup
from tests.replication.test_shipping import opened
from tests.support.bank import Bank, bank_registry, pay

pytestmark = pytest.mark.asyncio


def followed(path: Path, replicate: dict[str, Any], **options: Any) -> Any:
    options = {"slow_sync": 3600.0, **options}  # a slow disk is no trouble of the cluster
    return Standby.open(path, bank_registry(), replicate=replicate, **options)


@pytest_asyncio.fixture
async def store(
    directories: list[Path], replicate: dict[str, Any]
) -> AsyncIterator[EventStore[Bank]]:
    async with opened(directories[0], replicate, wal_max_entries=20) as made:
        yield made


class TestSame:
    async def test_the_state_has_the_same_digest_at_each_number(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        for number in range(1, 31):
            await store.append(pay(number), key=f"k{number}")
        async with followed(other, replicate, wal_max_entries=10) as standby:
            await store.append(pay(31), pay(32), pay(33))
            await standby.wait_for(33)
            assert standby.state == store.state
            assert str(standby.store.cursor) == str(store.cursor)
            assert standby.lag.messages == 0
        assert list(read_events(other)) == list(read_events(one))
        for seq in (1, 15, 33):
            ours, theirs = (state_at(path, bank_registry(), seq) for path in (one, other))
            assert state_digest(ours) == state_digest(theirs)

    async def test_keys_are_known_after_a_promotion(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        for number in range(1, 31):
            await store.append(pay(number), key=f"k{number}")
        async with followed(directories[1], replicate, wal_max_entries=10) as standby:
            await standby.wait_for(30)
            async with standby.promote() as promoted:
                receipt = await promoted.append(pay(3), key="k3")
            assert (receipt.duplicate, receipt.seq) == (True, 3)

    async def test_it_goes_on_from_its_own_log(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        for number in range(1, 11):
            await store.append(pay(number))
        async with followed(directories[1], replicate) as standby:
            await standby.wait_for(10)
        for number in range(11, 21):
            await store.append(pay(number))
        async with followed(directories[1], replicate) as standby:
            assert standby.seq == 10
            await standby.wait_for(20)
            assert standby.state == store.state

    async def test_large_records_and_groups_arrive(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        large = "x" * 700_000
        async with followed(directories[1], replicate) as standby:
            await store.append(pay(1, large), pay(2, large), pay(3, large))
            await standby.wait_for(3)
            assert standby.state == store.state

    async def test_many_events_of_a_while_ago(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        for number in range(1, 3001):
            store.submit(pay(number))
            if not number % 100:
                await store.flush()
        async with followed(directories[1], replicate) as standby:
            await standby.wait_for(3000)
            assert standby.state == store.state


class TestBackups:
    async def test_it_begins_with_a_backup_where_the_stream_begins_later(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        for number in range(1, 11):
            await store.append(pay(number))
        place = str(directories[0].with_name("backup"))
        await asyncio.to_thread(make_backup, str(directories[0]), place)
        for number in range(11, 16):
            await store.append(pay(number))
        client = await nats.connect(replicate["servers"])
        records = f"eventstore.{replicate['stream']}.record"
        await client.jetstream().purge_stream(replicate["stream"], seq=8, subject=records)
        await client.close()
        async with followed(directories[1], replicate, backup=place) as standby:
            await standby.wait_for(15)
            assert standby.state == store.state
            assert str(standby.store.cursor) == str(store.cursor)


class TestReading:
    async def test_it_is_read_as_any_store_and_takes_no_event(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        await store.append(pay(1))
        async with followed(directories[1], replicate) as standby:
            await standby.wait_for(1)
            assert [event.seq async for event in standby.store.events()] == [1]
            for call in (standby.store.submit, standby.store.intend):
                with pytest.raises(StoreReadOnlyError, match="standby"):
                    call(pay(2))
            with pytest.raises(StoreReadOnlyError, match="standby"):
                await standby.store.append(pay(2))

    async def test_a_subscriber_hears_of_each_event(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        await store.append(pay(1))
        async with followed(directories[1], replicate) as standby:
            async with standby.store.subscribe(after=0) as events:
                await store.append(pay(2))
                seen = [await anext(events), await anext(events)]
            assert [event.seq for event in seen] == [1, 2]

    async def test_waiting_ends_with_the_standby(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        standby = await followed(directories[1], replicate)
        waiting = asyncio.ensure_future(standby.wait_for(5))
        await asyncio.sleep(0)
        await standby.close()
        with pytest.raises(StoreClosedError):
            await waiting
        with pytest.raises(StoreClosedError):
            await standby.promote()


class TestFaults:
    async def test_trouble_of_the_cluster_is_told_and_ends(
        self,
        store: EventStore[Bank],
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await store.append(pay(1))
        faults = [ReplicationError("no bucket", path="", servers="", stream="")] * 2

        class Places(StandbyPlaces):
            @classmethod
            async def of(cls, connection: Connection) -> StandbyPlaces:
                if faults:
                    raise faults.pop()
                return await StandbyPlaces.of(connection)

        monkeypatch.setattr("eventstore.replication.standby.StandbyPlaces", Places)
        async with followed(directories[1], replicate) as standby:
            await standby.wait_for(1)
            assert standby.store.stats().warnings == ()
        assert "the standby waits for the cluster: no bucket" in caplog.text
        assert "the standby follows again" in caplog.text

    async def test_events_that_are_gone_from_the_stream_are_named(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        for number in range(1, 6):
            await store.append(pay(number))
        client = await nats.connect(replicate["servers"])
        await client.jetstream().purge_stream(replicate["stream"], seq=5)
        await client.close()
        with pytest.raises(ReplicationError, match="no history"):
            await followed(directories[1], replicate)

    async def test_a_gap_is_refused(
        self, store: EventStore[Bank], directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        for number in range(1, 6):
            await store.append(pay(number))
        client = await nats.connect(replicate["servers"])
        await client.jetstream().delete_msg(replicate["stream"], 3)
        await client.close()
        async with followed(directories[1], replicate) as standby:
            with pytest.raises(StreamMismatchError, match="goes on with event 3"):
                await standby.wait_for(5)
            assert standby.seq == 1

    async def test_a_store_that_was_written_elsewhere_is_refused(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
            async with followed(other, replicate) as standby:
                await standby.wait_for(1)
            async with EventStore.open(other, bank_registry()) as apart:
                await apart.append(pay(9))
            await store.append(pay(2))
            await store.append(pay(3))
            async with followed(other, replicate) as standby:
                with pytest.raises(StreamMismatchError, match="another one than here"):
                    await standby.wait_for(3)

    async def test_a_record_that_comes_again_while_it_is_written_is_passed_over(
        self,
        store: EventStore[Bank],
        directories: list[Path],
        replicate: dict[str, Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for number in range(1, 6):
            await store.append(pay(number))
        client = await nats.connect(replicate["servers"])
        stream = client.jetstream()
        last = await stream.get_last_msg(
            replicate["stream"], f"eventstore.{replicate['stream']}.record"
        )
        own = {name: text for name, text in (last.headers or {}).items() if name[:4] != "Nats"}
        await stream.publish(last.subject or "", last.data or b"", headers=own)
        await client.close()
        async with followed(directories[1], replicate) as standby:
            await standby.wait_for(5)
        assert not [record for record in caplog.records if record.exc_info]
