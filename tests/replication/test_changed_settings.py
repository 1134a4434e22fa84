"""Somebody edits the stream while it is written, and a server that accepts and says nothing."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamSource

from eventstore.errors import OutcomeUnknownError
from eventstore.replication.stream_settings import differences, wanted_settings
from eventstore.replication_config import ReplicationConfig
from tests.replication.test_shipping import in_stream, opened, until
from tests.replication.test_standby import followed
from tests.support.bank import pay


@pytest_asyncio.fixture
async def jetstream(replicate: dict[str, Any]) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(replicate["servers"])
    yield client.jetstream()
    await client.close()


async def edit(stream: JetStreamContext, name: str, **changed: Any) -> None:
    settings = (await stream.stream_info(name)).config
    for setting, value in changed.items():
        setattr(settings, setting, value)
    await stream.update_stream(settings)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"discard": DiscardPolicy.OLD}, "discard is old, not new"),
        ({"subjects": ["other"]}, "subjects are"),
        ({"max_age": 3600.0}, "max_age is 3600 s"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject"),
        ({"deny_delete": True}, "deny_delete"),
        ({"deny_purge": True}, "deny_purge"),
        ({"sealed": True}, "sealed"),
        ({"mirror": StreamSource(name="other")}, "copy of other streams"),
        ({"no_ack": True}, "no_ack"),
    ],
)
def test_each_setting_that_harms_is_named(changed: dict[str, Any], told: str) -> None:
    config = ReplicationConfig(servers=("nats://127.0.0.1",), stream="s")
    wanted = wanted_settings(config)
    assert differences(wanted, wanted) == []
    assert told in "; ".join(differences(wanted.evolve(**changed), wanted))


@pytest.mark.asyncio
@pytest.mark.parametrize("acknowledge", ["local", "quorum"])
async def test_a_store_waits_until_the_settings_are_changed_back(
    directories: list[Path],
    replicate: dict[str, Any],
    jetstream: JetStreamContext,
    acknowledge: str,
) -> None:
    one, other = directories
    name = replicate["stream"]
    replicate["acknowledge"] = acknowledge
    async with opened(one, replicate, commit_timeout=0.5) as store:
        await store.append(pay(1))
        async with followed(other, replicate) as standby:
            await standby.wait_for(1)
            ours = (await jetstream.stream_info(name)).config.subjects
            await edit(jetstream, name, subjects=[f"eventstore.{name}.history", f"other.{name}"])
            appending = asyncio.ensure_future(store.append(pay(2)))
            await until(lambda: told(store.stats().warnings, "subjects are"))
            if acknowledge == "local":
                await appending
            else:
                with pytest.raises(OutcomeUnknownError):
                    await appending
            await edit(jetstream, name, subjects=ours)
            await until(lambda: store.stats().unreplicated == 0)
            await store.append(pay(3))
            await standby.wait_for(3)
            assert standby.failure is None


def told(texts: tuple[str, ...], part: str) -> bool:
    return any(part in text for text in texts)


@pytest.mark.asyncio
async def test_a_change_that_refuses_nothing_is_noticed(
    tmp_path: Path, replicate: dict[str, Any], jetstream: JetStreamContext
) -> None:
    """Such a stream takes new records, and drops the oldest ones."""
    name = replicate["stream"]
    replicate |= {"acknowledge": "local", "lease": 1.0}
    async with opened(tmp_path, replicate) as store:
        await edit(jetstream, name, discard=DiscardPolicy.OLD, max_msgs=1000)
        await until(lambda: told(store.stats().warnings, "discard is old"))
        await edit(jetstream, name, discard=DiscardPolicy.NEW)
        await until(lambda: not store.stats().warnings)


@pytest.mark.asyncio
async def test_a_limit_of_the_stream_divides_a_record_into_parts(
    tmp_path: Path, replicate: dict[str, Any], jetstream: JetStreamContext
) -> None:
    async with opened(tmp_path, replicate):
        await edit(jetstream, replicate["stream"], max_msg_size=5000)
    async with opened(tmp_path, replicate) as store:
        await store.append(pay(1), metadata={"note": "x" * 20_000})
    assert await in_stream(replicate) == [1]
    assert (await jetstream.stream_info(replicate["stream"])).state.messages > 5


@pytest.mark.asyncio
async def test_a_server_that_accepts_and_says_nothing_keeps_nobody_from_the_next(
    tmp_path: Path, replicate: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a stopped process does, whose system accepts in its place."""
    monkeypatch.setattr("eventstore.replication.connecting._ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(random, "sample", lambda servers, _: servers)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        replicate["servers"] = [url, "nats://127.0.0.1:1", *replicate["servers"]]
        async with opened(tmp_path, replicate) as store:
            await store.append(pay(1))
