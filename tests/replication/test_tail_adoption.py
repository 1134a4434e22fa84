"""A record is sent beside its sync, so a power cut can take events that the stream has."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from eventstore import EventStore, StoreConfig
from eventstore.disk.local_file import LocalFile
from eventstore.errors import (
    FencedError,
    StoreFailedError,
    StoreFullError,
    StreamMismatchError,
)
from eventstore.replication import rejoin
from eventstore.replication.stream_reader import StreamReader
from tests.replication.cluster import Cluster
from tests.replication.power_cut import lose_events
from tests.replication.proxy import Proxy
from tests.replication.test_shipping import in_stream, opened, until
from tests.replication.test_standby import followed
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio


class Syncs:
    """The syncs of segments: as ever, failing, or held up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = False
        self.free = threading.Event()
        self.free.set()
        sync = LocalFile.sync

        def syncs(file: LocalFile) -> None:
            if file.name.startswith("log/"):
                if self.failing:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                self.free.wait()
            sync(file)

        monkeypatch.setattr(LocalFile, "sync", syncs)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


async def dies_in_its_sync(
    path: Path, replicate: dict[str, Any], syncs: Syncs, *, lost: bool = True
) -> None:
    """Write events 1 to 3, and send event 4, whose sync fails. Lose it from the disk, too."""
    store = await opened(path, replicate)
    for number in range(1, 4):
        await store.append(pay(number), key=f"k{number}")
    syncs.failing = True
    receipt = store.submit(pay(4), key="k4")
    with pytest.raises(StoreFailedError, match="unknown"):
        await receipt
    assert (store.seq, store.state.balances["a"]) == (3, 6)
    await until(lambda: store.stats().unreplicated == 0)
    await store.close()
    syncs.failing = False
    assert await in_stream(replicate) == [1, 2, 3, 4]
    if lost:
        lose_events(path, 3)


