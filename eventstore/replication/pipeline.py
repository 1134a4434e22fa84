"""Publishing to a stream without waiting for each answer.

Theory of operation
-------------------
All answers come to one subscription, and each has a subject of its own. So a publish costs no task
and no subscription. Messages are stored in the order of the calls. The client library's own
`publish_async` never tells of a refusal: the library's handler raises instead of answering.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

__all__ = ["Pipeline", "WrongSequenceError"]

_WRONG_LAST_SEQUENCE = 10071


class WrongSequenceError(Exception):
    """The stream has another last message than the publisher expected. Nothing was stored."""


class _Refusal(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    """What a stream answers: the number of the stored message, or a refusal."""

    seq: int = 0
    error: _Refusal | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class Pipeline:
    """The messages of one connection that wait for an answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = ""
        self._numbers = itertools.count()
        self._answers: dict[str, asyncio.Future[int]] = {}

    def __repr__(self) -> str:
        return f"<Pipeline with {len(self._answers)} messages on the way>"

    async def send(self, subject: str, data: bytes, headers: dict[str, Any]) -> asyncio.Future[int]:
        """Send a message. The answer to come is the number of the stored message.

        The answer raises `WrongSequenceError`, and errors of the client library.
        """
        if not self._inbox:
            self._inbox = self._client.new_inbox()
            await self._client.subscribe(f"{self._inbox}.*", cb=self._take)
        reply = f"{self._inbox}.{next(self._numbers)}"
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[reply] = answer
        await self._client.publish(subject, data, reply=reply, headers=headers)
        return answer

    async def _take(self, message: Msg) -> None:
        answer = self._answers.pop(message.subject, None)
        if answer is None or answer.done():
            return
        if not message.data:
            answer.set_exception(nats.js.errors.NoStreamResponseError())
            return
        try:
            found = _decode(message.data)
        except msgspec.DecodeError as error:
            answer.set_exception(nats.js.errors.Error(f"no answer of a stream: {error}"))
            return
        refusal = found.error
        if refusal is None:
            answer.set_result(found.seq)
        elif refusal.err_code == _WRONG_LAST_SEQUENCE:
            answer.set_exception(WrongSequenceError(refusal.description))
        else:
            answer.set_exception(
                nats.js.errors.APIError(
                    code=refusal.code,
                    err_code=refusal.err_code,
                    description=refusal.description,
                )
            )
