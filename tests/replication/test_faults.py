"""Faults of the cluster and of the way to it, each by itself: what goes on, and what is said."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import nats.js.errors
import pytest
import pytest_asyncio
from nats.js import JetStreamContext

from eventstore import StoreConfig
from eventstore.disk.local_file import LocalFile
from eventstore.errors import (
    FencedError,
    OutcomeUnknownError,
    StoreFullError,
    StreamMismatchError,
)
from eventstore.operator_log import operator_log
from eventstore.replication import rejoin
from eventstore.replication.server_fsync import watch_syncs
from eventstore.replication_config import ReplicationConfig
from eventstore.standing_warnings import StandingWarnings
from tests.real.children import Child
from tests.replication.cluster import Cluster, Node, free_ports
from tests.replication.machine import follow
from tests.replication.plain_reader import read_stream
from tests.replication.proxy import Proxy
from tests.replication.test_failover import append_on, fenced_pair
from tests.replication.test_shipping import in_stream, opened, until
from tests.replication.test_standby import followed
from tests.support.bank import pay

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def jetstream(cluster: Cluster) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(cluster.urls)
    yield client.jetstream()
    await client.close()


async def limit(stream: JetStreamContext, name: str, most: int) -> None:
    """Let a stream have so many bytes at most, -1 for any."""
    settings = (await stream.stream_info(name)).config
    settings.max_bytes = most
    await stream.update_stream(settings)


async def last_of(stream: JetStreamContext, name: str) -> int:
    return (await stream.stream_info(name)).state.last_seq


async def last_message(stream: JetStreamContext, name: str, subject: str = "*") -> int:
    """Return the number of the last message that is there, 0 for none."""
    try:
        return (await stream.get_last_msg(name, f"eventstore.{name}.{subject}")).seq or 0
    except nats.js.errors.NotFoundError:
        return 0


class TestFull:
    @pytest.mark.parametrize("acknowledge", ["local", "quorum"])
    async def test_a_full_stream_takes_everything_once_there_is_room(
        self,
        jetstream: JetStreamContext,
        tmp_path: Path,
        replicate: dict[str, Any],
        acknowledge: str,
    ) -> None:
        replicate["acknowledge"] = acknowledge
        async with opened(tmp_path, replicate, commit_timeout=0.3) as store:
            await store.append(pay(1))
            await until(lambda: store.stats().unreplicated == 0)
            await limit(jetstream, replicate["stream"], 1000)
            if acknowledge == "local":
                receipt = await store.append(pay(2, "x" * 1000))
            else:
                with pytest.raises(OutcomeUnknownError) as caught:
                    await store.append(pay(2, "x" * 1000))
                assert caught.value.receipt is not None
                receipt = caught.value.receipt
                assert store.seq == 1
            await until(lambda: any("maximum bytes" in one for one in store.stats().warnings))
            assert store.stats().unreplicated == 1
            await limit(jetstream, replicate["stream"], -1)
            await receipt
            await store.append(pay(3))
            await until(lambda: store.stats().unreplicated == 0)
            await until(lambda: not any("cluster" in one for one in store.stats().warnings))
        assert await in_stream(replicate) == [1, 2, 3]

    async def test_a_closing_that_waits_for_the_cluster_says_so(
        self,
        jetstream: JetStreamContext,
        tmp_path: Path,
        replicate: dict[str, Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        replicate["acknowledge"] = "local"
        async with opened(tmp_path, replicate, slow_sync=1.0) as store:
            await store.append(pay(1))
            await until(lambda: store.stats().unreplicated == 0)
            await limit(jetstream, replicate["stream"], 1000)
            await store.append(pay(2, "x" * 1000))
        assert "the disk or the cluster has not answered" in caplog.text
        assert "the disk has not answered" not in caplog.text

    async def test_a_standby_waits_for_room_on_its_own_disk(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        one, other = directories
        full, write = [False], LocalFile.write

        def writing(file: LocalFile, offset: int, data: Any) -> int:
            if full[0] and file._root == str(other) and file.name.startswith("log/"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(file, offset, data)

        monkeypatch.setattr(LocalFile, "write", writing)
        monkeypatch.setattr("eventstore.replication.standby._ROOM_RETRY", 0.05)
        async with opened(one, replicate) as store, followed(other, replicate) as standby:
            await store.append(pay(1), key="k1")
            await standby.wait_for(1)
            full[0] = True
            for number in range(2, 12):
                await store.append(pay(number), key=f"k{number}")
            await until(lambda: any("room" in one for one in standby.store.stats().warnings))
            await asyncio.sleep(0.2)  # through some more attempts
            assert (standby.seq, standby.failure) == (1, None)
            await until(lambda: standby.lag.messages > 0)
            with pytest.raises(StoreFullError):
                await standby.promote()
            full[0] = False
            await store.append(pay(12), key="k12")
            await standby.wait_for(12)
            assert not any("room" in one for one in standby.store.stats().warnings)
            assert str(standby.store.cursor) == str(store.cursor)
            assert standby.state == store.state
        said = [record.getMessage() for record in caplog.records]
        assert sum("waits for room" in one for one in said) == 1
        assert sum("goes on" in one for one in said) == 1

    async def test_a_server_without_room_on_its_disk(self, tmp_path: Path) -> None:
        cluster = Cluster(tmp_path, size=1, jetstream=", max_file_store: 400KB")
        replicate = {"servers": cluster.urls, "stream": "bot", "replicas": 1}
        try:
            cluster.start_nodes()
            await cluster.ready()
            async with opened(tmp_path / "s", replicate) as store:
                for number in range(1, 21):
                    await store.append(pay(number, "x" * 50_000))
                await until(lambda: any("resource" in one for one in store.stats().warnings))
                assert store.stats().unreplicated > 0
                (node,) = cluster.nodes
                node.kill()
                node.configure("400KB", "40MB")
                node.start()
                await until(lambda: store.stats().unreplicated == 0)
            assert await in_stream(replicate) == list(range(1, 21))
        finally:
            cluster.stop()


class TestPartition:
    @pytest.mark.parametrize("acknowledge", ["local", "quorum"])
    async def test_a_writer_cut_off_for_longer_than_its_lease(
        self,
        cluster: Cluster,
        directories: list[Path],
        replicate: dict[str, Any],
        acknowledge: str,
    ) -> None:
        one, other = directories
        replicate |= {"acknowledge": acknowledge, "lease": 1.0}
        async with Proxy(cluster.nodes[0].port) as proxy:
            old = await opened(one, replicate | {"servers": [proxy.url]})
            await old.append(pay(1))
            standby = await followed(other, replicate)
            await standby.wait_for(1)
            proxy.cut()
            late = old.submit(pay(9), key="late")
            new = await standby.promote_when_free()
            await new.append(pay(2))
            proxy.heal()  # what the old writer sent arrives now
            if acknowledge == "quorum":
                with pytest.raises(FencedError):
                    await late
                assert old.seq == 1
            else:
                assert (await late).seq == 2
            with pytest.raises(FencedError):
                await append_on(old)
            await old.close()
            await new.append(pay(3))
            await until(lambda: new.stats().unreplicated == 0)
            assert await in_stream(replicate) == [1, 2, 3]
            found = await rejoin(one, StoreConfig.of(None, replicate=replicate))
            assert (found.last_shared, found.set_aside[0].key) == (1, "late")
            async with followed(one, replicate) as back:
                await back.wait_for(3)
                assert back.state == new.state
            await new.close()

    async def test_one_server_less_holds_nothing_up(
        self, cluster: Cluster, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
            leader = await cluster.leader(replicate["stream"])
            follower = next(node for node in cluster.nodes if node is not leader)
            replicate["servers"] = [leader.url]
        async with opened(tmp_path, replicate, commit_timeout=5.0) as store:
            follower.kill()
            try:
                for number in range(2, 6):
                    await store.append(pay(number))
            finally:
                follower.start()
            await cluster.ready()
        assert await in_stream(replicate) == [1, 2, 3, 4, 5]


class TestServers:
    async def test_the_leader_is_killed_amid_appends(
        self, cluster: Cluster, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        """Nothing acknowledged is missing or doubled, and the standby goes on."""
        one, other = directories
        async with opened(one, replicate, commit_timeout=60.0) as store:
            await store.append(pay(1))
            async with followed(other, replicate) as standby:
                leader = await cluster.leader(replicate["stream"])
                receipts = [store.submit(pay(number), key=f"k{number}") for number in range(2, 10)]
                leader.kill()
                try:
                    receipts += [
                        await store.append(pay(number), key=f"k{number}")
                        for number in range(10, 13)
                    ]
                    assert [receipt.seq for receipt in receipts] == list(range(2, 13))
                    assert await cluster.leader(replicate["stream"]) is not leader
                    await standby.wait_for(12)
                    assert str(standby.store.cursor) == str(store.cursor)
                finally:
                    leader.start()
        found = await read_stream(replicate["servers"], replicate["stream"])
        assert [seq for seq, *_ in found] == list(range(1, 13))
        assert [key for *_, key, _ in found] == [None, *(f"k{number}" for number in range(2, 13))]


class TestHands:
    """What somebody does to a stream by hand."""

    @pytest.mark.parametrize("kind", ["purged", "deleted"])
    async def test_a_stream_without_messages_still_fences_the_old_writer(
        self,
        jetstream: JetStreamContext,
        directories: list[Path],
        replicate: dict[str, Any],
        kind: str,
    ) -> None:
        one, other = directories
        name = replicate["stream"]
        old, new = await fenced_pair(directories, replicate)
        await new.append(pay(4))
        await new.close()
        if kind == "purged":
            await jetstream.purge_stream(name)
        else:
            await jetstream.delete_stream(name)
        with pytest.raises(FencedError) as caught:  # while it is open, and at its next opening
            await append_on(old)
        assert (caught.value.timeline, caught.value.last_shared) == (2, 3)
        await old.close()
        with pytest.raises(FencedError, match="timeline 2"):
            await opened(one, replicate)
        assert await last_message(jetstream, name) == 0
        found = await rejoin(one, StoreConfig.of(None, replicate=replicate))
        assert found.last_shared == 3
        async with opened(other, replicate) as new:  # sends everything again
            await new.append(pay(5))
            assert await in_stream(replicate) == [1, 2, 3, 4, 5]
            async with followed(one, replicate) as back:
                await back.wait_for(5)
                assert str(back.store.cursor) == str(new.cursor)

    async def test_an_empty_stream_of_another_store_is_not_taken(
        self, jetstream: JetStreamContext, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        name = replicate["stream"]
        old, new = await fenced_pair(directories, replicate)
        await old.close()
        await new.close()
        await jetstream.purge_stream(name)
        foreign = directories[0].with_name("foreign")
        with pytest.raises(StreamMismatchError, match=f"nats kv del {name}-history"):
            await opened(foreign, replicate)
        await jetstream.delete_key_value(f"{name}-history")
        async with opened(foreign, replicate) as store:
            await store.append(pay(1))

    async def test_the_last_message_is_deleted(
        self, jetstream: JetStreamContext, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
            await store.append(pay(2))
        name = replicate["stream"]
        await jetstream.delete_msg(name, await last_of(jetstream, name))
        async with opened(one, replicate) as store:
            assert await in_stream(replicate) == [1, 2]
            await store.append(pay(3))
            await jetstream.delete_msg(name, await last_of(jetstream, name))
            standby = await followed(other, replicate)
            await standby.wait_for(2)
        async with standby.promote() as new:
            assert new.seq == 2

    async def test_histories_removed_after_a_promotion_leave_the_old_writer_fenced(
        self, jetstream: JetStreamContext, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        old, new = await fenced_pair(directories, replicate)
        await old.close()
        await new.append(pay(4))
        await new.close()
        name = replicate["stream"]
        await jetstream.purge_stream(name, subject=f"eventstore.{name}.history")
        with pytest.raises(FencedError) as caught:
            await opened(one, replicate)
        assert (caught.value.timeline, caught.value.last_shared) == (2, 3)
        async with followed(one.with_name("new"), replicate) as standby:  # by the kept history
            await standby.wait_for(4)
        async with opened(other, replicate) as new:  # sends its history again
            await new.append(pay(5))
            assert await last_message(jetstream, name, "history") > 0
            await rejoin(one, StoreConfig.of(None, replicate=replicate))
            async with followed(one, replicate) as back:
                await back.wait_for(5)
                assert back.store.log.lineage.timelines == new.log.lineage.timelines

    async def test_a_stream_made_anew_is_followed_from_its_beginning(
        self, jetstream: JetStreamContext, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate, commit_timeout=20.0) as store:
            for number in range(1, 6):
                await store.append(pay(number))
            async with followed(other, replicate) as standby:
                await standby.wait_for(5)
                await jetstream.delete_stream(replicate["stream"])
                await store.append(pay(6))
                while await last_of(jetstream, replicate["stream"]) < 6:
                    await store.append(pay(7))
                await standby.wait_for(store.seq)  # by the last number, nothing is new
                assert standby.state == store.state


class TestParts:
    async def test_a_writer_that_died_between_two_parts_sends_the_record_again(
        self, jetstream: JetStreamContext, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
            await store.append(*(pay(number, "x" * 700_000) for number in range(1, 4)))
        name = replicate["stream"]
        last = await last_of(jetstream, name)
        await jetstream.delete_msg(name, last)  # as if it had never been sent
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(2))
        assert await in_stream(replicate) == [1, 2, 3, 4, 5]

    async def test_a_standby_goes_on_behind_a_record_of_many_parts(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
            async with followed(other, replicate) as standby:
                await standby.wait_for(1)
            await store.append(*(pay(number, "x" * 700_000) for number in range(1, 6)))
            async with followed(other, replicate) as standby:
                await standby.wait_for(6)
            await store.append(pay(2))
            async with followed(other, replicate) as standby:
                await standby.wait_for(7)
                assert standby.state == store.state


async def test_a_standby_killed_at_any_moment_goes_on(
    directories: list[Path], replicate: dict[str, Any]
) -> None:
    one, other = directories
    async with opened(one, replicate) as store:
        await store.append(pay(1))
        ended = False

        async def appending() -> None:
            while not ended:
                await store.append(pay(1))

        work = asyncio.ensure_future(appending())
        for pause in (0.0, 0.05, 0.2):
            child = Child(follow, other, replicate, "b")
            report = await asyncio.to_thread(child.report)
            while report[0] != "follows":
                report = await asyncio.to_thread(child.report)
            await asyncio.sleep(pause)
            child.kill()
        ended = True
        await work
        async with followed(other, replicate) as standby:
            await standby.wait_for(store.seq)
            assert standby.state == store.state
            assert str(standby.store.cursor) == str(store.cursor)


class TestSyncs:
    def settings(self, url: str) -> ReplicationConfig:
        return ReplicationConfig(servers=("nats://127.0.0.1:1",), stream="bot", monitor=(url,))

    async def test_a_server_that_does_not_sync_is_told_of_until_it_does(
        self, tmp_path: Path
    ) -> None:
        port, monitor = free_ports(2)
        url = f"http://127.0.0.1:{monitor}"
        settings = (
            f"http: 127.0.0.1:{monitor}\n"
            f"jetstream {{ store_dir: {tmp_path / 'js'}, sync_interval: 2m }}\n"
        )
        node = Node(tmp_path, "m", port, settings)
        replicate = {"servers": [node.url], "stream": "bot", "replicas": 1, "monitor": [url]}
        try:
            node.start()
            async with opened(tmp_path / "s", replicate) as store:
                await until(lambda: any("sync_interval" in one for one in store.stats().warnings))
            node.kill()
            node.configure("2m", "always")
            node.start()
            warnings = StandingWarnings("here")
            warnings.begin("replication-sync", "as told before", operator_log("eventstore"))
            while warnings.texts:  # the port does not listen yet
                watching = asyncio.ensure_future(watch_syncs(self.settings(url), warnings))
                await asyncio.sleep(0.1)
                watching.cancel()
        finally:
            node.kill()

    async def test_a_port_that_does_not_answer_is_named(self) -> None:
        warnings = StandingWarnings("here")
        watching = asyncio.ensure_future(watch_syncs(self.settings("http://127.0.0.1:1"), warnings))
        await until(lambda: bool(warnings.texts))
        watching.cancel()
        assert "does not say" in warnings.texts[0]
