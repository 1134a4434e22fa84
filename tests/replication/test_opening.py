"""An opening with `quorum` that has many events to send first, and a closing that gives back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.kv import KeyValue

from eventstore import EventStore
from eventstore.errors import ReplicationUnavailableError
from eventstore.replication.backlog import Backlog
from eventstore.replication.messages import Record
from tests.replication.slow_sending import send_slowly
from tests.replication.test_shipping import in_stream, opened, opens, until
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio

LAST = 8
PATIENCE = 1.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let all events take longer than the patience, and gather the numbers of the events."""
    monkeypatch.setattr("eventstore.replication.shipping_thread.OPENING_SECONDS", PATIENCE)
    return send_slowly(monkeypatch, 0.15)


async def lag(path: Path) -> None:
    """Write events that the cluster knows nothing of."""
    async with EventStore.open(path, bank_registry()) as store:
        for number in range(1, LAST + 1):
            await store.append(pay(number))


async def test_an_opening_waits_for_the_lag_as_long_as_the_cluster_takes_events(
    tmp_path: Path, replicate: dict[str, Any], slow: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    await lag(tmp_path)
    async with opened(tmp_path, replicate) as store:
        assert store.seq == LAST
        assert await in_stream(replicate) == slow == list(range(1, LAST + 1))
    assert f"the store opens once the cluster has event {LAST}, and has event" in caplog.text


async def test_a_connection_lost_meanwhile_is_made_anew(
    tmp_path: Path, replicate: dict[str, Any], slow: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await lag(tmp_path)
    record_at = Backlog.record_at
    lost: list[int] = []

    def loses(backlog: Backlog, seq: int, before: int) -> Record | None:
        if seq == 3 and not lost:
            lost.append(seq)
            raise ReplicationUnavailableError("lost", path="", servers="", stream="")
        return record_at(backlog, seq, before)

    monkeypatch.setattr(Backlog, "record_at", loses)
    async with opened(tmp_path, replicate) as store:
        assert store.stats().unreplicated == 0
        assert store.stats().warnings == ()
    assert lost


async def test_an_opening_that_is_held_up_says_by_what(
    tmp_path: Path, replicate: dict[str, Any], slow: list[int]
) -> None:
    async with opened(tmp_path, replicate):
        pass
    await lag(tmp_path)
    client = await nats.connect(replicate["servers"])
    settings = (await client.jetstream().stream_info(replicate["stream"])).config
    settings.max_bytes = 1500
    await client.jetstream().update_stream(settings)
    with pytest.raises(ReplicationUnavailableError, match="maximum bytes exceeded"):
        await opened(tmp_path, replicate)
    settings.max_bytes = -1
    await client.jetstream().update_stream(settings)
    await client.close()
    assert 1 <= len(slow) < LAST * 2
    async with opened(tmp_path, replicate):
        assert await in_stream(replicate) == list(range(1, LAST + 1))


async def test_a_cluster_that_takes_nothing_is_told_with_the_events(
    tmp_path: Path, replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await lag(tmp_path)
    monkeypatch.setattr(Backlog, "record_at", lambda *_: None)
    monkeypatch.setattr("eventstore.replication.shipping_thread.OPENING_SECONDS", 0.2)
    with pytest.raises(ReplicationUnavailableError, match=f"none of the events 1 to {LAST} within"):
        await opened(tmp_path, replicate)


async def test_a_cancelled_opening_sends_no_further(
    tmp_path: Path, replicate: dict[str, Any], slow: list[int]
) -> None:
    await lag(tmp_path)
    opening = asyncio.ensure_future(opens(tmp_path, replicate))
    await until(lambda: slow != [])
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with EventStore.open(tmp_path, bank_registry(), create=False) as store:
        assert store.seq == LAST
        assert slow[-1] < LAST - 1


async def test_a_closing_waits_until_the_lease_is_given_back(
    tmp_path: Path, replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closing cancels the work of the thread several times meanwhile."""
    delete = KeyValue.delete

    async def slowly(bucket: KeyValue, *given: Any, **options: Any) -> bool:
        await asyncio.sleep(0.5)  # longer than between two cancellations of the work
        return await delete(bucket, *given, **options)

    monkeypatch.setattr(KeyValue, "delete", slowly)
    replicate["lease"] = 60.0
    async with opened(tmp_path, replicate) as store:
        await store.append(pay(1))
    (tmp_path / "replica.json").unlink()  # another machine, as the lease is concerned
    async with opened(tmp_path, replicate) as store:
        assert store.seq == 1
