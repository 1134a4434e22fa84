"""Failover: one writer at any time, and nothing acknowledged by a quorum is ever missing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nats.js.kv import KeyValue

from eventstore import EventStore, StoreConfig, read_events
from eventstore.errors import (
    FencedError,
    LeaseHeldError,
    ReplicationUnavailableError,
    StoreClosedError,
    StoreLockedError,
    StoreNotFoundError,
    StreamMismatchError,
)
from eventstore.replication import Standby, rejoin, stream_status
from eventstore.replication import standby as standby_module
from eventstore.replication.connecting import connect
from eventstore.replication.lease import Holder, Lease, read_holder
from tests.real.children import Child
from tests.replication.cluster import Cluster
from tests.replication.machine import promote_alone, write
from tests.replication.plain_reader import read_stream
from tests.replication.test_shipping import opened
from tests.replication.test_standby import followed
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio


def config(replicate: dict[str, Any]) -> StoreConfig:
    return StoreConfig.of(None, replicate=replicate)


async def fenced_pair(
    directories: list[Path], replicate: dict[str, Any]
) -> tuple[EventStore[Any], EventStore[Any]]:
    """Two stores, the first of which was replaced by the second behind event 3."""
    one, other = directories
    old = await opened(one, replicate)
    for number in range(1, 4):
        await old.append(pay(number))
    standby = await followed(other, replicate)
    await standby.wait_for(3)
    return old, await standby.promote()


async def append_on(store: EventStore[Any]) -> None:
    """Append until an error. A busy machine takes seconds to connect anew and to be refused."""
    async with asyncio.timeout(60):
        for number in itertools.count(1):
            await store.append(pay(number))
            await asyncio.sleep(0.005)  # the writer's pace: it need not fill a disk meanwhile


async def leases(
    directory: Path, replicate: dict[str, Any], *holders: str
) -> tuple[Any, Lease, Lease]:
    """Return a connection to the stream of a new store, and the lease as two holders see it."""
    settings = config(replicate).replicate
    assert settings is not None
    async with opened(directory, replicate) as store:
        await store.append(pay(1))
    connection = await connect("one", settings)
    one, other = [await Lease.of(connection, Holder(id=id, host="h", pid=1)) for id in holders]
    return connection, one, other


class TestFencing:
    async def test_the_old_writer_is_refused_and_the_new_one_goes_on(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        old, new = await fenced_pair(directories, replicate)
        assert new.log.lineage.timelines[-1].number == 2
        assert new.log.lineage.timelines[-1].left_at == 3
        with pytest.raises(FencedError, match="rejoin") as caught:
            await old.append(pay(9))
        assert (caught.value.timeline, caught.value.last_shared) == (2, 3)
        assert old.seq == 3
        with pytest.raises(FencedError):
            await old.append(pay(9))
        await old.close()
        await new.append(pay(4))
        assert new.seq == 4
        await new.close()
        with pytest.raises(FencedError):
            await opened(directories[0], replicate)

    async def test_a_local_writer_that_was_away_finds_out(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        local = replicate | {"acknowledge": "local"}
        old, new = await fenced_pair(directories, local)
        with pytest.raises(FencedError):
            await append_on(old)
        await old.close()
        await new.close()

    async def test_of_two_promotions_at_once_one_begins_a_timeline(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        async with opened(directories[0], replicate) as old:
            await old.append(pay(1))
            standby = await followed(directories[1], replicate)
            await standby.wait_for(1)

        async def promoted() -> Any:
            return await standby.promote()

        first, second = (asyncio.ensure_future(promoted()) for _ in range(2))
        new = await first
        with pytest.raises(StoreClosedError):
            await second
        assert new.log.lineage.timelines[-1].number == 2
        await new.append(pay(2))
        await new.close()

    async def test_a_cluster_that_keeps_no_history_has_a_writer_all_the_same(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        name = f"{replicate['stream']}-history"
        settings = config(replicate).replicate
        assert settings is not None
        async with opened(directories[0], replicate) as old:
            await old.append(pay(1))
            connection = await connect("one", settings)
            bucket = await connection.stream.create_key_value(bucket=name, replicas=3)
            await connection.put(lambda: bucket.put("writer", b"no history"))
            await connection.close()
            standby = await followed(directories[1], replicate)
            async with standby.promote() as new:
                assert any(f"nats kv del {name}" in text for text in new.stats().warnings)
                await new.append(pay(2))

    async def test_an_event_of_the_old_writer_in_between_is_taken_along(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as old:
            await old.append(pay(1))
            standby = await followed(other, replicate)
            adding = asyncio.ensure_future(old.append(pay(2)))
            async with standby.promote() as new:
                try:
                    acknowledged = (await adding).seq
                except FencedError:
                    acknowledged = 1
                assert new.seq >= acknowledged
            await read_stream(replicate["servers"], replicate["stream"])

    async def test_the_timeline_begins_in_the_stream_before_the_store_is_opened(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        ends: list[tuple[int, int]] = []
        open_store = EventStore.open

        async def opening(path: str, *given: Any, **options: Any) -> EventStore[Any]:
            found = await stream_status(path, config(replicate))
            ends.append((found.timeline, found.last))
            return await open_store(path, *given, **options)

        async with opened(directories[0], replicate) as old:
            await old.append(pay(1))
            standby = await followed(directories[1], replicate)
            await standby.wait_for(1)
            monkeypatch.setattr(standby_module, "EventStore", SimpleNamespace(open=opening))
            async with standby.promote() as new:
                assert ends == [(2, 1)]
                assert new.seq == 1


class TestRejoining:
    async def test_the_tail_is_set_aside_event_by_event(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        replicate["lease"] = 60.0  # else the old writer may know that it is fenced before it writes
        old, new = await fenced_pair(directories, replicate)
        with pytest.raises(FencedError):
            await old.append(pay(9), key="lost")
        with pytest.raises(StoreLockedError):
            await rejoin(directories[0], config(replicate))
        await old.close()
        await new.append(pay(4))
        found = await rejoin(directories[0], config(replicate))
        assert found.last_shared == 3
        assert [(event.seq, event.key) for event in found.set_aside] == [(4, "lost")]
        assert found.quarantine is not None
        kept = [event.key for event in read_events(found.quarantine)]
        assert kept[-1] == "lost"
        async with followed(directories[0], replicate) as standby:
            assert standby.store.recovery.warnings == ()  # it need not reconcile: it does not trade
            await standby.wait_for(4)
            assert standby.state == new.state
            assert str(standby.store.cursor) == str(new.cursor)
        listed = [path.name for path in (directories[0] / "quarantine").iterdir()]
        assert "fenced-4-4.jsonl" in listed
        await new.close()

    async def test_a_writer_without_a_tail_has_nothing_to_set_aside(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        old, new = await fenced_pair(directories, replicate)
        await old.close()
        assert await rejoin(directories[0], config(replicate)) == (3, (), None)
        await new.append(pay(4))
        async with followed(directories[0], replicate) as standby:
            await standby.wait_for(4)
            async with standby.promote() as third:
                await third.append(pay(5))
                assert third.log.lineage.timelines[-1].number == 3
        await new_is_fenced(new)

    async def test_an_interrupted_rejoining_is_finished(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        old, new = await fenced_pair(directories, replicate)
        with pytest.raises(FencedError):
            await old.append(pay(9))
        await old.close()
        await new.close()
        await rejoin(directories[0], config(replicate))
        directories[0].rename(directories[0].with_name("one.rejoining"))
        assert (await rejoin(directories[0], config(replicate))).last_shared == 3

    async def test_no_store_and_a_store_with_a_history_of_its_own(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        with pytest.raises(StoreNotFoundError):
            await rejoin(directories[0], config(replicate))
        async with opened(directories[1], replicate) as store:
            await store.append(pay(1))
        async with EventStore.open(directories[0], bank_registry()) as foreign:
            await foreign.append(pay(1))
        with pytest.raises(StreamMismatchError, match="this is the store"):
            await rejoin(directories[0], config(replicate))


async def new_is_fenced(store: EventStore[Any]) -> None:
    with pytest.raises(FencedError):
        await store.append(pay(1))
    await store.close()


class TestLease:
    async def test_a_standby_promotes_itself_once_the_writer_is_silent(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        writer = Child(write, one, replicate | {"lease": 1.0}, "w")
        while (await asyncio.to_thread(writer.report))[0] != "acknowledged":
            pass
        standby = Child(promote_alone, other, replicate | {"lease": 1.0})
        assert (await asyncio.to_thread(standby.report))[0] == "follows"
        acknowledged = [
            report[2]
            for report in await asyncio.to_thread(lambda: list(writer.reports(1.5)))
            if report[0] == "acknowledged"
        ]
        assert len(acknowledged) > 1  # the lease is renewed: nobody is promoted
        writer.kill()
        acknowledged += [report[2] for report in writer.reports(0) if report[0] == "acknowledged"]
        what, seq = await asyncio.to_thread(standby.report)
        assert what == "writes"
        assert seq > acknowledged[-1]

    async def test_nobody_writes_while_another_machine_has_the_lease(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
            async with followed(other, replicate) as standby:
                await standby.wait_for(1)
            with pytest.raises(LeaseHeldError, match="promote a standby"):
                await opened(other, replicate)
            await store.append(pay(2))
        async with opened(one, replicate) as store:  # the lease was given back
            assert store.seq == 2
        with pytest.raises(StreamMismatchError, match="ends with event 2"):
            await opened(other, replicate)  # a standby is promoted, and never just opened

    async def test_a_renewal_of_the_same_directory_takes_the_lease_from_nobody(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A promotion renews the lease while the store is opened."""
        connection, one, other = await leases(directories[0], replicate, "a", "a")
        await one.acquire()
        await other.acquire()
        read = one.current

        async def reads() -> Holder | None:
            found = await read()
            assert await other.renew()
            return found

        monkeypatch.setattr(one, "current", reads)
        await one.acquire()
        await connection.close()

    async def test_a_lease_that_runs_out_in_the_same_moment_is_taken(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The client library looks at the entry for which the cluster refused a new one."""
        connection, one, other = await leases(directories[0], replicate, "a", "b")
        read, look = one.current, KeyValue._get

        async def reads() -> Holder | None:
            found = await read()
            await other.acquire()
            monkeypatch.setattr(one, "current", read)
            monkeypatch.setattr(KeyValue, "_get", looks)
            return found

        async def looks(bucket: KeyValue, *given: Any) -> Any:
            monkeypatch.setattr(KeyValue, "_get", look)
            await connection.stream.purge_stream(f"KV_{connection.config.stream}-lease")
            return await look(bucket, *given)

        monkeypatch.setattr(one, "current", reads)
        await one.acquire()
        assert await one.current() == one.holder
        await connection.close()

    async def test_a_lease_that_was_given_back_is_not_taken_again_by_a_renewal(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        settings = config(replicate | {"lease": 60.0}).replicate
        assert settings is not None
        async with opened(directories[0], replicate | {"lease": 60.0}) as store:
            await store.append(pay(1))
        connection = await connect("one", settings)
        one = await Lease.of(connection, Holder(id="a", host="h", pid=1))
        other = await Lease.of(connection, Holder(id="b", host="h", pid=1))
        await one.acquire()
        assert await one.renew()
        await other.acquire(by_force=True)
        assert not await one.renew()
        await other.release()
        assert not await one.renew()
        assert await one.current() is None
        await one.acquire()
        assert await one.renew()
        await connection.close()

    async def test_a_promotion_that_takes_long_keeps_the_lease(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        short, holders = replicate | {"lease": 1.0}, []
        open_store = EventStore.open
        settings = config(short).replicate
        assert settings is not None

        async def opening(path: str, *given: Any, **options: Any) -> EventStore[Any]:
            await asyncio.sleep(1.6)  # as the fold of a long log
            connection = await connect(path, settings)
            holders.append(await read_holder(connection))
            await connection.close()
            return await open_store(path, *given, **options)

        async with opened(directories[0], short) as old:
            await old.append(pay(1))
            standby = await followed(directories[1], short)
            await standby.wait_for(1)
        monkeypatch.setattr(standby_module, "EventStore", SimpleNamespace(open=opening))
        async with standby.promote() as new:
            assert holders[0] is not None
            assert (directories[1] / "replica.json").read_text().count(holders[0].id) == 1
            await new.append(pay(2))

    async def test_a_promotion_that_fails_leaves_the_standby_following(
        self,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def opening(path: str, *given: Any, **options: Any) -> EventStore[Any]:
            raise ReplicationUnavailableError("gone", path=path, servers="", stream="")

        async with opened(directories[0], replicate) as old:
            await old.append(pay(1))
            standby = await followed(directories[1], replicate)
            await standby.wait_for(1)
        with monkeypatch.context() as patch:
            patch.setattr(standby_module, "EventStore", SimpleNamespace(open=opening))
            with pytest.raises(ReplicationUnavailableError, match="gone"):
                await standby.promote()
        async with standby.promote() as new:
            await new.append(pay(2))
            assert new.log.lineage.timelines[-1].left_at == 1

    async def test_no_promotion_without_a_quorum_and_the_standby_goes_on(
        self,
        cluster: Cluster,
        directories: list[Path],
        replicate: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        one, other = directories
        async with opened(one, replicate) as store:
            await store.append(pay(1))
            async with followed(other, replicate) as standby:
                await standby.wait_for(1)
                for node in cluster.nodes[:2]:
                    node.freeze()
                monkeypatch.setattr("eventstore.replication.connecting._ANSWER_SECONDS", 0.3)
                monkeypatch.setattr("eventstore.replication.asking.REQUEST_SECONDS", 0.3)
                try:
                    with pytest.raises(ReplicationUnavailableError):
                        await standby.promote()
                finally:
                    for node in cluster.nodes:
                        node.thaw()
                await cluster.ready()
                await store.append(pay(2))
                await standby.wait_for(2)


async def test_a_standby_is_named_in_messages(
    directories: list[Path], replicate: dict[str, Any]
) -> None:
    async with opened(directories[0], replicate) as store:
        await store.append(pay(1))
        async with Standby.open(directories[1], bank_registry(), replicate=replicate) as standby:
            await standby.wait_for(1)
            assert repr(standby) == f"<Standby {str(directories[1])!r} seq=1 lag=0>"
