"""Retention: a copy in the cluster, and a stream that keeps no more than somebody needs."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import nats
import nats.js.errors
import pytest
from nats.js.kv import KeyValue
from nats.js.object_store import ObjectStore

from eventstore import EventStore, StoreConfig, read_events
from eventstore.disk.local import LocalDisk
from eventstore.errors import (
    ConfigError,
    FencedError,
    ReplicationError,
    ReplicationUnavailableError,
    StreamMismatchError,
)
from eventstore.replication import Standby, rejoin, stream_status, trim
from eventstore.replication.backup_place import ClusterPlace
from eventstore.replication.connecting import connect
from eventstore.replication.standby_progress import StandbyPlaces
from eventstore.tools.backup.copying import backup
from tests.replication.plain_reader import repeat
from tests.replication.slow_sending import send_slowly
from tests.replication.test_failover import fenced_pair
from tests.replication.test_shipping import in_stream, opened, until
from tests.replication.test_standby import followed
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio


def config(replicate: dict[str, Any]) -> StoreConfig:
    return StoreConfig.of(None, replicate=replicate)


async def connected(replicate: dict[str, Any]) -> Any:
    settings = config(replicate).replicate
    assert settings is not None
    return await connect("here", settings)


async def append(store: EventStore[Any], first: int, last: int) -> None:
    for number in range(first, last + 1):
        await store.append(pay(number), key=f"k{number}")


async def append_past_standby(
    store: EventStore[Any], other: Path, replicate: dict[str, Any]
) -> None:
    """Append 20 events. The standby in `other` has ten of them, and is gone."""
    await append(store, 1, 10)
    async with followed(other, replicate) as standby:
        await standby.wait_for(10)
    await append(store, 11, 20)


class TestTrimming:
    async def test_a_new_standby_begins_with_the_copy_and_has_every_event(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate, wal_max_entries=10, segment_size=4096) as store:
            await append(store, 1, 30)
            found = await trim(one, config(replicate))
            assert (found.copied, found.oldest_standby) == (30, None)
            assert found.bytes < found.bytes_before / 5
            await append(store, 31, 35)
            assert await in_stream(replicate) == [30, 31, 32, 33, 34, 35]
            async with followed(other, replicate) as standby:
                await standby.wait_for(35)
                assert standby.state == store.state
                assert str(standby.store.cursor) == str(store.cursor)
                assert list(read_events(other)) == list(read_events(one))
                async with standby.promote() as promoted:
                    assert (await promoted.append(pay(3), key="k3")).duplicate
                    await append(promoted, 36, 40)
                    assert (await trim(other, config(replicate))).copied == 40

    async def test_trimming_waits_for_a_writer_that_sends_again(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With the writer lost meanwhile, the standby would have to go on without the events."""
        one, other = directories
        async with opened(one, replicate, commit_timeout=30.0) as store:
            await append_past_standby(store, other, replicate)
            sent = send_slowly(monkeypatch, 0.05)
            await repeat(replicate["servers"], replicate["stream"], 19)
            appending = asyncio.ensure_future(append(store, 21, 21))
            await until(lambda: sent[-3:-1] == [2, 3])
            await trim(one, config(replicate))
            found = await in_stream(replicate)
            assert set(found) >= set(range(10, 22))
            assert found[-11:] == list(range(11, 22))
            await appending

    async def test_a_standby_ahead_of_the_stream_stops_the_trimming(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        replicate["lease"] = 1.0
        async with opened(one, replicate) as store:
            await append_past_standby(store, other, replicate)
        await repeat(replicate["servers"], replicate["stream"], 14)
        with pytest.raises(ReplicationError, match="a standby has event 10, and the stream ends"):
            await trim(one, config(replicate))
        assert (await in_stream(replicate))[:20] == list(range(1, 21))

    async def test_without_the_copy_a_new_standby_is_told_how_to_get_one(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await append(store, 1, 5)
            await trim(one, config(replicate))
            connection = await connected(replicate)
            await connection.stream.delete_object_store(f"{replicate['stream']}-copy")
            await connection.close()
            with pytest.raises(ReplicationError, match="eventstore replication trim"):
                await Standby.open(other, bank_registry(), replicate=replicate)
            await trim(one, config(replicate))
            async with followed(other, replicate) as standby:
                await standby.wait_for(5)

    async def test_the_stream_keeps_what_an_absent_standby_lacks(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await append_past_standby(store, other, replicate)
            found = await trim(one, config(replicate))
            assert (found.copied, found.oldest_standby) == (20, 10)
            status = await stream_status(one, config(replicate))
            assert (status.copied, list(status.standbys.values())) == (20, [10])
            (standby_id,) = status.standbys
            assert standby_id in (other / "replica.json").read_text()
            assert f"a copy up to event 20, standby {standby_id} at event 10" in status.told
            assert await in_stream(replicate) == list(range(10, 21))
            async with followed(other, replicate) as standby:
                await standby.wait_for(20)
                assert standby.state == store.state

    async def test_a_standby_whose_last_event_was_trimmed_hears_of_the_new_timeline(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        third = one.with_name("three")
        async with opened(one, replicate) as old:
            await append(old, 1, 3)
            async with followed(third, replicate) as standby:
                await standby.wait_for(3)
            standby = await followed(other, replicate)
            await standby.wait_for(3)
        async with standby.promote() as new:
            await append(new, 4, 6)
            assert (await trim(other, config(replicate))).oldest_standby == 3
            assert await in_stream(replicate) == [4, 5, 6]
            async with followed(third, replicate) as standby:
                await standby.wait_for(6)
                timelines = standby.store.log.lineage.timelines
                assert timelines == new.log.lineage.timelines

    async def test_a_stream_that_grows_is_trimmed_by_the_writer(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        settings = replicate | {"lease": 1.0, "trim_above": 65_536}
        connection = await connected(replicate)
        places = await StandbyPlaces.of(connection)
        await places.tell("gone", 0)
        async with opened(directories[0], settings) as store:
            for number in range(1, 18):
                await store.append(pay(number, "x" * 10_000))
            await until(
                lambda: any("standby with event 0" in one for one in store.stats().warnings)
            )
            await places.forget("gone")
            for number in range(18, 21):
                await store.append(pay(number, "x" * 10_000))
            end = asyncio.get_running_loop().time() + 20
            while await connection.size() > 20_000:
                assert asyncio.get_running_loop().time() < end
                await asyncio.sleep(0.1)
            assert await in_stream(replicate) == [20]
            await store.append(pay(21))
            await until(lambda: not any("trimmed" in one for one in store.stats().warnings))
        await connection.close()

    async def test_a_copy_goes_no_further_than_the_stream_for_a_new_standby(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        """With `local`, a copy may have events that the promoted standby never had."""
        one = directories[0]
        local = replicate | {"acknowledge": "local"}
        old, new = await fenced_pair(directories, local)
        connection = await connected(replicate)
        place = await ClusterPlace.of(connection)
        await old.close()
        async with EventStore.open(one, bank_registry()) as alone:
            await append(alone, 4, 8)
        await asyncio.to_thread(lambda: backup(LocalDisk(one, read_only=True), place))
        place.close()
        await connection.purge_records(await connection.last_number())
        await append(new, 4, 5)
        async with followed(one.with_name("three"), replicate) as standby:
            await standby.wait_for(5)
            assert standby.state == new.state
        await new.close()
        await connection.close()


class TestRefusals:
    async def test_only_the_writers_directory(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        old, new = await fenced_pair(directories, replicate)
        with pytest.raises(StreamMismatchError, match="in timeline 1"):
            await trim(directories[0], config(replicate))
        await old.close()
        await new.close()
        with pytest.raises(ConfigError, match="replicate"):
            await trim(directories[0], StoreConfig())

    async def test_a_copy_that_lacks_an_object(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        async with opened(directories[0], replicate) as store:
            await append(store, 1, 3)
            await trim(directories[0], config(replicate))
            await append(store, 4, 6)
            connection = await connected(replicate)
            place = await ClusterPlace.of(connection)
            name = min(await asyncio.to_thread(place.list, "data/"))
            await asyncio.to_thread(place.remove, name)
            with pytest.raises(ReplicationError, match="lacks 1 objects"):
                await trim(directories[0], config(replicate))
            assert await in_stream(replicate) == [3, 4, 5, 6]
            await connection.close()


class TestPlace:
    async def test_objects_are_written_once(self, replicate: dict[str, Any]) -> None:
        connection = await connected(replicate)
        place = await ClusterPlace.of(connection)
        large = bytes(range(256)) * 2000

        def use() -> None:
            assert place.list("") == {}
            assert place.put_new("data/a", large)
            assert not place.put_new("data/a", b"other")
            assert place.put_new("data/empty", b"")
            assert (place.get("data/a"), place.get("data/empty")) == (large, b"")
            assert place.put_new("catalogs/1", b"c")
            assert place.list("data/") == {"data/a": len(large), "data/empty": 0}
            place.remove("data/a")
            place.remove("data/a")
            with pytest.raises(FileNotFoundError):
                place.get("data/a")
            assert place.put_new("data/a", b"again")
            assert place.get("data/a") == b"again"
            place.close()

        await asyncio.to_thread(use)
        assert "copy" in repr(place)
        await connection.close()

    async def test_a_waiting_thread_ends_with_the_place(
        self, replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = await connected(replicate)
        place = await ClusterPlace.of(connection)

        async def never(name: str) -> bytes:
            await asyncio.Event().wait()
            return b""

        monkeypatch.setattr(place, "_get", never)
        getting = asyncio.ensure_future(asyncio.to_thread(place.get, "data/a"))
        await asyncio.sleep(0)
        place.close()
        with pytest.raises(ReplicationUnavailableError, match="given up"):
            await getting
        await connection.close()

    async def test_any_client_reads_the_objects(self, replicate: dict[str, Any]) -> None:
        connection = await connected(replicate)
        place = await ClusterPlace.of(connection)
        await asyncio.to_thread(place.put_new, "data/a", b"content")
        client = await nats.connect(replicate["servers"])
        store = await client.jetstream().object_store(f"{replicate['stream']}-copy")
        assert (await store.get("data/a")).data == b"content"
        await client.close()
        await connection.close()


async def test_a_promoted_standby_is_waited_for_no_more(
    directories: list[Path], replicate: dict[str, Any]
) -> None:
    old, new = await fenced_pair(directories, replicate)
    connection = await connected(replicate)
    assert await (await StandbyPlaces.of(connection)).all() == {}
    await connection.close()
    await old.close()
    await new.close()


async def test_a_bucket_that_a_server_does_not_know_yet_is_tried_again(
    replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await connected(replicate)
    await connection.ensure_stream()
    places = await StandbyPlaces.of(connection)
    put, refusals = KeyValue.put, [nats.js.errors.NoStreamResponseError() for _ in range(3)]

    async def put_in_the_end(bucket: KeyValue, key: str, value: bytes) -> int:
        if refusals:
            raise refusals.pop()
        return await put(bucket, key, value)

    monkeypatch.setattr(KeyValue, "put", put_in_the_end)
    await places.tell("new", 7)
    assert await places.all() == {"new": 7}
    await connection.close()


async def test_copies_from_two_machines_in_turn_are_whole(
    directories: list[Path], replicate: dict[str, Any]
) -> None:
    """Their segments have the same names and events, and not the same bytes."""
    one, other = directories
    replicate["lease"] = 60.0  # else the old writer may know that it is fenced before it writes
    old, new = await fenced_pair(directories, replicate)
    with pytest.raises(FencedError):
        await old.append(pay(9))
    await old.close()
    assert (await rejoin(one, config(replicate))).set_aside  # the segment was made anew
    async with followed(one, replicate) as standby:
        for number in range(4, 7):
            await append(new, number, number)
            await standby.wait_for(number)
        await new.close()
        async with standby.promote() as again:
            await append(again, 7, 9)
            assert (await rejoin(other, config(replicate))).last_shared == 6
            async with followed(other, replicate) as follower:
                await follower.wait_for(9)
                await trim(one, config(replicate))
                await append(again, 10, 10)
                await follower.wait_for(10)
                await trim(other, config(replicate))
    async with followed(one.with_name("new"), replicate) as fresh:
        await fresh.wait_for(10)
    assert list(read_events(one.with_name("new"))) == list(read_events(one))


async def test_a_server_that_is_behind_lists_no_bucket(
    directories: list[Path], replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client library asks any server, such as one that knows nothing yet."""

    async def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    monkeypatch.setattr(ObjectStore, "list", nothing)
    monkeypatch.setattr(KeyValue, "keys", nothing)
    one, other = directories
    async with opened(one, replicate) as store:
        await append_past_standby(store, other, replicate)
        for last in (20, 30):
            found = await trim(one, config(replicate))
            assert (found.copied, found.oldest_standby) == (last, 10)
            await append(store, last + 1, last + 10)
        shutil.rmtree(other)
        connection = await connected(replicate)
        places = await StandbyPlaces.of(connection)
        for name in await places.all():
            await places.forget(name)
        await connection.close()
        assert (await trim(one, config(replicate))).copied == 40
        async with followed(other, replicate) as standby:
            assert standby.seq == 40