class TestBesideTheSync:
    async def test_an_event_is_sent_meanwhile_and_counts_once_both_are_done(
        self, tmp_path: Path, replicate: dict[str, Any], syncs: Syncs
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
            syncs.free.clear()
            try:
                receipt = store.submit(pay(2))
                async with asyncio.timeout(20):
                    while await in_stream(replicate) != [1, 2]:  # noqa: ASYNC110  nobody tells
                        await asyncio.sleep(0.01)  # as above
                assert (store.seq, store.state.balances["a"]) == (1, 1)
            finally:
                syncs.free.set()
            assert (await receipt).seq == 2
            assert (store.seq, store.state.balances["a"]) == (2, 3)

    async def test_a_record_that_could_not_be_written_was_never_sent(
        self, tmp_path: Path, replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full, write = [False], LocalFile.write

        def writing(file: LocalFile, offset: int, data: Any) -> int:
            if full[0] and file.name.startswith("log/"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(file, offset, data)

        monkeypatch.setattr(LocalFile, "write", writing)
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
            full[0] = True
            with pytest.raises(StoreFullError):
                await store.append(pay(7))
            full[0] = False
            await store.append(pay(2), key="k2")
            assert await in_stream(replicate) == [1, 2]
            assert store.state.balances["a"] == 3
        async with followed(tmp_path / "b", replicate) as standby:
            await standby.wait_for(2)
            assert standby.state == store.state


class TestAdopting:
    @pytest.mark.parametrize("acknowledge", ["quorum", "local"])
    async def test_an_opening_takes_over_what_the_power_cut_took(
        self, directories: list[Path], replicate: dict[str, Any], syncs: Syncs, acknowledge: str
    ) -> None:
        one, other = directories
        await dies_in_its_sync(one, replicate, syncs)
        async with followed(other, replicate) as standby:
            await standby.wait_for(4)
            async with opened(one, replicate | {"acknowledge": acknowledge}) as store:
                assert (store.seq, store.recovery.seq, store.recovery.adopted) == (4, 4, 1)
                assert "events 4 to 4 were in the cluster" in store.recovery.warnings[-1]
                assert store.state.balances["a"] == 10
                assert str(store.cursor) == str(standby.store.cursor)
                receipt = await store.append(pay(4), key="k4")  # the right retry
                assert (receipt.seq, receipt.duplicate) == (4, True)
                await store.append(pay(5))
                await until(lambda: store.stats().unreplicated == 0)
                await standby.wait_for(5)
                assert str(store.cursor) == str(standby.store.cursor)
        assert await in_stream(replicate) == [1, 2, 3, 4, 5]
        async with opened(one, replicate) as store:
            assert (store.seq, store.recovery.adopted) == (5, 0)

    async def test_an_event_that_the_disk_kept_is_found_and_not_doubled(
        self, tmp_path: Path, replicate: dict[str, Any], syncs: Syncs
    ) -> None:
        await dies_in_its_sync(tmp_path, replicate, syncs, lost=False)
        async with opened(tmp_path, replicate) as store:
            assert (store.seq, store.recovery.adopted) == (4, 0)
            await store.append(pay(5))
        assert await in_stream(replicate) == [1, 2, 3, 4, 5]

    async def test_groups_and_events_of_relaxed_durability_over_several_segments(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        group = pay(40, "x" * 6000), pay(41), pay(42)
        async with opened(tmp_path, replicate, segment_size=4096) as store:
            await store.append(pay(1))
            for number in range(2, 40):
                await store.append(pay(number), durability="none")
            await store.append(*group, key="group")
            state, cursor = store.state, str(store.cursor)
        shutil.rmtree(tmp_path / "snapshots", ignore_errors=True)
        for segment in sorted((tmp_path / "log").glob("*.log"), reverse=True)[:-1]:
            segment.unlink()
        lose_events(tmp_path, 5)
        async with opened(tmp_path, replicate, segment_size=4096) as store:
            assert store.recovery.adopted > 30
            assert (store.seq, store.state, str(store.cursor)) == (42, state, cursor)
            assert (await store.append(*group, key="group")).duplicate
            await store.append(pay(43))
        assert await in_stream(replicate) == list(range(1, 44))

    async def test_snapshots_and_archives_in_between(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate, wal_max_entries=10) as store:
            for number in range(1, 36):
                await store.append(pay(number), key=f"k{number}")
            await store.snapshot()
            for number in range(36, 40):
                await store.append(pay(number), key=f"k{number}")
            state, cursor, at = store.state, str(store.cursor), store.stats().snapshot_seq
        assert 30 < at < 39
        lose_events(one, at)
        async with opened(one, replicate, wal_max_entries=10) as store:
            assert store.recovery.adopted == 39 - at
            assert (store.recovery.snapshot_seq, store.recovery.events_folded) == (at, 39 - at)
            assert (store.state, str(store.cursor)) == (state, cursor)
            assert (await store.append(pay(39), key="k39")).duplicate
            async with followed(other, replicate) as standby:
                await standby.wait_for(39)
                assert standby.state == store.state

    async def test_a_disk_that_is_full_adopts_at_the_next_opening(
        self,
        tmp_path: Path,
        replicate: dict[str, Any],
        syncs: Syncs,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await dies_in_its_sync(tmp_path, replicate, syncs)
        with monkeypatch.context() as patch:

            def full(*given: Any, **options: Any) -> None:
                raise StoreFullError("no space", path=str(tmp_path), errno=errno.ENOSPC)

            patch.setattr("eventstore.log.writer.LogWriter.commit", full)
            with pytest.raises(StoreFullError):
                await opened(tmp_path, replicate)
        async with opened(tmp_path, replicate) as store:
            assert (store.seq, store.recovery.adopted) == (4, 1)

    async def test_a_writer_that_was_replaced_adopts_nothing(
        self, directories: list[Path], replicate: dict[str, Any], syncs: Syncs
    ) -> None:
        one, other = directories
        await dies_in_its_sync(one, replicate, syncs)
        standby = await followed(other, replicate)
        await standby.wait_for(4)
        async with standby.promote() as new:
            await new.append(pay(5))
            with pytest.raises(FencedError) as caught:
                await opened(one, replicate)
            assert caught.value.timeline == 2
        async with EventStore.open(one, bank_registry(), read_only=True) as store:
            assert store.seq == 3
        found = await rejoin(one, StoreConfig.of(None, replicate=replicate))
        assert found.set_aside == ()
        async with followed(one, replicate) as back:
            await back.wait_for(5)


class TestForks:
    async def test_a_store_that_went_on_without_the_cluster_is_refused_and_rejoins(
        self, directories: list[Path], replicate: dict[str, Any], syncs: Syncs
    ) -> None:
        one, other = directories
        await dies_in_its_sync(one, replicate, syncs)
        async with EventStore.open(one, bank_registry()) as store:  # replication was switched off
            await store.append(pay(70), key="k70")
        for _ in range(2):  # as long as the stream's history, and longer
            with pytest.raises(StreamMismatchError, match="event 4 is another one") as caught:
                await opened(one, replicate)
            assert (caught.value.last_shared, caught.value.last) == (3, 4)
            async with EventStore.open(one, bank_registry()) as store:
                await store.append(pay(71))
        found = await rejoin(one, StoreConfig.of(None, replicate=replicate))
        assert (found.last_shared, [event.key for event in found.set_aside][:1]) == (3, ["k70"])
        assert len(found.set_aside) == 3
        async with opened(one, replicate) as store, followed(other, replicate) as standby:
            assert (store.seq, store.recovery.adopted, store.state.balances["a"]) == (4, 1, 10)
            await store.append(pay(5))
            await standby.wait_for(5)
            assert str(store.cursor) == str(standby.store.cursor)

    async def test_a_store_that_went_on_in_a_timeline_of_its_own_rejoins(
        self, tmp_path: Path, replicate: dict[str, Any], syncs: Syncs
    ) -> None:
        """Behind a crash, an opening with relaxed durability begins a timeline."""
        await dies_in_its_sync(tmp_path, replicate, syncs)
        async with EventStore.open(tmp_path, bank_registry(), durability="interval") as store:
            await store.append(pay(70), key="k70")
        with pytest.raises(StreamMismatchError, match=r"went back to event 3.*rejoin") as caught:
            await opened(tmp_path, replicate)
        assert (caught.value.last_shared, caught.value.last) == (3, 4)
        found = await rejoin(tmp_path, StoreConfig.of(None, replicate=replicate))
        assert (found.last_shared, [event.key for event in found.set_aside]) == (3, ["k70"])
        async with opened(tmp_path, replicate) as store:
            assert (store.seq, store.recovery.adopted) == (4, 1)

    async def test_a_machine_that_was_promoted_meanwhile_has_the_event_too(
        self, directories: list[Path], replicate: dict[str, Any], syncs: Syncs
    ) -> None:
        """The timelines part behind event 4, and the events part before."""
        one, other = directories
        await dies_in_its_sync(one, replicate, syncs)
        async with EventStore.open(one, bank_registry()) as store:
            await store.append(pay(70), key="k70")
        standby = await followed(other, replicate)
        await standby.wait_for(4)
        async with standby.promote() as new:
            await new.append(pay(5))
            with pytest.raises(FencedError):
                await opened(one, replicate)
            found = await rejoin(one, StoreConfig.of(None, replicate=replicate))
            assert (found.last_shared, [event.key for event in found.set_aside]) == (3, ["k70"])
            async with followed(one, replicate) as back:
                await back.wait_for(5)
                assert str(back.store.cursor) == str(new.cursor)

    async def test_a_shorter_store_whose_last_event_is_another_one(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        path, copy = tmp_path / "store", tmp_path / "copy"
        async with opened(path, replicate) as store:
            await store.append(pay(1))
            await store.append(pay(2))
        shutil.copytree(path, copy)
        async with EventStore.open(copy, bank_registry()) as store:
            await store.append(pay(70), key="k70")
        async with opened(path, replicate) as store:
            for number in range(3, 100):
                await store.append(pay(number))
        before = {file: file.read_bytes() for file in sorted((copy / "log").iterdir())}
        with pytest.raises(StreamMismatchError, match="event 3 is another one") as caught:
            await opened(copy, replicate)
        assert (caught.value.last_shared, caught.value.last) == (2, 99)
        assert {file: file.read_bytes() for file in sorted((copy / "log").iterdir())} == before
        found = await rejoin(copy, StoreConfig.of(None, replicate=replicate))
        assert (found.last_shared, len(found.set_aside)) == (2, 1)
        async with opened(copy, replicate) as store:
            assert (store.seq, store.recovery.adopted) == (99, 97)

    async def test_a_rejoining_reads_no_message_behind_the_last_shared_event(
        self, directories: list[Path], replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = []
        content = StreamReader._content

        def counted(reader: StreamReader, found: Msg, *given: Any) -> Any:
            read.append(found.metadata.sequence.stream)
            return content(reader, found, *given)

        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
        standby = await followed(other, replicate)
        await standby.wait_for(1)
        async with standby.promote() as new:
            for _ in range(20):
                await new.append(pay(1))
            async with EventStore.open(one, bank_registry()) as old:  # nothing replicates
                await old.append(pay(70))
            monkeypatch.setattr(StreamReader, "_content", counted)
            found = await rejoin(one, StoreConfig.of(None, replicate=replicate))
        assert (found.last_shared, len(found.set_aside)) == (1, 1)
        assert read == [1, 2]  # the history of the first writer, and its record

    async def test_events_that_the_stream_has_trimmed_leave_a_gap(
        self, cluster: Cluster, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with opened(tmp_path, replicate) as store:
            for number in range(1, 8):
                await store.append(pay(number))
        client = await nats.connect(cluster.urls)
        last = (await client.jetstream().stream_info(replicate["stream"])).state.last_seq
        await client.jetstream().purge_stream(replicate["stream"], seq=last)
        await client.close()
        lose_events(tmp_path, 3)
        with pytest.raises(StreamMismatchError, match="gone from the stream") as caught:
            await opened(tmp_path, replicate)
        assert (caught.value.last_shared, caught.value.last) == (3, 7)

    async def test_a_local_store_that_finds_the_cluster_later_says_so(
        self,
        cluster: Cluster,
        tmp_path: Path,
        replicate: dict[str, Any],
        syncs: Syncs,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await dies_in_its_sync(tmp_path, replicate, syncs)
        monkeypatch.setattr("eventstore.replication.shipping_thread.OPENING_SECONDS", 0.2)
        async with Proxy(cluster.nodes[0].port) as proxy:
            proxy.cut()
            local = replicate | {"acknowledge": "local", "servers": [proxy.url]}
            async with opened(tmp_path, local) as store:
                await store.append(pay(70), key="k70")
                proxy.heal()
                await until(
                    lambda: any("event 4 is another" in one for one in store.stats().warnings)
                )
                await store.append(pay(71))  # the engine goes on
        assert await in_stream(replicate) == [1, 2, 3, 4]
        with pytest.raises(StreamMismatchError) as caught:
            await opened(tmp_path, replicate)
        assert (caught.value.last_shared, caught.value.last) == (3, 4)
