"""From the writer's disk to the stream: order, resumption, and what an append waits for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import nats
import nats.js.errors
import pytest
from nats.js import JetStreamContext

from eventstore import EventStore
from eventstore.errors import (
    LeaseHeldError,
    OutcomeUnknownError,
    QuorumLostError,
    ReplicationError,
    ReplicationUnavailableError,
    StoreFailedError,
    StoreLockedError,
    StreamMismatchError,
)
from eventstore.replication import Standby
from eventstore.replication.connection import Connection
from tests.replication.cluster import Cluster
from tests.replication.plain_reader import read_stream
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio


def opened(path: Path, replicate: dict[str, Any], **options: Any) -> Any:
    """Open a store that says nothing of a slow disk."""
    options = {"slow_sync": 3600.0, **options}
    return EventStore.open(path, bank_registry(), replicate=replicate, **options)


async def opens(path: Path, replicate: dict[str, Any]) -> EventStore[Any]:
    found: EventStore[Any] = await opened(path, replicate)
    return found


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come"
        await asyncio.sleep(0.01)


async def in_stream(replicate: dict[str, Any]) -> list[int]:
    found = await read_stream(replicate["servers"], replicate["stream"])
    return [seq for seq, *_ in found]


class TestQuorum:
    async def test_what_is_acknowledged_is_in_the_stream(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            for number in range(1, 21):
                await store.append(pay(number), key=f"k{number}")
                assert store.stats().unreplicated == 0
            await store.append(pay(1), pay(2), pay(3))
            found = await read_stream(replicate["servers"], replicate["stream"])
        assert [seq for seq, *_ in found] == list(range(1, 24))
        assert [key for *_, key, _ in found[:20]] == [f"k{number}" for number in range(1, 21)]
        assert found[0][2] == {"op": "deposit", "account": "a", "amount": 1}

    async def test_an_event_without_a_quorum_is_neither_acknowledged_nor_published(
        self, cluster: Cluster, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate, commit_timeout=0.3) as store:
            await store.append(pay(1))
            for node in cluster.nodes[:2]:
                node.freeze()
            try:
                with pytest.raises(OutcomeUnknownError, match="the disk or the cluster") as caught:
                    await store.append(pay(2))
                assert (store.seq, store.state.balances["a"]) == (1, 1)
            finally:
                for node in cluster.nodes:
                    node.thaw()
            assert caught.value.receipt is not None
            await caught.value.receipt
            assert (store.seq, store.state.balances["a"]) == (2, 3)
        assert await in_stream(replicate) == [1, 2]

    async def test_closing_without_a_quorum_ends_and_says_so(
        self, cluster: Cluster, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        store = await opened(tmp_path, replicate)
        await store.append(pay(1))
        for node in cluster.nodes[:2]:
            node.freeze()
        try:
            receipt = store.submit(pay(2))
            with pytest.raises(StoreFailedError):
                await store.close()
            with pytest.raises(QuorumLostError, match="sent at the next opening"):
                await receipt
        finally:
            for node in cluster.nodes:
                node.thaw()
        async with opened(tmp_path, replicate) as store:
            assert store.seq == 2
            assert await in_stream(replicate) == [1, 2]

    async def test_an_opening_without_a_cluster_is_refused(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        replicate["servers"] = ["nats://127.0.0.1:1"]
        with pytest.raises(ReplicationUnavailableError, match=r"127\.0\.0\.1:1"):
            await opened(tmp_path, replicate)
        async with EventStore.open(tmp_path, bank_registry(), create=False) as store:
            assert store.seq == 0  # the lock was given back

    async def test_an_opening_waits_for_a_server_that_starts(
        self, tmp_path: Path, replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = JetStreamContext.create_key_value
        refusals = [
            nats.js.errors.BadRequestError(code=400, err_code=10005, description="peer offline")
            for _ in range(2)
        ]

        async def makes(stream: JetStreamContext, *given: Any, **options: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return await make(stream, *given, **options)

        monkeypatch.setattr(JetStreamContext, "create_key_value", makes)
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
            assert not refusals
            assert store.stats().warnings == ()

    async def test_a_cancelled_opening_leaves_nothing_behind(
        self,
        cluster: Cluster,
        tmp_path: Path,
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
        monkeypatch.setattr("eventstore.replication.shipping_thread.OPENING_SECONDS", 1.0)
        for node in cluster.nodes[:2]:
            node.freeze()
        try:
            opening = asyncio.ensure_future(opens(tmp_path, replicate))
            await asyncio.sleep(0.3)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        finally:
            for node in cluster.nodes:
                node.thaw()
        await until(lambda: not any("replication" in one.name for one in threading.enumerate()))
        end = time.monotonic() + 20
        while True:  # the thread of the opening frees the lock a moment later
            try:
                store = await EventStore.open(tmp_path, bank_registry(), create=False)
                break
            except StoreLockedError:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
        assert store.seq == 1
        await store.close()


class TestLocal:
    async def test_an_absent_cluster_holds_nothing_up_and_gets_all_later(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        servers = replicate["servers"]
        replicate |= {"acknowledge": "local", "servers": ["nats://127.0.0.1:1"]}
        async with opened(tmp_path, replicate, segment_size=4096) as store:
            for number in range(1, 201):
                await store.append(pay(number))
            stats = store.stats()
            assert stats.unreplicated == 200
            assert stats.unreplicated_bytes > 200 * 20
            assert stats.unreplicated_seconds > 0
            assert any("cluster" in text for text in stats.warnings)
        replicate["servers"] = servers
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(201))
            await until(lambda: store.stats().unreplicated == 0)
        assert await in_stream(replicate) == list(range(1, 202))

    async def test_a_cluster_that_went_away_is_taken_up_again(
        self, cluster: Cluster, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        """By the writer, and by a standby."""
        replicate["acknowledge"] = "local"
        async with opened(directories[0], replicate) as store:
            await store.append(pay(1))
            standby = await Standby.open(directories[1], bank_registry(), replicate=replicate)
            await standby.wait_for(1)
            for node in cluster.nodes:
                node.kill()
            for number in range(2, 50):
                await store.append(pay(number))
            await until(lambda: standby.lag.messages > 0)
            for node in cluster.nodes:
                node.start()
            await cluster.ready()
            await store.append(pay(50))
            await until(lambda: store.stats().unreplicated == 0)
            assert store.stats().warnings == ()
            await standby.wait_for(50)
            assert standby.lag.messages == 0
            await standby.close()
        assert await in_stream(replicate) == list(range(1, 51))


class TestUnforeseen:
    @pytest.mark.parametrize(
        "fault",
        [
            AttributeError("'NoneType' object has no attribute 'drain'"),
            ReplicationError("the credentials were revoked", path="", servers="", stream=""),
        ],
    )
    async def test_trouble_of_every_kind_holds_nobody_up_and_ends(
        self,
        tmp_path: Path,
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        fault: Exception,
    ) -> None:
        replicate["acknowledge"] = "local"
        monkeypatch.setattr("eventstore.replication.shipping_thread._FAULT_RETRY", 0.1)
        faults: list[Exception] = []

        def sends(connection: Connection, *given: Any) -> None:
            if faults:
                raise faults.pop()
            send(connection, *given)

        send = Connection.send
        monkeypatch.setattr(Connection, "send", sends)
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
            await until(lambda: store.stats().unreplicated == 0)
            faults += [fault, fault]
            await store.append(pay(2))
            await until(lambda: store.stats().warnings != ())
            await store.append(pay(3))
            await until(lambda: store.stats().unreplicated == 0)
            await until(lambda: store.stats().warnings == ())
        assert await in_stream(replicate) == [1, 2, 3]


class TestOrder:
    async def test_a_second_writer_is_refused_by_the_lease(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
            with pytest.raises(StreamMismatchError, match="another one"):
                await opened(other, replicate)
            await store.append(pay(2))

    async def test_a_copy_of_the_directory_is_refused_while_the_writer_lives(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
        shutil.copytree(one, other)
        (other / "replica.json").unlink()  # as `eventstore copy` leaves out
        async with opened(one, replicate) as store:
            with pytest.raises(LeaseHeldError, match="holds the lease"):
                await opened(other, replicate)
            await store.append(pay(2))

    async def test_another_message_in_between_is_found_out_and_nothing_is_stored_twice(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
            client = await nats.connect(replicate["servers"])
            stream = client.jetstream()
            last = await stream.get_last_msg(
                replicate["stream"], f"eventstore.{replicate['stream']}.record"
            )
            subject, data = f"eventstore.{replicate['stream']}.record", last.data or b""
            with pytest.raises(nats.js.errors.BadRequestError, match="wrong last sequence"):
                await stream.publish(subject, data, headers=last.headers)
            headers = dict(last.headers or {})
            del headers["Nats-Expected-Last-Sequence"]
            await stream.publish(subject, data, headers=headers)  # somebody else's doing
            await client.close()
            await store.append(pay(2))
        assert await in_stream(replicate) == [1, 1, 2]
        async with Standby.open(tmp_path / "b", bank_registry(), replicate=replicate) as standby:
            await standby.wait_for(2)
            assert standby.state.balances["a"] == 3

    async def test_a_record_larger_than_a_message_arrives_whole(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        large = "x" * 700_000
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1, large), pay(2, large), pay(3, large))
            await store.append(pay(4))
        assert await in_stream(replicate) == [1, 2, 3, 4]

    async def test_a_purged_stream_gets_all_events_again(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            for number in range(1, 6):
                await store.append(pay(number))
        client = await nats.connect(replicate["servers"])
        await client.jetstream().purge_stream(replicate["stream"])
        await client.close()
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(6))
        assert await in_stream(replicate) == [1, 2, 3, 4, 5, 6]

    async def test_a_deleted_stream_is_made_again(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate, commit_timeout=20.0) as store:
            await store.append(pay(1))
            client = await nats.connect(replicate["servers"])
            await client.jetstream().delete_stream(replicate["stream"])
            await client.close()
            await store.append(pay(2))
        assert await in_stream(replicate) == [1, 2]

    async def test_an_older_copy_is_refused_unless_it_is_the_writers_own_directory(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        path, copy = tmp_path / "store", tmp_path / "older"
        async with opened(path, replicate) as store:
            await store.append(pay(1))
        shutil.copytree(path, copy)
        async with opened(path, replicate) as store:
            await store.append(pay(2))
        identity = (copy / "replica.json").read_bytes()
        for content in (None, b'{"id":"of a standby"}', b"damaged"):
            (copy / "replica.json").unlink()
            if content is not None:
                (copy / "replica.json").write_bytes(content)
            with pytest.raises(StreamMismatchError, match="Promote a standby") as caught:
                await opened(copy, replicate)
            assert (caught.value.last_shared, caught.value.last) == (1, 2)
        (copy / "replica.json").write_bytes(identity)
        async with opened(copy, replicate) as store:
            assert (store.seq, store.recovery.adopted) == (2, 1)

    async def test_two_copies_with_other_events_are_told_apart(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        path, copy = tmp_path / "store", tmp_path / "copy"
        async with opened(path, replicate) as store:
            await store.append(pay(1))
        shutil.copytree(path, copy)
        async with EventStore.open(copy, bank_registry()) as store:
            await store.append(pay(7))
        async with opened(path, replicate) as store:
            await store.append(pay(2))
        with pytest.raises(StreamMismatchError, match="event 2 is another one there"):
            await opened(copy, replicate)


class TestFormat:
    async def test_the_reader_of_the_format_page(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        page = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
        source = page.partition("## The stream")[2].partition("```python\n")[2].partition("```")[0]
        assert source.partition("async def")[2].count("\n") <= 20
        names: dict[str, Any] = {"struct": struct, "zlib": zlib, "msgspec": msgspec}
        exec(source, names)
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1), key="k")
            await store.append(pay(2, "x" * 700_000), pay(3, "x" * 700_000))
            client = await nats.connect(replicate["servers"])
            jetstream = client.jetstream()
            await jetstream.delete_msg(replicate["stream"], 1)  # numbers may be missing
            found = await names["read_stream"](jetstream, replicate["stream"])
            await client.close()
        assert [(seq, key) for seq, _, _, key, _ in found] == [(1, "k"), (2, None), (3, None)]


class TestEvents:
    async def test_decoded_events_are_published_as_json(
        self, tmp_path: Path, replicate: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        client = await nats.connect(replicate["servers"])
        subscription = await client.subscribe(f"events.{replicate['stream']}.>")
        await client.flush()
        replicate["publish_events"] = "events"
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(4, "x" * 2_000_000))  # larger than a message: passed over
            await store.append(pay(5), key="k")
            message = await subscription.next_msg(timeout=10)
            assert store.stats().unreplicated == 0
        with contextlib.suppress(nats.errors.Error):
            await client.close()
        assert message.subject == f"events.{replicate['stream']}.deposit"
        found = json.loads(message.data)
        assert (found["seq"], found["key"], found["data"]["amount"]) == (2, "k", 5)
        assert "event 1 is not published as JSON" in caplog.text
