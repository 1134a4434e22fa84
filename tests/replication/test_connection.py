"""The tasks of a connection end in silence, and an error of the client library has a meaning."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import nats.js.errors
import pytest
from nats.aio.client import Client

from eventstore.errors import ReplicationUnavailableError
from eventstore.replication.asking import asked
from eventstore.replication.client_errors import meaning_of
from eventstore.replication.endings import end_tasks


@pytest.mark.asyncio
async def test_an_ended_task_is_silent_where_the_waiting_was_cancelled() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    goes_on = asyncio.Event()

    async def ends_late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await goes_on.wait()
            raise OSError("the connection was closed") from None

    task = asyncio.ensure_future(ends_late())
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(end_tasks(task))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    goes_on.set()
    await asyncio.wait([task])
    del task, waiting
    gc.collect()
    assert told == []


def test_a_full_account_is_told_with_the_cure() -> None:
    error = nats.js.errors.BadRequestError(code=400, err_code=10002, description="limits exceeded")
    kind, reason = meaning_of(Client(), error)
    assert kind is ReplicationUnavailableError
    assert reason == "limits exceeded. Raise the account's limits, or trim the stream"


@pytest.mark.asyncio
async def test_a_question_that_nobody_answers_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventstore.replication.asking._ASK_AGAIN", 0.01)
    times: list[int] = []

    async def ask() -> int:
        times.append(0)
        if len(times) < 3:
            await asyncio.Event().wait()
        return len(times)

    assert await asked(ask) == 3
    monkeypatch.setattr("eventstore.replication.asking.REQUEST_SECONDS", 0.0)
    times.clear()
    with pytest.raises(TimeoutError):
        await asked(ask)
